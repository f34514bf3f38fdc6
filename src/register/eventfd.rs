//! An eventfd that completions signal.

use rustix::fd::{AsFd, AsRawFd};
use rustix::io;

use crate::handle::Handle;
use crate::submit::Submitter;
use crate::sys::io_uring_register_op::*;

/// # The eventfd
///
/// It tells an event loop of another kind that completions are there. How many is not to be had
/// from its count. [`disable_eventfd`](crate::CompletionQueue::disable_eventfd) silences it for a
/// while.
impl<H: Handle> Submitter<'_, H> {
    /// Signals this eventfd with each completion (`IORING_REGISTER_EVENTFD`). Since Linux 5.2.
    ///
    /// The ring keeps the eventfd open by itself. A bare number is not taken for one:
    ///
    /// ```compile_fail,E0277
    /// # let ring = rustix_uring::IoUring::new(2).unwrap();
    /// ring.submitter().register_eventfd(2);
    /// ```
    ///
    /// # Errors
    ///
    /// EBUSY if there is one already; EINVAL if this is none.
    pub fn register_eventfd(&self, eventfd: impl AsFd) -> io::Result<()> {
        let fd = eventfd.as_fd().as_raw_fd();
        // SAFETY: one descriptor is what the kernel expects.
        unsafe { self.register_slice(IORING_REGISTER_EVENTFD, &[fd]) }.map(drop)
    }

    /// Signals this eventfd with each completion that comes of itself, and not with those that are
    /// there when the submission returns (`IORING_REGISTER_EVENTFD_ASYNC`). Since Linux 5.6.
    ///
    /// # Errors
    ///
    /// As of [`register_eventfd`](Self::register_eventfd).
    pub fn register_eventfd_async(&self, eventfd: impl AsFd) -> io::Result<()> {
        let fd = eventfd.as_fd().as_raw_fd();
        // SAFETY: one descriptor is what the kernel expects.
        unsafe { self.register_slice(IORING_REGISTER_EVENTFD_ASYNC, &[fd]) }.map(drop)
    }

    /// Leaves the eventfd alone from now on (`IORING_UNREGISTER_EVENTFD`). Since Linux 5.2.
    ///
    /// # Errors
    ///
    /// ENXIO if there is none.
    pub fn unregister_eventfd(&self) -> io::Result<()> {
        self.register_nothing(IORING_UNREGISTER_EVENTFD).map(drop)
    }
}
