//! The loop: tasks go to the kernel, completions come back, callbacks are called.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix_uring::squeue::Entry;
use rustix_uring::{Builder, Errno, Handle, IoUring, cqueue};

use crate::op::{Mailbox, Message, Op, Outcome};
use crate::pool::{Pool, TaskId, Work};

/// What is called when an operation is over. It may start others.
pub type Callback<U, H> = fn(&mut Loop<U, H>, Done<U>);

/// What is called for each message. What it leaves in the place of `U` is there the next time.
pub type MessageCallback<U, H> = fn(&mut Loop<U, H>, &mut U, Message);

/// Whom to call, and with what.
pub struct Context<U, H: Handle = OwnedFd> {
    /// The function.
    pub callback: Callback<U, H>,
    /// How far whatever this belongs to has come.
    pub state: u16,
    /// Whatever this belongs to: most often a pointer.
    pub user: U,
}

/// An operation that is over.
pub struct Done<U> {
    /// What came of it.
    pub outcome: Outcome,
    /// That of its context.
    pub state: u16,
    /// That of its context.
    pub user: U,
}

/// How long the end may take.
const END: Duration = Duration::from_secs(60);

/// How long to run.
#[derive(Clone, Copy, PartialEq)]
pub enum Until {
    /// Until something is over.
    Once,
    /// Until everything is.
    Done,
    /// Until a callback [stops](Loop::stop) it.
    Stopped,
}

/// A ring, its tasks, and what is to be called.
///
/// `U` is what each task has for its user; `H` is what holds the ring open, a descriptor but in
/// tests.
pub struct Loop<U, H: Handle = OwnedFd> {
    ring: IoUring<Entry, cqueue::Entry, H>,
    pool: Pool<U, H>,
    listener: Option<(MessageCallback<U, H>, U)>,
    stopped: bool,
}

impl<U> Loop<U> {
    /// A loop with so many tasks.
    ///
    /// # Errors
    ///
    /// Those of the ring's setup.
    pub fn new(tasks: u32) -> Result<Self, Errno> {
        Self::build(&mut IoUring::builder(), tasks)
    }

    /// A loop, for another thread as a rule, whose ring has the same worker threads as that of
    /// `other`.
    ///
    /// # Errors
    ///
    /// Those of the ring's setup; EINVAL if the mailbox is not a ring's.
    pub fn sharing_workers(other: &Mailbox, tasks: u32) -> Result<Self, Errno> {
        let mut builder = IoUring::builder();
        // SAFETY: a mailbox keeps the descriptor of its loop's ring open.
        unsafe { builder.setup_attach_wq(other.0.as_raw_fd()) };
        Self::build(&mut builder, tasks)
    }

    fn build(builder: &mut Builder, tasks: u32) -> Result<Self, Errno> {
        let slots = tasks.clamp(1, MOST_SLOTS);
        // As many completions can be there as there are tasks, and some messages.
        let ring = builder.setup_cqsize(tasks.max(slots) * 2).build(slots)?;
        Ok(Self::on(ring, tasks))
    }

    /// Where others can send messages to.
    ///
    /// # Errors
    ///
    /// EMFILE or ENFILE if there are too many descriptors.
    pub fn mailbox(&self) -> Result<Mailbox, Errno> {
        let fd = self.ring.as_fd().try_clone_to_owned();
        let fd = fd.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE))?;
        Ok(Mailbox(Arc::new(fd)))
    }
}

/// Of the submission queue. Tasks beyond that wait their turn.
const MOST_SLOTS: u32 = 256;

impl<U, H: Handle> Loop<U, H> {
    pub(crate) fn on(ring: IoUring<Entry, cqueue::Entry, H>, tasks: u32) -> Self {
        Self { ring, pool: Pool::new(tasks), listener: None, stopped: false }
    }

    /// Has an operation done, and the callback called when it is over.
    ///
    /// The kernel hears of it when the loop runs. If all tasks are busy, operation and context come
    /// back.
    ///
    /// # Errors
    ///
    /// The operation and its context.
    #[allow(clippy::result_large_err, reason = "what is given back is what was given")]
    pub fn start(&mut self, op: Op, context: Context<U, H>) -> Result<TaskId, Work<U, H>> {
        self.pool.queue((op, context))
    }

    /// Has `callback` called for each message from now on.
    pub fn listen(&mut self, callback: MessageCallback<U, H>, user: U) {
        self.listener = Some((callback, user));
    }

    /// Ends a [`run`](Self::run) once what has completed by now has been seen to.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// How many operations are not over.
    pub fn busy(&self) -> usize {
        self.pool.busy()
    }

    /// Submits, waits, and calls back.
    ///
    /// # Errors
    ///
    /// Those of the ring.
    pub fn run(&mut self, until: Until) -> Result<(), Errno> {
        self.stopped = false;
        while !self.stopped && (self.pool.busy() > 0 || until == Until::Stopped) {
            self.push();
            match self.ring.submit_and_wait(1) {
                // What is left in the queue goes with the next call, when there is room again.
                Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
                Err(errno) => return Err(errno),
            }
            let mut any = false;
            // One by one, as a callback gets all of the loop, and may panic.
            while let Some(cqe) = self.reap() {
                any = true;
                self.complete(&cqe);
            }
            if any && until == Until::Once {
                break;
            }
        }
        Ok(())
    }

    /// Moves tasks from the pool's queue to the ring's, as far as there is room.
    fn push(&mut self) {
        let mut queue = self.ring.submission();
        while !queue.is_full() {
            let Some(entry) = self.pool.start() else { break };
            // SAFETY: what the entry points to, its task owns and leaves alone, until `finish` gets
            // its completion. The pool outlives that: see `drop`.
            unsafe { queue.push(&entry) }.expect("it is not full");
        }
    }

    fn reap(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    fn complete(&mut self, cqe: &cqueue::Entry) {
        if let Some(message) = Message::of(cqe) {
            if let Some((callback, mut user)) = self.listener.take() {
                callback(self, &mut user, message);
                self.listener.get_or_insert((callback, user));
            }
            return;
        }
        // SAFETY: this ring gets no other entries than the pool's.
        if let Some((outcome, context)) = unsafe { self.pool.finish(cqe) } {
            let Context { callback, state, user } = context;
            callback(self, Done { outcome, state, user });
        }
    }

    /// Comes to the end of everything, without calling anybody: what is under way is cancelled, and
    /// awaited where it cannot be.
    ///
    /// # Errors
    ///
    /// Those of the ring; ETIMEDOUT after a minute.
    pub fn end(&mut self) -> Result<(), Errno> {
        while self.pool.take_back().is_some() {}
        let user_data = self.pool.user_data();
        let Self { ring, pool, .. } = self;
        ring.quiesce_with(&mut pool.in_flight(), END, &user_data, |cqe| {
            // SAFETY: as in `complete`.
            let finished = unsafe { pool.finish(&cqe) };
            finished.is_some()
        })?;
        Ok(())
    }
}

impl<U, H: Handle> Drop for Loop<U, H> {
    /// Also after a panic. Forgotten loops never come here, and their tasks stay where they are.
    fn drop(&mut self) {
        // Where this fails, the pool keeps what the kernel has: see its `drop`.
        let _ = self.end();
    }
}
