//! SQPOLL rings, whose entries a kernel thread consumes.
//!
//! - A thread of the kernel consumes the entries, and does the work of the ring's requests. An enter
//!   call consumes nothing: it returns the number of entries that it was given.
//! - While the thread is awake, it consumes whatever is published. A rejected entry ends a submission.
//!   The thread then begins the next one, or does work first.
//! - When the thread has been idle for some time, it sets a flag (NEED_WAKEUP) and sleeps. It then
//!   consumes nothing, until an enter call asks to wake it, or a request of its rings has work. Then it
//!   also consumes what is queued.
//! - The thread of a disabled ring sleeps, and consumes the entries once the ring is enabled. If anything
//!   else wakes it while the ring has entries, it stays awake, but consumes nothing. (Seen twice on
//!   Linux 7.2; what woke the thread is not known.)
//! - Rings can share a thread (`ATTACH_WQ`). If it wakes up for one of them, it consumes the entries
//!   of all of them. It continues when one of them is dropped.

use super::errno::EBADFD;
use super::ring::Ring;
use super::state::Model;

/// The SQPOLL thread of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Thread {
    /// The kernel's number for the thread. Rings that share it have the same number here.
    pub(crate) id: u32,
    /// The thread sleeps as soon as it is idle. Otherwise it stays awake.
    pub(crate) sleeps: bool,
    /// The thread may have woken up since the test last saw it asleep.
    pub(crate) stirred: bool,
    /// Another ring that shared the thread was dropped. The kernel wakes the thread at some later
    /// time, to take that ring away.
    pub(crate) restless: bool,
    /// The thread of a disabled ring was seen awake. It stays awake while the ring is disabled.
    pub(crate) woken: bool,
}

impl Ring {
    /// Whether the ring has a thread that does not sleep when it is idle.
    pub(crate) fn thread_stays_awake(&self) -> bool {
        self.thread.is_some_and(|thread| !thread.sleeps)
    }

    fn shares(&self, thread: Option<Thread>) -> bool {
        self.thread.map(|it| it.id) == thread.map(|it| it.id)
    }
}

impl Model {
    /// Whether the flag is set that tells the program to wake the thread.
    pub(crate) fn need_wakeup(&self, r: usize) -> bool {
        self.rings[r].as_ref().is_some_and(|ring| {
            let sleeps = |thread: Thread| match ring.disabled {
                true => !thread.woken,
                false => thread.sleeps,
            };
            ring.thread.is_some_and(sleeps) && !ring.lost
        })
    }

    /// The thread of this ring is awake, and runs until it finds nothing to do.
    pub(crate) fn sq_thread_runs(&mut self, r: usize) {
        let Some(thread) = self.ring(r).thread else { return };
        // The thread may serve either ring first, and entries may be messages.
        let shares = |ring: &&mut Ring| ring.shares(Some(thread));
        let all: Vec<_> = self.rings.iter_mut().flatten().filter(shares).collect();
        if all.iter().filter(|ring| ring.sq.len() > 0 || !ring.work.is_empty()).count() > 1 {
            all.into_iter().for_each(|ring| ring.unordered = true);
        }
        let mut idle = false;
        while !idle {
            idle = true;
            for r in 0..self.rings.len() {
                let Some(ring) = &mut self.rings[r] else { continue };
                let Some(it) = ring.thread.as_mut().filter(|it| it.id == thread.id) else {
                    continue;
                };
                it.stirred = true;
                let queued = if ring.disabled { 0 } else { ring.sq.len() };
                // The thread may do the work first, or consume the entries first.
                ring.unordered |= queued > 0 && !ring.work.is_empty();
                if queued > 0 {
                    // The thread may take them in several batches.
                    ring.signals_are_open(false);
                    self.take(r, queued);
                    self.flush(r);
                    // A rejected entry has ended the submission. The thread may do work before the
                    // next one.
                    let ring = self.ring(r);
                    ring.unordered |= ring.sq.len() > 0 && !ring.work.is_empty();
                    idle = false;
                }
                if !self.ring(r).work.is_empty() {
                    self.run(r);
                    idle = false;
                }
            }
        }
    }

    /// Models `submit` and its variants. The library makes no call if the thread is awake and no
    /// events are needed.
    pub(super) fn submit_to_thread(&mut self, r: usize, want: u64) -> Result<usize, i32> {
        let asleep = self.need_wakeup(r);
        let ring = self.ring(r);
        let queued = ring.sq.len();
        let events = want > 0 || ring.cq.overflows();
        (self.ran_out, self.ran_out_or_not) = (false, false);
        if !events && !asleep {
            return Ok(queued);
        }
        self.enter_with_thread(r, queued, events.then_some(want), asleep)
    }

    /// Models `wait` and its variants.
    pub(super) fn wait_for_thread(&mut self, r: usize, want: u64) -> Result<usize, i32> {
        let asleep = self.need_wakeup(r);
        let ring = self.ring(r);
        let want = if want <= ring.cq.len() as u64 { 0 } else { want };
        let events = want > 0 || ring.cq.overflows();
        (self.ran_out, self.ran_out_or_not) = (false, false);
        if !events && !asleep {
            return Ok(0);
        }
        self.enter_with_thread(r, 0, events.then_some(want), asleep)
    }

    /// Models `squeue_wait`, which wakes the thread if it sleeps.
    pub(crate) fn squeue_wait(&mut self, r: usize) -> Result<usize, i32> {
        let asleep = self.need_wakeup(r);
        match self.ring(r).thread {
            Some(_) => self.enter_with_thread(r, 0, None, asleep),
            None => self.enter(r, 0, None),
        }
    }

    /// Models the system call: it wakes the thread if asked to, and waits if `want` is given.
    pub(super) fn enter_with_thread(
        &mut self,
        r: usize,
        submit: usize,
        want: Option<u64>,
        wakes: bool,
    ) -> Result<usize, i32> {
        (self.ran_out, self.ran_out_or_not) = (false, false);
        if self.ring(r).disabled {
            self.system_call();
            return Err(EBADFD);
        }
        if self.kernel.sqpoll_enter_flushes {
            self.ring(r).flush_overflow();
        }
        // If another ring shares the thread, its entries may be messages to this ring.
        let thread = self.ring(r).thread;
        let shares = |ring: &&Ring| ring.shares(thread);
        let queued = self.rings.iter().flatten().filter(shares).any(|ring| ring.sq.len() > 0);
        if wakes {
            self.sq_thread_runs(r);
        }
        let mut waited = Ok(());
        if let Some(want) = want {
            let ring = self.ring(r);
            ring.flush_overflow();
            (self.ran_out, waited) = ring.wait_is_over(want);
            // The thread may or may not post a completion before the time runs out.
            self.ran_out_or_not = self.ran_out && submit == 0 && (queued || self.ring(r).workers);
        }
        self.system_call();
        if submit > 0 { Ok(submit) } else { waited.map(|()| 0) }
    }
}
