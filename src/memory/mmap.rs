//! The mappings of a ring's memory.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use rustix::fd::AsFd;
use rustix::io::{self, Errno};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use crate::memory::maker::Maker;

/// A mapping, which is unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mmap {
    start: NonNull<u8>,
    len: usize,
    /// The process that has the mapping, if forked children do not inherit it. In a child, other
    /// mappings may use its addresses. Children inherit all other mappings, and unmap their own
    /// copies.
    only: Option<Maker>,
}

// SAFETY: a mapping belongs to the process. Any thread may unmap it.
unsafe impl Send for Mmap {}
// SAFETY: a shared `Mmap` only exposes its address.
unsafe impl Sync for Mmap {}

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

impl Mmap {
    /// Maps `len` bytes of a ring, starting at one of the `IORING_OFF_*` offsets.
    pub(crate) fn new(ring: impl AsFd, offset: u64, len: usize) -> io::Result<Self> {
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: no address is requested, so the kernel chooses unused addresses.
        let start = unsafe { mmap(ptr::null_mut(), len, READ_WRITE, flags, ring, offset) }?;
        Self::from_raw(start, len)
    }

    /// Maps `len` bytes of private, zeroed memory.
    pub(crate) fn anonymous(len: usize) -> io::Result<Self> {
        // SAFETY: no address is requested, so the kernel chooses unused addresses.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), len, READ_WRITE, MapFlags::PRIVATE) }?;
        Self::from_raw(start, len)
    }

    /// Reserves `len` bytes of address space for [`fill`](Self::fill), so that it does not fail for
    /// lack of address space.
    pub(crate) fn reserve(len: usize) -> io::Result<Self> {
        // SAFETY: no address is requested, so the kernel chooses unused addresses.
        let start =
            unsafe { mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), MapFlags::PRIVATE) }?;
        Self::from_raw(start, len)
    }

    /// Replaces the reservation by a mapping of the ring's memory.
    pub(crate) fn fill(self, ring: impl AsFd, offset: u64) -> io::Result<Self> {
        let len = self.len;
        // The new mapping may get another address: the kernel does not map a ring at a requested
        // address.
        drop(self);
        Self::new(ring, offset, len)
    }

    fn from_raw(start: *mut c_void, len: usize) -> io::Result<Self> {
        // The kernel does not choose address 0 unless it is requested.
        let start = NonNull::new(start.cast()).ok_or(Errno::NOMEM)?;
        Ok(Self { start, len, only: None })
    }

    #[inline]
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Excludes the mapping from children that are forked from now on, if `wanted`.
    pub(crate) fn dontfork(mut self, wanted: bool) -> io::Result<Self> {
        if wanted {
            let maker = Maker::here()?;
            // SAFETY: the advice changes nothing for this process.
            unsafe { madvise(self.start.as_ptr().cast(), self.len, Advice::LinuxDontFork) }?;
            self.only = Some(maker);
        }
        Ok(self)
    }
}

impl Drop for Mmap {
    fn drop(&mut self) {
        if self.only.is_some_and(|maker| !maker.is_here()) {
            return;
        }
        // SAFETY: this is the only owner of the mapping, and every user of a queue in it borrows
        // from the ring that owns it. In a forked child, this is the child's own copy: the check
        // above skips mappings that a child does not inherit. Unmapping an owned mapping does not
        // fail.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Returns the size of a page.
///
/// There is no system call for it, and the auxiliary vector is not available everywhere that this
/// crate runs. But `madvise` with a length of 0 succeeds at every page-aligned address, and fails
/// at every other address.
pub(crate) fn page_size() -> usize {
    let begins_a_page = |address: usize| {
        // SAFETY: the range is empty and the advice changes nothing.
        unsafe { madvise(ptr::without_provenance_mut(address), 0, Advice::Normal) }.is_ok()
    };
    (12..16).map(|shift| 1 << shift).find(|&size| begins_a_page(size)).unwrap_or(1 << 16)
}

/// Asks the kernel to populate memory that is going to be written.
///
/// # Errors
///
/// EFAULT if part of the memory is not mapped or cannot be written. EINVAL if the memory is not
/// page-aligned, or on kernels before 5.14, which do not support this.
pub(crate) fn populate(start: NonNull<u8>, len: usize) -> io::Result<()> {
    // SAFETY: the advice has no effect that a program could see.
    let ask = |len| unsafe { madvise(start.as_ptr().cast(), len, Advice::LinuxPopulateWrite) };
    // The kernel reports unsuitable memory with various errors. With a length of 0, it rejects only
    // a misaligned address and unknown advice.
    ask(len).or_else(|_| ask(0).and(Err(Errno::FAULT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "needs the kernel")]
    fn unwritable_memory_fails_with_efault() {
        let page = page_size();
        let map = |protection| {
            // SAFETY: no address is requested, so the kernel chooses unused addresses.
            let start =
                unsafe { mmap_anonymous(ptr::null_mut(), 2 * page, protection, MapFlags::PRIVATE) };
            Mmap::from_raw(start.unwrap(), 2 * page).unwrap()
        };
        let ask = |memory: &Mmap, at: usize, len| {
            // SAFETY: the address is within the mapping.
            populate(unsafe { memory.start().add(at) }, len)
        };
        let good = map(ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: the range is empty.
        if unsafe { madvise(good.start().as_ptr().cast(), 0, Advice::LinuxPopulateWrite) }.is_err()
        {
            return; // a kernel before 5.14
        }
        assert_eq!(ask(&good, 0, 2 * page), Ok(()));
        assert_eq!(ask(&good, 64, page), Err(Errno::INVAL));
        // SAFETY: the second page is ours, and nothing accesses it.
        unsafe { munmap(good.start().add(page).as_ptr().cast(), page) }.unwrap();
        assert_eq!(ask(&good, 0, 2 * page), Err(Errno::FAULT));
        assert_eq!(ask(&good, 0, page), Ok(()));
        assert_eq!(ask(&map(ProtFlags::READ), 0, page), Err(Errno::FAULT));
        assert_eq!(ask(&map(ProtFlags::empty()), 0, page), Err(Errno::FAULT));
    }

    #[test]
    #[cfg_attr(miri, ignore = "needs the kernel")]
    fn page_size_is_that_of_the_system() {
        assert_eq!(page_size(), rustix::param::page_size());
    }
}
