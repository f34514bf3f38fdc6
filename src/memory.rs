//! The memory of a ring: how much, whose, and where in it the queues lie.

use core::cell::UnsafeCell;
use core::ptr::NonNull;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{self, Errno};

use crate::cqueue::{self, Cq};
use crate::mmap::{Mmap, page_size};
use crate::shared::KernelU32;
use crate::squeue::{self, Sq};
use crate::sys::{self, io_uring_params};

/// How large the entries of a ring are, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    sqe: usize,
    cqe: usize,
}

/// At least what stands before the first completion: 64 bytes on most machines, up to 320 on those
/// with long cache lines. As all else in the area is a sum of two powers of two, the number of pages
/// comes out the same.
const HEADER: usize = 512;

/// How long the two areas of a ring's memory are, in bytes.
#[derive(Clone, Copy)]
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
    pub(crate) fn of<S: squeue::EntryMarker, C: cqueue::EntryMarker>() -> Self {
        Self { sqe: size_of::<S::Place>(), cqe: size_of::<C::Place>() }
    }

    /// The areas of a ring that is not set up yet, in whole pages.
    pub(crate) fn in_pages(self, sq: u32, cq: u32) -> Areas {
        let page = page_size();
        let (sq, cq) = (sq as usize, cq as usize);
        let array = sq * size_of::<u32>();
        Areas {
            ring: (HEADER + cq * self.cqe + array).next_multiple_of(page),
            sqes: (sq * self.sqe).next_multiple_of(page),
        }
    }
}

/// The sizes that the kernel makes of what was asked for.
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
    /// Mapped from the kernel. Before Linux 5.4, the completion queue has a mapping of its own.
    Mapped { ring: Mmap, cq: Option<Mmap>, sqes: Mmap, dontfork: bool },
    /// The caller's, who promised that it outlives the ring. `len` is that of `ring`.
    Callers { ring: NonNull<u8>, sqes: NonNull<u8>, len: usize },
}

// SAFETY: addresses; the queues over them say what may be done with them from which thread.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// Where the submission side of the rings ends.
fn sq_ring_len(params: &io_uring_params) -> usize {
    if params.flags & sys::IORING_SETUP_NO_SQARRAY != 0 {
        return 0;
    }
    params.sq_off.array as usize + params.sq_entries as usize * size_of::<u32>()
}

/// Where the completion side of the rings ends.
fn cq_ring_len(params: &io_uring_params, shape: Shape) -> usize {
    params.cq_off.cqes as usize + params.cq_entries as usize * shape.cqe
}

impl Memory {
    /// Maps what the kernel has set up.
    pub(crate) fn map(
        params: &io_uring_params,
        shape: Shape,
        fd: &OwnedFd,
        dontfork: bool,
    ) -> io::Result<Self> {
        let (sq_len, cq_len) = (sq_ring_len(params), cq_ring_len(params, shape));
        let map = |offset: u32, len: usize| Mmap::new(fd, u64::from(offset), len);
        let (ring, cq) = if params.features & sys::IORING_FEAT_SINGLE_MMAP != 0 {
            (map(sys::IORING_OFF_SQ_RING, sq_len.max(cq_len))?, None)
        } else {
            (map(sys::IORING_OFF_SQ_RING, sq_len)?, Some(map(sys::IORING_OFF_CQ_RING, cq_len)?))
        };
        let sqes = map(sys::IORING_OFF_SQES, params.sq_entries as usize * shape.sqe)?;
        Self::mapped(ring, cq, sqes, dontfork)
    }

    fn mapped(ring: Mmap, cq: Option<Mmap>, sqes: Mmap, dontfork: bool) -> io::Result<Self> {
        if dontfork {
            ring.dontfork()?;
            sqes.dontfork()?;
            if let Some(cq) = &cq {
                cq.dontfork()?;
            }
        }
        Ok(Self::Mapped { ring, cq, sqes, dontfork })
    }

    /// The caller's memory, its addresses put into the parameters.
    ///
    /// # Safety
    ///
    /// As for [`Builder::build_in`](crate::Builder::build_in).
    pub(crate) unsafe fn callers(
        areas: Areas,
        memory: NonNull<[u8]>,
        params: &mut io_uring_params,
    ) -> io::Result<Self> {
        if memory.len() < areas.total() {
            return Err(Errno::INVAL);
        }
        let ring = memory.cast::<u8>();
        // SAFETY: both areas fit into the memory, which is ours; positions start at zero.
        let sqes = unsafe {
            ring.write_bytes(0, HEADER);
            ring.add(areas.ring)
        };
        params.cq_off.user_addr = ring.as_ptr().expose_provenance() as u64;
        params.sq_off.user_addr = sqes.as_ptr().expose_provenance() as u64;
        Ok(Self::Callers { ring, sqes, len: areas.ring })
    }

    /// Address space for mappings of these sizes.
    pub(crate) fn reserve(&self, shape: Shape, sq: u32, cq: u32) -> io::Result<Reserved> {
        let Self::Mapped { dontfork, .. } = *self else { return Err(Errno::INVAL) };
        let areas = shape.in_pages(sq, cq);
        Ok(Reserved {
            ring: Mmap::reserve(areas.ring)?,
            sqes: Mmap::reserve(areas.sqes)?,
            dontfork,
        })
    }

    /// The queues that lie in this memory.
    ///
    /// # Safety
    ///
    /// The kernel has set this memory up with these parameters, and nobody else looks at it.
    pub(crate) unsafe fn queues(
        &self,
        params: &io_uring_params,
        posting_pads: bool,
    ) -> io::Result<(Sq, Cq)> {
        let (sq_ring, cq_ring, sqes) = match self {
            Self::Mapped { ring, cq, sqes, .. } => {
                (ring.start(), cq.as_ref().unwrap_or(ring).start(), sqes.start())
            }
            Self::Callers { ring, sqes, len } => {
                // The kernel's own idea of the sizes is what counts: where ours was too small,
                // the entries would lie in the middle of the ring.
                let cqe = if params.flags & sys::IORING_SETUP_CQE32 != 0 { 32 } else { 16 };
                let needed = cq_ring_len(params, Shape { sqe: 0, cqe }).max(sq_ring_len(params));
                if needed > *len {
                    return Err(Errno::OVERFLOW);
                }
                (*ring, *ring, *sqes)
            }
        };
        let (sq_off, cq_off) = (&params.sq_off, &params.cq_off);
        // SAFETY: the offsets are the kernel's own, for this memory, which the ring keeps for as
        // long as it keeps the queues.
        let (sq, cq) = unsafe {
            let sq = |offset| KernelU32::at(sq_ring, offset);
            let cq = |offset| KernelU32::at(cq_ring, offset);
            (
                Sq {
                    head: sq(sq_off.head),
                    tail: sq(sq_off.tail),
                    flags: sq(sq_off.flags),
                    dropped: sq(sq_off.dropped),
                    entries: sqes,
                    capacity: params.sq_entries,
                    posting_pads,
                    kept: UnsafeCell::default(),
                },
                Cq {
                    head: cq(cq_off.head),
                    tail: cq(cq_off.tail),
                    overflow: cq(cq_off.overflow),
                    flags: (cq_off.flags != 0).then(|| cq(cq_off.flags)),
                    entries: cq_ring.add(cq_off.cqes as usize),
                    capacity: params.cq_entries,
                },
            )
        };
        if params.flags & sys::IORING_SETUP_NO_SQARRAY == 0 {
            for place in 0..params.sq_entries {
                // SAFETY: the array has one word per place, within the memory, and is ours to write.
                unsafe {
                    sq_ring
                        .add(sq_off.array as usize)
                        .cast::<u32>()
                        .add(place as usize)
                        .write(place)
                };
            }
        }
        Ok((sq, cq))
    }
}

/// Address space that new mappings of a ring will fill.
pub(crate) struct Reserved {
    ring: Mmap,
    sqes: Mmap,
    dontfork: bool,
}

impl Reserved {
    /// Maps the ring's new memory there.
    pub(crate) fn fill(self, fd: BorrowedFd<'_>) -> io::Result<Memory> {
        let ring = self.ring.fill(fd.as_fd(), u64::from(sys::IORING_OFF_SQ_RING))?;
        let sqes = self.sqes.fill(fd.as_fd(), u64::from(sys::IORING_OFF_SQES))?;
        Memory::mapped(ring, None, sqes, self.dontfork)
    }
}

/// No flags, no sizes.
pub(crate) const fn zeroed_params() -> io_uring_params {
    // SAFETY: the struct is nothing but integers.
    unsafe { core::mem::zeroed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_what_the_kernel_makes_of_them() {
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
