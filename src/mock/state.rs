//! The state of a mock kernel: the operations in flight, and when they complete.

use core::time::Duration;
use std::collections::VecDeque;
use std::thread::{self, ThreadId};
use std::vec::Vec;

use rustix::io::Errno;

use super::answer::{Answer, InFlight, Posted};
use super::region::Region;
use crate::params::{Features, SetupFlags};
use crate::shared::Ordering;
use crate::squeue::Sqe;
use crate::sys::{self, io_uring_op::*};
use crate::types::{AsyncCancelFlags, TimeoutFlags, Timespec};

pub(super) struct State {
    pub(super) region: Region,
    pub(super) setup: SetupFlags,
    pub(super) features: Features,
    /// The only thread that may submit, if the ring has one.
    pub(super) issuer: Option<ThreadId>,
    /// Whether the script has panicked.
    pub(super) ended: bool,
    /// Whether completions may take two slots of the queue.
    pub(super) mixed_cqes: bool,
    pub(super) now: Duration,
    /// The operations in flight, in the order of submission.
    pub(super) in_flight: Vec<InFlight>,
    /// Completions that are due but not in the queue, because it was full or no call asked for
    /// events.
    pub(super) waiting: VecDeque<Posted>,
    /// Whether some of them wait because the queue was full.
    pub(super) overflown: bool,
    /// The errors of the next enter calls.
    pub(super) failures: VecDeque<Errno>,
    pub(super) interrupts: usize,
    pub(super) enters: usize,
}

impl State {
    /// Checks whether a call may proceed. `issues` tells whether only the issuer of the ring may
    /// make it.
    pub(super) fn check(&self, issues: bool) -> Result<(), Errno> {
        match self.issuer {
            _ if self.ended => Err(Errno::NXIO),
            Some(issuer) if issues && issuer != thread::current().id() => Err(Errno::EXIST),
            _ => Ok(()),
        }
    }

    /// Ends the mock, which then accesses no memory of the program any more.
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.in_flight.clear();
    }

    /// Accepts a consumed submission with its answer.
    pub(super) fn admit(&mut self, sqe: Sqe, answer: Answer) {
        let new = InFlight::new(sqe, answer, self.now);
        if !new.is_over() {
            self.in_flight.push(new);
        }
        self.settle(false);
    }

    /// Answers as every kernel would.
    pub(super) fn usual(&mut self, sqe: &Sqe) -> Answer {
        let is = |code: sys::io_uring_op| sqe.opcode == code as u8;
        let flags = TimeoutFlags::from_bits_retain(sqe.op_flags);
        if is(IORING_OP_NOP) || sqe.opcode == sys::IORING_OP_NOP128 {
            Answer::result(0)
        } else if is(IORING_OP_ASYNC_CANCEL) {
            Answer::result(self.cancel(sqe))
        } else if is(IORING_OP_TIMEOUT_REMOVE) && flags.is_empty() {
            Answer::result(self.remove(sqe.addr, IORING_OP_TIMEOUT))
        } else if is(IORING_OP_POLL_REMOVE) && sqe.len == 0 {
            Answer::result(self.remove(sqe.addr, IORING_OP_POLL_ADD))
        } else if is(IORING_OP_TIMEOUT) && TimeoutFlags::ABS.contains(flags) && sqe.off == 0 {
            let time = core::ptr::with_exposed_provenance::<Timespec>(sqe.addr as usize);
            if time.is_null() {
                return Answer::error(Errno::FAULT);
            }
            // SAFETY: by the contract of a pushed entry, the time is valid during submission, which
            // is now. The kernel copies it from any address, aligned or not.
            let time = duration(unsafe { time.read_unaligned() });
            let wait = if flags.is_empty() { time } else { time.saturating_sub(self.now) };
            Answer::error(Errno::TIME).after(wait)
        } else {
            Answer::error(Errno::INVAL)
        }
    }

    /// Performs `IORING_OP_ASYNC_CANCEL`, and returns its result.
    fn cancel(&mut self, sqe: &Sqe) -> i32 {
        type By = AsyncCancelFlags;
        let by = By::from_bits_retain(sqe.op_flags);
        let some = by.intersects(By::FD | By::OP);
        let matches = |target: &Sqe| {
            by.contains(By::ANY)
                || (!by.contains(By::FD) || target.fd == sqe.fd)
                    && (!by.contains(By::OP) || u32::from(target.opcode) == sqe.len)
                    && (some && !by.contains(By::USERDATA) || target.user_data == sqe.addr)
        };
        let all = by.intersects(By::ALL | By::ANY);
        let most = if all { usize::MAX } else { 1 };
        let now = self.now;
        let targets = self.in_flight.iter_mut().filter(|it| matches(&it.sqe));
        let found = targets.filter_map(|it| it.cancel(now).then_some(())).take(most).count();
        match (all, found) {
            (true, found) => found as i32,
            (false, 0) => -Errno::NOENT.raw_os_error(),
            (false, _) => 0,
        }
    }

    /// Cancels the operation of this kind with this user data.
    fn remove(&mut self, user_data: u64, code: sys::io_uring_op) -> i32 {
        let now = self.now;
        let mut kind = self.in_flight.iter_mut().filter(|it| it.sqe.opcode == code as u8);
        let target = kind.find(|it| it.sqe.user_data == user_data);
        if target.is_some_and(|it| it.cancel(now)) { 0 } else { -Errno::NOENT.raw_os_error() }
    }

    /// Returns the time of the next completion.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.in_flight.iter().filter_map(InFlight::next_at).min()
    }

    /// Posts the completions that are due. `asked` tells whether the program asks for events. Only
    /// then does this post completions that were deferred or found the queue full.
    pub(super) fn settle(&mut self, asked: bool) {
        while let Some(at) = self.next_at().filter(|at| *at <= self.now) {
            let first = self.in_flight.iter().position(|it| it.next_at() == Some(at));
            let first = first.expect("`next_at` has just found it");
            self.waiting.extend(self.in_flight[first].complete());
            if self.in_flight[first].is_over() {
                self.in_flight.remove(first);
            }
        }
        let defers = self.setup.contains(SetupFlags::DEFER_TASKRUN);
        if asked || !(defers || self.overflown) {
            while let Some(Posted { entry, big }) = self.waiting.front() {
                if !self.region.post(*entry, *big, self.mixed_cqes) {
                    if self.features.contains(Features::NODROP) {
                        break;
                    }
                    self.region.words().cq_overflow.fetch_add(1, Ordering::Relaxed);
                }
                self.waiting.pop_front();
            }
            self.overflown = !self.waiting.is_empty();
        }
        let mut flags = 0;
        let mut set = |flag: u32, when: bool| flags |= if when { flag } else { 0 };
        set(sys::IORING_SQ_CQ_OVERFLOW, self.overflown);
        let shown = self.setup.contains(SetupFlags::TASKRUN_FLAG);
        set(sys::IORING_SQ_TASKRUN, shown && !self.waiting.is_empty() && !self.overflown);
        set(sys::IORING_SQ_NEED_WAKEUP, self.setup.contains(SetupFlags::SQPOLL));
        self.region.words().sq_flags.store(flags, Ordering::Relaxed);
    }

    /// Lets time pass until `want` completions are ready, or until `until` ends the wait.
    pub(super) fn wait(&mut self, want: u32, until: Until) -> Result<(), Errno> {
        let want = want.min(self.region.cq_entries());
        let deadline = until
            .deadline
            .map(|(time, absolute)| if absolute { time } else { self.now.saturating_add(time) });
        let one_is_enough = self.now.saturating_add(until.min_wait);
        let has_min_wait = !until.min_wait.is_zero();
        let error = loop {
            self.settle(true);
            let ready = self.region.ready();
            let enough = has_min_wait && self.now >= one_is_enough && ready > 0;
            if ready >= want || enough {
                return Ok(());
            }
            if self.interrupts > 0 {
                self.interrupts -= 1;
                break Errno::INTR;
            }
            // Without a timeout, the kernel waits for the first completion no longer than the
            // minimum.
            let limit = deadline.or(has_min_wait.then_some(one_is_enough));
            if limit.is_some_and(|limit| self.now >= limit) {
                break Errno::TIME;
            }
            let min_wait = (has_min_wait && self.now < one_is_enough).then_some(one_is_enough);
            match [self.next_at(), deadline, min_wait].into_iter().flatten().min() {
                Some(at) => self.now = at,
                None => return Err(Errno::DEADLK),
            }
        };
        // The kernel returns no error if a completion is ready.
        if self.region.ready() > 0 { Ok(()) } else { Err(error) }
    }
}

/// The limits of a wait.
#[derive(Clone, Copy, Default)]
pub(super) struct Until {
    /// A time, and whether it is absolute.
    pub(super) deadline: Option<(Duration, bool)>,
    /// After this, one completion is enough.
    pub(super) min_wait: Duration,
}

/// Converts a time of the program. Negative values become zero.
pub(super) fn duration(time: Timespec) -> Duration {
    let (sec, nsec) = time.into_parts();
    let sec = Duration::from_secs(u64::try_from(sec).unwrap_or(0));
    sec.saturating_add(Duration::from_nanos(u64::try_from(nsec).unwrap_or(0)))
}
