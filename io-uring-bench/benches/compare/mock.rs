//! A mock of the kernel's side of a ring.
//!
//! Pushing and reaping are measured without the kernel: a second mapping of the ring's memory moves
//! the kernel's head and tail. The real kernel reads them only when it is entered, which never
//! happens in these rows.

use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::munmap;
use rustix_uring::SetupFlags;

use crate::peer::{map, setup};

pub(crate) struct Mock {
    sq_head: *const AtomicU32,
    cq_tail: *const AtomicU32,
    sqes: *const [u8; 64],
    mappings: [(*mut std::ffi::c_void, usize); 2],
}

impl Mock {
    /// The kernel's side of a ring with this many entries.
    pub(crate) fn kernel(fd: RawFd, entries: u32) -> anyhow::Result<Self> {
        // The offsets are the same for every ring of this size.
        let (_like, params) = setup(SetupFlags::NO_SQARRAY, entries)?;
        // SAFETY: the caller keeps the ring open.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let mappings = map(fd.as_fd(), &params)?;
        let [queues, sqes] = mappings.map(|(start, _)| start.cast::<u8>());
        let at = |offset: u32| queues.wrapping_add(offset as usize);
        let cqes = at(params.cq_off.cqes).cast::<[u64; 2]>();
        for i in 0..params.cq_entries as usize {
            // SAFETY: the pointer stays within the mapping of this many completions, which nothing
            // reads yet.
            unsafe { cqes.add(i).write([i as u64, 0]) };
        }
        Ok(Self {
            sq_head: at(params.sq_off.head).cast(),
            cq_tail: at(params.cq_off.tail).cast(),
            sqes: sqes.cast(),
            mappings,
        })
    }

    /// Consumes `n` submissions.
    #[inline(always)]
    pub(crate) fn take(&self, n: u32) {
        advance(self.sq_head, n);
    }

    /// Posts `n` completions.
    #[inline(always)]
    pub(crate) fn post(&self, n: u32) {
        advance(self.cq_tail, n);
    }

    /// The submission in this slot.
    pub(crate) fn entry(&self, slot: usize) -> [u8; 64] {
        assert!(slot * 64 < self.mappings[1].1);
        // SAFETY: the slot is within the queue, and nothing writes to it now.
        unsafe { self.sqes.add(slot).read_volatile() }
    }
}

#[inline(always)]
fn advance(word: *const AtomicU32, n: u32) {
    // SAFETY: the mapping exists until this value is dropped.
    let word = unsafe { &*word };
    word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Release);
}

impl Drop for Mock {
    fn drop(&mut self) {
        for (start, len) in self.mappings {
            // SAFETY: these are our own mappings, which nothing uses any more.
            unsafe { munmap(start, len) }.expect("cannot unmap the queues");
        }
    }
}
