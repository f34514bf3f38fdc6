//! The shared ring, and the threads that enter the kernel for it.
//!
//! When a thread exits, the kernel cancels the operations that it has submitted. Therefore not every thread
//! may submit. Two kinds of thread may, and they take turns with the [`Driver`]:
//!
//! - The thread that runs a scope submits the operations of that scope, because it outlives them. It
//!   drives the ring while it waits for one of them, so no other thread has to wake it.
//! - The ring's own thread submits all other operations. It starts to drive when a thread waits that cannot
//!   drive itself, and continues until nothing is in flight.
//!
//! The driving thread submits all queued entries in one system call, waits in the same call, and then
//! completes the operations whose completions have arrived.

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

/// The user data of completions that wake the driving thread. At most two can be outstanding: a late one,
/// which arrived after the thread woke up, and one for its next sleep.
const WAKE: u64 = u64::MAX;
const WAKES: u32 = 2;
/// This bit marks the user data of a cancellation. The other bits are the number of the operation to cancel.
const CANCEL: u64 = 1 << 63;

/// The interval between cancellations of an operation: the kernel does not find one that is just starting.
const ONCE_MORE: Duration = Duration::from_millis(20);

/// A ring that threads and tasks share. You start operations in a [`scope`](Self::scope).
pub struct Ring {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    operations: usize,
}

pub(crate) struct Shared {
    book: Mutex<Book>,
    /// Notified when operations have ended, for threads that wait for the end of a scope.
    ended: Condvar,
    /// The thread that holds this lock drives. Lock order: `driver` before `book`.
    driver: Mutex<Driver>,
    /// Notified when there is work for the ring's thread.
    work: Condvar,
    bell: Bell,
}

struct Book {
    /// Entries that were not pushed yet.
    unsent: VecDeque<Entry>,
    /// The thread that runs the scopes of all unsent entries. `None` if there are several such threads.
    unsent_of: Option<ThreadId>,
    /// The operations whose completions were not reaped, by their user data.
    in_flight: HashMap<u64, InFlight, BuildHasherDefault<Number>>,
    /// The number of cancellations whose completions were not reaped.
    cancelling: usize,
    /// The user data of the next operation. It is never reused, so a cancellation cannot find another
    /// operation.
    next: u64,
    /// The number of free completion slots. An operation reserves two: one for itself and one for a
    /// cancellation. Therefore the completion queue cannot overflow.
    room: usize,
    /// Threads that wait for this many slots, in the order of their arrival.
    held_back: VecDeque<(usize, Arc<Gate>)>,
    /// The number of threads that wait for the end of a scope.
    ending: usize,
    /// Whether the ring's thread drives, or is about to.
    thread_drives: bool,
    /// The thread that runs tasks, and drives when none of them is ready.
    attended: Option<ThreadId>,
    /// Whether the driving thread has seen the current book, and waits in the kernel.
    asleep: bool,
    /// Whether the ring was dropped.
    over: bool,
    #[cfg(test)]
    overflowed: bool,
    /// How often a thread has entered the kernel.
    #[cfg(test)]
    turns: usize,
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

struct InFlight {
    kept: Kept,
    scope: Arc<Count>,
    cancelling: bool,
}

/// The number of operations of a scope that have not ended, and the thread that runs the scope. The number
/// changes only under the book's lock.
pub(crate) struct Count {
    number: AtomicUsize,
    pub(crate) owner: ThreadId,
}

impl Count {
    /// Returns the count of a scope that this thread runs.
    pub(crate) fn new() -> Self {
        Self { number: AtomicUsize::new(0), owner: thread::current().id() }
    }
}

/// The settings of a [`Ring`]. The default is an ordinary ring.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    sq_poll: Option<Duration>,
    io_poll: bool,
}

impl Options {
    /// Lets a kernel thread read the submission queue. The thread sleeps after it has found no entry for
    /// this long. Until then it keeps a CPU busy, so use this only on machines with idle CPUs.
    pub fn sq_poll(mut self, idle: Duration) -> Self {
        self.sq_poll = Some(idle);
        self
    }

    /// Lets the ring's thread poll devices for completions, instead of waiting for interrupts. The thread
    /// keeps a CPU busy while operations are in flight.
    ///
    /// Such a ring can read and write files that are open for direct I/O, on devices that support polling.
    /// All other operations fail with EOPNOTSUPP or EINVAL, and operations cannot be cancelled.
    pub fn io_poll(mut self) -> Self {
        self.io_poll = true;
        self
    }

    /// Creates a ring for this many operations in flight, like [`Ring::new`].
    ///
    /// # Errors
    ///
    /// The error of `io_uring_setup`, for example if the kernel does not support such a ring.
    pub fn build(self, operations: u32) -> io::Result<Ring> {
        let room = operations.saturating_mul(2);
        let mut builder = IoUring::builder();
        // With this flag, the kernel continues after an entry that it refuses, and so also fails the rest
        // of that entry's chain.
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
    /// Creates a ring for this many operations in flight. If you start one more, the call blocks until
    /// another has ended. If operations depend on one another, the ring needs room for all of them.
    ///
    /// # Errors
    ///
    /// The error of `io_uring_setup`, for example if the kernel does not support io_uring.
    pub fn new(operations: u32) -> io::Result<Self> {
        Options::default().build(operations)
    }

    /// Returns the default settings, to create a ring of another kind.
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

    /// Starts operations with consecutive numbers, and returns the first number. Waits until there is room
    /// for all of them. If they exceed the size of the ring, fails all of them with EINVAL.
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

    /// Arranges that all entries get submitted, because a task is going to wait. If this thread runs
    /// tasks, it submits when none of them is ready. Otherwise the ring's thread submits now.
    pub(crate) fn submit(&self) {
        let mut book = lock(&self.shared.book);
        if book.thread_drives || book.attended != Some(thread::current().id()) {
            self.shared.call(&mut book);
        }
    }

    /// Lets the driving thread submit all entries, because this thread is going to block.
    pub(crate) fn call(&self) {
        self.shared.call(&mut lock(&self.shared.book));
    }

    /// Drives on this thread, which runs a scope, until `has_come` returns true. Returns false if another
    /// thread drives, or must drive instead.
    pub(crate) fn attend(&self, mut has_come: impl FnMut() -> bool) -> bool {
        let Ok(mut driver) = self.shared.driver.try_lock() else { return false };
        let unwinding = Abort;
        let me = thread::current().id();
        let came = loop {
            if has_come() {
                break true;
            }
            let Some(want) = self.shared.push(&mut driver, Some(me)) else { break false };
            // Check again: a waker rings the bell only if the driving thread was already asleep.
            driver.enter(if has_come() { 0 } else { want });
            self.shared.reap(&mut driver);
        };
        mem::forget(unwinding);
        came
    }

    /// Lets this thread drive when none of its tasks is ready, unless another thread already does so.
    pub(crate) fn attended(&self) -> Attended<'_> {
        let (mut book, me) = (lock(&self.shared.book), thread::current().id());
        let begins = book.attended.is_none();
        book.attended = book.attended.or(Some(me));
        Attended { ring: self, begins }
    }

    /// Returns the shared state, for the wakers of tasks.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Asks the kernel to cancel an operation, unless it has ended. Its completion arrives later.
    pub(crate) fn cancel(&self, number: u64) {
        let mut book = lock(&self.shared.book);
        book.cancel(number);
        self.shared.call(&mut book);
    }

    /// Waits until no operation of a scope is in flight. Cancels them first if `cancel` is set.
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
    /// Ends the ring's thread. Scopes borrow the ring, so no operation is in flight.
    fn drop(&mut self) {
        lock(&self.shared.book).over = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // the thread never panics: it aborts the process
        }
    }
}

/// A guard: while it exists, its thread runs tasks and drives.
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
    /// Lets the ring's thread drive if there is anything to do, and wakes the driving thread if there are
    /// new entries.
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

    /// Wakes the driving thread, if it sleeps.
    fn rouse(&self, book: &mut Book) {
        if mem::replace(&mut book.asleep, false) {
            self.bell.ring();
        }
    }

    /// Wakes the thread that runs tasks, if it sleeps in the kernel, because a task is ready.
    pub(crate) fn task_woken(&self) {
        let mut book = lock(&self.book);
        if book.attended.is_some() && !book.thread_drives {
            self.rouse(&mut book);
        }
    }
}

impl Book {
    /// Returns whether there is nothing to submit, and no completion is expected.
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

    /// Accounts for a reaped completion. Returns the operation that it has ended, if any.
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
            // The operation keeps this slot for another cancellation.
            Some(operation) => operation.cancelling = false,
            None => self.room += 1,
        }
        None
    }

    /// Lets waiting threads start their operations, if there is room now.
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
