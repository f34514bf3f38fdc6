//! Ending what is in flight.

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

/// How long to wait before cancelling once more. A request that was on its way to a worker thread
/// is not found until it has arrived there.
const ONCE_MORE: Duration = Duration::from_millis(20);

/// How long to pause before looking again if nothing can be waited for.
const MOMENT: Duration = Duration::from_millis(1);

/// Why [`quiesce`](IoUring::quiesce) gave up, and how many operations are still in flight.
///
/// The kernel goes on using their memory: quiesce again, or leak it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuiesceError {
    errno: Errno,
    in_flight: usize,
}

impl QuiesceError {
    /// Why. See the table at [`quiesce_with`](IoUring::quiesce_with).
    #[inline]
    pub const fn errno(&self) -> Errno {
        self.errno
    }

    /// How many of the counted operations have not completed.
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

/// The kind is that of the errno. The error itself is inside.
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
    /// Dropping a ring is no such barrier. The kernel cancels what it can at some later time, and
    /// goes on writing to the memory of what it cannot cancel, such as a disk read. A cancellation
    /// that finds nothing is no barrier either, as it does not see direct I/O. Only completions
    /// prove that operations are over.
    ///
    /// `in_flight` is the number of operations that you pushed, whether submitted or not, and whose
    /// last completion you have not reaped. (The last is the one without
    /// [`more`](cqueue::Entry::more).) Count *all* of them, those with
    /// [`SKIP_SUCCESS`](squeue::Flags::SKIP_SUCCESS) as well: they post a completion when they are
    /// cancelled. If one succeeds, nothing is posted, and this call ends with ETIME.
    ///
    /// All completions are discarded. Use [`quiesce_with`](Self::quiesce_with)
    ///
    /// - if results matter: an accepted connection has to be closed;
    /// - if other completions can arrive: messages of other rings, tags of resources;
    /// - if silent operations can be in flight;
    /// - on kernels before 5.19, which can cancel by user data only. Here, this call just waits.
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
    /// Same as [`quiesce_with`](Self::quiesce_with).
    pub fn quiesce(&mut self, mut in_flight: usize, timeout: Duration) -> Result<(), QuiesceError> {
        self.quiesce_with(&mut in_flight, timeout, &[], |_| true)
    }

    /// Cancels every request of the ring, and hands each completion to `is_counted`, until
    /// `in_flight` operations have completed, but no longer than `timeout`. After `Ok`, you may free
    /// their memory.
    ///
    /// # Silent operations
    ///
    /// An entry with [`SKIP_SUCCESS`](squeue::Flags::SKIP_SUCCESS) posts nothing if it succeeds, and
    /// posts a completion if it fails or is cancelled. So it cannot be counted by itself. For all
    /// such entries:
    ///
    /// - By itself: do not count it, and return `false` for its user data. No call can tell when it
    ///   is over, so what it points to has to stay valid forever.
    /// - In front of an entry that posts, in one chain of [`IO_LINK`](squeue::Flags::IO_LINK): count
    ///   the silent entries and that one together as *one* operation, and return `true` for all of
    ///   them. If a silent entry fails, its completion is the only one: what is behind it never
    ///   starts, and posts nothing. If none fails, the completion of the last entry is the only one.
    ///
    /// [Linking](crate::guide::linking#silent-entries) has the whole rule.
    ///
    /// # Arguments
    ///
    /// - `in_flight` is the number of operations whose last completion you have not reaped. It counts
    ///   down, also when this call fails (but see EOVERFLOW) or `is_counted` panics.
    /// - `timeout` limits the whole call. With zero, it cancels and looks once.
    ///   [`Duration::MAX`] means as long as it takes. Do not use it with a
    ///   [mixed](cqueue::Mixed) completion queue: if that overflows, the call never returns.
    /// - `user_data` is that of the operations in flight, for kernels before 5.19, which cannot
    ///   cancel by anything else. Otherwise, it may be empty.
    /// - `is_counted` gets every completion except those that this crate causes itself, and returns
    ///   whether it belongs to a counted operation. Its answer matters for the last completion of an
    ///   operation only.
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
    /// By a register call, where the kernel has it (6.0) and the ring may use it. Otherwise by
    /// entries, which it pushes once the kernel has taken everything that was queued. Their
    /// completions have the user data [`QUIESCE_USER_DATA`]. After an error, none of these entries stays
    /// queued, except on SQPOLL rings. One that the kernel has taken may complete
    /// later: ignore it by [`is_quiesce`](cqueue::Entry::is_quiesce).
    ///
    /// It cancels once more every 20 ms, because a request on its way to a worker thread cannot be
    /// found.
    ///
    /// # Errors
    ///
    /// After every error, [`in_flight`](QuiesceError::in_flight) operations **are still in flight**.
    /// Do not free their memory: quiesce again, or leak it.
    ///
    /// | errno | because | do |
    /// |---|---|---|
    /// | ETIME | the time ran out | quiesce again; check the count |
    /// | EACCES, EPERM, EINVAL | the time ran out, and the ring may not cancel ([`restrictions`](crate::guide::restrictions)) | allow `IORING_REGISTER_SYNC_CANCEL`, or `AsyncCancel` |
    /// | EAGAIN, EBUSY | the time ran out, and the kernel kept refusing to submit or to wait | quiesce again |
    /// | EOVERFLOW | the time ran out, and the completion queue is [mixed](cqueue::Mixed) and was full: from then on, nothing was counted down, and another call cannot do so either | make the queue larger; leak the memory |
    /// | others | as of [`submit`](crate::Submitter::submit), at once: EEXIST in another task than the ring's, EBADFD for a disabled ring | see there |
    ///
    /// Requests that the kernel cannot cancel keep this call waiting until they end: operations in
    /// progress on a disk, and on kernels before 6.0 everything behind an entry with
    /// [`IO_DRAIN`](squeue::Flags::IO_DRAIN) that waits.
    pub fn quiesce_with(
        &mut self,
        in_flight: &mut usize,
        timeout: Duration,
        user_data: &[u64],
        mut is_counted: impl FnMut(C) -> bool,
    ) -> Result<(), QuiesceError> {
        let start = self.handle.now(SEAL);
        // None: never.
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
                // One of these may have come twice. What they leave must not get to zero, neither here
                // nor in another call.
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

    /// Submits what is queued, cancels, and waits for a completion, for a while and no longer than
    /// `at_most`. Returns with what errno the kernel refused something, if that may pass.
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
        // If some cancellations found no room, go on as soon as there is.
        let a_while = if cancel.left > 0 { MOMENT } else { ONCE_MORE };
        pass(self.wait_for_one(a_while.min(at_most)))?;
        Ok(stuck)
    }

    /// Submits what is queued. The thread of an SQPOLL ring may not have taken it yet after that.
    fn submit_queued(&mut self) -> io::Result<()> {
        while !self.submission().is_empty() {
            if self.submit()? == 0 || self.params().is_setup_sqpoll() {
                break;
            }
        }
        Ok(())
    }

    /// Makes the register call that cancels everything, or pushes and submits as many of the
    /// entries that do so as fit.
    fn cancel(&mut self, cancel: &mut Cancel<'_>) -> io::Result<()> {
        if cancel.by == By::Call {
            // With `all`, the call does not wait.
            let everything = CancelBuilder::any().all();
            match self.submitter().register_sync_cancel(Some(Timespec::new()), everything) {
                Ok(_) => {
                    cancel.left = 0;
                    return Ok(());
                }
                // Older kernels, the mock, restrictions. Entries may work where the call does not;
                // if not, they fail with an errno that says why.
                Err(_) => cancel.begin(By::Everything),
            }
        }
        let mut queue = self.submission();
        // Behind an entry with a link flag, a cancellation would wait for what it is to cancel.
        let mut pushed = 0;
        if queue.is_empty() {
            while let Some(entry) = cancel.entry(pushed) {
                // SAFETY: a cancellation points to nothing.
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
            // What the kernel refused to take would run with the next submit, on whatever is in
            // flight then.
            // SAFETY: the ring is borrowed mutably, so no other thread enters.
            pushed -= unsafe { self.submission().take_back(pushed) };
        }
        cancel.left -= pushed;
        cancel.taken += pushed;
        submitted.map(drop)
    }

    /// Waits until a completion is there, but no longer than `at_most`.
    fn wait_for_one(&self, at_most: Duration) -> io::Result<()> {
        let params = self.params();
        // The kernel's wait for polled I/O ignores the time, unless the SQPOLL thread polls.
        let polls = params.is_setup_iopoll() && !params.is_setup_sqpoll();
        let timed = params.is_feature_ext_arg() && !polls;
        let looked = if timed {
            let at_most = Timespec::from(at_most);
            self.submitter().wait_with_args(1, &SubmitArgs::new().timespec(&at_most))
        } else {
            // Not by an entry with a timeout: it would wait behind `IO_DRAIN`, or be refused.
            self.submitter().get_events()
        };
        let waited = timed && !matches!(looked, Err(Errno::AGAIN | Errno::BUSY));
        if !waited && self.completion_status().is_empty() {
            self.handle.pause(SEAL, at_most.min(MOMENT));
        }
        looked
    }

    /// Whether the completion queue is of a kind, and in a state, in which the kernel may deliver a
    /// completion twice: see [`cqueue::Mixed`].
    fn may_repeat_completions(&mut self) -> bool {
        self.params().setup_flags().contains(SetupFlags::CQE_MIXED)
            && (self.submission().cq_overflow() || self.completion().is_full())
    }
}

/// How cancelling goes.
struct Cancel<'a> {
    by: By,
    user_data: &'a [u64],
    /// How many cancellations of this round are to be made.
    left: usize,
    /// How many the kernel has taken and not completed.
    taken: usize,
    /// With what errno the kernel refuses to cancel.
    refusal: Option<Errno>,
}

/// What a round of cancellations consists of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    /// A register call that cancels everything. Since Linux 6.0.
    Call,
    /// An entry that cancels everything. Since Linux 5.19; older kernels answer EINVAL.
    Everything,
    /// An entry for each user data.
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

    /// The `n`th of the entries that are left.
    fn entry(&self, n: usize) -> Option<squeue::Entry> {
        let left = self.left.checked_sub(n + 1)?;
        let entry = match self.by {
            By::UserData => AsyncCancel::new(self.user_data[left]).build(),
            _ => AsyncCancel2::new(CancelBuilder::any().all()).build(),
        };
        Some(entry.user_data(QUIESCE_USER_DATA))
    }

    /// A cancellation has completed: one of ours, or of an earlier call that failed.
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
