//! Submitting and waiting, and waiting until asynchronous requests are at rest.

use rustix_uring::types::{SubmitArgs, Timespec};

use super::{Lockstep, Same, raw, returned};
use crate::model::cqueue::{F_32, F_SKIP, Size};
use crate::model::errno::ETIME;
use crate::model::operation::{ASYNC, DRAIN, Entry, LINKS, Op};
use crate::model::ring::Waiting;
use crate::op;
use crate::workers;

/// The time limit of a wait that runs out according to the model.
static SHORT: Timespec = Timespec::new().nsec(20_000);

/// How long to wait until requests that end at an unknown time have come to rest. After that, the
/// visible state is compared in any case.
const HUNG: std::time::Duration = std::time::Duration::from_secs(3);

/// Waits until the worker threads are idle. Returns whether they are.
fn workers_rest(sqpoll: &[u32]) -> bool {
    (0..100_000).any(|i| {
        if i > 100 {
            std::thread::sleep(std::time::Duration::from_micros(50));
        }
        workers::are_at_rest(sqpoll)
    })
}

impl Lockstep<'_> {
    /// Waits until requests that run at an unknown time have come to rest.
    pub(super) fn settle(&mut self, r: usize) -> Same {
        if self.model.ring(r).disabled || self.model.ring(r).lost {
            return Ok(());
        }
        let shows = self.model.kernel.workers_show;
        // The request of a worker thread takes one round to start, and one to end.
        let mut least = self.model.ring(r).outstanding() + 1;
        loop {
            let ring = self.model.ring(r);
            least += 2 * ring.restless;
            ring.restless = 0;
            self.model.time_passes(r);
            if self.model.ring(r).thread.is_none() {
                self.model.run_for_events(r);
            }
            self.model.ring(r).flush_overflow();
            self.model.system_call();
            // The requests that this has started may end by themselves too.
            if self.model.ring(r).restless == 0 {
                break;
            }
        }
        let sqpoll = self.sq_threads();
        let ring = self.model.ring(r);
        let (workers, len, overflows) = (ring.workers, ring.cq.len(), ring.cq.overflows());
        say!(self, "for _ in 0..{least} {{ {}.submitter().get_events().unwrap(); }}", op::name(r));
        let patience = self.watch.patience().max(least + 1);
        let real = self.real(r);
        let since = std::time::Instant::now();
        for i in 0..patience {
            if workers && shows && !workers_rest(&sqpoll) {
                return Err(
                    "a worker thread kept running; it must go to sleep once its work is done"
                        .into(),
                );
            }
            raw(real.get_events()).map_err(|e| format!("get_events failed with errno {e}"))?;
            if i + 1 >= least && real.ready() == len && (!overflows || real.overflows()) {
                break;
            }
            if i > 1000 {
                std::thread::sleep(std::time::Duration::from_micros(20));
                if since.elapsed() > HUNG {
                    break;
                }
            }
        }
        if workers && shows {
            if !workers_rest(&sqpoll) {
                return Err(
                    "a worker thread kept running; it must go to sleep once its work is done"
                        .into(),
                );
            }
            // A worker thread sets the flag for waiting work (TASKRUN) after it has queued the
            // work. The task may have done the work by then.
            let ring = self.model.ring(r);
            (ring.workers, ring.taskrun_is_open) = (false, true);
        }
        Ok(())
    }

    /// Settles both rings after a step that has made a call on one of them.
    pub(super) fn rest(&mut self, r: usize) -> Same {
        for r in 0..2 {
            self.rest_of_thread(r)?;
        }
        for r in [r, 1 - r] {
            if self.model.rings[r].as_ref().is_some_and(|ring| ring.restless > 0) {
                self.settle(r)?;
            }
        }
        Ok(())
    }

    /// Submits or waits, and compares the result with the model.
    pub(super) fn enter(
        &mut self,
        r: usize,
        submits: bool,
        want: Option<u64>,
        args: bool,
        min_wait: bool,
        view: bool,
    ) -> Same {
        if submits && !self.may_submit(r, false) {
            return Ok(());
        }
        // On a kernel with the fault `mixed_wait`, such a wait never returns.
        let cq = &self.model.ring(r).cq;
        let most = u64::from(cq.capacity.saturating_sub(1));
        let spins = cq.size == Size::Mixed && self.model.kernel.known.has("mixed_wait");
        let want = if spins { want.map(|want| want.min(most)) } else { want };
        let wants_time = want.is_some_and(|want| want > 0);
        if wants_time && !self.model.kernel.ext_arg {
            return Ok(());
        }
        let expected = if submits {
            self.model.submit(r, want)
        } else {
            self.model.wait(r, want.unwrap_or(0))
        };
        let ran_out = self.model.ran_out;
        let name = op::name(r);
        let wanted = usize::try_from(want.unwrap_or(0)).unwrap_or(usize::MAX);
        let mut limit = SubmitArgs::new().timespec(&SHORT);
        let mut limited = ran_out;
        if args && self.model.kernel.ext_arg {
            limited = true;
            if min_wait && self.model.kernel.min_timeout {
                limit = limit.min_wait_usec(10);
            }
        }
        // If a wait has a time limit but does not run out, the limit is so long that the result
        // cannot depend on it.
        static LONG: Timespec = Timespec::new().sec(3600);
        if limited && !ran_out {
            limit = SubmitArgs::new().timespec(&LONG);
        }
        let call = match (submits, want, limited) {
            (true, None, _) => "submit()".to_string(),
            (true, Some(_), true) => format!(
                "submit_with_args({wanted}, &SubmitArgs::new().timespec(&{}))",
                if ran_out { "SHORT" } else { "LONG" }
            ),
            (true, Some(_), false) => format!("submit_and_wait({wanted})"),
            (false, _, true) => format!(
                "submitter().wait_with_args({wanted}, &SubmitArgs::new().timespec(&{}))",
                if ran_out { "SHORT" } else { "LONG" }
            ),
            (false, _, false) => format!("submitter().wait({wanted})"),
        };
        say!(
            self,
            "assert_eq!({name}.{call}, {});",
            match &expected {
                Ok(_) if !submits => "Ok(())".to_string(),
                Ok(n) => format!("Ok({n})"),
                Err(errno) => format!("Err(Errno::from_raw_os_error({errno}))"),
            }
        );
        let real = self.real(r);
        let result = match (submits, want, limited) {
            (true, None, _) => real.submit(view),
            (true, Some(_), true) => real.submit_with_args(wanted, &limit),
            (true, Some(_), false) => real.submit_and_wait(wanted),
            (false, _, true) => real.wait_with_args(wanted, &limit).map(|()| 0),
            (false, _, false) => real.wait(wanted).map(|()| 0),
        };
        let result = raw(result);
        let open = self.model.ran_out_or_not && result.err().unwrap_or(ETIME) == ETIME;
        if !open || expected.err().unwrap_or(ETIME) != ETIME {
            returned(&call, &result, &expected)?;
        }
        let ring = self.model.ring(r);
        ring.restless += usize::from(ring.workers && ring.built.taskrun_flag);
        self.rest(r)
    }

    /// Whether the completions of multishot requests have room. A multishot request ends if its
    /// completion finds none. Whether it does must not depend on completions that are posted at the
    /// same time.
    pub(super) fn multishot_has_room(&self) -> bool {
        self.model.rings.iter().flatten().all(|ring| {
            let waiting = ring.waiting.iter().map(|waiting| waiting.chain[0].op);
            let all = waiting.chain(ring.sq.entries().map(|entry| entry.op));
            let behind = ring.waiting.iter().flat_map(|waiting| waiting.chain.iter().skip(1));
            let behind = behind.map(|entry| entry.op).filter(Op::runs_out);
            let mut all: Vec<Op> = all.filter(|op| op.is_multi() || op.runs_out()).collect();
            all.extend(behind);
            // A receive posts a completion for each buffer, and one when it ends.
            let buffers: usize =
                ring.groups.iter().flatten().map(|group| group.published.len()).sum();
            let receives = all.iter().any(|op| matches!(op, Op::Receive(_)));
            let times = 3 * all.iter().filter(|op| op.runs_out()).count();
            let multis = all.len() + times + if receives { 3 * buffers } else { 0 };
            let room = (ring.cq.capacity as usize).saturating_sub(ring.cq.len());
            let alone = ring.outstanding() == 1 && !ring.unordered && !receives && times == 0;
            multis == 0 || alone || (!ring.cq.overflows() && room > ring.outstanding() + multis)
        })
    }

    /// Whether the ring may submit its queued entries. Requests that run at an unknown time must
    /// find room for their completions: otherwise, the test cannot tell when they have come to
    /// rest.
    pub(super) fn may_submit(&self, r: usize, cancels: bool) -> bool {
        if !self.multishot_has_room() {
            return false;
        }
        let (kernel, Some(ring)) = (&self.model.kernel, &self.model.rings[r]) else { return false };
        let overtaken = kernel.known.has("overtaken_drain");
        let counted = kernel.known.has("counted_refusal");
        if ring.defers && ring.cq.overflows() && ring.outstanding() > 3 {
            // The test could not tell whether all requests have run.
            return false;
        }
        // A worker thread starts a chain that ends with the submission. When a cancellation looks
        // for the request, the worker may not have made it wait yet.
        let mut open: Option<bool> = None;
        for entry in ring.sq.entries() {
            open = entry.is_linked().then(|| open.unwrap_or(false) | entry.op.may_wait());
        }
        // Repeated cancellations do find the request, but it may already have read by then.
        let reads = |entry: &Entry| entry.op.reads();
        if open == Some(true) && (!cancels || ring.sq.entries().any(reads)) {
            return false;
        }
        // The worker's completion is work of the task. Such a ring does it only while no completions
        // are ready.
        if open.is_some() && ring.defers_beside_polling() {
            return false;
        }
        // The test cannot tell when a worker thread has ended a silent request.
        let by_worker = |entry: &Entry| {
            entry.is_for_worker(kernel) || (entry.op.runs_out() && !entry.op.cancels())
        };
        // A worker thread may also run the entries linked after its own. A read then blocks the
        // worker, and completes without the work of the task.
        let mut after_worker = false;
        for entry in ring.sq.entries() {
            if after_worker && (entry.op.reads() || matches!(entry.op, Op::ReadFixed { .. })) {
                return false;
            }
            after_worker = entry.is_linked() && (after_worker || entry.is_for_worker(kernel));
        }
        // If an update makes a timeout expire, the timeout must be the only waiting request, and
        // nothing else may look for it.
        let made = |entry: &&Entry| entry.op.runs_out() && entry.op.cancels();
        let hurries = ring.sq.entries().filter(made).count();
        let others = ring.sq.entries().filter(|entry| entry.op.cancels()).count() - hurries;
        if hurries > 1 || hurries > 0 && (others > 0 || ring.waiting.len() != 1) {
            return false;
        }
        // An event has woken the request, and now the timeout is to cancel it: either may take
        // effect first.
        if hurries > 0 && ring.waiting.iter().any(|it| it.woken && !it.cancelled) {
            return false;
        }
        let workers = open.is_some() || ring.sq.entries().any(by_worker);
        if workers
            && !kernel.workers_show
            && (ring.sq.entries().any(|entry| entry.is_silent()) || !ring.work.is_empty())
        {
            return false;
        }
        // The test cannot tell when a drain has started a request that waits.
        let drains = ring.drain_active || ring.sq.entries().any(|entry| entry.flags & DRAIN != 0);
        if drains && ring.sq.entries().any(|entry| entry.op.may_wait()) {
            return false;
        }
        // On a kernel with the fault `overtaken_drain`, no completion may overtake a drain, which
        // would then wait forever.
        let plain =
            |entry: &Entry| entry.op == Op::NOP && entry.flags & !(LINKS | DRAIN | ASYNC) == 0;
        if drains && overtaken && !ring.sq.entries().all(plain) {
            return false;
        }
        if drains && counted && self.model.refuses_any(r) {
            return false;
        }
        let mut drains_before = false;
        for entry in ring.sq.entries() {
            drains_before |= entry.flags & DRAIN != 0;
            if drains_before && entry.is_silent() && kernel.known.has("uncounted_chain") {
                return false;
            }
            drains_before &= entry.is_linked();
        }
        if !self.counts_are_certain(r, drains || workers) {
            return false;
        }
        // A cancellation may or may not find requests that drains and worker threads start at the
        // same time.
        let linked = || {
            let waiting = ring.waiting.iter().flat_map(|waiting| waiting.chain.iter().skip(1));
            waiting.chain(ring.work.iter().flat_map(|work| work.chain()))
        };
        let cancels = ring.sq.entries().chain(linked()).any(|entry| entry.op.cancels());
        if (drains || workers || ring.workers || linked().any(by_worker)) && cancels {
            return false;
        }
        let reads = |waiting: &Waiting| by_worker(&waiting.chain[0]);
        if ring.waiting.iter().any(reads) && cancels && linked().any(|entry| entry.op.cancels()) {
            return false;
        }
        // The program sees filler only by its position. The position is known only if the
        // submission itself posts the filler.
        let filler = |entry: &Entry| matches!(entry.op, Op::Message { flags: Some(flags), .. } if flags & (F_32 | F_SKIP) != 0);
        let chained = ring.sq.entries().any(|entry| entry.is_linked());
        if (drains || workers || chained) && ring.sq.entries().any(filler) {
            return false;
        }
        if !self.has_room_for_big(r, drains) {
            return false;
        }
        // The position of a 32-byte completion decides whether filler comes before it.
        let big = |entry: &Entry| matches!(entry.op, Op::Nop { big: Some(_), .. });
        let mixed = ring.cq.size == Size::Mixed;
        if mixed && (drains || workers || ring.workers) && ring.sq.entries().any(big) {
            return false;
        }
        let own_time = drains || workers || hurries > 0;
        let room = (ring.cq.capacity as usize).saturating_sub(ring.cq.len());
        !own_time || (!ring.cq.overflows() && 3 * ring.outstanding() <= room)
    }

    /// Whether the test can tell what timeouts with a count will have counted.
    fn counts_are_certain(&self, r: usize, own_time: bool) -> bool {
        let Some(ring) = &self.model.rings[r] else { return true };
        let counts = |entry: &&Entry| matches!(entry.op, Op::Timeout { count: 1.., .. });
        let waits = |entry: &&Entry| counts(entry) && !entry.op.runs_out();
        let every = || ring.sq.entries().chain(ring.in_flight());
        let times = every().filter(|entry| entry.op.runs_out()).count();
        // Completions that come at an unknown time may come before the timeout starts to count.
        if ring.sq.entries().any(|entry| waits(&entry)) && (own_time || times > 0 || ring.workers) {
            return false;
        }
        // On older kernels, a failed request completes at once: before a timeout submitted after it
        // starts to count.
        let succeeds = |entry: &Entry| matches!(entry.op, Op::NOP | Op::Timeout { .. });
        if !self.model.kernel.refusals_in_order
            && ring.sq.entries().any(|entry| waits(&entry))
            && (!ring.sq.entries().all(succeeds) || self.model.refuses_any(r))
        {
            return false;
        }
        // The counts go backwards between the end of a timeout and its completion (the fault
        // `counts_backwards`). If the kernel compares them then, all timeouts end.
        let silent = every().any(Entry::is_silent);
        let repeats = |entry: &Entry| matches!(entry.op, Op::Timeout { repeats: Some(_), .. });
        let waiting = every().filter(waits).count();
        // A completion that overflows makes the counts go backwards too. Kernels without the fault do
        // not compare then.
        let room = (ring.cq.capacity as usize).saturating_sub(ring.cq.len());
        let backwards = self.model.kernel.known.has("counts_backwards");
        if waiting > 1 && !backwards && room < ring.outstanding() {
            return false;
        }
        match times {
            _ if every().find(counts).is_none() => true,
            0 => waiting == 1 || !silent,
            1 => waiting <= 1 && !silent && !every().any(repeats),
            _ => false,
        }
    }

    /// Whether 32-byte completions have room. On a kernel with the fault `mixed_overfull`, they may
    /// come only to a mixed queue with free slots for all possible completions.
    pub(super) fn has_room_for_big(&self, r: usize, drains: bool) -> bool {
        if !self.model.kernel.known.has("mixed_overfull") {
            return true;
        }
        let rings = &self.model.rings;
        let Some(ring) = &rings[r] else { return true };
        let waits = drains || ring.sq.entries().any(|entry| entry.op.may_wait());
        ring.sq.entries().all(|entry| {
            let to = match entry.op {
                Op::Nop { big: Some(_), .. } => r,
                Op::Message { ring, flags: Some(flags), .. } if flags & F_32 != 0 => ring,
                _ => return true,
            };
            let Some(target) = &rings[to] else { return true };
            let coming = 3 * (ring.outstanding() + target.outstanding());
            let room = (target.cq.capacity as usize).saturating_sub(target.cq.len());
            target.cq.size != Size::Mixed || (!waits && !target.cq.overflows() && coming <= room)
        })
    }
}
