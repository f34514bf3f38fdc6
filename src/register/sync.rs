//! Cancelling, and sending messages, at once.

use rustix::io::{self, Errno};

use crate::handle::Handle;
use crate::submit::Submitter;
use crate::sys::{__kernel_timespec, io_uring_register_op::*, io_uring_sync_cancel_reg};
use crate::types::{AsyncCancelFlags, CancelBuilder, Timespec};

/// # Cancelling
impl<H: Handle> Submitter<'_, H> {
    /// Cancels the requests of this ring that match `criteria`, and waits until they are cancelled
    /// (`IORING_REGISTER_SYNC_CANCEL`), at most as long as `timeout` says. Since Linux 6.0.
    ///
    /// The cancelled requests post their completions as ever. Those of a worker thread complete with
    /// -EINTR, or with the errno that they were interrupted with. Requests that cannot be found, such
    /// as direct I/O in the block layer, are not waited for. So this is no barrier:
    /// [`quiesce`](crate::IoUring::quiesce) is one.
    ///
    /// With [`all`](CancelBuilder::all) or [`any`](CancelBuilder::any), it cancels what it finds, and
    /// does not wait for requests in progress.
    ///
    /// A descriptor in `criteria` is safe, although it is a number: the kernel compares its file with
    /// those of the ring's own requests, and does nothing else with it. If it is another file's by
    /// now, other requests of this ring are cancelled, or none.
    ///
    /// # Result
    ///
    /// How many were found at once, with [`CancelBuilder::all`] or [`CancelBuilder::any`]; else 0.
    ///
    /// # Errors
    ///
    /// | errno | because |
    /// |---|---|
    /// | ENOENT | no request matches; also, for a moment, if the request is on its way to a worker thread |
    /// | EBADF | the descriptor to match is not open |
    /// | ETIME | the time ran out before all were cancelled |
    /// | EINTR | a signal came |
    /// | EINVAL | the kernel has no such call, or does not know these criteria. Before 6.6, this crate refuses user data and operations beside other criteria, which the kernel would ignore |
    pub fn register_sync_cancel(
        &self,
        timeout: Option<Timespec>,
        criteria: CancelBuilder,
    ) -> io::Result<usize> {
        // The kernel takes -1 in both fields for "no limit", but compares them with a word of its
        // own: on 32-bit kernels with 0xffff_ffff, where -1 is a time that has passed. Elsewhere
        // this is a limit of 136 years.
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

    /// EINVAL if the kernel would ignore some criteria: where the opcode is now, older kernels want
    /// zero. This looks for requests of a file that is none, so it finds nothing.
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
        // SAFETY: the kernel reads the struct, in which there are no addresses.
        let found = unsafe { self.register_struct(IORING_REGISTER_SYNC_CANCEL, &mut arg, 1) }?;
        Ok(found as usize)
    }
}

/// Posts a completion to another ring, at once and without a ring of one's own
/// (`IORING_REGISTER_SEND_MSG_RING`). Since Linux 6.13.
///
/// The completion is that of [`MsgRingData`](crate::opcode::MsgRingData): `result`, `user_data`, and
/// `user_flags` if given. Everybody who has the descriptor of a ring can post to it: keep it to
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
        crate::sys::call::register_without_ring(
            IORING_REGISTER_SEND_MSG_RING as u32,
            (&raw mut sqe).cast(),
            1,
        )
    }
    .map(drop)
}
