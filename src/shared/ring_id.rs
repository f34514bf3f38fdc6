//! The identity of a ring: a number that no other ring of the process has.

use core::sync::atomic::{AtomicUsize, Ordering};

/// The identity of an [`IoUring`](crate::IoUring) for its whole lifetime.
///
/// Buffer groups, slots, and the like are meaningful only for one ring. A handle to such a thing
/// also stores this identity, so that it is not used with another ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingId(usize);

impl RingId {
    /// Returns an identity that no ring had before.
    pub(crate) fn new() -> Self {
        // On 32-bit targets, the counter wraps after four billion rings. A mix-up would also need a
        // handle that was kept since then.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        // The number is the only shared data, so no ordering is needed.
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}
