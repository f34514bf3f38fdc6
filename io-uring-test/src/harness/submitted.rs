//! Records which operations the running case submitted.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

static SUBMITTED: Mutex<BTreeSet<u8>> = Mutex::new(BTreeSet::new());

fn submitted() -> MutexGuard<'static, BTreeSet<u8>> {
    SUBMITTED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records that the running case submits an operation.
pub(super) fn submits(opcode: u8) {
    submitted().insert(opcode);
}

/// Whether the running case submitted an operation.
pub(super) fn contains(opcode: u8) -> bool {
    submitted().contains(&opcode)
}

/// Forgets the operations of the previous case.
pub(super) fn begin() {
    submitted().clear();
}
