//! Entries that are written in their slot.

use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use super::{Local, is_big};
use crate::shared::{Slot, put};

/// A reserved slot of the submission queue that is not written yet. See
/// [`reserve`](super::SubmissionQueue::reserve).
///
/// Dropping it releases the slot.
#[must_use = "a slot that is not written and committed is released"]
#[derive(Debug)]
pub struct Vacant<'q, E> {
    slot: NonNull<Slot<E>>,
    local: &'q mut Local,
}

/// A reserved slot of the submission queue with an entry that is not pushed yet. See
/// [`reserve`](super::SubmissionQueue::reserve).
///
/// Dropping it releases the slot.
#[must_use = "an entry that is not committed is released"]
#[derive(Debug)]
pub struct Filled<'q, E> {
    slot: NonNull<Slot<E>>,
    local: &'q mut Local,
}

// SAFETY: the slot is part of the view that it borrows mutably, and the view is `Send`.
unsafe impl<E: Send> Send for Vacant<'_, E> {}
// SAFETY: the slot is part of the view that it borrows mutably, and the view is `Send`.
unsafe impl<E: Send> Send for Filled<'_, E> {}

impl<'q, E: Copy> Vacant<'q, E> {
    /// `local.tail` is the position of the slot. For a 128-byte entry, `local.next` is the tail
    /// after it.
    #[inline(always)]
    pub(super) fn new(slot: NonNull<Slot<E>>, local: &'q mut Local) -> Self {
        Self { slot, local }
    }

    /// Writes the entry into the slot.
    #[inline(always)]
    pub fn write(self, entry: E) -> Filled<'q, E> {
        // SAFETY: the slot is reserved. It is ours and has the right size until it is committed.
        unsafe { put(self.slot.as_ptr(), entry) };
        Filled { slot: self.slot, local: self.local }
    }
}

impl<E> Filled<'_, E> {
    /// Pushes the entry.
    ///
    /// # Safety
    ///
    /// [The contract](super#the-contract) holds for the entry.
    #[inline(always)]
    pub unsafe fn commit(self) {
        if is_big::<E>() {
            // Only mixed queues use the end of a big entry.
            (self.local.tail, self.local.big_end) = (self.local.next, self.local.next);
        } else {
            self.local.tail = self.local.tail.wrapping_add(1);
        }
    }
}

impl<E> Deref for Filled<'_, E> {
    type Target = E;

    #[inline]
    fn deref(&self) -> &E {
        // SAFETY: the slot is reserved and written. The kernel reads it only once it is committed.
        unsafe { self.slot.as_ref() }
    }
}

impl<E> DerefMut for Filled<'_, E> {
    #[inline]
    fn deref_mut(&mut self) -> &mut E {
        // SAFETY: the slot is reserved and written. Nothing else uses it until it is committed.
        unsafe { self.slot.as_mut() }
    }
}
