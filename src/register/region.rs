//! Memory that a ring shares with the kernel.

use core::fmt;
use core::ptr::NonNull;

use rustix::io::{self, Errno};

use crate::handle::Handle;
use crate::memory::mmap::{Mmap, page_size};
use crate::submit::Submitter;
use crate::sys::{self, io_uring_mem_region_reg, io_uring_region_desc, io_uring_register_op::*};

/// Memory that a ring shares with the kernel, and that belongs to nobody else.
///
/// [`register_mem_region`](Submitter::register_mem_region) makes one. Dropping it unmaps the memory
/// here. The kernel keeps the pages until the ring has ended.
pub struct MemRegion {
    memory: Mmap,
}

impl MemRegion {
    /// Returns the memory: whole pages, all zero at first.
    ///
    /// It stays valid while the region lives. Programs of the kernel that run for the ring may read and
    /// write it at any time, so access it as memory that another thread shares: with atomics, or when
    /// you know that nothing runs.
    pub fn memory(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.memory.start(), self.memory.len())
    }
}

impl fmt::Debug for MemRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemRegion").field("len", &self.memory.len()).finish_non_exhaustive()
    }
}

/// # Memory regions
///
/// A ring has at most one region, and keeps it to its end. The region of a `WaitRegion` holds the
/// arguments of waits (feature `raw-syscall`). The kernel does nothing by itself with the regions that
/// are registered here: they are for its BPF programs, which can look them up.
impl<H: Handle> Submitter<'_, H> {
    /// Registers at least `len` bytes of new memory as the ring's region
    /// (`IORING_REGISTER_MEM_REGION`). Since Linux 6.13.
    ///
    /// Unlike a region for waits, it may be registered when the ring is enabled.
    ///
    /// # Errors
    ///
    /// EBUSY if the ring has a region; EINVAL for more than an address space holds, or on older
    /// kernels; ENOMEM if memory is short, or above `RLIMIT_MEMLOCK`. After an error, the ring is as it
    /// was.
    pub fn register_mem_region(&self, len: usize) -> io::Result<MemRegion> {
        let memory = self.region_memory(len)?;
        let all = NonNull::slice_from_raw_parts(memory.start(), memory.len());
        // SAFETY: the memory is nobody else's, and who asks for its address is told who else uses it.
        // The kernel keeps the pages: what becomes of the addresses makes no difference to it.
        unsafe { self.register_region(all, 0) }?;
        Ok(MemRegion { memory })
    }

    /// Registers memory of yours as the ring's region (`IORING_REGISTER_MEM_REGION`): whole pages.
    /// Since Linux 6.13.
    ///
    /// # Errors
    ///
    /// Those of [`register_mem_region`](Self::register_mem_region); EINVAL if the memory is empty, or
    /// does not consist of whole pages; EFAULT if it is not mapped or cannot be written.
    ///
    /// # Safety
    ///
    /// The kernel pins the pages and keeps them until the ring has ended. Until then, the memory is
    /// valid for reads and writes, and every access takes into account that programs of the
    /// kernel which run for the ring access it too. You may unmap it at any time.
    pub unsafe fn register_mem_region_in_memory(&self, memory: NonNull<[u8]>) -> io::Result<()> {
        // SAFETY: the caller promises the memory.
        unsafe { self.register_region(memory, 0) }
    }

    /// Maps at least `len` bytes for a region, and at least a page. This comes before the kernel is
    /// asked, so that nothing can fail once the ring has used up the one region that it may have.
    pub(super) fn region_memory(&self, len: usize) -> io::Result<Mmap> {
        let len = len.max(1).checked_next_multiple_of(page_size()).ok_or(Errno::INVAL)?;
        Mmap::anonymous(len)?.dontfork(self.sq.settings.dontfork)
    }

    /// Registers the ring's region, with `IORING_MEM_REGION_REG_*` flags.
    ///
    /// # Safety
    ///
    /// As for [`register_mem_region_in_memory`](Self::register_mem_region_in_memory).
    pub(super) unsafe fn register_region(
        &self,
        memory: NonNull<[u8]>,
        flags: u64,
    ) -> io::Result<()> {
        let mut region = io_uring_region_desc {
            user_addr: memory.cast::<u8>().as_ptr().expose_provenance() as u64,
            size: memory.len() as u64,
            flags: sys::IORING_MEM_REGION_TYPE_USER as u32,
            id: 0,
            mmap_offset: 0,
            __resv: [0; 4],
        };
        let mut arg = io_uring_mem_region_reg {
            region_uptr: (&raw mut region).expose_provenance() as u64,
            flags,
            __resv: [0; 2],
        };
        // SAFETY: the kernel reads one struct, reads and writes the other, and pins the memory, which
        // the caller promises.
        unsafe { self.register_struct(IORING_REGISTER_MEM_REGION, &mut arg, 1) }.map(drop)
    }
}
