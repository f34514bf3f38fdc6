//! The ring, and the thread that it belongs to.
//!
//! The kernel cancels what a thread has submitted when that thread ends. So those who share the ring
//! do not submit: they queue entries, and when one of them begins to wait, it wakes the ring's own
//! thread. That submits all there is in one call, waits in the same call, and hands out what has
//! completed.

mod driver;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix_uring::squeue::Entry;
use rustix_uring::{Errno, IoUring, cqueue, opcode};

use self::driver::{Bell, Driver};
use crate::executor::{Gate, lock};
use crate::operation::Kept;

/// The user data of what wakes the ring's thread. There are two at most: one that was late, and one
/// for when the thread sleeps again.
const WAKE: u64 = u64::MAX;
const WAKES: u32 = 2;
/// In the user data of a cancellation, beside the number of what is cancelled.
const CANCEL: u64 = 1 << 63;

/// After how long to cancel once more: a cancellation does not find what is just being started.
const ONCE_MORE: Duration = Duration::from_millis(20);

/// A ring that threads and tasks share. What it does is started in a [`scope`](Self::scope).
pub struct Ring {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    operations: usize,
}

struct Shared {
    book: Mutex<Book>,
    /// Operations have ended, and all of a scope's, maybe.
    ended: Condvar,
    bell: Bell,
}

struct Book {
    /// Entries that were not pushed yet.
    unsent: VecDeque<Entry>,
    /// What entries use, by their user data, until the completion is reaped.
    in_flight: HashMap<u64, InFlight>,
    /// The user data of the next operation. None is given twice, so that a cancellation cannot come
    /// upon another operation.
    next: u64,
    /// For how many more completions there is a slot. An operation has two, the other one for a
    /// cancellation. So the queue cannot overflow.
    room: usize,
    /// Who waits for how many slots: first come, first served.
    held_back: VecDeque<(usize, Arc<Gate>)>,
    /// The ring's thread has seen all of this, and waits.
    asleep: bool,
    over: bool,
    #[cfg(test)]
    overflowed: bool,
    /// How often the ring's thread has entered the kernel.
    #[cfg(test)]
    turns: usize,
}

struct InFlight {
    kept: Kept,
    scope: Arc<Count>,
    cancelling: bool,
}

/// How many operations of a scope have not ended. It changes under the book's lock.
#[derive(Default)]
pub(crate) struct Count(AtomicUsize);

/// What kind of ring it is to be: an ordinary one, unless you say otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    sq_poll: Option<Duration>,
    io_poll: bool,
}

impl Options {
    /// Has a thread of the kernel take what is submitted. It sleeps after it has found nothing for so
    /// long, and keeps a processor busy until then: it is for machines that have processors to spare.
    pub fn sq_poll(mut self, idle: Duration) -> Self {
        self.sq_poll = Some(idle);
        self
    }

    /// Has the ring's thread poll devices for completions, in place of their interrupts. It keeps a
    /// processor busy while there are operations in flight.
    ///
    /// Such a ring reads and writes files that are open for direct I/O, on devices that can be polled.
    /// Everything else fails with EOPNOTSUPP or EINVAL, and operations cannot be cancelled.
    pub fn io_poll(mut self) -> Self {
        self.io_poll = true;
        self
    }

    /// Makes a ring for so many operations at a time, like [`Ring::new`].
    ///
    /// # Errors
    ///
    /// The kernel's, where it has no such ring.
    pub fn build(self, operations: u32) -> io::Result<Ring> {
        let room = operations.saturating_mul(2);
        let mut builder = IoUring::builder();
        // With a refused entry, the rest of its chain is to be refused.
        builder.setup_cqsize(room.saturating_add(WAKES)).setup_submit_all();
        if let Some(idle) = self.sq_poll {
            builder.setup_sqpoll(u32::try_from(idle.as_millis()).unwrap_or(u32::MAX));
        }
        if self.io_poll {
            builder.setup_iopoll();
        }
        Ring::start_driver(builder.build(operations)?, self, operations as usize)
    }
}

impl Ring {
    /// A ring for so many operations at a time. Who starts one more is held back until one has ended:
    /// where operations wait for one another, there must be room for all of them.
    ///
    /// # Errors
    ///
    /// The kernel's, where it has no such ring.
    pub fn new(operations: u32) -> io::Result<Self> {
        Options::default().build(operations)
    }

    /// A ring of another kind.
    pub fn options() -> Options {
        Options::default()
    }

    fn start_driver(ring: IoUring, options: Options, operations: usize) -> io::Result<Self> {
        let book = Book {
            unsent: VecDeque::new(),
            in_flight: HashMap::new(),
            next: 0,
            room: 2 * operations,
            held_back: VecDeque::new(),
            asleep: false,
            over: false,
            #[cfg(test)]
            overflowed: false,
            #[cfg(test)]
            turns: 0,
        };
        let shared = Arc::new(Shared {
            book: Mutex::new(book),
            ended: Condvar::new(),
            bell: Bell::new(&ring, options)?,
        });
        let driver = Driver { ring, options, shared: shared.clone() };
        let thread = thread::Builder::new().name("ring".into()).spawn(|| driver.drive())?;
        Ok(Self { shared, thread: Some(thread), operations })
    }

    /// Starts operations, one right behind the other, and returns the number of the first. Waits
    /// until there is room for all of them; there never is for too many.
    pub(crate) fn start(
        &self,
        scope: &Arc<Count>,
        operations: impl ExactSizeIterator<Item = (Entry, Kept)>,
    ) -> Option<u64> {
        if operations.len() > self.operations {
            operations.for_each(|(_, kept)| kept.complete(Err(Errno::INVAL.into())));
            return None;
        }
        let slots = 2 * operations.len();
        let mut book = lock(&self.shared.book);
        if book.held_back.is_empty() && slots <= book.room {
            book.room -= slots;
        } else {
            let gate = Arc::new(Gate::default());
            book.held_back.push_back((slots, gate.clone()));
            self.shared.wake(&mut book);
            drop(book);
            gate.pass();
            book = lock(&self.shared.book);
        }
        let first = book.next;
        for (entry, kept) in operations {
            let number = book.next;
            book.next += 1;
            scope.0.fetch_add(1, Ordering::Relaxed);
            let scope = scope.clone();
            book.in_flight.insert(number, InFlight { kept, scope, cancelling: false });
            book.unsent.push_back(entry.user_data(number));
        }
        Some(first)
    }

    /// Has everything submitted, now that somebody waits.
    pub(crate) fn submit(&self) {
        self.shared.wake(&mut lock(&self.shared.book));
    }

    /// Cancels an operation, unless it has ended. It still has to end.
    pub(crate) fn cancel(&self, number: u64) {
        let mut book = lock(&self.shared.book);
        book.cancel(number);
        self.shared.wake(&mut book);
    }

    /// Waits until no operation of a scope is in flight, after cancelling them or not.
    pub(crate) fn end(&self, scope: &Arc<Count>, cancel: bool) {
        let mut book = lock(&self.shared.book);
        while scope.0.load(Ordering::Relaxed) > 0 {
            if cancel {
                let all = book.in_flight.iter();
                let ours = all.filter(|(_, operation)| Arc::ptr_eq(&operation.scope, scope));
                let ours: Vec<u64> = ours.map(|(number, _)| *number).collect();
                ours.into_iter().for_each(|number| book.cancel(number));
            }
            self.shared.wake(&mut book);
            let ended = &self.shared.ended;
            book = if cancel {
                ended.wait_timeout(book, ONCE_MORE).unwrap_or_else(PoisonError::into_inner).0
            } else {
                ended.wait(book).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    #[cfg(test)]
    pub(crate) fn turns(&self) -> usize {
        lock(&self.shared.book).turns
    }

    #[cfg(test)]
    pub(crate) fn overflowed(&self) -> bool {
        lock(&self.shared.book).overflowed
    }
}

impl Drop for Ring {
    /// Scopes borrow the ring, so that nothing is in flight.
    fn drop(&mut self) {
        {
            let mut book = lock(&self.shared.book);
            book.over = true;
            self.shared.wake(&mut book);
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it does not panic, it aborts
        }
    }
}

impl Shared {
    /// Wakes the ring's thread, if it sleeps over something that it has not seen.
    fn wake(&self, book: &mut Book) {
        if !book.asleep || book.unsent.is_empty() && !book.over {
            return;
        }
        book.asleep = false;
        self.bell.ring();
    }
}

impl Book {
    fn cancel(&mut self, number: u64) {
        if let Some(operation) = self.in_flight.get_mut(&number) {
            if !mem::replace(&mut operation.cancelling, true) {
                let cancel = opcode::AsyncCancel::new(number).build();
                self.unsent.push_back(cancel.user_data(CANCEL | number));
            }
        }
    }

    /// A completion has left its place. Returns what has ended with it.
    fn completed(&mut self, cqe: cqueue::Entry) -> Option<InFlight> {
        let number = cqe.user_data() & !CANCEL;
        if cqe.user_data() == WAKE {
            return None;
        }
        if number == cqe.user_data() {
            let operation = self.in_flight.remove(&number)?;
            self.room += if operation.cancelling { 1 } else { 2 };
            return Some(operation);
        }
        match self.in_flight.get_mut(&number) {
            // Its place is there for the next cancellation.
            Some(operation) => operation.cancelling = false,
            None => self.room += 1,
        }
        None
    }

    /// Lets those start for whom there is room now.
    fn let_in(&mut self) {
        while let Some((slots, gate)) = self.held_back.front() {
            if *slots > self.room {
                break;
            }
            self.room -= slots;
            gate.open();
            self.held_back.pop_front();
        }
    }
}
