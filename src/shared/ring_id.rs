//! Which ring is meant: a number that no other ring of the process has.

use core::sync::atomic::{AtomicUsize, Ordering};

/// The identity of an [`IoUring`](crate::IoUring), which it keeps while it lives.
///
/// Group numbers, slots and the like mean nothing without their ring. What holds such a number
/// also holds this, so that another ring's number is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingId(usize);

impl RingId {
    /// An identity that was not given before.
    pub(crate) fn new() -> Self {
        // A 32-bit counter comes around after four billion rings: a mix-up also needs a handle
        // that was kept since then.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // Nothing but the number is shared, so no ordering is needed.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
