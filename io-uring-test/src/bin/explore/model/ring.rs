//! A ring: its two queues, and the requests between them.

use std::collections::VecDeque;

use super::buffers::{GROUPS, Group};
use super::cqueue::{Cq, Cqe};
use super::errno::{EACCES, ENOTRECOVERABLE};
use super::files::Files;
use super::operation::{Entry, FIXED_FILE, Op};
use super::registered::Registered;
use super::restrict::Restrictions;
use super::setup::Built;
use super::squeue::Sq;

/// A request, and those that are linked behind it.
pub(crate) type Chain = VecDeque<Entry>;

/// A request that waits for something, with its chain.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// Which one it is: user data need not be unique.
    pub(crate) id: u64,
    pub(crate) chain: Chain,
    /// What it waits for has happened, and it will have a look.
    pub(crate) woken: bool,
    /// What a poll was woken with, which is its result whatever comes later. If it was woken more than
    /// once (0), its result is what there is when it looks.
    pub(crate) mask: i32,
    pub(crate) cancelled: bool,
}

/// What the task does when it returns from a system call, or when it asks for events.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// Starts what is linked behind a request that is done.
    Start(Chain),
    /// Ends what is linked behind a request that has failed.
    Fail(Chain),
    /// Completes a request.
    Complete { chain: Chain, result: i32, flags: u32, big: Option<[u64; 2]>, failed: bool },
    /// A request that waits has a look.
    Look(u64),
    /// Another ring's message.
    Message(Cqe),
}

impl Work {
    /// The requests that it is about.
    pub(crate) fn chain(&self) -> impl Iterator<Item = &Entry> {
        let chain = match self {
            Self::Start(chain) | Self::Fail(chain) | Self::Complete { chain, .. } => Some(chain),
            Self::Look(_) | Self::Message(_) => None,
        };
        chain.into_iter().flatten()
    }
}

/// A request that is done, not yet posted.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) chain: Chain,
    pub(crate) result: i32,
    pub(crate) flags: u32,
    pub(crate) big: Option<[u64; 2]>,
    pub(crate) failed: bool,
}

/// What has come of a request that was started.
pub(crate) enum Outcome {
    Done {
        result: i32,
        failed: bool,
        big: Option<[u64; 2]>,
        flags: u32,
    },
    Waits,
    /// It waits, and will have a look at once.
    WaitsWoken,
}

impl Outcome {
    pub(crate) fn done(result: i32) -> Self {
        Self::Done { result, failed: result < 0, big: None, flags: 0 }
    }
}

/// A chain behind a drain.
#[derive(Clone, Debug)]
pub(crate) struct Drained {
    pub(crate) chain: Chain,
    /// It waits itself until all before it are done.
    pub(crate) drains: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Ring {
    pub(crate) built: Built,
    pub(crate) sq: Sq,
    pub(crate) cq: Cq,
    /// Completions are posted only when the task asks for events.
    pub(crate) defers: bool,
    pub(crate) disabled: bool,

    pub(crate) waiting: Vec<Waiting>,
    pub(crate) work: VecDeque<Work>,
    pub(crate) done: Vec<Done>,
    pub(crate) next_id: u64,
    /// How many requests have not ended.
    pub(crate) alive: usize,

    pub(crate) drained: VecDeque<Drained>,
    pub(crate) drain_active: bool,
    /// What follows the chain that is being put together drains too.
    pub(crate) drain_next: bool,
    /// A silent entry was submitted: drains are refused from now on.
    pub(crate) drain_disabled: bool,

    /// Requests run somewhere else, or in their own time: what is visible is compared once they have
    /// come to rest.
    pub(crate) restless: usize,
    /// Some of what is ready, or to come, was done by a worker thread: there is no order.
    pub(crate) unordered: bool,
    /// The flag that says that work waits is set, although none does.
    pub(crate) taskrun_for_nothing: bool,
    /// A worker thread does something: it lets go of it at some later time, which sets that flag.
    pub(crate) workers: bool,
    /// Whether it is, is for the kernel to say.
    pub(crate) taskrun_is_open: bool,
    /// What watched a request that ended by itself when its time ran out: the result says which came first.
    pub(crate) too_late: Vec<u64>,
    /// A resize was only half done: the kernel has left the memory in which the program looks.
    pub(crate) lost: bool,
    /// What it may do once it is enabled, if that was said.
    pub(crate) restrictions: Option<Restrictions>,
    /// The slots for registered files.
    pub(crate) slots: Option<Files>,
    pub(crate) groups: [Option<Group>; GROUPS],
    /// The slots for registered buffers.
    pub(crate) buffers: Option<Vec<Option<Registered>>>,
}

impl Ring {
    pub(crate) fn new(built: Built) -> Self {
        Self {
            sq: Sq::new(built.sq_entries, built.mixed_sq, built.rewound, built.post_pad_cqes),
            cq: Cq::new(built.cq_entries, built.cqe),
            defers: built.defers,
            disabled: built.disabled,
            built,
            waiting: Vec::new(),
            work: VecDeque::new(),
            done: Vec::new(),
            next_id: 0,
            alive: 0,
            drained: VecDeque::new(),
            drain_active: false,
            drain_next: false,
            drain_disabled: false,
            restless: 0,
            unordered: false,
            taskrun_for_nothing: false,
            taskrun_is_open: false,
            workers: false,
            too_late: Vec::new(),
            lost: false,
            restrictions: None,
            slots: None,
            groups: Default::default(),
            buffers: None,
        }
    }

    /// What has not ended.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = &Entry> {
        let waiting = self.waiting.iter().flat_map(|waiting| &waiting.chain);
        let drained = self.drained.iter().flat_map(|drained| &drained.chain);
        waiting.chain(drained).chain(self.work.iter().flat_map(|work| work.chain()))
    }

    /// Whether something waits for the task to ask for events, which a flag shows.
    pub(crate) fn taskrun(&self) -> bool {
        self.built.taskrun_flag
            && !self.lost
            && (self.taskrun_for_nothing || self.defers && !self.work.is_empty())
    }

    /// Something is done in its own time: by a worker thread, or behind a drain.
    pub(crate) fn in_its_own_time(&mut self) {
        self.restless += 1;
        self.unordered = true;
        self.workers = true;
    }

    /// How many completions may still come, at most.
    pub(crate) fn outstanding(&self) -> usize {
        self.alive + self.sq.len() + self.work.len()
    }
}

impl Ring {
    /// What holds now.
    fn restrictions(&self) -> Option<&Restrictions> {
        self.restrictions.as_ref().filter(|_| !self.disabled)
    }

    /// Whether an entry may run.
    pub(crate) fn may_run(&self, entry: &Entry) -> bool {
        // Where all entries are wide, none has an operation of its own for that.
        let wide = entry.wide && self.built.mixed_sq;
        let slot = matches!(entry.op, Op::ReadSlot { .. } | Op::Install { .. });
        self.may_do(entry.op.opcode(wide), entry.flags | if slot { FIXED_FILE } else { 0 })
    }

    /// Whether it may run an operation, with these flags of its entry.
    pub(crate) fn may_do(&self, operation: u8, flags: u8) -> bool {
        self.restrictions().is_none_or(|list| {
            list.operations.contains(&operation)
                && flags & list.required == list.required
                && flags & !(list.allowed | list.required) == 0
        })
    }

    /// Whether it may make a register call; none, if it is lost.
    pub(crate) fn may_call(&self, call: u8) -> Result<(), i32> {
        if self.lost {
            return Err(ENOTRECOVERABLE);
        }
        match self.restrictions() {
            Some(list) if !list.calls.contains(&call) => Err(EACCES),
            _ => Ok(()),
        }
    }
}
