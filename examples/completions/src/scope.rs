//! Scopes: a scope returns only after all operations that it has started have ended.
//!
//! You can forget a completion, and then its destructor does not run. Therefore completions cannot keep
//! buffers borrowed until the kernel has finished. A function call can, because no code of its caller runs
//! before it returns. [`Ring::scope`] is such a call, as [`std::thread::scope`] is for threads. What an
//! operation borrows exists before the scope begins, and stays borrowed until the scope has ended, even
//! if you drop or forget the completion.
//!
//! An async scope is not possible. You can forget a future between two polls, and then the code after its
//! `await` never runs. Run the executor inside of a scope instead.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};

use rustix_uring::squeue::Flags;

use crate::executor::{self, Gate, block_on};
use crate::operation::{Operation, Outcome};
use crate::ring::{Count, Ring};

/// Starts operations. You can share it with threads that end before the scope does.
pub struct Scope<'scope, 'env: 'scope> {
    ring: &'env Ring,
    in_flight: Arc<Count>,
    /// Makes both lifetimes invariant, so the compiler cannot shorten them.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

impl Ring {
    /// Runs `f`, then waits until every operation of the scope has ended. If `f` panics, cancels the
    /// operations first.
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
    /// Starts an operation. The ring submits it when a thread or a task waits for any operation.
    ///
    /// If the ring is full, blocks until another operation has ended.
    pub fn start<T>(&'scope self, operation: Operation<'scope, T>) -> Completion<'scope, T> {
        // SAFETY: the scope counts this operation, and `Ring::scope` waits for it before 'scope ends.
        let kept = unsafe { operation.outcome.clone().keep() };
        let first = self.ring.start(&self.in_flight, [(operation.entry, kept)].into_iter());
        self.completion(first, operation.outcome)
    }

    /// Starts two operations. The kernel starts the second when the first has ended. If the first fails or
    /// is short, the second fails with ECANCELED.
    pub fn link<T, U>(
        &'scope self,
        first: Operation<'scope, T>,
        second: Operation<'scope, U>,
    ) -> (Completion<'scope, T>, Completion<'scope, U>) {
        // SAFETY: the scope counts both operations, and `Ring::scope` waits for them before 'scope ends.
        let kept = unsafe { [first.outcome.clone().keep(), second.outcome.clone().keep()] };
        let entries = [first.entry.flags(Flags::IO_LINK), second.entry].into_iter();
        let number = self.ring.start(&self.in_flight, entries.zip(kept));
        (
            self.completion(number, first.outcome),
            self.completion(number.map(|number| number + 1), second.outcome),
        )
    }

    /// Starts operations that each wait for the previous one, like [`link`](Self::link). If there are more
    /// of them than the ring was created for, all fail with EINVAL.
    pub fn chain<T>(
        &'scope self,
        operations: impl IntoIterator<Item = Operation<'scope, T>>,
    ) -> Vec<Completion<'scope, T>> {
        let mut operations: Vec<_> = operations.into_iter().collect();
        if let Some((_, others)) = operations.split_last_mut() {
            others.iter_mut().for_each(|it| it.entry = it.entry.flags(Flags::IO_LINK));
        }
        // SAFETY: the scope counts the operations, and `Ring::scope` waits for them before 'scope ends.
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

    /// Runs tasks on this thread until all have finished, like [`run_all`](crate::run_all). On the thread
    /// that runs the scope, this is faster: the thread enters the kernel itself when no task is ready.
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
                next.recv().expect("`run_with` keeps a sender")
            })
        });
    }

    /// Blocks until a future has finished, like [`block_on`]. On the thread that runs the scope, this
    /// is faster.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut output = None;
        self.run_all([async { output = Some(future.await) }]);
        output.expect("`run_all` returns after the task has finished")
    }
}

/// A handle to an operation that was started. [Wait](Self::wait) for it, or `await` it, to get the result.
///
/// If you drop the handle, the operation continues, as a thread does.
#[must_use = "a completion has the result of the operation"]
pub struct Completion<'scope, T> {
    ring: &'scope Ring,
    /// The thread that runs the scope.
    owner: ThreadId,
    /// `None` if the ring has refused the operation.
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

    /// Asks the kernel to cancel the operation. If the kernel still can, the operation fails with
    /// ECANCELED. The scope waits for the operation in either case.
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
