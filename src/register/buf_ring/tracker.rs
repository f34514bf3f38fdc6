//! Tracks which bytes of which buffers a completion has filled.

use core::fmt;
use core::iter;

use crate::cqueue;
use crate::register::buf_ring::BufRing;

/// Bytes of one buffer that an operation has filled or sent. See [`BufTracker`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufSegment {
    /// The ID of the buffer.
    pub bid: u16,
    /// The offset of the bytes in the buffer.
    pub offset: u32,
    /// The number of bytes. It is 0 if the operation has failed or has reached the end of the data,
    /// or if the kernel has consumed the buffer without filling it.
    ///
    /// With [`MsgFlags::TRUNC`](crate::types::MsgFlags::TRUNC), fewer bytes may be filled: at most
    /// the `len` of the operation, and none from a TCP socket, which discards the data.
    pub len: u32,
    /// Whether the kernel no longer uses the buffer, so that you may add it again. If false, more
    /// bytes will follow behind these.
    pub done: bool,
}

/// Tracks how much of the buffers of one group the kernel has consumed.
///
/// A completion reports only one buffer and a number of bytes. For each completion, call the method
/// for its operation. The method returns the [segments](BufSegment): the buffers that were used,
/// and the bytes in each.
///
/// | operation | method |
/// |---|---|
/// | reads, `Recv`, `RecvMulti`, `RecvMsg`, `RecvMsgMulti`, `Send` | [`segments`](Self::segments) |
/// | `RecvBundle`, `RecvMultiBundle`, `SendBundle` | [`bundle_segments`](Self::bundle_segments) |
/// | a bundle with `MSG_TRUNC`; a `SendBundle` that failed or was short | [`taken_segments`](Self::taken_segments) |
///
/// The tracker is up to date when the method returns, however many segments you read. The segments
/// do not borrow the ring, so you can add buffers again in between:
///
/// ```
/// # use rustix_uring::{BufRing, BufTracker, cqueue};
/// # const LEN: u32 = 1024;
/// # fn return_buffer(
/// #     tracker: &mut BufTracker, ring: &mut BufRing, cqe: &cqueue::Entry, bufs: &mut [[u8; 1024]],
/// # ) {
/// let mut segments = tracker.bundle_segments(ring, cqe, |_| LEN);
/// while let Some(segment) = segments.next(ring) {
///     // Use the bytes here.
///     if segment.done {
///         let buf = bufs[usize::from(segment.bid)].as_mut_ptr();
///         // SAFETY: the kernel no longer uses the buffer, and neither does this program.
///         unsafe { ring.add(buf, LEN, segment.bid) };
///     }
/// }
/// ring.publish();
/// # }
/// ```
///
/// A tracker works for plain and [incremental](crate::BufRingFlags::INC) rings, under these
/// conditions:
///
/// - The tracker must see every completion that has taken a buffer of the group, including
///   failures. On incremental rings, it must see them in the order in which the kernel took the
///   buffers. Completions of one task's requests on sockets and pipes arrive in this order.
///   Completions of requests with [`Flags::ASYNC`](crate::squeue::Flags::ASYNC), or of rings that
///   several threads enter, may not.
/// - Each buffer ID is in the ring at most once at a time.
/// - On incremental rings, reads of regular files must not be short. The kernel consumes the
///   requested length of the buffer before it reads. If a read is short, call
///   [`advance`](Self::advance).
/// - On incremental rings, an operation with `MSG_TRUNC` must not have a `len` that limits it.
///   Otherwise the result does not tell how much of the buffer was consumed.
/// - On incremental rings with `MSG_TRUNC`, some 6.18 kernels (6.18.15, 6.18.44) consume several
///   buffers for a message that does not fit into one. The bytes beyond the first buffer are not
///   stored, so `segments` reports the other buffers with a `len` of 0. It cannot report them if
///   the message ends exactly at the end of a buffer, because nothing in the completion shows that
///   the kernel has consumed them. Linux 6.12.117, 7.2 and 7.3 consume only one buffer.
/// - With `MSG_TRUNC`, all buffers of the group must have the same length. A receive on Linux 6.18
///   stores at most the length of the buffer that it found first, even if it takes a longer buffer
///   when the message arrives. `segments` would then report bytes that were not stored.
///
/// A tracker is not `Copy`, because a copy would continue from an outdated state:
///
/// ```compile_fail,E0382
/// let tracker = rustix_uring::BufTracker::new();
/// let (one, two) = (tracker, tracker);
/// ```
#[derive(Debug, Default)]
pub struct BufTracker {
    /// The buffer that is partly consumed, and the number of its bytes consumed.
    partial: Option<(u16, u32)>,
}

impl BufTracker {
    /// Creates a tracker for a group of which no buffer is consumed yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { partial: None }
    }

    /// Skips `bytes` of the partly consumed buffer, if there is one.
    ///
    /// On [incremental](crate::BufRingFlags::INC) rings, call this after a short read of a regular
    /// file, with the number of bytes that were requested but not read.
    pub fn advance(&mut self, bytes: u32) {
        self.partial = self.partial.map(|(bid, used)| (bid, used.saturating_add(bytes)));
    }

    /// Returns the segments of an operation that takes one buffer, and updates the tracker. There
    /// are no segments if the operation has taken no buffer.
    ///
    /// `len` gets a buffer ID, and returns the length with which you added that buffer.
    ///
    /// With `MSG_TRUNC`, the result of the completion is the length of the message, which may
    /// exceed the buffer. There is then one segment, up to the end of the buffer.
    #[must_use = "you may add the buffers of these segments again"]
    pub fn segments<L: Fn(u16) -> u32>(
        &mut self,
        ring: &BufRing,
        cqe: &cqueue::Entry,
        len: L,
    ) -> BufSegments<L> {
        let first = self.first(cqe);
        let bytes = bytes(cqe);
        let fits = first.is_none_or(|(bid, offset)| bytes <= len(bid).saturating_sub(offset));
        let reach = if fits || cqe.buffer_more() {
            // If the bytes do not fit and the last buffer is not finished, the kernel has continued
            // into the following buffers.
            self.by_bytes(ring, first, bytes, cqe.buffer_more(), &len)
        } else {
            self.partial = None;
            Reach { buffers: 1, ..Reach::default() }
        };
        BufSegments { first, reach, bytes, spread: false, len }
    }

    /// Returns the segments of a bundle, and updates the tracker. The bytes of a bundle continue in
    /// the buffers that were added behind the first one. There are no segments if the operation has
    /// taken no buffer.
    ///
    /// `len` gets a buffer ID, and returns the length with which you added that buffer.
    ///
    /// Two kinds of completions do not tell which buffers were used: receives with `MSG_TRUNC`, and
    /// sends that failed or were short. For these, use [`taken_segments`](Self::taken_segments).
    #[must_use = "you may add the buffers of these segments again"]
    pub fn bundle_segments<L: Fn(u16) -> u32>(
        &mut self,
        ring: &BufRing,
        cqe: &cqueue::Entry,
        len: L,
    ) -> BufSegments<L> {
        let first = self.first(cqe);
        let bytes = bytes(cqe);
        let reach = self.by_bytes(ring, first, bytes, cqe.buffer_more(), &len);
        BufSegments { first, reach, bytes, spread: true, len }
    }

    /// Returns the segments of any operation, as determined by the position of the kernel in the
    /// ring, and updates the tracker. There are no segments if the operation has taken no buffer.
    ///
    /// `len` gets a buffer ID, and returns the length with which you added that buffer. `available`
    /// is the value of [`BufRing::available`] after this operation completed, and before another
    /// operation took a buffer of the group.
    ///
    /// A [`SendBundle`](crate::opcode::SendBundle) consumes every buffer that it has taken, sent or
    /// not. If you do not know whether it sent everything, use this method for its last completion.
    /// A [`RecvBundle`](crate::opcode::RecvBundle) with `MSG_TRUNC` returns the length of the
    /// message, however few buffers it has taken. The segments divide the result among the buffers
    /// in order. Buffers beyond the result have a `len` of 0.
    #[must_use = "you may add the buffers of these segments again"]
    pub fn taken_segments<L: Fn(u16) -> u32>(
        &mut self,
        ring: &BufRing,
        cqe: &cqueue::Entry,
        len: L,
        available: u16,
    ) -> BufSegments<L> {
        let first = self.first(cqe);
        let bytes = bytes(cqe);
        let reach = self.by_position(ring, first, available, &len);
        BufSegments { first, reach, bytes, spread: true, len }
    }

    /// Returns the buffer that a completion names, and the offset of its bytes in the buffer.
    fn first(&self, cqe: &cqueue::Entry) -> Option<(u16, u32)> {
        let bid = cqe.buffer_select()?;
        let used = self.partial.filter(|(partial, _)| *partial == bid).map_or(0, |p| p.1);
        Some((bid, used))
    }

    /// Walks from the first buffer until `bytes` bytes are consumed. If `last_stays`, the kernel
    /// continues to use the last buffer.
    fn by_bytes(
        &mut self,
        ring: &BufRing,
        first: Option<(u16, u32)>,
        mut bytes: u32,
        last_stays: bool,
        len: impl Fn(u16) -> u32,
    ) -> Reach {
        let Some((mut bid, mut offset)) = first else { return Reach::default() };
        let mut reach = Reach { buffers: 1, ..Reach::default() };
        let mut position = None;
        loop {
            let used = len(bid).saturating_sub(offset).min(bytes);
            bytes -= used;
            if bytes == 0 {
                reach.stays = last_stays.then(|| offset.saturating_add(used));
                break;
            }
            // The bytes continue in the buffer that was added behind this one.
            let next = position.or_else(|| ring.find(bid)).map(|position| position.wrapping_add(1));
            let Some((next, next_bid)) = next.and_then(|next| Some((next, ring.bid_at(next)?)))
            else {
                break;
            };
            if reach.buffers == 1 {
                reach.second = next;
            }
            reach.buffers += 1;
            (position, bid, offset) = (Some(next), next_bid, 0);
        }
        self.partial = reach.stays.map(|end| (bid, end));
        reach
    }

    /// Walks from the first buffer to the position of the kernel.
    fn by_position(
        &mut self,
        ring: &BufRing,
        first: Option<(u16, u32)>,
        available: u16,
        len: impl Fn(u16) -> u32,
    ) -> Reach {
        let Some((bid, offset)) = first else { return Reach::default() };
        let Some(position) = ring.find(bid) else {
            self.partial = None;
            return Reach { buffers: 1, ..Reach::default() };
        };
        let head = ring.tail.own().wrapping_sub(available);
        // A head outside the range from the first buffer to the newest one is invalid input. Then
        // no buffer counts as finished.
        let behind = ring.next.wrapping_sub(position);
        let done = Some(head.wrapping_sub(position)).filter(|&done| done <= behind).unwrap_or(0);
        // With an incremental ring, the kernel stores in the slot how much of the buffer is left.
        let partly =
            ring.bid_at(head).filter(|_| ring.incremental && available > 0).and_then(|bid| {
                let used = len(bid).saturating_sub(ring.left_at(head));
                (used > 0).then_some((bid, used))
            });
        let stays = partly.or_else(|| (done == 0).then_some((bid, offset)));
        self.partial = stays.filter(|&(_, end)| end > 0);
        Reach {
            buffers: done + u16::from(stays.is_some()),
            second: position.wrapping_add(1),
            stays: stays.map(|(_, end)| end),
        }
    }
}

/// Returns the number of bytes of a result. A failed operation has taken its buffer and filled
/// nothing.
fn bytes(cqe: &cqueue::Entry) -> u32 {
    cqe.result().max(0) as u32
}

/// The buffers that a completion covers.
#[derive(Clone, Copy, Debug, Default)]
struct Reach {
    /// The number of buffers used, including the first one.
    buffers: u16,
    /// The position of the second buffer in the ring, if there is a second one.
    second: u16,
    /// The number of bytes consumed of the last buffer, if the kernel continues to use it.
    stays: Option<u32>,
}

/// The segments of one completion. See [`BufTracker`].
///
/// Each call of [`next`](Self::next) reads the ID of a buffer from the ring. You can add buffers in
/// between, as long as the ring does not hold more than its capacity. If you add too many, they
/// overwrite slots that were not read yet, and the segments end early.
#[must_use = "the segments name the buffers that the kernel no longer uses"]
pub struct BufSegments<L> {
    /// The buffer that the completion names, until `next` has returned it.
    first: Option<(u16, u32)>,
    /// The buffers from the next segment on.
    reach: Reach,
    /// The number of bytes not yet assigned to a segment.
    bytes: u32,
    /// Whether the bytes continue in the buffers behind the first one.
    spread: bool,
    len: L,
}

impl<L: Fn(u16) -> u32> BufSegments<L> {
    /// Returns the next segment. `ring` must be the ring that the segments came from.
    #[must_use = "you may add a finished buffer again"]
    pub fn next(&mut self, ring: &BufRing) -> Option<BufSegment> {
        self.reach.buffers = self.reach.buffers.checked_sub(1)?;
        let (bid, offset) = match self.first.take() {
            Some(first) => first,
            None => {
                let Some(bid) = ring.bid_at(self.reach.second) else {
                    self.reach.buffers = 0;
                    return None;
                };
                self.reach.second = self.reach.second.wrapping_add(1);
                (bid, 0)
            }
        };
        let stays = self.reach.stays.filter(|_| self.reach.buffers == 0);
        let end = stays.unwrap_or_else(|| (self.len)(bid));
        let len = end.saturating_sub(offset).min(self.bytes);
        self.bytes = if self.spread { self.bytes - len } else { 0 };
        Some(BufSegment { bid, offset, len, done: stays.is_none() })
    }

    /// Returns an iterator over the remaining segments.
    ///
    /// The iterator borrows `ring`. To add each buffer again inside the loop, call
    /// [`next`](Self::next) instead.
    #[must_use = "you may add the buffers of these segments again"]
    pub fn iter(mut self, ring: &BufRing) -> impl Iterator<Item = BufSegment> {
        iter::from_fn(move || self.next(ring))
    }
}

impl<L> fmt::Debug for BufSegments<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufSegments")
            .field("first", &self.first)
            .field("reach", &self.reach)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BufRingFlags;
    use crate::register::buf_ring::tests::{Plain, add};
    use crate::sys::{IORING_CQE_BUFFER_SHIFT, IORING_CQE_F_BUF_MORE, IORING_CQE_F_BUFFER};
    use std::format;
    use std::vec::Vec;

    fn done(bid: u16, res: i32, more: bool) -> cqueue::Entry {
        let more = if more { IORING_CQE_F_BUF_MORE } else { 0 };
        let flags = u32::from(bid) << IORING_CQE_BUFFER_SHIFT | IORING_CQE_F_BUFFER | more;
        cqueue::Entry { user_data: 0, res, flags }
    }

    type Tuple = (u16, u32, u32, bool);

    fn tuples<L: Fn(u16) -> u32>(segments: BufSegments<L>, ring: &BufRing) -> Vec<Tuple> {
        segments.iter(ring).map(|one| (one.bid, one.offset, one.len, one.done)).collect()
    }

    /// Returns the segments of an operation that takes one buffer. Every buffer has ten bytes.
    fn one(tracker: &mut BufTracker, ring: &BufRing, cqe: cqueue::Entry) -> Vec<Tuple> {
        tuples(tracker.segments(ring, &cqe, |_| 10), ring)
    }

    fn bundle(tracker: &mut BufTracker, ring: &BufRing, cqe: cqueue::Entry) -> Vec<Tuple> {
        tuples(tracker.bundle_segments(ring, &cqe, |_| 10), ring)
    }

    #[test]
    fn plain() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(4);
        let mut tracker = BufTracker::new();
        add(&mut ring, &[7, 6, 5, 4]);
        let failed = cqueue::Entry { user_data: 0, res: -105, flags: 0 };
        for segments in [one, bundle] {
            assert_eq!(segments(&mut tracker, &ring, done(7, 3, false)), [(7, 0, 3, true)]);
            assert_eq!(segments(&mut tracker, &ring, done(6, -11, false)), [(6, 0, 0, true)]);
            assert_eq!(segments(&mut tracker, &ring, failed), []);
        }
    }

    /// For a truncated message, the result is the length of the message. It does not change which
    /// bytes of the one buffer are used.
    #[test]
    fn truncated_messages_use_one_buffer() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(4);
        let mut tracker = BufTracker::new();
        add(&mut ring, &[0, 1, 2, 3]);
        for res in [10, 11, 15, 20, 1000, i32::MAX] {
            assert_eq!(one(&mut tracker, &ring, done(0, res, false)), [(0, 0, 10, true)]);
        }
        // The same holds on incremental rings, from the current offset of the buffer.
        assert_eq!(one(&mut tracker, &ring, done(1, 4, true)), [(1, 0, 4, false)]);
        assert_eq!(one(&mut tracker, &ring, done(1, 9, false)), [(1, 4, 6, true)]);
        assert_eq!(tracker.partial, None);
    }

    /// The completions of Linux 6.18.44 for messages of 15, 25 and 65 bytes.
    #[test]
    fn truncated_messages_may_consume_more_on_incremental_rings() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(8);
        let mut tracker = BufTracker::new();
        add(&mut ring, &[0, 1, 2, 3, 4, 5]);
        let expected = [(0, 0, 10, true), (1, 0, 0, false)];
        assert_eq!(one(&mut tracker, &ring, done(0, 15, true)), expected);
        assert_eq!(one(&mut tracker, &ring, done(1, 3, true)), [(1, 5, 3, false)]);
        let expected = [(1, 8, 2, true), (2, 0, 0, true), (3, 0, 0, false)];
        assert_eq!(one(&mut tracker, &ring, done(1, 15, true)), expected);
        // The message exceeds all buffers.
        let expected = [(3, 3, 7, true), (4, 0, 0, true), (5, 0, 0, true)];
        assert_eq!(one(&mut tracker, &ring, done(3, 65, true)), expected);
        assert_eq!(tracker.partial, None);
    }

    #[test]
    fn bundles_wrap_around() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(4);
        let mut tracker = BufTracker::new();
        add(&mut ring, &[3, 2, 1, 0]);
        ring.publish();
        let expected = [(3, 0, 10, true), (2, 0, 10, true), (1, 0, 1, true)];
        assert_eq!(bundle(&mut tracker, &ring, done(3, 21, false)), expected);
        // The buffers are added again in another order, behind the remaining one.
        add(&mut ring, &[1, 3, 2]);
        let expected = [(0, 0, 10, true), (1, 0, 10, true), (3, 0, 10, true), (2, 0, 10, true)];
        assert_eq!(bundle(&mut tracker, &ring, done(0, 40, false)), expected);
    }

    #[test]
    fn incremental() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(4);
        let mut tracker = BufTracker::new();
        add(&mut ring, &[0, 1, 2, 3]);
        for segments in [one, bundle] {
            assert_eq!(segments(&mut tracker, &ring, done(0, 2, true)).len(), 1);
            let at = if tracker.partial == Some((0, 2)) { 2 } else { 4 };
            assert_eq!(tracker.partial, Some((0, at)));
            assert_eq!(segments(&mut tracker, &ring, done(0, 0, true)), [(0, at, 0, false)]);
        }
        // A bundle begins in the middle of one buffer and ends in the middle of another.
        let expected = [(0, 4, 6, true), (1, 0, 10, true), (2, 0, 5, false)];
        assert_eq!(bundle(&mut tracker, &ring, done(0, 21, true)), expected);
        tracker.advance(2);
        assert_eq!(one(&mut tracker, &ring, done(2, 3, false)), [(2, 7, 3, true)]);
        // A buffer that is exactly full is finished.
        assert_eq!(bundle(&mut tracker, &ring, done(3, 10, false)), [(3, 0, 10, true)]);
        tracker.advance(u32::MAX);
        assert_eq!(tracker.partial, None);
    }

    /// Writes to a slot how much of its buffer is left, as the kernel does.
    fn set_left(ring: &BufRing, position: u16, left: u32) {
        // SAFETY: the slot is within the ring, and nothing else accesses it during the write.
        unsafe { (&raw mut (*ring.slot(position).as_ptr()).len).write(left) };
    }

    /// The kernel has taken more buffers than the result covers, or fewer.
    #[test]
    fn taken_by_position() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(8);
        let mut tracker = BufTracker::new();
        add(&mut ring, &[9, 8, 7, 6, 5]);
        ring.publish();
        let mut taken = |res, available| {
            let cqe = done(8, res, false);
            tuples(tracker.taken_segments(&ring, &cqe, |_| 10, available), &ring)
        };
        // A bundle of sends that failed, and one that was short.
        let all = [(8, 0, 0, true), (7, 0, 0, true), (6, 0, 0, true)];
        assert_eq!(taken(-32, 1), all);
        assert_eq!(taken(13, 1), [(8, 0, 10, true), (7, 0, 3, true), (6, 0, 0, true)]);
        // A message that was longer than the two buffers available for it.
        assert_eq!(taken(1000, 2), [(8, 0, 10, true), (7, 0, 10, true)]);
        // In a plain ring, Linux 6.18.15 leaves the length of an operation in a slot. It has no
        // meaning.
        set_left(&ring, 3, 4);
        assert_eq!(taken(1000, 2), [(8, 0, 10, true), (7, 0, 10, true)]);
        // Values of `available` that are impossible for this ring.
        assert_eq!(taken(5, 4), [(8, 0, 0, false)]);
        assert_eq!(taken(5, 5), [(8, 0, 0, false)]);
        assert_eq!(taken(5, u16::MAX), [(8, 0, 0, false)]);
        let cqe = done(1, 15, false);
        let unknown = tuples(tracker.taken_segments(&ring, &cqe, |_| 10, 0), &ring);
        assert_eq!(unknown, [(1, 0, 10, true)]);
    }

    /// With an incremental ring, the slots tell how much the kernel has consumed.
    #[test]
    fn taken_by_remaining_length() {
        let mut memory = Plain::new(0);
        let mut ring = memory.with_flags(8, BufRingFlags::INC);
        let mut tracker = BufTracker::new();
        add(&mut ring, &[9, 8, 7]);
        ring.publish();
        let mut taken = |bid, res, available| {
            let cqe = done(bid, res, true);
            tuples(tracker.taken_segments(&ring, &cqe, |_| 10, available), &ring)
        };
        set_left(&ring, 0, 6);
        assert_eq!(taken(9, 4, 3), [(9, 0, 4, false)]);
        // No more data arrived, and the kernel consumed no more.
        assert_eq!(taken(9, 0, 3), [(9, 4, 0, false)]);
        set_left(&ring, 1, 8);
        assert_eq!(taken(9, 1000, 2), [(9, 4, 6, true), (8, 0, 2, false)]);
        assert_eq!(taken(8, 1000, 1), [(8, 2, 8, true)]);
        assert_eq!(taken(7, 1000, 0), [(7, 0, 10, true)]);
        assert_eq!(tracker.partial, None);
    }

    /// The tracker also counts segments that are never read.
    #[test]
    fn reading_fewer_segments_changes_nothing() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(4);
        add(&mut ring, &[0, 1, 2, 3]);
        for looked_at in 0..=3 {
            let mut tracker = BufTracker::new();
            let segments = tracker.bundle_segments(&ring, &done(0, 25, true), |_| 10);
            assert_eq!(segments.iter(&ring).take(looked_at).count(), looked_at);
            assert_eq!(bundle(&mut tracker, &ring, done(2, 5, false)), [(2, 5, 5, true)]);
        }
    }

    /// Buffers are added again between one segment and the next, in a ring that is always full.
    #[test]
    fn buffers_can_be_added_between_segments() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(4);
        let mut tracker = BufTracker::new();
        add(&mut ring, &[0, 1, 2, 3]);
        ring.publish();
        for round in 0..40_u16 {
            let first = round * 3 % 4;
            let mut segments = tracker.bundle_segments(&ring, &done(first, 25, false), |_| 10);
            let mut bids = Vec::new();
            while let Some(segment) = segments.next(&ring) {
                add(&mut ring, &[segment.bid]);
                ring.publish();
                bids.push(segment.bid);
            }
            assert_eq!(bids, [first, (first + 1) % 4, (first + 2) % 4], "round {round}");
        }
    }

    /// Adding too many buffers overwrites slots that were not read yet, and the segments end.
    #[test]
    fn overwritten_segments_end() {
        let mut memory = Plain::new(0);
        let mut ring = memory.ring(4);
        let mut tracker = BufTracker::new();
        add(&mut ring, &[0, 1, 2, 3]);
        ring.publish();
        let mut segments = tracker.bundle_segments(&ring, &done(0, 40, false), |_| 10);
        assert_eq!(segments.next(&ring).map(|one| one.bid), Some(0));
        add(&mut ring, &[0, 7]);
        assert_eq!(segments.next(&ring), None);
        assert_eq!(segments.next(&ring), None);
    }

    /// Whatever a completion contains, the segments end and do not exceed the buffers.
    #[test]
    fn segments_of_invalid_completions_end() {
        let mut memory = Plain::new(0);
        let mut ring = memory.with_flags(8, BufRingFlags::INC);
        add(&mut ring, &[0, 0, 1, 1]);
        let all = |bid: u16, res: i32, more: bool, by: fn(&mut BufTracker, &BufRing, _) -> _| {
            let mut tracker = BufTracker { partial: Some((bid, u32::MAX)) };
            let segments: Vec<Tuple> = by(&mut tracker, &ring, done(bid, res, more));
            assert!(segments.len() <= 8, "{segments:?}");
            assert!(segments.iter().map(|segment| segment.2).sum::<u32>() <= 80);
            tracker.advance(u32::MAX);
        };
        for bid in [0, 1, 2, u16::MAX] {
            for res in [i32::MIN, -1, 0, 1, 10, 11, 1000, i32::MAX] {
                for more in [false, true] {
                    all(bid, res, more, one);
                    all(bid, res, more, bundle);
                    all(bid, res, more, |tracker, ring, cqe| {
                        tuples(tracker.taken_segments(ring, &cqe, |_| 10, 2), ring)
                    });
                }
            }
        }
        // Buffers of length 0.
        let mut tracker = BufTracker::new();
        assert!(tracker.segments(&ring, &done(1, 5, false), |_| 0).iter(&ring).count() <= 8);
        assert!(tracker.bundle_segments(&ring, &done(1, 5, true), |_| 0).iter(&ring).count() <= 8);
    }

    #[test]
    fn all_ones_print() {
        let mut memory = Plain::new(0xff);
        let ring = memory.ring(8);
        let mut tracker = BufTracker { partial: Some((u16::MAX, u32::MAX)) };
        assert!(format!("{tracker:?}").contains("65535"));
        let ones = cqueue::Entry { user_data: !0, res: -1, flags: !0 };
        let mut segments = tracker.segments(&ring, &ones, |_| !0);
        let text = format!("{segments:?} {:?}", segments.next(&ring));
        assert!(text.contains("65535"), "{text}");
    }
}
