//! The locations of the two queues of a ring.

use core::ptr::NonNull;

use super::{AtomicU32, KernelU32, Ordering, RingId};
use crate::params::SetupFlags;

/// The location of a submission queue, independent of who owns the memory.
pub(crate) struct Sq {
    /// The ring that this queue belongs to.
    pub(crate) id: RingId,
    /// The kernel's position: it has consumed every entry before it.
    pub(crate) head: KernelU32,
    /// Our position: we have published every entry before it.
    pub(crate) tail: KernelU32,
    pub(crate) flags: KernelU32,
    pub(crate) dropped: KernelU32,
    /// The first slot.
    pub(crate) entries: NonNull<u8>,
    /// The number of slots, a power of two.
    pub(crate) capacity: u32,
    /// The flags of the ring. With [`SetupFlags::LOST`], the ring is not usable anymore.
    pub(crate) setup: SetupFlags,
    pub(crate) settings: Settings,
    /// The state that one view passes on to the next.
    pub(crate) saved: Saved,
}

/// Settings of the program that the kernel does not know.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    /// Pads post completions like other entries.
    pub(crate) post_pad_cqes: bool,
    /// Forked children do not inherit the memory that is mapped for the ring.
    pub(crate) dontfork: bool,
}

/// The state of a view that cannot be derived from the words shared with the kernel. Only the one
/// existing view writes it; submitters read it.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    /// The local tail of a [`Rewind`] queue: the number of entries that wait for its own submit.
    pub(crate) tail: AtomicU32,
    /// The position after the newest entry that takes two slots.
    pub(crate) big_end: AtomicU32,
}

impl Saved {
    #[inline]
    pub(crate) fn tail(&self) -> u32 {
        self.tail.load(Ordering::Relaxed)
    }
}

// SAFETY: the words are atomics. Only the one existing view accesses the entries. It borrows the
// ring mutably, or its caller promised that it is the only one (`submission_shared`).
unsafe impl Send for Sq {}
// SAFETY: the words are atomics. Only the one existing view accesses the entries.
unsafe impl Sync for Sq {}

impl Sq {
    /// Returns the number of published entries that the kernel has not consumed. Entries that the
    /// kernel consumes during the call may be counted, too.
    #[inline(always)]
    pub(crate) fn published(&self) -> u32 {
        // Load the head before the tail: while another thread pushes and the kernel's thread
        // consumes, a head loaded second could be ahead of the tail. The kernel loads a tail before
        // it stores the head that follows from it, so our acquire load of the head makes that tail
        // visible.
        let head = self.head.acquire();
        self.tail.own().wrapping_sub(head)
    }

    /// Turns this into a queue without slots, of a ring on which every call fails. Used when the
    /// kernel has moved the ring to other memory, which we could not map.
    pub(crate) fn lose(&mut self) {
        (self.setup, self.capacity) = (SetupFlags::LOST, 0);
        self.saved = Saved::default();
        // The kernel does not read these words anymore. Reset them, so that they describe an empty
        // queue.
        for word in [self.head, self.tail, self.flags, self.dropped] {
            word.release(0);
        }
    }
}

/// The location of a completion queue, independent of who owns the memory.
pub(crate) struct Cq {
    /// Our position: we have released every entry before it.
    pub(crate) head: KernelU32,
    /// The kernel's position: it has published every entry before it.
    pub(crate) tail: KernelU32,
    pub(crate) overflow: KernelU32,
    /// `None` on kernels before 5.8.
    pub(crate) flags: Option<KernelU32>,
    /// The first slot.
    pub(crate) entries: NonNull<u8>,
    /// The number of slots, a power of two.
    pub(crate) capacity: u32,
    /// The largest number of completions to wait for.
    pub(crate) most_wanted: u32,
}

/// Returns the largest number of completions to wait for.
///
/// The kernel treats the number as signed and does not wait for a negative number. On a mixed
/// queue, a wait for all slots may never end: if all slots but one are taken and the next
/// completion needs two, the kernel loops, and neither a timeout nor a signal stops it.
pub(crate) fn most_wanted(setup: SetupFlags, capacity: u32) -> u32 {
    if setup.contains(SetupFlags::CQE_MIXED) { capacity - 1 } else { i32::MAX as u32 }
}

// SAFETY: the words are atomics. Only the one existing view reads the entries. It borrows the ring
// mutably, or its caller promised that it is the only one (`completion_shared`).
unsafe impl Send for Cq {}
// SAFETY: the words are atomics. Only the one existing view reads the entries.
unsafe impl Sync for Cq {}

impl Cq {
    /// Turns this into a queue without slots. Used when the kernel has moved the ring to other
    /// memory.
    pub(crate) fn lose(&mut self) {
        self.capacity = 0;
        for word in [self.head, self.tail, self.overflow].into_iter().chain(self.flags) {
            word.release(0);
        }
    }
}
