//! Cancelling at once.

use rustix::io;

use crate::local::Handle;
use crate::submit::Submitter;
use crate::sys::{__kernel_timespec, io_uring_register_op::*, io_uring_sync_cancel_reg};
use crate::types::{CancelBuilder, Timespec};

/// # Cancelling
impl<H: Handle> Submitter<'_, H> {
    /// Cancels what `criteria` matches, and waits until it is cancelled
    /// (`IORING_REGISTER_SYNC_CANCEL`), at most as long as `timeout` says. Since Linux 6.0.
    ///
    /// The cancelled requests post their completions as ever. What cannot be found, as direct I/O
    /// in the block layer, is not waited for: this is no barrier, [`drain`](crate::IoUring::drain)
    /// is one.
    ///
    /// # Result
    ///
    /// How many were found at once, with [`CancelBuilder::all`] or [`CancelBuilder::any`]; else 0.
    ///
    /// # Errors
    ///
    /// ENOENT if there is none; ETIME if the time ran out before all were cancelled; EINTR for a
    /// signal; EINVAL for criteria that the kernel does not know, or on older kernels.
    pub fn register_sync_cancel(
        &self,
        timeout: Option<Timespec>,
        criteria: CancelBuilder,
    ) -> io::Result<usize> {
        // Both -1: no timeout.
        let (tv_sec, tv_nsec) = timeout.map_or((-1, -1), Timespec::into_parts);
        let mut arg = io_uring_sync_cancel_reg {
            addr: criteria.user_data,
            fd: criteria.fd,
            flags: criteria.flags.bits(),
            timeout: __kernel_timespec { tv_sec, tv_nsec },
            opcode: 0,
            pad: [0; 7],
            pad2: [0; 3],
        };
        // SAFETY: the kernel reads the struct, in which there are no addresses.
        let found = unsafe { self.register_struct(IORING_REGISTER_SYNC_CANCEL, &mut arg, 1) }?;
        Ok(found as usize)
    }
}
