//! The ring that is shared, and who enters the kernel for it.
//!
//! The kernel cancels what a thread has submitted when that thread ends. So not everybody can submit.
//! There are two who can, and they take turns at the [`Driver`]:
//!
//! - the thread that runs a scope, for the operations of that scope: it is there until they have ended.
//!   It does so while it waits for one of them, and then nobody has to be woken.
//! - the ring's own thread, for all others. It begins when somebody waits who cannot drive, and goes on
//!   until nothing is in flight any more.
//!
//! Either submits all there is in one call, waits in the same call, and hands out what has completed.

mod driver;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use rustix_uring::squeue::Entry;
use rustix_uring::{Errno, IoUring, cqueue, opcode};

use self::driver::{Abort, Bell, Driver};
use crate::executor::{Gate, lock};
use crate::operation::Kept;

/// The user data of what wakes who drives. There are two at most: one that was late, and one for when
/// somebody sleeps again.
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

pub(crate) struct Shared {
    book: Mutex<Book>,
    /// Operations have ended, and all of a scope's, maybe.
    ended: Condvar,
    /// Who has this drives. It is locked before the book.
    driver: Mutex<Driver>,
    /// There is work for the ring's thread.
    work: Condvar,
    bell: Bell,
}

struct Book {
    /// Entries that were not pushed yet.
    unsent: VecDeque<Entry>,
    /// The thread that runs the scopes that they are of, if it is one.
    unsent_of: Option<ThreadId>,
    /// What entries use, by their user data, until the completion is reaped.
    in_flight: HashMap<u64, InFlight, BuildHasherDefault<Number>>,
    /// How many cancellations were not reaped.
    cancelling: usize,
    /// The user data of the next operation. None is given twice, so that a cancellation cannot come
    /// upon another operation.
    next: u64,
    /// For how many more completions there is a slot. An operation has two, the other one for a
    /// cancellation. So the queue cannot overflow.
    room: usize,
    /// Who waits for how many slots: first come, first served.
    held_back: VecDeque<(usize, Arc<Gate>)>,
    /// How many threads wait for the end of a scope.
    ending: usize,
    /// The ring's thread drives, or is about to.
    thread_drives: bool,
    /// The thread that runs tasks, and drives whenever none is ready.
    attended: Option<ThreadId>,
    /// Who drives has seen all of this, and waits in the kernel.
    asleep: bool,
    over: bool,
    #[cfg(test)]
    overflowed: bool,
    /// How often somebody has entered the kernel.
    #[cfg(test)]
    turns: usize,
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

struct InFlight {
    kept: Kept,
    scope: Arc<Count>,
    cancelling: bool,
}

/// How many operations of a scope have not ended, and who runs the scope. The number changes under the
/// book's lock.
pub(crate) struct Count {
    number: AtomicUsize,
    pub(crate) owner: ThreadId,
}

impl Count {
    /// Of a scope that this thread runs.
    pub(crate) fn new() -> Self {
        Self { number: AtomicUsize::new(0), owner: thread::current().id() }
    }
}

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
        Ring::share(builder.build(operations)?, self, operations as usize)
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

    fn share(ring: IoUring, options: Options, operations: usize) -> io::Result<Self> {
        let book = Book {
            unsent: VecDeque::new(),
            unsent_of: None,
            in_flight: HashMap::default(),
            cancelling: 0,
            next: 0,
            room: 2 * operations,
            held_back: VecDeque::new(),
            ending: 0,
            thread_drives: false,
            attended: None,
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
            driver: Mutex::new(Driver::new(ring, options)),
            work: Condvar::new(),
        });
        let serves = shared.clone();
        let thread = thread::Builder::new().name("ring".into()).spawn(move || serves.serve())?;
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
            self.shared.call(&mut book);
            drop(book);
            gate.pass();
            book = lock(&self.shared.book);
        }
        let first = book.next;
        if book.unsent.is_empty() {
            book.unsent_of = Some(scope.owner);
        } else if book.unsent_of != Some(scope.owner) {
            book.unsent_of = None;
        }
        for (entry, kept) in operations {
            let number = book.next;
            book.next += 1;
            scope.number.fetch_add(1, Ordering::Relaxed);
            let scope = scope.clone();
            book.in_flight.insert(number, InFlight { kept, scope, cancelling: false });
            book.unsent.push_back(entry.user_data(number));
        }
        Some(first)
    }

    /// Has everything submitted, now that somebody waits: by this thread, if it is the one that runs
    /// tasks, when none is ready; by the ring's thread otherwise.
    pub(crate) fn submit(&self) {
        let mut book = lock(&self.shared.book);
        if book.thread_drives || book.attended != Some(thread::current().id()) {
            self.shared.call(&mut book);
        }
    }

    /// Has everything submitted by another thread, now that this one is going to block.
    pub(crate) fn call(&self) {
        self.shared.call(&mut lock(&self.shared.book));
    }

    /// Drives on this thread, which runs a scope, until something has come. Returns whether it has: if
    /// not, somebody else drives, or has to.
    pub(crate) fn attend(&self, mut has_come: impl FnMut() -> bool) -> bool {
        let Ok(mut driver) = self.shared.driver.try_lock() else { return false };
        let unwinding = Abort;
        let me = thread::current().id();
        let came = loop {
            if has_come() {
                break true;
            }
            let Some(want) = self.shared.push(&mut driver, Some(me)) else { break false };
            // Once more: who wakes a task rings only if somebody sleeps already.
            driver.enter(if has_come() { 0 } else { want });
            self.shared.reap(&mut driver);
        };
        mem::forget(unwinding);
        came
    }

    /// Lets this thread drive whenever none of its tasks is ready, if no other does that.
    pub(crate) fn attended(&self) -> Attended<'_> {
        let (mut book, me) = (lock(&self.shared.book), thread::current().id());
        let begins = book.attended.is_none();
        book.attended = book.attended.or(Some(me));
        Attended { ring: self, begins }
    }

    /// For wakers of tasks.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Cancels an operation, unless it has ended. It still has to end.
    pub(crate) fn cancel(&self, number: u64) {
        let mut book = lock(&self.shared.book);
        book.cancel(number);
        self.shared.call(&mut book);
    }

    /// Waits until no operation of a scope is in flight, after cancelling them or not.
    pub(crate) fn end(&self, scope: &Arc<Count>, cancel: bool) {
        let mut book = lock(&self.shared.book);
        book.ending += 1;
        while scope.number.load(Ordering::Relaxed) > 0 {
            if cancel {
                let all = book.in_flight.iter();
                let ours = all.filter(|(_, operation)| Arc::ptr_eq(&operation.scope, scope));
                let ours: Vec<u64> = ours.map(|(number, _)| *number).collect();
                ours.into_iter().for_each(|number| book.cancel(number));
            }
            self.shared.call(&mut book);
            let ended = &self.shared.ended;
            book = if cancel {
                ended.wait_timeout(book, ONCE_MORE).unwrap_or_else(PoisonError::into_inner).0
            } else {
                ended.wait(book).unwrap_or_else(PoisonError::into_inner)
            };
        }
        book.ending -= 1;
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
        lock(&self.shared.book).over = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it does not panic, it aborts
        }
    }
}

/// While this is there, a thread runs tasks and drives.
pub(crate) struct Attended<'a> {
    ring: &'a Ring,
    begins: bool,
}

impl Drop for Attended<'_> {
    fn drop(&mut self) {
        if self.begins {
            lock(&self.ring.shared.book).attended = None;
        }
    }
}

impl Shared {
    /// Has the ring's thread drive, if there is anything to do, and whoever drives see what is new.
    fn call(&self, book: &mut Book) {
        let takes_over = !book.thread_drives && !book.is_idle();
        if takes_over {
            book.thread_drives = true;
            self.work.notify_one();
        }
        if takes_over || !book.unsent.is_empty() {
            self.rouse(book);
        }
    }

    /// Wakes who drives, if it sleeps.
    fn rouse(&self, book: &mut Book) {
        if mem::replace(&mut book.asleep, false) {
            self.bell.ring();
        }
    }

    /// A task was woken, and has to run: if its thread sleeps in the kernel, that ends.
    pub(crate) fn task_woken(&self) {
        let mut book = lock(&self.book);
        if book.attended.is_some() && !book.thread_drives {
            self.rouse(&mut book);
        }
    }
}

impl Book {
    /// Nothing is to be done, and no completion is to come.
    fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.unsent.is_empty() && self.cancelling == 0
    }

    fn cancel(&mut self, number: u64) {
        if let Some(operation) = self.in_flight.get_mut(&number) {
            if !mem::replace(&mut operation.cancelling, true) {
                let cancel = opcode::AsyncCancel::new(number).build();
                self.unsent.push_back(cancel.user_data(CANCEL | number));
                self.cancelling += 1;
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
        self.cancelling -= 1;
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
