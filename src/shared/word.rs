//! Words that we and the kernel both access, and the memory ordering of each access.

use core::ptr::NonNull;

#[cfg(not(rustix_uring_loom))]
mod access {
    pub(crate) use core::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};

    /// The memory of one entry of a ring.
    pub(crate) type Slot<T> = T;

    /// Writes an entry into its slot.
    ///
    /// # Safety
    ///
    /// `slot` is valid for writes, and nothing else accesses it until it is published.
    #[inline(always)]
    pub(crate) unsafe fn put<T>(slot: *mut Slot<T>, entry: T) {
        // SAFETY: the caller promises a slot that is valid for writes, and that nothing else accesses.
        unsafe { slot.write(entry) }
    }

    /// Copies an entry out of its slot.
    ///
    /// # Safety
    ///
    /// `slot` holds a published entry, and nothing writes to it before it is released.
    #[inline(always)]
    pub(crate) unsafe fn get<T: Copy>(slot: *const Slot<T>) -> T {
        // SAFETY: the caller promises that the slot holds an entry, and that nothing writes to it.
        unsafe { slot.read() }
    }
}

#[cfg(rustix_uring_loom)]
mod access {
    pub(crate) use loom::sync::atomic::{AtomicU16, AtomicU32, Ordering, fence};

    pub(crate) type Slot<T> = loom::cell::UnsafeCell<T>;

    pub(crate) unsafe fn put<T>(slot: *mut Slot<T>, entry: T) {
        // SAFETY: the caller keeps `slot` alive. loom checks that the access is exclusive.
        unsafe { (*slot).with_mut(|cell| cell.write(entry)) }
    }

    pub(crate) unsafe fn get<T: Copy>(slot: *const Slot<T>) -> T {
        // SAFETY: the caller keeps `slot` alive. loom checks that nothing writes to it at the same
        // time.
        unsafe { (*slot).with(|cell| cell.read()) }
    }
}

pub(crate) use access::*;

/// A 32-bit word that we and the kernel access at the same time.
#[derive(Clone, Copy)]
pub(crate) struct KernelU32(NonNull<AtomicU32>);

// SAFETY: the word is only accessed atomically, so handles to it may be used from any thread.
unsafe impl Send for KernelU32 {}
// SAFETY: the word is only accessed atomically.
unsafe impl Sync for KernelU32 {}

impl KernelU32 {
    /// Returns the word at `offset` bytes into a region.
    ///
    /// # Safety
    ///
    /// The region has an aligned word at the offset, and outlives every copy of the result.
    #[inline(always)]
    pub(crate) unsafe fn at(region: NonNull<u8>, offset: u32) -> Self {
        // SAFETY: the caller promises that the offset lies inside the region.
        Self(unsafe { region.add(offset as usize) }.cast())
    }

    #[inline(always)]
    fn word(&self) -> &AtomicU32 {
        // SAFETY: the caller of `at` promised that the word is aligned and outlives `self`. Both we
        // (through this type) and the kernel access it only atomically.
        unsafe { self.0.as_ref() }
    }

    /// Reads a word that only we write.
    #[inline(always)]
    pub(crate) fn own(self) -> u32 {
        self.word().load(Ordering::Relaxed)
    }

    /// Reads flags or a counter, which announce no other memory.
    #[inline(always)]
    pub(crate) fn relaxed(self) -> u32 {
        self.word().load(Ordering::Relaxed)
    }

    /// Reads a position of the kernel. All memory that the kernel wrote before it stored the
    /// position is visible after this call.
    #[inline(always)]
    pub(crate) fn acquire(self) -> u32 {
        self.word().load(Ordering::Acquire)
    }

    /// Stores a position of ours. All memory that we wrote before this call is visible to the
    /// kernel once it loads the position.
    #[inline(always)]
    pub(crate) fn release(self, value: u32) {
        self.word().store(value, Ordering::Release);
    }

    /// Sets bits in a word that both sides write.
    #[inline]
    pub(crate) fn set_bits(self, bits: u32) {
        self.word().fetch_or(bits, Ordering::Release);
    }

    /// Clears bits in a word that both sides write.
    #[inline]
    pub(crate) fn clear_bits(self, bits: u32) {
        self.word().fetch_and(!bits, Ordering::Release);
    }
}

/// A 16-bit word that we write while the kernel reads it: the tail of a ring of provided buffers.
#[derive(Clone, Copy)]
pub(crate) struct KernelU16(NonNull<AtomicU16>);

// SAFETY: the word is only accessed atomically, so handles to it may be used from any thread.
unsafe impl Send for KernelU16 {}
// SAFETY: the word is only accessed atomically.
unsafe impl Sync for KernelU16 {}

impl KernelU16 {
    /// Returns the word at `offset` bytes into a region.
    ///
    /// # Safety
    ///
    /// The region has an aligned word at the offset, and outlives every copy of the result.
    #[inline(always)]
    pub(crate) unsafe fn at(region: NonNull<u8>, offset: u32) -> Self {
        // SAFETY: the caller promises that the offset lies inside the region.
        Self(unsafe { region.add(offset as usize) }.cast())
    }

    #[inline(always)]
    fn word(&self) -> &AtomicU16 {
        // SAFETY: the caller of `at` promised that the word is aligned and outlives `self`. Both we
        // (through this type) and the kernel access it only atomically.
        unsafe { self.0.as_ref() }
    }

    /// Reads a word that only we write.
    #[inline(always)]
    pub(crate) fn own(self) -> u16 {
        self.word().load(Ordering::Relaxed)
    }

    /// Stores a position of ours. All memory that we wrote before this call is visible to the
    /// kernel once it loads the position.
    #[inline(always)]
    pub(crate) fn release(self, value: u16) {
        self.word().store(value, Ordering::Release);
    }
}

/// Orders publishing submissions before checking whether the SQPOLL thread sleeps.
///
/// Before the thread sleeps, it sets NEED_WAKEUP, executes a full barrier, and reads the tail once
/// more. We store the tail, execute this full barrier, and read NEED_WAKEUP. With both barriers, at
/// least one side sees the store of the other. With release and acquire alone, both could read the
/// old value, and the entry would wait for a wake-up that nobody sends.
#[inline(always)]
pub(crate) fn wakeup_fence() {
    fence(Ordering::SeqCst);
}
