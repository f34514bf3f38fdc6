//! Cancelling, and sending messages, at once.

use rustix::io::{self, Errno};

use crate::local::Handle;
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
