//! An episode: a ring and a sequence of steps. Runs on the model and on the real ring in lockstep.

macro_rules! say {
    ($self:ident, $($format:tt)*) => {
        $self.watch.say(&|| format!($($format)*))
    };
}

mod buffers;
mod bundles;
mod calls;
mod enter;
mod eventfd;
mod files;
mod fork;
mod groups;
mod holds;
mod iopoll;
mod lost;
mod push;
mod quiesce;
mod reap;
mod split;
mod sqpoll;
mod watch;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use proptest::prelude::*;
use rustix_uring::Errno;

use crate::model::buffers::GROUPS;
use crate::model::operation::{Op, Receive};
use crate::model::regular::FILES;
use crate::model::ring::Ring as RingModel;
use crate::model::setup::{Setup, flag};
use crate::model::{Kernel, MESSAGES, Model, SOURCES};
use crate::op;
use crate::real::{Ring, Seen};
use crate::step::{self, Step};
use crate::workers;
use crate::world::World;
use crate::{build, footprint};

/// A step as it is drawn: a number for its kind, and four small numbers.
pub(crate) type Drawn = (u16, [u8; 4]);

/// An episode as it is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Episode {
    pub(crate) setup: [u8; 8],
    pub(crate) steps: Vec<Drawn>,
}

/// Draws episodes of at most `most` steps.
pub(crate) fn strategy(most: usize) -> impl Strategy<Value = Episode> {
    let step = (0..step::TOTAL, any::<[u8; 4]>());
    (any::<[u8; 8]>(), proptest::collection::vec(step, 1..=most))
        .prop_map(|(setup, steps)| Episode { setup, steps })
}

/// Observes a run.
pub(crate) trait Watch {
    /// A step begins.
    fn step(&mut self, kind: usize);
    /// How many times to ask for events before a request that does not come to rest counts as hung.
    fn patience(&self) -> usize;
    /// Reports a line of the program that does the same. The line is made only if it is wanted.
    fn say(&mut self, line: &dyn Fn() -> String);
}

type Same = Result<(), String>;

/// The model and the real rings.
pub(crate) struct Lockstep<'w> {
    model: Model,
    rings: [Option<Box<dyn Ring>>; 2],
    memory: [Option<build::Pages>; 2],
    world: World,
    next: u64,
    /// The user data of silent entries, and whether each was linked to the entry after it.
    silent: BTreeMap<u64, bool>,
    /// The registered eventfds.
    eventfds: [Option<OwnedFd>; 2],
    /// The groups of provided buffers.
    groups: [[Option<groups::Group>; GROUPS]; 2],
    /// The operations that make a descriptor, by user data: the slot, and whether the descriptor
    /// stays open on `exec`.
    installs: BTreeMap<u64, (u32, bool)>,
    /// The requests that receive into these groups, by user data.
    receives: BTreeMap<u64, Receive>,
    /// The process can no longer map shared memory.
    maps_nothing: bool,
    seen: Seen,
    expected: Seen,
    watch: &'w mut dyn Watch,
}

/// Checks an observation. `what` is a subject and a verb: "submit returned".
fn same<T: PartialEq + std::fmt::Debug>(what: &str, real: &T, model: &T) -> Same {
    if real == model { Ok(()) } else { Err(format!("{what} {real:?}; the model says {model:?}")) }
}

/// Checks what a call returned.
fn returned<T: PartialEq + std::fmt::Debug>(call: &str, real: &T, model: &T) -> Same {
    same("returned", real, model).map_err(|what| format!("{call} {what}"))
}

fn raw<T>(result: Result<T, Errno>) -> Result<T, i32> {
    result.map_err(Errno::raw_os_error)
}

/// Runs an episode.
pub(crate) fn run(kernel: &Kernel, episode: &Episode, watch: &mut dyn Watch) -> Same {
    let mut both = Lockstep::new(kernel, watch);
    both.make(0, &Setup::of(episode.setup))?;
    for i in 0..episode.steps.len() {
        both.run(kernel, episode, i).map_err(|what| format!("step {i}: {what}"))?;
    }
    for ring in 0..2 {
        both.drop_ring(ring)?;
    }
    both.world.leak();
    Ok(())
}

impl<'w> Lockstep<'w> {
    fn new(kernel: &Kernel, watch: &'w mut dyn Watch) -> Self {
        Self {
            model: Model::new(kernel.clone(), SOURCES),
            rings: [None, None],
            memory: [None, None],
            world: World::new(),
            next: 1,
            silent: BTreeMap::new(),
            eventfds: [None, None],
            groups: Default::default(),
            installs: BTreeMap::new(),
            receives: BTreeMap::new(),
            maps_nothing: false,
            seen: Seen::default(),
            expected: Seen::default(),
            watch,
        }
    }
}

impl Lockstep<'_> {
    /// Runs one step on both sides, and compares them.
    fn run(&mut self, kernel: &Kernel, episode: &Episode, i: usize) -> Same {
        let (draw, numbers) = episode.steps[i];
        self.watch.step(Step::kind(draw));
        match Step::of(draw, numbers) {
            Step::Lose => lost::run(kernel, episode, i, self.watch)?,
            step => {
                let before = self.besides_rings_before(&step);
                self.apply(step)?;
                self.compare_besides_rings(before)?;
            }
        }
        self.compare()
    }

    /// Whether the ring of a step exists.
    fn has(&self, ring: usize) -> bool {
        self.rings[ring].is_some()
    }

    fn real(&mut self, ring: usize) -> &mut dyn Ring {
        self.rings[ring].as_deref_mut().expect("the ring of this step does not exist")
    }

    fn make(&mut self, r: usize, setup: &Setup) -> Same {
        let setup = &self.resolve(r, setup);
        let predicted = setup.predict(&self.model.kernel);
        let sqpoll = setup.flags & flag::SQPOLL != 0;
        let threads = if sqpoll { workers::threads() } else { Vec::new() };
        let (mut real, mut pages) =
            build::build(setup).map_err(|e| format!("cannot map memory for a ring: {e:#}"))?;
        // The kernel releases the locked memory of earlier rings at some later time.
        for _ in 0..self.watch.patience().min(2000) {
            if !matches!(real, Err(Errno::NOMEM)) || predicted.is_err() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
            (real, pages) =
                build::build(setup).map_err(|e| format!("cannot map memory for a ring: {e:#}"))?;
        }
        say!(self, "{}", setup.code(op::name(r)));
        let real = raw(real);
        match (real, predicted) {
            (Err(real), Err(model)) => same("setup failed with errno", &real, &model),
            (Ok(_), Err(model)) => {
                Err(format!("setup succeeded; the model says errno {model}: {setup:?}"))
            }
            (Err(real), Ok(_)) => {
                Err(format!("setup failed with errno {real}; the model says success: {setup:?}"))
            }
            (Ok(mut ring), Ok(built)) => {
                say!(self, "let mut {0} = {0}.unwrap();", op::name(r));
                let params = ring.params();
                let real = (params.sq_entries(), params.cq_entries(), params.setup_flags().bits());
                let known = built.flags;
                same(
                    "the new ring has the parameters",
                    &real,
                    &(built.sq_entries, built.cq_entries, known),
                )?;
                same(
                    "the new ring is registered:",
                    &ring.registered_index().is_some(),
                    &built.registered,
                )?;
                if sqpoll && built.disabled && sqpoll::MAY_START_AWAKE {
                    // The thread consumes nothing while the ring is disabled, so it cannot get a first
                    // entry. Such a ring is only set up and checked.
                    ring.look(&mut self.seen);
                    return same(
                        "(queued, ready) of a new ring is",
                        &(self.seen.queued, self.seen.ready),
                        &(0, 0),
                    );
                }
                self.rings[r] = Some(ring);
                self.memory[r] = pages;
                let mut model = RingModel::new(built);
                model.cq.overtakes = !self.model.kernel.overflow_in_order;
                self.model.rings[r] = Some(model);
                self.begin_thread(r, setup, &threads)
            }
        }
    }

    fn drop_ring(&mut self, r: usize) -> Same {
        self.close_all_installed(r);
        let Some(ring) = self.rings[r].take() else { return Ok(()) };
        let expected = footprint::look() - self.model.ring(r).holds();
        drop(ring);
        say!(self, "drop({});", op::name(r));
        self.groups[r] = Default::default();
        same("after the drop, the process holds", &footprint::look(), &expected)?;
        self.memory[r] = None;
        self.eventfds[r] = None;
        if let Some(gone) = self.model.rings[r].take() {
            // The requests in flight end at an unknown time. Until then, they may read bytes that
            // are written to their pipes.
            let reads = gone.in_flight().filter_map(|entry| entry.op.read_pipe());
            self.model.retired.extend(reads);
            let other = self.model.rings[1 - r].as_mut().and_then(|other| other.thread.as_mut());
            if let Some(other) =
                other.filter(|other| gone.thread.is_some_and(|it| it.id == other.id))
            {
                other.restless = true;
            }
        }
        self.model.system_call();
        Ok(())
    }

    /// Compares the visible state of both rings.
    fn compare(&mut self) -> Same {
        for r in 0..2 {
            self.rest_of_thread(r)?;
        }
        for r in 0..2 {
            self.compare_ring(r)?;
            self.compare_eventfd(r)?;
        }
        for k in 0..FILES {
            let retired = self.model.retired.contains(&(SOURCES + k));
            if let Some(bytes) = self.world.in_file(k).filter(|_| !retired) {
                same("a regular file", &bytes, &self.model.regular[k].bytes)?;
            }
        }
        match self.world.in_pieces() {
            Some(pieces) => same("the registered memory holds", &pieces, &self.model.pieces),
            None => Ok(()),
        }
    }

    fn compare_ring(&mut self, r: usize) -> Same {
        self.notice_wakeup(r);
        let need_wakeup = self.model.need_wakeup(r);
        let injected = self.model.kernel.injected;
        if let (Some(real), Some(model)) = (&mut self.rings[r], &mut self.model.rings[r]) {
            real.look(&mut self.seen);
            let expected = &mut self.expected;
            expected.queued = model.sq.len();
            expected.queue_full = model.sq.is_full();
            expected.queue_empty = model.sq.len() == 0;
            expected.left.clear();
            expected.left.extend(model.sq.left());
            if std::mem::take(&mut model.taskrun_is_open)
                || model.taskrun_for_nothing
                || model.workers
            {
                model.taskrun_for_nothing = self.seen.taskrun;
            }
            expected.need_wakeup = match model.thread {
                // The kernel wakes the thread at some time.
                Some(thread) if thread.restless => self.seen.need_wakeup,
                _ => need_wakeup,
            };
            expected.cq_overflow = model.cq.overflows();
            expected.taskrun = model.taskrun();
            expected.ready = model.cq.len() + usize::from(injected && model.cq.len() == 2);
            expected.ready_by_status = model.cq.len();
            expected.completions_full = model.cq.is_full();
            expected.completions_empty = model.cq.len() == 0;
            expected.sq_capacity = model.sq.capacity as usize;
            expected.cq_capacity = model.cq.capacity as usize;
            if self.seen != *expected {
                let difference = self.seen.difference(expected);
                let wanted: Vec<_> = model.cq.visible().map(|cqe| cqe.user_data).collect();
                let mut ready = Vec::new();
                real.reap(step::Reap::All, 0, &mut ready);
                let ready: Vec<_> = ready.iter().map(|cqe| cqe.user_data).collect();
                let name = op::name(r);
                return Err(format!(
                    "{name}: {difference}; user data of the ready completions: {ready:?} (the model: {wanted:?})"
                ));
            }
        }
        Ok(())
    }

    fn apply(&mut self, step: Step) -> Same {
        match step {
            Step::Make { ring, raw } => {
                if self.has(ring) {
                    return Ok(());
                }
                let [a, b, c, d] = raw;
                self.make(
                    ring,
                    &Setup::of([
                        c,
                        b,
                        d,
                        a.rotate_left(3),
                        b ^ d,
                        a ^ c,
                        c.rotate_left(4),
                        d.rotate_left(3),
                    ]),
                )
            }
            Step::Lose => Ok(()),
            Step::Feed { pipe, n } => self.feed(pipe % SOURCES, n),
            Step::HangUp { pipe } => self.hang_up(pipe % SOURCES),
            Step::Push { ring, .. }
            | Step::Submit { ring, .. }
            | Step::SubmitAndWait { ring, .. }
            | Step::SubmitWithArgs { ring, .. }
            | Step::Wait { ring, .. }
            | Step::GetEvents { ring }
            | Step::SqueueWait { ring }
            | Step::Truncate { ring, .. }
            | Step::Clear { ring }
            | Step::Reap { ring, .. }
            | Step::Enable { ring, .. }
            | Step::Restrict { ring, .. }
            | Step::Watch { ring }
            | Step::Split { ring, .. }
            | Step::Group { ring, .. }
            | Step::Provide { ring, .. }
            | Step::GroupGone { ring, .. }
            | Step::Available { ring, .. }
            | Step::Buffers { ring, .. }
            | Step::BufferUpdate { ring, .. }
            | Step::BuffersGone { ring }
            | Step::Clone { ring, .. }
            | Step::FileRange { ring, .. }
            | Step::Send { ring, .. }
            | Step::Resize { ring, .. }
            | Step::SyncCancel { ring, .. }
            | Step::Files { ring, .. }
            | Step::FileUpdate { ring, .. }
            | Step::FilesGone { ring }
            | Step::IntoLocal { ring }
            | Step::IntoShared { ring }
            | Step::RegisterFd { ring }
            | Step::UnregisterFd { ring }
            | Step::CloseFd { ring }
            | Step::Elsewhere { ring }
            | Step::Fork { ring, .. }
            | Step::Eventfd { ring, .. }
            | Step::RegisterEventfd { ring, .. }
            | Step::EventfdGone { ring }
            | Step::Bundles { ring, .. }
            | Step::Quiesce { ring, .. }
            | Step::Drop { ring } => {
                if !self.has(ring) {
                    return Ok(());
                }
                self.on_ring(ring, step)
            }
        }
    }

    fn feed(&mut self, pipe: usize, n: usize) -> Same {
        if !self.multishot_has_room() || !self.threads_may_wake() {
            return Ok(());
        }
        let there = &mut self.model.pipes[pipe];
        if there.hung_up
            || there.bytes.len() + n > 2048
            || there.messages.len() >= 8
            || self.model.retired.contains(&pipe)
        {
            return Ok(());
        }
        let bytes: Vec<u8> = (0..n)
            .map(|_| {
                there.next = there.next.wrapping_add(1);
                there.next
            })
            .collect();
        match pipe {
            MESSAGES => there.messages.push_back(bytes.clone()),
            _ => {
                there.bytes.extend(&bytes);
                there.writes.push_back(n);
            }
        }
        self.model.wake(pipe, true);
        self.model.system_call();
        say!(self, "rustix::io::write(pipes[{pipe}].1.as_ref().unwrap(), &{bytes:?}).unwrap();");
        self.world.feed(pipe, &bytes).map_err(|e| format!("cannot write to pipe {pipe}: {e:#}"))?;
        self.rest(0)
    }

    fn hang_up(&mut self, pipe: usize) -> Same {
        // A socket for messages has no end of data. If a request fills an incremental group,
        // kernels differ in what they report about a buffer that is not full at the end of the
        // data.
        let partly =
            |op: Op| matches!(op, Op::Receive(what) if what.group == 1 && what.source == pipe);
        let fills = (0..2).any(|r| op::all(&self.model, r).any(partly));
        if pipe == MESSAGES || fills {
            return Ok(());
        }
        let may_wake = self.multishot_has_room() && self.threads_may_wake();
        if self.model.pipes[pipe].hung_up || !may_wake {
            return Ok(());
        }
        self.model.pipes[pipe].hung_up = true;
        self.model.wake(pipe, false);
        self.model.system_call();
        say!(self, "pipes[{pipe}].1 = None;");
        self.world.hang_up(pipe);
        self.rest(0)
    }

    fn on_ring(&mut self, r: usize, step: Step) -> Same {
        let special = self.model.ring(r).built.flags & (flag::SQPOLL | flag::IOPOLL) != 0;
        if special && !sqpoll::allows(&step) {
            return Ok(());
        }
        match step {
            Step::SqueueWait { .. } => self.squeue_wait(r),
            Step::Push { n, how, raw, .. } => self.push(r, n, how, raw),
            Step::Submit { by_view, .. } => self.enter(r, true, None, false, false, by_view),
            Step::SubmitAndWait { want, .. } => {
                self.enter(r, true, Some(self.want(r, want)), false, false, false)
            }
            Step::SubmitWithArgs { want, min_wait, .. } => {
                self.enter(r, true, Some(self.want(r, want)), true, min_wait, false)
            }
            Step::Wait { want, args, .. } => {
                self.enter(r, false, Some(self.want(r, want)), args, false, false)
            }
            Step::Reap { how, n, .. } => self.reap(r, how, n),
            Step::Quiesce { limit, .. } => self.quiesce(r, limit),
            Step::Drop { .. } => {
                if !op::is_sent_to(&self.model, r) {
                    self.drop_ring(r)?;
                }
                Ok(())
            }
            step => self.other(r, step),
        }
    }

    fn want(&self, r: usize, byte: u8) -> u64 {
        step::want(byte, self.model.rings[r].as_ref().map_or(0, |ring| ring.cq.capacity))
    }
}
