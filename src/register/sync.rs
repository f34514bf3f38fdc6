//! Cancelling, and sending messages, at once.

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
    /// The cancelled requests post their completions as ever (a worker thread's with -EINTR, or what
    /// else it was interrupted with). What cannot be found, as direct I/O
    /// in the block layer, is not waited for: this is no barrier, [`drain`](crate::IoUring::drain)
    /// is one.
    ///
    /// # Result
    ///
    /// How many were found at once, with [`CancelBuilder::all`] or [`CancelBuilder::any`]; else 0.
    ///
    /// # Errors
    ///
    /// ENOENT if there is none; for a moment, that includes what is on its way to a worker thread.
    /// EBADF if the descriptor to match is not open; ETIME if the time ran out before all were
    /// cancelled; EINTR for a signal; EINVAL for criteria that the kernel does not know, or on
    /// older kernels.
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
            opcode: criteria.opcode,
            pad: [0; 7],
            pad2: [0; 3],
        };
        // SAFETY: the kernel reads the struct, in which there are no addresses.
        let found = unsafe { self.register_struct(IORING_REGISTER_SYNC_CANCEL, &mut arg, 1) }?;
        Ok(found as usize)
    }
}

/// Posts a completion to another ring, at once and without a ring of one's own
/// (`IORING_REGISTER_SEND_MSG_RING`). Since Linux 6.13.
///
/// `message` is a message of [`opcode`](crate::opcode) that carries data, to the descriptor of a
/// ring; its own user data does not matter.
///
/// # Errors
///
/// EINVAL for any other entry, or with [flags](crate::squeue::Flags); EBADF if the descriptor is not
/// open; EBADFD if it is no ring's, or the ring is disabled; EINVAL or EBADF on older kernels.
#[cfg(feature = "raw-syscall")]
pub fn send_msg_ring(message: &crate::squeue::Entry) -> io::Result<()> {
    let mut sqe = message.into_raw();
    // SAFETY: the kernel reads one entry, which it refuses unless it is a message; that points to
    // nothing.
    unsafe {
        crate::syscall::register_without_ring(
            IORING_REGISTER_SEND_MSG_RING as u32,
            (&raw mut sqe).cast(),
            1,
        )
    }
    .map(drop)
}
