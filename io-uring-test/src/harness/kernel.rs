//! What the kernel reports about itself and its operations, and the names of the operations.

use std::ffi::c_void;
use std::fs;
use std::os::fd::AsFd;
use std::sync::OnceLock;

use anyhow::Context;
use rustix::io_uring::{IoringRegisterFlags, IoringRegisterOp, io_uring_register_with};
use rustix::system::uname;
use rustix_uring::sys::{io_uring_register_op::*, *};
use rustix_uring::{Errno, IoUring, Probe};

use super::outcome::Result;

macro_rules! named {
    ($($name:ident)*) => { &[$(($name as u32, stringify!($name))),*] };
}

/// Newer than those that linux-raw-sys has.
const IORING_REGISTER_QUERY: u32 = 35;
const IORING_REGISTER_ZCRX_CTRL: u32 = 36;
const IORING_REGISTER_BPF_FILTER: u32 = 37;

/// Register operations by number. A number that is missing here is printed as a number.
pub(super) const REGISTER_OPS: &[(u32, &str)] = named! {
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

pub(super) fn short(name: &str) -> &str {
    name.trim_start_matches("IORING_")
}

pub(super) fn opcode_name(code: u8) -> String {
    op_name(code).map_or_else(|| code.to_string(), |name| short(name).to_owned())
}

pub(super) fn register_op_name(op: u32) -> String {
    let known = REGISTER_OPS.iter().find(|(number, _)| *number == op);
    known.map_or_else(|| op.to_string(), |(_, name)| short(name).to_owned())
}

/// Whether the kernel is a 32-bit kernel. A 32-bit program may also run on `x86_64` or `aarch64`.
pub(crate) fn kernel_is_32_bit() -> bool {
    cfg!(target_pointer_width = "32") && !uname().machine().to_bytes().ends_with(b"64")
}

/// The kernel's answer to the probe.
pub(crate) fn probe() -> Result<&'static Probe> {
    static PROBE: OnceLock<Probe> = OnceLock::new();
    if let Some(probe) = PROBE.get() {
        return Ok(probe);
    }
    let mut probe = Probe::new();
    IoUring::new(1)?.submitter().register_probe(&mut probe).context("IORING_REGISTER_PROBE")?;
    Ok(PROBE.get_or_init(|| probe))
}

/// The release and the features of the kernel.
pub(crate) fn about() -> Result<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let features = IoUring::new(1)?.params().features();
    let names: Vec<_> = features.iter_names().map(|(name, _)| name).collect();
    Ok(format!("Linux {}, features {}", release.trim(), names.join(" ")))
}

/// The evidence that a register operation is missing.
pub(super) const RESTRICTED: &str = "EINVAL from a restricted ring";

/// The highest register operation that the kernel knows, if it can be found out. Since Linux 5.10,
/// a restricted ring answers EACCES to known operations and EINVAL to unknown ones.
pub(super) fn last_register_op() -> Result<Option<u32>> {
    static LAST: OnceLock<Option<u32>> = OnceLock::new();
    if let Some(last) = LAST.get() {
        return Ok(*last);
    }
    let ring = <IoUring>::builder().setup_r_disabled().build(1)?;
    let register = |op: u32, arg: *const c_void, len: u32| {
        let (zero, op) =
            (IoringRegisterOp::RegisterBuffers, IoringRegisterFlags::from_bits_retain(op));
        // SAFETY: the only operation called with an argument just reads it. The kernel does not
        // keep the pointer.
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
    // The kernel does not read this argument of a rejected call, but valgrind checks that it is
    // readable.
    let nothing = [0_u64; 32];
    let nothing = nothing.as_ptr().cast();
    let unknown = refused.find(|&op| register(op, nothing, 0) == Err(Errno::INVAL));
    Ok(*LAST.get_or_init(|| unknown.and_then(|op| op.checked_sub(1))))
}

/// Calls `io_uring_register(2)` directly, for requests that the crate does not offer.
///
/// # Safety
///
/// `arg` and `nr_args` are what the kernel expects, or such that the kernel rejects them.
pub(crate) unsafe fn register(
    ring: impl AsFd,
    op: u32,
    arg: *mut c_void,
    nr_args: u32,
) -> Result<u32, Errno> {
    let (zero, op) = (IoringRegisterOp::RegisterBuffers, IoringRegisterFlags::from_bits_retain(op));
    // SAFETY: the caller upholds the same contract.
    unsafe { io_uring_register_with(ring, zero, op, arg, nr_args) }
}
