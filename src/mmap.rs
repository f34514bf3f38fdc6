//! Mappings of a ring's memory.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use rustix::fd::AsFd;
use rustix::io::{self, Errno};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

/// A mapping, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mmap {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping belongs to the process; which thread unmaps it makes no difference.
unsafe impl Send for Mmap {}
// SAFETY: a shared `Mmap` gives nothing away but its address.
unsafe impl Sync for Mmap {}

impl Mmap {
    /// Maps `len` bytes of a ring, from one of the `IORING_OFF_*` on.
    pub(crate) fn new(ring: impl AsFd, offset: u64, len: usize) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: without a wished-for address, the kernel takes addresses that nobody uses.
        let start = unsafe { mmap(ptr::null_mut(), len, protection, flags, ring, offset) }?;
        Self::from_raw(start, len)
    }

    /// Takes `len` bytes of address space for [`fill`](Self::fill), so that it does not fail for
    /// want of room.
    pub(crate) fn reserve(len: usize) -> io::Result<Self> {
        // SAFETY: without a wished-for address, the kernel takes addresses that nobody uses.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), MapFlags::PRIVATE) }?;
        Self::from_raw(start, len)
    }

    /// Maps the ring's memory in place of what was reserved.
    pub(crate) fn fill(self, ring: impl AsFd, offset: u64) -> io::Result<Self> {
        let len = self.len;
        // At another address, if it comes to that: a ring's mapping takes none that it is told.
        drop(self);
        Self::new(ring, offset, len)
    }

    fn from_raw(start: *mut c_void, len: usize) -> io::Result<Self> {
        // The kernel maps address 0 for nobody who has not asked for it.
        let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { start, len })
    }

    #[inline]
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Leaves the mapping out of children that are forked from now on.
    pub(crate) fn dontfork(&self) -> io::Result<()> {
        // SAFETY: the advice changes nothing for this process.
        unsafe { madvise(self.start.as_ptr().cast(), self.len, Advice::LinuxDontFork) }
    }
}

impl Drop for Mmap {
    fn drop(&mut self) {
        // SAFETY: this is the mapping's only owner, and whoever has a queue over it borrows from
        // the ring that owns it. Unmapping one's own mapping does not fail.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// The size of a page.
///
/// There is no system call for it, and the auxiliary vector is not to be had everywhere that this
/// crate runs. But advice about nothing at all is taken at every address that begins a page, and
/// at no other.
pub(crate) fn page_size() -> usize {
    let begins_a_page = |address: usize| {
        // SAFETY: the range is empty and the advice changes nothing.
        unsafe { madvise(ptr::without_provenance_mut(address), 0, Advice::Normal) }.is_ok()
    };
    (12..16).map(|shift| 1 << shift).find(|&size| begins_a_page(size)).unwrap_or(1 << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "it asks the kernel")]
    fn page_size_is_the_systems() {
        assert_eq!(page_size(), rustix::param::page_size());
    }
}
