//! The loop: tasks go to the kernel, completions come back, callbacks are called.

use std::error::Error;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix_uring::squeue::Entry;
use rustix_uring::{Builder, Errno, Handle, IoUring, cqueue};

use crate::op::{Op, OpResult};
use crate::owned::{Mailbox, Message};
use crate::pool::{Pool, TaskId};

/// The function that is called when an operation is over. It may start others. An error ends
/// [`Ring::run`].
pub type Callback<U, H = OwnedFd> = fn(&mut Ring<U, H>, Task<U>) -> Result<(), RingError>;

/// The function that is called for each message. What it leaves in `U` is there the next time. An
/// error ends [`Ring::run`].
pub type MessageCallback<U, H = OwnedFd> =
    fn(&mut Ring<U, H>, &mut U, Message) -> Result<(), RingError>;

/// Which function to call, and what to give it.
pub struct Context<U = (), H: Handle = OwnedFd> {
    /// The function.
    pub cb: Callback<U, H>,
    /// A small number, for example the state of a state machine.
    pub msg: u16,
    /// Whatever else the callback needs, usually a pointer.
    pub userdata: U,
}

impl<U: Default, H: Handle> Default for Context<U, H> {
    /// A callback that does nothing.
    fn default() -> Self {
        Self { cb: |_, _| Ok(()), msg: 0, userdata: U::default() }
    }
}

/// A task that is over, as its callback gets it.
#[derive(Debug)]
pub struct Task<U = ()> {
    /// What came of the operation, and what it owned.
    pub result: OpResult,
    /// From its [`Context`].
    pub msg: u16,
    /// From its [`Context`].
    pub userdata: U,
}

/// An operation that was not started because all tasks are busy.
pub struct Refused<U, H: Handle> {
    /// The operation, with all that it owns.
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
    /// The kernel refused something, or a callback passed on the error of an operation.
    Errno(Errno),
    /// All tasks were busy: a callback passed on a [`Refused`].
    Full,
    /// A callback failed.
    Callback(Box<dyn Error + Send + Sync>),
}

impl RingError {
    /// Makes the error of a callback that fails.
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

/// How long the end of a ring may take.
const END: Duration = Duration::from_secs(60);

/// How long [`Ring::run`] runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunCondition {
    /// Until something has completed, and what has completed by then was called back.
    Once,
    /// Until no task is busy.
    UntilDone,
    /// Until a callback [stops](Ring::stop) it.
    UntilStopped,
}

/// A ring, its tasks, and their callbacks: an event loop for one thread.
///
/// `U` is the type of [`Context::userdata`]. `H` is what holds the ring open: a descriptor, or a mock
/// kernel in tests.
pub struct Ring<U = (), H: Handle = OwnedFd> {
    uring: IoUring<Entry, cqueue::Entry, H>,
    pool: Pool<U, H>,
    listener: Option<(MessageCallback<U, H>, U)>,
    stopped: bool,
}

/// The most slots of the submission queue. If there are more tasks, they wait their turn.
const MOST_SLOTS: u32 = 256;

/// The queues for so many tasks: how many slots, and a completion queue that has room for all tasks
/// and for some messages.
fn build(builder: &mut Builder, tasks: u32) -> Result<IoUring, Errno> {
    let slots = tasks.clamp(1, MOST_SLOTS);
    builder.setup_cqsize(tasks.max(slots).saturating_mul(2)).build(slots)
}

impl<U> Ring<U> {
    /// Sets up a ring with this many tasks.
    ///
    /// # Errors
    ///
    /// Those of setting up a ring, for example ENOSYS or EPERM where io_uring is not available.
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

    /// Sets up the queues of a ring that has the same worker threads as this one.
    pub(crate) fn build_sharing(&self, tasks: u32) -> Result<IoUring, Errno> {
        let mut builder = IoUring::builder();
        // SAFETY: we have the ring, so its descriptor stays open during the call.
        unsafe { builder.setup_attach_wq(self.uring.as_fd().as_raw_fd()) };
        build(&mut builder, tasks)
    }
}

impl<U, H: Handle> Ring<U, H> {
    /// The ring must be new: the pool trusts what completes on it.
    pub(crate) fn on(uring: IoUring<Entry, cqueue::Entry, H>, tasks: u32) -> Self {
        Self { uring, pool: Pool::new(tasks), listener: None, stopped: false }
    }

    /// Queues an operation. The callback is called when it is over.
    ///
    /// The kernel gets it when the ring runs.
    ///
    /// # Errors
    ///
    /// If all tasks are busy, you get the operation and the context back.
    #[allow(clippy::result_large_err, reason = "what is given back is what was given")]
    #[inline]
    pub fn start(&mut self, op: Op, context: Context<U, H>) -> Result<TaskId, Refused<U, H>> {
        self.pool.queue(op, context)
    }

    /// Calls this function for each message from now on.
    pub fn listen(&mut self, callback: MessageCallback<U, H>, userdata: U) {
        self.listener = Some((callback, userdata));
    }

    /// Ends [`run`](Self::run), after the callbacks of what has completed by now.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Returns how many operations are not over.
    pub fn busy(&self) -> usize {
        self.pool.busy()
    }

    /// Submits, waits, and calls back.
    ///
    /// # Errors
    ///
    /// The first error of a callback, or that of the kernel. After the error of a callback, you can
    /// run the ring again: what had completed by then is called back first.
    pub fn run(&mut self, condition: RunCondition) -> Result<(), RingError> {
        self.stopped = false;
        while !self.stopped && (self.pool.busy() > 0 || condition == RunCondition::UntilStopped) {
            self.push();
            match self.uring.submit_and_wait(1) {
                // What is left in the queue goes with the next call, when there is room again.
                Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
                Err(errno) => return Err(errno.into()),
            }
            let mut any = false;
            // One by one: a callback has the whole ring, and it may fail or panic.
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

    /// Moves tasks from the pool's queue to the ring's, as long as there is room.
    fn push(&mut self) {
        let mut queue = self.uring.submission();
        while !queue.is_full() {
            let Some(entry) = self.pool.start() else { break };
            // SAFETY: the task owns what the entry points to, and leaves it alone until `finish` gets
            // the completion. The pool outlives that: see `drop`.
            unsafe { queue.push(entry) }.expect("it is not full");
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
        // SAFETY: this ring gets no other entries than the pool's, and each completes once.
        let task = unsafe { self.pool.finish(task, cqe) };
        cb(self, task)
    }

    fn receive(&mut self, message: Message) -> Result<(), RingError> {
        let Some((callback, mut userdata)) = self.listener.take() else { return Ok(()) };
        let result = callback(self, &mut userdata, message);
        // Unless the callback has called `listen`.
        self.listener.get_or_insert((callback, userdata));
        result
    }

    /// Ends all operations without calling anybody. Cancels what is under way, and waits for what
    /// cannot be canceled.
    ///
    /// # Errors
    ///
    /// ETIME if something is still under way after a minute, and the kernel's errors. What is still
    /// under way keeps its task.
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
                // SAFETY: as in `complete`.
                let over = task.map(|task| drop(unsafe { pool.finish(task, &cqe) }));
                over.is_some()
            })
            .map_err(|error| RingError::Errno(error.errno()))
    }
}

impl<U, H: Handle> Drop for Ring<U, H> {
    /// Ends all operations, also after a panic. A forgotten ring does not get here, and its tasks stay
    /// where they are.
    fn drop(&mut self) {
        // Where this fails, the pool keeps what the kernel has: see its `drop`.
        let _ = self.end();
    }
}
