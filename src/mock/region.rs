//! The memory of a mock ring, and the accesses of a kernel to it, with no more checks than a kernel
//! makes.

use core::mem::offset_of;
use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

use crate::cqueue;
use crate::memory::{Memory, zeroed_params};
use crate::shared::{AtomicU32, Ordering};
use crate::squeue::{self, Sqe};
use crate::sys::{self, io_cqring_offsets, io_sqring_offsets, io_uring_params};

/// The words of a ring, in an arbitrary order.
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

/// The memory: words, then completions in units of 16 bytes, then submissions in units of 64 bytes.
pub(crate) struct Region {
    start: NonNull<u8>,
    layout: Layout,
    /// The offset of the submissions.
    sqes: usize,
    sq_entries: u32,
    cq_entries: u32,
    /// The number of units in a slot.
    sqe_units: u32,
    cqe_units: u32,
}

// SAFETY: only this region and the queues use the memory, and the queues share it as with a kernel.
unsafe impl Send for Region {}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `new` has allocated the memory with this layout. The queues over it are gone,
        // because their ring keeps the region.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

impl Region {
    /// Creates queues of these sizes. All positions start at `start`.
    pub(crate) fn new<S: squeue::Kind, C: cqueue::Kind>(
        sq_entries: u32,
        cq_entries: u32,
        start: u32,
    ) -> Self {
        let cqes = cq_entries as usize * size_of::<C::Slot>();
        let sqes = (size_of::<Words>() + cqes).next_multiple_of(align_of::<Words>());
        let size = sqes + sq_entries as usize * size_of::<S::Slot>();
        let layout = Layout::from_size_align(size, align_of::<Words>())
            .expect("the kernel's limits keep the sizes small");
        // SAFETY: the layout is not empty, because it contains the words.
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

    /// Returns the parameters with which a kernel would describe this memory.
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

    /// Returns the same memory in the form that a ring uses. It must not outlive the region.
    pub(crate) fn memory(&self) -> Memory {
        // SAFETY: the submissions begin within the memory.
        let sqes = unsafe { self.start.add(self.sqes) };
        Memory::parts(self.start, self.sqes, sqes, self.layout.size() - self.sqes)
    }

    pub(crate) fn words(&self) -> &Words {
        // SAFETY: the words are at the start, live as long as the region, and are atomics.
        unsafe { self.start.cast().as_ref() }
    }

    /// Returns the number of slots that the program has published and the kernel has not consumed.
    pub(crate) fn published(&self) -> u32 {
        let words = self.words();
        words.sq_tail.load(Ordering::Acquire).wrapping_sub(words.sq_head.load(Ordering::Relaxed))
    }

    /// Returns the fields of the entry at a published position.
    pub(crate) fn entry(&self, position: u32) -> Sqe {
        // SAFETY: the unit is within the queue. The program has published it, and does not write to
        // it before the head has moved.
        unsafe { self.unit(self.first_unit(position)).cast::<Sqe>().read() }
    }

    /// Returns the second half of such an entry, and the number of slots that the entry occupies.
    /// Returns `None` if the entry does not fit into `slots` slots.
    pub(crate) fn second_half(&self, position: u32, slots: u32) -> Option<([u8; 64], u32)> {
        let unit = self.first_unit(position) + 1;
        let taken = if self.sqe_units == 2 { 1 } else { 2 };
        let there = taken <= slots && unit < self.sq_entries * self.sqe_units;
        // SAFETY: the unit is within the queue. The program has published it together with the first half.
        there.then(|| (unsafe { self.unit(unit).cast::<[u8; 64]>().read() }, taken))
    }

    /// Returns whether every entry has two halves.
    pub(crate) fn all_big(&self) -> bool {
        self.sqe_units == 2
    }

    fn first_unit(&self, position: u32) -> u32 {
        (position & (self.sq_entries - 1)) * self.sqe_units
    }

    /// Returns the address of a unit of the submission queue.
    ///
    /// # Safety
    ///
    /// The unit is within the queue.
    unsafe fn unit(&self, unit: u32) -> NonNull<u8> {
        // SAFETY: the queue is within the memory, and the caller promises that the unit is in the
        // queue.
        unsafe { self.start.add(self.sqes + unit as usize * size_of::<Sqe>()) }
    }

    /// Moves the head past the consumed slots.
    pub(crate) fn take(&self, slots: u32) {
        let head = &self.words().sq_head;
        head.store(head.load(Ordering::Relaxed).wrapping_add(slots), Ordering::Release);
    }

    /// Returns the number of used slots in the completion queue.
    pub(crate) fn ready(&self) -> u32 {
        let words = self.words();
        words.cq_tail.load(Ordering::Relaxed).wrapping_sub(words.cq_head.load(Ordering::Acquire))
    }

    /// Returns the number of slots in the submission queue.
    pub(crate) fn sq_entries(&self) -> u32 {
        self.sq_entries
    }

    /// Returns the number of slots in the completion queue.
    pub(crate) fn cq_entries(&self) -> u32 {
        self.cq_entries
    }

    /// Posts a completion, and returns whether the queue had space. On mixed rings, a completion
    /// with `big` takes two slots, after a filler CQE if it would wrap.
    pub(crate) fn post(
        &self,
        mut entry: cqueue::Entry,
        big: Option<[u64; 2]>,
        mixed: bool,
    ) -> bool {
        // A completion with the flag takes two slots. Otherwise the program would read the next
        // completion as its second half.
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
        // SAFETY: the unit is within the queue, and the program reads only published slots.
        unsafe {
            let cqes = self.start.add(size_of::<Words>()).cast::<cqueue::Entry>();
            cqes.add(unit as usize).write(entry);
        }
    }
}
