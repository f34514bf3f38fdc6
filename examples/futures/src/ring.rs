//! The ring in tokio's reactor, and the operations that it has in flight.
//!
//! The life of an operation:
//!
//! 1. What it uses (its buffer, its descriptor, a path) moves into a state on the heap, and its entry
//!    points there. The ring keeps the state, by the number in the entry's user data.
//! 2. The entry waits for [`drive`](Ring::drive) to get its turn in the runtime. It comes after the
//!    tasks that are ready, so that what they start goes to the kernel in one call.
//! 3. The future waits. If it is dropped, the operation is cancelled, and that is all: the state
//!    stays. If it is forgotten, not even that.
//! 4. The ring's descriptor turns readable, and `drive` takes the completion. The state gives up what
//!    it has kept, to the future if there still is one.

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

/// The user data of cancellations, which no operation has.
const CANCEL: u64 = u64::MAX;

/// How long the end of a runtime may take. After that, what is in flight keeps what it uses.
const END: Duration = Duration::from_secs(60);

/// How many entries go to the kernel in one call.
const ENTRIES: u32 = 256;

/// A ring. Clones are the same one.
#[derive(Clone)]
pub struct Ring(Rc<Shared>);

struct Shared {
    driver: RefCell<Driver>,
    /// There is something to submit.
    unsent: Notify,
    /// Completions were reaped.
    reaped: Notify,
}

struct Driver {
    ring: AsyncFd<IoUring>,
    /// Entries that were not pushed yet.
    unsent: VecDeque<Entry>,
    /// What entries use, by their user data, until their completion is reaped.
    in_flight: HashMap<u64, Rc<dyn Complete>, BuildHasherDefault<Number>>,
    /// The user data of the next operation. None is given twice, so that a cancellation cannot come
    /// upon another operation.
    next: u64,
    /// How many entries were pushed whose completion was not reaped.
    outstanding: usize,
    /// Nothing is started any more.
    over: bool,
}

/// Numbers are their own hash, but for their order: the map expects the differences in all bits.
#[derive(Default)]
struct Number(u64);

impl Hasher for Number {
    fn write(&mut self, _: &[u8]) {
        unreachable!("it is a number");
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15); // odd, and of no pattern
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Ring {
    /// A ring in the reactor of the tokio runtime that was entered.
    pub(crate) fn new() -> io::Result<Self> {
        let ring = IoUring::new(ENTRIES)?;
        // SAFETY: a ring keeps its descriptor, and it is not replaced.
        let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?;
        let driver = Driver {
            ring,
            unsent: VecDeque::new(),
            in_flight: HashMap::default(),
            next: 0,
            outstanding: 0,
            over: false,
        };
        let driver = RefCell::new(driver);
        Ok(Self(Rc::new(Shared { driver, unsent: Notify::new(), reaped: Notify::new() })))
    }

    /// Runs an operation: `entry` makes it of what is `held` for it, and `done` makes the output of
    /// that and of the completion, or of the error.
    ///
    /// # Safety
    ///
    /// [The contract](rustix_uring::squeue#the-contract) holds for the entry as long as `held` is
    /// neither dropped, nor moved, nor touched.
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
        // What is held is in its place, and stays there: now an entry may point to it.
        let new = Rc::get_mut(&mut state).expect("it is new");
        let (held, _) = new.held.get_mut().as_mut().expect("it is new");
        let entry = entry(held);
        let number = self.send(entry, state.clone());
        if number.is_none() {
            state.complete(Err(Errno::CANCELED.into()));
        }
        Operation { ring: self, number, state }.await
    }

    /// Queues an entry, and keeps what it uses; not so when the runtime is over.
    fn send(&self, entry: Entry, state: Rc<dyn Complete>) -> Option<u64> {
        let mut driver = self.0.driver.borrow_mut();
        if driver.over {
            return None;
        }
        let number = driver.next;
        driver.next += 1;
        driver.in_flight.insert(number, state);
        driver.unsent.push_back(entry.user_data(number));
        self.0.unsent.notify_one();
        Some(number)
    }

    /// Cancels an operation, if it is still in flight.
    fn cancel(&self, number: u64) {
        let mut driver = self.0.driver.borrow_mut();
        if driver.in_flight.contains_key(&number) {
            driver.unsent.push_back(opcode::AsyncCancel::new(number).build().user_data(CANCEL));
            self.0.unsent.notify_one();
        }
    }

    /// Whether both are the same one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Registers buffers.
    ///
    /// # Safety
    ///
    /// As of [`register_buffers`](rustix_uring::Submitter::register_buffers).
    pub(crate) unsafe fn register_buffers(&self, bufs: &[iovec]) -> io::Result<()> {
        let driver = self.0.driver.borrow();
        let ring = driver.ring.get_ref();
        // Older kernels wait for everything that is in flight, which may be for ever.
        if !ring.params().is_feature_resource_tagging() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // SAFETY: as our caller promises.
        Ok(unsafe { ring.submitter().register_buffers(bufs) }?)
    }

    /// Gives up the buffers that are registered.
    pub(crate) fn unregister_buffers(&self) -> io::Result<()> {
        Ok(self.0.driver.borrow().ring.get_ref().submitter().unregister_buffers()?)
    }

    /// Completes when the ring has seen to what has completed.
    pub(crate) fn reaped(&self) -> Notified<'_> {
        self.0.reaped.notified()
    }

    /// Submits, and sees to what has completed, for ever. Returns why that is not possible.
    pub(crate) async fn drive(&self) -> io::Error {
        loop {
            let submitted = self.0.driver.borrow_mut().submit();
            // Most of what needs not wait has completed by now.
            self.reap();
            match submitted {
                Ok(true) => {}
                // What is left goes in the next turn.
                Ok(false) | Err(Errno::AGAIN | Errno::BUSY | Errno::INTR) => {
                    self.0.unsent.notify_one();
                }
                Err(errno) => return errno.into(),
            }
            let readable = tokio::select! {
                biased;
                () = self.0.unsent.notified() => Ok(()),
                readable = future::poll_fn(|cx| self.poll_readable(cx)) => readable,
            };
            if let Err(error) = readable {
                return error;
            }
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let driver = self.0.driver.borrow();
        // Taken back before the queue is looked at, so that no completion comes in between.
        ready!(driver.ring.poll_read_ready(cx))?.clear_ready();
        Poll::Ready(Ok(()))
    }

    fn reap(&self) {
        // The driver is not borrowed while an operation completes: what goes then may do anything.
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
    /// Submits what there is. Returns whether that was all, and all completions have found room.
    fn submit(&mut self) -> Result<bool, Errno> {
        let ring = self.ring.get_mut();
        let mut queue = ring.submission();
        while let Some(entry) = self.unsent.front() {
            // SAFETY: the caller of `start` vouches for it, as long as the state is kept. It is until
            // the completion. A cancellation uses nothing.
            if unsafe { queue.push(entry) }.is_err() {
                break;
            }
            self.unsent.pop_front();
            self.outstanding += 1;
        }
        drop(queue);
        // With nothing to submit, it is for the completions that have found no room.
        ring.submit()?;
        let queue = ring.submission();
        Ok(self.unsent.is_empty() && queue.is_empty() && !queue.cq_overflow())
    }

    /// Ends all that is in flight.
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

/// The end of a runtime, however it comes.
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
            // The kernel goes on using it.
            Err(_) => mem::forget(mem::take(&mut driver.in_flight)),
        }
    }
}

/// What an operation uses, and what comes of it, on the heap.
struct State<H, D, T> {
    /// Until the completion: what the entry points to, and what makes the output of it.
    held: Cell<Option<(H, D)>>,
    /// From the completion on.
    output: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
}

/// A state, of whichever operation.
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

/// A cancellation has no state.
fn complete(cqe: cqueue::Entry, state: Option<Rc<dyn Complete>>) {
    if let Some(state) = state {
        state.complete(cqe.to_result().map(|_| cqe).map_err(io::Error::from));
    }
}

/// An operation that somebody waits for.
struct Operation<'a, H, D, T> {
    ring: &'a Ring,
    /// `None` if it was not started.
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
