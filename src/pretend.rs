//! A ring in plain memory, with this program as the kernel.
//!
//! The queues do not know the difference: they get a region and offsets. So unit tests can drive
//! them through states that take a real ring years, as positions that wrap.

use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::ptr::NonNull;
use std::boxed::Box;
use std::vec::Vec;

use crate::cqueue::{self, CompletionQueue, Cq};
use crate::shared::{AtomicU32, KernelU32, Ordering};
use crate::squeue::{self, Kept, Sq, Sqe, SubmissionQueue};
use crate::sys;

/// The words of a ring, in an order of our own.
#[derive(Debug, Default)]
#[repr(C)]
struct Words {
    sq_head: AtomicU32,
    sq_tail: AtomicU32,
    sq_flags: AtomicU32,
    sq_dropped: AtomicU32,
    cq_head: AtomicU32,
    cq_tail: AtomicU32,
    cq_flags: AtomicU32,
    cq_overflow: AtomicU32,
}

/// A ring and the kernel behind it.
pub(crate) struct Pretend {
    words: NonNull<Words>,
    /// Submissions, in units of 64 bytes.
    sqes: Vec<UnsafeCell<Sqe>>,
    /// Completions, in units of 16 bytes.
    cqes: Vec<UnsafeCell<cqueue::Entry>>,
    sq: Sq,
    cq: Cq,
    /// How many units a place has.
    sqe_units: usize,
    cqe_units: usize,
}

impl Drop for Pretend {
    fn drop(&mut self) {
        // SAFETY: `new` has leaked this box, and the queues over it go with us.
        drop(unsafe { Box::from_raw(self.words.as_ptr()) });
    }
}

impl Pretend {
    /// A ring of `entries` places on each side, whose positions all are at `start`.
    pub(crate) fn new<S: squeue::EntryMarker, C: cqueue::EntryMarker>(
        entries: u32,
        start: u32,
    ) -> Self {
        let words = NonNull::from(Box::leak(Box::new(Words {
            sq_head: start.into(),
            sq_tail: start.into(),
            cq_head: start.into(),
            cq_tail: start.into(),
            ..Words::default()
        })));
        let sqe_units = size_of::<S::Place>() / size_of::<Sqe>();
        let cqe_units = size_of::<C::Place>() / size_of::<cqueue::Entry>();
        let mut sqes = Vec::new();
        sqes.resize_with(entries as usize * sqe_units, UnsafeCell::default);
        let mut cqes = Vec::new();
        cqes.resize_with(entries as usize * cqe_units, UnsafeCell::default);
        let at = |offset: usize| {
            // SAFETY: the offsets are those of words, which live as long as we do.
            unsafe { KernelU32::at(words.cast(), offset as u32) }
        };
        let sq = Sq {
            head: at(offset_of!(Words, sq_head)),
            tail: at(offset_of!(Words, sq_tail)),
            flags: at(offset_of!(Words, sq_flags)),
            dropped: at(offset_of!(Words, sq_dropped)),
            entries: NonNull::from(sqes.as_mut_slice()).cast(),
            capacity: entries,
            posting_pads: false,
            kept: UnsafeCell::new(Kept::default()),
        };
        let cq = Cq {
            head: at(offset_of!(Words, cq_head)),
            tail: at(offset_of!(Words, cq_tail)),
            flags: Some(at(offset_of!(Words, cq_flags))),
            overflow: at(offset_of!(Words, cq_overflow)),
            entries: NonNull::from(cqes.as_mut_slice()).cast(),
            capacity: entries,
        };
        Self { words, sqes, cqes, sq, cq, sqe_units, cqe_units }
    }

    pub(crate) fn posting_pads(mut self) -> Self {
        self.sq.posting_pads = true;
        self
    }

    pub(crate) fn without_cq_flags(mut self) -> Self {
        self.cq.flags = None;
        self
    }

    pub(crate) fn submission<S: squeue::EntryMarker>(&mut self) -> SubmissionQueue<'_, S> {
        // SAFETY: we are borrowed mutably, so there is no other view.
        unsafe { SubmissionQueue::new(&self.sq) }
    }

    pub(crate) fn completion<C: cqueue::EntryMarker>(&mut self) -> CompletionQueue<'_, C> {
        // SAFETY: we are borrowed mutably, so there is no other view.
        unsafe { CompletionQueue::new(&self.cq) }
    }

    /// A view, and the kernel beside it.
    pub(crate) fn split_sq<S: squeue::EntryMarker>(
        &mut self,
    ) -> (SubmissionQueue<'_, S>, Kernel<'_>) {
        // SAFETY: we are borrowed mutably, so there is no other view.
        (unsafe { SubmissionQueue::new(&self.sq) }, Kernel(self))
    }

    /// A view, and the kernel beside it.
    pub(crate) fn split_cq<C: cqueue::EntryMarker>(
        &mut self,
    ) -> (CompletionQueue<'_, C>, Kernel<'_>) {
        // SAFETY: we are borrowed mutably, so there is no other view.
        (unsafe { CompletionQueue::new(&self.cq) }, Kernel(self))
    }

    pub(crate) fn kernel(&mut self) -> Kernel<'_> {
        Kernel(self)
    }
}

/// The kernel's side of a ring. It does what the kernel does, and no more carefully.
pub(crate) struct Kernel<'a>(&'a Pretend);

impl Kernel<'_> {
    fn words(&self) -> &Words {
        // SAFETY: the words live as long as the ring that we borrow, and are atomics.
        unsafe { self.0.words.as_ref() }
    }

    /// Where the program has given its completions back to.
    pub(crate) fn cq_head(&self) -> u32 {
        self.words().cq_head.load(Ordering::Acquire)
    }

    /// What the program has published and we have not taken.
    pub(crate) fn published(&self) -> u32 {
        let words = self.words();
        words.sq_tail.load(Ordering::Acquire).wrapping_sub(words.sq_head.load(Ordering::Relaxed))
    }

    pub(crate) fn set_sq_flags(&self, flags: u32) {
        self.words().sq_flags.store(flags, Ordering::Relaxed);
    }

    /// Takes the oldest entry: its fields, and on rings of 128 bytes, or where `is_wide` knows the
    /// operation to have them, the second half.
    pub(crate) fn take(&mut self, is_wide: impl Fn(u8) -> bool) -> Option<(Sqe, Option<Sqe>)> {
        if self.published() == 0 {
            return None;
        }
        let head = self.words().sq_head.load(Ordering::Relaxed);
        let units = self.0.sqe_units;
        let index = (head & (self.0.sq.capacity - 1)) as usize * units;
        let unit = |index: usize| {
            // SAFETY: the program has published the place, and does not write there before we have
            // moved the head.
            unsafe { *self.0.sqes[index].get() }
        };
        let first = unit(index);
        let wide = units == 2 || is_wide(first.opcode);
        // A wide entry at the last place of a mixed ring would be out of bounds here.
        let second = wide.then(|| unit(index + 1));
        let places = if wide && units == 1 { 2 } else { 1 };
        assert!(places <= self.published(), "half an entry was published");
        self.words().sq_head.store(head.wrapping_add(places), Ordering::Release);
        Some((first, second))
    }

    /// Posts a completion; on mixed rings a `big` one takes two places, behind a filler if it would
    /// wrap. Says whether there was room.
    pub(crate) fn post(&mut self, user_data: u64, big: Option<[u64; 2]>) -> bool {
        let mixed = self.0.cqe_units == 1;
        let needed = if mixed && big.is_some() { 2 } else { 1 };
        let capacity = self.0.cq.capacity;
        let mut tail = self.words().cq_tail.load(Ordering::Relaxed);
        let filler = u32::from(needed == 2 && tail & (capacity - 1) == capacity - 1);
        if capacity - tail.wrapping_sub(self.cq_head()) < needed + filler {
            return false;
        }
        if filler == 1 {
            self.write(
                tail,
                0,
                cqueue::Entry { flags: sys::IORING_CQE_F_SKIP, user_data: !0, res: -1 },
            );
            tail = tail.wrapping_add(1);
        }
        let flags = if needed == 2 { sys::IORING_CQE_F_32 } else { 0 };
        self.write(tail, 0, cqueue::Entry { user_data, res: 0, flags });
        if let Some([first, second]) = big {
            let second = second.to_ne_bytes();
            let half = |at: usize| [second[at], second[at + 1], second[at + 2], second[at + 3]];
            let rest = cqueue::Entry {
                user_data: first,
                res: i32::from_ne_bytes(half(0)),
                flags: u32::from_ne_bytes(half(4)),
            };
            self.write(tail, 1, rest);
        }
        self.words().cq_tail.store(tail.wrapping_add(needed), Ordering::Release);
        true
    }

    fn write(&mut self, position: u32, unit: usize, entry: cqueue::Entry) {
        let units = self.0.cqe_units;
        let index = (position & (self.0.cq.capacity - 1)) as usize * units + unit;
        // SAFETY: the program reads no place that is not published.
        unsafe { *self.0.cqes[index].get() = entry };
    }
}
