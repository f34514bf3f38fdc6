//! The ring: its queues, its memory, and the handle that holds it open.

mod availability;
mod builder;
mod local;
mod quiesce;
mod resize;

pub use availability::{Availability, availability};
pub use builder::Builder;
pub use quiesce::QuiesceError;

use core::fmt;
use core::marker::PhantomData;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::io::{Errno, Result};

use crate::cqueue::{self, CompletionQueue};
use crate::handle::Handle;
use crate::handle::sealed::SEAL;
use crate::memory::Memory;
use crate::params::Parameters;
use crate::shared::{Cq, Sq};
use crate::squeue::{self, SubmissionQueue};
use crate::submit::Submitter;
use crate::types::SubmitArgs;

/// An io_uring instance: a submission queue, a completion queue, and a handle that holds them open.
///
/// The type parameters choose the kinds of the parts:
///
/// - `S` is the kind of the submission queue: [`squeue::Entry`], [`squeue::Entry128`],
///   [`squeue::Mixed`], or [`squeue::Rewind`] of one of them.
/// - `C` is the kind of the completion queue: [`cqueue::Entry`], [`cqueue::Entry32`] or
///   [`cqueue::Mixed`].
/// - `H` is the handle: an [`OwnedFd`], or [`Local`](crate::Local) for rings that stay in one task.
///   Tests can use a mock kernel as a third one, with the cargo feature `mock-kernel`.
///
/// # Dropping
///
/// Dropping a ring closes it, and does nothing else. Operations in flight continue: the kernel
/// cancels some of them later and completes the others. **Until then, it writes to their memory.**
/// If operations use your memory, end them first with [`quiesce`](Self::quiesce).
///
/// The kernel also releases the ring's resources, such as pinned memory, at some later time. If
/// your program creates many rings in a row, unregister resources before you drop a ring.
pub struct IoUring<
    S: squeue::Kind = squeue::Entry,
    C: cqueue::Kind = cqueue::Entry,
    H: Handle = OwnedFd,
> {
    // The order matters: the queues lie in the memory, and drop must unmap it before it closes the
    // ring.
    sq: Sq,
    cq: Cq,
    params: Parameters,
    memory: Memory,
    pub(crate) handle: H,
    kinds: PhantomData<fn() -> (S, C)>,
    sharing: PhantomData<<S as squeue::sealed::Sealed>::Sharing>,
}

impl IoUring {
    /// Creates a ring with at least `entries` slots for submissions, and twice as many for
    /// completions.
    ///
    /// # Errors
    ///
    /// Same errors as [`Builder::build`].
    pub fn new(entries: u32) -> Result<Self> {
        Self::builder().build(entries)
    }
}

impl<S: squeue::Kind, C: cqueue::Kind> IoUring<S, C> {
    /// Returns a builder for a ring with any kinds of queue and any flags.
    #[must_use]
    pub fn builder() -> Builder<S, C> {
        Builder::default()
    }
}

impl<S: squeue::Kind, C: cqueue::Kind, H: Handle> IoUring<S, C, H> {
    /// Returns the parameters of the ring.
    #[inline]
    pub fn params(&self) -> &Parameters {
        &self.params
    }

    /// Returns the [`Submitter`] of the ring, which makes its enter and register calls.
    #[inline]
    pub fn submitter(&self) -> Submitter<'_, H> {
        Submitter { sq: &self.sq, cq: &self.cq, params: &self.params, handle: &self.handle }
    }

    /// Returns the ring's descriptor, if it has one. See [`Submitter::ring_fd`].
    pub fn ring_fd(&self) -> Option<BorrowedFd<'_>> {
        self.handle.descriptor(SEAL)
    }

    /// Submits all pushed entries. See [`Submitter::submit`], in particular for errors.
    #[inline]
    pub fn submit(&self) -> Result<usize> {
        if S::REWIND {
            return self.submit_rewound(0, None);
        }
        self.submitter().submit()
    }

    /// Submits all pushed entries and waits for `want` completions. See
    /// [`Submitter::submit_and_wait`].
    #[inline]
    pub fn submit_and_wait(&self, want: usize) -> Result<usize> {
        if S::REWIND {
            return self.submit_rewound(want, None);
        }
        self.submitter().submit_and_wait(want)
    }

    /// Submits all pushed entries and waits for `want` completions, with the timeouts and the
    /// signal mask of [`args`](SubmitArgs). See [`Submitter::submit_with_args`].
    #[inline]
    pub fn submit_with_args(&self, want: usize, args: &SubmitArgs<'_>) -> Result<usize> {
        if S::REWIND {
            return self.submit_rewound(want, Some(args));
        }
        self.submitter().submit_with_args(want, args)
    }

    fn submit_rewound(&self, want: usize, args: Option<&SubmitArgs<'_>>) -> Result<usize> {
        // SAFETY: a rewound ring is not `Sync`, so no other thread has a view. A view of
        // `submission_shared` does not exist now, as its caller promised.
        let mut queue = unsafe { self.submission_shared() };
        queue.submit_rewound(&self.submitter(), want, args)
    }

    /// Splits the ring into its three parts, which you can use independently and from different
    /// threads.
    ///
    /// Entries must be [published](SubmissionQueue::sync) before you submit them. Call `sync` on a
    /// view to see the kernel's progress.
    #[inline]
    pub fn split(&mut self) -> (Submitter<'_, H>, SubmissionQueue<'_, S>, CompletionQueue<'_, C>) {
        // SAFETY: the ring is borrowed mutably, so there are no other views.
        let (sq, cq) = unsafe { (SubmissionQueue::new(&self.sq), CompletionQueue::new(&self.cq)) };
        (self.submitter(), sq, cq)
    }

    /// Returns a view of the submission queue.
    ///
    /// Dropping the view publishes the pushed entries. The ring cannot submit while the view
    /// exists:
    ///
    /// ```compile_fail
    /// # let mut ring = rustix_uring::IoUring::new(8).unwrap();
    /// let mut queue = ring.submission();
    /// ring.submit();
    /// queue.sync();
    /// ```
    #[inline]
    pub fn submission(&mut self) -> SubmissionQueue<'_, S> {
        // SAFETY: the ring is borrowed mutably, so there is no other view.
        unsafe { SubmissionQueue::new(&self.sq) }
    }

    /// Returns a view of the submission queue of a shared ring.
    ///
    /// # Safety
    ///
    /// No other view of the submission queue exists while this one exists. The drop of the previous
    /// view happens before this call: if it was in another thread, the two are synchronized (by a
    /// mutex, a channel, or a join). On a [rewound](squeue::Rewind) ring, no submit method of the
    /// ring is called while the view exists.
    #[inline]
    pub unsafe fn submission_shared(&self) -> SubmissionQueue<'_, S> {
        // SAFETY: the caller promises that there is no other view.
        unsafe { SubmissionQueue::new(&self.sq) }
    }

    /// Removes all pushed entries that the kernel has not consumed, whatever their kind.
    ///
    /// Use this after a failed submit. The removed entries do not run and post no completions. You
    /// may free their memory.
    ///
    /// # Errors
    ///
    /// EINVAL on SQPOLL rings, because their thread consumes entries at any time.
    pub fn clear(&mut self) -> Result<()> {
        self.nobody_takes()?;
        // SAFETY: the ring is borrowed mutably, so no other thread enters, and there is no SQPOLL
        // thread.
        unsafe { self.submission().clear() };
        Ok(())
    }

    /// Fails unless the kernel consumes entries only during enter calls.
    fn nobody_takes(&self) -> Result<()> {
        if self.params.is_setup_sqpoll() { Err(Errno::INVAL) } else { Ok(()) }
    }

    /// Returns a view of the completion queue.
    #[inline]
    pub fn completion(&mut self) -> CompletionQueue<'_, C> {
        // SAFETY: the ring is borrowed mutably, so there is no other view.
        unsafe { CompletionQueue::new(&self.cq) }
    }

    /// Returns a view of the completion queue of a shared ring.
    ///
    /// # Safety
    ///
    /// No other view of the completion queue exists while this one exists. The drop of the previous
    /// view happens before this call: if it was in another thread, the two are synchronized (by a
    /// mutex, a channel, or a join).
    #[inline]
    pub unsafe fn completion_shared(&self) -> CompletionQueue<'_, C> {
        // SAFETY: the caller promises that there is no other view.
        unsafe { CompletionQueue::new(&self.cq) }
    }

    /// Returns a handle that reads the fill level and the flags of the submission queue without a
    /// view of it.
    #[inline]
    pub fn submission_status(&self) -> squeue::Status<'_> {
        squeue::Status::new(&self.sq)
    }

    /// Returns a handle that reads the fill level of the completion queue without a view of it.
    #[inline]
    pub fn completion_status(&self) -> cqueue::Status<'_> {
        cqueue::Status::new(&self.cq)
    }

    /// Replaces the handle that holds the ring open.
    fn with_handle<T: Handle>(self, to: impl FnOnce(H) -> T) -> IoUring<S, C, T> {
        let Self { sq, cq, params, memory, handle, kinds, sharing } = self;
        IoUring { sq, cq, params, memory, handle: to(handle), kinds, sharing }
    }
}

impl<S: squeue::FixedSize, C: cqueue::Kind, H: Handle> IoUring<S, C, H> {
    /// Removes the newest entries that the kernel has not consumed, so that at most `len` entries
    /// are left.
    ///
    /// Use this after a failed submit. On a [mixed](squeue::Mixed) queue, use
    /// [`clear`](Self::clear).
    ///
    /// ```
    /// # use rustix_uring::{opcode, IoUring};
    /// let mut ring = IoUring::new(8)?;
    /// let mut buf = vec![0; 64];
    /// let file = std::fs::File::open("README.md")?;
    /// let read = opcode::Read::new(&file, buf.as_mut_ptr(), 64).build();
    /// // SAFETY: the buffer lives until the entry is removed.
    /// unsafe { ring.submission().push(&read)? };
    /// ring.truncate(0)?;
    /// drop(buf);
    /// assert_eq!(ring.submit()?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// EINVAL on SQPOLL rings, because their thread consumes entries at any time.
    pub fn truncate(&mut self, len: usize) -> Result<()> {
        self.nobody_takes()?;
        // SAFETY: the ring is borrowed mutably, so no other thread enters, and there is no SQPOLL
        // thread.
        unsafe { self.submission().truncate(len) };
        Ok(())
    }
}

impl<S: squeue::Kind, C: cqueue::Kind> AsFd for IoUring<S, C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl<S: squeue::Kind, C: cqueue::Kind> AsRawFd for IoUring<S, C> {
    fn as_raw_fd(&self) -> RawFd {
        self.handle.as_raw_fd()
    }
}

/// Unmaps the queues and returns the descriptor, which holds the ring open.
///
/// Use this to pass a ring on to another process, or to [`IoUring::from_fd`]. Copy the ring's
/// [`params`](IoUring::params) first, which the receiver needs. For a [`Local`](crate::Local) ring,
/// call [`into_shared`](IoUring::into_shared) first.
///
/// The ring continues to work:
///
/// - Operations in flight continue, use their memory, and post their completions. These appear in
///   the queue of [`IoUring::from_fd`].
/// - Published entries that the kernel has not consumed stay queued. The entries of a
///   [rewound](squeue::Rewind) queue are discarded and post nothing.
/// - Registered resources stay registered. Handles such as [`BufRing`](crate::BufRing) belong to
///   the `IoUring` that created them: the `IoUring` that `from_fd` creates rejects them.
/// - The safety contract of [`build_in_memory`](crate::Builder::build_in_memory) still holds for
///   memory that you provided. `from_fd` rejects such a ring.
///
/// ```
/// use rustix_uring::IoUring;
/// use std::os::fd::OwnedFd;
///
/// let ring = IoUring::new(8)?;
/// let params = *ring.params();
/// let fd = OwnedFd::from(ring);
/// // SAFETY: the descriptor and the parameters are those of a ring that nothing else uses.
/// let ring: IoUring = unsafe { IoUring::from_fd(fd, params) }?;
/// ring.submit_and_wait(0)?;
/// # Ok::<(), rustix_uring::Errno>(())
/// ```
impl<S: squeue::Kind, C: cqueue::Kind> From<IoUring<S, C>> for OwnedFd {
    fn from(ring: IoUring<S, C>) -> Self {
        // The queues do not outlive their memory. The other fields have no destructors.
        ring.handle
    }
}

impl<S: squeue::Kind, C: cqueue::Kind, H: Handle> fmt::Debug for IoUring<S, C, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoUring").field("params", &self.params).finish_non_exhaustive()
    }
}
