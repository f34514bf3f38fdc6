//! The kernel's side of a ring, played by us.
//!
//! Pushing and reaping are measured without the kernel: a second mapping of the ring's memory moves
//! the kernel's positions. The real one looks at none of them unless it is entered, which nobody
//! does here.

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
    /// The kernel's side of a ring of this many entries.
    pub(crate) fn kernel(fd: RawFd, entries: u32) -> anyhow::Result<Self> {
        // The offsets are the same for every ring of the size.
        let (_like, params) = setup(SetupFlags::NO_SQARRAY, entries)?;
        // SAFETY: the caller has the ring open.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let mappings = map(fd.as_fd(), &params)?;
        let [queues, sqes] = mappings.map(|(start, _)| start.cast::<u8>());
        let at = |offset: u32| queues.wrapping_add(offset as usize);
        let cqes = at(params.cq_off.cqes).cast::<[u64; 2]>();
        for i in 0..params.cq_entries as usize {
            // SAFETY: within the mapping of this many completions, which nobody looks at yet.
            unsafe { cqes.add(i).write([i as u64, 0]) };
        }
        Ok(Self {
            sq_head: at(params.sq_off.head).cast(),
            cq_tail: at(params.cq_off.tail).cast(),
            sqes: sqes.cast(),
            mappings,
        })
    }

    /// Takes `n` submissions.
    #[inline(always)]
    pub(crate) fn take(&self, n: u32) {
        advance(self.sq_head, n);
    }

    /// Posts `n` completions.
    #[inline(always)]
    pub(crate) fn post(&self, n: u32) {
        advance(self.cq_tail, n);
    }

    /// The submission in the place of this number.
    pub(crate) fn entry(&self, slot: usize) -> [u8; 64] {
        assert!(slot * 64 < self.mappings[1].1);
        // SAFETY: the slot is within, and nobody writes it now.
        unsafe { self.sqes.add(slot).read_volatile() }
    }
}

#[inline(always)]
fn advance(word: *const AtomicU32, n: u32) {
    // SAFETY: the mapping is there until we are dropped.
    let word = unsafe { &*word };
    word.store(word.load(Ordering::Relaxed).wrapping_add(n), Ordering::Release);
}

impl Drop for Mock {
    fn drop(&mut self) {
        for (start, len) in self.mappings {
            // SAFETY: our own mappings, which nobody uses any more.
            unsafe { munmap(start, len) }.expect("the mapping is ours");
        }
    }
}
