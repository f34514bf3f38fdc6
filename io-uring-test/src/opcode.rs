//! The operations, in files named like those of the crate: for each its effect, its options, and
//! what it refuses.

pub(crate) mod buffer;
pub(crate) mod futex;
pub(crate) mod pipe;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod ring;
pub(crate) mod rw;
pub(crate) mod slot;
pub(crate) mod timeout;

use rustix_uring::Errno;
use rustix_uring::squeue::Entry;

use crate::harness::{KINDS, Result, Setup};

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
