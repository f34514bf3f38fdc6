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
/// The completion is that of [`MsgRingData`](crate::opcode::MsgRingData): `result`, `user_data`, and
/// `user_flags` if given. Whoever is given the descriptor of a ring can post to it: keep it to
/// yourself where your program relies on what completions say.
///
/// ```
/// # use rustix_uring::{IoUring, send_msg_ring};
/// let mut ring = IoUring::new(2)?;
/// if send_msg_ring(&ring, 42, 7, None).is_ok() {
///     let cqe = ring.completion().next().expect("it was posted");
///     assert_eq!((cqe.result(), cqe.user_data()), (42, 7));
/// }
/// # Ok::<(), rustix_uring::Errno>(())
/// ```
///
/// A bare number is not taken for a ring:
///
/// ```compile_fail,E0277
/// rustix_uring::send_msg_ring(3, 42, 7, None);
/// ```
///
/// # Errors
///
/// EBADFD if the descriptor is no ring's, or the ring is disabled; EOVERFLOW if its completion queue is
/// full and memory is short; EINVAL or EBADF on older kernels.
#[cfg(feature = "raw-syscall")]
pub fn send_msg_ring(
    ring: impl rustix::fd::AsFd,
    result: i32,
    user_data: u64,
    user_flags: Option<u32>,
) -> io::Result<()> {
    let message = crate::opcode::MsgRingData::new(ring.as_fd(), result, user_data, user_flags);
    let mut sqe = message.build().into_raw();
    // SAFETY: the kernel reads one entry, a message, which points to nothing.
    unsafe {
        crate::syscall::register_without_ring(
            IORING_REGISTER_SEND_MSG_RING as u32,
            (&raw mut sqe).cast(),
            1,
        )
    }
    .map(drop)
}
