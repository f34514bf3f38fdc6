//! Submitting and waiting.
//!
//! - The kernel consumes entries one by one. A rejected entry gets a completion with the error, and
//!   ends the submission. There are two exceptions: the ring continues after errors (`SUBMIT_ALL`),
//!   or the entry has a link flag: then the kernel assembles the whole chain, and does not run it.
//! - A chain ends at the first entry without a link flag, or with the submission. In the second case,
//!   a worker thread starts it.
//! - Entries that were not consumed stay queued.
//! - The wait follows the submission, and only if all entries were consumed. An error of the wait is
//!   reported only if nothing was submitted.

use super::cqueue::Size;
use super::errno::*;
use super::operation::{BUFFER_SELECT, DRAIN, Entry, Op, SKIP, Transfer, UNKNOWN};
use super::ring::{Chain, Drained, Work};
use super::state::Model;

impl Model {
    /// Models `submit` and its variants, and returns their result.
    pub(crate) fn submit(&mut self, r: usize, want: Option<u64>) -> Result<usize, i32> {
        let ring = self.ring(r);
        if ring.lost {
            self.ran_out = false;
            return Err(ENOTRECOVERABLE);
        }
        if ring.thread.is_some() {
            return self.submit_to_thread(r, want.unwrap_or(0));
        }
        let queued = ring.sq.len();
        let wants = want.is_some_and(|want| want > 0);
        // The library makes no call if nothing is queued, nothing is wanted, and nothing waits for
        // the task to ask for events.
        let asks = wants || ring.cq.overflows() || ring.taskrun() || ring.task_polls();
        if queued == 0 && !asks {
            return Ok(0);
        }
        self.enter(r, queued, asks.then_some(want.unwrap_or(0)))
    }

    /// Models `wait` and its variants, and returns their result. The library makes no call if
    /// enough completions are ready.
    pub(crate) fn wait(&mut self, r: usize, want: u64) -> Result<usize, i32> {
        let ring = self.ring(r);
        if ring.lost {
            self.ran_out = false;
            return Err(ENOTRECOVERABLE);
        }
        if ring.thread.is_some() {
            return self.wait_for_thread(r, want);
        }
        let there = want <= ring.cq.len() as u64;
        let asks = ring.cq.overflows() || ring.taskrun() || ring.task_polls();
        if (want == 0 || there) && !asks {
            return Ok(0);
        }
        self.enter(r, 0, Some(want))
    }

    /// Models the system call. It submits `submit` slots, and asks for events if `want` is given.
    pub(crate) fn enter(
        &mut self,
        r: usize,
        submit: usize,
        want: Option<u64>,
    ) -> Result<usize, i32> {
        if self.ring(r).lost {
            self.ran_out = false;
            return Err(ENOTRECOVERABLE);
        }
        if self.ring(r).thread.is_some() {
            // A call for events does not wake the thread.
            return self.enter_with_thread(r, submit, want, false);
        }
        if self.ring(r).disabled {
            (self.ran_out, self.ran_out_or_not) = (false, false);
            self.system_call();
            return Err(EBADFD);
        }
        (self.ran_out, self.ran_out_or_not) = (false, false);
        let mut taken = 0;
        if submit > 0 {
            taken = self.take(r, submit);
            self.flush(r);
        }
        let mut waited = Ok(());
        if taken == submit {
            if let Some(want) = want {
                let before = self.ring(r).workers;
                let least = want.min(u64::from(self.ring(r).cq.capacity)) as usize;
                while self.run_for_events(r) {
                    let ring = self.ring(r);
                    ring.flush_overflow();
                    // What has moved to the queue may have ended a timeout by its count.
                    if ring.cq.len() >= least || ring.work.is_empty() {
                        break;
                    }
                }
                let ring = self.ring(r);
                let workers = before || ring.workers;
                if !ring.task_polls() {
                    (self.ran_out, waited) = ring.wait_is_over(want);
                }
                self.ran_out_or_not = self.ran_out && taken == 0 && workers;
            }
        }
        self.system_call();
        if taken > 0 { Ok(taken) } else { waited.map(|()| 0) }
    }

    /// The kernel consumes entries. Returns the number of their slots.
    pub(super) fn take(&mut self, r: usize, submit: usize) -> usize {
        let continues = self.ring(r).built.submit_all;
        let mut taken = 0;
        let mut chain: Option<Chain> = None;
        while taken < submit {
            let Some((mut entry, slots)) = self.ring(r).sq.take() else { break };
            taken += slots;
            self.ring(r).alive += 1;
            let refused = self.refusal(r, &mut entry, chain.as_ref());
            let linked = entry.is_linked();
            let in_a_chain = linked || chain.is_some();
            if let Some(errno) = refused {
                entry.failed = Some(-errno);
                if let Some(first) = chain.as_mut().and_then(|chain| chain.front_mut()) {
                    first.failed.get_or_insert(-ECANCELED);
                }
            }
            let mut whole = chain.take().unwrap_or_default();
            whole.push_back(entry);
            if linked {
                chain = Some(whole);
            } else {
                self.queue(r, whole);
                let ends = refused.is_some() && (!in_a_chain || self.kernel.linked_file);
                if ends && !continues {
                    break;
                }
            }
        }
        if let Some(chain) = chain {
            // The chain ends with the submission. A worker thread starts it.
            if chain[0].failed.is_none() {
                self.ring(r).in_its_own_time();
            }
            self.queue(r, chain);
        }
        taken
    }

    /// Whether the kernel is going to reject any queued entry.
    pub(crate) fn refuses_any(&self, r: usize) -> bool {
        let mut model = self.clone();
        let queued: Vec<Entry> = model.ring(r).sq.entries().cloned().collect();
        let mut chain = None;
        queued.into_iter().any(|mut entry| {
            let refused = model.refusal(r, &mut entry, chain.as_ref()).is_some();
            chain = entry.is_linked().then(|| Chain::from([entry]));
            refused
        })
    }

    /// The error with which the kernel rejects an entry, if it does.
    fn refusal(&mut self, r: usize, entry: &mut Entry, chain: Option<&Chain>) -> Option<i32> {
        let (linked_file, cqe_skip) = (self.kernel.linked_file, self.kernel.cqe_skip);
        let restricts_first = self.kernel.restricts_first;
        let nop = (
            self.kernel.nop_result,
            self.kernel.nop_task_work,
            self.kernel.nop_big,
            self.kernel.nop_ioprio,
        );
        let ring = self.ring(r);
        if entry.op == Op::NoSuchOpcode {
            return Some(EINVAL);
        }
        if entry.flags & UNKNOWN != 0 || (entry.flags & SKIP != 0 && !cqe_skip) {
            return Some(EINVAL);
        }
        if restricts_first && !ring.may_run(entry) {
            return Some(EACCES);
        }
        if entry.flags & BUFFER_SELECT != 0
            && !matches!(
                entry.op,
                Op::Read { .. }
                    | Op::ReadSlot { .. }
                    | Op::ReadNothing
                    | Op::Receive(_)
                    | Op::Transfer(_)
            )
        {
            return Some(EOPNOTSUPP);
        }
        if entry.flags & SKIP != 0 {
            ring.drain_disabled = true;
        }
        if entry.flags & DRAIN != 0 {
            if ring.drain_disabled {
                return Some(EOPNOTSUPP);
            }
            ring.drain_active = true;
            ring.restless += 1;
            // The whole chain drains, and so does the chain after it.
            ring.drain_next |= chain.is_some();
        }
        if !ring.may_run(entry) {
            return Some(EACCES);
        }
        if ring.drain_next && chain.is_none() {
            (ring.drain_next, ring.drain_active) = (false, true);
            entry.flags |= DRAIN;
        }
        if let Some(errno) = ring.cannot_poll(entry, !linked_file) {
            return Some(errno);
        }
        match entry.op {
            Op::Ioprio if nop.3 => Some(EINVAL),
            // A silent multishot poll could not report which completion is the last.
            Op::Poll { multi: true, .. } if entry.is_silent() => Some(EINVAL),
            // An absolute time cannot repeat.
            Op::Timeout { time, repeats, .. } => {
                (repeats.is_some() && time.is_absolute).then_some(EINVAL)
            }
            // A linked timeout needs a request before it, and a request can have only one.
            Op::LinkTimeout { .. } => match chain.and_then(|chain| chain.back()) {
                Some(Entry { op: Op::LinkTimeout { .. }, .. }) | None => Some(EINVAL),
                Some(_) => None,
            },
            Op::ReadNothing if !linked_file => Some(EBADF),
            Op::ReadSlot { slot, .. } | Op::Transfer(Transfer { slot: Some(slot), .. })
                if !linked_file =>
            {
                let there = ring.slots.as_ref().and_then(|slots| slots.get(slot));
                there.is_none().then_some(EBADF)
            }
            Op::Nop { result, big, task_work } => {
                let unknown = (result.is_some() && !nop.0)
                    || (task_work && !nop.1)
                    || (big.is_some() && !nop.2);
                let size = ring.cq.size;
                (unknown || (big.is_some() && size == Size::Small)).then_some(EINVAL)
            }
            _ => None,
        }
    }

    /// A chain is complete. It starts, or waits for its turn after a drain.
    fn queue(&mut self, r: usize, chain: Chain) {
        let ring = self.ring(r);
        if chain[0].failed.is_some() {
            return self.refuse(r, chain);
        }
        let drains = chain.iter().any(|entry| entry.flags & DRAIN != 0);
        if ring.drain_active {
            ring.drained.push_back(Drained { chain, drains });
            ring.in_its_own_time();
            self.queue_drained(r);
            let ring = self.ring(r);
            if !drains && ring.drained.is_empty() {
                // The drain had already ended. The kernel notices this only here.
                ring.drain_active = false;
            }
            return;
        }
        self.start(r, chain, false);
    }

    /// Starts the chains that wait after a drain, if it is their turn.
    pub(crate) fn queue_drained(&mut self, r: usize) {
        let mut drain_seen = self.kernel.drain_holds;
        let ring = self.ring(r);
        while let Some(first) = ring.drained.front() {
            drain_seen |= first.drains;
            let behind: usize = ring.drained.iter().map(|drained| drained.chain.len()).sum();
            if drain_seen && ring.alive > behind {
                return;
            }
            // The first chain waits even if it is no drain itself: the drain before it may still be
            // running.
            drain_seen = first.drains;
            if let Some(next) = ring.drained.pop_front() {
                ring.in_its_own_time();
                ring.work.push_back(Work::Start(next.chain));
            }
        }
    }
}
