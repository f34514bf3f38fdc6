//! The ring: its queues, its memory, and what holds it open.

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

/// A ring.
///
/// `S` is the kind of its submission queue: [`squeue::Entry`], [`squeue::Entry128`],
/// [`squeue::Mixed`], or [`squeue::Rewind`] of one of them. `C` is the kind of its completion
/// queue: [`cqueue::Entry`], [`cqueue::Entry32`] or [`cqueue::Mixed`]. `H` is what holds it open:
/// an [`OwnedFd`], or [`Local`](crate::Local) for rings that stay in one task. (Tests have a third, with the
/// cargo feature `mock-kernel`.)
///
/// # Dropping it
///
/// closes it, and nothing else. Operations in flight go on: some the kernel cancels, at some later
/// time, others it completes, and **it writes to their memory until then**. If operations use memory
/// of yours, end them first, with [`quiesce`](Self::quiesce).
///
/// What a ring holds in the kernel (pinned memory, for one) is also released at some later time.
/// Programs that make many rings in a row unregister first.
pub struct IoUring<
    S: squeue::Kind = squeue::Entry,
    C: cqueue::Kind = cqueue::Entry,
    H: Handle = OwnedFd,
> {
    // In this order: the queues lie in the memory, which is unmapped before the ring is closed.
    sq: Sq,
    cq: Cq,
    params: Parameters,
    memory: Memory,
    pub(crate) handle: H,
    kinds: PhantomData<fn() -> (S, C)>,
    sharing: PhantomData<<S as squeue::sealed::Sealed>::Sharing>,
}

impl IoUring {
    /// A ring with at least `entries` slots for submissions, and twice as many for completions.
    ///
    /// # Errors
    ///
    /// As of [`Builder::build`].
    pub fn new(entries: u32) -> Result<Self> {
        Self::builder().build(entries)
    }
}

impl<S: squeue::Kind, C: cqueue::Kind> IoUring<S, C> {
    /// What a ring of any kind, with whichever flags, is set up by.
    #[must_use]
    pub fn builder() -> Builder<S, C> {
        Builder::default()
    }
}

impl<S: squeue::Kind, C: cqueue::Kind, H: Handle> IoUring<S, C, H> {
    /// What the ring was set up with.
    #[inline]
    pub fn params(&self) -> &Parameters {
        &self.params
    }

    /// Enters the kernel for the ring: to submit, to wait, to register.
    #[inline]
    pub fn submitter(&self) -> Submitter<'_, H> {
        Submitter { sq: &self.sq, cq: &self.cq, params: &self.params, handle: &self.handle }
    }

    /// Returns the ring's descriptor, if it has one. See [`Submitter::ring_fd`].
    pub fn ring_fd(&self) -> Option<BorrowedFd<'_>> {
        self.handle.descriptor(SEAL)
    }

    /// Submits what was pushed. See [`Submitter::submit`], errors above all.
    #[inline]
    pub fn submit(&self) -> Result<usize> {
        if S::REWIND {
            return self.submit_rewound(0, None);
        }
        self.submitter().submit()
    }

    /// Submits what was pushed, and waits until `want` completions are there. See
    /// [`Submitter::submit_and_wait`].
    #[inline]
    pub fn submit_and_wait(&self, want: usize) -> Result<usize> {
        if S::REWIND {
            return self.submit_rewound(want, None);
        }
        self.submitter().submit_and_wait(want)
    }

    /// Submits what was pushed, and waits until `want` completions are there, or as `args` says.
    /// See [`Submitter::submit_with_args`].
    #[inline]
    pub fn submit_with_args(&self, want: usize, args: &SubmitArgs<'_>) -> Result<usize> {
        if S::REWIND {
            return self.submit_rewound(want, Some(args));
        }
        self.submitter().submit_with_args(want, args)
    }

    fn submit_rewound(&self, want: usize, args: Option<&SubmitArgs<'_>>) -> Result<usize> {
        // SAFETY: a rewound ring is not `Sync`, so we are alone; a view of `submission_shared` is
        // promised not to exist now.
        let mut queue = unsafe { self.submission_shared() };
        queue.submit_rewound(&self.submitter(), want, args)
    }

    /// The ring's three parts, to be used independently, also from different threads.
    ///
    /// What is pushed must be [published](SubmissionQueue::sync) before it is submitted, and the
    /// views must be synced to see what has happened since.
    #[inline]
    pub fn split(&mut self) -> (Submitter<'_, H>, SubmissionQueue<'_, S>, CompletionQueue<'_, C>) {
        // SAFETY: the ring is borrowed mutably, so there are no other views.
        let (sq, cq) = unsafe { (SubmissionQueue::new(&self.sq), CompletionQueue::new(&self.cq)) };
        (self.submitter(), sq, cq)
    }

    /// A view of the submission queue.
    ///
    /// What is pushed is published when the view goes, so the ring cannot submit while it is there:
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

    /// A view of the submission queue, of a ring that is shared.
    ///
    /// # Safety
    ///
    /// No other view of the submission queue exists while this one does. The drop of the one before
    /// happens before this call: if it was in another thread, something has synchronized the two (a
    /// mutex, a channel, a join). On a [rewound](squeue::Rewind) ring, none of the ring's submit
    /// methods is called while the view exists, either.
    #[inline]
    pub unsafe fn submission_shared(&self) -> SubmissionQueue<'_, S> {
        // SAFETY: the caller promises that there is no other view.
        unsafe { SubmissionQueue::new(&self.sq) }
    }

    /// Takes back everything that was pushed and that the kernel has not taken, of any kind of entry.
    ///
    /// This is for after a failed submit. What is taken back does not run and posts no completion; its
    /// memory is yours again.
    ///
    /// # Errors
    ///
    /// EINVAL on SQPOLL rings, whose thread takes entries at any time.
    pub fn clear(&mut self) -> Result<()> {
        self.nobody_takes()?;
        // SAFETY: the ring is borrowed mutably, so no other thread enters, and there is no SQPOLL
        // thread.
        unsafe { self.submission().clear() };
        Ok(())
    }

    /// Whether the kernel looks at the queue only when we enter.
    fn nobody_takes(&self) -> Result<()> {
        if self.params.is_setup_sqpoll() { Err(Errno::INVAL) } else { Ok(()) }
    }

    /// A view of the completion queue.
    #[inline]
    pub fn completion(&mut self) -> CompletionQueue<'_, C> {
        // SAFETY: the ring is borrowed mutably, so there is no other view.
        unsafe { CompletionQueue::new(&self.cq) }
    }

    /// A view of the completion queue, of a ring that is shared.
    ///
    /// # Safety
    ///
    /// No other view of the completion queue exists while this one does. The drop of the one before
    /// happens before this call: if it was in another thread, something has synchronized the two (a
    /// mutex, a channel, a join).
    #[inline]
    pub unsafe fn completion_shared(&self) -> CompletionQueue<'_, C> {
        // SAFETY: the caller promises that there is no other view.
        unsafe { CompletionQueue::new(&self.cq) }
    }

    /// Returns a handle that tells how full the submission queue is and what the kernel says in its
    /// flags, without a view of it.
    #[inline]
    pub fn submission_status(&self) -> squeue::Status<'_> {
        squeue::Status::new(&self.sq)
    }

    /// Returns a handle that tells how full the completion queue is, without a view of it.
    #[inline]
    pub fn completion_status(&self) -> cqueue::Status<'_> {
        cqueue::Status::new(&self.cq)
    }

    /// The same ring, held open otherwise.
    fn with_handle<T: Handle>(self, to: impl FnOnce(H) -> T) -> IoUring<S, C, T> {
        let Self { sq, cq, params, memory, handle, kinds, sharing } = self;
        IoUring { sq, cq, params, memory, handle: to(handle), kinds, sharing }
    }
}

impl<S: squeue::FixedSize, C: cqueue::Kind, H: Handle> IoUring<S, C, H> {
    /// Takes back the newest entries that the kernel has not taken, and leaves at most `len`. See
    /// [`clear`](Self::clear), which also works on [mixed](squeue::Mixed) queues.
    ///
    /// ```
    /// # use rustix_uring::{opcode, IoUring};
    /// let mut ring = IoUring::new(8)?;
    /// let mut buf = vec![0; 64];
    /// let read = opcode::Read::new(rustix_uring::types::Fd(-1), buf.as_mut_ptr(), 64).build();
    /// // SAFETY: the buffer lives until the entry is taken back.
    /// unsafe { ring.submission().push(&read)? };
    /// ring.truncate(0)?;
    /// drop(buf);
    /// assert_eq!(ring.submit()?, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// EINVAL on SQPOLL rings, whose thread takes entries at any time.
    pub fn truncate(&mut self, len: usize) -> Result<()> {
        self.nobody_takes()?;
        // SAFETY: as in `clear`.
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

/// Unmaps the queues and keeps the descriptor, which holds the ring open.
///
/// This hands a ring on, to another process or to [`IoUring::from_fd`] with its
/// [`params`](IoUring::params), which you copy before. For a [`Local`](crate::Local) ring, call
/// [`into_shared`](IoUring::into_shared) first.
///
/// The ring goes on:
///
/// - Operations in flight go on, use their memory, and post their completions. You see these in the
///   queue of [`IoUring::from_fd`].
/// - What was published and not taken stays queued. What a [rewound](squeue::Rewind) queue holds is
///   forgotten, and posts nothing.
/// - What is registered stays registered. Handles ([`BufRing`](crate::BufRing) and the like) belong
///   to the `IoUring` that made them: `from_fd` makes another one, which refuses them.
/// - Memory that you [brought](crate::Builder::build_in_memory) stays promised, and `from_fd` refuses
///   such a ring.
///
/// ```
/// use rustix_uring::IoUring;
/// use std::os::fd::OwnedFd;
///
/// let ring = IoUring::new(8)?;
/// let params = *ring.params();
/// let fd = OwnedFd::from(ring);
/// // SAFETY: the descriptor and the parameters are those of a ring that nobody else uses.
/// let ring: IoUring = unsafe { IoUring::from_fd(fd, params) }?;
/// ring.submit_and_wait(0)?;
/// # Ok::<(), rustix_uring::Errno>(())
/// ```
impl<S: squeue::Kind, C: cqueue::Kind> From<IoUring<S, C>> for OwnedFd {
    fn from(ring: IoUring<S, C>) -> Self {
        // The queues end before their memory; the rest of the ring has no end of its own.
        ring.handle
    }
}

impl<S: squeue::Kind, C: cqueue::Kind, H: Handle> fmt::Debug for IoUring<S, C, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IoUring").field("params", &self.params).finish_non_exhaustive()
    }
}
