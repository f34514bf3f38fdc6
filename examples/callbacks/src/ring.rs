//! The event loop: it submits tasks to the kernel, reaps completions, and calls callbacks.

use std::error::Error;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix_uring::squeue::Entry;
use rustix_uring::{Builder, Errno, Handle, IoUring, cqueue};

use crate::op::{Op, OpResult};
use crate::owned::{Mailbox, Message};
use crate::pool::{Pool, TaskId};

/// The function that the ring calls when an operation has completed. It can start more operations. If
/// it returns an error, [`Ring::run`] ends with that error.
pub type Callback<U, H = OwnedFd> = fn(&mut Ring<U, H>, Task<U>) -> Result<(), RingError>;

/// The function that the ring calls for each message. It gets the same `U` each time, so it can keep
/// state there. If it returns an error, [`Ring::run`] ends with that error.
pub type MessageCallback<U, H = OwnedFd> =
    fn(&mut Ring<U, H>, &mut U, Message) -> Result<(), RingError>;

/// The callback of an operation, and the values to pass to it.
pub struct Context<U = (), H: Handle = OwnedFd> {
    /// The function to call when the operation has completed.
    pub cb: Callback<U, H>,
    /// A small number, for example the state of a state machine.
    pub msg: u16,
    /// A value for the callback, usually a smart pointer.
    pub userdata: U,
}

impl<U: Default, H: Handle> Default for Context<U, H> {
    /// Returns a context whose callback does nothing.
    fn default() -> Self {
        Self { cb: |_, _| Ok(()), msg: 0, userdata: U::default() }
    }
}

/// A completed task, which the ring passes to the callback.
#[derive(Debug)]
pub struct Task<U = ()> {
    /// The result of the operation, and the files and buffers that it owned.
    pub result: OpResult,
    /// The number from the [`Context`].
    pub msg: u16,
    /// The value from the [`Context`].
    pub userdata: U,
}

/// An operation that the ring did not start because all tasks are busy.
pub struct Refused<U, H: Handle> {
    /// The operation, with everything that it owns.
    pub op: Op,
    /// Its context.
    pub context: Context<U, H>,
}

impl<U, H: Handle> fmt::Debug for Refused<U, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("op", &self.op).finish_non_exhaustive()
    }
}

impl<U, H: Handle> fmt::Display for Refused<U, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        RingError::Full.fmt(f)
    }
}

impl<U, H: Handle> Error for Refused<U, H> {}

/// Why a [`Ring`] could not be set up, or why it stopped running.
#[derive(Debug)]
#[non_exhaustive]
pub enum RingError {
    /// A system call failed, or a callback returned the error of an operation.
    Errno(Errno),
    /// All tasks were busy, and a callback returned the [`Refused`] as its error.
    Full,
    /// A callback failed with its own error.
    Callback(Box<dyn Error + Send + Sync>),
}

impl RingError {
    /// Wraps any error of a callback.
    pub fn callback(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Callback(error.into())
    }
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(errno) => errno.fmt(f),
            Self::Full => f.write_str("all tasks are busy"),
            Self::Callback(error) => error.fmt(f),
        }
    }
}

impl Error for RingError {}

impl From<Errno> for RingError {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl<U, H: Handle> From<Refused<U, H>> for RingError {
    fn from(_: Refused<U, H>) -> Self {
        Self::Full
    }
}

/// How long [`Ring::end`] waits for completions.
const END: Duration = Duration::from_secs(60);

/// When [`Ring::run`] returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunCondition {
    /// After at least one completion. The ring first calls the callbacks of everything that has
    /// completed by then.
    Once,
    /// When no task is busy.
    UntilDone,
    /// When a callback [stops](Ring::stop) the ring.
    UntilStopped,
}

/// A ring and its pool of tasks: an event loop for one thread.
///
/// `U` is the type of [`Context::userdata`]. `H` is the handle that keeps the ring open: a descriptor, or
/// a mock kernel in tests.
pub struct Ring<U = (), H: Handle = OwnedFd> {
    uring: IoUring<Entry, cqueue::Entry, H>,
    pool: Pool<U, H>,
    listener: Option<(MessageCallback<U, H>, U)>,
    stopped: bool,
}

/// The maximum number of slots in the submission queue. Further tasks wait in the pool's queue.
const MOST_SLOTS: u32 = 256;

/// Sets up a ring for this many tasks. The completion queue has room for all tasks and for some messages.
fn build(builder: &mut Builder, tasks: u32) -> Result<IoUring, Errno> {
    let slots = tasks.clamp(1, MOST_SLOTS);
    builder.setup_cqsize(tasks.max(slots).saturating_mul(2)).build(slots)
}

impl<U> Ring<U> {
    /// Sets up a ring with this many tasks.
    ///
    /// # Errors
    ///
    /// ENOSYS or EPERM if io_uring is not available, and the other errors of `io_uring_setup`.
    pub fn init(tasks: u32) -> Result<Self, RingError> {
        Ok(Self::on(build(&mut IoUring::builder(), tasks)?, tasks))
    }

    /// Returns the address to which other rings can send messages.
    ///
    /// # Errors
    ///
    /// EMFILE or ENFILE if too many descriptors are open.
    pub fn mailbox(&self) -> Result<Mailbox, RingError> {
        Ok(Mailbox::of(&self.uring)?)
    }

    /// Sets up another ring, which uses the same kernel worker threads as this one.
    pub(crate) fn build_sharing(&self, tasks: u32) -> Result<IoUring, Errno> {
        let mut builder = IoUring::builder();
        // SAFETY: `self` owns the ring, so the descriptor stays open during the call.
        unsafe { builder.setup_attach_wq(self.uring.as_fd().as_raw_fd()) };
        build(&mut builder, tasks)
    }
}

impl<U, H: Handle> Ring<U, H> {
    /// Wraps a ring, which must be new. The pool trusts every completion on it that names a task.
    pub(crate) fn on(uring: IoUring<Entry, cqueue::Entry, H>, tasks: u32) -> Self {
        Self { uring, pool: Pool::new(tasks), listener: None, stopped: false }
    }

    /// Queues an operation. The ring calls the callback when the operation has completed.
    ///
    /// [`run`](Self::run) submits the operation to the kernel.
    ///
    /// # Errors
    ///
    /// If all tasks are busy, you get the operation and the context back.
    #[allow(clippy::result_large_err, reason = "the caller gets the operation back, unboxed")]
    #[inline]
    pub fn start(&mut self, op: Op, context: Context<U, H>) -> Result<TaskId, Refused<U, H>> {
        self.pool.queue(op, context)
    }

    /// Registers the function that the ring calls for each message from now on.
    pub fn listen(&mut self, callback: MessageCallback<U, H>, userdata: U) {
        self.listener = Some((callback, userdata));
    }

    /// Makes [`run`](Self::run) return after it has called the callbacks of everything that has already
    /// completed.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Returns the number of operations that are queued or in flight.
    pub fn busy(&self) -> usize {
        self.pool.busy()
    }

    /// Submits operations, waits for completions, and calls callbacks, until `condition` is met.
    ///
    /// # Errors
    ///
    /// The first error of a callback, or the error of `io_uring_enter`. After the error of a callback, you
    /// can run the ring again. It then calls the callbacks of operations that have already completed.
    pub fn run(&mut self, condition: RunCondition) -> Result<(), RingError> {
        self.stopped = false;
        while !self.stopped && (self.pool.busy() > 0 || condition == RunCondition::UntilStopped) {
            self.push();
            match self.uring.submit_and_wait(1) {
                // Entries that stay in the queue are submitted by the next call.
                Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
                Err(errno) => return Err(errno.into()),
            }
            let mut any = false;
            // Reap one completion at a time: a callback borrows the whole ring, and it may fail or panic.
            while let Some(cqe) = self.reap() {
                any = true;
                self.complete(&cqe)?;
            }
            if any && condition == RunCondition::Once {
                break;
            }
        }
        Ok(())
    }

    /// Moves tasks from the pool's queue to the submission queue, while that has free slots.
    fn push(&mut self) {
        let mut queue = self.uring.submission();
        while !queue.is_full() {
            let Some(entry) = self.pool.start() else { break };
            // SAFETY: the entry points only into its task. The pool does not move or access that memory
            // until `finish` gets the completion, and does not free it before: see `drop`.
            unsafe { queue.push(entry) }.expect("the queue has a free slot");
        }
    }

    #[inline]
    fn reap(&mut self) -> Option<cqueue::Entry> {
        self.uring.completion().next()
    }

    #[inline]
    fn complete(&mut self, cqe: &cqueue::Entry) -> Result<(), RingError> {
        if let Some(message) = Message::of(cqe) {
            return self.receive(message);
        }
        let Some(task) = self.pool.find(cqe) else { return Ok(()) };
        let cb = self.pool.callback(&task);
        // SAFETY: `find` has found the task by this completion. Only the pool's entries are pushed to
        // this ring, and each of them completes once.
        let task = unsafe { self.pool.finish(task, cqe) };
        cb(self, task)
    }

    fn receive(&mut self, message: Message) -> Result<(), RingError> {
        let Some((callback, mut userdata)) = self.listener.take() else { return Ok(()) };
        let result = callback(self, &mut userdata, message);
        // If the callback has called `listen`, the new listener stays.
        self.listener.get_or_insert((callback, userdata));
        result
    }

    /// Ends all operations without calling their callbacks. Cancels the operations that are in flight, and
    /// waits for those that cannot be canceled.
    ///
    /// # Errors
    ///
    /// ETIME if an operation is still in flight after a minute, and the errors of `io_uring_enter`. An
    /// operation that is still in flight keeps its task.
    pub fn end(&mut self) -> Result<(), RingError> {
        while self.pool.drop_next() {}
        if self.pool.in_flight() == 0 {
            return Ok(());
        }
        let user_data = self.pool.user_data();
        let Self { uring, pool, .. } = self;
        uring
            .quiesce_with(&mut pool.in_flight(), END, &user_data, |cqe| {
                let task = pool.find(&cqe);
                // SAFETY: `find` has found the task by this completion, which is the only one of its entry.
                let over = task.map(|task| drop(unsafe { pool.finish(task, &cqe) }));
                over.is_some()
            })
            .map_err(|error| RingError::Errno(error.errno()))
    }
}

impl<U, H: Handle> Drop for Ring<U, H> {
    /// Ends all operations, even during a panic. If you forget the ring, this does not run, and the tasks
    /// stay allocated.
    fn drop(&mut self) {
        // If this fails, the pool leaks the tasks that are in flight: see its `drop`.
        let _ = self.end();
    }
}
