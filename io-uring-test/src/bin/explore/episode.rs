//! An episode: a ring and a sequence of steps, run on the model and on the real ring in lock-step.

use proptest::prelude::*;
use rustix_uring::Errno;
use rustix_uring::types::{SubmitArgs, Timespec};

use crate::build;
use crate::model::cqueue::{Cqe, F_32, F_MORE, Size};
use crate::model::operation::{Entry, Op};
use crate::model::ring::Ring as RingModel;
use crate::model::setup::Setup;
use crate::model::squeue::PAD;
use crate::model::{Kernel, Model, errno};
use crate::op;
use crate::real::{Ring, Seen, Sized};
use crate::step::{self, Push, Raw, Reap, Step};
use crate::world::{Borrowed, PIPES, World};

/// A step, as it is drawn: what kind, and four small numbers.
pub(crate) type Drawn = (u16, [u8; 4]);

/// What an episode is drawn as.
#[derive(Clone, Debug)]
pub(crate) struct Episode {
    pub(crate) setup: [u8; 8],
    pub(crate) steps: Vec<Drawn>,
}

/// Episodes of at most so many steps.
pub(crate) fn strategy(most: usize) -> impl Strategy<Value = Episode> {
    let step = (0..step::TOTAL, any::<[u8; 4]>());
    (any::<[u8; 8]>(), proptest::collection::vec(step, 1..=most))
        .prop_map(|(setup, steps)| Episode { setup, steps })
}

/// What is told about a run.
pub(crate) trait Watch {
    /// A step begins.
    fn step(&mut self, kind: usize);
    /// How many times to ask for events before what is restless counts as hung.
    fn patience(&self) -> usize;
    /// A line of the program that does the same; made only if it is wanted.
    fn say(&mut self, line: &dyn Fn() -> String);
}

/// How long a wait takes at most that the model says nothing comes of.
static SHORT: Timespec = Timespec::new().nsec(20_000);

type Same = Result<(), String>;

/// Both sides.
pub(crate) struct Lockstep<'w> {
    model: Model,
    rings: [Option<Box<dyn Ring>>; 2],
    memory: [Option<build::Pages>; 2],
    world: World,
    next: u64,
    seen: Seen,
    expected: Seen,
    watch: &'w mut dyn Watch,
}

macro_rules! say {
    ($self:ident, $($format:tt)*) => {
        $self.watch.say(&|| format!($($format)*))
    };
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, real: &T, model: &T) -> Same {
    if real == model {
        Ok(())
    } else {
        Err(format!("{what}: {real:?}, and the model says {model:?}"))
    }
}

fn raw<T>(result: Result<T, Errno>) -> Result<T, i32> {
    result.map_err(Errno::raw_os_error)
}

/// Runs an episode.
pub(crate) fn run(kernel: &Kernel, episode: &Episode, watch: &mut dyn Watch) -> Same {
    let mut both = Lockstep {
        model: Model::new(kernel.clone(), PIPES),
        rings: [None, None],
        memory: [None, None],
        world: World::new(),
        next: 1,
        seen: Seen::default(),
        expected: Seen::default(),
        watch,
    };
    both.make(0, &Setup::of(episode.setup))?;
    for (draw, numbers) in &episode.steps {
        both.watch.step(Step::kind(*draw));
        both.apply(Step::of(*draw, *numbers))?;
        both.compare()?;
    }
    for ring in 0..2 {
        both.drop_ring(ring);
    }
    both.world.leak();
    Ok(())
}

impl Lockstep<'_> {
    /// The ring of a step, if it is there.
    fn has(&self, ring: usize) -> bool {
        self.rings[ring].is_some()
    }

    fn real(&mut self, ring: usize) -> &mut dyn Ring {
        self.rings[ring].as_deref_mut().expect("the step's ring is there")
    }

    fn make(&mut self, r: usize, setup: &Setup) -> Same {
        let predicted = setup.predict(&self.model.kernel);
        // What nobody here can run: polled I/O and a thread that submits.
        let (mut real, mut pages) = build::build(setup).map_err(|e| format!("memory: {e:#}"))?;
        // What earlier rings have locked is given back at some later time.
        for _ in 0..self.watch.patience().min(2000) {
            if !matches!(real, Err(Errno::NOMEM)) || predicted.is_err() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
            (real, pages) = build::build(setup).map_err(|e| format!("memory: {e:#}"))?;
        }
        say!(self, "{}", setup.code(op::name(r)));
        let real = raw(real);
        match (real, predicted) {
            (Err(real), Err(model)) => same("setup", &real, &model),
            (Ok(_), Err(model)) => {
                Err(format!("setup: a ring, and the model says errno {model}: {setup:?}"))
            }
            (Err(real), Ok(_)) => {
                Err(format!("setup: errno {real}, and the model says a ring: {setup:?}"))
            }
            (Ok(mut ring), Ok(built)) => {
                say!(self, "let mut {0} = {0}.unwrap();", op::name(r));
                let params = ring.params();
                let real = (params.sq_entries(), params.cq_entries(), params.setup_flags().bits());
                let known = built.flags;
                same("parameters", &real, &(built.sq_entries, built.cq_entries, known))?;
                same("registered", &ring.registered_index().is_some(), &built.registered)?;
                let idle =
                    known & (crate::model::setup::flag::IOPOLL | crate::model::setup::flag::SQPOLL);
                if idle != 0 {
                    // Set up, and looked at.
                    ring.look(&mut self.seen);
                    return same(
                        "a new ring is empty",
                        &(self.seen.queued, self.seen.ready),
                        &(0, 0),
                    );
                }
                self.rings[r] = Some(ring);
                self.memory[r] = pages;
                self.model.rings[r] = Some(RingModel::new(built));
                Ok(())
            }
        }
    }

    fn drop_ring(&mut self, r: usize) {
        if self.rings[r].take().is_none() {
            return;
        }
        say!(self, "drop({});", op::name(r));
        self.memory[r] = None;
        if let Some(gone) = self.model.rings[r].take() {
            // What was in flight ends at some time, and may take what is fed meanwhile.
            for op in gone.waiting.iter().flat_map(|waiting| &waiting.chain).map(|entry| entry.op) {
                if let Op::Read { pipe, .. } = op {
                    self.model.retired.push(pipe);
                }
            }
        }
        self.model.system_call();
    }

    /// Compares all that is visible.
    fn compare(&mut self) -> Same {
        for r in 0..2 {
            let (Some(real), Some(model)) = (&mut self.rings[r], &mut self.model.rings[r]) else {
                continue;
            };
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
            expected.cq_overflow = model.cq.overflows();
            expected.taskrun = model.taskrun();
            expected.ready = model.cq.len();
            expected.ready_by_status = model.cq.len();
            expected.completions_full = model.cq.is_full();
            expected.completions_empty = model.cq.len() == 0;
            expected.sq_capacity = model.sq.capacity as usize;
            expected.cq_capacity = model.cq.capacity as usize;
            if self.seen != *expected {
                return Err(format!("{}: {}", op::name(r), self.seen.difference(expected)));
            }
        }
        Ok(())
    }

    /// Where requests run in their own time: waits until they have come to rest.
    fn settle(&mut self, r: usize) -> Same {
        if self.model.ring(r).disabled {
            return Ok(());
        }
        let mut rounds = 0;
        loop {
            let ring = self.model.ring(r);
            if ring.restless == 0 && rounds > 0 {
                return Ok(());
            }
            let least = ring.restless + ring.outstanding() + 1;
            ring.restless = 0;
            self.model.run(r);
            self.model.ring(r).cq.flush();
            self.model.system_call();
            let (len, overflows) = (self.model.ring(r).cq.len(), self.model.ring(r).cq.overflows());
            say!(
                self,
                "for _ in 0..{least} {{ {}.submitter().get_events().unwrap(); }}",
                op::name(r)
            );
            let patience = self.watch.patience().max(least + 1);
            let real = self.real(r);
            for i in 0..patience {
                raw(real.get_events()).map_err(|e| format!("get_events: errno {e}"))?;
                if i + 1 >= least && real.ready() == len && (!overflows || real.overflows()) {
                    break;
                }
                if i > 1000 {
                    std::thread::sleep(std::time::Duration::from_micros(20));
                }
            }
            rounds += 1;
        }
    }

    /// After a step that has made a call for the ring.
    fn rest(&mut self, r: usize) -> Same {
        for r in [r, 1 - r] {
            if self.model.rings[r].as_ref().is_some_and(|ring| ring.restless > 0) {
                self.settle(r)?;
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
            Step::Feed { pipe, n } => self.feed(pipe % PIPES, n),
            Step::HangUp { pipe } => self.hang_up(pipe % PIPES),
            Step::Push { ring, .. }
            | Step::Submit { ring, .. }
            | Step::SubmitAndWait { ring, .. }
            | Step::SubmitWithArgs { ring, .. }
            | Step::Wait { ring, .. }
            | Step::GetEvents { ring }
            | Step::Truncate { ring, .. }
            | Step::Clear { ring }
            | Step::Reap { ring, .. }
            | Step::Enable { ring }
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
            | Step::Quiesce { ring }
            | Step::Drop { ring } => {
                if !self.has(ring) {
                    return Ok(());
                }
                self.on_ring(ring, step)
            }
        }
    }

    fn feed(&mut self, pipe: usize, n: usize) -> Same {
        let there = &mut self.model.pipes[pipe];
        if there.hung_up || there.bytes.len() + n > 2048 || self.model.retired.contains(&pipe) {
            return Ok(());
        }
        let bytes: Vec<u8> = (0..n)
            .map(|_| {
                there.next = there.next.wrapping_add(1);
                there.next
            })
            .collect();
        there.bytes.extend(&bytes);
        self.model.wake(pipe, true);
        self.model.system_call();
        say!(self, "rustix::io::write(&pipes[{pipe}].1, &{bytes:?}).unwrap();");
        self.world.feed(pipe, &bytes).map_err(|e| format!("write: {e:#}"))?;
        self.rest(0)
    }

    fn hang_up(&mut self, pipe: usize) -> Same {
        if self.model.pipes[pipe].hung_up {
            return Ok(());
        }
        self.model.pipes[pipe].hung_up = true;
        self.model.wake(pipe, false);
        self.model.system_call();
        say!(self, "drop(pipes[{pipe}].1);");
        self.world.hang_up(pipe);
        self.rest(0)
    }

    pub(crate) fn push(&mut self, r: usize, n: usize, how: Push, draw: Raw) -> Same {
        let wide_too = self.model.ring(r).built.takes_wide;
        let only_wide = wide_too && !self.model.ring(r).built.mixed_sq;
        let mut entries = Vec::new();
        let mut real = Vec::new();
        let mut wide = None;
        for i in 0..n {
            let user_data = self.next;
            self.next += 1;
            let draw = Raw {
                arg: draw.arg.wrapping_add(37 * i as u8),
                flags: draw.flags.wrapping_add(53 * i as u8),
                ..draw
            };
            let (mut op, flags) = op::draw(&self.model, r, draw, user_data);
            // Of several, only the first is one of a kind.
            if i > 0 && matches!(op, Op::Read { .. } | Op::ReadSlot { .. } | Op::Poll { .. }) {
                op = Op::NOP;
            }
            let mut entry = Entry::new(user_data, op, flags);
            let is_wide = *wide.get_or_insert(wide_too && draw.arg & 1 != 0);
            // On a mixed queue, what is wide is so by its opcode.
            entry.wide = is_wide && (only_wide || self.model.kernel.nop128);
            if entry.wide && !only_wide && !matches!(entry.op, Op::Nop { .. }) {
                entry.op = Op::NOP;
            }
            let mut things = Borrowed { world: &mut self.world, rings: &self.rings };
            let narrow = op::entry(entry.op, entry.flags, user_data, &mut things);
            real.push(match (entry.wide, only_wide) {
                (true, true) => Sized::Wide(narrow.into()),
                (true, false) => Sized::Wide(op::wide_nop(entry.op, entry.flags, user_data)),
                _ => Sized::Narrow(narrow),
            });
            entries.push(entry);
        }
        self.say_push(r, how, &entries, only_wide);
        // SAFETY: what the entries use is the world's, which outlives the operations, or leaks it.
        let results = unsafe { self.real(r).push(&real, &how) };
        let sq = &mut self.model.ring(r).sq;
        let mut expected = Vec::new();
        if how.at_once {
            expected.push(sq.push(entries));
        } else {
            for (i, entry) in entries.into_iter().enumerate() {
                let committed = !how.in_place || how.reserved > 1;
                expected.push(match committed {
                    true => sq.push(vec![entry]),
                    // Whether there is room is seen; nothing is pushed.
                    false => sq.try_push(&entry),
                });
                if how.sync_after == Some(i) {
                    sq.publish();
                }
            }
        }
        match how.forget {
            true => sq.forget(),
            false => sq.publish(),
        }
        let results: Vec<bool> = results.iter().map(Result::is_ok).collect();
        let expected: Vec<bool> = expected.iter().map(Result::is_ok).collect();
        same("pushed", &results, &expected)
    }

    fn say_push(&mut self, r: usize, how: Push, entries: &[Entry], only_wide: bool) {
        self.watch.say(&|| {
            let all: Vec<_> = entries
                .iter()
                .map(|entry| match (entry.wide, only_wide) {
                    (true, true) => format!("Entry128::from({})", op::code(entry.op, entry.flags, entry.user_data)),
                    (true, false) => op::code(entry.op, entry.flags, entry.user_data).replacen("opcode::Nop::new()", "opcode::Nop128::new()", 1),
                    _ => op::code(entry.op, entry.flags, entry.user_data),
                })
                .collect();
            let mut code = format!("let mut queue = {}.submission();\n", op::name(r));
            if how.at_once {
                let all = all.join(", ");
                code += &match how.in_place {
                    true => format!("let _ = unsafe {{ queue.push_each({}, |i| [{all}][i]) }};\n", entries.len()),
                    false => format!("let _ = unsafe {{ queue.push_multiple(&[{all}]) }};\n"),
                };
            } else {
                for (i, one) in all.iter().enumerate() {
                    code += &match (how.in_place, how.reserved) {
                        (false, _) => format!("let _ = unsafe {{ queue.push(&{one}) }};\n"),
                        (true, 0) => "drop(queue.reserve::<Entry>());\n".to_string(),
                        (true, 1) => format!("drop(queue.reserve().map(|vacant| vacant.write({one})));\n"),
                        (true, _) => format!("let _ = queue.reserve().map(|vacant| unsafe {{ vacant.write({one}).commit() }});\n"),
                    };
                    if how.sync_after == Some(i) {
                        code += "queue.sync();\n";
                    }
                }
            }
            code + if how.forget { "std::mem::forget(queue);" } else { "drop(queue);" }
        });
    }

    /// Submits, or waits, and compares what comes of it.
    fn enter(
        &mut self,
        r: usize,
        submits: bool,
        want: Option<u64>,
        args: bool,
        min_wait: bool,
        view: bool,
    ) -> Same {
        if submits && !self.may_submit(r) {
            return Ok(());
        }
        // There is no coming back from that wait.
        let cq = &self.model.ring(r).cq;
        let most = u64::from(cq.capacity) - 1;
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
        // A time that is given and not needed is long: nothing is judged by it.
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
            "assert_eq!({name}.{call}, {}); // {expected:?}",
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
        same(&call, &raw(result), &expected)?;
        let ring = self.model.ring(r);
        ring.restless += usize::from(ring.workers && ring.built.taskrun_flag);
        self.rest(r)
    }

    /// What runs in its own time must find room: nothing would show when it has come to rest.
    fn may_submit(&mut self, r: usize) -> bool {
        let ring = self.model.ring(r);
        if ring.defers && ring.cq.overflows() && ring.outstanding() > 3 {
            // Whether all has run would not show.
            return false;
        }
        // A chain that ends with the submission is started by a worker, who may not have come to
        // waiting when it is to be cancelled.
        let mut open: Option<bool> = None;
        for entry in ring.sq.entries() {
            open = entry.is_linked().then(|| open.unwrap_or(false) | entry.op.may_wait());
        }
        if open == Some(true) {
            return false;
        }
        // And when a worker is done with what is silent does not show.
        let workers = open.is_some()
            || ring.sq.entries().any(|entry| entry.flags & crate::model::operation::ASYNC != 0);
        if workers && (ring.sq.entries().any(|entry| entry.is_silent()) || !ring.work.is_empty()) {
            return false;
        }
        // Neither may it come to waiting behind a drain, for the same reason.
        let drains = ring.drain_active
            || ring.sq.entries().any(|entry| entry.flags & crate::model::operation::DRAIN != 0);
        if drains && ring.sq.entries().any(|entry| entry.op.may_wait()) {
            return false;
        }
        // What they do at the same time, a cancellation may find or not.
        if (drains || workers) && ring.sq.entries().any(|entry| entry.op.cancels()) {
            return false;
        }
        if !self.has_room_for_big(r, drains) {
            return false;
        }
        let ring = self.model.ring(r);
        let own_time = drains
            || open.is_some()
            || ring.sq.entries().any(|entry| entry.flags & crate::model::operation::ASYNC != 0);
        let room = (ring.cq.capacity as usize).saturating_sub(ring.cq.len());
        !own_time || (!ring.cq.overflows() && 3 * ring.outstanding() <= room)
    }

    /// Where a mixed queue that is full confuses the kernel, completions of 32 bytes come only where
    /// there is room.
    fn has_room_for_big(&self, r: usize, drains: bool) -> bool {
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

    fn reap(&mut self, r: usize, how: Reap, n: usize) -> Same {
        let name = op::name(r);
        let peeked = self.real(r).peek();
        let mut taken = Vec::new();
        self.real(r).reap(how, n, &mut taken);
        say!(
            self,
            "{}",
            match how {
                Reap::All =>
                    format!("println!(\"{{:?}}\", {name}.completion().collect::<Vec<_>>());"),
                Reap::Some => format!(
                    "println!(\"{{:?}}\", {name}.completion().take({n}).collect::<Vec<_>>());"
                ),
                Reap::Fill => format!(
                    "println!(\"{{:?}}\", {name}.completion().fill(&mut [const {{ std::mem::MaybeUninit::uninit() }}; 8][..{n}]));"
                ),
                Reap::Slices => format!(
                    "let mut queue = {name}.completion();\nprintln!(\"{{:?}}\", queue.as_slices());\nqueue.consume({n});\ndrop(queue);"
                ),
                Reap::Forget => format!(
                    "let mut queue = {name}.completion();\nprintln!(\"{{:?}}\", queue.by_ref().take({n}).collect::<Vec<_>>());\nstd::mem::forget(queue);"
                ),
            }
        );
        let all = how == Reap::All;
        let mut peeked = peeked;
        if self.model.ring(r).cq.size == Size::Big && self.model.kernel.known.has("stale_big") {
            for cqe in taken.iter_mut().chain(&mut peeked) {
                if cqe.flags & F_MORE != 0 || cqe.user_data >> 32 == 1 {
                    cqe.big = Some([0; 2]);
                }
            }
        }
        let most = if all { usize::MAX } else { n };
        let unordered = self.model.ring(r).unordered || self.model.ring(r).workers;
        let cq = &mut self.model.ring(r).cq;
        let before = (how == Reap::Forget).then(|| cq.clone());
        let mut expected = Vec::new();
        if unordered {
            if let Some(peeked) = &peeked {
                cq.swap_to_front(peeked);
            }
        }
        same("peek", &peeked, &cq.visible().next().copied())?;
        while expected.len() < most {
            if let (true, Some(real)) = (unordered, taken.get(expected.len())) {
                cq.swap_to_front(real);
            }
            let Some(cqe) = cq.next() else { break };
            expected.push(cqe);
        }
        // A forgotten view has given nothing back, unless it had come to the end.
        let at_the_end = expected.len() < most;
        if let Some(before) = before {
            if !at_the_end {
                self.model.ring(r).cq = before;
            }
        }
        let differ = taken.iter().zip(&expected).position(|(real, model)| real != model);
        if let Some(i) = differ {
            same(&format!("completion {i}"), &taken[i], &expected[i])?;
        }
        same("completions", &taken.len(), &expected.len())?;
        let ring = self.model.ring(r);
        if ring.cq.len() == 0 && !ring.cq.overflows() && ring.restless == 0 && ring.work.is_empty()
        {
            ring.unordered = false;
        }
        if how != Reap::Forget || at_the_end {
            for cqe in &taken {
                self.check_memory(cqe)?;
            }
        }
        Ok(())
    }

    /// What an operation has written is what the model says.
    fn check_memory(&mut self, cqe: &Cqe) -> Same {
        let Some(buffer) = self.world.take(cqe.user_data) else { return Ok(()) };
        let Some(bytes) = self.model.read.remove(&cqe.user_data) else { return Ok(()) };
        same("what was read", &&buffer[..bytes.len()], &&bytes[..])
    }

    fn on_ring(&mut self, r: usize, step: Step) -> Same {
        match step {
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
            Step::Quiesce { .. } => self.quiesce(r),
            Step::Drop { .. } => {
                if !op::is_sent_to(&self.model, r) {
                    self.drop_ring(r);
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

/// The user data of pads, which no step gives to an entry.
const _: () = assert!(PAD != 0 && errno::EBADFD != 0);

mod calls;
mod quiesce;
