//! Driving a ring: entering the kernel, reaping completions, and waking the thread that does so.

use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::ThreadId;

use rustix_uring::squeue::Flags;
use rustix_uring::{Errno, IoUring, cqueue, opcode};

use super::{Count, InFlight, Options, Shared, WAKE};
use crate::executor::lock;

/// Wakes the driving thread while it waits in the kernel.
pub(super) enum Bell {
    /// A second ring, which posts a completion on the first one.
    Message(Box<Mutex<IoUring>>, OwnedFd),
    /// No bell: a ring that polls devices waits only for them, and not for long.
    None,
}

impl Bell {
    pub(super) fn new(ring: &IoUring, options: Options) -> io::Result<Self> {
        if options.io_poll {
            return Ok(Self::None);
        }
        let bell = Mutex::new(IoUring::new(1)?);
        Ok(Self::Message(Box::new(bell), ring.as_fd().try_clone_to_owned()?))
    }

    pub(super) fn ring(&self) {
        let Self::Message(bell, fd) = self else { return };
        let ring = opcode::MsgRingData::new(fd, 0, WAKE, None);
        let ring = ring.build().flags(Flags::SKIP_SUCCESS);
        let mut bell = lock(bell);
        // SAFETY: the entry points to no memory, and the bell owns the descriptor.
        let pushed = unsafe { bell.submission().push(&ring) };
        while let Err(errno) = bell.submit() {
            if !passes(errno) {
                abort("the thread that drives the ring cannot be woken");
            }
        }
        if pushed.is_err() || bell.completion().next().is_some() {
            abort("the thread that drives the ring cannot be woken");
        }
    }
}

/// The ring, and buffers that the driving thread reuses.
pub(super) struct Driver {
    ring: IoUring,
    options: Options,
    /// Operations whose completions were reaped, and whose outputs were not computed yet.
    ended: Vec<(InFlight, cqueue::Entry)>,
    /// The scopes of the operations whose outputs were computed.
    scopes: Vec<Arc<Count>>,
}

impl Driver {
    pub(super) fn new(ring: IoUring, options: Options) -> Self {
        Self { ring, options, ended: Vec::new(), scopes: Vec::new() }
    }

    /// Submits entries, and waits for `want` completions.
    pub(super) fn enter(&mut self, want: usize) {
        let mut entered = self.ring.submit_and_wait(want);
        if want == 0 && self.options.sq_poll.is_some() {
            // Further entries may have no room until the kernel thread has consumed these.
            entered = entered.and_then(|_| self.ring.submitter().squeue_wait());
        }
        match entered {
            Err(errno) if !passes(errno) => abort("entering the kernel for the ring has failed"),
            _ => {}
        }
    }
}

impl Shared {
    /// Runs the ring's thread.
    pub(super) fn serve(&self) {
        let unwinding = Abort;
        loop {
            let mut book = lock(&self.book);
            while !book.thread_drives {
                if book.over {
                    return mem::forget(unwinding);
                }
                book = self.work.wait(book).unwrap_or_else(PoisonError::into_inner);
            }
            drop(book);
            let mut driver = lock(&self.driver);
            while let Some(want) = self.push(&mut driver, None) {
                driver.enter(want);
                self.reap(&mut driver);
            }
        }
    }

    /// Pushes queued entries. Returns the number of completions to wait for. Returns `None` if no completion
    /// is expected, or if `owner`, which runs a scope, must leave the driving to the ring's thread.
    pub(super) fn push(&self, driver: &mut Driver, owner: Option<ThreadId>) -> Option<usize> {
        let mut book = lock(&self.book);
        if book.is_idle() {
            book.thread_drives = false;
            return None;
        }
        if owner.is_some() && !book.unsent.is_empty() && book.unsent_of != owner {
            self.call(&mut book);
        }
        if owner.is_some() && book.thread_drives {
            return None;
        }
        let mut queue = driver.ring.submission();
        loop {
            // Push a chain as a whole: a submission that ends inside of it would break the link.
            let entries = book.unsent.make_contiguous();
            let links = Flags::IO_LINK | Flags::IO_HARDLINK;
            let last = entries.iter().position(|entry| !entry.get_flags().intersects(links));
            let Some(last) = last else { break };
            // SAFETY: the caller of `Operation::new` guarantees the contract while the state is kept, and
            // `in_flight` keeps it until the completion. A cancellation points to no memory.
            if unsafe { queue.push_multiple(&entries[..=last]) }.is_err() {
                break;
            }
            book.unsent.drain(..=last);
        }
        book.asleep = book.unsent.is_empty();
        Some(usize::from(book.asleep))
    }

    /// Reaps completions, and computes the outputs of their operations.
    pub(super) fn reap(&self, driver: &mut Driver) {
        #[cfg(test)]
        let overflowed = driver.ring.submission().cq_overflow();
        {
            let mut book = lock(&self.book);
            book.asleep = false;
            #[cfg(test)]
            {
                book.overflowed |= overflowed;
                book.turns += 1;
            }
            for cqe in driver.ring.completion() {
                driver.ended.extend(book.completed(cqe).map(|operation| (operation, cqe)));
            }
            book.let_in();
        }
        // This runs foreign code, such as destructors of buffers. Only the driver is locked here.
        for (operation, cqe) in driver.ended.drain(..) {
            let result = cqe.to_result().map(|_| cqe).map_err(io::Error::from);
            let _ = panic::catch_unwind(AssertUnwindSafe(|| operation.kept.complete(result)));
            driver.scopes.push(operation.scope);
        }
        // Count the operations down only now: when a scope ends, what its operations borrow may be freed.
        let book = lock(&self.book);
        for scope in driver.scopes.drain(..) {
            scope.number.fetch_sub(1, Ordering::Relaxed);
        }
        if book.ending > 0 {
            self.ended.notify_all();
        }
    }
}

/// Returns whether the error is temporary, so that another attempt can succeed.
fn passes(errno: Errno) -> bool {
    matches!(errno, Errno::INTR | Errno::AGAIN | Errno::BUSY)
}

/// Aborts the process. The kernel may still use borrowed memory, so no scope may end, not even by a panic.
fn abort(why: &str) -> ! {
    eprintln!("{why}");
    process::abort()
}

/// Aborts the process if the driving thread panics.
pub(super) struct Abort;

impl Drop for Abort {
    fn drop(&mut self) {
        abort("the thread that drives the ring has panicked");
    }
}
