//! Waits whose arguments lie in memory shared with the kernel.

use core::fmt;

use rustix::io::{self, Errno};
use rustix::io_uring::KernelSigSet;

use crate::EnterFlags;
use crate::handle::Handle;
use crate::memory::mmap::{Mmap, page_size};
use crate::shared::RingId;
use crate::submit::Submitter;
use crate::sys::{
    self, __kernel_timespec, io_uring_mem_region_reg, io_uring_reg_wait, io_uring_region_desc,
    io_uring_register_op::*,
};
use crate::types::SubmitArgs;

/// One argument, and the signal mask that it points to: a power of two, so that slots lie in one
/// page.
#[repr(C, align(128))]
struct Slot {
    wait: io_uring_reg_wait,
    sigmask: KernelSigSet,
}

/// Memory shared with the kernel that holds the arguments of waits, so that a wait copies none.
///
/// A ring has at most one, made before the ring is enabled, by
/// [`register_wait_region`](Submitter::register_wait_region). It is used with
/// [`submit_and_wait_reg`](Submitter::submit_and_wait_reg).
pub struct WaitRegion {
    ring: RingId,
    memory: Mmap,
    slots: usize,
}

impl WaitRegion {
    /// How many slots there are: at least as many as were asked for.
    pub const fn slots(&self) -> usize {
        self.slots
    }

    fn slot(&self, slot: usize) -> io::Result<*mut Slot> {
        if slot >= self.slots {
            return Err(Errno::INVAL);
        }
        // SAFETY: the slot is within the memory.
        Ok(unsafe { self.memory.start().cast::<Slot>().add(slot) }.as_ptr())
    }

    /// Puts the arguments of a wait into a slot. (That the wait is
    /// [`no_iowait`](SubmitArgs::no_iowait), or its time a
    /// [`deadline`](SubmitArgs::deadline), is said at the wait.)
    ///
    /// # Errors
    ///
    /// EINVAL if there is no such slot.
    pub fn set(&mut self, slot: usize, args: &SubmitArgs<'_>) -> io::Result<()> {
        let slot = self.slot(slot)?;
        let (tv_sec, tv_nsec) = args.time().map_or((0, 0), |time| time.into_parts());
        let has_time = args.time().map_or(0, |_| sys::IORING_REG_WAIT_TS as u32);
        // SAFETY: the slot is within the memory; the kernel reads it only in a wait, which borrows
        // the region, while this borrows it mutably.
        unsafe {
            let mask = &raw mut (*slot).sigmask;
            if let Some(sigmask) = args.sigmask {
                mask.write(sigmask.clone());
            }
            let masked = args.sigmask.is_some();
            (&raw mut (*slot).wait).write(io_uring_reg_wait {
                ts: __kernel_timespec { tv_sec, tv_nsec },
                min_wait_usec: args.arg.min_wait_usec,
                flags: has_time,
                sigmask: if masked { mask.expose_provenance() as u64 } else { 0 },
                sigmask_sz: if masked { size_of::<KernelSigSet>() as u32 } else { 0 },
                pad: [0; 3],
                pad2: [0; 2],
            });
        }
        Ok(())
    }
}

impl fmt::Debug for WaitRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitRegion").field("slots", &self.slots).finish_non_exhaustive()
    }
}

/// # Registered waits
impl<H: Handle> Submitter<'_, H> {
    /// Registers memory for the arguments of at least `slots` waits
    /// (`IORING_REGISTER_MEM_REGION`). Since Linux 6.13.
    ///
    /// # Errors
    ///
    /// EINVAL if the ring is not [disabled](crate::Builder::setup_r_disabled), for more slots than
    /// there can be, or on older kernels; EBUSY if it has such memory already; ENOMEM if memory is
    /// short, or above `RLIMIT_MEMLOCK`. After an error, the ring is as it was.
    pub fn register_wait_region(&self, slots: usize) -> io::Result<WaitRegion> {
        let wanted = slots.max(1).checked_mul(size_of::<Slot>()).ok_or(Errno::INVAL)?;
        let len = wanted.checked_next_multiple_of(page_size()).ok_or(Errno::INVAL)?;
        // The memory is the program's, not the kernel's: it is there before the kernel is asked, so
        // that nothing can fail once the ring has used up the one region that it may have.
        let memory = Mmap::anonymous(len)?.dontfork(self.sq.settings.dontfork)?;
        let mut region = io_uring_region_desc {
            user_addr: memory.start().as_ptr().expose_provenance() as u64,
            size: len as u64,
            flags: sys::IORING_MEM_REGION_TYPE_USER as u32,
            id: 0,
            mmap_offset: 0,
            __resv: [0; 4],
        };
        let mut arg = io_uring_mem_region_reg {
            region_uptr: (&raw mut region).expose_provenance() as u64,
            flags: sys::IORING_MEM_REGION_REG_WAIT_ARG as u64,
            __resv: [0; 2],
        };
        // SAFETY: the kernel reads both structs and pins the memory, which it only ever reads. It
        // keeps the pages: what becomes of the addresses afterwards makes no difference to it.
        unsafe { self.register_struct(IORING_REGISTER_MEM_REGION, &mut arg, 1) }?;
        Ok(WaitRegion { ring: self.sq.id, memory, slots: len / size_of::<Slot>() })
    }

    /// Submits what the queue's view has published, and waits until `want` completions are there,
    /// or as the region's slot says. Since Linux 6.13.
    ///
    /// `flags` may be [`EnterFlags::ABS_TIMER`] and [`EnterFlags::NO_IOWAIT`].
    ///
    /// # Result and errors
    ///
    /// As of [`submit_with_args`](Self::submit_with_args), the EINVAL of a
    /// [rewound](crate::squeue::Rewind) ring included, which this can only wait for; and EINVAL if there
    /// is no such slot, or if the region is another ring's.
    pub fn submit_and_wait_reg(
        &self,
        want: usize,
        region: &WaitRegion,
        slot: usize,
        flags: EnterFlags,
    ) -> io::Result<usize> {
        self.check_is(region.ring)?;
        region.slot(slot)?;
        self.enter_registered_wait(want, slot * size_of::<Slot>(), flags)
    }
}
