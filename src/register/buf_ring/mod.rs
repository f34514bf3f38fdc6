//! Rings of provided buffers: memory that the kernel fills when data arrives.
//!
//! You give the kernel a group of buffers ahead of time, through a ring of buffers. An entry with
//! [`Flags::BUFFER_SELECT`](crate::squeue::Flags::BUFFER_SELECT) and the group ID takes a buffer
//! from that ring when data arrives. The completion tells which buffer
//! ([`buffer_select`](crate::cqueue::Entry::buffer_select)). The kernel takes buffers in the order
//! in which they were added.

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
    /// Flags for registering a ring of provided buffers (`IOU_PBUF_RING_*`). Since Linux 6.4.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct BufRingFlags: u16 {
        /// The kernel provides the memory of the ring. The register methods of this crate set this
        /// flag themselves. Since Linux 6.4.
        const MMAP = 1;
        /// The kernel consumes buffers incrementally: it continues to fill a buffer where the last
        /// completion has stopped, until the buffer is full. Until then, completions have
        /// [`buffer_more`](crate::cqueue::Entry::buffer_more). Since Linux 6.12.
        ///
        /// Linux 6.18.15 omits `buffer_more` at the end of the data, after reads of files, and in
        /// some bundles. [`BufTracker`] returns wrong segments there. 6.12.107 and 6.18.44 set it.
        const INC = 2;

        const _ = !0;
    }
}

impl BufRingFlags {
    /// Adds a minimum to [`INC`](Self::INC): a buffer with fewer than `bytes` bytes left counts as
    /// full. Since Linux 7.1, and in some older stable kernels. On other kernels, the registration
    /// fails with EINVAL.
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

/// Options for registering a ring of provided buffers: [flags](BufRingFlags), and optionally
/// [`min_left`](BufRingFlags::min_left).
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

/// One buffer in the ring: `struct io_uring_buf`.
///
/// The last two bytes of the first slot are the tail of the ring. So slots are written field by
/// field, never as a whole.
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

/// The parameters of a registration, and the `IoUring` that it belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Registered {
    pub(crate) ring: RingId,
    pub(crate) entries: u16,
    pub(crate) bgid: u16,
    pub(crate) flags: BufRingFlags,
}

/// A ring of provided buffers: `struct io_uring_buf_ring`. Since Linux 5.19.
///
/// There are three ways to create one:
/// [`register_buf_ring_owned`](Submitter::register_buf_ring_owned) in memory that it owns,
/// [`register_buf_ring_mmap`](Submitter::register_buf_ring_mmap) in memory of the kernel, and
/// [`register_buf_ring`](Submitter::register_buf_ring) in your memory. A `BufRing` owns none of the
/// buffers. A buffer that you add belongs to the kernel until a completion returns it.
///
/// A `BufRing` belongs to the [`IoUring`](crate::IoUring) that it was registered with. Methods that
/// take a [`Submitter`] reject the submitter of another ring.
///
/// Dropping a `BufRing` does not unregister it. The kernel continues to use the ring until
/// [`unregister`](Self::unregister), or until the `IoUring` has ended. The drop unmaps memory of
/// the kernel, and memory that the `BufRing` owns. If the memory is yours, your promise about it
/// continues to hold.
pub struct BufRing {
    bufs: NonNull<Buf>,
    tail: KernelU16,
    /// The position of the next slot. It is ahead of the published tail by the buffers added since.
    next: u16,
    mask: u16,
    bgid: u16,
    /// Whether the kernel consumes buffers incrementally. It then stores in the slot how much of
    /// the buffer is left.
    incremental: bool,
    /// The ring that the group belongs to. Another ring may have a group with the same ID.
    ring: RingId,
    /// The memory, unless it is that of the caller. Dropping it unmaps it.
    mapping: Option<Mmap>,
}

// SAFETY: the tail is an atomic. Slots are written only through `&mut`, and any thread may do that.
unsafe impl Send for BufRing {}
// SAFETY: methods with `&self` only read. They read the addresses and lengths that the kernel may
// update with volatile reads, and everything else was written by this handle.
unsafe impl Sync for BufRing {}

impl BufRing {
    /// Returns the number of bytes that [`register_buf_ring`](Submitter::register_buf_ring) needs.
    pub const fn memory_size(entries: u16) -> usize {
        entries as usize * size_of::<Buf>()
    }

    /// Creates a handle for a ring in `memory`.
    ///
    /// # Safety
    ///
    /// The memory holds `entries` initialized slots. It is valid, and only the kernel uses it
    /// besides the result, for as long as the result lives. `mapping`, if there is one, maps this
    /// memory.
    pub(crate) unsafe fn new(
        memory: NonNull<u8>,
        registered: Registered,
        mapping: Option<Mmap>,
    ) -> Self {
        let Registered { ring, entries, bgid, flags } = registered;
        // SAFETY: the ring has at least one slot, and lives as long as the result.
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

    /// Returns the group ID, which entries use to select from this group.
    pub const fn group(&self) -> u16 {
        self.bgid
    }

    /// Returns the number of buffers that the ring can hold.
    pub const fn capacity(&self) -> usize {
        self.mask as usize + 1
    }

    fn slot(&self, position: u16) -> NonNull<Buf> {
        // SAFETY: the mask keeps the index inside the ring.
        unsafe { self.bufs.add(usize::from(position & self.mask)) }
    }

    /// Adds a buffer. The kernel sees it after [`publish`](Self::publish).
    ///
    /// # Safety
    ///
    /// - Once the buffer is published, the `len` bytes at `buf` belong to the kernel. They stay
    ///   valid for reads and writes, and nothing else reads or writes them. This ends when a
    ///   completion returns the buffer: a completion that names it and does not have
    ///   [`buffer_more`](cqueue::Entry::buffer_more), or the completion of a bundle that has
    ///   reached it. It also ends when two conditions hold: the group is unregistered or the ring
    ///   has ended, and every operation that takes buffers from the group has completed.
    /// - If all operations of the group are sends, it is enough that the bytes are valid for reads,
    ///   and others may read them.
    /// - The buffer, and its `bid`, are in the ring at most once at a time.
    /// - The ring never holds more than [`capacity`](Self::capacity) buffers. This counts the
    ///   published buffers that the kernel has not taken yet, and those added since. `add` cannot
    ///   check this, because the position of the kernel is not visible here. One buffer too many
    ///   overwrites the slot of a buffer that the kernel has not taken yet. The kernel then fills
    ///   the new buffer although it is not published, takes it a second time when its turn comes,
    ///   and never uses the overwritten one (observed on Linux 6.1 to 7.3).
    #[inline]
    pub unsafe fn add(&mut self, buf: *mut u8, len: u32, bid: u16) {
        debug_assert!(
            self.next.wrapping_sub(self.tail.own()) <= self.mask,
            "more buffers were added since the last publish than the ring can hold"
        );
        let slot = self.slot(self.next).as_ptr();
        // SAFETY: the slot is within the ring. The caller promises that it is free, so the kernel
        // does not read it before it is published. The fields are written one by one, because the
        // end of the first slot is the tail.
        unsafe {
            (&raw mut (*slot).addr).write(buf.expose_provenance() as u64);
            (&raw mut (*slot).len).write(len);
            (&raw mut (*slot).bid).write(bid);
        }
        self.next = self.next.wrapping_add(1);
    }

    /// Publishes all added buffers, so that the kernel sees them.
    #[inline]
    pub fn publish(&mut self) {
        self.tail.release(self.next);
    }

    /// Publishes all added buffers, and releases the consumed completions, as
    /// [`CompletionQueue::sync`] does.
    #[inline]
    pub fn publish_with_cq<C: cqueue::Kind>(&mut self, queue: &mut CompletionQueue<'_, C>) {
        self.publish();
        queue.sync();
    }

    /// Returns the number of published buffers that the kernel has not taken yet
    /// (`IORING_REGISTER_PBUF_STATUS`). Since Linux 6.8.
    ///
    /// # Errors
    ///
    /// Same errors as [`head`](Self::head).
    pub fn available<H: Handle>(&self, submitter: &Submitter<'_, H>) -> io::Result<u16> {
        Ok(self.tail.own().wrapping_sub(self.head(submitter)?))
    }

    /// Returns the head of the ring: the number of buffers that the kernel has consumed since
    /// registration, modulo 2^16 (`IORING_REGISTER_PBUF_STATUS`). Since Linux 6.8.
    ///
    /// # Errors
    ///
    /// EINVAL if the submitter belongs to another ring, or on older kernels; ENOENT if the group
    /// was unregistered by its ID.
    pub fn head<H: Handle>(&self, submitter: &Submitter<'_, H>) -> io::Result<u16> {
        submitter.check_is(self.ring)?;
        submitter.buf_ring_head(self.bgid)
    }

    /// Unregisters the ring of buffers (`IORING_UNREGISTER_PBUF_RING`).
    ///
    /// Afterwards, the memory of the ring is yours again; if it was not yours, it is unmapped. The
    /// buffers are yours again when every operation that has taken one has completed.
    ///
    /// This method consumes the handle, so you cannot use it afterwards:
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
    /// The error contains the handle, because the ring is still registered. The errno is EINVAL if
    /// the submitter belongs to another ring. Then nothing has changed, even if the other ring has
    /// a group with this ID. The errno is ENOENT if the group was unregistered by its ID before
    /// ([`unregister_buf_ring`](Submitter::unregister_buf_ring)).
    pub fn unregister<H: Handle>(
        self,
        submitter: &Submitter<'_, H>,
    ) -> Result<(), UnregisterError> {
        // SAFETY: `check_is` has confirmed that the group belongs to this ring. If the call
        // succeeds, this method drops the handle.
        let unregister = || unsafe { submitter.unregister_buf_ring(self.bgid) };
        match submitter.check_is(self.ring).and_then(|()| unregister()) {
            Ok(()) => Ok(()),
            Err(errno) => Err(UnregisterError { bufs: self, errno }),
        }
    }

    /// Returns the position at which the buffer was added, if its slot was not overwritten. A
    /// buffer is in the ring at most once at a time, so its newest slot is the right one.
    fn find(&self, bid: u16) -> Option<u16> {
        (1..=self.mask.wrapping_add(1))
            .map(|back| self.next.wrapping_sub(back))
            .map_while(|position| Some((position, self.bid_at(position)?)))
            .find_map(|(position, there)| (there == bid).then_some(position))
    }

    /// Returns the ID of the buffer added at a position, or `None` if no buffer was added there or
    /// its slot was overwritten.
    fn bid_at(&self, position: u16) -> Option<u16> {
        let back = self.next.wrapping_sub(position);
        if back == 0 || back > self.mask.wrapping_add(1) {
            return None;
        }
        let slot = self.slot(position).as_ptr();
        // SAFETY: the slot is within the ring, and initialized. With an incremental ring, the
        // kernel may advance the address at any time, so the read is volatile.
        let addr = unsafe { (&raw const (*slot).addr).read_volatile() };
        // SAFETY: the slot is within the ring, and initialized. The kernel never writes to the ID.
        let bid = unsafe { (&raw const (*slot).bid).read() };
        // Registration sets all slots to zero, and no buffer is at address zero.
        (addr != 0).then_some(bid)
    }

    /// Returns the number of bytes left in the buffer added at a position, as the kernel reports it
    /// in an incremental ring.
    fn left_at(&self, position: u16) -> u32 {
        // SAFETY: the slot is within the ring, and initialized. With an incremental ring, the
        // kernel may write to it at any time, so the read is volatile.
        unsafe { (&raw const (*self.slot(position).as_ptr()).len).read_volatile() }
    }
}

impl fmt::Debug for BufRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufRing")
            .field("group", &self.bgid)
            .field("capacity", &self.capacity())
            .field("application_memory", &self.mapping.is_none())
            .finish_non_exhaustive()
    }
}

/// The error of [`BufRing::unregister`], which contains the ring of buffers.
#[derive(Debug)]
pub struct UnregisterError {
    bufs: BufRing,
    errno: Errno,
}

impl UnregisterError {
    /// Returns the reason of the failure.
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

        /// Returns a ring in this many of the slots, without initializing them.
        pub(super) fn ring(&mut self, slots: u16) -> BufRing {
            self.with_flags(slots, BufRingFlags::empty())
        }

        pub(super) fn with_flags(&mut self, entries: u16, flags: BufRingFlags) -> BufRing {
            let memory = NonNull::from(&mut self.0).cast();
            let registered = Registered { ring: RingId::new(), entries, bgid: 9, flags };
            // SAFETY: the memory has this many slots. Tests use it only through the ring, or after
            // their last use of the ring.
            unsafe { BufRing::new(memory, registered, None) }
        }

        fn tail(&self) -> u16 {
            u16::from_ne_bytes([self.0[0][14], self.0[0][15]])
        }
    }

    pub(super) fn add(ring: &mut BufRing, bids: &[u16]) {
        for &bid in bids {
            // SAFETY: the ring is not registered, so no kernel writes to these buffers.
            unsafe { ring.add(core::ptr::without_provenance_mut(0x1000), 10, bid) };
        }
    }

    #[test]
    fn layout_matches_the_kernel() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(8);
        // SAFETY: the ring is not registered, so no kernel writes to this buffer.
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

    /// The tail is in the first slot, which is rewritten on each turn around the ring.
    #[test]
    fn only_publish_writes_the_tail() {
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
            // Nothing was written beyond the slots of the ring.
            assert!(memory.0[usize::from(slots)..].iter().all(|slot| *slot == [0; 16]));
        }
    }

    /// The search reads only written slots, the newest ones first.
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
        // The first slot now holds another buffer.
        assert_eq!((ring.bid_at(0), ring.bid_at(4), ring.bid_at(5)), (None, Some(8), None));
        assert_eq!(ring.find(5), Some(1));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic = "more buffers were added"]
    fn adding_more_than_the_capacity_panics() {
        let mut memory = Plain::new(0);
        add(&mut memory.ring(2), &[0, 1, 2]);
    }

    /// If unregistering fails, the error contains the handle and the errno.
    #[test]
    fn the_error_contains_the_ring() {
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
