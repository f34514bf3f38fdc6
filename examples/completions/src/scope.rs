//! Scopes: what they start has ended when they have.
//!
//! A completion can be forgotten, and its destructor does not run then. A function cannot be kept from
//! coming to its end before it returns. So it is not completions that keep buffers borrowed until the
//! kernel is done, but [`Ring::scope`], as [`std::thread::scope`] does it for threads: what operations
//! borrow is there before the scope begins, and is borrowed until it has ended, whatever becomes of
//! their completions.
//!
//! The same goes for async code. A future can be forgotten half way, and then nothing behind its next
//! `await` is ever run: there cannot be an async scope. It is the executor that runs inside of one.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};

use rustix_uring::squeue::Flags;

use crate::executor::{self, Gate, block_on};
use crate::operation::{Operation, Outcome};
use crate::ring::{Count, Ring};

/// Where operations are started. It can be shared with threads, which end inside of it.
pub struct Scope<'scope, 'env: 'scope> {
    ring: &'env Ring,
    in_flight: Arc<Count>,
    /// Invariant: neither lifetime can be taken for a shorter one.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl Ring {
    /// Runs `f`, and then waits until every operation that it has started has ended. If it panics,
    /// they are cancelled before that.
    pub fn scope<'env, F, T>(&'env self, f: F) -> T
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
    {
        let in_flight = Arc::new(Count::new());
        let mut end = End { ring: self, in_flight: in_flight.clone(), cancel: true };
        let scope = Scope { ring: self, in_flight, scope: PhantomData, env: PhantomData };
        let returned = f(&scope);
        end.cancel = false;
        returned
    }
}

struct End<'env> {
    ring: &'env Ring,
    in_flight: Arc<Count>,
    cancel: bool,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.ring.end(&self.in_flight, self.cancel);
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Starts an operation. It is submitted when somebody waits, for this one or another.
    ///
    /// Waits while the ring has as many operations in flight as it has room for.
    pub fn start<T>(&'scope self, operation: Operation<'scope, T>) -> Completion<'scope, T> {
        // SAFETY: it is among the operations of the scope, which waits for all of them before 'scope
        // ends.
        let kept = unsafe { operation.outcome.clone().keep() };
        let first = self.ring.start(&self.in_flight, [(operation.entry, kept)].into_iter());
        self.completion(first, operation.outcome)
    }

    /// Starts two operations, the second when the first has ended. Unless that did all that it was to
    /// do, the second fails with ECANCELED.
    pub fn link<T, U>(
        &'scope self,
        first: Operation<'scope, T>,
        second: Operation<'scope, U>,
    ) -> (Completion<'scope, T>, Completion<'scope, U>) {
        // SAFETY: as in `start`.
        let kept = unsafe { [first.outcome.clone().keep(), second.outcome.clone().keep()] };
        let entries = [first.entry.flags(Flags::IO_LINK), second.entry].into_iter();
        let number = self.ring.start(&self.in_flight, entries.zip(kept));
        (
            self.completion(number, first.outcome),
            self.completion(number.map(|number| number + 1), second.outcome),
        )
    }

    /// Starts operations that each wait for the one before, as with [`link`](Self::link). If they are
    /// more than the ring has room for, all fail with EINVAL.
    pub fn chain<T>(
        &'scope self,
        operations: impl IntoIterator<Item = Operation<'scope, T>>,
    ) -> Vec<Completion<'scope, T>> {
        let mut operations: Vec<_> = operations.into_iter().collect();
        if let Some((_, others)) = operations.split_last_mut() {
            others.iter_mut().for_each(|it| it.entry = it.entry.flags(Flags::IO_LINK));
        }
        // SAFETY: as in `start`.
        let kept = |it: &Operation<'scope, T>| unsafe { (it.entry, it.outcome.clone().keep()) };
        let first = self.ring.start(&self.in_flight, operations.iter().map(kept));
        let completion = |(number, operation): (u64, Operation<'scope, T>)| {
            self.completion(first.map(|first| first + number), operation.outcome)
        };
        (0..).zip(operations).map(completion).collect()
    }

    fn completion<T>(
        &'scope self,
        number: Option<u64>,
        outcome: Arc<dyn Outcome<T> + 'scope>,
    ) -> Completion<'scope, T> {
        Completion { ring: self.ring, owner: self.in_flight.owner, number, outcome }
    }

    /// Runs tasks on this thread until all are done, as [`run_all`](crate::run_all) does. On the thread
    /// that runs the scope it is faster: that one enters the kernel itself whenever no task is ready.
    pub fn run_all<F: Future<Output = ()>>(&self, tasks: impl IntoIterator<Item = F>) {
        if thread::current().id() != self.in_flight.owner {
            return executor::run_all(tasks);
        }
        let _attended = self.ring.attended();
        executor::run_with(tasks, Some(self.ring.shared()), |next| {
            let mut number = None;
            self.ring.attend(|| {
                number = number.or_else(|| next.try_recv().ok());
                number.is_some()
            });
            number.unwrap_or_else(|| {
                self.ring.call();
                next.recv().expect("we have a sender ourselves")
            })
        });
    }

    /// Blocks until a future is done, as [`block_on`](crate::block_on) does, and is faster where
    /// [`run_all`](Self::run_all) is.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut output = None;
        self.run_all([async { output = Some(future.await) }]);
        output.expect("it is done")
    }
}

/// What comes of an operation that was started: to [wait](Self::wait) for, or to `await`.
///
/// The operation goes on if it is dropped, as a thread does without its handle.
#[must_use = "it says what came of the operation"]
pub struct Completion<'scope, T> {
    ring: &'scope Ring,
    /// The thread that runs the scope.
    owner: ThreadId,
    /// `None` if it was refused.
    number: Option<u64>,
    outcome: Arc<dyn Outcome<T> + 'scope>,
}

impl<T> Completion<'_, T> {
    /// Blocks until the operation has ended.
    pub fn wait(self) -> T {
        if thread::current().id() != self.owner {
            return block_on(self);
        }
        let gate = Arc::new(Gate::default());
        let waker = gate.clone().into();
        loop {
            if let Poll::Ready(output) = self.outcome.poll(&mut Context::from_waker(&waker)) {
                return output;
            }
            if !self.ring.attend(|| gate.is_open()) {
                self.ring.call();
                gate.pass();
            }
        }
    }

    /// Asks the kernel to end the operation early: with ECANCELED, if it still can. Either way it has
    /// to be waited for.
    pub fn cancel(&self) {
        if let Some(number) = self.number {
            self.ring.cancel(number);
        }
    }
}

impl<T> Future for Completion<'_, T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let polled = self.outcome.poll(cx);
        if polled.is_pending() {
            self.ring.submit();
        }
        polled
    }
}
