//! The operations, in files named like those of the crate. For each operation, the cases test its
//! effect, its options, and what it rejects.

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

/// Submits what is queued and waits for `n` completions, which may have the flag `more`. Sorts them
/// by user data; completions with equal user data stay in order.
pub(crate) fn reap(ring: &mut dyn Ring, n: usize) -> Result<Vec<Completion>> {
    let mut done = Vec::new();
    while done.len() < n {
        ring.submit_and_wait(n - done.len())?;
        done.extend(ring.reap());
    }
    anyhow::ensure!(done.len() == n, "expected {n} completions: {done:?}");
    done.sort_by_key(|cqe| cqe.user_data());
    Ok(done)
}

/// Submits the one queued operation and waits for its last completion.
pub(crate) fn reap_to_the_last(ring: &mut dyn Ring) -> Result<Vec<Completion>> {
    let mut done = Vec::new();
    while done.last().is_none_or(|cqe: &Completion| cqe.more()) {
        ring.submit_and_wait(1)?;
        done.extend(ring.reap());
    }
    Ok(done)
}

/// Runs an operation on a ring of its own, to find out whether the kernel supports it. The errors
/// in `fine` are ones with which the kernel answers an operation that it supports.
///
/// # Safety
///
/// The memory that the entry points to, and its descriptors, stay valid until this returns.
pub(crate) unsafe fn taken(entry: Entry, fine: &[Errno]) -> Result {
    let mut ring = KINDS[0].build(&Setup::USUAL)?;
    // SAFETY: the caller upholds the same contract.
    match unsafe { ring.run(entry) }?.to_result() {
        Err(errno) if !fine.contains(&errno) => Err(errno.into()),
        _ => Ok(()),
    }
}
