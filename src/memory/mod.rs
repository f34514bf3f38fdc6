//! The memory of a ring: its size, its owner, and the locations of the queues in it.

pub(crate) mod maker;
pub(crate) mod mmap;

use core::ptr::NonNull;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{self, Errno};

use self::mmap::{Mmap, page_size, populate};

use crate::params::SetupFlags;
use crate::shared::{Cq, KernelU32, RingId, Saved, Settings, Sq, most_wanted};
use crate::sys::{self, io_uring_params};

/// The sizes of the entries of a ring, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    sqe: usize,
    cqe: usize,
}

/// An upper bound for the size of the header in front of the first completion. The header has 64
/// bytes on most machines, and up to 320 on machines with long cache lines. Everything else in the
/// area is a sum of two powers of two, so the bound gives the same number of pages as the exact
/// size.
const HEADER: usize = 512;

/// The lengths of the two areas of a ring's memory, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Areas {
    ring: usize,
    sqes: usize,
}

impl Areas {
    pub(crate) fn total(self) -> usize {
        self.ring + self.sqes
    }
}

impl Shape {
    /// Returns the shape of queues with these types of slots.
    pub(crate) const fn of<S, C>() -> Self {
        Self { sqe: size_of::<S>(), cqe: size_of::<C>() }
    }

    /// Returns the areas of a ring that is not set up yet, in whole pages, with or without an index
    /// array.
    pub(crate) fn in_pages(self, sq: u32, cq: u32, sqarray: bool) -> Areas {
        let page = page_size();
        let (sq, cq) = (sq as usize, cq as usize);
        let array = if sqarray { sq * size_of::<u32>() } else { 0 };
        Areas {
            ring: (HEADER + cq * self.cqe + array).next_multiple_of(page),
            sqes: (sq * self.sqe).next_multiple_of(page),
        }
    }
}

/// Returns the sizes that the kernel chooses for the requested ones.
pub(crate) fn sizes(entries: u32, cq_entries: Option<u32>, clamp: bool) -> io::Result<(u32, u32)> {
    const MAX: u32 = 32768;
    let size = |entries: u32, max: u32| match entries {
        0 => Err(Errno::INVAL),
        entries if entries <= max => Ok(entries.next_power_of_two()),
        _ if clamp => Ok(max),
        _ => Err(Errno::INVAL),
    };
    let sq = size(entries, MAX)?;
    let cq = cq_entries.map_or(Ok(2 * sq), |entries| size(entries, 2 * MAX))?;
    if cq < sq { Err(Errno::INVAL) } else { Ok((sq, cq)) }
}

/// The memory of a ring.
#[derive(Debug)]
pub(crate) enum Memory {
    /// Mapped from the kernel. Before Linux 5.4, the completion queue has its own mapping.
    Mapped { ring: Mmap, cq: Option<Mmap>, sqes: Mmap },
    /// Memory of the caller, who promised that it outlives the ring.
    User { ring: NonNull<u8>, sqes: NonNull<u8>, areas: Areas },
}

// SAFETY: these are only addresses. The queues in the memory define what each thread may do with
// it.
unsafe impl Send for Memory {}
// SAFETY: these are only addresses. The queues in the memory define what each thread may do with
// it.
unsafe impl Sync for Memory {}

/// The ends of the parts of a ring's memory, computed from the kernel's answer. Every word and slot
/// that the answer names lies before these ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    sq: usize,
    cq: usize,
    sqes: usize,
}

impl Ends {
    /// Computes the ends.
    ///
    /// # Errors
    ///
    /// EINVAL if the parameters cannot be those of a ring: a size is not a power of two, or a word
    /// is not aligned. EOVERFLOW if an end exceeds the address space.
    fn of(params: &io_uring_params, shape: Shape) -> io::Result<Self> {
        let (sq_off, cq_off) = (&params.sq_off, &params.cq_off);
        if !params.sq_entries.is_power_of_two() || !params.cq_entries.is_power_of_two() {
            return Err(Errno::INVAL);
        }
        let words = |offsets: &[u32]| {
            let aligned = offsets.iter().all(|offset| offset % 4 == 0);
            let last = offsets.iter().copied().max().unwrap_or(0);
            if aligned { end(last, 1, size_of::<u32>()) } else { Err(Errno::INVAL) }
        };
        let mut sq = words(&[sq_off.head, sq_off.tail, sq_off.flags, sq_off.dropped])?;
        if params.flags & sys::IORING_SETUP_NO_SQARRAY == 0 {
            let array = words(&[sq_off.array])?.max(end(
                sq_off.array,
                params.sq_entries,
                size_of::<u32>(),
            )?);
            sq = sq.max(array);
        }
        if cq_off.cqes % 8 != 0 {
            return Err(Errno::INVAL);
        }
        let cq = words(&[cq_off.head, cq_off.tail, cq_off.overflow, cq_off.flags])?;
        let cqes = end(cq_off.cqes, params.cq_entries, shape.cqe)?;
        Ok(Self { sq, cq: cq.max(cqes), sqes: end(0, params.sq_entries, shape.sqe)? })
    }

    /// Returns whether all parts lie within these lengths.
    fn fit(self, sq: usize, cq: usize, sqes: usize) -> bool {
        self.sq <= sq && self.cq <= cq && self.sqes <= sqes
    }
}

/// Returns the end of `n` items of `size` bytes each that begin at `start`. Fails with EOVERFLOW if
/// the end exceeds the address space.
pub(crate) fn end(start: u32, n: u32, size: usize) -> io::Result<usize> {
    let end = (n as usize).checked_mul(size).and_then(|len| len.checked_add(start as usize));
    end.filter(|&end| isize::try_from(end).is_ok()).ok_or(Errno::OVERFLOW)
}

impl Memory {
    /// Maps the memory that the kernel has set up.
    pub(crate) fn map(
        params: &io_uring_params,
        shape: Shape,
        fd: &OwnedFd,
        dontfork: bool,
    ) -> io::Result<Self> {
        let ends = Ends::of(params, shape)?;
        let map =
            |offset: u32, len: usize| Mmap::new(fd, u64::from(offset), len)?.dontfork(dontfork);
        let (ring, cq) = if params.features & sys::IORING_FEAT_SINGLE_MMAP != 0 {
            (map(sys::IORING_OFF_SQ_RING, ends.sq.max(ends.cq))?, None)
        } else {
            (map(sys::IORING_OFF_SQ_RING, ends.sq)?, Some(map(sys::IORING_OFF_CQ_RING, ends.cq)?))
        };
        let sqes = map(sys::IORING_OFF_SQES, ends.sqes)?;
        Ok(Self::Mapped { ring, cq, sqes })
    }

    /// Uses the caller's memory, and puts its addresses into the parameters.
    ///
    /// # Safety
    ///
    /// Same contract as [`Builder::build_in_memory`](crate::Builder::build_in_memory).
    pub(crate) unsafe fn user(
        areas: Areas,
        memory: NonNull<[u8]>,
        params: &mut io_uring_params,
    ) -> io::Result<Self> {
        if memory.len() < areas.total() {
            return Err(Errno::INVAL);
        }
        let ring = memory.cast::<u8>();
        // The kernel pins all of the memory and would notice pages that cannot be written. But we
        // write first, so check here.
        populate(ring, areas.total())?;
        // SAFETY: both areas fit into the memory, which is ours. The positions start at zero.
        let sqes = unsafe {
            ring.write_bytes(0, HEADER);
            ring.add(areas.ring)
        };
        params.cq_off.user_addr = ring.as_ptr().expose_provenance() as u64;
        params.sq_off.user_addr = sqes.as_ptr().expose_provenance() as u64;
        Ok(Self::User { ring, sqes, areas })
    }

    /// Uses memory in two parts, which no kernel shares.
    #[cfg(all(any(test, fuzzing, feature = "mock-kernel"), not(rustix_uring_loom)))]
    pub(crate) fn parts(ring: NonNull<u8>, ring_len: usize, sqes: NonNull<u8>, len: usize) -> Self {
        Self::User { ring, sqes, areas: Areas { ring: ring_len, sqes: len } }
    }

    /// Reserves address space for mappings of these sizes.
    pub(crate) fn reserve(shape: Shape, sq: u32, cq: u32) -> io::Result<Reserved> {
        let areas = shape.in_pages(sq, cq, false);
        Ok(Reserved { ring: Mmap::reserve(areas.ring)?, sqes: Mmap::reserve(areas.sqes)? })
    }

    /// Returns the queues that lie in this memory.
    ///
    /// # Errors
    ///
    /// EOVERFLOW if the queues do not fit into the memory. The sizes in the kernel's answer count:
    /// if ours were smaller, the submission entries would overlap the ring.
    ///
    /// # Safety
    ///
    /// The kernel has set up this memory with these parameters, and nothing else accesses it.
    pub(crate) unsafe fn queues(
        &self,
        params: &io_uring_params,
        shape: Shape,
        settings: Settings,
    ) -> io::Result<(Sq, Cq)> {
        let (sq_ring, cq_ring, entries) = match self {
            Self::Mapped { ring, cq, sqes, .. } => (
                (ring.start(), ring.len()),
                cq.as_ref().map_or((ring.start(), ring.len()), |cq| (cq.start(), cq.len())),
                (sqes.start(), sqes.len()),
            ),
            Self::User { ring, sqes, areas } => {
                ((*ring, areas.ring), (*ring, areas.ring), (*sqes, areas.sqes))
            }
        };
        if !Ends::of(params, shape)?.fit(sq_ring.1, cq_ring.1, entries.1) {
            return Err(Errno::OVERFLOW);
        }
        let (sq_ring, cq_ring, sqes) = (sq_ring.0, cq_ring.0, entries.0);
        let (sq_off, cq_off) = (&params.sq_off, &params.cq_off);
        // SAFETY: everything lies inside the memory and is aligned, as checked above. The ring
        // keeps the memory for as long as it keeps the queues.
        let (sq, cq) = unsafe {
            let sq = |offset| KernelU32::at(sq_ring, offset);
            let cq = |offset| KernelU32::at(cq_ring, offset);
            (
                Sq {
                    id: RingId::new(),
                    head: sq(sq_off.head),
                    tail: sq(sq_off.tail),
                    flags: sq(sq_off.flags),
                    dropped: sq(sq_off.dropped),
                    entries: sqes,
                    capacity: params.sq_entries,
                    setup: SetupFlags::from_bits_retain(params.flags),
                    settings,
                    saved: Saved::default(),
                },
                Cq {
                    head: cq(cq_off.head),
                    tail: cq(cq_off.tail),
                    overflow: cq(cq_off.overflow),
                    flags: (cq_off.flags != 0).then(|| cq(cq_off.flags)),
                    entries: cq_ring.add(cq_off.cqes as usize),
                    capacity: params.cq_entries,
                    most_wanted: most_wanted(
                        SetupFlags::from_bits_retain(params.flags),
                        params.cq_entries,
                    ),
                },
            )
        };
        if params.flags & sys::IORING_SETUP_NO_SQARRAY == 0 {
            for slot in 0..params.sq_entries {
                // SAFETY: the array has one word per slot, lies inside the memory, and is ours to
                // write.
                unsafe {
                    sq_ring.add(sq_off.array as usize).cast::<u32>().add(slot as usize).write(slot)
                };
            }
        }
        Ok((sq, cq))
    }
}

/// Address space reserved for the new mappings of a ring.
pub(crate) struct Reserved {
    ring: Mmap,
    sqes: Mmap,
}

impl Reserved {
    /// Maps the ring's new memory in place of the reservation.
    pub(crate) fn fill(self, fd: BorrowedFd<'_>, dontfork: bool) -> io::Result<Memory> {
        let ring = self.ring.fill(fd.as_fd(), u64::from(sys::IORING_OFF_SQ_RING))?;
        let sqes = self.sqes.fill(fd.as_fd(), u64::from(sys::IORING_OFF_SQES))?;
        let (ring, sqes) = (ring.dontfork(dontfork)?, sqes.dontfork(dontfork)?);
        Ok(Memory::Mapped { ring, cq: None, sqes })
    }
}

/// Returns parameters without flags and sizes.
pub(crate) const fn zeroed_params() -> io_uring_params {
    // SAFETY: the struct consists only of integers.
    unsafe { core::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_the_kernel_chooses() {
        assert_eq!(sizes(1, None, false), Ok((1, 2)));
        assert_eq!(sizes(5, None, false), Ok((8, 16)));
        assert_eq!(sizes(5, Some(9), false), Ok((8, 16)));
        assert_eq!(sizes(8, Some(8), false), Ok((8, 8)));
        assert_eq!(sizes(8, Some(4), false), Err(Errno::INVAL));
        assert_eq!(sizes(0, None, true), Err(Errno::INVAL));
        assert_eq!(sizes(32769, None, false), Err(Errno::INVAL));
        assert_eq!(sizes(u32::MAX, None, true), Ok((32768, 65536)));
        assert_eq!(sizes(8, Some(u32::MAX), true), Ok((8, 65536)));
        assert_eq!(sizes(8, Some(u32::MAX), false), Err(Errno::INVAL));
    }
}
