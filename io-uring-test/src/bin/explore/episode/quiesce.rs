//! Quiescing: after it, nothing of the ring is in flight.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Lockstep, Same, raw, same};
use crate::model::cqueue::{Cqe, F_MORE, Size};
use crate::model::errno::{EACCES, ECANCELED, EINTR, ENOTRECOVERABLE, EOVERFLOW, ETIME};
use crate::model::operation::{Criteria, DRAIN, Entry, HARDLINK, Op};
use crate::model::restrict::{call, opcode};
use crate::model::ring::Work;
use crate::model::squeue::PAD_USER_DATA;
use crate::op;
use crate::step::Limit;

/// How long it takes at most: hung.
const HUNG: Duration = Duration::from_secs(5);
/// How long, if it is to give up.
const SHORT: Duration = Duration::from_millis(1);

/// What is in flight when a ring quiesces.
struct InFlight {
    /// What counts as one operation: one that posts, with the silent ones that its chain begins with.
    /// Of these one posts, which is the first that fails, or the last.
    counted: Vec<Vec<u64>>,
    /// What does not count.
    silent: Vec<u64>,
}

impl Lockstep<'_> {
    pub(super) fn quiesce(&mut self, r: usize, limit: Limit) -> Same {
        if self.model.ring(r).lost {
            let mut in_flight = 1;
            let result = self.real(r).quiesce(&mut in_flight, HUNG, &mut |_| true);
            return same("quiesce", &(raw(result), in_flight), &(Err(ENOTRECOVERABLE), 1));
        }
        let Some(InFlight { counted, silent }) = self.in_flight(r) else { return Ok(()) };
        if counted.is_empty() || !self.may_submit(r, true) || !self.model.kernel.sync_cancel {
            return Ok(());
        }
        // By a call or, where that is forbidden, by an entry.
        let ring = self.model.ring(r);
        let by_call = ring.may_call(call::SYNC_CANCEL).is_ok();
        let cancels = by_call || ring.may_do(opcode::ASYNC_CANCEL, 0);
        let drains = ring.drain_active || ring.sq.entries().any(|entry| entry.flags & DRAIN != 0);
        if drains && !by_call {
            // Such an entry would wait itself.
            return Ok(());
        }
        let mixed = self.model.ring(r).cq.size == Size::Mixed;
        if mixed && (limit != Limit::Hung || !cancels) {
            return Ok(());
        }
        let too_many = usize::from(limit == Limit::TooMany);
        let mut in_flight = counted.len() + too_many;
        say!(
            self,
            "let mut in_flight = {in_flight};\nprintln!(\"{{:?}}\", {}.quiesce_with(&mut in_flight, Duration::from_secs(5), &[], |cqe| !{silent:?}.contains(&cqe.user_data())));",
            op::name(r)
        );
        let mut real: Vec<Cqe> = Vec::new();
        let mut quiesce = |both: &mut Self, in_flight: &mut usize, time| {
            let result = both.real(r).quiesce(in_flight, time, &mut |cqe| {
                real.push(cqe);
                !silent.contains(&cqe.user_data)
            });
            raw(result)
        };
        let gives_up = !cancels || limit == Limit::TooMany;
        let mut result = Err(ETIME);
        if gives_up || limit == Limit::NoneFirst {
            let time = if gives_up { SHORT } else { Duration::ZERO };
            result = quiesce(self, &mut in_flight, time);
        }
        if !gives_up && result == Err(ETIME) {
            same("operations are left", &(in_flight > 0), &true)?;
            result = quiesce(self, &mut in_flight, HUNG);
        }
        let expected = self.end_of_all(r, cancels);
        let ended = |user_data: &u64| {
            expected.iter().any(|cqe| cqe.user_data == *user_data && cqe.flags & F_MORE == 0)
        };
        let left = counted.iter().filter(|one| !one.iter().any(ended)).count() + too_many;
        let errno = if cancels { ETIME } else { EACCES };
        // What takes its time to end is waited for.
        for _ in 0..self.watch.patience().min(1000) {
            if !gives_up || in_flight == left || result != Err(errno) {
                break;
            }
            result = quiesce(self, &mut in_flight, SHORT);
        }
        // A mixed queue that was full may repeat completions, and quiesce says that it cannot count.
        let in_doubt = mixed && result == Err(EOVERFLOW);
        if !in_doubt {
            let model = if left == 0 { Ok(()) } else { Err(errno) };
            same("quiesce", &(result, in_flight), &(model, left))?;
        }
        real.iter_mut().for_each(|cqe| self.whichever_came_first(r, cqe));
        for cqe in &mut real {
            self.close_installed(cqe)?;
        }
        self.same_ends(r, &counted, &real, &expected)?;
        // What is silent may post when it is cancelled, and nobody has waited for that.
        for _ in 0..2 + 2 * silent.len() {
            raw(self.real(r).get_events()).map_err(|e| format!("get_events: errno {e}"))?;
        }
        let mut late = Vec::new();
        self.real(r).reap(crate::step::Reap::All, 0, &mut late);
        say!(
            self,
            "{0}.submitter().get_events().unwrap(); {0}.completion().for_each(drop);",
            op::name(r)
        );
        match late.iter().find(|cqe| !silent.contains(&cqe.user_data)) {
            Some(cqe) => Err(format!("after quiesce: {cqe:?}")),
            None => Ok(()),
        }
    }

    /// Nothing where it is not clear what counts, or what comes beside it.
    fn in_flight(&mut self, r: usize) -> Option<InFlight> {
        let silent_ones = &self.silent;
        let ring = self.model.rings[r].as_ref()?;
        let waiting = ring.waiting.iter().map(|waiting| waiting.chain.iter().collect());
        let drained = ring.drained.iter().map(|drained| drained.chain.iter().collect());
        let mut chains: Vec<Vec<&Entry>> = waiting.chain(drained).collect();
        for work in &ring.work {
            match work {
                // Each by itself.
                Work::Fail(chain) => chains.extend(chain.iter().map(|entry| vec![entry])),
                work => chains.push(work.chain().collect()),
            }
        }
        let mut queued = Vec::new();
        for entry in ring.sq.entries() {
            queued.push(entry);
            if !entry.is_linked() {
                chains.push(std::mem::take(&mut queued));
            }
        }
        // A worker thread begins what is open at the end, and may find it cancelled at any point.
        let open = !queued.is_empty();
        chains.push(queued);
        let all = || chains.iter().flatten();
        let links = all().any(|entry| entry.is_linked());
        let message = |user_data: u64| user_data >> 32 == 1;
        let messages = all()
            .any(|entry| matches!(entry.op, Op::Message { .. } | Op::SendFile { .. }))
            || ring.work.iter().any(|work| matches!(work, Work::Message(_)))
            || ring.cq.all().any(|cqe| message(cqe.user_data));
        let full = ring.cq.size == Size::Mixed
            && (ring.cq.overflows()
                || ring.cq.len() + 3 * ring.outstanding() >= ring.cq.capacity as usize);
        // What a chain cancels may be cancelled already when its turn comes.
        let begins = ring.work.iter().flat_map(|work| work.chain()).any(|entry| entry.op.cancels());
        let cancels = begins || links && all().any(|entry| entry.op.cancels());
        // A worker thread may have begun what is cancelled, or not.
        let pipe_nowait = self.model.kernel.pipe_nowait;
        let at_work = !pipe_nowait && ring.sq.entries().any(|entry| entry.op.reads());
        // What has happened and what is cancelled meet: either may come first.
        let woken = ring.waiting.iter().any(|waiting| waiting.woken);
        let workers = ring.workers || ring.drain_active || at_work || open;
        // Where a time runs out, either may come first; and what watches does not count as its chain does.
        let times = all().any(|entry| entry.op.runs_out())
            || all().any(|entry| matches!(entry.op, Op::LinkTimeout { .. }))
                && all().any(|it| it.is_silent());
        // One that receives again and again may be cancelled before its next turn: what it leaves is open.
        let pipes = &self.model.pipes;
        let turns = ring.defers
            && all().any(|entry| match entry.op {
                Op::Receive(what) => what.multi && !pipes[what.source].is_empty(),
                _ => false,
            });
        // What ends under another name is not the one that was counted.
        let renamed =
            all().any(|entry| matches!(entry.op, Op::PollUpdate { new_user_data: Some(_), .. }));
        if renamed
            || turns
            || ring.disabled
            || woken
            || cancels
            || messages
            || full
            || workers
            || times
        {
            return None;
        }
        let (mut counted, mut silent) = (Vec::new(), Vec::new());
        for chain in chains {
            let chain: Vec<_> =
                chain.into_iter().filter(|entry| entry.user_data != PAD_USER_DATA).collect();
            let ids = |entries: &[&Entry]| entries.iter().map(|entry| entry.user_data).collect();
            let Some((last, before)) = chain.split_last() else { continue };
            let quiet = before.iter().filter(|entry| entry.is_silent()).count();
            let hard = before.iter().any(|entry| entry.flags & HARDLINK != 0);
            if !before.is_empty() && last.is_silent() && last.op.may_wait() {
                // It may come to waiting when all that counts is over.
                return None;
            }
            if quiet == 0 {
                counted.extend(before.iter().map(|entry| vec![entry.user_data]));
                match last.is_silent() {
                    true => silent.push(last.user_data),
                    false => counted.push(vec![last.user_data]),
                }
            } else if quiet == before.len() && !last.is_silent() && !hard {
                counted.push(ids(&chain));
            } else {
                return None;
            }
        }
        if counted.is_empty() && !silent.is_empty() {
            // What counts is there already: nothing is cancelled.
            return None;
        }
        // Completions of what was silent, and has failed, are there already.
        let done = ring
            .cq
            .all()
            .filter(|cqe| cqe.flags & F_MORE == 0 && cqe.user_data != super::PAD_USER_DATA);
        for cqe in done {
            match silent_ones.get(&cqe.user_data) {
                None => counted.push(vec![cqe.user_data]),
                Some(false) => silent.push(cqe.user_data),
                // Was it by itself, or the one that counts?
                Some(true) => return None,
            }
        }
        Some(InFlight { counted, silent })
    }

    /// The model's end of all: everything is submitted, and cancelled if it can be.
    fn end_of_all(&mut self, r: usize, cancels: bool) -> Vec<Cqe> {
        let mut all = Vec::new();
        let everything = Criteria { user_data: None, pipe: None, all: true };
        for _ in 0..1000 {
            while let Some(cqe) = self.model.ring(r).cq.next() {
                all.push(cqe);
            }
            let ring = self.model.ring(r);
            let rests = ring.sq.len() + ring.work.len() == 0 && (!cancels || ring.alive == 0);
            if rests && ring.cq.all().next().is_none() {
                break;
            }
            if ring.sq.len() > 0 {
                let _ = self.model.submit(r, None);
            } else if cancels {
                self.model.cancel_by(r, everything, |_| true);
            }
            self.model.run(r);
            self.model.ring(r).cq.flush();
            self.model.system_call();
        }
        let ring = self.model.ring(r);
        (ring.restless, ring.workers, ring.unordered) =
            (0, ring.workers || ring.drain_active, false);
        all
    }

    /// Each operation has ended once, and as the model says, or cancelled.
    fn same_ends(
        &mut self,
        r: usize,
        counted: &[Vec<u64>],
        real: &[Cqe],
        expected: &[Cqe],
    ) -> Same {
        let ends = |all: &[Cqe]| -> BTreeMap<u64, i32> {
            all.iter()
                .filter(|cqe| cqe.flags & F_MORE == 0)
                .map(|cqe| (cqe.user_data, cqe.result))
                .collect()
        };
        let (real_ends, model_ends) = (ends(real), ends(expected));
        let ring = self.model.ring(r);
        let (exact, defers) = (!ring.workers, ring.defers);
        let goes_on = |user_data| {
            expected.iter().any(|it| it.user_data == user_data && it.flags & F_MORE != 0)
        };
        for user_data in counted.iter().flatten() {
            let (real, model) = (real_ends.get(user_data), model_ends.get(user_data));
            // What a worker thread blocks in is interrupted.
            let cancelled = !exact && matches!(real, Some(&r) if r == -ECANCELED || r == -EINTR);
            // Where work is deferred, a multishot request may be cancelled before its next turn.
            let before_its_turn = defers && real == Some(&-ECANCELED) && goes_on(*user_data);
            if real != model && !cancelled && !before_its_turn {
                return Err(format!(
                    "quiesce: {user_data} ends with {real:?}, and the model says {model:?}"
                ));
            }
        }
        for cqe in real {
            self.check_memory(r, cqe)?;
        }
        Ok(())
    }
}
