//! The registered eventfd, which tells a program that completions have arrived.
//!
//! - The kernel adds 1 to its counter after each batch of completions, if the batch has filled a slot
//!   of the queue: a batch of silent requests adds nothing, and neither does a completion that
//!   overflows. The entries of one submission that complete at once are one batch. Each message and
//!   each tag is a batch of its own.
//! - While the program has set the flag that disables the eventfd, the kernel adds nothing. It looks
//!   at the filled slots again when the flag is cleared: the next batch then counts, even a silent one.
//! - An eventfd for asynchronous completions is signaled only by worker threads.
//! - On a ring with DEFER_TASKRUN, the kernel also adds 1 when work waits for the task. Linux 7.2 and
//!   7.3 do that some time later, maybe when the task has done the work.
//! - The number of batches is not exact for completions by work, for completions that overflowed, and on
//!   SQPOLL rings: a task that is preempted posts what it has in the middle of a round of work, or of a
//!   flush. For these, at least one signal is certain.

use super::errno::{EBUSY, ENXIO};
use super::restrict::call;
use super::ring::Ring;

/// The eventfd, and what was added to its counter since the program has read it.
#[derive(Clone, Debug)]
pub(crate) struct Eventfd {
    only_async: bool,
    /// How many slots had been filled at the last batch.
    filled: u32,
    count: u64,
    /// The kernel may have added to the counter.
    may_signal: bool,
    /// The number of batches is not specified.
    is_open: bool,
    /// The kernel may signal at any time that work waits, or has waited.
    is_late: bool,
}

/// What the program may read from the eventfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    Exactly(u64),
    AtLeast(u64),
}

impl Count {
    pub(crate) fn allows(self, real: u64) -> bool {
        match self {
            Self::Exactly(count) => real == count,
            Self::AtLeast(count) => real >= count,
        }
    }
}

impl Ring {
    /// The kernel has processed a batch of completions.
    pub(super) fn commit(&mut self) {
        self.compare_counts();
        if self.eventfd_disabled {
            return;
        }
        let filled = self.cq.filled();
        if let Some(eventfd) = self.eventfd.as_mut().filter(|eventfd| !eventfd.only_async) {
            eventfd.count += u64::from(eventfd.filled != filled);
            eventfd.filled = filled;
            eventfd.may_signal = true;
        }
    }

    /// The kernel has processed a batch if it has filled a slot since the last one.
    pub(super) fn commit_if_posted(&mut self) {
        if self.has_posted() {
            self.commit();
        }
    }

    /// Completions that overflowed move to the queue in an unknown number of batches.
    pub(super) fn batches_are_open(&mut self) {
        if let Some(eventfd) = &mut self.eventfd {
            eventfd.is_open = true;
        }
    }

    /// Completions come in an unknown number of batches. `by_worker` tells whether worker threads
    /// post some of them.
    pub(crate) fn signals_are_open(&mut self, by_worker: bool) {
        let enabled = !self.eventfd_disabled;
        if let Some(eventfd) = &mut self.eventfd {
            eventfd.is_open = true;
            eventfd.is_late |= self.defers;
            eventfd.may_signal |= enabled && (by_worker || !eventfd.only_async);
        }
    }

    /// Registers an eventfd.
    pub(crate) fn register_eventfd(&mut self, only_async: bool) -> Result<(), i32> {
        self.may_call(if only_async { call::EVENTFD_ASYNC } else { call::EVENTFD })?;
        if self.eventfd.is_some() {
            return Err(EBUSY);
        }
        let filled = self.cq.filled();
        let (count, may_signal, is_open, is_late) = (0, false, false, false);
        self.eventfd = Some(Eventfd { only_async, filled, count, may_signal, is_open, is_late });
        if self.restless > 0 || self.workers {
            // The kernel may do some rounds of work only after the call.
            self.signals_are_open(true);
        }
        Ok(())
    }

    pub(crate) fn unregister_eventfd(&mut self) -> Result<(), i32> {
        self.may_call(call::UNREGISTER_EVENTFD)?;
        self.eventfd.take().map(drop).ok_or(ENXIO)
    }

    /// The program reads the eventfd, if there is one. `exact` tells whether the kernel counts
    /// batches as described.
    pub(crate) fn read_eventfd(&mut self, exact: bool) -> Option<Count> {
        if self.defers && !self.work.is_empty() {
            self.signals_are_open(false);
        }
        let eventfd = self.eventfd.as_mut()?;
        let is_open = eventfd.is_open || eventfd.is_late;
        let count = match (eventfd.may_signal, exact && !is_open) {
            (false, _) if !eventfd.is_late => Count::Exactly(0),
            (false, _) => Count::AtLeast(0),
            (true, true) => Count::Exactly(eventfd.count),
            (true, false) => Count::AtLeast(eventfd.count.min(1)),
        };
        (eventfd.count, eventfd.may_signal, eventfd.is_open) = (0, false, false);
        Some(count)
    }
}
