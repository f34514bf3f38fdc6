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
use rustix::io;

use crate::local::Handle;
use crate::mmap::Mmap;
use crate::shared::KernelU16;
use crate::submit::Submitter;
use crate::{CompletionQueue, cqueue, sys};

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
        /// 6.18.15 does not say so where the data has ended, after reads of files, and now and then
        /// in bundles, so that it and [`BufUse`] part ways there; 6.12.107 and 6.18.44 do.
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

const _: () = assert!(size_of::<Buf>() == size_of::<sys::io_uring_buf>());

/// A ring of provided buffers: `struct io_uring_buf_ring`. Since Linux 5.19.
///
/// Made by [`register_buf_ring`](Submitter::register_buf_ring), over memory of the caller's, or by
/// [`register_buf_ring_mmap`](Submitter::register_buf_ring_mmap), over memory of the kernel's. It
/// owns none of the buffers, and has no policy: what is added is the kernel's until a completion
/// gives it back.
///
/// Dropping it does not unregister it: the kernel goes on using the ring until
/// [`unregister`](Self::unregister) or the end of the ring that it belongs to. Memory of the
/// kernel's is merely unmapped; memory of the caller's stays promised.
pub struct BufRing {
    bufs: NonNull<Buf>,
    tail: KernelU16,
    /// Our position, ahead of the published one by what was added since.
    next: u16,
    mask: u16,
    bgid: u16,
    /// Memory of the kernel's, for as long as it is to be mapped.
    mapping: Option<Mmap>,
}

// SAFETY: the tail is an atomic, buffers are written only through `&mut`, and which thread does so
// makes no difference.
unsafe impl Send for BufRing {}
// SAFETY: a shared ring only reads what it has written itself.
unsafe impl Sync for BufRing {}

impl BufRing {
    /// How much memory [`register_buf_ring`](Submitter::register_buf_ring) needs, in bytes.
    pub const fn memory_size(entries: u16) -> usize {
        entries as usize * size_of::<Buf>()
    }

    /// # Safety
    ///
    /// The memory was registered as a ring of `entries` buffers, and is nobody else's.
    pub(crate) unsafe fn new(
        memory: NonNull<u8>,
        entries: u16,
        bgid: u16,
        mapping: Option<Mmap>,
    ) -> Self {
        // SAFETY: the ring has at least one place, and lives as long as we do.
        let tail = unsafe { KernelU16::at(memory, offset_of!(Buf, tail) as u32) };
        Self { bufs: memory.cast(), tail, next: tail.own(), mask: entries - 1, bgid, mapping }
    }

    /// The number of the group, for entries to name it.
    pub const fn group(&self) -> u16 {
        self.bgid
    }

    /// How many places there are.
    pub const fn capacity(&self) -> usize {
        self.mask as usize + 1
    }

    fn place(&self, position: u16) -> NonNull<Buf> {
        // SAFETY: the mask keeps the index inside the ring.
        unsafe { self.bufs.add(usize::from(position & self.mask)) }
    }

    /// Adds a buffer, which the kernel sees when it is [published](Self::publish).
    ///
    /// There must not be more buffers in the ring than places: what is added then takes the place
    /// of a buffer that the kernel has not come to, and that one is lost.
    ///
    /// # Safety
    ///
    /// From when it is published, the buffer is the kernel's to write: valid, and neither read nor
    /// written by anybody else, until a completion gives it back, or the ring is unregistered and
    /// every operation that takes buffers from it has completed.
    #[inline]
    pub unsafe fn add(&mut self, buf: *mut u8, len: u32, bid: u16) {
        let place = self.place(self.next).as_ptr();
        // SAFETY: the place is within the ring, and the kernel does not look there before it is
        // published. Never the whole entry: the end of the first one is the tail.
        unsafe {
            (&raw mut (*place).addr).write(buf.expose_provenance() as u64);
            (&raw mut (*place).len).write(len);
            (&raw mut (*place).bid).write(bid);
        }
        self.next = self.next.wrapping_add(1);
    }

    /// Lets the kernel see all buffers that were added.
    #[inline]
    pub fn publish(&mut self) {
        self.tail.release(self.next);
    }

    /// Lets the kernel see all buffers that were added, and gives back the completions that were
    /// gone past, as [`CompletionQueue::sync`] does.
    #[inline]
    pub fn publish_with_cq<C: cqueue::EntryMarker>(&mut self, queue: &mut CompletionQueue<'_, C>) {
        self.publish();
        queue.sync();
    }

    /// How many published buffers the kernel has left (`IORING_REGISTER_PBUF_STATUS`). Since Linux
    /// 6.8.
    ///
    /// # Errors
    ///
    /// EINVAL on older kernels; ENOENT if the group is not registered with that ring.
    pub fn available<H: Handle>(&self, submitter: &Submitter<'_, H>) -> io::Result<u16> {
        let head = submitter.buf_ring_head(self.bgid)?;
        Ok(self.tail.own().wrapping_sub(head))
    }

    /// Unregisters the ring from the one that it belongs to: its memory is the caller's again, or
    /// is unmapped. (The buffers are the caller's again when the operations that have taken one
    /// have completed.)
    ///
    /// # Errors
    ///
    /// ENOENT if it is not registered with that ring.
    pub fn unregister<H: Handle>(self, submitter: &Submitter<'_, H>) -> io::Result<()> {
        submitter.unregister_buf_ring(self.bgid)
    }

    /// Where a buffer that is in use was added, by how many have been added since.
    fn added(&self, bid: u16) -> Option<u16> {
        // It was added once since it was last ours: its newest place is the one.
        (1..=self.mask.wrapping_add(1)).find(|&back| self.bid_back(back) == bid)
    }

    /// The id of the buffer in the place that is so many behind the next.
    fn bid_back(&self, back: u16) -> u16 {
        self.bid_at(self.next.wrapping_sub(back))
    }

    fn bid_at(&self, position: u16) -> u16 {
        // SAFETY: the place is within the ring; the kernel writes to addresses and lengths in some
        // rings, and never to the id.
        unsafe { (&raw const (*self.place(position).as_ptr()).bid).read() }
    }
}

impl fmt::Debug for BufRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufRing")
            .field("group", &self.bgid)
            .field("capacity", &self.capacity())
            .field("kernel_memory", &self.mapping.is_some())
            .finish_non_exhaustive()
    }
}

/// Which bytes of which buffers a completion has filled. See [`BufUse::spans`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Span {
    /// The buffer.
    pub bid: u16,
    /// Where in it the bytes begin.
    pub offset: u32,
    /// How many there are.
    pub len: u32,
    /// Whether the kernel is done with the buffer, so that it may be added again. If not, more
    /// bytes will follow behind these.
    pub done: bool,
}

/// Keeps account of how far the buffers of one group are used up.
///
/// One algorithm serves plain rings, [incremental](BufRingFlags::INC) ones, bundles, and bundles
/// on incremental rings. It takes for granted that
///
/// - it sees every completion that has taken a buffer of the group, failures included, in the order
///   in which the kernel has taken them. Completions of one task's requests on sockets and pipes
///   come in this order; those of [`Flags::ASYNC`](crate::squeue::Flags::ASYNC) or of several
///   threads' rings may not;
/// - a buffer's id is in the ring once at a time;
/// - on incremental rings, reads of regular files are as long as was asked for. The kernel, which
///   does not wait for these, uses up as much of the buffer before it reads: see
///   [`skip`](Self::skip).
#[derive(Clone, Copy, Debug, Default)]
pub struct BufUse {
    /// The buffer that is partly used, and how far.
    partial: Option<(u16, u32)>,
}

impl BufUse {
    /// Nothing is used.
    pub const fn new() -> Self {
        Self { partial: None }
    }

    /// Goes on by so many bytes in the buffer that is partly used, if one is: by as much as a read of
    /// a regular file on an [incremental](BufRingFlags::INC) ring was shorter than asked for.
    pub fn skip(&mut self, bytes: u32) {
        self.partial = self.partial.map(|(bid, used)| (bid, used.saturating_add(bytes)));
    }

    /// The bytes that a completion has filled, buffer by buffer; none if it has taken no buffer.
    ///
    /// `len` says how long a buffer is, as it was added. Every span is to be taken from the
    /// iterator.
    pub fn spans<'a, L: Fn(u16) -> u32>(
        &'a mut self,
        ring: &'a BufRing,
        cqe: &cqueue::Entry,
        len: L,
    ) -> Spans<'a, L> {
        let offset = |bid| self.partial.filter(|(partial, _)| *partial == bid).map_or(0, |p| p.1);
        Spans {
            next: cqe.buffer_select().map(|bid| (bid, offset(bid))),
            // A failed operation has taken the buffer and filled nothing.
            left: cqe.result().max(0) as u32,
            goes_on: cqe.buffer_more(),
            back: None,
            account: self,
            ring,
            len,
        }
    }
}

/// The spans of one completion. See [`BufUse::spans`].
#[derive(Debug)]
pub struct Spans<'a, L> {
    /// The buffer to come, and where in it.
    next: Option<(u16, u32)>,
    left: u32,
    goes_on: bool,
    /// By how many the buffer to come is behind the next to be added, if that is known.
    back: Option<u16>,
    account: &'a mut BufUse,
    ring: &'a BufRing,
    len: L,
}

impl<L: Fn(u16) -> u32> Iterator for Spans<'_, L> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let (bid, offset) = self.next.take()?;
        let len = (self.len)(bid).saturating_sub(offset).min(self.left);
        self.left -= len;
        let is_last = self.left == 0;
        let done = !(is_last && self.goes_on);
        self.account.partial = (!done).then(|| (bid, offset.saturating_add(len)));
        if !is_last {
            // The bytes go on in the buffer that was added behind this one.
            self.back =
                self.back.or_else(|| self.ring.added(bid)).and_then(|back| back.checked_sub(1));
            self.next =
                self.back.filter(|&back| back > 0).map(|back| (self.ring.bid_back(back), 0));
        }
        Some(Span { bid, offset, len, done })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::{IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUF_MORE, IORING_CQE_F_BUFFER};
    use std::format;
    use std::vec::Vec;

    /// Eight places of plain memory.
    #[repr(align(16))]
    struct Plain([[u8; 16]; 8]);

    impl Plain {
        fn new(byte: u8) -> Self {
            Self([[byte; 16]; 8])
        }

        /// A ring in `places` of them, as they are.
        fn ring(&mut self, places: u16) -> BufRing {
            let memory = NonNull::from(&mut self.0).cast();
            // SAFETY: the memory has as many places, and tests use it through the ring, or when
            // they are done with that.
            unsafe { BufRing::new(memory, places, 9, None) }
        }

        fn tail(&self) -> u16 {
            u16::from_ne_bytes([self.0[0][14], self.0[0][15]])
        }
    }

    fn add(ring: &mut BufRing, bids: &[u16]) {
        for &bid in bids {
            // SAFETY: nobody writes to these buffers: the memory is not registered.
            unsafe { ring.add(core::ptr::without_provenance_mut(0x1000), 10, bid) };
        }
    }

    fn done(bid: u16, res: i32, more: bool) -> cqueue::Entry {
        let more = if more { IORING_CQE_F_BUF_MORE } else { 0 };
        let flags = u32::from(bid) << IORING_CQE_BUFFER_SHIFT | IORING_CQE_F_BUFFER | more;
        cqueue::Entry { user_data: 0, res, flags }
    }

    type Tuple = (u16, u32, u32, bool);

    fn spans(account: &mut BufUse, ring: &BufRing, cqe: cqueue::Entry) -> Vec<Tuple> {
        let spans = account.spans(ring, &cqe, |_| 10);
        spans.map(|span| (span.bid, span.offset, span.len, span.done)).collect()
    }

    #[test]
    fn layout_is_the_kernels() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(8);
        // SAFETY: as in `add`.
        unsafe { ring.add(core::ptr::without_provenance_mut(0x1122_3344), 0x5566, 0x778) };
        add(&mut ring, &[1]);
        ring.publish();
        let words = |place: [u8; 16]| {
            let (addr, rest) = place.split_first_chunk::<8>().unwrap();
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

    /// The tail lies in the first place, which is written every time around.
    #[test]
    fn tail_is_published_and_nothing_else_writes_it() {
        for places in [1, 2, 8] {
            let mut memory = Plain::new(0);
            let start = u16::MAX - 20;
            memory.0[0][14..].copy_from_slice(&start.to_ne_bytes());
            let mut ring = memory.ring(places);
            let mut tail = start;
            for round in 0..200_u16 {
                let n = round % (places + 1);
                add(&mut ring, &[round; 8][..usize::from(n)]);
                assert_eq!(ring.tail.own(), tail);
                ring.publish();
                tail = tail.wrapping_add(n);
                assert_eq!(ring.tail.own(), tail);
            }
            drop(ring);
            assert_eq!(memory.tail(), tail);
            // Beyond its places, nothing was written.
            assert!(memory.0[usize::from(places)..].iter().all(|place| *place == [0; 16]));
        }
    }

    #[test]
    fn plain_spans() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(4);
        let mut account = BufUse::new();
        add(&mut ring, &[7, 6, 5, 4]);
        assert_eq!(spans(&mut account, &ring, done(7, 3, false)), [(7, 0, 3, true)]);
        assert_eq!(spans(&mut account, &ring, done(6, -11, false)), [(6, 0, 0, true)]);
        let failed = cqueue::Entry { user_data: 0, res: -105, flags: 0 };
        assert_eq!(spans(&mut account, &ring, failed), []);
    }

    #[test]
    fn bundles_go_around_the_end() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(4);
        let mut account = BufUse::new();
        add(&mut ring, &[3, 2, 1, 0]);
        let expected = [(3, 0, 10, true), (2, 0, 10, true), (1, 0, 1, true)];
        assert_eq!(spans(&mut account, &ring, done(3, 21, false)), expected);
        // They come back in another order, behind what is still there.
        add(&mut ring, &[1, 3, 2]);
        let expected = [(0, 0, 10, true), (1, 0, 10, true), (3, 0, 10, true), (2, 0, 10, true)];
        assert_eq!(spans(&mut account, &ring, done(0, 40, false)), expected);
    }

    #[test]
    fn incremental_spans() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(4);
        let mut account = BufUse::new();
        add(&mut ring, &[0, 1, 2, 3]);
        assert_eq!(spans(&mut account, &ring, done(0, 4, true)), [(0, 0, 4, false)]);
        assert_eq!(spans(&mut account, &ring, done(0, 0, true)), [(0, 4, 0, false)]);
        // A bundle begins in the middle of one, and ends in the middle of another.
        let expected = [(0, 4, 6, true), (1, 0, 10, true), (2, 0, 5, false)];
        assert_eq!(spans(&mut account, &ring, done(0, 21, true)), expected);
        account.skip(2);
        assert_eq!(spans(&mut account, &ring, done(2, 3, false)), [(2, 7, 3, true)]);
        // Just full is not more.
        assert_eq!(spans(&mut account, &ring, done(3, 10, false)), [(3, 0, 10, true)]);
        account.skip(u32::MAX);
        assert_eq!(account.partial, None);
    }

    /// Whatever a completion says, the account comes to an end, and makes nothing up.
    #[test]
    fn nonsense_ends() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(8);
        add(&mut ring, &[0, 0, 1, 1]);
        for bid in [0, 1, 2, u16::MAX] {
            for res in [i32::MIN, -1, 0, 1, 10, 11, 1000, i32::MAX] {
                for more in [false, true] {
                    let mut account = BufUse { partial: Some((bid, u32::MAX)) };
                    let spans = spans(&mut account, &ring, done(bid, res, more));
                    assert!(spans.len() <= 8, "{spans:?}");
                    assert!(spans.iter().map(|span| span.2).sum::<u32>() <= 80);
                    account.skip(u32::MAX);
                }
            }
        }
        // Buffers of no length.
        let mut account = BufUse::new();
        assert!(account.spans(&ring, &done(1, 5, false), |_| 0).count() <= 8);
    }

    #[test]
    fn all_ones_print() {
        let mut memory = Plain::new(0xff);
        let ring = memory.ring(8);
        let mut account = BufUse { partial: Some((u16::MAX, u32::MAX)) };
        let text = format!("{ring:?} {account:?}");
        assert!(text.contains("capacity: 8") && text.contains("65535"), "{text}");
        let ones = cqueue::Entry { user_data: !0, res: -1, flags: !0 };
        let span = account.spans(&ring, &ones, |_| !0).next();
        assert!(format!("{span:?} {:?}", BufRingFlags::all()).contains("65535"));
    }
}
