//! Waits whose arguments are in memory shared with the kernel.

use core::fmt;
use core::ptr::NonNull;

use rustix::io::{self, Errno};
use rustix::io_uring::KernelSigSet;

use crate::handle::Handle;
use crate::memory::mmap::{Mmap, page_size};
use crate::params::EnterFlags;
use crate::shared::RingId;
use crate::submit::Submitter;
use crate::sys::{self, __kernel_timespec, io_uring_reg_wait};
use crate::types::SubmitArgs;

/// One wait argument, the signal mask that it points to, and the enter flags for the call.
///
/// The size is a power of two, so that no slot crosses a page boundary.
#[repr(C, align(128))]
struct Slot {
    wait: io_uring_reg_wait,
    sigmask: KernelSigSet,
    flags: EnterFlags,
}

const _: () = assert!(size_of::<Slot>() == 128);

/// Memory shared with the kernel that holds the arguments of waits, so that a wait need not copy
/// them.
///
/// The region is an array of slots. Each slot holds the arguments of one kind of wait, which
/// [`set`](Self::set) stores there. A wait names its slot.
///
/// A ring has at most one region. Create it before you enable the ring, with
/// [`register_wait_region`](Submitter::register_wait_region), or with
/// [`register_wait_region_in_memory`](Submitter::register_wait_region_in_memory) for your own
/// memory. Then wait with [`submit_and_wait_reg`](Submitter::submit_and_wait_reg).
///
/// At first, each slot holds [`SubmitArgs::new`], which is a wait without a time limit.
pub struct WaitRegion {
    ring: RingId,
    start: NonNull<Slot>,
    slots: usize,
    /// The memory, if this crate has mapped it. Dropping it unmaps it.
    _mapping: Option<Mmap>,
}

// SAFETY: slots are written only through `&mut`, and any thread may do that.
unsafe impl Send for WaitRegion {}
// SAFETY: methods with `&self` only read.
unsafe impl Sync for WaitRegion {}

impl WaitRegion {
    /// Returns the number of bytes that
    /// [`register_wait_region_in_memory`](Submitter::register_wait_region_in_memory) needs for this
    /// many slots, in whole pages.
    ///
    /// # Errors
    ///
    /// EINVAL if the slots exceed the address space.
    pub fn memory_size(slots: usize) -> io::Result<usize> {
        let wanted = slots.max(1).checked_mul(size_of::<Slot>()).ok_or(Errno::INVAL)?;
        wanted.checked_next_multiple_of(page_size()).ok_or(Errno::INVAL)
    }

    /// Returns the number of slots, which is at least the number that you requested.
    pub const fn slots(&self) -> usize {
        self.slots
    }

    fn slot(&self, slot: usize) -> io::Result<*mut Slot> {
        if slot >= self.slots {
            return Err(Errno::INVAL);
        }
        // SAFETY: the slot is within the memory, as just checked.
        Ok(unsafe { self.start.add(slot) }.as_ptr())
    }

    /// Returns the enter flags of a slot.
    fn flags(&self, slot: usize) -> io::Result<EnterFlags> {
        let slot = self.slot(slot)?;
        // SAFETY: the slot is within the memory, and initialized. Only `set` writes to it, and that
        // borrows the region mutably.
        Ok(unsafe { (*slot).flags })
    }

    /// Stores the arguments of a wait in a slot, for any number of waits.
    ///
    /// The slot also stores whether the time is a [`deadline`](SubmitArgs::deadline), and whether
    /// the wait is [`no_iowait`](SubmitArgs::no_iowait).
    ///
    /// # Errors
    ///
    /// EINVAL if there is no such slot.
    pub fn set(&mut self, slot: usize, args: &SubmitArgs<'_>) -> io::Result<()> {
        let slot = self.slot(slot)?;
        let (tv_sec, tv_nsec) = args.time().map_or((0, 0), |time| time.into_parts());
        let has_time = args.time().map_or(0, |_| sys::IORING_REG_WAIT_TS as u32);
        // SAFETY: the slot is within the memory. The kernel reads it only during a wait, which
        // borrows the region, and this method borrows it mutably.
        unsafe {
            let mask = &raw mut (*slot).sigmask;
            if let Some(sigmask) = args.sigmask {
                mask.write(sigmask.clone());
            }
            (&raw mut (*slot).flags).write(args.flags);
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
    /// ```
    /// use rustix_uring::{Errno, IoUring, types::{SubmitArgs, Timespec}};
    ///
    /// let ring = <IoUring>::builder().setup_r_disabled().build(8)?;
    /// match ring.submitter().register_wait_region(1) {
    ///     Err(Errno::INVAL) => {} // before Linux 6.13
    ///     region => {
    ///         let mut region = region?;
    ///         ring.submitter().register_enable_rings()?;
    ///         let millisecond = Timespec::new().nsec(1_000_000);
    ///         region.set(0, &SubmitArgs::new().timespec(&millisecond))?;
    ///         let wait = ring.submitter().submit_and_wait_reg(1, &region, 0);
    ///         assert_eq!(wait, Err(Errno::TIME));
    ///     }
    /// }
    /// # Ok::<(), Errno>(())
    /// ```
    ///
    /// # Errors
    ///
    /// EINVAL if the ring is not [disabled](crate::Builder::setup_r_disabled), if the slots exceed
    /// the address space, or on older kernels; EBUSY if the ring has a region already; ENOMEM if
    /// memory is short, or above `RLIMIT_MEMLOCK`. After an error, the ring is unchanged.
    pub fn register_wait_region(&self, slots: usize) -> io::Result<WaitRegion> {
        let mapping = self.region_memory(WaitRegion::memory_size(slots)?)?;
        let memory = NonNull::slice_from_raw_parts(mapping.start(), mapping.len());
        // SAFETY: the mapping is new and not shared, and the region owns it.
        let region = unsafe { self.register_wait_region_in_memory(memory) }?;
        Ok(WaitRegion { _mapping: Some(mapping), ..region })
    }

    /// Registers your own memory for the arguments of waits (`IORING_REGISTER_MEM_REGION`). Since
    /// Linux 6.13.
    ///
    /// The memory must consist of whole pages, which this method sets to zero.
    /// [`WaitRegion::memory_size`] returns the size that a number of slots needs.
    ///
    /// # Errors
    ///
    /// Same errors as [`register_wait_region`](Self::register_wait_region); EINVAL if the memory is
    /// empty or does not consist of whole pages; EFAULT if it is not mapped or not writable. After
    /// an error, the memory is unchanged.
    ///
    /// # Safety
    ///
    /// The memory is valid for reads and writes, and nothing else uses it, until the result is
    /// dropped. After that you may use it freely: the kernel keeps the pages until the ring has
    /// ended, but does not read them.
    pub unsafe fn register_wait_region_in_memory(
        &self,
        memory: NonNull<[u8]>,
    ) -> io::Result<WaitRegion> {
        // SAFETY: the caller vouches for the memory. The kernel only reads it, and only during a
        // wait that names a slot of the result.
        unsafe { self.register_region(memory, sys::IORING_MEM_REGION_REG_WAIT_ARG as u64) }?;
        // SAFETY: the kernel has checked that the memory is mapped and writable. The caller
        // promises that nothing else uses it.
        unsafe { memory.cast::<u8>().write_bytes(0, memory.len()) };
        let slots = memory.len() / size_of::<Slot>();
        Ok(WaitRegion { ring: self.sq.id, start: memory.cast(), slots, _mapping: None })
    }

    /// Submits all published entries, and waits for `want` completions with the arguments in a slot
    /// of the region. Since Linux 6.13.
    ///
    /// # Result and errors
    ///
    /// Same as [`submit_with_args`](Self::submit_with_args). That includes EINVAL if there are
    /// entries to submit on a [rewound](crate::squeue::Rewind) ring; on such a ring, this method
    /// can only wait. Also EINVAL if there is no such slot, or if the region belongs to another
    /// ring.
    pub fn submit_and_wait_reg(
        &self,
        want: usize,
        region: &WaitRegion,
        slot: usize,
    ) -> io::Result<usize> {
        self.check_is(region.ring)?;
        let flags = region.flags(slot)?;
        self.enter_registered_wait(want, slot * size_of::<Slot>(), flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Timespec;
    use std::boxed::Box;

    /// A slot has exactly the arguments that were stored last, and nothing from before.
    #[test]
    fn slots_store_all_arguments() {
        // SAFETY: all zeros is a valid slot that was never set.
        let mut slots: Box<[Slot; 2]> = Box::new(unsafe { core::mem::zeroed() });
        let start = NonNull::from(&mut *slots).cast();
        let mut region = WaitRegion { ring: RingId::new(), start, slots: 2, _mapping: None };
        let time = Timespec::new().sec(3).nsec(7);
        let (relative, deadline) =
            (SubmitArgs::new().timespec(&time), SubmitArgs::new().deadline(&time));
        let (abs, quiet) = (EnterFlags::ABS_TIMER, EnterFlags::NO_IOWAIT);
        for (args, flags, has_time) in [
            (SubmitArgs::new(), EnterFlags::empty(), false),
            (deadline, abs, true),
            (deadline.no_iowait(true), abs | quiet, true),
            (relative.no_iowait(true), quiet, true),
            (relative, EnterFlags::empty(), true),
            (SubmitArgs::new().no_iowait(true), quiet, false),
        ] {
            region.set(1, &args).unwrap();
            assert_eq!(region.flags(1), Ok(flags), "{args:?}");
            assert_eq!(region.flags(0), Ok(EnterFlags::empty()), "{args:?}");
            // SAFETY: the slot exists, and nothing else accesses it.
            let wait = unsafe { (*region.slot(1).unwrap()).wait };
            assert_eq!(wait.flags & sys::IORING_REG_WAIT_TS as u32 != 0, has_time, "{args:?}");
            let expected = if has_time { (3, 7) } else { (0, 0) };
            assert_eq!((wait.ts.tv_sec, wait.ts.tv_nsec), expected, "{args:?}");
        }
        assert_eq!(region.set(2, &relative), Err(Errno::INVAL));
        assert_eq!(region.flags(2), Err(Errno::INVAL));
    }
}
