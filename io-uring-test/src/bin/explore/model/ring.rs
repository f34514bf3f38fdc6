//! A ring: its two queues, and the requests between them.

use std::collections::VecDeque;

use super::buffers::{GROUPS, Group};
use super::count::Counts;
use super::cqueue::{Cq, Cqe};
use super::errno::{EACCES, ENOTRECOVERABLE, ETIME};
use super::eventfd::Eventfd;
use super::files::Files;
use super::operation::{Entry, FIXED_FILE, Op};
use super::registered::Registered;
use super::restrict::Restrictions;
use super::setup::Built;
use super::sqpoll::Thread;
use super::squeue::Sq;

/// A request, and the requests linked after it.
pub(crate) type Chain = VecDeque<Entry>;

/// A request that waits for something, with its chain.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// Identifies the request: user data need not be unique.
    pub(crate) id: u64,
    pub(crate) chain: Chain,
    /// The event that the request waits for has happened. Work is queued that retries the request.
    pub(crate) woken: bool,
    /// The events that woke a poll. They are its result, whatever happens later. If the poll was
    /// woken more than once, this is 0, and its result is the readiness at the time when it runs.
    pub(crate) mask: i32,
    pub(crate) cancelled: bool,
}

/// Work that the task does when it returns from a system call, or when it asks for events.
#[derive(Clone, Debug)]
pub(crate) enum Work {
    /// Starts the chain linked after a request that has completed.
    Start(Chain),
    /// Ends the chain linked after a request that has failed.
    Fail(Chain),
    /// Completes a request.
    Complete { chain: Chain, result: i32, flags: u32, big: Option<[u64; 2]>, failed: bool },
    /// Retries a waiting request.
    Look(u64),
    /// Posts a message from another ring.
    Message(Cqe),
}

impl Work {
    /// The requests that this work starts or ends.
    pub(crate) fn chain(&self) -> impl Iterator<Item = &Entry> {
        let chain = match self {
            Self::Start(chain) | Self::Fail(chain) | Self::Complete { chain, .. } => Some(chain),
            Self::Look(_) | Self::Message(_) => None,
        };
        chain.into_iter().flatten()
    }
}

/// A request that is done, but whose completion is not posted yet.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) chain: Chain,
    pub(crate) result: i32,
    pub(crate) flags: u32,
    pub(crate) big: Option<[u64; 2]>,
    pub(crate) failed: bool,
}

/// The state of a request after it was started or retried.
pub(crate) enum Outcome {
    Done {
        result: i32,
        failed: bool,
        big: Option<[u64; 2]>,
        flags: u32,
    },
    Waits,
    /// The request waits, but is already woken: the work that retries it is queued at once.
    WaitsWoken,
}

impl Outcome {
    pub(crate) fn done(result: i32) -> Self {
        Self::Done { result, failed: result < 0, big: None, flags: 0 }
    }
}

/// A chain that waits after a drain.
#[derive(Clone, Debug)]
pub(crate) struct Drained {
    pub(crate) chain: Chain,
    /// The chain is a drain itself: it waits until all requests before it are done.
    pub(crate) drains: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Ring {
    pub(crate) built: Built,
    pub(crate) sq: Sq,
    pub(crate) cq: Cq,
    /// The task does its work only when it asks for events (DEFER_TASKRUN).
    pub(crate) defers: bool,
    pub(crate) disabled: bool,
    /// The thread that submits, if there is one.
    pub(crate) thread: Option<Thread>,

    pub(crate) waiting: Vec<Waiting>,
    pub(crate) work: VecDeque<Work>,
    pub(crate) done: Vec<Done>,
    pub(crate) next_id: u64,
    /// The number of requests that have not ended.
    pub(crate) alive: usize,

    pub(crate) drained: VecDeque<Drained>,
    pub(crate) drain_active: bool,
    /// The chain after the one being assembled drains too.
    pub(crate) drain_next: bool,
    /// A silent entry was submitted: the kernel rejects drains from now on.
    pub(crate) drain_disabled: bool,

    /// Counts requests that end at an unknown time: they run in a worker thread, after a drain, or
    /// in several rounds of work. The visible state is compared only when they have come to rest.
    pub(crate) restless: usize,
    /// The order of the completions that are ready or still to come is not specified, for example
    /// because worker threads post some of them.
    pub(crate) unordered: bool,
    /// The flag for waiting work (TASKRUN) is set, although no work waits.
    pub(crate) taskrun_for_nothing: bool,
    /// A worker thread runs a request. It releases the request at some later time, which sets that
    /// flag.
    pub(crate) workers: bool,
    /// The model cannot tell whether that flag is set: the kernel decides.
    pub(crate) taskrun_is_open: bool,
    /// The user data of linked timeouts that expired while their requests ended by themselves. Only
    /// the result of such a timeout tells which came first.
    pub(crate) too_late: Vec<u64>,
    /// A bundle may reuse the memory of an earlier one.
    pub(crate) reuses_messages: bool,
    pub(super) counts: Counts,
    pub(super) eventfd: Option<Eventfd>,
    /// The program has set the flag that disables the eventfd.
    pub(crate) eventfd_disabled: bool,
    /// A resize was only half done: the kernel no longer uses the memory that the program reads.
    pub(crate) lost: bool,
    /// What the ring may do once it is enabled, if restrictions were registered.
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
            thread: None,
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
            reuses_messages: false,
            counts: Counts::default(),
            eventfd: None,
            eventfd_disabled: false,
            lost: false,
            restrictions: None,
            slots: None,
            groups: Default::default(),
            buffers: None,
        }
    }

    /// Whether the time of a wait for `want` completions runs out, and its result then. It is an
    /// error only if no completion at all is ready.
    pub(super) fn wait_is_over(&self, want: u64) -> (bool, Result<(), i32>) {
        let least = want.min(u64::from(self.cq.capacity)) as usize;
        let ran_out = self.cq.len() < least;
        (ran_out, if ran_out && self.cq.len() == 0 { Err(ETIME) } else { Ok(()) })
    }

    /// The requests that have not ended.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = &Entry> {
        let waiting = self.waiting.iter().flat_map(|waiting| &waiting.chain);
        let drained = self.drained.iter().flat_map(|drained| &drained.chain);
        waiting.chain(drained).chain(self.work.iter().flat_map(|work| work.chain()))
    }

    /// Whether the flag is set that tells the task to ask for events (TASKRUN).
    pub(crate) fn taskrun(&self) -> bool {
        self.built.taskrun_flag
            && !self.lost
            && (self.taskrun_for_nothing || self.defers && !self.work.is_empty())
    }

    /// Notes that a request runs at an unknown time: in a worker thread, or after a drain.
    pub(crate) fn in_its_own_time(&mut self) {
        self.restless += 1;
        self.unordered = true;
        self.workers = true;
        self.signals_are_open(true);
    }

    /// The maximum number of completions that may still be posted.
    pub(crate) fn outstanding(&self) -> usize {
        self.alive + self.sq.len() + self.work.len()
    }
}

impl Ring {
    /// The restrictions that apply now.
    fn restrictions(&self) -> Option<&Restrictions> {
        self.restrictions.as_ref().filter(|_| !self.disabled)
    }

    /// Whether an entry may run.
    pub(crate) fn may_run(&self, entry: &Entry) -> bool {
        // Only mixed queues have separate operations for big entries. In a queue of only big
        // entries, the operation is the usual one.
        let sqe128 = entry.sqe128 && self.built.mixed_sq;
        let slot = match entry.op {
            Op::ReadSlot { .. } | Op::Install { .. } => true,
            Op::Transfer(what) => what.slot.is_some(),
            _ => false,
        };
        self.may_do(entry.op.opcode(sqe128), entry.flags | if slot { FIXED_FILE } else { 0 })
    }

    /// Whether the ring may run an operation with these entry flags.
    pub(crate) fn may_do(&self, operation: u8, flags: u8) -> bool {
        self.restrictions().is_none_or(|list| {
            list.operations.contains(&operation)
                && flags & list.required == list.required
                && flags & !(list.allowed | list.required) == 0
        })
    }

    /// Whether the ring may make a register call. A lost ring may make none.
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
