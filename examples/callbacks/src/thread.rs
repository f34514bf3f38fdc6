//! A ring on a thread of its own, which shares its parent's worker threads.

use std::io;
use std::os::unix::net::UnixStream;
use std::panic;
use std::thread::{self, JoinHandle};

use rustix_uring::Errno;
use rustix_uring::types::PollFlags;

use crate::op::OpResult;
use crate::owned::{File, Mailbox};
use crate::ring::{Context, Ring, RingError, RunCondition, Task};

/// A thread that runs a ring until it is killed, until a callback [stops](Ring::stop) it, or until a
/// callback fails.
///
/// To drop it is to kill it, and to wait for its end. A forgotten one runs on.
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
    /// The thread's ring polls the other end of it, which is ready when this one is closed.
    life: Option<UnixStream>,
    running: Option<JoinHandle<Result<(), RingError>>>,
}

impl Thread {
    /// Starts a thread with a ring of this many tasks. The thread calls `start` once, which may start
    /// operations and [listen](Ring::listen) to messages.
    ///
    /// The ring has one task more, which waits for the kill. [`Ring::end`] would end that as well: in
    /// a thread, [stop](Ring::stop) the ring instead.
    ///
    /// # Errors
    ///
    /// Those of setting up a ring, and of starting a thread.
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

    /// Tells the thread to end, and does not wait. The thread cancels what its ring has under way, and
    /// calls nobody back for it.
    pub fn kill(&mut self) {
        self.life = None;
    }

    /// Waits until the thread has ended.
    ///
    /// # Errors
    ///
    /// That of the thread's [`Ring::run`].
    ///
    /// # Panics
    ///
    /// If the thread has panicked, with its panic.
    pub fn join(mut self) -> Result<(), RingError> {
        let running = self.running.take().expect("only join and drop take it");
        running.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.kill();
        if let Some(running) = self.running.take() {
            // Nobody is there to be told of errors and panics.
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
        // Somebody has canceled everything, and did not mean this. Our task is free by now.
        OpResult::Poll(Err(Errno::CANCELED), life) => return wait_for_the_kill(ring, life),
        OpResult::Poll(Err(errno), _) => return Err(errno.into()),
        _ => ring.stop(),
    }
    Ok(())
}

fn errno(error: io::Error) -> RingError {
    Errno::from_io_error(&error).map_or_else(|| RingError::callback(error), RingError::Errno)
}
