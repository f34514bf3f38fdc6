//! Mappings of a ring's memory.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use rustix::fd::AsFd;
use rustix::io::{self, Errno};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

use crate::memory::maker::Maker;

/// A mapping, unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mmap {
    start: NonNull<u8>,
    len: usize,
    /// Who has it, if forked children do not: there, its addresses are free for other mappings.
    /// Children inherit every other mapping, and unmap their own copy.
    only: Option<Maker>,
}

// SAFETY: a mapping belongs to the process; which thread unmaps it makes no difference.
unsafe impl Send for Mmap {}
// SAFETY: a shared `Mmap` gives nothing away but its address.
unsafe impl Sync for Mmap {}

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

impl Mmap {
    /// Maps `len` bytes of a ring, from one of the `IORING_OFF_*` on.
    pub(crate) fn new(ring: impl AsFd, offset: u64, len: usize) -> io::Result<Self> {
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: without a wished-for address, the kernel takes addresses that nobody uses.
        let start = unsafe { mmap(ptr::null_mut(), len, READ_WRITE, flags, ring, offset) }?;
        Self::from_raw(start, len)
    }

    /// Maps `len` bytes of the program's own, all zero.
    pub(crate) fn anonymous(len: usize) -> io::Result<Self> {
        // SAFETY: without a wished-for address, the kernel takes addresses that nobody uses.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), len, READ_WRITE, MapFlags::PRIVATE) }?;
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
        Ok(Self { start, len, only: None })
    }

    #[inline]
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Leaves the mapping out of children that are forked from now on, if that is wanted.
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
        // SAFETY: this is the mapping's only owner, and whoever has a queue over it borrows from
        // the ring that owns it. In a forked child it is the child's own copy: mappings that a child
        // does not inherit are left alone above. Unmapping one's own mapping does not fail.
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

/// Has the kernel bring in memory that is going to be written.
///
/// # Errors
///
/// EFAULT if it is not all there, or cannot be written; EINVAL if it does not begin a page, or on
/// kernels before 5.14, which cannot do this.
pub(crate) fn populate(start: NonNull<u8>, len: usize) -> io::Result<()> {
    // SAFETY: the advice changes nothing that a program could see.
    let ask = |len| unsafe { madvise(start.as_ptr().cast(), len, Advice::LinuxPopulateWrite) };
    // The kernel has several words for memory that will not do. About nothing at all, it objects to
    // the address and to the advice only.
    ask(len).or_else(|_| ask(0).and(Err(Errno::FAULT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "it asks the kernel")]
    fn what_cannot_be_written_is_a_fault() {
        let page = page_size();
        let map = |protection| {
            // SAFETY: without a wished-for address, the kernel takes addresses that nobody uses.
            let start =
                unsafe { mmap_anonymous(ptr::null_mut(), 2 * page, protection, MapFlags::PRIVATE) };
            Mmap::from_raw(start.unwrap(), 2 * page).unwrap()
        };
        let ask = |memory: &Mmap, at: usize, len| {
            // SAFETY: within the mapping.
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
        // SAFETY: the second page is ours, and nobody looks there.
        unsafe { munmap(good.start().add(page).as_ptr().cast(), page) }.unwrap();
        assert_eq!(ask(&good, 0, 2 * page), Err(Errno::FAULT));
        assert_eq!(ask(&good, 0, page), Ok(()));
        assert_eq!(ask(&map(ProtFlags::READ), 0, page), Err(Errno::FAULT));
        assert_eq!(ask(&map(ProtFlags::empty()), 0, page), Err(Errno::FAULT));
    }

    #[test]
    #[cfg_attr(miri, ignore = "it asks the kernel")]
    fn page_size_is_the_systems() {
        assert_eq!(page_size(), rustix::param::page_size());
    }
}
