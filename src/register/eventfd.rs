//! An eventfd that completions signal.

use rustix::fd::{AsFd, AsRawFd};
use rustix::io;

use crate::handle::Handle;
use crate::submit::Submitter;
use crate::sys::io_uring_register_op::*;

/// # The eventfd
///
/// A registered eventfd tells an event loop that is not based on io_uring that completions have
/// arrived. Its counter does not tell how many arrived. On a ring with `DEFER_TASKRUN`, the kernel
/// also signals it when work waits for your task. Linux 7.2 and 7.3 do that shortly after the event.
/// To stop the signals for a while, call
/// [`disable_eventfd`](crate::CompletionQueue::disable_eventfd).
impl<H: Handle> Submitter<'_, H> {
    /// Registers an eventfd that the kernel signals with each completion
    /// (`IORING_REGISTER_EVENTFD`). Since Linux 5.2.
    ///
    /// The ring keeps the eventfd open, so you may close your descriptor. A plain number is not
    /// accepted:
    ///
    /// ```compile_fail,E0277
    /// # let ring = rustix_uring::IoUring::new(2).unwrap();
    /// ring.submitter().register_eventfd(2);
    /// ```
    ///
    /// # Errors
    ///
    /// EBUSY if the ring has an eventfd already; EINVAL if `eventfd` is not one.
    pub fn register_eventfd(&self, eventfd: impl AsFd) -> io::Result<()> {
        let fd = eventfd.as_fd().as_raw_fd();
        // SAFETY: the kernel expects one descriptor.
        unsafe { self.register_slice(IORING_REGISTER_EVENTFD, &[fd]) }.map(drop)
    }

    /// Registers an eventfd that the kernel signals only with completions that it posts
    /// asynchronously (`IORING_REGISTER_EVENTFD_ASYNC`). Since Linux 5.6.
    ///
    /// Operations that complete during their submission do not signal it.
    ///
    /// # Errors
    ///
    /// Same errors as [`register_eventfd`](Self::register_eventfd).
    pub fn register_eventfd_async(&self, eventfd: impl AsFd) -> io::Result<()> {
        let fd = eventfd.as_fd().as_raw_fd();
        // SAFETY: the kernel expects one descriptor.
        unsafe { self.register_slice(IORING_REGISTER_EVENTFD_ASYNC, &[fd]) }.map(drop)
    }

    /// Unregisters the eventfd (`IORING_UNREGISTER_EVENTFD`). Since Linux 5.2.
    ///
    /// # Errors
    ///
    /// ENXIO if the ring has no eventfd.
    pub fn unregister_eventfd(&self) -> io::Result<()> {
        self.register_nothing(IORING_UNREGISTER_EVENTFD).map(drop)
    }
}
