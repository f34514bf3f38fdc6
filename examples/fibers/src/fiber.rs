//! Fibers and scopes. A parent outlives its children, and so does everything that they borrow.

use std::cell::{Cell, OnceCell};
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use rustix_uring::types::Timespec;
use rustix_uring::{Errno, opcode};

use crate::ring::operate;
use crate::scheduler::{self, Abort, Key, Main, suspend, suspend_after, with};
use crate::stacks::{Pool, Stack};

/// Calls `root`, waits until all fibers that it has spawned have ended, and returns its result.
///
/// Same as [`Builder::run`] with the default settings.
///
/// # Errors
///
/// If the kernel refuses a ring for the thread. Then `root` is not called.
///
/// # Panics
///
/// Same as [`Builder::run`].
pub fn run<T>(root: impl FnOnce() -> T) -> io::Result<T> {
    Builder::new().run(root)
}

/// The settings of a thread's fibers.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    stack_size: Option<usize>,
}

impl Builder {
    /// Returns the default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the size of a fiber's stack in bytes. The default is 256 KiB.
    ///
    /// The kernel allocates only the pages that a fiber touches. If a fiber runs over the end of its
    /// stack, the process ends with SIGSEGV. The size is rounded up to whole pages.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Calls `root`, waits until all fibers that it has spawned have ended, and returns its result.
    ///
    /// `root` runs on the stack of the thread. If it panics, this cancels its fibers before it waits.
    ///
    /// # Errors
    ///
    /// If the kernel refuses a ring for the thread. Then `root` is not called.
    ///
    /// # Panics
    ///
    /// If `root` panics, if a fiber that it has spawned panics and no fiber [joins](JoinHandle::join) it,
    /// or if the thread already has fibers.
    pub fn run<T>(self, root: impl FnOnce() -> T) -> io::Result<T> {
        scheduler::begin(self.stack_size.map_or_else(Pool::default, Pool::new))?;
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| outlive(root, Family::take_own)));
        // Destructors can have spawned fibers as well.
        Family::wait_for_own();
        scheduler::end();
        match outcome {
            Ok(value) => Ok(value),
            Err(panic) => panic::resume_unwind(panic),
        }
    }
}

/// Spawns a fiber as a child of the running one. It runs when its parent waits or ends.
///
/// Without a scope, the fiber may borrow only what is `'static`. The parent ends after all its children,
/// even if you do not join them. If the parent panics, its children are cancelled. A child of a cancelled
/// fiber is cancelled from the start.
///
/// # Panics
///
/// If the thread has no ring yet, and the kernel refuses one.
pub fn spawn<T: 'static>(body: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    let family = with(|it| {
        let owner = it.running;
        it.running().own.get_or_insert_with(|| Family::new(owner)).clone()
    });
    let (main, outcome) = family.main(body);
    family.spawn(None, Box::new(main), outcome)
}

/// Opens a scope for fibers that borrow, like [`std::thread::scope`].
///
/// Returns when `body` and all fibers of the scope have ended. If `body` panics, they are cancelled.
///
/// # Panics
///
/// If `body` panics, or if a fiber panics and no fiber [joins](JoinHandle::join) it.
pub fn scope<'env, T>(body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T) -> T {
    let family = Family::new(with(|it| it.running));
    let scope = Scope { family: family.clone(), scope: PhantomData, env: PhantomData };
    outlive(|| body(&scope), || Some(family))
}

/// A scope, in which you can spawn fibers that borrow.
pub struct Scope<'scope, 'env: 'scope> {
    family: Rc<Family>,
    // Neither lifetime can be replaced by another: a longer one would outlive what is borrowed.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl<'scope> Scope<'scope, '_> {
    /// Spawns a fiber that may borrow everything that outlives the scope.
    ///
    /// If the scope is cancelled, the fiber is cancelled from the start. If there is no memory for
    /// its stack, it starts after another fiber has ended.
    pub fn spawn<T: 'scope>(&'scope self, body: impl FnOnce() -> T + 'scope) -> JoinHandle<T> {
        self.spawn_on(None, body)
    }

    /// Allocates a stack now, and spawns a fiber on it.
    ///
    /// # Errors
    ///
    /// If there is no memory for the stack. `body` is dropped.
    pub fn try_spawn<T: 'scope>(
        &'scope self,
        body: impl FnOnce() -> T + 'scope,
    ) -> io::Result<JoinHandle<T>> {
        let stack = with(|it| it.stacks.take())?;
        Ok(self.spawn_on(Some(stack), body))
    }

    fn spawn_on<T: 'scope>(
        &'scope self,
        stack: Option<Stack>,
        body: impl FnOnce() -> T + 'scope,
    ) -> JoinHandle<T> {
        let (main, outcome) = self.family.main(body);
        let main: Box<dyn FnOnce() + 'scope> = Box::new(main);
        // SAFETY: everything that `main` borrows outlives 'scope. `scope` neither returns nor unwinds before
        // this fiber has ended, because the family counts the fiber until then.
        let main = unsafe { mem::transmute::<Box<dyn FnOnce() + 'scope>, Main>(main) };
        self.family.spawn(stack, main, outcome)
    }

    /// Cancels all fibers of the scope, including those that you spawn later. See [`JoinHandle::cancel`].
    pub fn cancel(&self) {
        self.family.cancel();
    }
}

/// What a parent knows about the fibers of one of its scopes, or about those without a scope.
pub(crate) struct Family {
    owner: Key,
    /// How many have not ended.
    running: Cell<usize>,
    /// How many have panicked and were not joined.
    panicked: Cell<usize>,
    cancelled: Cell<bool>,
    /// Whether the owner is suspended until the last one ends.
    awaited: Cell<bool>,
}

impl Family {
    fn new(owner: Key) -> Rc<Self> {
        Rc::new(Self {
            owner,
            running: Cell::new(0),
            panicked: Cell::new(0),
            cancelled: Cell::new(false),
            awaited: Cell::new(false),
        })
    }

    /// Takes the running fiber's family without a scope. Its next spawn starts a new family.
    fn take_own() -> Option<Rc<Self>> {
        with(|it| it.running().own.take())
    }

    /// Waits for all children that the running fiber has without a scope.
    pub(crate) fn wait_for_own() {
        while let Some(family) = Self::take_own() {
            family.wait();
        }
    }

    /// Returns a number that identifies this family while one of its fibers exists.
    fn number(self: &Rc<Self>) -> usize {
        Rc::as_ptr(self).addr()
    }

    /// Returns the closure that a fiber of this family runs, and the cell that will have its result.
    ///
    /// If the handle is gone, the fiber itself drops its result.
    fn main<T, F: FnOnce() -> T>(
        self: &Rc<Self>,
        body: F,
    ) -> (impl FnOnce() + use<T, F>, Rc<Outcome<T>>) {
        let outcome = Rc::new(OnceCell::new());
        let (family, result) = (self.clone(), Rc::downgrade(&outcome));
        let main = move || {
            let unwound = panic::catch_unwind(AssertUnwindSafe(|| {
                let value = outlive(body, Self::take_own);
                if let Some(result) = result.upgrade() {
                    let _ = result.set(Ok(value));
                }
            }));
            if let Err(panic) = unwound {
                family.panicked.set(family.panicked.get() + 1);
                if let Some(result) = result.upgrade() {
                    let _ = result.set(Err(panic));
                }
            }
            // Destructors can have spawned fibers as well.
            Self::wait_for_own();
            family.ended();
        };
        (main, outcome)
    }

    fn spawn<T>(
        self: &Rc<Self>,
        stack: Option<Stack>,
        main: Main,
        outcome: Rc<Outcome<T>>,
    ) -> JoinHandle<T> {
        self.running.set(self.running.get() + 1);
        let key = with(|it| {
            let key = it.spawn(self.owner, self.number(), main, stack);
            it.fibers[key].cancelled |= self.cancelled.get();
            key
        });
        JoinHandle { key, outcome, family: self.clone() }
    }

    fn cancel(self: &Rc<Self>) {
        self.cancelled.set(true);
        with(|it| {
            let children = it.children(self.owner);
            let children = children.filter(|&child| it.fibers[child].family == self.number());
            it.cancel(children.collect());
        });
    }

    /// Accounts for a fiber that has ended.
    fn ended(&self) {
        self.running.set(self.running.get() - 1);
        if self.awaited.get() && self.running.get() == 0 {
            with(|it| it.ready.push_back(self.owner));
        }
    }

    /// Suspends the owner until all have ended.
    fn wait(&self) {
        self.awaited.set(true);
        while self.running.get() > 0 {
            suspend();
        }
        self.awaited.set(false);
    }
}

/// Calls `body`, then waits for the fibers of a family. If `body` panics, cancels them first.
fn outlive<T>(body: impl FnOnce() -> T, family: impl FnOnce() -> Option<Rc<Family>>) -> T {
    let outcome = panic::catch_unwind(AssertUnwindSafe(body));
    let mut panicked = false;
    if let Some(family) = family() {
        let unwinding = Abort("a parent stopped waiting for fibers that borrow from its stack");
        if outcome.is_err() {
            family.cancel();
        }
        family.wait();
        mem::forget(unwinding);
        panicked = family.panicked.get() > 0;
    }
    match outcome {
        Err(panic) => panic::resume_unwind(panic),
        Ok(_) if panicked => panic!("a child fiber panicked"),
        Ok(value) => value,
    }
}

type Outcome<T> = OnceCell<thread::Result<T>>;

/// A handle to join or to cancel a fiber.
///
/// You can drop or forget the handle: the fiber continues, and its parent still waits for it.
pub struct JoinHandle<T> {
    key: Key,
    /// Empty until the fiber has ended. Then its number can be another fiber's.
    outcome: Rc<Outcome<T>>,
    family: Rc<Family>,
}

impl<T> JoinHandle<T> {
    /// Waits until the fiber has ended. Returns its result, or the payload of its panic.
    ///
    /// A cancellation of the caller does not end the wait. If the fiber is below the caller in the tree, it
    /// is cancelled as well, and can end early.
    pub fn join(self) -> thread::Result<T> {
        while !self.is_finished() {
            suspend_after(|it| it.fibers[self.key].joiner = Some(it.running));
        }
        let outcome = Rc::into_inner(self.outcome).and_then(OnceCell::into_inner);
        let outcome = outcome.expect("a finished fiber has set it, and the handle is the only one");
        if outcome.is_err() {
            self.family.panicked.set(self.family.panicked.get() - 1);
        }
        outcome
    }

    /// Returns whether the fiber has ended.
    pub fn is_finished(&self) -> bool {
        self.outcome.get().is_some()
    }

    /// Cancels the fiber and all fibers below it.
    ///
    /// The operation that each of them waits for fails early, with an [error](is_cancellation). All
    /// their later operations that could wait fail as well. They can still clean up, and end.
    pub fn cancel(&self) {
        if !self.is_finished() {
            with(|it| it.cancel(vec![self.key]));
        }
    }
}

/// Returns whether the running fiber was cancelled.
pub fn is_cancelled() -> bool {
    with(|it| it.running().cancelled)
}

/// Returns whether this is the error of an operation that a cancellation has ended.
pub fn is_cancellation(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::CANCELED.raw_os_error())
}

/// Runs the other fibers that are ready.
#[inline]
pub fn yield_now() {
    suspend_after(|it| it.ready.push_back(it.running));
}

/// Suspends the fiber for this long.
///
/// # Errors
///
/// If the fiber is cancelled.
pub fn sleep(duration: Duration) -> io::Result<()> {
    let time = Timespec::from(duration);
    // SAFETY: `time` is on this stack.
    match unsafe { operate(opcode::Timeout::new(&time).build()) } {
        Ok(_) | Err(Errno::TIME) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Returns how many fibers the thread has spawned so far, and how many stacks it has mapped for them.
pub fn statistics() -> (usize, usize) {
    with(|it| (it.spawned, it.stacks.mapped))
}
