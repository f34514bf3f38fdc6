//! The ring in tokio's reactor, and the operations that it has in flight.
//!
//! The life of an operation:
//!
//! 1. Its buffer, its descriptor or its path move into a state on the heap, and its entry points there. The
//!    ring keeps the state, under the number in the entry's user data.
//! 2. The entry waits until [`drive`](Ring::drive) has its turn in the runtime. This turn comes after all
//!    tasks that are ready, so `drive` submits the entries of all of them in one system call.
//! 3. The future waits. If you drop it, the ring cancels the operation, and keeps the state until the
//!    completion. If you forget it, the ring keeps the state, and does not cancel the operation.
//! 4. `drive` reaps the completion when the ring's descriptor becomes readable, or when the reactor
//!    [has waited](Ring::wait_ended). The state returns what it has held to the future, or drops it if the
//!    future is gone.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use rustix_uring::squeue::Entry;
use rustix_uring::types::iovec;
use rustix_uring::{Errno, IoUring, cqueue, opcode};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, futures::Notified};
use tokio::task;

/// The user data of cancellations. No operation uses it.
const CANCEL: u64 = u64::MAX;

/// How long the end of a runtime waits for completions. After that, it leaks the states of all
/// operations that are in flight.
const END: Duration = Duration::from_secs(60);

/// The number of submission slots, and so the number of entries in one system call.
const ENTRIES: u32 = 256;

/// A ring. A clone refers to the same ring.
#[derive(Clone)]
pub struct Ring(Rc<Shared>);

struct Shared {
    driver: RefCell<Driver>,
    /// Notified after completions were reaped.
    reaped: Notify,
}

struct Driver {
    ring: AsyncFd<IoUring>,
    /// Entries that were not pushed yet.
    unsent: VecDeque<Entry>,
    /// Wakes [`drive`](Ring::drive). The first wake takes it.
    waker: Option<Waker>,
    /// The states of operations whose completions were not reaped, by their user data.
    in_flight: HashMap<u64, Rc<dyn Complete>, BuildHasherDefault<Number>>,
    /// The user data of the next operation. It is never reused, so a cancellation cannot find another
    /// operation.
    next: u64,
    /// The number of pushed entries whose completions were not reaped.
    outstanding: usize,
    /// Whether the runtime has ended. Then new operations fail.
    over: bool,
}

/// Hashes consecutive numbers. The multiplication spreads their differences over all bits, as the map
/// expects.
#[derive(Default)]
struct Number(u64);

impl Hasher for Number {
    fn write(&mut self, _: &[u8]) {
        unreachable!("the keys are u64");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15); // an odd constant without a bit pattern
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Ring {
    /// Creates a ring in the reactor of the current tokio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let ring = IoUring::new(ENTRIES)?;
        // SAFETY: `AsyncFd` owns the ring, whose descriptor stays the same and open. No code replaces it.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?;
        let driver = Driver {
            ring,
            unsent: VecDeque::new(),
            waker: None,
            in_flight: HashMap::default(),
            next: 0,
            outstanding: 0,
            over: false,
        };
        let driver = RefCell::new(driver);
        Ok(Self(Rc::new(Shared { driver, reaped: Notify::new() })))
    }

    /// Runs an operation that owns `held`. `entry` builds the entry, which may point into `held`. `done`
    /// computes the output from `held` and the completion, or the error.
    ///
    /// # Safety
    ///
    /// [The contract](rustix_uring::squeue#the-contract) holds for the entry as long as `held` is not
    /// dropped, moved or accessed.
    pub(crate) async unsafe fn start<H: 'static, T: 'static>(
        &self,
        held: H,
        entry: impl FnOnce(&mut H) -> Entry,
        done: impl FnOnce(H, io::Result<cqueue::Entry>) -> T + 'static,
    ) -> T {
        let mut state = Rc::new(State {
            held: Cell::new(Some((held, done))),
            output: Cell::new(None),
            waker: Cell::new(None),
        });
        // `held` does not move any more until the completion, so the entry may point into it.
        let new = Rc::get_mut(&mut state).expect("a new state is not shared");
        let (held, _) = new.held.get_mut().as_mut().expect("a new state holds its values");
        let entry = entry(held);
        let number = self.send(entry, state.clone());
        if number.is_none() {
            state.complete(Err(Errno::CANCELED.into()));
        }
        Operation { ring: self, number, state }.await
    }

    /// Queues an entry, keeps its state, and returns its number. Returns `None` if the runtime has ended.
    fn send(&self, entry: Entry, state: Rc<dyn Complete>) -> Option<u64> {
        let mut driver = self.0.driver.borrow_mut();
        if driver.over {
            return None;
        }
        let number = driver.next;
        driver.next += 1;
        driver.in_flight.insert(number, state);
        driver.queue(entry.user_data(number));
        Some(number)
    }

    /// Cancels an operation, if it is still in flight.
    fn cancel(&self, number: u64) {
        let mut driver = self.0.driver.borrow_mut();
        if driver.in_flight.contains_key(&number) {
            driver.queue(opcode::AsyncCancel::new(number).build().user_data(CANCEL));
        }
    }

    /// Returns whether both refer to the same ring.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Registers buffers.
    ///
    /// # Safety
    ///
    /// Same contract as [`register_buffers`](rustix_uring::Submitter::register_buffers).
    pub(crate) unsafe fn register_buffers(&self, bufs: &[iovec]) -> io::Result<()> {
        let driver = self.0.driver.borrow();
        let ring = driver.ring.get_ref();
        // Kernels without this feature wait until nothing is in flight, which may take forever.
        if !ring.params().is_feature_resource_tagging() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // SAFETY: the caller keeps the same contract.
        Ok(unsafe { ring.submitter().register_buffers(bufs) }?)
    }

    /// Unregisters the registered buffers.
    pub(crate) fn unregister_buffers(&self) -> io::Result<()> {
        Ok(self.0.driver.borrow().ring.get_ref().submitter().unregister_buffers()?)
    }

    /// Returns a future that completes after the ring has next reaped completions.
    pub(crate) fn reaped(&self) -> Notified<'_> {
        self.0.reaped.notified()
    }

    /// Submits entries and reaps completions forever. Returns only an error of the ring.
    pub(crate) async fn drive(&self) -> io::Error {
        loop {
            let submitted = self.0.driver.borrow_mut().submit();
            // Most operations that need not wait have completed by now.
            self.reap();
            match submitted {
                Ok(true) => {}
                // The next turn submits the remaining entries.
                Ok(false) | Err(Errno::AGAIN | Errno::BUSY | Errno::INTR) => {
                    task::yield_now().await;
                    continue;
                }
                Err(errno) => return errno.into(),
            }
            if let Err(error) = future::poll_fn(|cx| self.poll_turn(cx)).await {
                return error;
            }
        }
    }

    /// Waits until there are entries to submit or completions to reap.
    fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut driver = self.0.driver.borrow_mut();
        if !driver.unsent.is_empty() || !driver.ring.get_mut().completion().is_empty() {
            return Poll::Ready(Ok(()));
        }
        driver.waker = Some(cx.waker().clone());
        // Clear the readiness before `reap` reads the queue. A completion that arrives in between then
        // sets it again.
        ready!(driver.ring.poll_read_ready(cx))?.clear_ready();
        Poll::Ready(Ok(()))
    }

    /// Wakes [`drive`](Self::drive) if there are completions to reap. The runtime calls this when the reactor
    /// has waited.
    ///
    /// To complete an operation, the kernel interrupts the wait: `epoll_wait` fails with EINTR, and only the
    /// next `epoll_wait` would report that the ring is readable. This saves that call.
    pub(crate) fn wait_ended(&self) {
        let mut driver = self.0.driver.borrow_mut();
        if !driver.ring.get_mut().completion().is_empty() {
            driver.wake();
        }
    }

    fn reap(&self) {
        // The driver is not borrowed while an operation completes, because that runs foreign code, such as
        // destructors of buffers.
        while let Some((cqe, state)) = self.next_completion() {
            complete(cqe, state);
        }
        self.0.reaped.notify_waiters();
    }

    fn next_completion(&self) -> Option<(cqueue::Entry, Option<Rc<dyn Complete>>)> {
        let mut driver = self.0.driver.borrow_mut();
        let cqe = driver.ring.get_mut().completion().next()?;
        driver.outstanding -= 1;
        Some((cqe, driver.in_flight.remove(&cqe.user_data())))
    }
}

impl Driver {
    /// Queues an entry for the next turn of [`drive`](Ring::drive).
    fn queue(&mut self, entry: Entry) {
        self.unsent.push_back(entry);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Submits queued entries. Returns true if no entry is left, and no completion waits for room in the
    /// completion queue.
    fn submit(&mut self) -> Result<bool, Errno> {
        let ring = self.ring.get_mut();
        let mut queue = ring.submission();
        while let Some(entry) = self.unsent.front() {
            // SAFETY: the caller of `start` guarantees the contract while the state is kept, and `in_flight`
            // keeps it until the completion. A cancellation points to no memory.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.unsent.pop_front();
            self.outstanding += 1;
        }
        drop(queue);
        // Even with nothing to submit, this call flushes completions that had no room in the queue.
        ring.submit()?;
        let queue = ring.submission();
        Ok(self.unsent.is_empty() && queue.is_empty() && !queue.cq_overflow())
    }

    /// Cancels everything that is in flight, waits for it, and returns the completions.
    fn quiesce(&mut self) -> Result<Vec<cqueue::Entry>, Errno> {
        let mut completed = Vec::new();
        loop {
            let submitted = self.submit();
            let user_data: Vec<u64> = self.in_flight.keys().copied().collect();
            let (ring, in_flight) = (self.ring.get_mut(), &mut self.outstanding);
            ring.quiesce_with(in_flight, END, &user_data, |cqe| {
                completed.push(cqe);
                true
            })?;
            match submitted {
                Ok(_) if self.unsent.is_empty() => return Ok(completed),
                Ok(_) | Err(Errno::AGAIN | Errno::BUSY | Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Ends the operations of a runtime when dropped, even during a panic.
pub(crate) struct Shutdown(pub(crate) Ring);

impl Drop for Shutdown {
    fn drop(&mut self) {
        let mut driver = self.0.0.driver.borrow_mut();
        driver.over = true;
        match driver.quiesce() {
            Ok(completed) => {
                let mut states = mem::take(&mut driver.in_flight);
                drop(driver);
                for cqe in completed {
                    complete(cqe, states.remove(&cqe.user_data()));
                }
            }
            // Leak the states: the kernel may still use them.
            Err(_) => mem::forget(mem::take(&mut driver.in_flight)),
        }
    }
}

/// The state of an operation, on the heap: what it holds, and its output.
struct State<H, D, T> {
    /// `Some` until the completion: the values that the entry points to, and the function that computes the
    /// output.
    held: Cell<Option<(H, D)>>,
    /// `Some` from the completion until the future takes it.
    output: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
}

/// A state of any operation.
trait Complete {
    fn complete(&self, result: io::Result<cqueue::Entry>);
}

impl<H, D, T> Complete for State<H, D, T>
where
    D: FnOnce(H, io::Result<cqueue::Entry>) -> T,
{
    fn complete(&self, result: io::Result<cqueue::Entry>) {
        if let Some((held, done)) = self.held.take() {
            self.output.set(Some(done(held, result)));
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Completes the operation of a completion. `state` is `None` for a cancellation.
fn complete(cqe: cqueue::Entry, state: Option<Rc<dyn Complete>>) {
    if let Some(state) = state {
        state.complete(cqe.to_result().map(|_| cqe).map_err(io::Error::from));
    }
}

/// The future of an operation. If dropped, it cancels the operation.
struct Operation<'a, H, D, T> {
    ring: &'a Ring,
    /// `None` if the runtime had already ended.
    number: Option<u64>,
    state: Rc<State<H, D, T>>,
}

impl<H, D, T> Future for Operation<'_, H, D, T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if let Some(output) = self.state.output.take() {
            return Poll::Ready(output);
        }
        self.state.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl<H, D, T> Drop for Operation<'_, H, D, T> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.ring.cancel(number);
        }
    }
}
