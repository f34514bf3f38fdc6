//! Which operations the cases have exercised, and which of the kernel's they have not.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_void;
use std::fmt;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, bail};
use rustix::io_uring::{IoringRegisterFlags, IoringRegisterOp, io_uring_register_with};
use rustix_uring::sys::{IORING_OP_NOP128, IORING_OP_URING_CMD128};
use rustix_uring::sys::{io_uring_op::*, io_uring_register_op::*, *};
use rustix_uring::{Errno, IoUring};

use super::{Need, Result, need::probe};

macro_rules! named {
    ($($name:ident)*) => { &[$(($name as u32, stringify!($name))),*] };
}

/// Newer than linux-raw-sys.
const IORING_REGISTER_QUERY: u32 = 35;
const IORING_REGISTER_ZCRX_CTRL: u32 = 36;
const IORING_REGISTER_BPF_FILTER: u32 = 37;

/// Numbers and names; a number that is missing here prints as a number.
const OPCODES: &[(u32, &str)] = named! {
    IORING_OP_NOP IORING_OP_READV IORING_OP_WRITEV IORING_OP_FSYNC IORING_OP_READ_FIXED
    IORING_OP_WRITE_FIXED IORING_OP_POLL_ADD IORING_OP_POLL_REMOVE IORING_OP_SYNC_FILE_RANGE
    IORING_OP_SENDMSG IORING_OP_RECVMSG IORING_OP_TIMEOUT IORING_OP_TIMEOUT_REMOVE
    IORING_OP_ACCEPT IORING_OP_ASYNC_CANCEL IORING_OP_LINK_TIMEOUT IORING_OP_CONNECT
    IORING_OP_FALLOCATE IORING_OP_OPENAT IORING_OP_CLOSE IORING_OP_FILES_UPDATE IORING_OP_STATX
    IORING_OP_READ IORING_OP_WRITE IORING_OP_FADVISE IORING_OP_MADVISE IORING_OP_SEND
    IORING_OP_RECV IORING_OP_OPENAT2 IORING_OP_EPOLL_CTL IORING_OP_SPLICE
    IORING_OP_PROVIDE_BUFFERS IORING_OP_REMOVE_BUFFERS IORING_OP_TEE IORING_OP_SHUTDOWN
    IORING_OP_RENAMEAT IORING_OP_UNLINKAT IORING_OP_MKDIRAT IORING_OP_SYMLINKAT IORING_OP_LINKAT
    IORING_OP_MSG_RING IORING_OP_FSETXATTR IORING_OP_SETXATTR IORING_OP_FGETXATTR
    IORING_OP_GETXATTR IORING_OP_SOCKET IORING_OP_URING_CMD IORING_OP_SEND_ZC
    IORING_OP_SENDMSG_ZC IORING_OP_READ_MULTISHOT IORING_OP_WAITID IORING_OP_FUTEX_WAIT
    IORING_OP_FUTEX_WAKE IORING_OP_FUTEX_WAITV IORING_OP_FIXED_FD_INSTALL IORING_OP_FTRUNCATE
    IORING_OP_BIND IORING_OP_LISTEN IORING_OP_RECV_ZC IORING_OP_EPOLL_WAIT IORING_OP_READV_FIXED
    IORING_OP_WRITEV_FIXED IORING_OP_PIPE IORING_OP_NOP128 IORING_OP_URING_CMD128
};

const REGISTER_OPS: &[(u32, &str)] = named! {
    IORING_REGISTER_BUFFERS IORING_UNREGISTER_BUFFERS IORING_REGISTER_FILES
    IORING_UNREGISTER_FILES IORING_REGISTER_EVENTFD IORING_UNREGISTER_EVENTFD
    IORING_REGISTER_FILES_UPDATE IORING_REGISTER_EVENTFD_ASYNC IORING_REGISTER_PROBE
    IORING_REGISTER_PERSONALITY IORING_UNREGISTER_PERSONALITY IORING_REGISTER_RESTRICTIONS
    IORING_REGISTER_ENABLE_RINGS IORING_REGISTER_FILES2 IORING_REGISTER_FILES_UPDATE2
    IORING_REGISTER_BUFFERS2 IORING_REGISTER_BUFFERS_UPDATE IORING_REGISTER_IOWQ_AFF
    IORING_UNREGISTER_IOWQ_AFF IORING_REGISTER_IOWQ_MAX_WORKERS IORING_REGISTER_RING_FDS
    IORING_UNREGISTER_RING_FDS IORING_REGISTER_PBUF_RING IORING_UNREGISTER_PBUF_RING
    IORING_REGISTER_SYNC_CANCEL IORING_REGISTER_FILE_ALLOC_RANGE IORING_REGISTER_PBUF_STATUS
    IORING_REGISTER_NAPI IORING_UNREGISTER_NAPI IORING_REGISTER_CLOCK
    IORING_REGISTER_CLONE_BUFFERS IORING_REGISTER_SEND_MSG_RING IORING_REGISTER_ZCRX_IFQ
    IORING_REGISTER_RESIZE_RINGS IORING_REGISTER_MEM_REGION IORING_REGISTER_QUERY
    IORING_REGISTER_ZCRX_CTRL IORING_REGISTER_BPF_FILTER
};

fn name(names: &[(u32, &str)], number: u32) -> String {
    match names.iter().find(|(n, _)| *n == number) {
        Some((_, name)) => short(name).to_owned(),
        None => number.to_string(),
    }
}

fn short(name: &str) -> &str {
    name.trim_start_matches("IORING_")
}

pub(super) fn opcode_name(code: u8) -> String {
    name(OPCODES, code.into())
}

pub(super) fn register_op_name(op: u32) -> String {
    name(REGISTER_OPS, op)
}

/// The operations that the running case has submitted.
static SUBMITTED: Mutex<BTreeSet<u8>> = Mutex::new(BTreeSet::new());

fn submitted() -> MutexGuard<'static, BTreeSet<u8>> {
    SUBMITTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes that the running case submits an operation.
pub(super) fn submits(opcode: u8) {
    submitted().insert(opcode);
}

/// Forgets what the last case has submitted.
pub(super) fn begin() {
    submitted().clear();
}

/// Complains if a case on rings of ours needs an operation that it has not submitted.
pub(super) fn check(needs: &[Need]) -> Result {
    for need in needs {
        match need {
            Need::Opcode(code) if !submitted().contains(code) => {
                bail!("the case needs {} and has not submitted it", opcode_name(*code));
            }
            _ => {}
        }
    }
    Ok(())
}

/// How cases have ended that need an operation: the greatest counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Skipped { reason: String },
    Passed,
    Failed { cause: String },
}

/// What the cases say of the kernel's operations.
#[derive(Default)]
pub(crate) struct Coverage {
    opcodes: BTreeMap<u8, State>,
    register_ops: BTreeMap<u32, State>,
    cases: Vec<(String, State)>,
}

impl Coverage {
    pub(super) fn add(&mut self, case: &str, needs: &[Need], state: &State) {
        for need in needs {
            let known = match need {
                Need::Opcode(code) => self.opcodes.entry(*code).or_insert_with(|| state.clone()),
                Need::Register(op) => self.register_ops.entry(*op).or_insert_with(|| state.clone()),
                _ => continue,
            };
            if *state > *known {
                known.clone_from(state);
            }
        }
        self.cases.push((case.to_owned(), state.clone()));
    }

    /// Names what the kernel has and no passing case has exercised.
    pub(crate) fn summary(&self) -> Result<String> {
        let (opcodes, register_ops) = self.operations()?;
        let list = |rows: Vec<Row>| {
            let gaps = rows.iter().filter(|row| !matches!(row.state, "passed" | "absent"));
            match gaps.map(|row| row.name).collect::<Vec<_>>() {
                gaps if gaps.is_empty() => "none".to_owned(),
                gaps => gaps.join(" "),
            }
        };
        Ok(format!(
            "opcodes not exercised: {}\nregister operations not exercised: {}",
            list(opcodes),
            list(register_ops)
        ))
    }

    /// Writes a line for every operation and every case: what it is, its name, how it ended
    /// (`passed`, `failed`, `skipped`; operations also `absent` and `untried`), and why; with tabs
    /// between.
    pub(crate) fn write(&self, to: &mut impl Write) -> Result {
        let (opcodes, register_ops) = self.operations()?;
        for (group, rows) in [("opcode", opcodes), ("register", register_ops)] {
            for row in rows {
                writeln!(to, "{group}\t{}", row)?;
            }
        }
        for (name, state) in &self.cases {
            writeln!(to, "case\t{}", Row::new(name, Some(state)))?;
        }
        Ok(())
    }

    fn operations(&self) -> Result<(Vec<Row<'_>>, Vec<Row<'_>>)> {
        let probe = probe()?;
        let opcode = |&(code, name): &(u32, &'static str)| {
            let code = code as u8;
            match probe.is_supported(code) {
                true => Row::new(name, self.opcodes.get(&code)),
                false => Row::absent(name, "the probe"),
            }
        };
        let last = last_register_op()?;
        let register_op = |&(op, name): &(u32, &'static str)| match last {
            Some(last) if op > last => Row::absent(name, RESTRICTED),
            _ => Row::new(name, self.register_ops.get(&op)),
        };
        Ok((OPCODES.iter().map(opcode).collect(), REGISTER_OPS.iter().map(register_op).collect()))
    }
}

/// A line of the report.
struct Row<'r> {
    name: &'r str,
    state: &'static str,
    reason: &'r str,
}

impl<'r> Row<'r> {
    fn absent(name: &'r str, reason: &'r str) -> Self {
        Self { name: short(name), state: "absent", reason }
    }

    fn new(name: &'r str, state: Option<&'r State>) -> Self {
        let (state, reason) = match state {
            None => ("untried", "no case needs it"),
            Some(State::Skipped { reason }) => ("skipped", &reason[..]),
            Some(State::Passed) => ("passed", ""),
            Some(State::Failed { cause }) => ("failed", &cause[..]),
        };
        Self { name: short(name), state, reason }
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason.replace(['\t', '\n'], " ");
        write!(f, "{}\t{}\t{reason}", self.name, self.state)
    }
}

/// What tells that a register operation is not there.
pub(super) const RESTRICTED: &str = "EINVAL from a restricted ring";

/// The highest register operation that the kernel has, if it tells: since Linux 5.10, a restricted
/// ring answers EACCES to those that it knows, and EINVAL to others.
pub(super) fn last_register_op() -> Result<Option<u32>> {
    static LAST: OnceLock<Option<u32>> = OnceLock::new();
    if let Some(last) = LAST.get() {
        return Ok(*last);
    }
    let ring = <IoUring>::builder().setup_r_disabled().build(1)?;
    let register = |op: u32, arg: *const c_void, len: u32| {
        let (zero, op) =
            (IoringRegisterOp::RegisterBuffers, IoringRegisterFlags::from_bits_retain(op));
        // SAFETY: the one operation that is made with an argument reads it, and keeps nothing.
        unsafe { io_uring_register_with(&ring, zero, op, arg, len) }
    };
    let allowed = io_uring_restriction {
        opcode: io_uring_register_restriction_op::IORING_RESTRICTION_REGISTER_OP as u16,
        __bindgen_anon_1: io_uring_restriction__bindgen_ty_1 {
            register_op: IORING_REGISTER_PROBE as u8,
        },
        resv: 0,
        resv2: [0; 3],
    };
    match register(IORING_REGISTER_RESTRICTIONS as u32, (&raw const allowed).cast(), 1) {
        Err(Errno::INVAL) => return Ok(*LAST.get_or_init(|| None)),
        done => done.context("IORING_REGISTER_RESTRICTIONS")?,
    };
    ring.submitter().register_enable_rings()?;
    let mut refused = (0..).filter(|&op| op != IORING_REGISTER_PROBE as u32);
    // What is refused is not read; but valgrind wants it to be there.
    let nothing = [0_u64; 32];
    let nothing = nothing.as_ptr().cast();
    let unknown = refused.find(|&op| register(op, nothing, 0) == Err(Errno::INVAL));
    Ok(*LAST.get_or_init(|| unknown.and_then(|op| op.checked_sub(1))))
}

/// `io_uring_register(2)` as it is, for what the crate has no way to ask.
///
/// # Safety
///
/// `arg` and `nr_args` are what the kernel expects, or such that it refuses them.
pub(crate) unsafe fn register(
    ring: impl AsFd,
    op: u32,
    arg: *mut c_void,
    nr_args: u32,
) -> Result<u32, Errno> {
    let (zero, op) = (IoringRegisterOp::RegisterBuffers, IoringRegisterFlags::from_bits_retain(op));
    // SAFETY: the caller's promise.
    unsafe { io_uring_register_with(ring, zero, op, arg, nr_args) }
}
