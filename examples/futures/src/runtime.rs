//! How a program runs: a tokio runtime of one thread, and a ring in its reactor.

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

/// Runs a program on this thread, with whatever it [spawns](spawn).
///
/// When the program is done, its tasks are dropped. What they have in flight is cancelled and waited
/// for.
///
/// # Panics
///
/// If there can be no ring, or no runtime: inside of a tokio runtime, for example.
pub fn start<F: Future>(program: F) -> F::Output {
    try_start(program).expect("a ring in tokio's reactor")
}

/// Runs a program like [`start`], but returns an error where no ring is to be had.
///
/// # Errors
///
/// The kernel's, if it refuses the ring. The same later, if the ring fails while the program runs.
///
/// # Panics
///
/// Inside of a tokio runtime.
pub fn try_start<F: Future>(program: F) -> io::Result<F::Output> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let ring = Shutdown({
        let _reactor = runtime.enter();
        Ring::new()?
    });
    let _current = Current::enter(ring.0.clone());
    // It goes first, also in a panic: futures of its tasks are dropped while there is a ring.
    let tasks = LocalSet::new();
    tasks.block_on(&runtime, async {
        // As a task of its own, it has its turn behind all that are ready.
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

/// Starts a task on this thread, beside the program. The task ends with the program.
///
/// # Panics
///
/// Outside of a program that [`start`] runs.
pub fn spawn<F: Future + 'static>(task: F) -> JoinHandle<F::Output> {
    task::spawn_local(task)
}

impl Ring {
    /// The ring of the program that runs on this thread.
    ///
    /// # Panics
    ///
    /// If none runs.
    pub(crate) fn current() -> Self {
        CURRENT.with_borrow(|ring| ring.clone().expect("a program that `start` runs"))
    }
}

/// Makes a ring the current one. Puts back the previous one when it is dropped.
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
