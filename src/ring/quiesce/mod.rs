//! Ending all operations in flight.

use core::fmt;
use core::time::Duration;

use rustix::io::{self, Errno};

use crate::cqueue;
use crate::handle::Handle;
use crate::handle::sealed::SEAL;
use crate::opcode::{AsyncCancel, AsyncCancel2};
use crate::params::SetupFlags;
use crate::ring::IoUring;
use crate::sqe::QUIESCE_USER_DATA;
use crate::squeue;
use crate::types::{CancelBuilder, SubmitArgs, Timespec};

/// The time between rounds of cancellation. A request on its way to a worker thread is not found
/// until it has arrived there, so one round may not be enough.
const ONCE_MORE: Duration = Duration::from_millis(20);

/// The pause before the next look at the queue if no wait with a timeout is possible.
const MOMENT: Duration = Duration::from_millis(1);

/// The error of [`quiesce`](IoUring::quiesce): why it gave up, and how many operations are still in
/// flight.
///
/// The kernel still uses their memory. Call `quiesce` again, or leak the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuiesceError {
    errno: Errno,
    in_flight: usize,
}

impl QuiesceError {
    /// Returns the reason. See the table at [`quiesce_with`](IoUring::quiesce_with).
    #[inline]
    pub const fn errno(&self) -> Errno {
        self.errno
    }

    /// Returns the number of counted operations that have not completed.
    #[inline]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }
}

impl fmt::Display for QuiesceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { errno, in_flight } = self;
        write!(f, "operations still in flight: {in_flight}; {errno}")
    }
}

impl core::error::Error for QuiesceError {}

impl From<QuiesceError> for Errno {
    fn from(error: QuiesceError) -> Self {
        error.errno
    }
}

/// Converts to an error with the kind of the errno, and the `QuiesceError` inside.
#[cfg(feature = "std")]
impl From<QuiesceError> for std::io::Error {
    fn from(error: QuiesceError) -> Self {
        Self::new(Self::from(error.errno).kind(), error)
    }
}

impl<S: squeue::Kind, C: cqueue::Kind, H: Handle> IoUring<S, C, H> {
    /// Cancels every request of the ring, and waits until `in_flight` operations have completed,
    /// but no longer than `timeout`. After `Ok`, you may free their memory.
    ///
    /// Dropping a ring does not wait. The kernel cancels what it can at some later time, and still
    /// writes to the memory of operations that it cannot cancel, such as a disk read. A
    /// cancellation that finds nothing proves nothing either, because it does not see direct I/O.
    /// Only completions prove that operations are over.
    ///
    /// `in_flight` is the number of operations that you have pushed, whether submitted or not, and
    /// whose last completion you have not reaped. (The last completion is the one without
    /// [`more`](cqueue::Entry::more).) Count *all* of them, including those with
    /// [`SKIP_SUCCESS`](squeue::Flags::SKIP_SUCCESS), which post a completion when they are
    /// canceled. If one of those succeeds, it posts no completion, and this call fails with ETIME.
    ///
    /// This call discards all completions. Use [`quiesce_with`](Self::quiesce_with)
    ///
    /// - if you need the results, for example to close an accepted connection;
    /// - if other completions can arrive, such as messages from other rings or tags of resources;
    /// - if silent operations can be in flight;
    /// - on kernels before 5.19, which can only cancel by user data. There, this call only waits.
    ///
    /// ```
    /// # use rustix_uring::{opcode, types::Timespec, IoUring};
    /// use std::time::Duration;
    ///
    /// let mut ring = IoUring::new(8)?;
    /// let hour = Timespec::new().sec(3600);
    /// let timeout = opcode::Timeout::new(&hour).build();
    /// // SAFETY: `hour` outlives the submission.
    /// unsafe { ring.submission().push(&timeout)? };
    /// ring.submit()?;
    ///
    /// ring.quiesce(1, Duration::from_secs(5))?; // does not take an hour
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Same errors as [`quiesce_with`](Self::quiesce_with).
    pub fn quiesce(&mut self, mut in_flight: usize, timeout: Duration) -> Result<(), QuiesceError> {
        self.quiesce_with(&mut in_flight, timeout, &[], |_| true)
    }

    /// Cancels every request of the ring, and passes each completion to `is_counted`, until
    /// `in_flight` operations have completed, but no longer than `timeout`. After `Ok`, you may
    /// free their memory.
    ///
    /// # Silent operations
    ///
    /// An entry with [`SKIP_SUCCESS`](squeue::Flags::SKIP_SUCCESS) posts no completion if it
    /// succeeds, but posts one if it fails or is canceled. A single such entry can therefore not
    /// be counted:
    ///
    /// - If the entry is not linked, do not count it, and return `false` for its user data. Nothing
    ///   reports when it is over, so its memory has to stay valid forever.
    /// - If the entry precedes an entry that posts, in one chain of
    ///   [`IO_LINK`](squeue::Flags::IO_LINK), count the silent entries and that one together as
    ///   *one* operation, and return `true` for all of them. If a silent entry fails, its
    ///   completion is the only one: the entries after it never start and post nothing. If none
    ///   fails, the completion of the last entry is the only one.
    ///
    /// [Linking](crate::guide::linking#silent-entries) explains the rule in full.
    ///
    /// # Arguments
    ///
    /// - `in_flight` is the number of operations whose last completion you have not reaped. This
    ///   call decrements it, even if it fails (except with EOVERFLOW) or `is_counted` panics.
    /// - `timeout` limits the whole call. With a timeout of zero, the call cancels and looks at the
    ///   queue once. [`Duration::MAX`] means no limit. Do not use that with a
    ///   [mixed](cqueue::Mixed) completion queue: if the queue overflows, the call never returns.
    /// - `user_data` lists the user data of the operations in flight. Kernels before 5.19 cannot
    ///   cancel by anything else. On newer kernels, it may be empty.
    /// - `is_counted` receives every completion except those that this crate causes itself. It
    ///   returns whether the completion belongs to a counted operation. Only the last completion of
    ///   each operation matters.
    ///
    /// ```
    /// # use rustix_uring::{opcode, squeue::Flags, types::Timespec, IoUring};
    /// # use std::time::Duration;
    /// # let mut ring = IoUring::new(8)?;
    /// # let hour = Timespec::new().sec(3600);
    /// const QUIET: u64 = 1;
    /// let timeout = opcode::Timeout::new(&hour).build();
    /// let entries = [timeout.user_data(QUIET).flags(Flags::SKIP_SUCCESS), timeout.user_data(2)];
    /// // SAFETY: `hour` outlives the submission.
    /// unsafe { ring.submission().push_multiple(&entries)? };
    ///
    /// let mut in_flight = 1;
    /// ring.quiesce_with(&mut in_flight, Duration::from_secs(5), &[QUIET, 2], |cqe| {
    ///     cqe.user_data() != QUIET
    /// })?;
    /// assert_eq!(in_flight, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # How it cancels
    ///
    /// If the kernel (since 6.0) and the ring's restrictions allow it, this makes a register call.
    /// Otherwise it pushes cancellations as entries, once the kernel has consumed everything that
    /// was queued. Their completions have the user data [`QUIESCE_USER_DATA`]. After an error, none
    /// of these entries stays queued, except on SQPOLL rings. A cancellation that the kernel has
    /// already consumed may complete later: recognize it with
    /// [`is_quiesce`](cqueue::Entry::is_quiesce), and ignore it.
    ///
    /// This cancels again every 20 ms, because the kernel cannot find a request on its way to a
    /// worker thread.
    ///
    /// # Errors
    ///
    /// After every error, [`in_flight`](QuiesceError::in_flight) operations **are still in
    /// flight**. Do not free their memory. Call `quiesce` again, or leak the memory.
    ///
    /// | errno | cause | remedy |
    /// |---|---|---|
    /// | ETIME | the time ran out | quiesce again; check the count |
    /// | EACCES, EPERM, EINVAL | the time ran out, and the ring may not cancel ([`restrictions`](crate::guide::restrictions)) | allow `IORING_REGISTER_SYNC_CANCEL` or `AsyncCancel` |
    /// | EAGAIN, EBUSY | the time ran out, and the kernel kept refusing to submit or to wait | quiesce again |
    /// | EOVERFLOW | the time ran out, and the completion queue is [mixed](cqueue::Mixed) and was full: from then on, completions were not counted, and another call cannot count them either | make the queue larger; leak the memory |
    /// | others | the errors of [`submit`](crate::Submitter::submit), reported at once: for example EEXIST in a task that the ring does not belong to, or EBADFD for a disabled ring | see [`submit`](crate::Submitter::submit) |
    ///
    /// This call also waits for requests that the kernel cannot cancel: operations in progress on a
    /// disk and, on kernels before 6.0, everything behind a waiting entry with
    /// [`IO_DRAIN`](squeue::Flags::IO_DRAIN).
    pub fn quiesce_with(
        &mut self,
        in_flight: &mut usize,
        timeout: Duration,
        user_data: &[u64],
        mut is_counted: impl FnMut(C) -> bool,
    ) -> Result<(), QuiesceError> {
        let start = self.handle.now(SEAL);
        // `None` means no limit.
        let end = start.checked_add(timeout);
        let mut cancel = Cancel::new(user_data);
        let (mut next_round, mut stuck) = (start, None);
        let (mut in_doubt, mut last_look) = (false, false);
        loop {
            let before = *in_flight;
            in_doubt |= before > 0 && self.may_repeat_completions();
            for cqe in self.completion() {
                let entry: cqueue::Entry = cqe.into();
                if entry.is_quiesce() {
                    cancel.completed(entry.to_result());
                } else if !entry.is_pad() && is_counted(cqe) && !entry.more() {
                    *in_flight = in_flight.saturating_sub(1);
                }
            }
            in_doubt |= before > 0 && self.may_repeat_completions();
            if in_doubt {
                // The kernel may have delivered one of these completions twice. Do not let the
                // count reach zero because of them, neither in this call nor in a later one.
                *in_flight = before;
            }
            if *in_flight == 0 && (cancel.is_over() || last_look) {
                return Ok(());
            }
            if last_look {
                let errno = if in_doubt {
                    Errno::OVERFLOW
                } else {
                    stuck.or(cancel.refusal).unwrap_or(Errno::TIME)
                };
                return Err(QuiesceError { errno, in_flight: *in_flight });
            }
            let now = self.handle.now(SEAL);
            if *in_flight == 0 {
                cancel.left = 0;
            } else if now >= next_round && cancel.is_over() {
                next_round = now.saturating_add(ONCE_MORE);
                cancel.begin(cancel.by);
            }
            let left = end.map_or(Duration::MAX, |end| end.saturating_sub(now));
            last_look = left.is_zero();
            stuck = self
                .cancel_and_wait(&mut cancel, left)
                .map_err(|errno| QuiesceError { errno, in_flight: *in_flight })?;
        }
    }

    /// Submits the queued entries, cancels, and waits a while for a completion, but no longer than
    /// `at_most`. Returns the errno if the kernel refused something that may work later.
    fn cancel_and_wait(
        &mut self,
        cancel: &mut Cancel<'_>,
        at_most: Duration,
    ) -> io::Result<Option<Errno>> {
        let mut stuck = None;
        let mut pass = |done| match done {
            Ok(()) | Err(Errno::TIME | Errno::INTR) => Ok(()),
            Err(errno @ (Errno::AGAIN | Errno::BUSY)) => {
                stuck = Some(errno);
                Ok(())
            }
            Err(errno) => Err(errno),
        };
        pass(self.submit_queued())?;
        if cancel.left > 0 {
            pass(self.cancel(cancel))?;
        }
        // If some cancellations did not fit into the queue, continue as soon as there is space.
        let a_while = if cancel.left > 0 { MOMENT } else { ONCE_MORE };
        pass(self.wait_for_one(a_while.min(at_most)))?;
        Ok(stuck)
    }

    /// Submits the queued entries. On an SQPOLL ring, the thread may not have consumed them yet
    /// when this returns.
    fn submit_queued(&mut self) -> io::Result<()> {
        while !self.submission().is_empty() {
            if self.submit()? == 0 || self.params().is_setup_sqpoll() {
                break;
            }
        }
        Ok(())
    }

    /// Makes the register call that cancels everything, or pushes and submits as many cancellations
    /// as fit into the queue.
    fn cancel(&mut self, cancel: &mut Cancel<'_>) -> io::Result<()> {
        if cancel.by == By::Call {
            // With `all`, the call does not wait.
            let everything = CancelBuilder::any().all();
            match self.submitter().register_sync_cancel(Some(Timespec::new()), everything) {
                Ok(_) => {
                    cancel.left = 0;
                    return Ok(());
                }
                // The call fails on older kernels, on the mock kernel, and because of restrictions.
                // Entries may work where the call does not. If they do not, they complete with the
                // reason.
                Err(_) => cancel.begin(By::Everything),
            }
        }
        let mut queue = self.submission();
        // Push only into an empty queue: after an entry with a link flag, a cancellation would wait
        // for the operation that it has to cancel.
        let mut pushed = 0;
        if queue.is_empty() {
            while let Some(entry) = cancel.entry(pushed) {
                // SAFETY: a cancellation contains no pointers.
                if unsafe { queue.push_any(&entry) }.is_err() {
                    break;
                }
                pushed += 1;
            }
        }
        drop(queue);
        if pushed == 0 {
            return Ok(());
        }
        let submitted = self.submit();
        if !self.params().is_setup_sqpoll() {
            // The next submit would run the entries that the kernel has not consumed, and cancel
            // whatever is in flight then.
            // SAFETY: the ring is borrowed mutably, so no other thread enters.
            pushed -= unsafe { self.submission().take_back(pushed) };
        }
        cancel.left -= pushed;
        cancel.taken += pushed;
        submitted.map(drop)
    }

    /// Waits for a completion, but no longer than `at_most`.
    fn wait_for_one(&self, at_most: Duration) -> io::Result<()> {
        let params = self.params();
        // The kernel's wait for polled I/O ignores the timeout, unless the SQPOLL thread polls.
        let polls = params.is_setup_iopoll() && !params.is_setup_sqpoll();
        let timed = params.is_feature_ext_arg() && !polls;
        let looked = if timed {
            let at_most = Timespec::from(at_most);
            self.submitter().wait_with_args(1, &SubmitArgs::new().timespec(&at_most))
        } else {
            // A timeout entry is no alternative: it would wait behind `IO_DRAIN`, or be rejected.
            self.submitter().get_events()
        };
        let waited = timed && !matches!(looked, Err(Errno::AGAIN | Errno::BUSY));
        if !waited && self.completion_status().is_empty() {
            self.handle.pause(SEAL, at_most.min(MOMENT));
        }
        looked
    }

    /// Returns whether the kernel may deliver a completion twice, which depends on the kind and the
    /// state of the completion queue: see [`cqueue::Mixed`].
    fn may_repeat_completions(&mut self) -> bool {
        self.params().setup_flags().contains(SetupFlags::CQE_MIXED)
            && (self.submission().cq_overflow() || self.completion().is_full())
    }
}

/// The progress of cancellation.
struct Cancel<'a> {
    by: By,
    user_data: &'a [u64],
    /// The number of cancellations of this round that are not submitted yet.
    left: usize,
    /// The number of cancellations that the kernel has consumed and not completed.
    taken: usize,
    /// The errno with which the kernel refuses to cancel.
    refusal: Option<Errno>,
}

/// The kind of cancellations of a round.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// A register call that cancels everything. Since Linux 6.0.
    Call,
    /// An entry that cancels everything. Since Linux 5.19. Older kernels return EINVAL.
    Everything,
    /// One entry per user data.
    UserData,
}

impl<'a> Cancel<'a> {
    fn new(user_data: &'a [u64]) -> Self {
        Self { by: By::Call, user_data, left: 0, taken: 0, refusal: None }
    }

    fn begin(&mut self, by: By) {
        self.by = by;
        self.left = if by == By::UserData { self.user_data.len() } else { 1 };
    }

    fn is_over(&self) -> bool {
        self.left == 0 && self.taken == 0
    }

    /// Returns the `n`th of the remaining entries.
    fn entry(&self, n: usize) -> Option<squeue::Entry> {
        let left = self.left.checked_sub(n + 1)?;
        let entry = match self.by {
            By::UserData => AsyncCancel::new(self.user_data[left]).build(),
            _ => AsyncCancel2::new(CancelBuilder::any().all()).build(),
        };
        Some(entry.user_data(QUIESCE_USER_DATA))
    }

    /// Handles the completion of a cancellation, of this call or of an earlier call that failed.
    fn completed(&mut self, result: Result<u32, Errno>) {
        self.taken = self.taken.saturating_sub(1);
        match result {
            Err(Errno::INVAL) if self.by == By::Everything => self.begin(By::UserData),
            Ok(_) | Err(Errno::NOENT | Errno::ALREADY) => self.refusal = None,
            Err(errno) => self.refusal = Some(errno),
        }
    }
}

#[cfg(all(test, not(rustix_uring_loom)))]
mod tests;
