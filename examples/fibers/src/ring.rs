//! Operations. A fiber that starts one is suspended until it has completed.

use std::mem;
use std::time::Duration;

use rustix_uring::squeue::Entry;
use rustix_uring::types::Timespec;
use rustix_uring::{Errno, Probe, cqueue, opcode};

use crate::scheduler::{Abort, Key, Scheduler, suspend, with};

/// Marks the user data of a cancellation. The user data of an operation is the number of its fiber.
const CANCELLATION: u64 = 1 << 63;
/// Marks the user data of the pause before another cancellation.
const PAUSE: u64 = 1 << 62;
/// The length of that pause.
static A_MILLISECOND: Timespec = Timespec::new().nsec(1_000_000);

/// Submits an operation, and suspends the fiber until the operation has completed.
///
/// # Errors
///
/// The error of the operation, or ECANCELED if the fiber was cancelled before the operation succeeded. If the
/// operation succeeds despite a cancellation, this returns its success. A cancellation never causes EINTR,
/// because std retries after EINTR.
///
/// # Safety
///
/// The memory that the entry points to, and its descriptor, stay valid until this returns.
pub(crate) unsafe fn operate(entry: Entry) -> Result<cqueue::Entry, Errno> {
    if with(|it| it.running().cancelled) {
        return Err(Errno::CANCELED);
    }
    // SAFETY: the caller keeps the same contract.
    unsafe { wait_for(entry, true) }
}

/// Same as [`operate`], but ignores cancellations. Use it for operations that complete without waiting for a
/// peer.
///
/// # Safety
///
/// Same as [`operate`].
pub(crate) unsafe fn operate_regardless(entry: Entry) -> Result<cqueue::Entry, Errno> {
    // SAFETY: the caller keeps the same contract.
    unsafe { wait_for(entry, false) }
}

/// # Safety
///
/// Same as [`operate`].
unsafe fn wait_for(entry: Entry, cancellable: bool) -> Result<cqueue::Entry, Errno> {
    with(|it| {
        it.running().cancellable = cancellable;
        // SAFETY: the caller keeps memory and descriptor valid until this function returns, and it returns
        // only after the operation has completed.
        unsafe { it.push(entry.user_data(it.running as u64)) }
    })?;
    let (completion, cancelled) = loop {
        suspend();
        let fiber = with(|it| (it.running().completion.take(), it.running().cancelled));
        if let (Some(completion), cancelled) = fiber {
            break (completion, cancelled);
        }
    };
    match completion.to_result() {
        Ok(_) => Ok(completion),
        Err(Errno::INTR) if cancelled => Err(Errno::CANCELED),
        Err(errno) => Err(errno),
    }
}

impl Scheduler {
    /// Cancels these fibers and all fibers below them, from the top down.
    pub(crate) fn cancel(&mut self, mut keys: Vec<Key>) {
        let mut at = 0;
        while let Some(&key) = keys.get(at) {
            keys.extend(self.children(key));
            let fiber = &mut self.fibers[key];
            if !mem::replace(&mut fiber.cancelled, true) && fiber.cancellable {
                self.later.push(cancellation(key));
            }
            at += 1;
        }
    }

    /// Pushes the cancellations, and the pauses between them.
    pub(crate) fn push_later(&mut self) {
        for entry in mem::take(&mut self.later) {
            // A ring that has failed has nothing left to cancel.
            // SAFETY: the entry points only to static memory.
            let _ = unsafe { self.push(entry) };
        }
    }

    /// Pushes an entry. If the queue is full, submits it first.
    ///
    /// # Safety
    ///
    /// The contract of the submission queue holds for the entry.
    pub(crate) unsafe fn push(&mut self, entry: Entry) -> Result<(), Errno> {
        loop {
            if let Some(errno) = self.failed {
                return Err(errno);
            }
            // SAFETY: the caller guarantees the contract.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                self.in_flight += 1;
                return Ok(());
            }
            self.enter(0);
        }
    }

    /// Submits entries, waits for `want` completions, and makes the fibers ready that waited for them.
    pub(crate) fn enter(&mut self, want: usize) {
        match self.ring.submit_and_wait(want) {
            Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
            Err(errno) => return self.fail(errno),
        }
        while let Some(completion) = self.next_completion() {
            self.in_flight -= 1;
            self.complete(completion);
        }
    }

    fn next_completion(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    /// Makes the fiber ready whose operation has completed.
    ///
    /// If a cancellation fails, the operation either is changing its state, or cannot be cancelled at all. In
    /// the first case, another cancellation after a pause succeeds.
    fn complete(&mut self, completion: cqueue::Entry) {
        let kind = completion.user_data() & (CANCELLATION | PAUSE);
        let key = (completion.user_data() ^ kind) as Key;
        let fiber = self.fibers.get_mut(key);
        let waits_on = fiber.as_ref().is_some_and(|fiber| fiber.cancellable && fiber.cancelled);
        match (kind, fiber) {
            (0, Some(fiber)) => {
                fiber.cancellable = false;
                fiber.completion = Some(completion);
                self.ready.push_back(key);
            }
            (CANCELLATION, _) if waits_on && completion.to_result().is_err() => {
                let pause = opcode::Timeout::new(&A_MILLISECOND).build();
                self.later.push(pause.user_data(PAUSE | key as u64));
            }
            (PAUSE, _) if waits_on => self.later.push(cancellation(key)),
            _ => {}
        }
    }

    /// Abandons the ring after an error: waits for everything that is in flight. All fibers continue, and
    /// their operations fail with `errno`.
    pub(crate) fn fail(&mut self, errno: Errno) {
        self.failed = Some(errno);
        let keys: Vec<u64> = self.fibers.iter().map(|(key, _)| key as u64).collect();
        let mut completions = Vec::new();
        // Without a time limit: until the last completion, the kernel uses the fibers' stacks.
        let (in_flight, forever) = (&mut self.in_flight, Duration::MAX);
        let ended = self.ring.quiesce_with(in_flight, forever, &keys, |completion| {
            completions.push(completion);
            true
        });
        if ended.is_err() {
            drop(Abort("the ring has failed, and the kernel may still use the stacks"));
        }
        completions.into_iter().for_each(|completion| self.complete(completion));
    }

    /// Returns whether the kernel has `bind` and `listen` as operations, which Linux 6.11 introduced.
    pub(crate) fn listens(&mut self) -> bool {
        *self.listens.get_or_insert_with(|| {
            let mut probe = Probe::new();
            let probed = self.ring.submitter().register_probe(&mut probe);
            probed.is_ok() && probe.is_supported(opcode::Listen::CODE)
        })
    }
}

fn cancellation(key: Key) -> Entry {
    opcode::AsyncCancel::new(key as u64).build().user_data(CANCELLATION | key as u64)
}
