//! Where the two queues of a ring lie.

use core::ptr::NonNull;

use super::{AtomicU32, KernelU32, Ordering, RingId};
use crate::params::SetupFlags;

/// Where a submission queue lies, in whichever memory.
pub(crate) struct Sq {
    /// The ring that it is a queue of.
    pub(crate) id: RingId,
    /// The kernel's position: everything before it is taken.
    pub(crate) head: KernelU32,
    /// Our position: everything before it is published.
    pub(crate) tail: KernelU32,
    pub(crate) flags: KernelU32,
    pub(crate) dropped: KernelU32,
    /// The first slot.
    pub(crate) entries: NonNull<u8>,
    /// How many slots, a power of two.
    pub(crate) capacity: u32,
    /// How the ring was set up. With [`SetupFlags::LOST`], nothing is behind it any more.
    pub(crate) setup: SetupFlags,
    pub(crate) settings: Settings,
    /// What one view leaves to the next.
    pub(crate) saved: Saved,
}

/// What the program has asked for that the kernel knows nothing of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    /// Pads complete as other entries do.
    pub(crate) post_pad_cqes: bool,
    /// Memory that is mapped for the ring is left out of forked children.
    pub(crate) dontfork: bool,
}

/// What the words shared with the kernel do not tell a new view. Only the one view that exists writes
/// it; submitters read it.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    /// The local tail of a [`Rewind`] queue: how many entries wait for its own submit.
    pub(crate) tail: AtomicU32,
    /// The position after the newest entry of two slots.
    pub(crate) big_end: AtomicU32,
}

impl Saved {
    #[inline]
    pub(crate) fn tail(&self) -> u32 {
        self.tail.load(Ordering::Relaxed)
    }
}

// SAFETY: the words are atomics; entries are touched only by the one view that exists, which borrows
// the ring mutably or was promised to be alone (`submission_shared`).
unsafe impl Send for Sq {}
// SAFETY: as above.
unsafe impl Sync for Sq {}

impl Sq {
    /// Counts the entries that are published and not taken. While the kernel takes some, it may count
    /// those too.
    #[inline(always)]
    pub(crate) fn published(&self) -> u32 {
        // The head first: where another thread pushes, or the kernel's takes, it must not pass the
        // tail that it is compared with. The tail that the kernel has seen happens before its head,
        // which the acquire load sees.
        let head = self.head.acquire();
        self.tail.own().wrapping_sub(head)
    }

    /// Makes of this a queue without slots, of a ring whose calls all fail: the kernel has gone on in
    /// other memory than this.
    pub(crate) fn lose(&mut self) {
        (self.setup, self.capacity) = (SetupFlags::LOST, 0);
        self.saved = Saved::default();
        // Our memory's own words, which the kernel does not look at any more, now say so too.
        for word in [self.head, self.tail, self.flags, self.dropped] {
            word.release(0);
        }
    }
}

/// Where a completion queue lies, in whichever memory.
pub(crate) struct Cq {
    /// Our position: everything before it is released.
    pub(crate) head: KernelU32,
    /// The kernel's position: everything before it is published.
    pub(crate) tail: KernelU32,
    pub(crate) overflow: KernelU32,
    /// Kernels before 5.8 have none.
    pub(crate) flags: Option<KernelU32>,
    /// The first slot.
    pub(crate) entries: NonNull<u8>,
    /// How many slots, a power of two.
    pub(crate) capacity: u32,
    /// For how many completions to wait at most.
    pub(crate) most_wanted: u32,
}

/// For how many completions to wait at most. The kernel takes the number for a signed one, and does not
/// wait for fewer than none. And where all but one slot of a mixed queue are taken, and what comes next
/// needs two, it goes round for ever in a wait for all of them: no time and no signal ends it.
pub(crate) fn most_wanted(setup: SetupFlags, capacity: u32) -> u32 {
    if setup.contains(SetupFlags::CQE_MIXED) { capacity - 1 } else { i32::MAX as u32 }
}

// SAFETY: the words are atomics; entries are read only by the one view that exists, which borrows
// the ring mutably or was promised to be alone (`completion_shared`).
unsafe impl Send for Cq {}
// SAFETY: as above.
unsafe impl Sync for Cq {}

impl Cq {
    /// Makes of this a queue without slots: the kernel has gone on in other memory than this.
    pub(crate) fn lose(&mut self) {
        self.capacity = 0;
        for word in [self.head, self.tail, self.overflow].into_iter().chain(self.flags) {
            word.release(0);
        }
    }
}
