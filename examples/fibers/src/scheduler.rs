//! Who runs next.
//!
//! The thread itself is the first fiber, the *root*: it keeps the stack that it has. While the root
//! waits, it [drives](drive) the others: it resumes each fiber that is ready until that fiber
//! suspends itself, then enters the kernel once. The call submits what the fibers have asked for,
//! and waits if no fiber is ready.
//!
//! A fiber that waits for an operation is suspended inside [`operate`](crate::ring::operate). Its stack holds or borrows
//! the operation's memory. Three rules keep that memory in place until the kernel is done with it:
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
/// What a fiber does.
pub(crate) type Main = Box<dyn FnOnce()>;

/// The thread itself.
pub(crate) const ROOT: Key = 0;
const ENTRIES: u32 = 256;

pub(crate) struct Scheduler {
    pub(crate) ring: IoUring<Entry, cqueue::Entry, Local>,
    /// How many entries were pushed whose completions were not reaped.
    pub(crate) in_flight: usize,
    /// Why the ring cannot be used any more.
    pub(crate) failed: Option<Errno>,
    /// Whether the kernel has `bind` and `listen` as operations, once somebody has asked.
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
    /// Who outlives it, and whom it outlives.
    pub(crate) links: Links,
    /// Identifies the family of its parent that it belongs to.
    pub(crate) family: usize,
    /// The family of the fibers that it has spawned without a scope.
    pub(crate) own: Option<Rc<Family>>,
    state: State,
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

enum State {
    /// It has no stack yet.
    New(Main),
    Suspended(Coroutine),
    /// It runs, or it is the root.
    Running,
}

thread_local! {
    /// Never dropped: a thread that exits from within a fiber must not unwind the other fibers.
    static SCHEDULER: ManuallyDrop<RefCell<Option<Scheduler>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
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
pub(crate) fn with<T>(f: impl FnOnce(&mut Scheduler) -> T) -> T {
    SCHEDULER.with(|it| {
        let mut it = it.borrow_mut();
        match &mut *it {
            Some(scheduler) => f(scheduler),
            none => f(none.insert(new_implicit())),
        }
    })
}

/// Makes the scheduler of a thread that uses fibers without [`run`](crate::run).
#[cold]
fn new_implicit() -> Scheduler {
    let mut scheduler = Scheduler::new(Pool::default()).expect("cannot make a ring for fibers");
    scheduler.implicit = true;
    // Registers the destructor. If the thread is already ending, nobody waits for its fibers.
    let _ = THREAD_END.try_with(|_| ());
    scheduler
}

/// Whether the caller is the root of a thread that uses fibers without [`run`](crate::run).
fn implicit_root() -> bool {
    SCHEDULER.with(|it| it.borrow().as_ref().is_some_and(|it| it.implicit && it.running == ROOT))
}

/// Makes the thread's scheduler. The caller waits for all fibers and calls [`end`].
///
/// # Panics
///
/// If the thread has fibers already.
pub(crate) fn begin(stacks: Pool) -> io::Result<()> {
    if implicit_root() && with(|it| it.fibers.len() == 1) {
        end();
    }
    assert!(SCHEDULER.with(|it| it.borrow().is_none()), "`run` on a thread that has fibers");
    let scheduler = Scheduler::new(stacks)?;
    SCHEDULER.with(|it| *it.borrow_mut() = Some(scheduler));
    Ok(())
}

/// Drops the thread's scheduler, whose fibers have all ended.
pub(crate) fn end() {
    let scheduler = SCHEDULER.with(|it| it.borrow_mut().take());
    debug_assert!(scheduler.is_some_and(|it| it.fibers.len() == 1), "only the root is left");
}

/// Suspends the running fiber until somebody makes it ready.
pub(crate) fn suspend() {
    let Some(yielder) = with(|it| it.running().yielder) else {
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
    let mut next = with(Scheduler::next);
    while let Some(mut coroutine) = next {
        let result = coroutine.resume(());
        next = with(|it| {
            it.suspended(coroutine, result);
            it.next()
        });
    }
    mem::forget(unwinding);
}

impl Scheduler {
    fn new(stacks: Pool) -> io::Result<Self> {
        // With the flag, the ring says whether completions wait for the thread to enter. Without it,
        // the thread would have to enter to find out.
        let ring = <IoUring>::builder().setup_taskrun_flag().build_local(ENTRIES)?;
        let mut fibers = Slab::new();
        let root = fibers.insert(Fiber::new(0, State::Running));
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
        let state = match stack {
            Some(stack) => State::Suspended(coroutine(stack, main)),
            None => State::New(main),
        };
        let mut fiber = Fiber::new(family, state);
        fiber.cancelled = self.fibers[parent].cancelled;
        let key = self.fibers.insert(fiber);
        self.link(parent, key);
        self.spawned += 1;
        self.ready.push_back(key);
        key
    }

    /// Returns the next fiber that is ready, to be resumed, or `None` for the root.
    fn next(&mut self) -> Option<Coroutine> {
        loop {
            if self.turn == 0 {
                self.enter_for_turn();
            }
            self.turn -= 1;
            let key = self.ready.pop_front().expect("a turn counts the ready fibers");
            self.running = key;
            match mem::replace(&mut self.fibers[key].state, State::Running) {
                State::Running => return None,
                State::Suspended(coroutine) => return Some(coroutine),
                State::New(main) => match self.stacks.take() {
                    Ok(stack) => return Some(coroutine(stack, main)),
                    Err(_) => {
                        self.fibers[key].state = State::New(main);
                        self.starved.push_back(key);
                    }
                },
            }
        }
    }

    /// The fiber that has run until now has suspended itself, or has ended.
    fn suspended(&mut self, coroutine: Coroutine, result: CoroutineResult<(), ()>) {
        match result {
            CoroutineResult::Yield(()) => self.running().state = State::Suspended(coroutine),
            CoroutineResult::Return(()) => {
                self.stacks.give(coroutine.into_stack());
                self.ready.extend(self.starved.pop_front());
                self.unlink(self.running);
                let ended = self.fibers.remove(self.running);
                self.ready.extend(ended.joiner);
            }
        }
    }

    pub(crate) fn running(&mut self) -> &mut Fiber {
        &mut self.fibers[self.running]
    }

    /// Enters the kernel, if there is a reason, until a fiber is ready.
    fn enter_for_turn(&mut self) {
        loop {
            for entry in mem::take(&mut self.later) {
                // A ring that has failed has nothing left to cancel.
                // SAFETY: the entry points only to static memory.
                let _ = unsafe { self.push(entry) };
            }
            if self.in_flight > 0 {
                self.enter(usize::from(self.ready.is_empty()));
            } else if self.ready.is_empty() {
                drop(Abort("all fibers wait for one another, or for memory"));
            }
            self.turn = self.ready.len();
            if self.turn > 0 {
                return;
            }
        }
    }
}

impl Fiber {
    fn new(family: usize, state: State) -> Self {
        Self {
            links: Links::default(),
            family,
            own: None,
            state,
            yielder: None,
            cancellable: false,
            completion: None,
            cancelled: false,
            joiner: None,
        }
    }
}

/// Puts a fiber on its stack.
fn coroutine(stack: Stack, main: Main) -> Coroutine {
    Coroutine::with_stack(stack, |yielder, ()| {
        with(|it| it.running().yielder = Some(NonNull::from(yielder)));
        main();
    })
}

/// Guards code that must not unwind, because others use what lies on the stacks.
pub(crate) struct Abort(pub(crate) &'static str);

impl Drop for Abort {
    fn drop(&mut self) {
        eprintln!("fibers: {}", self.0);
        process::abort();
    }
}
