//! The scheduler decides which fiber runs next.
//!
//! The thread itself is the first fiber, the *root*, and keeps its own stack. While the root waits, it
//! [drives](drive) the other fibers: it resumes each fiber that is ready until that fiber suspends itself,
//! then enters the kernel once. The system call submits the operations of the fibers, and waits if no
//! fiber is ready.
//!
//! A fiber that waits for an operation is suspended inside [`operate`](crate::ring::operate). Its stack
//! holds or borrows the operation's memory. Three rules keep that memory in place until the kernel has
//! finished with it:
//!
//! - `operate` returns only with the completion. A cancellation makes the completion come earlier.
//! - [`suspend`] does not unwind. A fiber that is never resumed is never dropped.
//! - The thread drives its fibers until all have ended. If the ring fails, [`Scheduler::fail`] waits
//!   for everything that is in flight, and the fibers continue with errors.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::{self, ManuallyDrop};
use std::ptr::NonNull;
use std::rc::Rc;
use std::{io, process};

use corosensei::{CoroutineResult, Yielder};
use rustix_uring::squeue::Entry;
use rustix_uring::{Errno, IoUring, Local, cqueue};
use slab::Slab;

use crate::fiber::Family;
use crate::stacks::{Pool, Stack};
use crate::tree::Links;

/// A fiber's number. It is reused after the fiber has ended.
pub(crate) type Key = usize;
type Coroutine = corosensei::Coroutine<(), (), (), Stack>;
/// The closure that a fiber runs.
pub(crate) type Main = Box<dyn FnOnce()>;

/// The thread itself.
pub(crate) const ROOT: Key = 0;
const ENTRIES: u32 = 256;

pub(crate) struct Scheduler {
    pub(crate) ring: IoUring<Entry, cqueue::Entry, Local>,
    /// The number of pushed entries whose completions were not reaped.
    pub(crate) in_flight: usize,
    /// The error after which the ring cannot be used any more.
    pub(crate) failed: Option<Errno>,
    /// Whether the kernel has `bind` and `listen` as operations. `None` until the first query.
    pub(crate) listens: Option<bool>,
    /// Whether the thread uses fibers without `run`.
    implicit: bool,
    pub(crate) fibers: Slab<Fiber>,
    pub(crate) ready: VecDeque<Key>,
    /// How many of the ready fibers run before the thread enters the kernel.
    turn: usize,
    pub(crate) running: Key,
    /// Fibers that have not started because there was no memory for a stack.
    starved: VecDeque<Key>,
    /// Entries to push at the next turn. They point only to static memory.
    pub(crate) later: Vec<Entry>,
    pub(crate) stacks: Pool,
    /// How many fibers were spawned.
    pub(crate) spawned: usize,
}

pub(crate) struct Fiber {
    /// Its parent, its children and its siblings.
    pub(crate) links: Links,
    /// Identifies the family of its parent that it belongs to.
    pub(crate) family: usize,
    /// The family of the fibers that it has spawned without a scope.
    pub(crate) own: Option<Rc<Family>>,
    /// The closure to run, until the fiber starts, and its stack if it already has one.
    main: Option<(Main, Option<Stack>)>,
    /// Lies at the bottom of its stack. `None` before it has started, and for the root.
    yielder: Option<NonNull<Yielder<(), ()>>>,
    /// Whether the kernel has an operation of it that can be cancelled. There is at most one
    /// operation, because the fiber waits for each.
    pub(crate) cancellable: bool,
    pub(crate) completion: Option<cqueue::Entry>,
    /// If set, its operations fail.
    pub(crate) cancelled: bool,
    /// The fiber that waits for its end.
    pub(crate) joiner: Option<Key>,
}

/// The state of a thread.
struct Thread {
    scheduler: RefCell<Option<Scheduler>>,
    /// The coroutines, indexed by fiber number. Only the root uses them, so it can resume them in place.
    coroutines: RefCell<Vec<Option<Coroutine>>>,
}

thread_local! {
    /// Never dropped: a thread that exits from within a fiber must not unwind the other fibers.
    static THREAD: ManuallyDrop<Thread> = const {
        ManuallyDrop::new(Thread {
            scheduler: RefCell::new(None),
            coroutines: RefCell::new(Vec::new()),
        })
    };
    /// Dropped when the thread ends.
    static THREAD_END: ThreadEnd = const { ThreadEnd };
}

struct ThreadEnd;

impl Drop for ThreadEnd {
    /// Waits for the fibers of a thread that has not waited for them itself.
    fn drop(&mut self) {
        // If a fiber exits the process, the other fibers stay as they are.
        if implicit_root() {
            Family::wait_for_own();
            end();
        }
    }
}

/// Calls `f` with the thread's scheduler. No fiber may be resumed or dropped meanwhile.
///
/// # Panics
///
/// If the thread has no scheduler, and none can be made.
#[inline]
pub(crate) fn with<T>(f: impl FnOnce(&mut Scheduler) -> T) -> T {
    THREAD.with(|thread| thread.with(f))
}

impl Thread {
    #[inline]
    fn with<T>(&self, f: impl FnOnce(&mut Scheduler) -> T) -> T {
        let mut it = self.scheduler.borrow_mut();
        if it.is_none() {
            begin_implicitly(&mut it);
        }
        f(it.as_mut().expect("it was just created"))
    }
}

/// Creates the scheduler of a thread that uses fibers without [`run`](crate::run).
#[cold]
fn begin_implicitly(none: &mut Option<Scheduler>) {
    let scheduler = Scheduler::new(Pool::default()).expect("cannot make a ring for fibers");
    none.insert(scheduler).implicit = true;
    // Registers the destructor. If the thread is already ending, its fibers are not waited for.
    let _ = THREAD_END.try_with(|_| ());
}

/// Returns whether the caller is the root of a thread that uses fibers without [`run`](crate::run).
fn implicit_root() -> bool {
    THREAD.with(|it| {
        it.scheduler.borrow().as_ref().is_some_and(|it| it.implicit && it.running == ROOT)
    })
}

/// Creates the thread's scheduler. The caller must wait for all fibers and then call [`end`].
///
/// # Panics
///
/// If the thread already has fibers.
pub(crate) fn begin(stacks: Pool) -> io::Result<()> {
    if implicit_root() && with(|it| it.fibers.len() == 1) {
        end();
    }
    assert!(
        THREAD.with(|it| it.scheduler.borrow().is_none()),
        "`run` was called on a thread that already runs fibers"
    );
    let scheduler = Scheduler::new(stacks)?;
    THREAD.with(|it| *it.scheduler.borrow_mut() = Some(scheduler));
    Ok(())
}

/// Drops the thread's scheduler, whose fibers have all ended.
pub(crate) fn end() {
    let scheduler = THREAD.with(|it| it.scheduler.borrow_mut().take());
    debug_assert!(scheduler.is_some_and(|it| it.fibers.len() == 1), "only the root is left");
}

/// Suspends the running fiber until other code makes it ready.
pub(crate) fn suspend() {
    suspend_after(|_| ());
}

/// Suspends the running fiber, and calls `f` before.
#[inline]
pub(crate) fn suspend_after(f: impl FnOnce(&mut Scheduler)) {
    let yielder = with(|it| {
        f(it);
        it.running().yielder
    });
    let Some(yielder) = yielder else {
        return drive();
    };
    let unwinding = Abort("a fiber was dropped while it was suspended");
    // SAFETY: the running fiber's yielder lies on the stack that this code runs on.
    unsafe { yielder.as_ref() }.suspend(());
    mem::forget(unwinding);
}

/// Runs the other fibers until the root is ready.
fn drive() {
    let unwinding = Abort("the scheduler panicked, and fibers cannot continue without it");
    THREAD.with(|thread| {
        let coroutines = &mut *thread.coroutines.borrow_mut();
        loop {
            let key = thread.with(Scheduler::next);
            if key == ROOT {
                break;
            }
            let running = match coroutines.get_mut(key) {
                Some(Some(coroutine)) => coroutine,
                _ => {
                    let Some((main, stack)) = thread.with(Scheduler::start) else { continue };
                    coroutines.resize_with(coroutines.len().max(key + 1), || None);
                    coroutines[key].insert(coroutine(stack, main))
                }
            };
            if let CoroutineResult::Return(()) = running.resume(()) {
                let ended = coroutines[key].take().expect("it has just run");
                thread.with(|it| it.ended(ended.into_stack()));
            }
        }
    });
    mem::forget(unwinding);
}

impl Scheduler {
    fn new(stacks: Pool) -> io::Result<Self> {
        // With the flag, the ring says whether completions wait for the thread to enter. Without it,
        // the thread would have to enter to find out.
        let ring = <IoUring>::builder().setup_taskrun_flag().build_local(ENTRIES)?;
        let mut fibers = Slab::new();
        let root = fibers.insert(Fiber::new(0, None));
        debug_assert_eq!(root, ROOT);
        Ok(Self {
            ring,
            in_flight: 0,
            failed: None,
            listens: None,
            implicit: false,
            fibers,
            ready: VecDeque::new(),
            turn: 0,
            running: ROOT,
            starved: VecDeque::new(),
            later: Vec::new(),
            stacks,
            spawned: 0,
        })
    }

    /// Adds a fiber. Without a stack, it takes one when it starts: if it ends without having been
    /// suspended, the next one starts on the same stack.
    pub(crate) fn spawn(
        &mut self,
        parent: Key,
        family: usize,
        main: Main,
        stack: Option<Stack>,
    ) -> Key {
        let mut fiber = Fiber::new(family, Some((main, stack)));
        fiber.cancelled = self.fibers[parent].cancelled;
        let key = self.fibers.insert(fiber);
        self.link(parent, key);
        self.spawned += 1;
        self.ready.push_back(key);
        key
    }

    /// Returns the next fiber that is ready. From now on, it is the running one.
    #[inline]
    fn next(&mut self) -> Key {
        if self.turn == 0 {
            self.enter_for_turn();
        }
        self.turn -= 1;
        self.running = self.ready.pop_front().expect("a turn counts the ready fibers");
        self.running
    }

    /// Returns the closure of the running fiber, and its stack.
    ///
    /// If there is no memory for a stack, the fiber starts after another one has ended.
    fn start(&mut self) -> Option<(Main, Stack)> {
        let (main, stack) = self.running().main.take().expect("it has not started");
        match stack.map_or_else(|| self.stacks.take(), Ok) {
            Ok(stack) => Some((main, stack)),
            Err(_) => {
                self.running().main = Some((main, None));
                self.starved.push_back(self.running);
                None
            }
        }
    }

    /// Removes the running fiber, which has ended, and makes the fiber ready that joins it.
    fn ended(&mut self, stack: Stack) {
        self.stacks.give(stack);
        if let Some(starved) = self.starved.pop_front() {
            self.ready.push_back(starved);
        }
        self.unlink(self.running);
        if let Some(joiner) = self.fibers.remove(self.running).joiner {
            self.ready.push_back(joiner);
        }
    }

    #[inline]
    pub(crate) fn running(&mut self) -> &mut Fiber {
        &mut self.fibers[self.running]
    }

    /// Enters the kernel, if there is a reason, until a fiber is ready.
    fn enter_for_turn(&mut self) {
        loop {
            if !self.later.is_empty() {
                self.push_later();
            }
            if self.in_flight > 0 {
                self.enter(usize::from(self.ready.is_empty()));
            } else if self.ready.is_empty() {
                drop(Abort("deadlock: all fibers wait for one another, or for memory"));
            }
            self.turn = self.ready.len();
            if self.turn > 0 {
                return;
            }
        }
    }
}

impl Fiber {
    fn new(family: usize, main: Option<(Main, Option<Stack>)>) -> Self {
        Self {
            links: Links::default(),
            family,
            own: None,
            main,
            yielder: None,
            cancellable: false,
            completion: None,
            cancelled: false,
            joiner: None,
        }
    }
}

/// Creates the coroutine of a fiber on its stack.
fn coroutine(stack: Stack, main: Main) -> Coroutine {
    Coroutine::with_stack(stack, |yielder, ()| {
        with(|it| it.running().yielder = Some(NonNull::from(yielder)));
        main();
    })
}

/// Aborts the process if guarded code unwinds: the kernel and other fibers use memory on the stacks.
pub(crate) struct Abort(pub(crate) &'static str);

impl Drop for Abort {
    fn drop(&mut self) {
        eprintln!("fibers: {}", self.0);
        process::abort();
    }
}
