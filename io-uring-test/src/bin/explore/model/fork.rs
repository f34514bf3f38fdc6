//! Forked children that use an inherited ring.
//!
//! - A child inherits the descriptor, and shares the memory that the kernel has mapped for the ring.
//!   It sees the same queues. What it pushes is queued in the parent too, and what it submits is gone.
//! - With `dontfork`, the child has no such memory. It can only drop the ring.
//! - The queue of a rewound ring has no positions in that memory. Each process has its own tail. So
//!   the parent does not see what the child pushes. The child submits the entries of both, and those
//!   of the parent are still queued there: they run again.
//! - A ring in the program's private memory is copied. The kernel uses the memory of the parent. What
//!   the child pushes never runs. When the child submits, the kernel consumes the entries that the
//!   parent has queued, at most as many as the child has.
//! - Only the task of a ring with SINGLE_ISSUER can submit, or do deferred work. A registered index is
//!   not inherited.
//! - Dropping the ring in the child changes nothing for the parent.

use super::errno::*;
use super::operation::{Entry, Op};
use super::setup::flag::{SINGLE_ISSUER, SQPOLL};
use super::state::Model;

/// What a child that uses a ring observes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    /// The number of queued slots and of ready slots, before anything else.
    pub(crate) queued: usize,
    pub(crate) ready: usize,
    /// Whether each push succeeded.
    pub(crate) pushed: Vec<bool>,
    /// The result of the submit, or the possible errors.
    pub(crate) submitted: Option<Result<usize, Vec<i32>>>,
    /// A thread that is awake may consume entries before the submit, which then returns less.
    pub(crate) is_awake: bool,
}

impl Model {
    /// Whether a child may push `n` entries and submit, if the test is to know what happens. Requests
    /// that do not end at once would end with the child.
    pub(crate) fn child_may_use(&self, r: usize, n: usize) -> bool {
        let Some(ring) = &self.rings[r] else { return false };
        let plain = |entry: &Entry| entry.op == Op::NOP && entry.flags == 0;
        // The kernel would run whatever is in the parent's slots, or consumes nothing.
        let no_copy = ring.built.in_memory
            && (ring.built.rewound || ring.built.flags & SQPOLL != 0 || ring.polls_devices());
        let waits = ring.taskrun() || ring.cq.overflows() || ring.drain_active;
        // A thread that is awake may complete them before the child submits. A completion that
        // overflows would make the submit ask for events.
        let overflows = ring.cq.len() + ring.sq.len() + n > ring.cq.capacity as usize;
        let waits = waits || ring.thread_stays_awake() && overflows;
        !ring.lost && !ring.built.dontfork && !no_copy && !waits && ring.sq.entries().all(plain)
    }

    /// A child pushes entries one by one, and submits or not.
    pub(crate) fn child_uses(&mut self, r: usize, entries: &[Entry], submits: bool) -> Observed {
        let ring = self.ring(r);
        let (queued, ready) = (ring.sq.len(), ring.cq.len());
        let parents = ring.sq.clone();
        let pushed =
            entries.iter().map(|entry| ring.sq.push(vec![entry.clone()]).is_ok()).collect();
        ring.sq.publish();
        let left = ring.sq.len();
        let is_awake = ring.thread_stays_awake();
        if ring.built.in_memory {
            ring.sq = parents.clone();
        }
        let submitted = submits.then(|| self.child_submits(r, left));
        if self.ring(r).built.rewound {
            self.ring(r).sq = parents;
        }
        Observed { queued, ready, pushed, submitted, is_awake }
    }

    /// A child submits. Its queue holds `queued` slots.
    fn child_submits(&mut self, r: usize, queued: usize) -> Result<usize, Vec<i32>> {
        let need_wakeup = self.need_wakeup(r);
        let ring = self.ring(r);
        // The library makes no call if it needs none. The thread of an SQPOLL ring submits by itself.
        let submits = queued > 0 && ring.thread.is_none();
        let polls = ring.task_polls();
        if !submits && !polls && !need_wakeup {
            return Ok(queued);
        }
        if ring.built.registered {
            return Err(vec![EINVAL, EBADF]);
        }
        if ring.thread.is_some() {
            return self.submit(r, None).map_err(|errno| vec![errno]);
        }
        // Only the task itself may do deferred work.
        let needs_its_task = queued > 0 || ring.defers_beside_polling();
        if ring.built.flags & SINGLE_ISSUER != 0 && !ring.disabled && needs_its_task {
            return Err(vec![EEXIST]);
        }
        let want = polls.then_some(0);
        self.enter(r, queued, want).map_err(|errno| vec![errno])
    }
}
