//! Asking which operations there are.

use rustix::io;

use crate::Probe;
use crate::local::Handle;
use crate::probe::OPS;
use crate::submit::Submitter;
use crate::sys::io_uring_register_op::*;

/// # Probing
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
}
