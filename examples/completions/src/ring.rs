//! The ring, and the thread that it belongs to.
//!
//! The kernel cancels what a thread has submitted when that thread ends. So those who share the ring
//! do not submit: they queue entries, and when one of them begins to wait, it wakes the ring's own
//! thread. That submits all there is in one call, waits in the same call, and hands out what has
//! completed.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::{Errno, IoUring, cqueue, opcode};

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
    /// A ring whose only use is to post a completion on the other one, which ends its wait.
    bell: Mutex<IoUring>,
    fd: OwnedFd,
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
}

struct InFlight {
    kept: Kept,
    scope: Arc<Count>,
    cancelling: bool,
}

/// How many operations of a scope have not ended. It changes under the book's lock.
#[derive(Default)]
pub(crate) struct Count(AtomicUsize);

impl Ring {
    /// A ring for so many operations at a time. Who starts one more is held back until one has ended:
    /// where operations wait for one another, there must be room for all of them.
    pub fn new(operations: u32) -> io::Result<Self> {
        let room = operations.saturating_mul(2);
        // With a refused entry, the rest of its chain is to be refused.
        let ring = IoUring::builder()
            .setup_cqsize(room.saturating_add(WAKES))
            .setup_submit_all()
            .build(operations)?;
        let book = Book {
            unsent: VecDeque::new(),
            in_flight: HashMap::new(),
            next: 0,
            room: room as usize,
            held_back: VecDeque::new(),
            asleep: false,
            over: false,
            #[cfg(test)]
            overflowed: false,
        };
        let shared = Arc::new(Shared {
            book: Mutex::new(book),
            ended: Condvar::new(),
            bell: Mutex::new(IoUring::new(1)?),
            fd: ring.as_fd().try_clone_to_owned()?,
        });
        let driver = Driver { ring, shared: shared.clone() };
        let thread = thread::Builder::new().name("ring".into()).spawn(|| driver.drive())?;
        Ok(Self { shared, thread: Some(thread), operations: operations as usize })
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
        let ring = opcode::MsgRingData::new(&self.fd, 0, WAKE, None);
        let ring = ring.build().flags(Flags::SKIP_SUCCESS);
        let mut bell = lock(&self.bell);
        // SAFETY: it points to nothing, and the descriptor is open while there is a `Shared`.
        let pushed = unsafe { bell.submission().push(&ring) };
        while let Err(errno) = bell.submit() {
            if !passes(errno) {
                abort("the ring's thread cannot be woken");
            }
        }
        if pushed.is_err() || bell.completion().next().is_some() {
            abort("the ring's thread cannot be woken");
        }
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

/// What the ring's thread has.
struct Driver {
    ring: IoUring,
    shared: Arc<Shared>,
}

impl Driver {
    fn drive(mut self) {
        let unwinding = Abort;
        while let Some(want) = self.push() {
            match self.ring.submit_and_wait(want) {
                Err(errno) if !passes(errno) => abort("the ring fails"),
                _ => {}
            }
            self.reap();
        }
        mem::forget(unwinding);
    }

    /// Pushes what is there to be pushed. Returns how many completions are to be waited for; `None`
    /// at the end.
    fn push(&mut self) -> Option<usize> {
        let mut book = lock(&self.shared.book);
        if book.over && book.in_flight.is_empty() {
            return None;
        }
        let mut queue = self.ring.submission();
        loop {
            // A chain goes in one piece.
            let entries = book.unsent.make_contiguous();
            let links = Flags::IO_LINK | Flags::IO_HARDLINK;
            let last = entries.iter().position(|entry| !entry.get_flags().intersects(links));
            let Some(last) = last else { break };
            // SAFETY: who makes an operation vouches for its entry as long as it is kept, which it is
            // until its completion; a cancellation uses nothing.
            if unsafe { queue.push_multiple(&entries[..=last]) }.is_err() {
                break;
            }
            book.unsent.drain(..=last);
        }
        book.asleep = book.unsent.is_empty();
        Some(usize::from(book.asleep))
    }

    /// Hands out what has completed.
    fn reap(&mut self) {
        #[cfg(test)]
        let overflowed = self.ring.submission().cq_overflow();
        let completed: Vec<cqueue::Entry> = self.ring.completion().collect();
        let mut ended = Vec::new();
        {
            let mut book = lock(&self.shared.book);
            book.asleep = false;
            #[cfg(test)]
            {
                book.overflowed |= overflowed;
            }
            for cqe in completed {
                ended.extend(book.completed(cqe).map(|operation| (operation, cqe)));
            }
            book.let_in();
        }
        // What goes now may be anything of anybody's, and do anything: nothing is locked.
        let complete = |(operation, cqe): (InFlight, cqueue::Entry)| {
            let result = cqe.to_result().map(|_| cqe).map_err(io::Error::from);
            let _ = panic::catch_unwind(AssertUnwindSafe(|| operation.kept.complete(result)));
            operation.scope
        };
        let scopes: Vec<Arc<Count>> = ended.into_iter().map(complete).collect();
        // Only then may a scope end: with it goes what its operations have used.
        let _book = lock(&self.shared.book);
        for scope in scopes {
            scope.0.fetch_sub(1, Ordering::Relaxed);
        }
        self.shared.ended.notify_all();
    }
}

/// Errors after which the next attempt may do.
fn passes(errno: Errno) -> bool {
    matches!(errno, Errno::INTR | Errno::AGAIN | Errno::BUSY)
}

/// Nothing may be freed any more, and no scope may end: there is no other way out.
fn abort(why: &str) -> ! {
    eprintln!("{why}");
    process::abort()
}

struct Abort;

impl Drop for Abort {
    fn drop(&mut self) {
        abort("the ring's thread panics");
    }
}
