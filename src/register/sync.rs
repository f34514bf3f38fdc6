//! Synchronous cancellation, and messages without an entry.

use rustix::io::{self, Errno};

use crate::handle::Handle;
use crate::submit::Submitter;
use crate::sys::{__kernel_timespec, io_uring_register_op::*, io_uring_sync_cancel_reg};
use crate::types::{AsyncCancelFlags, CancelBuilder, Timespec};

/// # Cancellation
impl<H: Handle> Submitter<'_, H> {
    /// Cancels the requests of this ring that match `criteria`, and waits until they are canceled
    /// or `timeout` expires (`IORING_REGISTER_SYNC_CANCEL`). Since Linux 6.0.
    ///
    /// The canceled requests still post their completions. Requests that a worker thread was
    /// running complete with -EINTR, or with the errno that the interruption caused. The call does
    /// not wait for requests that the kernel cannot find, such as direct I/O in the block layer. So
    /// it is not a barrier; [`quiesce`](crate::IoUring::quiesce) is.
    ///
    /// With [`all`](CancelBuilder::all) or [`any`](CancelBuilder::any), the call cancels the
    /// requests that it finds, and does not wait for requests in progress.
    ///
    /// A descriptor in `criteria` is safe, although it is only a number: the kernel compares its
    /// file with the files of this ring's own requests, and does nothing else with it. If the
    /// number refers to another file by now, the call cancels other requests of this ring, or none.
    ///
    /// # Result
    ///
    /// With [`CancelBuilder::all`] or [`CancelBuilder::any`], returns the number of requests found
    /// at the first attempt. Otherwise returns 0.
    ///
    /// # Errors
    ///
    /// | errno | because |
    /// |---|---|
    /// | ENOENT | no request matches; also possible for a moment while the request is on its way to a worker thread |
    /// | EBADF | the descriptor to match is not open |
    /// | ETIME | the timeout expired before all matching requests were canceled |
    /// | EINTR | a signal arrived |
    /// | EINVAL | the kernel does not have this call, or does not know these criteria. Before Linux 6.6, the kernel would ignore user data and operations combined with other criteria, so this crate fails instead |
    pub fn register_sync_cancel(
        &self,
        timeout: Option<Timespec>,
        criteria: CancelBuilder,
    ) -> io::Result<usize> {
        // -1 in both fields means "no limit", but the kernel compares them with -1 as an unsigned
        // word. A 32-bit kernel compares with 0xffff_ffff, and treats a 64-bit -1 as a time in the
        // past. On 64-bit kernels, this value is a limit of 136 years.
        const NEVER: (i64, i64) = (u32::MAX as i64, u32::MAX as i64);
        let (tv_sec, tv_nsec) = timeout.map_or(NEVER, Timespec::into_parts);
        if criteria.flags.intersects(AsyncCancelFlags::USERDATA | AsyncCancelFlags::OP) {
            self.knows_all_criteria()?;
        }
        self.sync_cancel(io_uring_sync_cancel_reg {
            addr: criteria.user_data,
            fd: criteria.fd,
            flags: criteria.flags.bits(),
            timeout: __kernel_timespec { tv_sec, tv_nsec },
            opcode: criteria.opcode,
            pad: [0; 7],
            pad2: [0; 3],
        })
    }

    /// Fails with EINVAL if the kernel would ignore some criteria. Such kernels require zero in the
    /// field of the opcode. The probe asks for requests of descriptor -1, so it cancels nothing.
    fn knows_all_criteria(&self) -> io::Result<()> {
        let probe = self.sync_cancel(io_uring_sync_cancel_reg {
            addr: 0,
            fd: -1,
            flags: AsyncCancelFlags::FD.bits(),
            timeout: __kernel_timespec { tv_sec: 0, tv_nsec: 0 },
            opcode: u8::MAX,
            pad: [0; 7],
            pad2: [0; 3],
        });
        match probe {
            Err(Errno::INVAL) => Err(Errno::INVAL),
            _ => Ok(()),
        }
    }

    fn sync_cancel(&self, mut arg: io_uring_sync_cancel_reg) -> io::Result<usize> {
        // SAFETY: the kernel reads the struct, which contains no addresses.
        let found = unsafe { self.register_struct(IORING_REGISTER_SYNC_CANCEL, &mut arg, 1) }?;
        Ok(found as usize)
    }
}

/// Posts a completion to a ring synchronously, without a ring of your own
/// (`IORING_REGISTER_SEND_MSG_RING`). Since Linux 6.13.
///
/// The completion has `result`, `user_data`, and `user_flags` if you pass them, as with
/// [`MsgRingData`](crate::opcode::MsgRingData). Anyone who has the descriptor of a ring can post to
/// it. If your program relies on the contents of completions, do not share the descriptor.
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
/// A plain number is not accepted as a ring:
///
/// ```compile_fail,E0277
/// rustix_uring::send_msg_ring(3, 42, 7, None);
/// ```
///
/// # Errors
///
/// EBADFD if the descriptor is not a ring, or if the ring is disabled; EOVERFLOW if its completion
/// queue is full and memory is short; EINVAL or EBADF on older kernels.
#[cfg(feature = "raw-syscall")]
pub fn send_msg_ring(
    ring: impl rustix::fd::AsFd,
    result: i32,
    user_data: u64,
    user_flags: Option<u32>,
) -> io::Result<()> {
    let message = crate::opcode::MsgRingData::new(ring.as_fd(), result, user_data, user_flags);
    let mut sqe = message.build().into_raw();
    // SAFETY: the kernel reads one entry, a message, which contains no addresses.
    unsafe {
        crate::sys::call::register_without_ring(
            IORING_REGISTER_SEND_MSG_RING as u32,
            (&raw mut sqe).cast(),
            1,
        )
    }
    .map(drop)
}
