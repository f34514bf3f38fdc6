//! Fibers, in scopes: a parent outlives its children, and so do the things that they borrow.

use std::cell::{Cell, OnceCell};
use std::io;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::rc::{Rc, Weak};
use std::thread;
use std::time::Duration;

use rustix_uring::types::Timespec;
use rustix_uring::{Errno, opcode};

use crate::scheduler::{self, Key, operate, suspend, with};

/// Runs `root` as a fiber of this thread, and returns its result when it has ended, and with it
/// all others.
///
/// # Errors
///
/// If there can be no ring, or no stack.
///
/// # Panics
///
/// If `root` does, or is run by a fiber itself. (So do all functions here outside of `run`.)
pub fn run<T>(root: impl FnOnce() -> T) -> io::Result<T> {
    let mut outcome = None;
    scheduler::run(|| outcome = Some(panic::catch_unwind(AssertUnwindSafe(root))))?;
    match outcome.expect("the fiber has run") {
        Ok(value) => Ok(value),
        Err(panic) => panic::resume_unwind(panic),
    }
}

/// A scope for fibers, which borrow what lives longer than it: [`std::thread::scope`] for fibers.
///
/// Returns when `body` and all fibers of the scope have ended. If `body` panics, they are cancelled.
///
/// # Panics
///
/// If `body` does; or if a fiber did, and nobody has [joined](JoinHandle::join) it.
pub fn scope<'env, T>(body: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T) -> T {
    let scope = Scope {
        count: Count {
            owner: with(|it| it.running),
            running: Cell::new(0),
            panicked: Cell::new(0),
            cancelled: Cell::new(false),
            awaited: Cell::new(false),
        },
        scope: PhantomData,
        env: PhantomData,
    };
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| body(&scope)));
    if outcome.is_err() {
        scope.cancel();
    }
    // From here on, nothing unwinds: the fibers borrow what lies on this stack.
    scope.count.awaited.set(true);
    while scope.count.running.get() > 0 {
        suspend();
    }
    match outcome {
        Err(panic) => panic::resume_unwind(panic),
        Ok(_) if scope.count.panicked.get() > 0 => panic!("a fiber of the scope panicked"),
        Ok(value) => value,
    }
}

/// Where fibers are spawned.
pub struct Scope<'scope, 'env: 'scope> {
    count: Count,
    // Neither can be another: a longer one would outlive what is borrowed.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

struct Count {
    /// The fiber that has opened the scope.
    owner: Key,
    running: Cell<usize>,
    /// How many have panicked, and were not joined.
    panicked: Cell<usize>,
    cancelled: Cell<bool>,
    /// The owner waits for the last to end.
    awaited: Cell<bool>,
}

impl Count {
    /// Tells this scope's fibers from those of others.
    fn number(&self) -> usize {
        ptr::from_ref(self).addr()
    }
}

impl<'scope> Scope<'scope, '_> {
    /// A new fiber, which runs when others let it. It is cancelled already if the scope is.
    ///
    /// # Panics
    ///
    /// If there is no memory for a stack; see [`try_spawn`](Self::try_spawn).
    pub fn spawn<T: 'scope>(
        &'scope self,
        body: impl FnOnce() -> T + 'scope,
    ) -> JoinHandle<'scope, T> {
        self.try_spawn(body).expect("cannot map a stack")
    }

    /// A new fiber, if there is memory for its stack.
    pub fn try_spawn<T: 'scope>(
        &'scope self,
        body: impl FnOnce() -> T + 'scope,
    ) -> io::Result<JoinHandle<'scope, T>> {
        let count = &self.count;
        let outcome = Rc::new(OnceCell::new());
        let weak = Rc::downgrade(&outcome);
        // SAFETY: all that `main` borrows lives longer than 'scope. `scope` does not end, nor does
        // it unwind, before `running` is zero, which is the last thing that `main` sees to.
        let key = unsafe {
            scheduler::spawn(Some(count.owner), count.number(), move || {
                main(body, weak, count);
                count.running.set(count.running.get() - 1);
                if count.awaited.get() && count.running.get() == 0 {
                    with(|it| it.ready.push_back(count.owner));
                }
            })
        }?;
        count.running.set(count.running.get() + 1);
        if count.cancelled.get() {
            with(|it| it.cancel(vec![key]));
        }
        Ok(JoinHandle { key, outcome, count })
    }

    /// Cancels the scope's fibers, and what is yet to be spawned in it. See [`JoinHandle::cancel`].
    pub fn cancel(&self) {
        self.count.cancelled.set(true);
        with(|it| it.cancel_scope(self.count.owner, self.count.number()));
    }
}

/// A fiber's life: `body`, and what becomes of its result. Dropping the result, if there is nobody to
/// take it, belongs to it.
fn main<T>(body: impl FnOnce() -> T, outcome: Weak<OnceCell<thread::Result<T>>>, count: &Count) {
    let unwound = panic::catch_unwind(AssertUnwindSafe(|| {
        let value = body();
        if let Some(outcome) = outcome.upgrade() {
            let _ = outcome.set(Ok(value));
        }
    }));
    if let Err(panic) = unwound {
        count.panicked.set(count.panicked.get() + 1);
        if let Some(outcome) = outcome.upgrade() {
            let _ = outcome.set(Err(panic));
        }
    }
}

/// A fiber, to those who want to join or to cancel it. Without it, the scope waits all the same.
pub struct JoinHandle<'scope, T> {
    key: Key,
    /// Empty until the fiber has ended, when its number may be another's.
    outcome: Rc<OnceCell<thread::Result<T>>>,
    count: &'scope Count,
}

impl<T> JoinHandle<'_, T> {
    /// Waits until the fiber has ended, for its result, or for what it has panicked with.
    ///
    /// A cancellation does not end this early: it ends the fiber that is waited for, if that is
    /// below the cancelled one as well.
    pub fn join(self) -> thread::Result<T> {
        while !self.is_finished() {
            with(|it| it.fibers[self.key].joiner = Some(it.running));
            suspend();
        }
        let outcome = Rc::into_inner(self.outcome).and_then(OnceCell::into_inner);
        let outcome = outcome.expect("it is finished, and nobody else can join it");
        if outcome.is_err() {
            self.count.panicked.set(self.count.panicked.get() - 1);
        }
        outcome
    }

    /// Returns whether the fiber has ended.
    pub fn is_finished(&self) -> bool {
        self.outcome.get().is_some()
    }

    /// Cancels the fiber, and all below it.
    ///
    /// The operations that they wait for end early, with an [error](is_cancellation), and so do all
    /// that they ask for from now on. Everything else is theirs: they clean up, and end.
    pub fn cancel(&self) {
        if !self.is_finished() {
            with(|it| it.cancel(vec![self.key]));
        }
    }
}

/// Whether this fiber was cancelled.
pub fn is_cancelled() -> bool {
    with(|it| it.running().cancelled)
}

/// Whether this error is of an operation that was ended by a cancellation.
pub fn is_cancellation(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::CANCELED.raw_os_error())
}

/// Lets the others run that are ready.
pub fn yield_now() {
    with(|it| it.ready.push_back(it.running));
    suspend();
}

/// Lets others run for this long.
///
/// # Errors
///
/// If it is cancelled.
pub fn sleep(duration: Duration) -> io::Result<()> {
    let time = Timespec::from(duration);
    // SAFETY: `time` is on this stack.
    match unsafe { operate(opcode::Timeout::new(&time).build()) } {
        Ok(_) | Err(Errno::TIME) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// How many fibers there were so far, and how many stacks they needed.
pub fn statistics() -> (usize, usize) {
    with(|it| (it.spawned, it.stacks.mapped))
}
