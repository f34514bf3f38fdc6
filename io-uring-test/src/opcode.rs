//! The operations, in files named like those of the crate: for each its effect, its options, and
//! what it refuses.

pub(crate) mod buffer;
pub(crate) mod cmd;
pub(crate) mod file;
pub(crate) mod fs;
pub(crate) mod futex;
pub(crate) mod net;
pub(crate) mod pipe;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod ring;
pub(crate) mod rw;
pub(crate) mod slot;
pub(crate) mod timeout;

use rustix_uring::Errno;
use rustix_uring::squeue::Entry;

use crate::harness::{Completion, KINDS, Result, Ring, Setup};

/// Submits what is queued, and waits for as many completions, be they not the last of theirs; in the
/// order of their user data, and of completion where that is the same.
pub(crate) fn reap(ring: &mut dyn Ring, n: usize) -> Result<Vec<Completion>> {
    let mut done = Vec::new();
    while done.len() < n {
        ring.submit_and_wait(n - done.len())?;
        done.extend(ring.reap());
    }
    anyhow::ensure!(done.len() == n, "{n} completions expected: {done:?}");
    done.sort_by_key(|cqe| cqe.user_data());
    Ok(done)
}

/// Submits what is queued, one operation, and waits until it has completed for the last time.
pub(crate) fn reap_to_the_last(ring: &mut dyn Ring) -> Result<Vec<Completion>> {
    let mut done = Vec::new();
    while done.last().is_none_or(|cqe: &Completion| cqe.more()) {
        ring.submit_and_wait(1)?;
        done.extend(ring.reap());
    }
    Ok(done)
}

/// Runs an operation on a ring of its own, to see whether the kernel takes it. An answer among
/// `fine` is one that it gives to what it takes.
///
/// # Safety
///
/// What the entry points to, and its descriptors, are valid until this returns.
pub(crate) unsafe fn taken(entry: Entry, fine: &[Errno]) -> Result {
    let mut ring = KINDS[0].build(&Setup::USUAL)?;
    // SAFETY: the caller's promise.
    match unsafe { ring.run(entry) }?.to_result() {
        Err(errno) if !fine.contains(&errno) => Err(errno.into()),
        _ => Ok(()),
    }
}
