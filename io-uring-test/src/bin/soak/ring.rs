//! The work of one ring.

use std::mem::{self, MaybeUninit};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use rustix_uring::squeue::{self, Entry, Entry128, PushError, Rewind, SubmissionQueue};
use rustix_uring::types::{SubmitArgs, Timespec};
use rustix_uring::{Errno, Handle, IoUring, cqueue, opcode};

use crate::tracker::{Expect, Tracker};
use crate::work::{Work, World};
use crate::{Fault, Slice};

/// The operations in which the kinds of submission queue differ.
pub(crate) trait Kind: squeue::Kind + Sized {
    /// Whether the queue mixes 64-byte and 128-byte entries.
    const BOTH_SIZES: bool = false;

    /// Pushes a 128-byte entry, if the queue has both sizes.
    ///
    /// # Safety
    ///
    /// Same as [`SubmissionQueue::push`].
    unsafe fn push_128(_: &mut SubmissionQueue<'_, Self>, _: &Entry128) -> Result<(), PushError> {
        unreachable!("this queue has entries of one size only")
    }
}

impl Kind for Entry {}
impl Kind for Entry128 {}
impl Kind for Rewind {}

macro_rules! mixed {
    ($($S:ty)*) => { $(
        impl Kind for $S {
            const BOTH_SIZES: bool = true;

            unsafe fn push_128(
                queue: &mut SubmissionQueue<'_, Self>,
                entry: &Entry128,
            ) -> Result<(), PushError> {
                // SAFETY: the caller upholds the same contract.
                unsafe { queue.push_any(entry) }
            }
        }
    )* };
}
mixed! { squeue::Mixed Rewind<squeue::Mixed> }

/// The maximum number of operations in flight, in addition to those of one turn.
const IN_FLIGHT: usize = 512;

/// A ring and everything that it uses.
pub(crate) struct Soak<S: Kind, C: cqueue::Kind, H: Handle> {
    // The order of the fields is irrelevant for safety: nothing is in flight any more at the drop.
    ring: IoUring<S, C, H>,
    tracker: Tracker,
    world: World,
    works: Vec<Work>,
    dice: Rng,
    patience: Timespec,
    /// The fault to inject, and the number of completions before it.
    inject: Option<(Fault, u64)>,
    /// The entries of a turn and the completions of one reap. The vectors are kept to avoid
    /// allocations.
    entries: Vec<Entry>,
    done: Vec<cqueue::Entry>,
}

impl<S: Kind, C: cqueue::Kind, H: Handle> Soak<S, C, H> {
    pub(crate) fn new(ring: IoUring<S, C, H>, slice: &Slice) -> Result<Self> {
        let mut dice = Rng::with_seed(slice.seed);
        let tracker = Tracker::new();
        let (world, mut works) =
            World::new(&ring.submitter(), &tracker).context("setting up the operations")?;
        // Entries after a drain wait, and may then overtake each other, so that a cancellation may
        // overtake its target. Therefore one half of the runs has drains, and the other half has
        // such cancellations.
        let drains = dice.bool();
        works.retain(|work| if drains { !work.is_endless() } else { *work != Work::Drain });
        Ok(Self {
            inject: slice.inject.map(|fault| (fault, dice.u64(100..1000))),
            patience: Timespec::new().sec(slice.patience.as_secs()),
            entries: Vec::new(),
            done: Vec::new(),
            ring,
            tracker,
            world,
            works,
            dice,
        })
    }

    /// Runs the slice, and returns the number of operations.
    pub(crate) fn run(mut self, slice: &Slice) -> Result<u64> {
        while self.tracker.operations() < slice.operations && Instant::now() < slice.end {
            for _ in 0..32 {
                self.turn()?;
            }
        }
        self.end()?;
        Ok(self.tracker.operations() + self.world.peer.operations())
    }

    /// Begins operations, sometimes submits or waits, and handles completions.
    fn turn(&mut self) -> Result<()> {
        let work = match self.dice.u8(0..4) {
            0 => Work::Nops,
            _ => self.works[self.dice.usize(..self.works.len())],
        };
        let room = self.ring.params().sq_entries() as usize;
        let mut entries = mem::take(&mut self.entries);
        self.world.begin(work, &mut self.tracker, &mut self.dice, room, &mut entries);
        self.push(&entries)?;
        entries.clear();
        self.entries = entries;
        if S::BOTH_SIZES && self.dice.u8(0..4) == 0 {
            self.push_128()?;
        }
        let full = self.tracker.in_flight() > IN_FLIGHT;
        if full || self.dice.u8(0..3) == 0 {
            let ending = self.tracker.ending().min(64);
            let want = if full { ending.max(1) } else { self.dice.usize(0..=ending) };
            self.enter(want.min(self.tracker.ending()))?;
        }
        self.reap()?;
        while !self.tracker.has_room() {
            self.enter(1)?;
            self.reap()?;
        }
        if self.dice.u8(0..8) == 0 { self.world.look() } else { Ok(()) }
    }

    /// Pushes all entries at once, so that chains stay whole.
    fn push(&mut self, entries: &[Entry]) -> Result<()> {
        // SAFETY: the entries use only memory of the tracker and the world, which outlive the
        // operations: `end` waits for all of them, and if it fails the program exits.
        while unsafe { self.ring.submission().push_each(entries.len(), |i| entries[i]) }.is_err() {
            self.make_room()?;
        }
        Ok(())
    }

    fn push_128(&mut self) -> Result<()> {
        let user_data = self.tracker.begin(Expect::Result(0), 0);
        let nop = opcode::Nop128::new().build().user_data(user_data);
        // SAFETY: a NOP uses no memory and no descriptor.
        while unsafe { S::push_128(&mut self.ring.submission(), &nop) }.is_err() {
            self.make_room()?;
        }
        Ok(())
    }

    fn make_room(&mut self) -> Result<()> {
        self.enter(0)?;
        self.reap()?;
        if self.ring.params().is_setup_sqpoll() {
            self.ring.submitter().squeue_wait()?;
        }
        Ok(())
    }

    /// Submits, and waits for `want` completions.
    fn enter(&mut self, want: usize) -> Result<()> {
        let entered = if want == 0 {
            self.ring.submit()
        } else {
            self.ring.submit_with_args(want, &SubmitArgs::new().timespec(&self.patience))
        };
        match entered {
            Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => Ok(()),
            Err(Errno::TIME) => self.tracker.lost(),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Handles all or some of the available completions.
    fn reap(&mut self) -> Result<()> {
        let mut done = mem::take(&mut self.done);
        let mut queue = self.ring.completion();
        match self.dice.u8(0..4) {
            0 => done.extend(queue.by_ref().take(3).map(Into::into)),
            1 => {
                let mut room = [MaybeUninit::uninit(); 16];
                done.extend(queue.fill(&mut room).iter().map(|cqe| (*cqe).into()));
            }
            _ => done.extend(queue.by_ref().map(Into::into)),
        }
        drop(queue);
        for cqe in done.drain(..) {
            match &mut self.inject {
                Some((fault, 0)) => {
                    let fault = *fault;
                    self.inject = None;
                    if fault == Fault::Lost {
                        continue;
                    }
                    self.note(&cqe)?;
                }
                Some((_, left)) => *left -= 1,
                None => {}
            }
            self.note(&cqe)?;
        }
        self.done = done;
        Ok(())
    }

    fn note(&mut self, cqe: &cqueue::Entry) -> Result<()> {
        if cqe.is_pad() {
            ensure!(S::BOTH_SIZES && cqe.result() == 0, "unexpected completion of a pad: {cqe:?}");
            return Ok(());
        }
        self.tracker.settle(cqe)?;
        self.world.note(cqe)
    }

    /// Waits for all operations, and checks that nothing is left.
    fn end(&mut self) -> Result<()> {
        let mut entries = Vec::new();
        loop {
            self.world.receive(&mut self.tracker, &mut entries);
            self.push(&entries)?;
            entries.clear();
            self.enter(0)?;
            // Deferred completions arrive only on request.
            self.ring.submitter().get_events()?;
            self.reap()?;
            if self.tracker.ending() > 0 || self.world.behind() {
                self.enter(1)?;
                continue;
            }
            if self.tracker.in_flight() == 0 {
                break;
            }
            self.world.cancel(&mut self.tracker, &mut entries);
        }
        self.world.look()?;
        self.ring.submitter().get_events()?;
        let left: Vec<cqueue::Entry> = self.ring.completion().map(Into::into).collect();
        ensure!(
            left.iter().all(cqueue::Entry::is_pad),
            "completions without an operation: {left:?}"
        );
        let lost = self.ring.completion().overflow();
        ensure!(lost == 0, "the kernel dropped {lost} completions");
        if self.world.peer.in_flight() > 0 {
            bail!("messages: {:?}", self.world.peer.lost());
        }
        Ok(())
    }
}
