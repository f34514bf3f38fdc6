//! Memory that a ring shares with the kernel.

use core::fmt;
use core::ptr::NonNull;

use rustix::io::{self, Errno};

use crate::handle::Handle;
use crate::memory::mmap::{Mmap, page_size};
use crate::submit::Submitter;
use crate::sys::{self, io_uring_mem_region_reg, io_uring_region_desc, io_uring_register_op::*};

/// Memory that a ring shares with the kernel, owned by this handle.
///
/// [`register_mem_region`](Submitter::register_mem_region) creates one. Dropping it unmaps the
/// memory from the process. The kernel keeps the pages until the ring has ended.
pub struct MemRegion {
    memory: Mmap,
}

impl MemRegion {
    /// Returns the memory, which consists of whole pages that are initially zero.
    ///
    /// The memory stays valid while the region lives. BPF programs that the kernel runs for the
    /// ring may read and write it at any time. Access it like memory shared with another thread:
    /// with atomics, or only while you know that no program runs.
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
/// A ring has at most one region, and keeps it until the ring ends. The region of a `WaitRegion`
/// holds the arguments of waits (feature `raw-syscall`). The kernel itself does not use the regions
/// that you register with the methods below. They are for BPF programs in the kernel, which can
/// look them up.
impl<H: Handle> Submitter<'_, H> {
    /// Registers at least `len` bytes of new memory as the region of the ring
    /// (`IORING_REGISTER_MEM_REGION`). Since Linux 6.13.
    ///
    /// Unlike a region for waits, you may register this one after the ring is enabled.
    ///
    /// # Errors
    ///
    /// EBUSY if the ring has a region already; EINVAL if `len` exceeds the address space, or on
    /// older kernels; ENOMEM if memory is short, or above `RLIMIT_MEMLOCK`. After an error, the
    /// ring is unchanged.
    pub fn register_mem_region(&self, len: usize) -> io::Result<MemRegion> {
        let memory = self.region_memory(len)?;
        let all = NonNull::slice_from_raw_parts(memory.start(), memory.len());
        // SAFETY: the mapping is new and the `MemRegion` owns it. `memory()` hands out the address
        // only as a raw pointer, and documents that the kernel uses the memory too. The kernel
        // keeps the pages themselves, so unmapping them here does not affect it.
        unsafe { self.register_region(all, 0) }?;
        Ok(MemRegion { memory })
    }

    /// Registers your own memory as the region of the ring (`IORING_REGISTER_MEM_REGION`). Since
    /// Linux 6.13.
    ///
    /// The memory must consist of whole pages.
    ///
    /// # Errors
    ///
    /// Same errors as [`register_mem_region`](Self::register_mem_region); EINVAL if the memory is
    /// empty or does not consist of whole pages; EFAULT if it is not mapped or not writable.
    ///
    /// # Safety
    ///
    /// The memory stays valid for reads and writes until the ring has ended or you unmap it. BPF
    /// programs that the kernel runs for the ring may read and write the memory at any time, so
    /// access it as you access [`MemRegion::memory`]. You may unmap the memory at any time: the
    /// kernel pins the pages and keeps them until the ring has ended.
    pub unsafe fn register_mem_region_in_memory(&self, memory: NonNull<[u8]>) -> io::Result<()> {
        // SAFETY: the caller vouches for the memory.
        unsafe { self.register_region(memory, 0) }
    }

    /// Maps at least `len` bytes, and at least one page, for a region. This happens before the
    /// register call, so nothing can fail after the ring has used up the one region that it may
    /// have.
    pub(super) fn region_memory(&self, len: usize) -> io::Result<Mmap> {
        let len = len.max(1).checked_next_multiple_of(page_size()).ok_or(Errno::INVAL)?;
        Mmap::anonymous(len)?.dontfork(self.sq.settings.dontfork)
    }

    /// Registers the region of the ring, with `IORING_MEM_REGION_REG_*` flags.
    ///
    /// # Safety
    ///
    /// Same as [`register_mem_region_in_memory`](Self::register_mem_region_in_memory).
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
        // SAFETY: the kernel reads `arg`, and reads and writes `region`. It pins the memory, for
        // which the caller vouches.
        unsafe { self.register_struct(IORING_REGISTER_MEM_REGION, &mut arg, 1) }.map(drop)
    }
}
