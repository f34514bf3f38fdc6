//! Rings of provided buffers: memory that the kernel fills when data arrives.
//!
//! A group of buffers is handed to the kernel ahead of time, through a ring of its own; an entry
//! with [`Flags::BUFFER_SELECT`](crate::squeue::Flags::BUFFER_SELECT) and the group's number takes
//! one from there when there is something to put into it. The completion says which
//! ([`buffer_select`](crate::cqueue::Entry::buffer_select)). Buffers are taken in the order in which
//! they were added.

use core::fmt;
use core::mem::offset_of;
use core::ptr::NonNull;

use bitflags::bitflags;
use rustix::io::{self, Errno};

use crate::cqueue::{self, CompletionQueue};
use crate::handle::Handle;
use crate::memory::mmap::Mmap;
use crate::shared::{KernelU16, RingId};
use crate::submit::Submitter;
use crate::sys;

mod calls;
mod tracker;

pub use tracker::{BufSegment, BufSegments, BufTracker};

bitflags! {
    /// How a ring of provided buffers is registered: the `IOU_PBUF_RING_*` flags. Since Linux 6.4.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct BufRingFlags: u16 {
        /// The memory of the ring is the kernel's. Set by itself. Since Linux 6.4.
        const MMAP = 1;
        /// A buffer goes on being filled where the last completion has stopped, until it is full;
        /// until then, completions have
        /// [`buffer_more`](crate::cqueue::Entry::buffer_more). Since Linux 6.12.
        ///
        /// 6.18.15 leaves that flag out at the end of the data, after reads of files, and in some
        /// bundles. [`BufTracker`] is wrong there. 6.12.107 and 6.18.44 set it.
        const INC = 2;

        const _ = !0;
    }
}

impl BufRingFlags {
    /// With [`INC`](Self::INC), the kernel is done with a buffer that has less than this left, in
    /// bytes, as if it were full. Since Linux 7.1 and some of the older stable kernels; others
    /// answer EINVAL.
    ///
    /// ```
    /// # use rustix_uring::BufRingFlags;
    /// let options = BufRingFlags::INC.min_left(512);
    /// ```
    #[must_use]
    pub const fn min_left(self, bytes: u32) -> BufRingOptions {
        BufRingOptions { flags: self, min_left: bytes }
    }
}

/// How a ring of provided buffers is registered: [flags](BufRingFlags), with
/// [`min_left`](BufRingFlags::min_left) or without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BufRingOptions {
    pub(crate) flags: BufRingFlags,
    pub(crate) min_left: u32,
}

impl From<BufRingFlags> for BufRingOptions {
    fn from(flags: BufRingFlags) -> Self {
        Self { flags, min_left: 0 }
    }
}

/// One buffer in the ring: `struct io_uring_buf`. The last two bytes of the first one are the
/// ring's tail, so it is written field by field.
#[repr(C)]
pub(crate) struct Buf {
    addr: u64,
    len: u32,
    bid: u16,
    tail: u16,
}

const _: () = {
    assert!(size_of::<Buf>() == size_of::<sys::io_uring_buf>());
    assert!(offset_of!(Buf, addr) == offset_of!(sys::io_uring_buf, addr));
    assert!(offset_of!(Buf, len) == offset_of!(sys::io_uring_buf, len));
    assert!(offset_of!(Buf, bid) == offset_of!(sys::io_uring_buf, bid));
    assert!(offset_of!(Buf, tail) == offset_of!(sys::io_uring_buf, resv));
};

/// What was registered, and with which ring.
#[derive(Clone, Copy)]
pub(crate) struct Registered {
    pub(crate) ring: RingId,
    pub(crate) entries: u16,
    pub(crate) bgid: u16,
    pub(crate) flags: BufRingFlags,
}

/// A ring of provided buffers: `struct io_uring_buf_ring`. Since Linux 5.19.
///
/// [`register_buf_ring_owned`](Submitter::register_buf_ring_owned) makes one that owns its memory,
/// [`register_buf_ring_mmap`](Submitter::register_buf_ring_mmap) one in memory of the kernel, and
/// [`register_buf_ring`](Submitter::register_buf_ring) one in memory of yours. It owns
/// none of the buffers and has no policy: a buffer that you add belongs to the kernel until a
/// completion gives it back.
///
/// It remembers the [`IoUring`](crate::IoUring) that it was registered with. Methods that take a
/// [`Submitter`] refuse one of another ring.
///
/// Dropping it does not unregister it. The kernel goes on using the ring until
/// [`unregister`](Self::unregister), or until the `IoUring` has ended. Memory of the kernel, and memory
/// that the `BufRing` owns, is unmapped; memory of yours stays promised.
pub struct BufRing {
    bufs: NonNull<Buf>,
    tail: KernelU16,
    /// Our position, ahead of the published one by what was added since.
    next: u16,
    mask: u16,
    bgid: u16,
    /// Whether the kernel fills a buffer bit by bit, and says in its slot what is left of it.
    incremental: bool,
    /// The ring that the group belongs to. Another one may have a group of the same number.
    ring: RingId,
    /// Memory that is not the caller's, for as long as it is to be mapped.
    mapping: Option<Mmap>,
}

// SAFETY: the tail is an atomic, buffers are written only through `&mut`, and which thread does so
// makes no difference.
unsafe impl Send for BufRing {}
// SAFETY: a shared ring only reads what it has written itself, and what is left of a buffer, by a
// volatile read.
unsafe impl Sync for BufRing {}

impl BufRing {
    /// Returns how much memory [`register_buf_ring`](Submitter::register_buf_ring) needs, in bytes.
    pub const fn memory_size(entries: u16) -> usize {
        entries as usize * size_of::<Buf>()
    }

    /// # Safety
    ///
    /// The memory holds `entries` slots, which are initialized. It is valid, and nobody else's but
    /// the kernel's, for as long as the result lives; a mapping is that of the memory.
    pub(crate) unsafe fn new(
        memory: NonNull<u8>,
        registered: Registered,
        mapping: Option<Mmap>,
    ) -> Self {
        let Registered { ring, entries, bgid, flags } = registered;
        // SAFETY: the ring has at least one slot, and lives as long as we do.
        let tail = unsafe { KernelU16::at(memory, offset_of!(Buf, tail) as u32) };
        Self {
            bufs: memory.cast(),
            tail,
            next: tail.own(),
            mask: entries - 1,
            bgid,
            incremental: flags.contains(BufRingFlags::INC),
            ring,
            mapping,
        }
    }

    /// Returns the number of the group, for entries to name it.
    pub const fn group(&self) -> u16 {
        self.bgid
    }

    /// Returns how many buffers the ring can hold.
    pub const fn capacity(&self) -> usize {
        self.mask as usize + 1
    }

    fn slot(&self, position: u16) -> NonNull<Buf> {
        // SAFETY: the mask keeps the index inside the ring.
        unsafe { self.bufs.add(usize::from(position & self.mask)) }
    }

    /// Adds a buffer, which the kernel sees when it is [published](Self::publish).
    ///
    /// # Safety
    ///
    /// - From when it is published, the `len` bytes at `buf` are the kernel's. They stay valid for
    ///   reads and writes, and nobody else reads or writes them. This ends when a completion gives
    ///   the buffer back: one that names it and does not have
    ///   [`buffer_more`](cqueue::Entry::buffer_more), or a bundle's that has reached it. It also ends
    ///   when the group is unregistered, or the ring has ended, *and* every operation that takes
    ///   buffers from the group has completed. If all operations of the group send, valid for reads
    ///   is enough, and others may read.
    /// - The buffer, and its `bid`, are in the ring once at a time.
    /// - The ring never holds more than [`capacity`](Self::capacity) buffers, counting the
    ///   published ones that the kernel has not taken yet and those added since. How far the kernel
    ///   has come is not visible here, so this cannot be checked. A buffer too many overwrites the
    ///   slot of one that the kernel has not come to yet. The kernel then fills the new buffer
    ///   although it is not published, hands it out a second time when its turn comes, and never
    ///   uses the overwritten one (tried on 6.1 to 7.3).
    #[inline]
    pub unsafe fn add(&mut self, buf: *mut u8, len: u32, bid: u16) {
        debug_assert!(
            self.next.wrapping_sub(self.tail.own()) <= self.mask,
            "more buffers were added since the last publish than the ring can hold"
        );
        let slot = self.slot(self.next).as_ptr();
        // SAFETY: the slot is within the ring, and the kernel does not look there before it is
        // published: the caller promises that it is not one of those that the kernel has not come
        // to. Never the whole slot: the end of the first one is the tail.
        unsafe {
            (&raw mut (*slot).addr).write(buf.expose_provenance() as u64);
            (&raw mut (*slot).len).write(len);
            (&raw mut (*slot).bid).write(bid);
        }
        self.next = self.next.wrapping_add(1);
    }

    /// Lets the kernel see all buffers that were added.
    #[inline]
    pub fn publish(&mut self) {
        self.tail.release(self.next);
    }

    /// Lets the kernel see all buffers that were added, and releases the completions that were
    /// consumed, as [`CompletionQueue::sync`] does.
    #[inline]
    pub fn publish_with_cq<C: cqueue::Kind>(&mut self, queue: &mut CompletionQueue<'_, C>) {
        self.publish();
        queue.sync();
    }

    /// Returns how many published buffers the kernel has left (`IORING_REGISTER_PBUF_STATUS`).
    /// Since Linux 6.8.
    ///
    /// # Errors
    ///
    /// Those of [`head`](Self::head).
    pub fn available<H: Handle>(&self, submitter: &Submitter<'_, H>) -> io::Result<u16> {
        Ok(self.tail.own().wrapping_sub(self.head(submitter)?))
    }

    /// Returns how far the kernel has come: how many buffers it has used up since registration, modulo
    /// 2^16 (`IORING_REGISTER_PBUF_STATUS`). Since Linux 6.8.
    ///
    /// # Errors
    ///
    /// EINVAL if the submitter is that of another ring, or on older kernels; ENOENT if the group was
    /// unregistered by its number.
    pub fn head<H: Handle>(&self, submitter: &Submitter<'_, H>) -> io::Result<u16> {
        submitter.check_is(self.ring)?;
        submitter.buf_ring_head(self.bgid)
    }

    /// Unregisters the ring of buffers (`IORING_UNREGISTER_PBUF_RING`).
    ///
    /// Its memory is yours again, or is unmapped. The buffers are yours again when every operation
    /// that has taken one has completed.
    ///
    /// It takes the handle, which cannot be used afterwards:
    ///
    /// ```compile_fail,E0382
    /// # let ring = rustix_uring::IoUring::new(8).unwrap();
    /// # let flags = rustix_uring::BufRingFlags::empty();
    /// let mut bufs = ring.submitter().register_buf_ring_mmap(4, 0, flags).unwrap();
    /// bufs.unregister(&ring.submitter()).unwrap();
    /// bufs.publish();
    /// ```
    ///
    /// # Errors
    ///
    /// The error holds the handle, because the ring is still registered. It is EINVAL if the
    /// submitter is that of another ring: then nothing was done, even if the other ring has a group
    /// of this number. It is ENOENT if the group was unregistered by its number before
    /// ([`unregister_buf_ring`](Submitter::unregister_buf_ring)).
    pub fn unregister<H: Handle>(
        self,
        submitter: &Submitter<'_, H>,
    ) -> Result<(), UnregisterError> {
        // SAFETY: the group is ours, for the ring is; and if it is unregistered, so is the handle
        // gone.
        let unregister = || unsafe { submitter.unregister_buf_ring(self.bgid) };
        match submitter.check_is(self.ring).and_then(|()| unregister()) {
            Ok(()) => Ok(()),
            Err(errno) => Err(UnregisterError { bufs: self, errno }),
        }
    }

    /// Where the buffer was added, if it still stands there. It was added once since it was last
    /// ours, so its newest slot is the one.
    fn find(&self, bid: u16) -> Option<u16> {
        (1..=self.mask.wrapping_add(1))
            .map(|back| self.next.wrapping_sub(back))
            .map_while(|position| Some((position, self.bid_at(position)?)))
            .find_map(|(position, there)| (there == bid).then_some(position))
    }

    /// The ID of the buffer that was added there; `None` if nothing was, or something else since.
    fn bid_at(&self, position: u16) -> Option<u16> {
        let back = self.next.wrapping_sub(position);
        if back == 0 || back > self.mask.wrapping_add(1) {
            return None;
        }
        let slot = self.slot(position).as_ptr();
        // SAFETY: the slot is within the ring, and initialized. The kernel of an incremental ring
        // moves the address on at any time, which a volatile read allows for.
        let addr = unsafe { (&raw const (*slot).addr).read_volatile() };
        // SAFETY: as above; and the kernel never writes to the ID.
        let bid = unsafe { (&raw const (*slot).bid).read() };
        // Registration has set all of the slots to zero, and no buffer is at address zero.
        (addr != 0).then_some(bid)
    }

    /// How many bytes are left of the buffer that was added there, as the kernel of an incremental
    /// ring says.
    fn left_at(&self, position: u16) -> u32 {
        // SAFETY: the slot is within the ring, and initialized. The kernel of an incremental ring
        // writes there at any time, which a volatile read allows for.
        unsafe { (&raw const (*self.slot(position).as_ptr()).len).read_volatile() }
    }
}

impl fmt::Debug for BufRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufRing")
            .field("group", &self.bgid)
            .field("capacity", &self.capacity())
            .field("callers_memory", &self.mapping.is_none())
            .finish_non_exhaustive()
    }
}

/// A ring of provided buffers could not be [unregistered](BufRing::unregister), and here it is
/// back.
#[derive(Debug)]
pub struct UnregisterError {
    bufs: BufRing,
    errno: Errno,
}

impl UnregisterError {
    /// Returns why.
    pub const fn errno(&self) -> Errno {
        self.errno
    }

    /// Returns the ring of buffers, which is still registered.
    #[must_use = "dropping it does not unregister it"]
    pub fn into_buf_ring(self) -> BufRing {
        self.bufs
    }
}

impl fmt::Display for UnregisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot unregister buffer group {}: {}", self.bufs.bgid, self.errno)
    }
}

impl core::error::Error for UnregisterError {}

impl From<UnregisterError> for Errno {
    fn from(error: UnregisterError) -> Self {
        error.errno
    }
}

#[cfg(feature = "std")]
impl From<UnregisterError> for std::io::Error {
    fn from(error: UnregisterError) -> Self {
        error.errno.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;
    use std::format;
    use std::string::ToString;

    /// Eight slots of plain memory.
    #[repr(align(16))]
    pub(super) struct Plain([[u8; 16]; 8]);

    impl Plain {
        pub(super) fn new(byte: u8) -> Self {
            Self([[byte; 16]; 8])
        }

        /// A ring in so many of the slots, as they are.
        pub(super) fn ring(&mut self, slots: u16) -> BufRing {
            self.with_flags(slots, BufRingFlags::empty())
        }

        pub(super) fn with_flags(&mut self, entries: u16, flags: BufRingFlags) -> BufRing {
            let memory = NonNull::from(&mut self.0).cast();
            let registered = Registered { ring: RingId::new(), entries, bgid: 9, flags };
            // SAFETY: the memory has as many slots, and tests use it through the ring, or when
            // they are done with that.
            unsafe { BufRing::new(memory, registered, None) }
        }

        fn tail(&self) -> u16 {
            u16::from_ne_bytes([self.0[0][14], self.0[0][15]])
        }
    }

    pub(super) fn add(ring: &mut BufRing, bids: &[u16]) {
        for &bid in bids {
            // SAFETY: nobody writes to these buffers: the memory is not registered.
            unsafe { ring.add(core::ptr::without_provenance_mut(0x1000), 10, bid) };
        }
    }

    #[test]
    fn layout_is_the_kernels() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(8);
        // SAFETY: as in `add`.
        unsafe { ring.add(core::ptr::without_provenance_mut(0x1122_3344), 0x5566, 0x778) };
        add(&mut ring, &[1]);
        ring.publish();
        let words = |slot: [u8; 16]| {
            let (addr, rest) = slot.split_first_chunk::<8>().unwrap();
            let (len, rest) = rest.split_first_chunk::<4>().unwrap();
            let (bid, tail) = rest.split_first_chunk::<2>().unwrap();
            (
                u64::from_ne_bytes(*addr),
                u32::from_ne_bytes(*len),
                u16::from_ne_bytes(*bid),
                u16::from_ne_bytes([tail[0], tail[1]]),
            )
        };
        assert_eq!(words(memory.0[0]), (0x1122_3344, 0x5566, 0x778, 2));
        assert_eq!(words(memory.0[1]), (0x1000, 10, 1, 0));
    }

    /// The tail lies in the first slot, which is written every time around.
    #[test]
    fn tail_is_published_and_nothing_else_writes_it() {
        for slots in [1, 2, 8] {
            let mut memory = Plain::new(0);
            let start = u16::MAX - 20;
            memory.0[0][14..].copy_from_slice(&start.to_ne_bytes());
            let mut ring = memory.ring(slots);
            let mut tail = start;
            for round in 0..200_u16 {
                let n = round % (slots + 1);
                add(&mut ring, &[round; 8][..usize::from(n)]);
                assert_eq!(ring.tail.own(), tail);
                ring.publish();
                tail = tail.wrapping_add(n);
                assert_eq!(ring.tail.own(), tail);
            }
            drop(ring);
            assert_eq!(memory.tail(), tail);
            // Beyond its slots, nothing was written.
            assert!(memory.0[usize::from(slots)..].iter().all(|slot| *slot == [0; 16]));
        }
    }

    /// Only slots that were written are looked at, the newest ones first.
    #[test]
    fn buffers_are_found_where_they_were_added() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(4);
        assert_eq!((ring.find(0), ring.bid_at(0), ring.bid_at(u16::MAX)), (None, None, None));
        add(&mut ring, &[0, 5]);
        assert_eq!((ring.find(0), ring.find(5), ring.find(6)), (Some(0), Some(1), None));
        ring.publish();
        add(&mut ring, &[7, 0]);
        assert_eq!((ring.find(0), ring.find(7)), (Some(3), Some(2)));
        ring.publish();
        add(&mut ring, &[8]);
        // The first slot holds another buffer now.
        assert_eq!((ring.bid_at(0), ring.bid_at(4), ring.bid_at(5)), (None, Some(8), None));
        assert_eq!(ring.find(5), Some(1));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic = "more buffers were added"]
    fn more_than_fits_at_once_is_noticed() {
        let mut memory = Plain::new(0);
        add(&mut memory.ring(2), &[0, 1, 2]);
    }

    /// If unregistering fails, the handle comes back, and the errno.
    #[test]
    fn the_error_holds_the_ring() {
        let mut memory = Plain::new(0);
        let error = UnregisterError { bufs: memory.ring(4), errno: Errno::INVAL };
        assert!(error.to_string().starts_with("cannot unregister buffer group 9: "), "{error}");
        assert!(error.source().is_none() && error.errno() == Errno::INVAL);
        let bufs = error.into_buf_ring();
        assert_eq!((bufs.group(), bufs.capacity()), (9, 4));
        assert_eq!(Errno::from(UnregisterError { bufs, errno: Errno::NOENT }), Errno::NOENT);
    }

    #[test]
    fn all_ones_print() {
        let mut memory = Plain::new(0xff);
        let ring = memory.ring(8);
        assert!(format!("{ring:?}").contains("capacity: 8"), "{ring:?}");
        assert!(format!("{:?}", BufRingFlags::all()).contains("INC"));
    }
}
