//! Asking what there is.

use rustix::io;

use crate::local::Handle;
use crate::probe::OPS;
use crate::query::question;
use crate::submit::Submitter;
use crate::sys::{self, io_uring_register_op::*};
use crate::{Probe, Query};

/// # What the kernel can do
impl<H: Handle> Submitter<'_, H> {
    /// Asks which operations the kernel has (`IORING_REGISTER_PROBE`). Since Linux 5.6.
    ///
    /// # Errors
    ///
    /// EINVAL on older kernels.
    pub fn register_probe(&self, probe: &mut Probe) -> io::Result<()> {
        // The kernel wants the whole of it to be zero.
        *probe = Probe::new();
        // SAFETY: the kernel writes a header and up to `OPS` operations, all within `probe`, and
        // keeps nothing.
        unsafe { self.register_struct(IORING_REGISTER_PROBE, probe, OPS as u32) }.map(drop)
    }

    /// Asks what the kernel can do (`IORING_REGISTER_QUERY`): operations, flags, features, and
    /// what zero-copy receive has. Since Linux 6.18.
    ///
    /// # Errors
    ///
    /// EINVAL on older kernels.
    pub fn register_query(&self) -> io::Result<Query> {
        // SAFETY: `arg` is what the kernel expects of this operation.
        Query::ask(|arg| unsafe { self.register(sys::IORING_REGISTER_QUERY, arg, 0) })
    }
}

impl Query {
    /// [`register_query`](crate::Submitter::register_query) without a ring. Since Linux 6.18.
    ///
    /// # Errors
    ///
    /// EBADF or EINVAL on older kernels; else as of setting up a ring where io_uring is absent or
    /// forbidden.
    #[cfg(feature = "raw-syscall")]
    pub fn without_ring() -> io::Result<Self> {
        // SAFETY: `arg` is what the kernel expects of this operation.
        Self::ask(|arg| unsafe {
            crate::syscall::register_without_ring(sys::IORING_REGISTER_QUERY, arg, 0)
        })
    }

    /// Asks all questions in one call.
    fn ask(call: impl FnOnce(*mut core::ffi::c_void) -> io::Result<u32>) -> io::Result<Self> {
        let mut answers = Self::default();
        let address = |hdr: *mut sys::io_uring_query_hdr| hdr.expose_provenance() as u64;
        let Self { opcodes, zcrx, scq, zcrx_event } = &mut answers;
        // Each points to the one before it, so the call starts with the last.
        let mut first = question(sys::IO_URING_QUERY_OPCODES, &mut opcodes.value, 0);
        let next = address(&raw mut first);
        let mut second = question(sys::IO_URING_QUERY_ZCRX, &mut zcrx.value, next);
        let next = address(&raw mut second);
        let mut third = question(sys::IO_URING_QUERY_SCQ, &mut scq.value, next);
        let next = address(&raw mut third);
        let mut last = question(sys::IO_URING_QUERY_ZCRX_EVENT, &mut zcrx_event.value, next);
        call((&raw mut last).cast())?;
        opcodes.known = first.result == 0;
        zcrx.known = second.result == 0;
        scq.known = third.result == 0;
        zcrx_event.known = last.result == 0;
        Ok(answers)
    }
}
