//! Restricting what a ring may do.

use rustix::io;

use crate::Restriction;
use crate::local::Handle;
use crate::submit::Submitter;
use crate::sys::io_uring_register_op::*;

/// # Restrictions
impl<H: Handle> Submitter<'_, H> {
    /// Confines the ring to what is listed (`IORING_REGISTER_RESTRICTIONS`), for good, once it is
    /// [enabled](Self::register_enable_rings). What is not listed is forbidden: entries complete
    /// with -EACCES, register calls fail with EACCES. Since Linux 5.10.
    ///
    /// So a ring can be handed to less trusted code: one that only reads and writes registered
    /// files, for instance.
    ///
    /// ```
    /// use rustix_uring::{IoUring, Restriction, opcode, squeue::Entry};
    ///
    /// let mut ring = IoUring::<Entry>::builder().setup_r_disabled().build(2)?;
    /// ring.submitter().register_restrictions(&[Restriction::sqe_op(opcode::Nop::CODE)])?;
    /// ring.submitter().register_enable_rings()?;
    ///
    /// # Ok::<(), rustix_uring::Errno>(())
    /// ```
    ///
    /// # Errors
    ///
    /// EBADFD if the ring is not [disabled](crate::Builder::setup_r_disabled); EBUSY if it is
    /// restricted already; EINVAL for what the kernel does not know.
    pub fn register_restrictions(&self, restrictions: &[Restriction]) -> io::Result<()> {
        // SAFETY: an array of restrictions is what the kernel expects, and there are no addresses.
        unsafe { self.register_slice(IORING_REGISTER_RESTRICTIONS, restrictions) }.map(drop)
    }
}
