//! An eventfd that completions signal.

use rustix::fd::RawFd;
use rustix::io;

use crate::local::Handle;
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
    /// # Errors
    ///
    /// EBUSY if there is one already; EBADF or EINVAL if this is none.
    pub fn register_eventfd(&self, eventfd: RawFd) -> io::Result<()> {
        // SAFETY: one descriptor is what the kernel expects.
        unsafe { self.register_slice(IORING_REGISTER_EVENTFD, &[eventfd]) }.map(drop)
    }

    /// Signals this eventfd with each completion that comes of itself, and not with those that are
    /// there when the submission returns (`IORING_REGISTER_EVENTFD_ASYNC`). Since Linux 5.6.
    ///
    /// # Errors
    ///
    /// As of [`register_eventfd`](Self::register_eventfd).
    pub fn register_eventfd_async(&self, eventfd: RawFd) -> io::Result<()> {
        // SAFETY: one descriptor is what the kernel expects.
        unsafe { self.register_slice(IORING_REGISTER_EVENTFD_ASYNC, &[eventfd]) }.map(drop)
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
