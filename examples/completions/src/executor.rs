//! What runs futures: a few lines.

use std::pin::pin;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::ring::Shared;

/// Something that one thread waits at until another opens it.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    opened: Condvar,
}

#[derive(Default)]
struct State {
    open: bool,
    /// Somebody waits. To wake nobody would be a system call as well.
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

    /// Waits until it is open, and closes it behind.
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

/// Nothing panics while it holds one of our locks, half way through something.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Blocks until a future is done.
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

/// Runs tasks on this thread until all are done.
pub fn run_all<F: Future<Output = ()>>(tasks: impl IntoIterator<Item = F>) {
    run_with(tasks, None, |next| next.recv().expect("we have a sender ourselves"));
}

/// The same. If no task is ready, `wait` gets the number of the next one. Whoever wakes one tells the
/// ring.
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
        let _ = self.ready.send(self.number); // nobody waits for a task when all are done
        if let Some(ring) = &self.ring {
            ring.task_woken();
        }
    }
}
