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

/// A quiesce that takes longer has hung.
const HUNG: Duration = Duration::from_secs(5);
/// The time limit of a quiesce that must give up.
const SHORT: Duration = Duration::from_millis(1);

/// What is in flight when a ring quiesces.
struct InFlight {
    /// Each item counts as one operation: an entry that posts, together with the silent entries at
    /// the start of its chain. Only one of them posts: the first that fails, or the last.
    counted: Vec<Vec<u64>>,
    /// The operations that do not count.
    silent: Vec<u64>,
}

impl Lockstep<'_> {
    pub(super) fn quiesce(&mut self, r: usize, limit: Limit) -> Same {
        if self.model.ring(r).lost {
            let mut in_flight = 1;
            let result = self.real(r).quiesce(&mut in_flight, HUNG, &mut |_| true);
            return same(
                "(result, in_flight) of quiesce is",
                &(raw(result), in_flight),
                &(Err(ENOTRECOVERABLE), 1),
            );
        }
        let Some(InFlight { counted, silent }) = self.in_flight(r) else { return Ok(()) };
        if counted.is_empty() || !self.may_submit(r, true) || !self.model.kernel.sync_cancel {
            return Ok(());
        }
        let has_room = self.threads_have_room();
        // The call may or may not wake a thread that sleeps. If it does, the thread also consumes the
        // entries of the other ring.
        let thread = self.model.ring(r).thread;
        let other = self.model.rings[1 - r].as_ref().filter(|other| other.sq.len() > 0);
        let other = other.and_then(|other| other.thread);
        if thread.is_some_and(|thread| other.is_some_and(|other| other.id == thread.id)) {
            return Ok(());
        }
        // The library cancels by a register call or, if restrictions forbid the call, by an entry.
        let ring = self.model.ring(r);
        let by_call = ring.may_call(call::SYNC_CANCEL).is_ok();
        let cancels = by_call || ring.may_do(opcode::ASYNC_CANCEL, 0);
        if ring.built.mixed_sq && !by_call {
            // A cancellation entry takes a slot, which decides whether a later big entry needs a pad.
            return Ok(());
        }
        let hurries = ring.sq.entries().any(|entry| entry.is_linked() || entry.op.cancels());
        if ring.thread.is_some() && (!by_call || !silent.is_empty() || !has_room || hurries) {
            // The test could not tell when the thread is done. It may cancel the requests before it
            // has consumed all entries.
            return Ok(());
        }
        let drains = ring.drain_active || ring.sq.entries().any(|entry| entry.flags & DRAIN != 0);
        if drains && !by_call {
            // A cancellation entry would itself wait for the drain.
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
            same(
                "quiesce ran out of time, and operations are in flight:",
                &(in_flight > 0),
                &true,
            )?;
            result = quiesce(self, &mut in_flight, HUNG);
        }
        self.model.ring(r).signals_are_open(true);
        let expected = self.end_of_all(r, cancels);
        let ended = |user_data: &u64| {
            expected.iter().any(|cqe| cqe.user_data == *user_data && cqe.flags & F_MORE == 0)
        };
        let left = counted.iter().filter(|one| !one.iter().any(ended)).count() + too_many;
        let errno = if cancels { ETIME } else { EACCES };
        // Some operations take time to end. This waits for them.
        for _ in 0..self.watch.patience().min(1000) {
            if !gives_up || in_flight == left || result != Err(errno) {
                break;
            }
            result = quiesce(self, &mut in_flight, SHORT);
        }
        // A mixed queue that was full may repeat completions. Quiesce then reports that it cannot
        // count.
        let in_doubt = mixed && result == Err(EOVERFLOW);
        if !in_doubt {
            let model = if left == 0 { Ok(()) } else { Err(errno) };
            same("(result, in_flight) of quiesce is", &(result, in_flight), &(model, left))?;
        }
        real.iter_mut().for_each(|cqe| self.whichever_came_first(r, cqe));
        for cqe in &mut real {
            self.close_installed(cqe)?;
        }
        self.same_ends(r, &counted, &real, &expected)?;
        // A silent request may post when it is canceled. Quiesce has not waited for that.
        for _ in 0..2 + 2 * silent.len() {
            raw(self.real(r).get_events())
                .map_err(|e| format!("get_events failed with errno {e}"))?;
        }
        let mut late = Vec::new();
        self.real(r).reap(crate::step::Reap::All, 0, &mut late);
        say!(
            self,
            "{0}.submitter().get_events().unwrap(); {0}.completion().for_each(drop);",
            op::name(r)
        );
        match late.iter().find(|cqe| !silent.contains(&cqe.user_data)) {
            Some(cqe) => {
                Err(format!("after quiesce, the kernel posted {cqe:?}; the model says nothing"))
            }
            None => Ok(()),
        }
    }

    /// Returns the operations in flight, or `None` if the test cannot tell what counts, or what
    /// else completes meanwhile.
    fn in_flight(&mut self, r: usize) -> Option<InFlight> {
        let all_silent = &self.silent;
        let ring = self.model.rings[r].as_ref()?;
        let waiting = ring.waiting.iter().map(|waiting| waiting.chain.iter().collect());
        let drained = ring.drained.iter().map(|drained| drained.chain.iter().collect());
        let mut chains: Vec<Vec<&Entry>> = waiting.chain(drained).collect();
        for work in &ring.work {
            match work {
                // Each entry of a failed chain ends by itself.
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
        // A worker thread starts a chain that is open at its end. The chain may be canceled at any
        // point.
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
        // When a cancellation in a chain runs, its target may already be canceled.
        let begins = ring.work.iter().flat_map(|work| work.chain()).any(|entry| entry.op.cancels());
        let cancels = begins || links && all().any(|entry| entry.op.cancels());
        // A worker thread may or may not have started the canceled request.
        let kernel = &self.model.kernel;
        let at_work = all().any(|entry| matches!(entry.op, Op::Transfer(_)))
            || !kernel.pipe_nowait && ring.sq.entries().any(|entry| entry.op.reads());
        // An event has woken a request, and now the request is canceled: either may take effect
        // first.
        let woken = ring.waiting.iter().any(|waiting| waiting.woken);
        let workers = ring.workers || ring.drain_active || at_work || open;
        // If a timeout expires, the expiry or the cancellation may take effect first. A linked
        // timeout does not count in the same way as its chain.
        let times = all().any(|entry| entry.op.runs_out())
            || all().any(|entry| matches!(entry.op, Op::LinkTimeout { .. }))
                && all().any(|it| it.is_silent());
        // A multishot receive may be canceled before it continues, so the test cannot tell how much
        // data it leaves.
        let pipes = &self.model.pipes;
        let turns = ring.defers
            && all().any(|entry| match entry.op {
                Op::Receive(what) => what.multi && !pipes[what.source].is_empty(),
                _ => false,
            });
        // A request that ends with new user data does not match the user data that was counted.
        let renamed =
            all().any(|entry| matches!(entry.op, Op::PollUpdate { new_user_data: Some(_), .. }));
        // A timeout may or may not be canceled before it counts completions that need work.
        let at_once = |entry: &Entry| {
            matches!(entry.op, Op::Nop { task_work: false, .. } | Op::Timeout { .. })
        };
        let counts = all().any(|entry| matches!(entry.op, Op::Timeout { count: 1.., .. }))
            && (links || !ring.work.is_empty() || !ring.sq.entries().all(at_once));
        if renamed
            || turns
            || counts
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
                // The last entry may start to wait when all counted operations have ended.
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
            // The completions of all counted operations are already there, so quiesce cancels
            // nothing.
            return None;
        }
        // Completions of silent requests that have failed may be in the queue already.
        let done =
            ring.cq.all().filter(|cqe| cqe.flags & F_MORE == 0 && cqe.user_data != PAD_USER_DATA);
        for cqe in done {
            match all_silent.get(&cqe.user_data) {
                None => counted.push(vec![cqe.user_data]),
                Some(false) => silent.push(cqe.user_data),
                // The test cannot tell whether this entry stood alone, or was the one that counts
                // in its chain.
                Some(true) => return None,
            }
        }
        Some(InFlight { counted, silent })
    }

    /// Ends everything in the model: submits all entries and, if possible, cancels all requests.
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
            self.model.ring(r).flush_overflow();
            self.model.system_call();
        }
        self.model.sq_thread_runs(r);
        let ring = self.model.ring(r);
        (ring.restless, ring.workers, ring.unordered) =
            (0, ring.workers || ring.drain_active, false);
        all
    }

    /// Checks that each operation has ended once: as the model predicts, or canceled.
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
        let is_multishot = |user_data| {
            expected.iter().any(|it| it.user_data == user_data && it.flags & F_MORE != 0)
        };
        for user_data in counted.iter().flatten() {
            let (real, model) = (real_ends.get(user_data), model_ends.get(user_data));
            // A canceled request may end with -EINTR if a worker thread blocks in it.
            let cancelled = !exact && matches!(real, Some(&r) if r == -ECANCELED || r == -EINTR);
            // On a ring with DEFER_TASKRUN, a multishot request may be canceled before it
            // continues.
            let before_its_turn = defers && real == Some(&-ECANCELED) && is_multishot(*user_data);
            if real != model && !cancelled && !before_its_turn {
                return Err(format!(
                    "in quiesce, operation {user_data} ended with {real:?}; the model says {model:?}"
                ));
            }
        }
        for cqe in real {
            self.check_memory(r, cqe)?;
        }
        Ok(())
    }
}
