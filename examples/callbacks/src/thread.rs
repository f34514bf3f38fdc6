//! A ring on its own thread, which shares the kernel's worker threads with its parent ring.

use std::io;
use std::os::unix::net::UnixStream;
use std::panic;
use std::thread::{self, JoinHandle};

use rustix_uring::Errno;
use rustix_uring::types::PollFlags;

use crate::op::OpResult;
use crate::owned::{File, Mailbox};
use crate::ring::{Context, Ring, RingError, RunCondition, Task};

/// A thread that runs a ring until you [kill](Self::kill) it, until a callback [stops](Ring::stop) the
/// ring, or until a callback fails.
///
/// If you drop this value, it kills the thread and waits until it has ended. If you forget it, the thread
/// continues to run.
///
/// ```
/// use callbacks::{Context, Message, Ring, RingError, RunCondition, Thread};
///
/// fn on_message(ring: &mut Ring, _: &mut (), message: Message) -> Result<(), RingError> {
///     assert_eq!(message, Message { subject: 1, value: 7 });
///     ring.stop();
///     Ok(())
/// }
///
/// let mut ring = <Ring>::init(16)?;
/// let thread = Thread::spawn(&mut ring, 16, |ring| Ok(ring.listen(on_message, ())))?;
/// let message = Message { subject: 1, value: 7 };
/// ring.msg_ring(thread.mailbox().clone(), message, Context::default())?;
/// ring.run(RunCondition::UntilDone)?;
/// thread.join()?; // or: kill, then join
/// # Ok::<(), RingError>(())
/// ```
#[derive(Debug)]
pub struct Thread {
    mailbox: Mailbox,
    /// One end of a pair of sockets. The thread's ring polls the other end, which becomes ready when this
    /// one is closed.
    life: Option<UnixStream>,
    running: Option<JoinHandle<Result<(), RingError>>>,
}

impl Thread {
    /// Starts a thread with a ring of this many tasks. The thread calls `start` once. In `start`, you can
    /// start operations and [listen](Ring::listen) to messages.
    ///
    /// The ring has one more task, which waits for [`kill`](Self::kill). [`Ring::end`] would end that task
    /// too, so [stop](Ring::stop) the ring of a thread instead.
    ///
    /// # Errors
    ///
    /// The errors of `io_uring_setup` and of [`std::thread::Builder::spawn`]. EMFILE or ENFILE if too many
    /// descriptors are open.
    pub fn spawn<P, U: Default + 'static>(
        parent: &mut Ring<P>,
        tasks: u32,
        start: impl FnOnce(&mut Ring<U>) -> Result<(), RingError> + Send + 'static,
    ) -> Result<Self, RingError> {
        let tasks = tasks.saturating_add(1);
        let uring = parent.build_sharing(tasks)?;
        let (life, killer) = UnixStream::pair().map_err(errno)?;
        let mailbox = Mailbox::of(&uring)?;
        let run = move || {
            let mut ring = Ring::on(uring, tasks);
            wait_for_the_kill(&mut ring, life.into())?;
            start(&mut ring)?;
            ring.run(RunCondition::UntilStopped)
        };
        let running = thread::Builder::new().spawn(run).map_err(errno)?;
        Ok(Self { mailbox, life: Some(killer), running: Some(running) })
    }

    /// Returns the address of the thread's ring.
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Tells the thread to end, without waiting for it. The thread cancels the operations that are in
    /// flight on its ring, and does not call their callbacks.
    pub fn kill(&mut self) {
        self.life = None;
    }

    /// Waits until the thread has ended.
    ///
    /// # Errors
    ///
    /// The error of the function that you passed to [`spawn`](Self::spawn), or of the thread's
    /// [`Ring::run`].
    ///
    /// # Panics
    ///
    /// If the thread has panicked, resumes its panic.
    pub fn join(mut self) -> Result<(), RingError> {
        let running = self.running.take().expect("only join and drop take it");
        running.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.kill();
        if let Some(running) = self.running.take() {
            // A drop cannot report the thread's error or panic: `join` does.
            let _ = running.join();
        }
    }
}

fn wait_for_the_kill<U: Default>(ring: &mut Ring<U>, life: File) -> Result<(), RingError> {
    let context = Context { cb: killed, ..Context::default() };
    ring.poll(life, PollFlags::IN, context)?;
    Ok(())
}

fn killed<U: Default>(ring: &mut Ring<U>, task: Task<U>) -> Result<(), RingError> {
    match task.result {
        // A callback has called `cancel_all`, which also canceled this poll. Its task is free again, so
        // starting it once more cannot fail.
        OpResult::Poll(Err(Errno::CANCELED), life) => return wait_for_the_kill(ring, life),
        OpResult::Poll(Err(errno), _) => return Err(errno.into()),
        _ => ring.stop(),
    }
    Ok(())
}

fn errno(error: io::Error) -> RingError {
    Errno::from_io_error(&error).map_or_else(|| RingError::callback(error), RingError::Errno)
}
