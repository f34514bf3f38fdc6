//! The ring's own thread, and what wakes it.

use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use rustix_uring::squeue::Flags;
use rustix_uring::{Errno, IoUring, cqueue, opcode};

use super::{Count, InFlight, Options, Shared, WAKE};
use crate::executor::lock;

/// Wakes the ring's thread.
pub(super) enum Bell {
    /// A ring whose only use is to post a completion on the other one, which ends its wait.
    Message(Box<Mutex<IoUring>>, OwnedFd),
    /// A ring that polls does not wait where nothing is in flight. Its thread waits here, then.
    Signal(Condvar),
}

impl Bell {
    pub(super) fn new(ring: &IoUring, options: Options) -> io::Result<Self> {
        if options.io_poll {
            return Ok(Self::Signal(Condvar::new()));
        }
        Ok(Self::Message(
            Box::new(Mutex::new(IoUring::new(1)?)),
            ring.as_fd().try_clone_to_owned()?,
        ))
    }

    /// Wakes the thread, which sleeps.
    pub(super) fn ring(&self) {
        let (bell, fd) = match self {
            Self::Message(bell, fd) => (bell, fd),
            Self::Signal(signal) => return signal.notify_one(),
        };
        let ring = opcode::MsgRingData::new(fd, 0, WAKE, None);
        let ring = ring.build().flags(Flags::SKIP_SUCCESS);
        let mut bell = lock(bell);
        // SAFETY: it points to nothing, and the descriptor is open as long as the bell is there.
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

/// What the ring's thread has.
pub(super) struct Driver {
    pub(super) ring: IoUring,
    pub(super) options: Options,
    pub(super) shared: Arc<Shared>,
}

impl Driver {
    pub(super) fn drive(mut self) {
        let unwinding = Abort;
        while let Some(want) = self.push() {
            let mut entered = self.ring.submit_and_wait(want);
            if want == 0 && self.options.sq_poll.is_some() {
                // There is no room for what is left until the kernel's thread has taken the rest.
                entered = entered.and_then(|_| self.ring.submitter().squeue_wait());
            }
            match entered {
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
        while book.in_flight.is_empty() {
            match &self.shared.bell {
                _ if book.over => return None,
                Bell::Signal(signal) if book.unsent.is_empty() => {
                    book.asleep = true;
                    book = signal.wait(book).unwrap_or_else(PoisonError::into_inner);
                }
                _ => break,
            }
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
                book.turns += 1;
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
