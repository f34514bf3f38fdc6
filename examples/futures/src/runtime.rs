//! Runs programs: a single-threaded tokio runtime, with a ring in its reactor.

use std::cell::RefCell;
use std::io;
use std::panic;

use tokio::runtime::Builder;
use tokio::task::{self, JoinHandle, LocalSet};

use crate::ring::{Ring, Shutdown};

thread_local! {
    /// The ring of the program that runs on this thread.
    static CURRENT: RefCell<Option<Ring>> = const { RefCell::new(None) };
}

/// Runs a program on this thread, with all tasks that it [spawns](spawn).
///
/// When the program has finished, this drops its tasks, cancels the operations that are in flight, and waits
/// for them.
///
/// # Panics
///
/// If the kernel refuses the ring, if the ring fails while the program runs, or if called inside of a tokio
/// runtime.
pub fn start<F: Future>(program: F) -> F::Output {
    try_start(program).expect("a ring in tokio's reactor")
}

/// Runs a program like [`start`], but returns the errors of the ring.
///
/// # Errors
///
/// The error of the kernel, if it refuses the ring, or if the ring fails while the program runs.
///
/// # Panics
///
/// If called inside of a tokio runtime.
pub fn try_start<F: Future>(program: F) -> io::Result<F::Output> {
    let wait_ended = || CURRENT.with_borrow(|ring| ring.iter().for_each(Ring::wait_ended));
    let runtime =
        Builder::new_current_thread().enable_all().on_thread_unpark(wait_ended).build()?;
    let ring = Shutdown({
        let _reactor = runtime.enter();
        Ring::new()?
    });
    let _current = Current::enter(ring.0.clone());
    // Dropped before the ring, even during a panic: the futures of its tasks need the ring.
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        // `drive` is a task, so it runs after all tasks that are ready.
        let drives = ring.0.clone();
        let driving = spawn(async move { drives.drive().await });
        tokio::select! {
            biased;
            output = program => Ok(output),
            failed = driving => match failed {
                Ok(error) => Err(error),
                Err(panicked) => panic::resume_unwind(panicked.into_panic()),
            },
        }
    })
}

/// Starts another task of the program, on this thread. The task ends with the program.
///
/// # Panics
///
/// If called outside of a program that [`start`] runs.
pub fn spawn<F: Future + 'static>(task: F) -> JoinHandle<F::Output> {
    task::spawn_local(task)
}

impl Ring {
    /// Returns the ring of the program that runs on this thread.
    ///
    /// # Panics
    ///
    /// If no program runs on this thread.
    pub(crate) fn current() -> Self {
        CURRENT.with_borrow(|ring| ring.clone().expect("a program that `start` runs"))
    }
}

/// Makes a ring the current one of this thread. When dropped, restores the previous one.
struct Current(Option<Ring>);

impl Current {
    fn enter(ring: Ring) -> Self {
        Self(CURRENT.replace(Some(ring)))
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        drop(CURRENT.replace(self.0.take()));
    }
}
