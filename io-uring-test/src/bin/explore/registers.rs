//! A common interface for the register calls of rings of all kinds.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use rustix::io_uring::iovec;
use rustix_uring::types::{CloneBuffersFlags, FileSlot};
use rustix_uring::{
    BufRing, BufRingFlags, Errno, Handle, Local, Restriction, Submitter, UnregisterError,
};

/// The submitter of a ring, with either kind of handle.
pub(crate) enum AnySubmitter<'a> {
    Shared(Submitter<'a, OwnedFd>),
    Local(Submitter<'a, Local>),
}

/// Register calls.
pub(crate) trait Registers {
    fn enable(&self) -> Result<(), Errno>;
    /// Registers a group, in the given memory or in kernel memory.
    ///
    /// # Safety
    ///
    /// Same as `register_buf_ring`.
    unsafe fn group(
        &self,
        memory: Option<NonNull<[u8]>>,
        entries: u16,
        group: u16,
        flags: BufRingFlags,
    ) -> Result<BufRing, Errno>;
    fn group_gone(&self, bufs: BufRing) -> Result<(), UnregisterError>;
    /// # Safety
    ///
    /// Same as `register_buffers2`.
    unsafe fn buffers(&self, all: &[iovec], tags: &[u64]) -> Result<(), Errno>;
    /// # Safety
    ///
    /// Same as `register_buffers_update`.
    unsafe fn buffer_update(&self, slot: u32, all: &[iovec], tags: &[u64]) -> Result<usize, Errno>;
    fn buffers_gone(&self) -> Result<(), Errno>;
    fn available(&self, bufs: &BufRing) -> Result<u16, Errno>;
    fn restrict(&self, list: &[Restriction]) -> Result<(), Errno>;
    fn files_sparse(&self, n: u32) -> Result<(), Errno>;
    fn files(&self, all: &[FileSlot<'_>], tags: &[u64]) -> Result<(), Errno>;
    fn file_range(&self, first: u32, len: u32) -> Result<(), Errno>;
    fn clone_buffers(
        &self,
        source: &AnySubmitter<'_>,
        from: u32,
        to: u32,
        n: u32,
        flags: CloneBuffersFlags,
    ) -> Result<(), Errno>;
    /// Updates with a tag use the call that accepts one.
    fn files_update(
        &self,
        slot: u32,
        file: Option<BorrowedFd<'_>>,
        tag: Option<u64>,
    ) -> Result<usize, Errno>;
    fn unregister_files(&self) -> Result<(), Errno>;
    fn sync_cancel(&self, criteria: rustix_uring::types::CancelBuilder) -> Result<usize, Errno>;
    fn eventfd(&self, eventfd: &OwnedFd, only_async: bool) -> Result<(), Errno>;
    fn eventfd_gone(&self) -> Result<(), Errno>;
}

impl<H: Handle> Registers for Submitter<'_, H> {
    fn enable(&self) -> Result<(), Errno> {
        self.register_enable_rings()
    }

    unsafe fn group(
        &self,
        memory: Option<NonNull<[u8]>>,
        entries: u16,
        group: u16,
        flags: BufRingFlags,
    ) -> Result<BufRing, Errno> {
        match memory {
            // SAFETY: the caller's promise.
            Some(memory) => unsafe { self.register_buf_ring(memory, entries, group, flags) },
            None => self.register_buf_ring_mmap(entries, group, flags),
        }
    }

    unsafe fn buffers(&self, all: &[iovec], tags: &[u64]) -> Result<(), Errno> {
        // SAFETY: the caller's promise.
        unsafe { self.register_buffers2(all, tags) }
    }

    unsafe fn buffer_update(&self, slot: u32, all: &[iovec], tags: &[u64]) -> Result<usize, Errno> {
        // SAFETY: the caller's promise.
        unsafe { self.register_buffers_update(slot, all, Some(tags)) }
    }

    fn buffers_gone(&self) -> Result<(), Errno> {
        self.unregister_buffers()
    }

    fn group_gone(&self, bufs: BufRing) -> Result<(), UnregisterError> {
        bufs.unregister(self)
    }

    fn available(&self, bufs: &BufRing) -> Result<u16, Errno> {
        bufs.available(self)
    }

    fn restrict(&self, list: &[Restriction]) -> Result<(), Errno> {
        self.register_restrictions(list)
    }

    fn files(&self, all: &[FileSlot<'_>], tags: &[u64]) -> Result<(), Errno> {
        self.register_files_tags(all, tags)
    }

    fn file_range(&self, first: u32, len: u32) -> Result<(), Errno> {
        self.register_file_alloc_range(first, len)
    }

    fn clone_buffers(
        &self,
        source: &AnySubmitter<'_>,
        from: u32,
        to: u32,
        n: u32,
        flags: CloneBuffersFlags,
    ) -> Result<(), Errno> {
        let all = from + to + n == 0 && flags.is_empty();
        match source {
            AnySubmitter::Shared(source) if all => self.register_buffers_clone(source),
            AnySubmitter::Local(source) if all => self.register_buffers_clone(source),
            AnySubmitter::Shared(source) => {
                self.register_buffers_clone_offset(source, from, to, n, flags)
            }
            AnySubmitter::Local(source) => {
                self.register_buffers_clone_offset(source, from, to, n, flags)
            }
        }
    }

    fn files_sparse(&self, n: u32) -> Result<(), Errno> {
        self.register_files_sparse(n)
    }

    fn files_update(
        &self,
        slot: u32,
        file: Option<BorrowedFd<'_>>,
        tag: Option<u64>,
    ) -> Result<usize, Errno> {
        let slot_of = file.map_or(FileSlot::EMPTY, Into::into);
        match tag {
            Some(tag) => self.register_files_update_tag(slot, &[slot_of], &[tag]),
            None => self.register_files_update(slot, &[slot_of]),
        }
    }

    fn unregister_files(&self) -> Result<(), Errno> {
        Submitter::unregister_files(self)
    }

    fn eventfd(&self, eventfd: &OwnedFd, only_async: bool) -> Result<(), Errno> {
        match only_async {
            false => self.register_eventfd(eventfd),
            true => self.register_eventfd_async(eventfd),
        }
    }

    fn eventfd_gone(&self) -> Result<(), Errno> {
        self.unregister_eventfd()
    }

    fn sync_cancel(&self, criteria: rustix_uring::types::CancelBuilder) -> Result<usize, Errno> {
        self.register_sync_cancel(None, criteria)
    }
}
