//! A small executor for futures.

use std::pin::pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::ring::Shared;

/// A gate: one thread waits until another opens it.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Default)]
struct State {
    open: bool,
    /// Whether a thread waits. Without this, `open` would make a system call even if no thread waits.
    waiting: bool,
}

impl Gate {
    pub(crate) fn open(&self) {
        let mut state = lock(&self.state);
        state.open = true;
        if state.waiting {
            self.opened.notify_one();
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        lock(&self.state).open
    }

    /// Waits until the gate is open, then closes it.
    pub(crate) fn pass(&self) {
        let mut state = lock(&self.state);
        state.waiting = true;
        while !state.open {
            state = self.opened.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        *state = State::default();
    }
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.open();
    }
}

/// Locks a mutex, even if it is poisoned: no code panics while the data under a lock is inconsistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Blocks until a future has finished, and returns its output.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let gate = Arc::new(Gate::default());
    let waker = gate.clone().into();
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => gate.pass(),
        }
    }
}

/// Runs tasks on this thread until all have finished.
pub fn run_all<F: Future<Output = ()>>(tasks: impl IntoIterator<Item = F>) {
    run_with(tasks, None, |next| next.recv().expect("`run_with` keeps a sender"));
}

/// Runs tasks like [`run_all`]. If no task is ready, `wait` returns the number of the next one that is. Each
/// wake of a task also notifies `ring`.
pub(crate) fn run_with<F: Future<Output = ()>>(
    tasks: impl IntoIterator<Item = F>,
    ring: Option<Arc<Shared>>,
    mut wait: impl FnMut(&Receiver<usize>) -> usize,
) {
    let (ready, next) = mpsc::channel();
    let task = |(number, task)| {
        let waker = Arc::new(Task { number, ready: ready.clone(), ring: ring.clone() });
        let _ = ready.send(number);
        Some((Box::pin(task), Waker::from(waker)))
    };
    let mut tasks: Vec<_> = tasks.into_iter().enumerate().map(task).collect();
    let mut left = tasks.len();
    while left > 0 {
        let number: usize = next.try_recv().unwrap_or_else(|_| wait(&next));
        if let Some((task, waker)) = &mut tasks[number] {
            if task.as_mut().poll(&mut Context::from_waker(waker)).is_ready() {
                tasks[number] = None;
                left -= 1;
            }
        }
    }
}

struct Task {
    number: usize,
    ready: Sender<usize>,
    ring: Option<Arc<Shared>>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let _ = self.ready.send(self.number); // fails only after all tasks have finished
        if let Some(ring) = &self.ring {
            ring.task_woken();
        }
    }
}
