//! Entering the kernel: to submit, to wait, or both.

use rustix::fd::BorrowedFd;
use rustix::io::{self, Errno};

use crate::cqueue::Status;
use crate::handle::Handle;
use crate::handle::sealed::SEAL;
use crate::params::{EnterFlags, Parameters, SetupFlags};
use crate::shared::{Cq, RingId, Sq, wakeup_fence};
use crate::sys;
use crate::sys::call::EnterArg;
use crate::types::SubmitArgs;

/// Enters the kernel for a ring: to submit what its queue holds, to wait, to register.
pub struct Submitter<'a, H: Handle = rustix::fd::OwnedFd> {
    pub(crate) sq: &'a Sq,
    pub(crate) cq: &'a Cq,
    pub(crate) params: &'a Parameters,
    pub(crate) handle: &'a H,
}

impl<H: Handle> Clone for Submitter<'_, H> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<H: Handle> Copy for Submitter<'_, H> {}

impl<H: Handle> core::fmt::Debug for Submitter<'_, H> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Submitter").field("params", self.params).finish_non_exhaustive()
    }
}

/// The flags of an enter call, or `None` if none is due. Every path into the kernel asks here.
///
/// `sq_flags` is the queue's flag word; on SQPOLL rings it was read behind
/// [`wakeup_fence`]. `events` is whether the caller wants completions, be it none in particular.
#[inline(always)]
const fn enter_flags(
    setup: SetupFlags,
    sq_flags: u32,
    to_submit: u32,
    events: bool,
) -> Option<EnterFlags> {
    let sqpoll = setup.contains(SetupFlags::SQPOLL);
    let mut flags = EnterFlags::empty();
    // Completions that found no room, or that wait for this task, come with GETEVENTS only; polled
    // I/O is reaped by nobody else, unless there is a thread for it.
    let waiting = sq_flags & (sys::IORING_SQ_CQ_OVERFLOW | sys::IORING_SQ_TASKRUN) != 0;
    if events || waiting || (setup.contains(SetupFlags::IOPOLL) && !sqpoll) {
        flags = flags.union(EnterFlags::GETEVENTS);
    }
    if sqpoll && sq_flags & sys::IORING_SQ_NEED_WAKEUP != 0 {
        flags = flags.union(EnterFlags::SQ_WAKEUP);
    }
    // The thread submits, so that submitting alone is no reason to enter.
    let submits = to_submit > 0 && !sqpoll;
    if submits || !flags.is_empty() { Some(flags) } else { None }
}

impl<'a, H: Handle> Submitter<'a, H> {
    /// Returns the ring's descriptor, if it has one.
    ///
    /// Use it to [send messages](crate::opcode::MsgRingData) to the ring from other rings, or to wait
    /// for the ring in an epoll instance ([how](crate::cqueue#in-an-event-loop-of-another-kind)). The
    /// latter needs an eventfd instead if the ring [defers its
    /// work](crate::Builder::setup_defer_taskrun), as those of
    /// [`build_local`](crate::Builder::build_local) do.
    ///
    /// These rings do not have a descriptor:
    ///
    /// - those that are [registered](crate::IoUring::register_ring_fd) and have
    ///   [closed](crate::IoUring::close_ring_fd) theirs,
    /// - those that were [built without](crate::Builder::build_registered_in_memory),
    /// - those of a mock kernel.
    ///
    /// ```
    /// use rustix_uring::IoUring;
    ///
    /// let ring = <IoUring>::builder().build_local(8)?;
    /// assert!(ring.submitter().ring_fd().is_some());
    /// # Ok::<(), rustix_uring::Errno>(())
    /// ```
    pub fn ring_fd(&self) -> Option<BorrowedFd<'a>> {
        self.handle.descriptor(SEAL)
    }
}

impl<H: Handle> Submitter<'_, H> {
    /// Submits everything that the queue's view has published.
    ///
    /// Makes no system call where none is needed: with nothing to submit and no completion that
    /// waits for one, or where the SQPOLL thread is awake.
    ///
    /// # Result
    ///
    /// How many slots of the queue the kernel has taken. Fewer than there were is no error: it
    /// stops behind an entry that it refuses, which gets a completion that says why (unless the
    /// ring has [`setup_submit_all`](crate::Builder::setup_submit_all)). On SQPOLL rings, where
    /// the thread takes them, it is how many there were, and may count some twice between calls.
    ///
    /// # Errors
    ///
    /// What the kernel had not taken **is still queued, and runs with the next submit**; see
    /// [`IoUring::truncate`](crate::IoUring::truncate) for taking it back.
    ///
    /// | errno | because | do |
    /// |---|---|---|
    /// | EAGAIN | no memory for requests | reap, and submit again |
    /// | EBUSY | too many completions wait for room (older kernels) | reap, and submit again |
    /// | EINTR | a signal came while waiting | submit again |
    /// | EEXIST | the ring has [`setup_single_issuer`](crate::Builder::setup_single_issuer) and belongs to another task | submit there |
    /// | EBADFD | the ring is disabled | enable it first |
    /// | EOWNERDEAD | the SQPOLL thread is gone | make a new ring |
    /// | EBADR | completions are lost for want of memory, [`overflow`](crate::CompletionQueue::overflow) many | they will not come |
    /// | EINVAL | the ring is [rewound](crate::squeue::Rewind) and its queue holds entries, which a submitter cannot submit | submit with the queue's view |
    #[inline]
    pub fn submit(&self) -> io::Result<usize> {
        self.enter_for(self.queued()? as usize, 0, None)
    }

    /// Submits everything that the queue's view has published, and waits until `want` completions
    /// are there.
    ///
    /// Completions that are there already count, those of earlier submissions included, until they
    /// are [released](crate::cqueue). If the kernel takes fewer entries than there were, it does
    /// not wait at all.
    ///
    /// If `want` is above 0, this always enters the kernel, and so runs what is deferred;
    /// [`wait`](Self::wait) does not. A `want` above the capacity of the completion queue counts as the
    /// capacity: the wait ends when the queue is full. On [mixed](crate::cqueue::Mixed) completion queues
    /// it ends one slot before that: Linux 6.18 and 7.2 spin forever in a wait for all slots if a
    /// completion of 32 bytes finds one of them free.
    ///
    /// # Result and errors
    ///
    /// As of [`submit`](Self::submit). Where anything was submitted, an error of the wait (a
    /// signal, say) is not reported: the count is, and the completions may be fewer than wanted.
    #[inline]
    pub fn submit_and_wait(&self, want: usize) -> io::Result<usize> {
        self.enter_for(self.queued()? as usize, want, None)
    }

    /// Submits everything that the queue's view has published, and waits until `want` completions
    /// are there, or as [`SubmitArgs`] says.
    ///
    /// # Result and errors
    ///
    /// As of [`submit_and_wait`](Self::submit_and_wait); so a count of at least one can hide that
    /// the time ran out. With nothing to submit:
    ///
    /// | errno | because |
    /// |---|---|
    /// | ETIME | the time ran out, and nothing is there |
    /// | EOPNOTSUPP | a time was given, and the kernel knows none here ([`is_feature_ext_arg`](crate::Parameters::is_feature_ext_arg)): push a [`Timeout`](crate::opcode::Timeout) instead |
    /// | EINVAL | the kernel lacks [`deadline`](SubmitArgs::deadline), [`min_wait_usec`](SubmitArgs::min_wait_usec) or [`no_iowait`](SubmitArgs::no_iowait) |
    #[inline]
    pub fn submit_with_args(&self, want: usize, args: &SubmitArgs<'_>) -> io::Result<usize> {
        self.enter_for(self.queued()? as usize, want, Some(args))
    }

    /// Waits until `want` completions are there, and submits nothing.
    ///
    /// If they are there already, this makes no system call, unless the queue's flags say that others
    /// wait in the kernel ([`cq_overflow`](crate::SubmissionQueue::cq_overflow),
    /// [`taskrun`](crate::SubmissionQueue::taskrun)), or the ring polls. So on a ring with
    /// [`setup_defer_taskrun`](crate::Builder::setup_defer_taskrun) and without
    /// [`setup_taskrun_flag`](crate::Builder::setup_taskrun_flag), deferred work runs only once
    /// fewer than `want` are left; [`get_events`](Self::get_events) runs it at any time.
    ///
    /// # Errors
    ///
    /// Same errors as [`submit`](Self::submit), as far as the kernel is entered.
    #[inline]
    pub fn wait(&self, want: usize) -> io::Result<()> {
        self.enter_for(0, self.missing(want), None).map(drop)
    }

    /// Waits until `want` completions are there, or as [`SubmitArgs`] says, and submits nothing.
    ///
    /// If they are there already, this makes no system call, as [`wait`](Self::wait) does. The
    /// kernel then does not see `args`, and refuses nothing in it.
    ///
    /// # Errors
    ///
    /// Same errors as [`submit_with_args`](Self::submit_with_args) with nothing to submit.
    #[inline]
    pub fn wait_with_args(&self, want: usize, args: &SubmitArgs<'_>) -> io::Result<()> {
        self.enter_for(0, self.missing(want), Some(args)).map(drop)
    }

    /// `want`, or nothing if that many completions are there.
    #[inline(always)]
    fn missing(&self, want: usize) -> usize {
        if Status::new(self.cq).ready() >= want { 0 } else { want }
    }

    /// Gets completions posted that wait for somebody to ask, without waiting for more: deferred
    /// task work, polled I/O, completions that found the queue full.
    ///
    /// On rings with [`setup_defer_taskrun`](crate::Builder::setup_defer_taskrun) and without
    /// [`setup_taskrun_flag`](crate::Builder::setup_taskrun_flag) nothing shows that any wait: a
    /// loop that never waits calls this, or sees no completion.
    ///
    /// # Errors
    ///
    /// As of [`submit`](Self::submit).
    #[inline]
    pub fn get_events(&self) -> io::Result<()> {
        self.check()?;
        // SAFETY: nothing is submitted.
        unsafe { self.enter_with(0, 0, EnterFlags::GETEVENTS, None) }.map(drop)
    }

    /// Waits until the SQPOLL thread has made room in the submission queue. On other rings there
    /// is nothing to wait for, and it returns at once. Since Linux 5.10.
    ///
    /// Most kernels return a moment before the room shows: where the push still fails, wait again.
    ///
    /// # Errors
    ///
    /// EINVAL on older kernels; else as of [`submit`](Self::submit).
    #[inline]
    pub fn squeue_wait(&self) -> io::Result<usize> {
        self.check()?;
        // The thread may have gone to sleep over what fills the queue.
        wakeup_fence();
        let asleep = self.sq.flags.relaxed() & sys::IORING_SQ_NEED_WAKEUP != 0;
        let wakeup = if asleep { EnterFlags::SQ_WAKEUP } else { EnterFlags::empty() };
        // SAFETY: nothing is submitted that the thread would not take by itself.
        unsafe { self.enter_with(0, 0, EnterFlags::SQ_WAIT | wakeup, None) }
    }

    /// `io_uring_enter(2)` as it is.
    ///
    /// Flags that follow from the ring or from `args` are added; everything else is as given. A
    /// `min_complete` above `i32::MAX` is below 0 for the kernel, which then does not wait. On a
    /// [mixed](crate::cqueue::Mixed) completion queue, do not pass its capacity or more: that call may
    /// never return.
    ///
    /// # Errors
    ///
    /// The kernel's, unchanged; EOPNOTSUPP as in [`submit_with_args`](Self::submit_with_args);
    /// EINVAL for [`REGISTERED_RING`](EnterFlags::REGISTERED_RING), and for
    /// [`EXT_ARG`](EnterFlags::EXT_ARG) or [`EXT_ARG_REG`](EnterFlags::EXT_ARG_REG) without the
    /// argument that they announce.
    ///
    /// # Safety
    ///
    /// [The contract](crate::squeue#the-contract) holds for every entry that the kernel takes in this
    /// call. It takes at most `to_submit` of those that are published, oldest first, and no others.
    ///
    /// On a [rewound](crate::squeue::Rewind) ring it takes the first `to_submit` entries of the
    /// queue's memory, whatever is there. So all of them must have been pushed and not run before,
    /// and no view may be used or made in another thread during the call. The view does not learn of
    /// it: its next submit runs these entries again, unless they are
    /// [taken back](crate::SubmissionQueue::truncate) first.
    #[inline]
    pub unsafe fn enter(
        &self,
        to_submit: u32,
        min_complete: u32,
        flags: EnterFlags,
        args: Option<&SubmitArgs<'_>>,
    ) -> io::Result<usize> {
        self.check()?;
        if flags.contains(EnterFlags::REGISTERED_RING) {
            return Err(Errno::INVAL);
        }
        // SAFETY: the caller vouches for the entries.
        unsafe { self.enter_with(to_submit, min_complete, flags, args) }
    }

    /// Fails if the ring is lost: a [`resize`](crate::IoUring::resize) was only half done.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.sq.setup.contains(SetupFlags::LOST) { Err(Errno::NOTRECOVERABLE) } else { Ok(()) }
    }

    /// Fails unless this is the ring that a handle belongs to: its numbers mean nothing to another.
    pub(crate) fn check_is(&self, ring: RingId) -> io::Result<()> {
        if self.sq.id == ring { Ok(()) } else { Err(Errno::INVAL) }
    }

    /// [`enter`](Self::enter) for a ring that is not lost, with flags of our own.
    ///
    /// # Safety
    ///
    /// As for [`enter`](Self::enter); and no `REGISTERED_RING`.
    #[inline(always)]
    unsafe fn enter_with(
        &self,
        to_submit: u32,
        min_complete: u32,
        flags: EnterFlags,
        args: Option<&SubmitArgs<'_>>,
    ) -> io::Result<usize> {
        let (flags, arg) = match args {
            None => (flags, EnterArg::Nothing),
            Some(args) if self.params.is_feature_ext_arg() => {
                (flags | args.flags | EnterFlags::EXT_ARG, EnterArg::Extended(&args.arg))
            }
            Some(args) if args.is_plain() => {
                (flags | args.flags, args.sigmask.map_or(EnterArg::Nothing, EnterArg::Sigmask))
            }
            Some(_) => return Err(Errno::OPNOTSUPP),
        };
        // SAFETY: the caller vouches for the entries; `args` borrows what it points to.
        let taken = unsafe { self.handle.enter(SEAL, to_submit, min_complete, flags.bits(), arg) }?;
        Ok(taken as usize)
    }

    /// How many slots of the queue are published and not taken.
    ///
    /// # Errors
    ///
    /// EINVAL if a rewound queue holds entries: only its own view can submit them.
    #[inline(always)]
    fn queued(&self) -> io::Result<u32> {
        if self.sq.setup.contains(SetupFlags::SQ_REWIND) {
            return self.rewound();
        }
        Ok(self.sq.published())
    }

    /// How many completions the kernel is to wait for.
    #[inline(always)]
    fn min_complete(&self, want: usize) -> u32 {
        want.min(self.cq.most_wanted as usize) as u32
    }

    #[cold]
    fn rewound(&self) -> io::Result<u32> {
        if self.sq.saved.tail() == 0 { Ok(0) } else { Err(Errno::INVAL) }
    }

    /// The one way into the kernel of everything that submits or waits.
    #[inline]
    pub(crate) fn enter_for(
        &self,
        to_submit: usize,
        want: usize,
        args: Option<&SubmitArgs<'_>>,
    ) -> io::Result<usize> {
        let setup = self.sq.setup;
        if setup.contains(SetupFlags::SQPOLL) {
            self.check()?;
            wakeup_fence();
        }
        let submits = to_submit as u32;
        let Some(flags) = enter_flags(setup, self.sq.flags.relaxed(), submits, want > 0) else {
            return Ok(to_submit);
        };
        // SAFETY: every entry was pushed under the contract; on a rewound ring, only its view
        // comes here with anything to submit.
        unsafe { self.enter_with(submits, self.min_complete(want), flags, args) }
    }
}

#[cfg(feature = "raw-syscall")]
impl<H: Handle> Submitter<'_, H> {
    /// [`enter_for`](Self::enter_for) with the argument in the ring's wait region.
    pub(crate) fn enter_registered_wait(
        &self,
        want: usize,
        offset: usize,
        flags: EnterFlags,
    ) -> io::Result<usize> {
        let (setup, to_submit) = (self.sq.setup, self.queued()?);
        if setup.contains(SetupFlags::SQPOLL) {
            self.check()?;
            wakeup_fence();
        }
        let Some(decided) = enter_flags(setup, self.sq.flags.relaxed(), to_submit, true) else {
            return Ok(to_submit as usize);
        };
        let passed = EnterFlags::ABS_TIMER.union(EnterFlags::NO_IOWAIT).intersection(flags);
        let flags = decided | passed | EnterFlags::EXT_ARG | EnterFlags::EXT_ARG_REG;
        let want = self.min_complete(want);
        // SAFETY: every entry was pushed under the contract; the argument points into the region,
        // which is borrowed by our caller.
        let taken = unsafe {
            self.handle.enter_registered_wait(SEAL, to_submit, want, flags.bits(), offset)
        }?;
        Ok(taken as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: u32 = sys::IORING_ENTER_GETEVENTS;
    const WAKE: u32 = sys::IORING_ENTER_SQ_WAKEUP;
    const NEED_WAKEUP: u32 = sys::IORING_SQ_NEED_WAKEUP;
    const OVERFLOW: u32 = sys::IORING_SQ_CQ_OVERFLOW;
    const TASKRUN: u32 = sys::IORING_SQ_TASKRUN;

    /// USERS.md D5, D7: the paths that peers forget are rows of one table.
    #[test]
    fn enter_flags_as_a_table() {
        let plain = SetupFlags::empty();
        let defer = SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN;
        let defer_flag = defer | SetupFlags::TASKRUN_FLAG;
        let (sqpoll, iopoll) = (SetupFlags::SQPOLL, SetupFlags::IOPOLL);
        let both = sqpoll | iopoll;
        let none = None;
        #[rustfmt::skip]
        let table = [
            // setup      flag word               submit want   enter with
            (plain,      0,                       0, false,  none),
            (plain,      0,                       1, false,  Some(0)),
            (plain,      0,                       0, true,   Some(GET)),
            (plain,      0,                       1, true,   Some(GET)),
            (plain,      OVERFLOW,                0, false,  Some(GET)),
            (plain,      OVERFLOW,                1, false,  Some(GET)),
            (plain,      TASKRUN,                 0, false,  Some(GET)),
            // nobody but an SQPOLL thread sleeps
            (plain,      NEED_WAKEUP,             0, false,  none),
            // without the taskrun flag there is nothing to see: only who wants events gets them
            (defer,      0,                       0, false,  none),
            (defer,      0,                       1, false,  Some(0)),
            (defer,      0,                       0, true,   Some(GET)),
            (defer_flag, TASKRUN,                 0, false,  Some(GET)),
            (defer_flag, TASKRUN,                 1, false,  Some(GET)),
            (defer_flag, TASKRUN | OVERFLOW,      0, true,   Some(GET)),
            // the SQPOLL thread submits
            (sqpoll,     0,                       1, false,  none),
            (sqpoll,     NEED_WAKEUP,             1, false,  Some(WAKE)),
            (sqpoll,     NEED_WAKEUP,             0, false,  Some(WAKE)),
            (sqpoll,     0,                       0, true,   Some(GET)),
            (sqpoll,     0,                       1, true,   Some(GET)),
            (sqpoll,     NEED_WAKEUP,             1, true,   Some(GET | WAKE)),
            (sqpoll,     OVERFLOW,                0, false,  Some(GET)),
            (sqpoll,     OVERFLOW | NEED_WAKEUP,  1, false,  Some(GET | WAKE)),
            (sqpoll,     TASKRUN,                 1, false,  Some(GET)),
            // polled I/O is reaped by the enter call
            (iopoll,     0,                       0, false,  Some(GET)),
            (iopoll,     0,                       1, false,  Some(GET)),
            (iopoll,     0,                       1, true,   Some(GET)),
            // unless the thread does
            (both,       0,                       1, false,  none),
            (both,       NEED_WAKEUP,             1, false,  Some(WAKE)),
            (both,       0,                       0, true,   Some(GET)),
        ];
        for (setup, word, to_submit, want, expected) in table {
            let flags = enter_flags(setup, word, to_submit, want).map(|flags| flags.bits());
            assert_eq!(flags, expected, "{setup:?} {word:#x} submit {to_submit} want {want}");
        }
    }

    /// What is more than the kernel's signed number waits too.
    #[test]
    fn want_is_neither_less_than_nothing_nor_without_an_end() {
        let most = |setup| crate::shared::most_wanted(setup, 8);
        assert_eq!(most(SetupFlags::CQE32), i32::MAX as u32);
        assert_eq!(most(SetupFlags::CQE_MIXED | SetupFlags::SQE128), 7);
    }
}
