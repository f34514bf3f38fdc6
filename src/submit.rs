//! Enter calls: to submit, to wait, or both.

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

/// Makes the enter and register calls of a ring: to submit its queue, to wait, and to register
/// resources.
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

/// Returns the flags of an enter call, or `None` if no call is necessary. Every path into the
/// kernel uses this function.
///
/// `sq_flags` is the flag word of the submission queue. On SQPOLL rings, it was read after
/// [`wakeup_fence`]. `events` is true if the caller wants completions, whatever their number.
#[inline(always)]
const fn enter_flags(
    setup: SetupFlags,
    sq_flags: u32,
    to_submit: u32,
    events: bool,
) -> Option<EnterFlags> {
    let sqpoll = setup.contains(SetupFlags::SQPOLL);
    let mut flags = EnterFlags::empty();
    // Completions that found the queue full, or that wait for this task, are only posted with
    // GETEVENTS. Polled I/O is only reaped with GETEVENTS, unless the SQPOLL thread reaps it.
    let waiting = sq_flags & (sys::IORING_SQ_CQ_OVERFLOW | sys::IORING_SQ_TASKRUN) != 0;
    if events || waiting || (setup.contains(SetupFlags::IOPOLL) && !sqpoll) {
        flags = flags.union(EnterFlags::GETEVENTS);
    }
    if sqpoll && sq_flags & sys::IORING_SQ_NEED_WAKEUP != 0 {
        flags = flags.union(EnterFlags::SQ_WAKEUP);
    }
    // The SQPOLL thread submits, so entries alone are no reason to enter.
    let submits = to_submit > 0 && !sqpoll;
    if submits || !flags.is_empty() { Some(flags) } else { None }
}

impl<'a, H: Handle> Submitter<'a, H> {
    /// Returns the ring's descriptor, if it has one.
    ///
    /// Use it to [send messages](crate::opcode::MsgRingData) to the ring from other rings, or to
    /// wait for the ring in an epoll instance (see
    /// [how](crate::cqueue#in-an-epoll-loop)). If the ring [defers its
    /// work](crate::Builder::setup_defer_taskrun), as rings of
    /// [`build_local`](crate::Builder::build_local) do, register an eventfd and wait for that
    /// instead.
    ///
    /// These rings do not have a descriptor:
    ///
    /// - rings that are [registered](crate::IoUring::register_ring_fd) and have
    ///   [closed](crate::IoUring::close_ring_fd) their descriptor,
    /// - rings that were [built without one](crate::Builder::build_registered_in_memory),
    /// - rings of a mock kernel.
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
    /// Submits everything that the view of the submission queue has published.
    ///
    /// This makes no system call if none is necessary: if there is nothing to submit and no
    /// completion waits for an enter call, or if the SQPOLL thread is awake.
    ///
    /// # Result
    ///
    /// Returns the number of slots that the kernel has consumed. A smaller number than you
    /// published is not an error: the kernel stops after an entry that it rejects, unless the ring
    /// has [`setup_submit_all`](crate::Builder::setup_submit_all). The rejected entry posts a
    /// completion with the reason. On SQPOLL rings, the kernel thread consumes the entries on its
    /// own, and this returns the number of slots that it had not consumed before the call. Two
    /// calls may therefore count the same slot.
    ///
    /// # Errors
    ///
    /// Entries that the kernel has not consumed **are still queued, and run with the next submit**.
    /// To remove them from the queue, use [`IoUring::truncate`](crate::IoUring::truncate).
    ///
    /// | errno | cause | remedy |
    /// |---|---|---|
    /// | EAGAIN | no memory for requests | reap completions and submit again |
    /// | EBUSY | too many completions wait for free slots (older kernels) | reap completions and submit again |
    /// | EINTR | a signal arrived during the wait | submit again |
    /// | EEXIST | the ring has [`setup_single_issuer`](crate::Builder::setup_single_issuer) and belongs to another task | submit in that task |
    /// | EBADFD | the ring is disabled | enable it first |
    /// | EOWNERDEAD | the SQPOLL thread has exited | create a new ring |
    /// | EBADR | the kernel had no memory to keep completions and lost [`overflow`](crate::CompletionQueue::overflow) of them | none: they will not arrive |
    /// | EINVAL | the ring is [rewound](crate::squeue::Rewind) and its queue holds entries, which a submitter cannot submit | submit with the view of the queue |
    #[inline]
    pub fn submit(&self) -> io::Result<usize> {
        self.enter_for(self.queued()? as usize, 0, None)
    }

    /// Submits everything that the view of the submission queue has published, and waits for `want`
    /// completions.
    ///
    /// Completions that are already in the queue count until they are [released](crate::cqueue),
    /// even if they belong to earlier submissions. If the kernel consumes fewer entries than you
    /// published, the call does not wait.
    ///
    /// If `want` is above 0, this always enters the kernel and therefore runs deferred work.
    /// [`wait`](Self::wait) does not always do so. If `want` is above the capacity of the
    /// completion queue, the wait ends when the queue is full. On a [mixed](crate::cqueue::Mixed)
    /// completion queue, it ends one slot earlier: Linux 6.18 and 7.2 spin forever in a wait for
    /// all slots if a 32-byte completion finds only one free slot.
    ///
    /// # Result and errors
    ///
    /// Same as [`submit`](Self::submit). If the kernel has consumed any entry, this returns the
    /// count and does not report an error of the wait, such as a signal. There may then be fewer
    /// than `want` completions.
    #[inline]
    pub fn submit_and_wait(&self, want: usize) -> io::Result<usize> {
        self.enter_for(self.queued()? as usize, want, None)
    }

    /// Submits everything that the view of the submission queue has published, and waits for `want`
    /// completions, with the timeouts and the signal mask of [`args`](SubmitArgs).
    ///
    /// # Result and errors
    ///
    /// Same as [`submit_and_wait`](Self::submit_and_wait). A count above 0 can therefore hide that
    /// the time ran out. If there is nothing to submit:
    ///
    /// | errno | cause |
    /// |---|---|
    /// | ETIME | the time ran out and no completion is in the queue |
    /// | EOPNOTSUPP | `args` has a time, which this kernel does not support ([`is_feature_ext_arg`](crate::Parameters::is_feature_ext_arg)): push a [`Timeout`](crate::opcode::Timeout) instead |
    /// | EINVAL | the kernel does not support [`deadline`](SubmitArgs::deadline), [`min_wait_usec`](SubmitArgs::min_wait_usec) or [`no_iowait`](SubmitArgs::no_iowait) |
    #[inline]
    pub fn submit_with_args(&self, want: usize, args: &SubmitArgs<'_>) -> io::Result<usize> {
        self.enter_for(self.queued()? as usize, want, Some(args))
    }

    /// Waits for `want` completions and submits nothing.
    ///
    /// If the completions are already in the queue, this makes no system call, except in two cases:
    /// the flags of the submission queue tell that more completions wait in the kernel
    /// ([`cq_overflow`](crate::SubmissionQueue::cq_overflow),
    /// [`taskrun`](crate::SubmissionQueue::taskrun)), or the ring polls for completions.
    ///
    /// On a ring with [`setup_defer_taskrun`](crate::Builder::setup_defer_taskrun) and without
    /// [`setup_taskrun_flag`](crate::Builder::setup_taskrun_flag), deferred work therefore runs
    /// only if fewer than `want` completions are in the queue. [`get_events`](Self::get_events)
    /// always runs it.
    ///
    /// # Errors
    ///
    /// Same errors as [`submit`](Self::submit), if the kernel is entered.
    #[inline]
    pub fn wait(&self, want: usize) -> io::Result<()> {
        self.enter_for(0, self.missing(want), None).map(drop)
    }

    /// Waits for `want` completions, with the timeouts and the signal mask of [`args`](SubmitArgs),
    /// and submits nothing.
    ///
    /// If the completions are already in the queue, this makes no system call, as in
    /// [`wait`](Self::wait). The kernel then does not see `args` and cannot reject them.
    ///
    /// # Errors
    ///
    /// Same errors as [`submit_with_args`](Self::submit_with_args) with nothing to submit.
    #[inline]
    pub fn wait_with_args(&self, want: usize, args: &SubmitArgs<'_>) -> io::Result<()> {
        self.enter_for(0, self.missing(want), Some(args)).map(drop)
    }

    /// Returns `want`, or 0 if the queue already has that many completions.
    #[inline(always)]
    fn missing(&self, want: usize) -> usize {
        if Status::new(self.cq).ready() >= want { 0 } else { want }
    }

    /// Makes the kernel post completions that wait for an enter call, without waiting for more.
    /// Such completions come from deferred task work, from polled I/O, or have found the queue
    /// full.
    ///
    /// On a ring with [`setup_defer_taskrun`](crate::Builder::setup_defer_taskrun) and without
    /// [`setup_taskrun_flag`](crate::Builder::setup_taskrun_flag), nothing shows that completions
    /// are waiting. A loop that never waits must call this method, or it sees no completions.
    ///
    /// # Errors
    ///
    /// Same errors as [`submit`](Self::submit).
    #[inline]
    pub fn get_events(&self) -> io::Result<()> {
        self.check()?;
        // SAFETY: nothing is submitted.
        unsafe { self.enter_with(0, 0, EnterFlags::GETEVENTS, None) }.map(drop)
    }

    /// Waits until the SQPOLL thread has freed slots of the submission queue. On other rings, this
    /// returns at once. Since Linux 5.10.
    ///
    /// On most kernels, this may return before the freed slots are visible. If the push still
    /// fails, wait again.
    ///
    /// # Errors
    ///
    /// EINVAL on older kernels. Otherwise the same errors as [`submit`](Self::submit).
    #[inline]
    pub fn squeue_wait(&self) -> io::Result<usize> {
        self.check()?;
        // The thread may sleep although the queue is full.
        wakeup_fence();
        let asleep = self.sq.flags.relaxed() & sys::IORING_SQ_NEED_WAKEUP != 0;
        let wakeup = if asleep { EnterFlags::SQ_WAKEUP } else { EnterFlags::empty() };
        // SAFETY: this submits nothing. Published entries are consumed by the SQPOLL thread in any
        // case.
        unsafe { self.enter_with(0, 0, EnterFlags::SQ_WAIT | wakeup, None) }
    }

    /// Makes a raw `io_uring_enter(2)` call.
    ///
    /// This adds the flags that follow from the ring and from `args`, and passes everything else
    /// unchanged. The kernel treats a `min_complete` above `i32::MAX` as negative and does not
    /// wait. On a [mixed](crate::cqueue::Mixed) completion queue, pass less than its capacity:
    /// otherwise the call may never return.
    ///
    /// # Errors
    ///
    /// Returns the kernel's errors unchanged. In addition:
    ///
    /// - EOPNOTSUPP as in [`submit_with_args`](Self::submit_with_args),
    /// - EINVAL if `flags` contains [`REGISTERED_RING`](EnterFlags::REGISTERED_RING),
    /// - EINVAL if `flags` contains [`EXT_ARG`](EnterFlags::EXT_ARG) or
    ///   [`EXT_ARG_REG`](EnterFlags::EXT_ARG_REG) without the argument that it announces.
    ///
    /// # Safety
    ///
    /// [The contract](crate::squeue#the-contract) holds for every entry that the kernel consumes in
    /// this call. The kernel consumes at most `to_submit` published entries, the oldest first, and
    /// no others.
    ///
    /// On a [rewound](crate::squeue::Rewind) ring, the kernel consumes the first `to_submit`
    /// entries in the memory of the queue, whatever they contain. All of them must have been pushed
    /// and must not have run before. During the call, no other thread uses or creates a view. The
    /// view does not notice the call: its next submit runs these entries again, unless you
    /// [remove](crate::SubmissionQueue::truncate) them first.
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

    /// Fails if the ring is lost because a [`resize`](crate::IoUring::resize) failed halfway.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.sq.setup.contains(SetupFlags::LOST) { Err(Errno::NOTRECOVERABLE) } else { Ok(()) }
    }

    /// Fails unless a handle belongs to this ring. Its numbers have no meaning for other rings.
    pub(crate) fn check_is(&self, ring: RingId) -> io::Result<()> {
        if self.sq.id == ring { Ok(()) } else { Err(Errno::INVAL) }
    }

    /// Does the work of [`enter`](Self::enter) for a ring that is not lost, with flags of this
    /// crate.
    ///
    /// # Safety
    ///
    /// Same contract as [`enter`](Self::enter). In addition, `flags` does not contain
    /// `REGISTERED_RING`.
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
        // SAFETY: the caller vouches for the entries. `args` borrows everything that it points to.
        let taken = unsafe { self.handle.enter(SEAL, to_submit, min_complete, flags.bits(), arg) }?;
        Ok(taken as usize)
    }

    /// Returns the number of published slots that the kernel has not consumed.
    ///
    /// # Errors
    ///
    /// EINVAL if the queue is rewound and holds entries: only its own view can submit them.
    #[inline(always)]
    fn queued(&self) -> io::Result<u32> {
        if self.sq.setup.contains(SetupFlags::SQ_REWIND) {
            return self.rewound();
        }
        Ok(self.sq.published())
    }

    /// Returns the number of completions that the kernel is asked to wait for.
    #[inline(always)]
    fn min_complete(&self, want: usize) -> u32 {
        want.min(self.cq.most_wanted as usize) as u32
    }

    #[cold]
    fn rewound(&self) -> io::Result<u32> {
        if self.sq.saved.tail() == 0 { Ok(0) } else { Err(Errno::INVAL) }
    }

    /// Makes the enter call of everything that submits or waits.
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
        // SAFETY: every entry was pushed under the contract. On a rewound ring, only its view calls
        // this with entries to submit.
        unsafe { self.enter_with(submits, self.min_complete(want), flags, args) }
    }
}

#[cfg(feature = "raw-syscall")]
impl<H: Handle> Submitter<'_, H> {
    /// Does the work of [`enter_for`](Self::enter_for) with the argument in the ring's wait region.
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
        // SAFETY: every entry was pushed under the contract. The argument points into the region,
        // which our caller borrows.
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

    /// The rows include the cases that other libraries have been seen to forget.
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
            // only an SQPOLL thread sleeps
            (plain,      NEED_WAKEUP,             0, false,  none),
            // without the taskrun flag, nothing shows deferred work: only a call for events runs it
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
            // the enter call reaps polled I/O
            (iopoll,     0,                       0, false,  Some(GET)),
            (iopoll,     0,                       1, false,  Some(GET)),
            (iopoll,     0,                       1, true,   Some(GET)),
            // unless the SQPOLL thread does
            (both,       0,                       1, false,  none),
            (both,       NEED_WAKEUP,             1, false,  Some(WAKE)),
            (both,       0,                       0, true,   Some(GET)),
        ];
        for (setup, word, to_submit, want, expected) in table {
            let flags = enter_flags(setup, word, to_submit, want).map(|flags| flags.bits());
            assert_eq!(flags, expected, "{setup:?} {word:#x} submit {to_submit} want {want}");
        }
    }

    /// A wait for more than the kernel's signed number is still a wait.
    #[test]
    fn want_is_neither_negative_nor_unsatisfiable() {
        let most = |setup| crate::shared::most_wanted(setup, 8);
        assert_eq!(most(SetupFlags::CQE32), i32::MAX as u32);
        assert_eq!(most(SetupFlags::CQE_MIXED | SetupFlags::SQE128), 7);
    }
}
