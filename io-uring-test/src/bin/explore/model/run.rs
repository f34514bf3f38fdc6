//! How requests run, and how chains continue.
//!
//! - A request that can complete at once does so during the submission. All others complete by the
//!   *work* of the task, when it returns from a system call. On rings that defer this work
//!   (`DEFER_TASKRUN`), they complete only when the task asks for events.
//! - After a request succeeds, the next one of its chain starts, by such work.
//! - After a request fails, all others of its chain end with -ECANCELED, unless the link is hard.
//! - A timeout linked to a request (`LINK_TIMEOUT`) is no part of the chain: the entry after the
//!   timeout follows the request.
//! - A silent request (`CQE_SKIP_SUCCESS`) posts nothing if it succeeds. If it fails, it posts, and
//!   **all entries after it are silent**, whatever their own flags. After a failed request that is not
//!   silent, all entries post.

use super::cqueue::{Cqe, F_32, F_MORE, Size};
use super::errno::*;
use super::files::File;
use super::operation::{ASYNC, DESCRIPTOR, Entry, HARDLINK, Op, SKIP};
use super::ring::{Chain, Done, Outcome, Ring, Waiting, Work};
use super::state::Model;

/// `POLLIN` and `POLLHUP`.
const IN: i32 = 1;
const HUP: i32 = 0x10;

impl Model {
    /// Starts a request that the task has submitted or whose turn has come.
    pub(super) fn start(&mut self, r: usize, mut chain: Chain, by_task_work: bool) {
        if chain[0].flags & ASYNC != 0 {
            // A worker thread runs it.
            self.ring(r).in_its_own_time();
        }
        let outcome = self.issue(r, &mut chain);
        if by_task_work && !self.ring(r).defers {
            // Requests for which this one makes work, and completions that it posts at once,
            // overtake the requests that are done in the same round. They do not if the task is
            // preempted: then it posts in the middle of the round.
            let on = match chain[0].op {
                Op::Message { ring, .. } | Op::SendFile { ring, .. } => Some(ring),
                Op::CloseSlot { .. } => Some(r),
                Op::Poll { multi: true, .. } | Op::Nop { task_work: true, .. } => Some(r),
                Op::Receive(what) if what.multi => Some(r),
                op => op.cancels().then_some(r),
            };
            if let Some(on) = on.and_then(|on| self.rings[on].as_mut()) {
                on.unordered = true;
            }
        }
        match outcome {
            Outcome::Done { result, failed, big, flags } => {
                let task_work = matches!(chain[0].op, Op::Nop { task_work: true, .. });
                let at_once = chain[0].op.cancels() && !self.kernel.cancels_in_order;
                let done = Done { chain, result, flags, big, failed };
                let ring = self.ring(r);
                if at_once {
                    // On older kernels, a cancellation does not wait for the entries submitted with
                    // it, and what is linked after it is queued before they run.
                    let others = std::mem::replace(&mut ring.done, vec![done]);
                    ring.unordered = true;
                    self.flush(r);
                    self.ring(r).done = others;
                } else if task_work {
                    let Done { chain, result, flags, big, failed } = done;
                    ring.work.push_back(Work::Complete { chain, result, flags, big, failed });
                } else {
                    ring.done.push(done);
                }
            }
            outcome => {
                let ring = self.ring(r);
                let id = ring.next_id;
                ring.next_id += 1;
                let woken = matches!(outcome, Outcome::WaitsWoken);
                if matches!(chain.get(1), Some(next) if matches!(next.op, Op::LinkTimeout { time } if time.is_soon))
                {
                    ring.in_its_own_time();
                }
                ring.waiting.push(Waiting { id, chain, woken, mask: 0, cancelled: false });
                if woken {
                    ring.work.push_back(Work::Look(id));
                }
            }
        }
    }

    fn issue(&mut self, r: usize, chain: &mut Chain) -> Outcome {
        let entry = chain[0].clone();
        let nops = self.kernel.nop_iopoll;
        if let Some(fails) = self.ring(r).fails_by_polling(entry.op, nops) {
            return fails;
        }
        match entry.op {
            Op::Nop { result, big, .. } => {
                let result = result.unwrap_or(0);
                Outcome::Done { result, failed: result < 0, big, flags: 0 }
            }
            Op::NoSuchOpcode => unreachable!("the kernel rejects this opcode at submission"),
            Op::Ioprio => Outcome::done(0),
            Op::ReadNothing => Outcome::done(-EBADF),
            Op::Poll { pipe, multi, input } => match self.readiness(pipe, input) {
                0 => Outcome::Waits,
                _ if multi => Outcome::WaitsWoken,
                mask => Outcome::done(mask),
            },
            Op::Read { pipe, len } => self.read_pipe(r, pipe, len, entry.user_data),
            Op::Receive(mut what) => {
                let outcome = self.receive(r, entry.user_data, &mut what);
                chain[0].op = Op::Receive(what);
                outcome
            }
            Op::ReadFixed { .. } => self.read_fixed(r, &mut chain[0].op),
            Op::Transfer(what) => self.transfer(r, entry.user_data, what),
            Op::ReadSlot { slot, len } => {
                match self.ring(r).slots.as_ref().and_then(|slots| slots.get(slot)) {
                    Some(File { pipe, .. }) => {
                        chain[0].op = Op::Read { pipe, len };
                        self.read_pipe(r, pipe, len, entry.user_data)
                    }
                    None => Outcome::done(-EBADF),
                }
            }
            Op::Timeout { time, count, .. } => {
                if count > 0 {
                    self.ring(r).start_to_count(count);
                }
                if time.is_soon {
                    self.ring(r).in_its_own_time();
                }
                Outcome::Waits
            }
            Op::LinkTimeout { .. } => unreachable!("a linked timeout is issued with its request"),
            Op::Cancel { .. }
            | Op::CancelAny { .. }
            | Op::PollRemove { .. }
            | Op::PollUpdate { .. }
            | Op::TimeoutUpdate { .. }
            | Op::TimeoutRemove { .. } => Outcome::done(self.cancel(r, &entry.op)),
            Op::Message { ring, user_data, result, flags, skip } => self.message(
                r,
                ring,
                Cqe { user_data, result, flags: flags.unwrap_or(0), big: None },
                skip,
            ),
            Op::CloseSlot { slot } => {
                let ring = self.ring(r);
                let Some(slots) = &mut ring.slots else { return Outcome::done(-ENXIO) };
                if !slots.has(slot) {
                    return Outcome::done(-EINVAL);
                }
                let given_up = slots.put(slot, None);
                ring.post_tag(given_up.map_or(0, |file| file.tag));
                Outcome::done(given_up.map_or(-EBADF, |_| 0))
            }
            Op::Install { slot, .. } => {
                let there = self.ring(r).slots.as_ref().and_then(|slots| slots.get(slot));
                Outcome::done(there.map_or(-EBADF, |_| DESCRIPTOR))
            }
            Op::SendFile { ring, slot, to, user_data, skip } => {
                self.send_file(r, ring, slot, to, (!skip).then_some(user_data))
            }
        }
    }

    pub(super) fn readiness(&self, pipe: usize, input: bool) -> i32 {
        let pipe = &self.pipes[pipe];
        let readable = if pipe.bytes.is_empty() || !input { 0 } else { IN };
        readable | if pipe.hung_up { HUP } else { 0 }
    }

    fn read_pipe(&mut self, r: usize, pipe: usize, len: u32, user_data: u64) -> Outcome {
        let from = &self.pipes[pipe];
        if from.bytes.is_empty() && !from.hung_up {
            return Outcome::Waits;
        }
        if !self.kernel.pipe_nowait {
            // A worker thread runs it.
            self.ring(r).in_its_own_time();
        }
        let from = &mut self.pipes[pipe];
        let n = from.bytes.len().min(len as usize);
        let bytes: Vec<u8> = from.bytes.drain(..n).collect();
        self.read.insert(user_data, bytes);
        // A read of fewer bytes than asked for severs the chain.
        Outcome::Done { result: n as i32, failed: n < len as usize, big: None, flags: 0 }
    }

    /// Sends a message by a register call without a ring.
    pub(crate) fn send(
        &mut self,
        to: usize,
        user_data: u64,
        result: i32,
        flags: u32,
    ) -> Result<(), i32> {
        let message = Cqe { user_data, result, flags, big: None };
        match self.message(to, to, message, false) {
            Outcome::Done { result: result @ ..0, .. } => Err(-result),
            _ => Ok(()),
        }
    }

    /// Sends a message to a ring. The kernel posts it at once, or by the work of the ring's task if
    /// the ring has DEFER_TASKRUN and the kernel defers messages.
    fn message(&mut self, from: usize, to: usize, cqe: Cqe, skip: bool) -> Outcome {
        if skip {
            // Only messages that send a file have this flag.
            return Outcome::done(-EINVAL);
        }
        let no_order = self.ring(from).workers || self.ring(from).unordered;
        let Some(ring) = &mut self.rings[to] else { return Outcome::done(-EBADFD) };
        if ring.disabled {
            return Outcome::done(-EBADFD);
        }
        if no_order {
            // The message may be sent at an unknown time.
            ring.in_its_own_time();
        }
        let big = match ring.cq.size {
            Size::Small => None,
            Size::Big => Some([0; 2]),
            Size::Mixed => (cqe.flags & F_32 != 0).then_some([0; 2]),
        };
        let cqe = Cqe { big, ..cqe };
        if ring.defers && self.kernel.messages_deferred {
            ring.work.push_back(Work::Message(cqe));
        } else {
            ring.cq.post(cqe);
            ring.commit();
        }
        Outcome::done(0)
    }

    /// Sends a file to another ring. (The test does not send files to rings with DEFER_TASKRUN.)
    fn send_file(
        &mut self,
        from: usize,
        to: usize,
        slot: u32,
        target: Option<u32>,
        user_data: Option<u64>,
    ) -> Outcome {
        if from == to {
            return Outcome::done(-EINVAL);
        }
        let no_order = self.ring(from).workers || self.ring(from).unordered;
        let file = self.ring(from).slots.as_ref().and_then(|slots| slots.get(slot));
        let Some(ring) = &mut self.rings[to] else { return Outcome::done(-EBADFD) };
        if ring.disabled {
            return Outcome::done(-EBADFD);
        }
        let Some(File { pipe, .. }) = file else { return Outcome::done(-EBADF) };
        let Some(slots) = &mut ring.slots else {
            return Outcome::done(if target.is_some() { -ENXIO } else { -ENFILE });
        };
        let Some(at) = target.or_else(|| slots.choose()) else { return Outcome::done(-ENFILE) };
        if !slots.has(at) {
            return Outcome::done(-EINVAL);
        }
        // The tag does not move with the file.
        let given_up = slots.put(at, Some(File { pipe, tag: 0 }));
        ring.post_tag(given_up.map_or(0, |file| file.tag));
        let result = if target.is_some() { 0 } else { at as i32 };
        if no_order {
            ring.in_its_own_time();
        }
        if let Some(user_data) = user_data {
            let big = (ring.cq.size == Size::Big).then_some([0; 2]);
            ring.cq.post(Cqe { user_data, result, flags: 0, big });
            ring.commit();
        }
        Outcome::done(result)
    }

    /// The kernel has rejected the first entry of a chain, or a later one: none of them runs.
    pub(super) fn refuse(&mut self, r: usize, mut chain: Chain) {
        // For a rejected chain, a hard link acts like any other link.
        chain[0].flags &= !HARDLINK;
        let result = chain[0].failed.unwrap_or(-ECANCELED);
        let in_order = self.kernel.refusals_in_order;
        self.ring(r).unordered |= !in_order;
        self.ring(r).done.push(Done { chain, result, flags: 0, big: None, failed: true });
    }

    /// Posts the completions of requests that are done, and queues work for the requests linked
    /// after them.
    pub(super) fn flush(&mut self, r: usize) {
        let in_order = self.kernel.refusals_in_order;
        let overflow_in_order = self.kernel.overflow_in_order;
        let ring = self.ring(r);
        if ring.done.is_empty() {
            return ring.commit_if_posted();
        }
        let done = std::mem::take(&mut ring.done);
        // On older kernels, completions that wait for room can be overtaken.
        ring.unordered |= !overflow_in_order && ring.cq.overflows();
        // On older kernels, a failed request does not wait for the entries submitted with it.
        ring.unordered |= !in_order && done.iter().any(|done| done.failed);
        let mut next = Vec::new();
        for Done { mut chain, result, flags, big, failed } in done {
            let Some(entry) = chain.pop_front() else { continue };
            ring.alive -= 1;
            let silent = entry.is_silent() && !failed;
            if !silent {
                post(ring, entry.user_data, result, flags, big);
            }
            // A timeout linked to this request ends too, however the request has ended.
            let watches =
                |next: &Entry| matches!(next.op, Op::LinkTimeout { .. }) && next.failed.is_none();
            if chain.front().is_some_and(watches) {
                // On older kernels, it ends at once, and not by work.
                ring.unordered |= !in_order;
                let chain: Chain = chain.pop_front().into_iter().collect();
                if chain[0].op.runs_out() {
                    // The timeout may have expired meanwhile without finding a request to cancel.
                    ring.too_late.push(chain[0].user_data);
                    ring.in_its_own_time();
                }
                let result = -ECANCELED;
                next.push(Work::Complete { chain, result, flags: 0, big: None, failed: false });
            }
            if chain.is_empty() {
                continue;
            }
            if failed && entry.flags & HARDLINK == 0 {
                // Only this entry decides whether the rest of the chain is silent.
                for behind in &mut chain {
                    behind.flags =
                        if entry.is_silent() { behind.flags | SKIP } else { behind.flags & !SKIP };
                }
                next.push(Work::Fail(chain));
            } else {
                next.push(Work::Start(chain));
            }
        }
        ring.commit();
        ring.work.extend(next);
        if !ring.drained.is_empty() {
            self.queue_drained(r);
        }
    }

    /// Runs the work of the task until no work is left.
    pub(crate) fn run(&mut self, r: usize) {
        let in_reverse = match self.ring(r).defers {
            true => self.kernel.deferred_in_reverse,
            false => self.kernel.in_reverse,
        };
        let mut rounds = 0;
        while !self.ring(r).work.is_empty() {
            rounds += 1;
            let ring = self.ring(r);
            ring.signals_are_open(false);
            ring.taskrun_for_nothing = false;
            if ring.defers && rounds > 1 {
                // The kernel need not do more than one round per call. New work during a round sets
                // the flag for waiting work (TASKRUN), and the flag may then stay set.
                ring.restless += 1;
                ring.taskrun_is_open = true;
            }
            let batch = &mut self.ring(r).work;
            if in_reverse {
                batch.make_contiguous().reverse();
            }
            // New work is for the next round.
            for _ in 0..batch.len() {
                let Some(work) = self.ring(r).work.pop_front() else { break };
                match work {
                    Work::Start(chain) => self.start(r, chain, true),
                    Work::Fail(chain) => {
                        for entry in chain {
                            let result = entry.failed.unwrap_or(-ECANCELED);
                            let silent = entry.is_silent();
                            let ring = self.ring(r);
                            // Each entry ends by itself: the links no longer matter.
                            let done = Done {
                                chain: Chain::from([entry]),
                                result,
                                flags: 0,
                                big: None,
                                failed: !silent,
                            };
                            ring.done.push(done);
                        }
                    }
                    Work::Complete { chain, result, flags, big, failed } => {
                        self.ring(r).done.push(Done { chain, result, flags, big, failed });
                    }
                    Work::Look(id) => self.look(r, id),
                    Work::Message(cqe) => {
                        // The message overtakes the requests that are done in the same round.
                        let ring = self.ring(r);
                        ring.unordered = true;
                        ring.cq.post(cqe);
                    }
                }
            }
            // Older kernels post the completions when no work is left, not after each round.
            if self.kernel.multishot_in_order || self.ring(r).work.is_empty() {
                self.flush(r);
            }
        }
    }

    /// The task makes a register call.
    pub(crate) fn register_call(&mut self, ring: usize) {
        self.register_begins(ring);
        self.system_call();
    }

    /// The task enters a register call, which has not changed anything yet.
    pub(crate) fn register_begins(&mut self, ring: usize) {
        if self.kernel.register_runs_work {
            self.run(ring);
        }
    }

    /// The task returns from a system call and runs its work, except on rings that defer it.
    pub(crate) fn system_call(&mut self) {
        for ring in 0..self.rings.len() {
            let Some(it) = self.rings[ring].as_ref() else { continue };
            match it.work.is_empty() || it.defers {
                true => {}
                // The thread does the work of its requests.
                false if it.thread.is_some() => self.sq_thread_runs(ring),
                false => self.run(ring),
            }
        }
        // A message may have made work for the first ring.
        if self.rings.iter().flatten().any(|ring| !ring.defers && !ring.work.is_empty()) {
            self.system_call();
        }
    }

    /// Retries a waiting request that was woken.
    fn look(&mut self, r: usize, id: u64) {
        let ring = self.ring(r);
        let Some(i) = ring.waiting.iter().position(|waiting| waiting.id == id) else { return };
        ring.waiting[i].woken = false;
        let entry = ring.waiting[i].chain[0].clone();
        let outcome = if ring.waiting[i].cancelled {
            Outcome::done(-ECANCELED)
        } else {
            match entry.op {
                Op::Poll { multi: false, .. } if ring.waiting[i].mask != 0 => {
                    Outcome::done(ring.waiting[i].mask)
                }
                Op::Poll { pipe, multi, input } => match self.readiness(pipe, input) {
                    0 => Outcome::Waits,
                    mask if multi => self.one_of_several(r, entry.user_data, mask),
                    mask => Outcome::done(mask),
                },
                Op::Read { pipe, len } => self.read_pipe(r, pipe, len, entry.user_data),
                Op::Receive(mut what) => {
                    let outcome = self.receive(r, entry.user_data, &mut what);
                    let ring = self.ring(r);
                    ring.waiting[i].chain[0].op = Op::Receive(what);
                    outcome
                }
                mut op @ Op::ReadFixed { .. } => self.read_fixed(r, &mut op),
                _ => Outcome::Waits,
            }
        };
        if let Outcome::WaitsWoken = outcome {
            let ring = self.ring(r);
            if let Some(waiting) = ring.waiting.iter_mut().find(|waiting| waiting.id == id) {
                waiting.woken = true;
                ring.work.push_back(Work::Look(id));
            }
        }
        if let Outcome::Done { result, failed, big, flags } = outcome {
            let ring = self.ring(r);
            let chain = ring.waiting.remove(i).chain;
            ring.done.push(Done { chain, result, flags, big, failed });
        }
    }

    /// A multishot request posts a completion. If there was no room, it ends, except on older
    /// kernels.
    fn one_of_several(&mut self, r: usize, user_data: u64, result: i32) -> Outcome {
        match self.post_one_of_several(r, user_data, result, 0) {
            true => Outcome::Waits,
            false => Outcome::done(result),
        }
    }

    /// Posts one of several completions of a request. Returns whether the request continues.
    pub(super) fn post_one_of_several(
        &mut self,
        r: usize,
        user_data: u64,
        result: i32,
        flags: u32,
    ) -> bool {
        if self.kernel.multishot_in_order {
            // The kernel first posts the requests that are done.
            self.flush(r);
        }
        let needs_room = self.kernel.multishot_needs_room;
        let ring = self.ring(r);
        ring.signals_are_open(false);
        let big = (ring.cq.size == Size::Big).then_some([0; 2]);
        let cqe = Cqe { user_data, result, flags: flags | F_MORE, big };
        if !needs_room {
            ring.cq.post(cqe);
            return true;
        }
        ring.cq.post_one_of_several(cqe)
    }

    /// Bytes arrive in a pipe, or its other end is closed: the kernel wakes each request that waits
    /// for it.
    pub(crate) fn wake(&mut self, pipe: usize, bytes: bool) {
        for ring in self.rings.iter_mut().flatten() {
            let before = ring.work.len();
            for waiting in &mut ring.waiting {
                let for_input = !matches!(waiting.chain[0].op, Op::Poll { input: false, .. });
                if waiting.chain[0].op.source() == Some(pipe)
                    && (for_input || !bytes)
                    && !waiting.woken
                    && !waiting.cancelled
                {
                    waiting.woken = true;
                    waiting.mask = if bytes { IN } else { 0 };
                    ring.work.push_back(Work::Look(waiting.id));
                }
            }
            // The order in which the kernel wakes them is not specified.
            ring.unordered |= ring.work.len() > before + 1;
        }
    }
}

fn post(ring: &mut Ring, user_data: u64, result: i32, flags: u32, big: Option<[u64; 2]>) {
    let (flags, big) = match ring.cq.size {
        Size::Small => (flags, None),
        Size::Big => (flags, Some(big.unwrap_or([0; 2]))),
        Size::Mixed => (flags | if big.is_some() { F_32 } else { 0 }, big),
    };
    ring.cq.post(Cqe { user_data, result, flags, big });
}
