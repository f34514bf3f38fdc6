//! Which operations the cases have exercised, and which of the kernel's they have not.

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::os::fd::AsFd;
use std::ptr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, bail};
use rustix::io_uring::{IoringRegisterFlags, IoringRegisterOp, io_uring_register_with};
use rustix_uring::sys::{IORING_OP_NOP128, IORING_OP_URING_CMD128};
use rustix_uring::sys::{
    IORING_REGISTER_BPF_FILTER, IORING_REGISTER_QUERY, IORING_REGISTER_ZCRX_CTRL,
};
use rustix_uring::sys::{io_uring_op::*, io_uring_register_op::*};
use rustix_uring::{Errno, IoUring, Restriction};

use super::{Need, Result, need::probe};

macro_rules! named {
    ($($name:ident)*) => { &[$(($name as u32, stringify!($name))),*] };
}

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
        Some((_, name)) => name.trim_start_matches("IORING_").to_owned(),
        None => number.to_string(),
    }
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

/// What passing cases have exercised.
#[derive(Default)]
pub(crate) struct Coverage {
    opcodes: BTreeSet<u8>,
    register_ops: BTreeSet<u32>,
}

impl Coverage {
    pub(super) fn add(&mut self, needs: &[Need]) {
        for need in needs {
            match need {
                Need::Opcode(code) => drop(self.opcodes.insert(*code)),
                Need::Register(op) => drop(self.register_ops.insert(*op)),
                _ => {}
            }
        }
    }

    /// Names what the kernel has and no passing case has exercised.
    pub(crate) fn report(&self) -> Result<String> {
        let probe = probe()?;
        let codes = (0..=probe.last_op()).filter(|&code| probe.is_supported(code));
        let ops = 0..=last_register_op()?;
        let opcodes: Vec<_> =
            codes.filter(|code| !self.opcodes.contains(code)).map(opcode_name).collect();
        let register_ops: Vec<_> =
            ops.filter(|op| !self.register_ops.contains(op)).map(register_op_name).collect();
        let list = |names: Vec<String>| match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(" "),
        };
        Ok(format!(
            "opcodes not exercised: {}\nregister operations not exercised: {}",
            list(opcodes),
            list(register_ops)
        ))
    }
}

/// The highest register operation that the kernel has: a restricted ring refuses those that it may
/// not do with EACCES, and those that there are not with EINVAL. (Kernels since 6.3 tell without a
/// ring as well; older ones do not.)
pub(super) fn last_register_op() -> Result<u32> {
    static LAST: OnceLock<u32> = OnceLock::new();
    if let Some(last) = LAST.get() {
        return Ok(*last);
    }
    let ring = <IoUring>::builder().setup_r_disabled().build(1)?;
    let enable = IORING_REGISTER_ENABLE_RINGS as u8;
    ring.submitter().register_restrictions(&[Restriction::register_op(enable)])?;
    ring.submitter().register_enable_rings()?;
    // SAFETY: a forbidden operation registers nothing.
    let known = |op| unsafe { register(&ring, op, ptr::null_mut(), 0) } == Err(Errno::ACCESS);
    let last = (0..256).rfind(|&op| known(op)).context("no register operation is forbidden")?;
    Ok(*LAST.get_or_init(|| last))
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
