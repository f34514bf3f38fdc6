//! Driving a ring: what whoever enters the kernel does, and how that is ended.

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

/// What ends a wait in the kernel.
pub(super) enum Bell {
    /// A ring whose only use is to post a completion on the other one.
    Message(Box<Mutex<IoUring>>, OwnedFd),
    /// None: a ring that polls devices waits for nothing else, and not for long.
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
        // SAFETY: it points to nothing, and the descriptor is open as long as the bell is there.
        let pushed = unsafe { bell.submission().push(&ring) };
        while let Err(errno) = bell.submit() {
            if !passes(errno) {
                abort("who drives the ring cannot be woken");
            }
        }
        if pushed.is_err() || bell.completion().next().is_some() {
            abort("who drives the ring cannot be woken");
        }
    }
}

/// What enters the kernel.
pub(super) struct Driver {
    ring: IoUring,
    options: Options,
    /// What has ended, and was not handed out.
    ended: Vec<(InFlight, cqueue::Entry)>,
    /// The scopes of what was handed out.
    scopes: Vec<Arc<Count>>,
}

impl Driver {
    pub(super) fn new(ring: IoUring, options: Options) -> Self {
        Self { ring, options, ended: Vec::new(), scopes: Vec::new() }
    }

    /// Submits, and waits for so many completions.
    pub(super) fn enter(&mut self, want: usize) {
        let mut entered = self.ring.submit_and_wait(want);
        if want == 0 && self.options.sq_poll.is_some() {
            // There may be no room for what is left until the kernel's thread has taken the rest.
            entered = entered.and_then(|_| self.ring.submitter().squeue_wait());
        }
        match entered {
            Err(errno) if !passes(errno) => abort("the ring fails"),
            _ => {}
        }
    }
}

impl Shared {
    /// What the ring's thread does.
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

    /// Pushes what is there to be pushed. Returns how many completions are to be waited for; `None` if
    /// there are none to come, or if it is not for this thread, which runs a scope, to drive.
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
        // What goes now may be anything of anybody's, and do anything: nothing is locked but the driver.
        for (operation, cqe) in driver.ended.drain(..) {
            let result = cqe.to_result().map(|_| cqe).map_err(io::Error::from);
            let _ = panic::catch_unwind(AssertUnwindSafe(|| operation.kept.complete(result)));
            driver.scopes.push(operation.scope);
        }
        // Only then may a scope end: with it goes what its operations have used.
        let book = lock(&self.book);
        for scope in driver.scopes.drain(..) {
            scope.number.fetch_sub(1, Ordering::Relaxed);
        }
        if book.ending > 0 {
            self.ended.notify_all();
        }
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

/// Ends the process if a thread panics that drives.
pub(super) struct Abort;

impl Drop for Abort {
    fn drop(&mut self) {
        abort("a thread panics that drives the ring");
    }
}
