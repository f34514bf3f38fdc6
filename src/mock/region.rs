//! The memory of a mock ring, and what a kernel does there, no more carefully than it does.

use core::mem::offset_of;
use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

use crate::cqueue;
use crate::memory::{Memory, zeroed_params};
use crate::shared::{AtomicU32, Ordering};
use crate::squeue::{self, Sqe};
use crate::sys::{self, io_cqring_offsets, io_sqring_offsets, io_uring_params};

/// The words of a ring, in an order of our own.
#[repr(C, align(64))]
pub(crate) struct Words {
    pub(crate) sq_head: AtomicU32,
    pub(crate) sq_tail: AtomicU32,
    pub(crate) sq_flags: AtomicU32,
    sq_dropped: AtomicU32,
    pub(crate) cq_head: AtomicU32,
    pub(crate) cq_tail: AtomicU32,
    cq_flags: AtomicU32,
    pub(crate) cq_overflow: AtomicU32,
}

/// Words, then completions in units of 16 bytes, then submissions in units of 64.
pub(crate) struct Region {
    start: NonNull<u8>,
    layout: Layout,
    /// Where the submissions begin.
    sqes: usize,
    sq_entries: u32,
    cq_entries: u32,
    /// How many units a slot has.
    sqe_units: u32,
    cqe_units: u32,
}

// SAFETY: the memory is nobody else's but the queues', which share it as they do with a kernel.
unsafe impl Send for Region {}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `new` has allocated it so, and the queues over it are gone: their ring keeps us.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

impl Region {
    /// Queues of these sizes, whose positions all are at `start`.
    pub(crate) fn new<S: squeue::Kind, C: cqueue::Kind>(
        sq_entries: u32,
        cq_entries: u32,
        start: u32,
    ) -> Self {
        let cqes = cq_entries as usize * size_of::<C::Slot>();
        let sqes = (size_of::<Words>() + cqes).next_multiple_of(align_of::<Words>());
        let size = sqes + sq_entries as usize * size_of::<S::Slot>();
        let layout = Layout::from_size_align(size, align_of::<Words>())
            .expect("sizes are the kernel's, and those are small");
        // SAFETY: there are words at least.
        let Some(memory) = NonNull::new(unsafe { alloc_zeroed(layout) }) else {
            handle_alloc_error(layout)
        };
        let region = Self {
            start: memory,
            layout,
            sqes,
            sq_entries,
            cq_entries,
            sqe_units: (size_of::<S::Slot>() / size_of::<Sqe>()) as u32,
            cqe_units: (size_of::<C::Slot>() / size_of::<cqueue::Entry>()) as u32,
        };
        let words = region.words();
        for position in [&words.sq_head, &words.sq_tail, &words.cq_head, &words.cq_tail] {
            position.store(start, Ordering::Relaxed);
        }
        region
    }

    /// What a kernel would answer of this memory.
    pub(crate) fn params(&self) -> io_uring_params {
        let at = |offset: usize| offset as u32;
        io_uring_params {
            sq_entries: self.sq_entries,
            cq_entries: self.cq_entries,
            flags: sys::IORING_SETUP_NO_SQARRAY,
            sq_off: io_sqring_offsets {
                head: at(offset_of!(Words, sq_head)),
                tail: at(offset_of!(Words, sq_tail)),
                flags: at(offset_of!(Words, sq_flags)),
                dropped: at(offset_of!(Words, sq_dropped)),
                ..zeroed_params().sq_off
            },
            cq_off: io_cqring_offsets {
                head: at(offset_of!(Words, cq_head)),
                tail: at(offset_of!(Words, cq_tail)),
                flags: at(offset_of!(Words, cq_flags)),
                overflow: at(offset_of!(Words, cq_overflow)),
                cqes: at(size_of::<Words>()),
                ..zeroed_params().cq_off
            },
            ..zeroed_params()
        }
    }

    /// The same memory, as a ring has it. It must not outlive us.
    pub(crate) fn memory(&self) -> Memory {
        // SAFETY: the submissions begin within.
        let sqes = unsafe { self.start.add(self.sqes) };
        Memory::parts(self.start, self.sqes, sqes, self.layout.size() - self.sqes)
    }

    pub(crate) fn words(&self) -> &Words {
        // SAFETY: the words are at the start, live as long as we do, and are atomics.
        unsafe { self.start.cast().as_ref() }
    }

    /// How many slots the program has published and we have not taken.
    pub(crate) fn published(&self) -> u32 {
        let words = self.words();
        words.sq_tail.load(Ordering::Acquire).wrapping_sub(words.sq_head.load(Ordering::Relaxed))
    }

    /// The fields of the entry at a position that is published.
    pub(crate) fn entry(&self, position: u32) -> Sqe {
        // SAFETY: the unit is within the queue. The program has published it, and does not write
        // there before we have moved the head.
        unsafe { self.unit(self.first_unit(position)).cast::<Sqe>().read() }
    }

    /// The second half of such an entry, and how many slots it takes; `None` if that is not all
    /// there within `slots`.
    pub(crate) fn second_half(&self, position: u32, slots: u32) -> Option<([u8; 64], u32)> {
        let unit = self.first_unit(position) + 1;
        let taken = if self.sqe_units == 2 { 1 } else { 2 };
        let there = taken <= slots && unit < self.sq_entries * self.sqe_units;
        // SAFETY: as for the first half.
        there.then(|| (unsafe { self.unit(unit).cast::<[u8; 64]>().read() }, taken))
    }

    /// Whether every entry has two halves.
    pub(crate) fn all_big(&self) -> bool {
        self.sqe_units == 2
    }

    fn first_unit(&self, position: u32) -> u32 {
        (position & (self.sq_entries - 1)) * self.sqe_units
    }

    /// # Safety
    ///
    /// The unit is within the queue.
    unsafe fn unit(&self, unit: u32) -> NonNull<u8> {
        // SAFETY: the queue is within the memory, and our caller says that the unit is in it.
        unsafe { self.start.add(self.sqes + unit as usize * size_of::<Sqe>()) }
    }

    /// Moves the head behind what was taken.
    pub(crate) fn take(&self, slots: u32) {
        let head = &self.words().sq_head;
        head.store(head.load(Ordering::Relaxed).wrapping_add(slots), Ordering::Release);
    }

    /// How many slots of the completion queue are taken.
    pub(crate) fn ready(&self) -> u32 {
        let words = self.words();
        words.cq_tail.load(Ordering::Relaxed).wrapping_sub(words.cq_head.load(Ordering::Acquire))
    }

    /// How many slots the submission queue has.
    pub(crate) fn sq_entries(&self) -> u32 {
        self.sq_entries
    }

    /// How many slots the completion queue has.
    pub(crate) fn cq_entries(&self) -> u32 {
        self.cq_entries
    }

    /// Posts a completion; on mixed rings a `big` one takes two slots, behind a filler if it would
    /// wrap. Says whether there was room.
    pub(crate) fn post(
        &self,
        mut entry: cqueue::Entry,
        big: Option<[u64; 2]>,
        mixed: bool,
    ) -> bool {
        // What has the flag takes two slots, or else the one behind it would be taken for its half.
        let flagged = entry.flags & sys::IORING_CQE_F_32 != 0;
        let needed = if mixed && (big.is_some() || flagged) { 2 } else { 1 };
        let mut tail = self.words().cq_tail.load(Ordering::Relaxed);
        let last = tail & (self.cq_entries - 1) == self.cq_entries - 1;
        let filler = u32::from(needed == 2 && last);
        if self.cq_entries - self.ready() < needed + filler {
            return false;
        }
        if filler == 1 {
            let flags = sys::IORING_CQE_F_SKIP;
            self.write(tail, 0, cqueue::Entry { flags, user_data: !0, res: -1 });
            tail = tail.wrapping_add(1);
        }
        if needed == 2 {
            entry.flags |= sys::IORING_CQE_F_32;
        }
        self.write(tail, 0, entry);
        if needed == 2 || self.cqe_units == 2 {
            let [first, second] = big.unwrap_or_default();
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

    fn write(&self, position: u32, unit: u32, entry: cqueue::Entry) {
        let unit = (position & (self.cq_entries - 1)) * self.cqe_units + unit;
        // SAFETY: the unit is within the queue, and the program reads no slot that is not
        // published.
        unsafe {
            let cqes = self.start.add(size_of::<Words>()).cast::<cqueue::Entry>();
            cqes.add(unit as usize).write(entry);
        }
    }
}
