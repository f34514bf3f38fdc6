//! Who runs next. One loop resumes the fibers that are ready, each until it suspends itself; then it
//! enters the kernel once: to submit what they have asked for, and, if none is ready, to wait.
//!
//! A fiber that waits for an operation is suspended within [`operate`], with the operation's memory
//! on its stack or held from there. Three things keep that memory where it is until the kernel is
//! done with it:
//!
//! - `operate` returns only with the completion. A cancellation hurries it, and does no more.
//! - [`suspend`] does not unwind. A fiber that is not resumed, is not dropped either.
//! - The loop ends when all fibers have. If the ring fails under it, it [comes to the end of all that
//!   is in flight](Scheduler::fail) first, and the fibers go on, with errors.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::mem::{self, ManuallyDrop};
use std::ptr::NonNull;
use std::time::Duration;
use std::{io, process};

use corosensei::stack::DefaultStack;
use corosensei::{CoroutineResult, Yielder};
use rustix_uring::squeue::Entry;
use rustix_uring::types::Timespec;
use rustix_uring::{Errno, IoUring, Local, cqueue, opcode};
use slab::Slab;

use crate::stacks::{self, Pool};

/// A fiber's number. When the fiber has ended, another one's.
pub(crate) type Key = usize;
type Coroutine = corosensei::Coroutine<(), (), (), DefaultStack>;

const ENTRIES: u32 = 256;
/// The user data of an operation is the fiber's number; of its cancellation, this as well; and of the
/// pause before the next one, that.
const CANCELLATION: u64 = 1 << 63;
const PAUSE: u64 = 1 << 62;
/// How long that pause is.
static A_MILLISECOND: Timespec = Timespec::new().nsec(1_000_000);

pub(crate) struct Scheduler {
    ring: IoUring<Entry, cqueue::Entry, Local>,
    /// How many entries were pushed whose completion was not reaped.
    pub(crate) in_flight: usize,
    /// Why the ring is of no use any more.
    failed: Option<Errno>,
    pub(crate) fibers: Slab<Fiber>,
    pub(crate) ready: VecDeque<Key>,
    pub(crate) running: Key,
    /// To be pushed at the next turn: these point to nothing that is not static.
    later: Vec<Entry>,
    pub(crate) stacks: Pool,
    /// How many fibers there ever were.
    pub(crate) spawned: usize,
}

pub(crate) struct Fiber {
    /// Who outlives it, and whom it outlives.
    parent: Option<Key>,
    children: BTreeSet<Key>,
    /// Not here while it runs.
    coroutine: Option<Coroutine>,
    /// At the bottom of its stack, once it has started.
    yielder: Option<NonNull<Yielder<(), ()>>>,
    /// Whether the kernel has an operation of it. There is at most one: it waits for each.
    in_flight: bool,
    completion: Option<cqueue::Entry>,
    /// From then on, its operations fail.
    pub(crate) cancelled: bool,
    /// Which of its parent's scopes it was spawned in.
    scope: usize,
    /// Who waits for its end.
    pub(crate) joiner: Option<Key>,
}

thread_local! {
    /// Never dropped: a thread that exits from within a fiber would unwind the other fibers.
    static SCHEDULER: ManuallyDrop<RefCell<Option<Scheduler>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
}

/// The thread's scheduler, for a moment in which no other fiber runs.
pub(crate) fn with<T>(f: impl FnOnce(&mut Scheduler) -> T) -> T {
    SCHEDULER.with(|it| f(it.borrow_mut().as_mut().expect("fibers exist only within `run`")))
}

/// Runs a fiber, and those that it spawns, until all have ended.
///
/// # Errors
///
/// If there can be no ring, or no stack. Then `root` does not run.
pub(crate) fn run(root: impl FnOnce()) -> io::Result<()> {
    SCHEDULER.with(|it| {
        assert!(it.borrow().is_none(), "`run` within `run`");
        *it.borrow_mut() = Some(Scheduler::new()?);
        io::Result::Ok(())
    })?;
    let unwinding = Abort("the scheduler panicked, and fibers cannot go on without it");
    // SAFETY: `root` outlives the loop, which ends after the fiber.
    let root = unsafe { spawn(None, 0, root) };
    while with(Scheduler::turn) {
        for _ in 0..with(|it| it.ready.len()) {
            let mut coroutine = with(Scheduler::next);
            let result = coroutine.resume(());
            with(|it| it.suspended(coroutine, result));
        }
    }
    mem::forget(unwinding);
    let over = SCHEDULER.with(|it| it.borrow_mut().take());
    drop(over);
    root.map(drop)
}

/// A new fiber, below the parent and of one of its scopes.
///
/// # Safety
///
/// What `main` borrows stays until the fiber has ended.
pub(crate) unsafe fn spawn<F: FnOnce()>(
    parent: Option<Key>,
    scope: usize,
    main: F,
) -> io::Result<Key> {
    // It begins its life on the stack, and is not checked for room there.
    const { assert!(size_of::<F>() <= stacks::SIZE / 4, "box what the closure captures") };
    let stack = with(|it| it.stacks.take())?;
    let main = |yielder: &Yielder<(), ()>, ()| {
        with(|it| it.running().yielder = Some(NonNull::from(yielder)));
        main();
    };
    // SAFETY: the scheduler drives it to its end, until when the borrows hold, as promised to us.
    let coroutine = unsafe { Coroutine::with_stack_unchecked(stack, main) };
    Ok(with(|it| {
        let key = it.fibers.insert(Fiber {
            parent,
            children: BTreeSet::new(),
            coroutine: Some(coroutine),
            yielder: None,
            in_flight: false,
            completion: None,
            cancelled: parent.is_some_and(|parent| it.fibers[parent].cancelled),
            scope,
            joiner: None,
        });
        if let Some(parent) = parent {
            it.fibers[parent].children.insert(key);
        }
        it.spawned += 1;
        it.ready.push_back(key);
        key
    }))
}

/// Lets others run, until somebody makes this fiber ready.
pub(crate) fn suspend() {
    let yielder = with(|it| it.running().yielder).expect("it has started");
    let unwinding = Abort("a fiber was dropped while it was suspended");
    // SAFETY: the fiber runs, so that what lies at the bottom of its stack is there.
    unsafe { yielder.as_ref() }.suspend(());
    mem::forget(unwinding);
}

/// Hands an operation to the kernel, and lets others run until it has completed.
///
/// # Errors
///
/// The operation's. ECANCELED if the fiber was cancelled before the operation could succeed; one
/// that succeeds all the same is a success. Not EINTR, on which std would try again without end.
///
/// # Safety
///
/// What the entry points to, and its descriptor, stay until this returns.
pub(crate) unsafe fn operate(entry: Entry) -> Result<cqueue::Entry, Errno> {
    // SAFETY: this returns when the operation has completed.
    with(|it| unsafe { it.start(entry) })?;
    let (completion, cancelled) = loop {
        suspend();
        let fiber = with(|it| (it.running().completion.take(), it.running().cancelled));
        if let (Some(completion), cancelled) = fiber {
            break (completion, cancelled);
        }
    };
    match completion.to_result() {
        Ok(_) => Ok(completion),
        Err(Errno::INTR) if cancelled => Err(Errno::CANCELED),
        Err(errno) => Err(errno),
    }
}

impl Scheduler {
    fn new() -> io::Result<Self> {
        // The flag says whether completions wait for us to enter: else we would have to, to know.
        let ring = <IoUring>::builder().setup_taskrun_flag().build_local(ENTRIES)?;
        Ok(Self {
            ring,
            in_flight: 0,
            failed: None,
            fibers: Slab::new(),
            ready: VecDeque::new(),
            running: 0,
            later: Vec::new(),
            stacks: Pool::default(),
            spawned: 0,
        })
    }

    /// Enters the kernel, and says whether there is anybody left to run.
    fn turn(&mut self) -> bool {
        if self.fibers.is_empty() {
            return false;
        }
        for entry in mem::take(&mut self.later) {
            // A ring that fails has ended everything anyway.
            // SAFETY: it points to nothing that is not static.
            let _ = unsafe { self.push(entry) };
        }
        if self.ready.is_empty() && self.in_flight == 0 {
            drop(Abort("all fibers wait for one another"));
        }
        self.enter(usize::from(self.ready.is_empty()));
        true
    }

    /// The next fiber that is ready.
    fn next(&mut self) -> Coroutine {
        self.running = self.ready.pop_front().expect("as many as the loop has counted");
        self.running().coroutine.take().expect("only one is running")
    }

    /// What has run until now has suspended itself, or has come to its end.
    fn suspended(&mut self, coroutine: Coroutine, result: CoroutineResult<(), ()>) {
        match result {
            CoroutineResult::Yield(()) => self.running().coroutine = Some(coroutine),
            CoroutineResult::Return(()) => {
                self.stacks.give(coroutine.into_stack());
                let ended = self.fibers.remove(self.running);
                if let Some(parent) = ended.parent {
                    self.fibers[parent].children.remove(&self.running);
                }
                self.ready.extend(ended.joiner);
            }
        }
    }

    pub(crate) fn running(&mut self) -> &mut Fiber {
        &mut self.fibers[self.running]
    }

    /// Cancels fibers and all below them, from the top down.
    pub(crate) fn cancel(&mut self, mut keys: Vec<Key>) {
        let mut at = 0;
        while let Some(&key) = keys.get(at) {
            let fiber = &mut self.fibers[key];
            keys.extend(&fiber.children);
            if !mem::replace(&mut fiber.cancelled, true) && fiber.in_flight {
                self.later.push(cancellation(key));
            }
            at += 1;
        }
    }

    /// Cancels the fibers of one scope of their parent's, and all below them.
    pub(crate) fn cancel_scope(&mut self, parent: Key, scope: usize) {
        let children = self.fibers[parent].children.iter().copied();
        self.cancel(children.filter(|&child| self.fibers[child].scope == scope).collect());
    }

    /// Pushes an operation of the running fiber.
    ///
    /// # Safety
    ///
    /// The contract holds for the entry, and the fiber waits for its completion.
    unsafe fn start(&mut self, entry: Entry) -> Result<(), Errno> {
        if self.running().cancelled {
            return Err(Errno::CANCELED);
        }
        // SAFETY: as our caller promises.
        unsafe { self.push(entry.user_data(self.running as u64)) }?;
        self.running().in_flight = true;
        Ok(())
    }

    /// Pushes an entry, and submits first if the queue is full.
    ///
    /// # Safety
    ///
    /// The contract holds for the entry.
    unsafe fn push(&mut self, entry: Entry) -> Result<(), Errno> {
        loop {
            if let Some(errno) = self.failed {
                return Err(errno);
            }
            // SAFETY: as our caller promises.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                self.in_flight += 1;
                return Ok(());
            }
            self.enter(0);
        }
    }

    /// Submits, waits for `want` completions, and makes ready whose operations have completed.
    fn enter(&mut self, want: usize) {
        match self.ring.submit_and_wait(want) {
            Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
            Err(errno) => return self.fail(errno),
        }
        while let Some(completion) = self.next_completion() {
            self.in_flight -= 1;
            self.complete(completion);
        }
    }

    fn next_completion(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    /// Makes ready whose operation has completed.
    ///
    /// A cancellation that comes back without success has found the operation on its way from one
    /// state to another, or in one in which nothing can be done about it. In the first case, it takes
    /// another one, a moment later.
    fn complete(&mut self, completion: cqueue::Entry) {
        let kind = completion.user_data() & (CANCELLATION | PAUSE);
        let key = (completion.user_data() ^ kind) as Key;
        let fiber = self.fibers.get_mut(key);
        let waits_on = fiber.as_ref().is_some_and(|fiber| fiber.in_flight && fiber.cancelled);
        match (kind, fiber) {
            (0, Some(fiber)) => {
                fiber.in_flight = false;
                fiber.completion = Some(completion);
                self.ready.push_back(key);
            }
            (CANCELLATION, _) if waits_on && completion.to_result().is_err() => {
                let pause = opcode::Timeout::new(&A_MILLISECOND).build();
                self.later.push(pause.user_data(PAUSE | key as u64));
            }
            (PAUSE, _) if waits_on => self.later.push(cancellation(key)),
            _ => {}
        }
    }

    /// The ring is of no use any more: comes to the end of what is in flight. All fibers go on, and
    /// their operations fail.
    pub(crate) fn fail(&mut self, errno: Errno) {
        self.failed = Some(errno);
        let keys: Vec<u64> = self.fibers.iter().map(|(key, _)| key as u64).collect();
        let mut completions = Vec::new();
        // The fibers' stacks are in use until then, however long it takes.
        let (in_flight, forever) = (&mut self.in_flight, Duration::MAX);
        let ended = self.ring.quiesce_with(in_flight, forever, &keys, |completion| {
            completions.push(completion);
            true
        });
        if ended.is_err() {
            drop(Abort("the ring is lost, and with it all knowledge of which memory it uses"));
        }
        completions.into_iter().for_each(|completion| self.complete(completion));
    }
}

fn cancellation(key: Key) -> Entry {
    opcode::AsyncCancel::new(key as u64).build().user_data(CANCELLATION | key as u64)
}

/// Where nothing may unwind: what lies on the stacks is used by others.
struct Abort(&'static str);

impl Drop for Abort {
    fn drop(&mut self) {
        eprintln!("fibers: {}", self.0);
        process::abort();
    }
}
