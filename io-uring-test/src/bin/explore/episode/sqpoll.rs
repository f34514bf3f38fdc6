//! SQPOLL rings: what may run on them, and waiting until their thread is idle.

use std::time::{Duration, Instant};

use super::{Lockstep, Same, raw, returned, same};
use crate::model::operation::{ASYNC, BUFFER_SELECT, DRAIN, Entry, LINKS, Op, SKIP};
use crate::model::setup::{Attach, Setup, flag};
use crate::model::sqpoll::Thread;
use crate::op;
use crate::setup::sqpoll;
use crate::step::{Push, Reap, Step};
use crate::workers;

/// How long to wait until the thread has done what the model predicts. After that, the visible state
/// is compared in any case.
const HUNG: Duration = Duration::from_secs(3);

/// A new thread may stay awake until it has had an entry: its first time limit is jiffy 0, which 32-bit
/// kernels reach five minutes after boot.
pub(super) const MAY_START_AWAKE: bool = cfg!(target_pointer_width = "32");

/// Whether a step can run on an SQPOLL or IOPOLL ring. The others clear the queue under the thread, or
/// make the test's own threads enter the ring, or expect that the task itself does the ring's work.
pub(super) fn allows(step: &Step) -> bool {
    !matches!(
        step,
        Step::Clear { .. }
            | Step::Watch { .. }
            | Step::Split { .. }
            | Step::Elsewhere { .. }
            | Step::Bundles { .. }
    )
}

/// Replaces what cannot run on an SQPOLL ring whose thread stays awake: nothing shows when such a thread
/// has done its work. `before` is the entry before this one.
pub(super) fn adapt_awake(entry: &mut Entry, before: Option<&Entry>) {
    let plain = matches!(
        entry.op,
        Op::Nop { .. }
            | Op::NoSuchOpcode
            | Op::Ioprio
            | Op::ReadNothing
            | Op::Poll { .. }
            | Op::Read { .. }
            | Op::Timeout { repeats: None, count: 0, .. }
            | Op::Cancel { .. }
            | Op::CancelAny { .. }
            | Op::PollRemove { .. }
            | Op::PollUpdate { .. }
            | Op::TimeoutRemove { .. }
            | Op::Message { .. }
    );
    // The thread may start the next request of a chain at any time.
    let linked = before.is_some_and(Entry::is_linked);
    let is_nop = |entry: &Entry| matches!(entry.op, Op::Nop { result: None, big: None, .. });
    if !plain || linked && !is_nop(entry) {
        entry.op = Op::NOP;
        entry.flags &= !BUFFER_SELECT;
    }
    entry.flags &= !(DRAIN | ASYNC);
    if !is_nop(entry) {
        entry.flags &= !(SKIP | LINKS);
    }
}

impl Lockstep<'_> {
    /// Resolves what the ring is to attach to, and how its thread sleeps.
    pub(super) fn resolve(&self, r: usize, setup: &Setup) -> Setup {
        let mut setup = setup.clone();
        let other = self.model.rings[1 - r].as_ref();
        let thread = other.and_then(|other| other.thread);
        setup.sleeps &= self.model.kernel.workers_show;
        if setup.joins && thread.is_some() {
            setup.attach = Some(Attach::Ring { sqpoll: true });
            setup.flags = sqpoll(setup.flags);
            setup.rewound = false;
        }
        if let Some(thread) = thread {
            setup.sleeps = thread.sleeps;
        }
        match setup.attach {
            Some(Attach::Ring { .. }) => {
                let fd = self.rings[1 - r].as_ref().and_then(|other| other.descriptor());
                setup.wq_fd = fd.map_or(-1, crate::real::number);
                setup.attach = Some(match fd {
                    Some(_) => Attach::Ring { sqpoll: thread.is_some() },
                    None => Attach::Nothing,
                });
                // The thread of a disabled ring that has entries never sleeps, if it has other rings.
                let disabled = setup.flags & flag::R_DISABLED != 0
                    || other.is_some_and(|other| other.disabled);
                if thread.is_some() && disabled {
                    setup.attach = None;
                }
            }
            Some(Attach::File) => setup.wq_fd = crate::real::number(self.world.reader(0)),
            _ => {}
        }
        setup
    }

    /// A new ring has an SQPOLL thread. `before` are the threads that existed before.
    pub(super) fn begin_thread(&mut self, r: usize, setup: &Setup, before: &[u32]) -> Same {
        if self.model.ring(r).built.flags & flag::SQPOLL == 0 {
            return Ok(());
        }
        let shared = matches!(setup.attach, Some(Attach::Ring { .. }));
        let other = self.model.rings[1 - r].as_ref().and_then(|other| other.thread);
        let id = match other.filter(|_| shared) {
            Some(other) => other.id,
            None => workers::new_sqpoll(before).ok_or("there is no SQPOLL thread")?,
        };
        let sleeps = setup.sleeps;
        self.model.ring(r).thread =
            Some(Thread { id, sleeps, stirred: true, restless: false, woken: false });
        // The kernel wakes a thread to give it another ring.
        self.model.sq_thread_runs(r);
        if MAY_START_AWAKE && !shared {
            return self.first_entry(r);
        }
        if sleeps || shared || self.model.ring(r).disabled {
            // A thread that has just started may still find the first entries before it sleeps.
            return self.rest_of_thread(r);
        }
        self.wake_for_good(r)
    }

    /// Wakes a new thread, so that it stays awake. Before its first wakeup, a thread sleeps at once,
    /// whatever its idle time.
    fn wake_for_good(&mut self, r: usize) -> Same {
        say!(self, "while !{}.submission_status().need_wakeup() {{}}", op::name(r));
        self.await_thread(|both| both.real(r).need_wakeup());
        say!(self, "{}.submit().unwrap();", op::name(r));
        returned("submit", &raw(self.real(r).submit(false)), &Ok(0))?;
        self.await_thread(|both| !both.real(r).need_wakeup());
        same("the thread sleeps:", &self.real(r).need_wakeup(), &false)
    }

    /// Gives the thread its first entry. After that, it sleeps or stays awake as it was set up to do.
    fn first_entry(&mut self, r: usize) -> Same {
        let (nop, real) = self.nop(r);
        self.say_push(r, Push::AT_ONCE, std::slice::from_ref(&nop), nop.sqe128);
        say!(self, "{}.submit().unwrap();", op::name(r));
        // SAFETY: a NOP uses no memory.
        let pushed = unsafe { self.real(r).push(&[real], &Push::AT_ONCE) };
        same("pushed:", &pushed.iter().all(Result::is_ok), &true)?;
        raw(self.real(r).submit(false)).map_err(|e| format!("submit failed with errno {e}"))?;
        let sq = &mut self.model.ring(r).sq;
        let _ = sq.push(vec![nop]);
        sq.publish();
        self.model.sq_thread_runs(r);
        self.rest_of_thread(r)?;
        self.reap(r, Reap::All, 1)
    }

    /// Waits for the thread.
    fn await_thread(&mut self, mut is_done: impl FnMut(&mut Self) -> bool) {
        let since = Instant::now();
        for i in 0_u64.. {
            if is_done(self) || i > 1000 && since.elapsed() > HUNG {
                return;
            }
            match i {
                0..50 => std::hint::spin_loop(),
                50..200 => std::thread::yield_now(),
                _ => std::thread::sleep(Duration::from_micros(50)),
            }
        }
    }

    /// Waits until the thread of a ring has nothing more to do.
    pub(super) fn rest_of_thread(&mut self, r: usize) -> Same {
        let Some(ring) = &self.model.rings[r] else { return Ok(()) };
        let Some(thread) = ring.thread else { return Ok(()) };
        let (name, disabled) = (op::name(r), ring.disabled);
        if thread.restless && !disabled {
            say!(self, "{name}.submit().unwrap();");
            raw(self.real(r).submit(false)).map_err(|e| format!("submit failed with errno {e}"))?;
            let _ = self.model.submit(r, None);
            self.model.sq_thread_runs(r);
        } else if !thread.sleeps && ring.sq.len() + ring.work.len() > 0 {
            self.model.sq_thread_runs(r);
        }
        let ring = self.model.ring(r);
        if ring.restless > 0 {
            // A worker may start while the slot of its entry still counts as queued.
            let queued = ring.sq.len();
            let asleep = || !thread.sleeps || workers::sqpoll_sleeps(thread.id);
            self.await_thread(|both| both.real(r).queued() == queued && asleep());
            self.settle(r)?;
        }
        let ring = self.model.ring(r);
        let Some(thread) = &mut ring.thread else { return Ok(()) };
        let stirred = std::mem::take(&mut thread.stirred);
        let tid = thread.id;
        let sleeps = stirred && self.model.need_wakeup(r);
        let ring = self.model.ring(r);
        let (ready, queued, overflows) = (ring.cq.len(), ring.sq.len(), ring.cq.overflows());
        if stirred {
            say!(
                self,
                "while {name}.submission_status().len() != {queued} || {name}.completion_status().ready() != {ready} {{}}"
            );
        }
        if sleeps {
            say!(self, "while !{name}.submission_status().need_wakeup() {{}}");
        }
        let done = |both: &mut Self| {
            let real = both.real(r);
            real.ready() == ready && real.queued() == queued && (!overflows || real.overflows())
        };
        self.await_thread(|both| {
            let rests = match sleeps {
                true => workers::sqpoll_sleeps(tid) && both.real(r).need_wakeup(),
                // Enabling a ring wakes its thread, which may take a while.
                false => !stirred || !both.real(r).need_wakeup(),
            };
            rests && done(both)
        });
        if stirred {
            // A message may have made work for the task, which it does when it returns from any call.
            say!(self, "std::thread::yield_now();");
            std::thread::yield_now();
            self.model.system_call();
        }
        Ok(())
    }

    /// Whether everything that waits on SQPOLL rings has room for its completion. The test does not
    /// see completions that overflow, so it could not tell when the thread is done.
    pub(super) fn threads_have_room(&self) -> bool {
        self.model.rings.iter().flatten().filter(|ring| ring.thread.is_some()).all(|ring| {
            let room = (ring.cq.capacity as usize).saturating_sub(ring.cq.len());
            !ring.cq.overflows() && room >= ring.outstanding()
        })
    }

    /// Whether something may happen that gives the threads work. A thread that wakes up for it also
    /// consumes what is queued, before or after the work. This must make no difference.
    pub(super) fn threads_may_wake(&self) -> bool {
        let threads = self.model.rings.iter().flatten().filter(|ring| ring.thread.is_some());
        let is_nop = |entry: &Entry| matches!(entry.op, Op::Nop { .. });
        self.threads_have_room() && threads.flat_map(|ring| ring.sq.entries()).all(is_nop)
    }

    /// Notices that the thread of a disabled ring is awake, although nothing has woken it.
    pub(super) fn notice_wakeup(&mut self, r: usize) {
        let (Some(real), Some(ring)) = (&self.rings[r], &mut self.model.rings[r]) else { return };
        let has_entries = ring.sq.len() > 0;
        if let Some(thread) = ring.thread.as_mut().filter(|_| ring.disabled && has_entries) {
            thread.woken |= !real.need_wakeup();
        }
    }

    /// The threads of all SQPOLL rings.
    pub(super) fn sq_threads(&self) -> Vec<u32> {
        let rings = self.model.rings.iter().flatten();
        rings.filter_map(|ring| ring.thread.map(|thread| thread.id)).collect()
    }

    /// Whether entries may be pushed to an SQPOLL ring, whose thread may consume them at once. This
    /// assumes that each entry that has room is pushed.
    pub(super) fn may_publish(&mut self, r: usize, entries: &[Entry]) -> bool {
        let before = self.model.ring(r).sq.clone();
        for entry in entries {
            let _ = self.model.ring(r).sq.push(vec![entry.clone()]);
        }
        let plain = |entry: &Entry| entry.op == Op::NOP && !entry.is_linked();
        let plain = self.model.ring(r).sq.entries().all(plain);
        // A message or a tag may end a timeout by its count. That would be work for the thread.
        let counts = |op| matches!(op, Op::Timeout { count: 1.., .. });
        let may = plain
            || self.threads_have_room()
                && !self.model.ring(r).in_flight().any(|entry| counts(entry.op));
        let may = may && self.may_submit(r, false);
        self.model.ring(r).sq = before;
        may
    }

    pub(super) fn squeue_wait(&mut self, r: usize) -> Same {
        let expected = self.model.squeue_wait(r);
        say!(
            self,
            "println!(\"{{:?}}\", {}.submitter().squeue_wait()); // the model: {expected:?}",
            op::name(r)
        );
        returned("squeue_wait", &raw(self.real(r).squeue_wait()), &expected)?;
        self.rest(r)
    }
}
