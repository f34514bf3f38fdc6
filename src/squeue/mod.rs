//! The submission queue: entries on their way to the kernel.
//!
//! A [`SubmissionQueue`] is a view of the ring's queue. It works on copies of its own of where the
//! queue begins and ends; what is pushed is published to the kernel by [`sync`], or when the view
//! is dropped. (A view that is forgotten publishes nothing.) The kernel takes what is published
//! when it is told to, by [`submit`](crate::IoUring::submit) and its kin, or, on SQPOLL rings, by
//! itself.
//!
//! # The contract
//!
//! An entry is like a raw pointer: safe to make, unsafe to hand over. If you push one, you promise
//! that from then on:
//!
//! 1. Every pointer in it is valid for what the operation does there, and the memory is nobody
//!    else's: what the kernel reads is not written, what it writes is neither read nor written.
//!    This ends when the operation's last completion has been reaped: the one without
//!    [`more`](crate::cqueue::Entry::more); of zero-copy sends, the one with
//!    [`notif`](crate::cqueue::Entry::notif) if the first one announced it. Where a builder says
//!    *submit*, it ends when the kernel has taken the entry. [Silent entries](#silent-entries), and
//!    those behind one in its chain, end otherwise.
//! 2. Descriptors in it are open, and mean the file that they are meant to, until the kernel has
//!    taken the entry; in a chain of links, until its turn has come.
//! 3. Slots, buffers, groups and credentials in it stay registered for as long.
//! 4. An entry's size is the one that the kernel knows its operation by, where the queue takes both
//!    ([`Mixed`]).
//!
//! Nothing ends this early. A submit that fails leaves the entry queued, and it runs with the next
//! one, unless it is taken back by [`truncate`](crate::IoUring::truncate). A cancellation is only
//! done when the cancelled operation's completion is there. And dropping the ring is no barrier at
//! all: the kernel goes on writing to the memory of operations in flight.
//! [`IoUring::quiesce`](crate::IoUring::quiesce) is one.
//!
//! ## Silent entries
//!
//! An entry with [`SKIP_SUCCESS`](Flags::SKIP_SUCCESS) posts no completion if it succeeds. If it fails,
//! nothing behind it in its chain posts one. What these entries use stays valid
//!
//! - for a silent entry: until its own completion has been reaped, which reports a failure; or a
//!   completion of an entry behind it in its chain, other than a
//!   [`LinkTimeout`](crate::opcode::LinkTimeout); or, if neither comes, **forever**.
//! - for an entry behind a silent one, linked with [`IO_LINK`](Flags::IO_LINK): until its own
//!   completion has been reaped, or that of a silent entry before it in its chain. Behind
//!   [`IO_HARDLINK`](Flags::IO_HARDLINK), only its own completion ends it; it may never come.
//!
//! # Whose operations they are
//!
//! They belong to the thread that has submitted them, no matter which thread pushed them; on SQPOLL
//! rings, to the ring's own. With that thread they end: what still waits when it exits completes with -ECANCELED,
//! in place of what it has waited for. Rings that threads share are best submitted by one of them
//! that stays.
//!
//! [`sync`]: SubmissionQueue::sync

mod entry;
mod full;
mod kind;
#[cfg(not(rustix_uring_loom))]
mod reserve;
mod rewound;
mod status;

#[cfg(not(rustix_uring_loom))]
use core::fmt;
use core::ptr::NonNull;

use crate::shared::{Ordering, Slot, Sq, get, put};
use crate::sys;

pub use crate::sqe::{Flags, PAD_USER_DATA, QUIESCE_USER_DATA, Sqe};
pub use entry::{Entry, Entry128};
pub use full::PushError;
pub(crate) use kind::sealed;
pub use kind::{Accepts, EntryMarker, FixedSize, Kind, Mixed, Rewind};
#[cfg(not(rustix_uring_loom))]
pub use reserve::{Filled, Vacant};
pub use status::Status;

impl Sq {
    /// Finds where the newest big entry ends, in a [`Mixed`] queue that somebody else has filled: the
    /// words that are shared do not tell it.
    ///
    /// # Safety
    ///
    /// The queue is mixed and not rewound, and nobody else uses it.
    pub(crate) unsafe fn find_big_end(&self) {
        let (mut position, tail) = (self.head.acquire(), self.tail.own());
        let mut left = tail.wrapping_sub(position).min(self.capacity);
        while left > 0 {
            let index = (position & (self.capacity.wrapping_sub(1))) as usize;
            // SAFETY: the index is within the queue, and what lies between head and tail was written.
            let entry = unsafe { get(self.entries.cast::<Slot<Entry>>().add(index).as_ptr()) };
            let big = matches!(
                entry.get_opcode() as u8,
                sys::IORING_OP_NOP128 | sys::IORING_OP_URING_CMD128
            );
            let slots = if big { 2 } else { 1 };
            position = position.wrapping_add(slots);
            left = left.saturating_sub(slots);
            if big {
                self.saved.big_end.store(position, Ordering::Relaxed);
            }
        }
    }
}

/// A view of the ring's submission queue. See the [module](self).
pub struct SubmissionQueue<'a, S: Kind = Entry> {
    sq: &'a Sq,
    /// Copies of what does not change, and our own positions: behind the reference, the compiler
    /// would have to read them again after each store to the ring.
    slots: NonNull<Slot<S::Slot>>,
    capacity: u32,
    /// The position at which the queue is full: the head as last seen, plus the capacity.
    limit: u32,
    local: Local,
}

/// What a view has not published yet.
#[derive(Debug)]
struct Local {
    tail: u32,
    /// The tail once the reserved entry is committed, if it has 128 bytes.
    #[cfg_attr(rustix_uring_loom, expect(dead_code, reason = "loom's slots cannot be lent"))]
    next: u32,
    /// The position after the newest entry of two slots, on mixed queues.
    big_end: u32,
}

// SAFETY: the view is the only one there is, and everything that it points to outlives the ring
// that it borrows from; which thread uses it makes no difference.
unsafe impl<S: Kind> Send for SubmissionQueue<'_, S> {}

impl<'a, S: Kind> SubmissionQueue<'a, S> {
    /// How far apart entries lie, in bytes.
    const STRIDE: usize = size_of::<S::Slot>();

    /// # Safety
    ///
    /// No other view of the queue exists while this one does.
    #[inline]
    pub(crate) unsafe fn new(sq: &'a Sq) -> Self {
        let (head, tail) =
            if S::REWIND { (0, sq.saved.tail()) } else { (sq.head.acquire(), sq.tail.own()) };
        let big_end = if S::MIXED { sq.saved.big_end.load(Ordering::Relaxed) } else { 0 };
        let mut view = Self {
            sq,
            slots: sq.entries.cast(),
            capacity: sq.capacity,
            limit: head.wrapping_add(sq.capacity),
            local: Local { tail, next: tail, big_end },
        };
        view.forget_old_big_end();
        view
    }

    /// Publishes what was pushed, and sees what the kernel has taken meanwhile.
    #[inline]
    pub fn sync(&mut self) {
        self.publish();
        if !S::REWIND {
            self.limit = self.sq.head.acquire().wrapping_add(self.capacity);
        }
        self.forget_old_big_end();
    }

    #[inline(always)]
    fn publish(&mut self) {
        if S::MIXED {
            self.sq.saved.big_end.store(self.local.big_end, Ordering::Relaxed);
        }
        if S::REWIND {
            self.sq.saved.tail.store(self.local.tail, Ordering::Relaxed);
        } else {
            self.sq.tail.release(self.local.tail);
        }
    }

    /// How many slots an entry takes.
    #[inline(always)]
    const fn slots<E>() -> u32
    where
        S: Accepts<E>,
    {
        <S as sealed::Fits<E>>::SLOTS
    }

    /// The kernel's position, as last seen.
    #[inline(always)]
    fn head(&self) -> u32 {
        self.limit.wrapping_sub(self.capacity)
    }

    /// How many slots are taken: by what is pushed, published or not, and not yet taken by the
    /// kernel as far as [`sync`](Self::sync) has seen.
    ///
    /// After a failed submit and a `sync`, this is what is left; see [`as_slices`](Self::as_slices).
    #[inline]
    pub fn len(&self) -> usize {
        // Whatever the kernel's position says, slices lie inside the queue.
        (self.local.tail.wrapping_sub(self.head()) as usize).min(self.capacity())
    }

    /// Whether the kernel has taken everything that was pushed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.local.tail == self.head()
    }

    /// Whether there is no slot left.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.local.tail == self.limit
    }

    /// How many slots the queue has.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Whether the SQPOLL thread sleeps, so that only an enter call gets it to take what is
    /// published. [`Submitter::submit`](crate::Submitter::submit) asks by itself.
    ///
    /// "No" is only worth something if it was asked after publishing, with [`sync`](Self::sync).
    #[inline]
    pub fn need_wakeup(&self) -> bool {
        self.status().need_wakeup()
    }

    /// [`need_wakeup`](Self::need_wakeup) for callers who have passed a sequentially consistent
    /// fence of their own since they published.
    #[inline]
    pub fn need_wakeup_after_intermittent_seqcst(&self) -> bool {
        self.status().has(sys::IORING_SQ_NEED_WAKEUP)
    }

    /// Returns whether completions wait in the kernel for room. See [`Status::cq_overflow`].
    #[inline]
    pub fn cq_overflow(&self) -> bool {
        self.status().cq_overflow()
    }

    /// Returns whether completions wait for this task to ask for them. See [`Status::taskrun`].
    #[inline]
    pub fn taskrun(&self) -> bool {
        self.status().taskrun()
    }

    /// Returns how many entries the kernel has dropped: none. See [`Status::dropped`].
    #[inline]
    pub fn dropped(&self) -> u32 {
        self.status().dropped()
    }

    /// Returns a handle that answers questions about the queue, for as long as the ring is borrowed.
    /// It does not know what this view has not published.
    #[inline]
    pub fn status(&self) -> Status<'a> {
        Status::new(self.sq)
    }

    /// Pushes an entry of the queue's own size: an [`Entry128`] on queues of 128-byte entries, else an
    /// [`Entry`]. [`push_any`](Self::push_any) takes both sizes where the queue does.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] if the queue is full, as far as [`sync`](Self::sync) has seen.
    ///
    /// # Safety
    ///
    /// [The contract](self#the-contract) holds for the entry.
    #[inline]
    pub unsafe fn push(&mut self, entry: &S::Slot) -> Result<(), PushError> {
        let tail = self.local.tail;
        if tail == self.limit {
            return Err(PushError::Full);
        }
        self.write(self.slot(tail), *entry);
        self.local.tail = tail.wrapping_add(1);
        Ok(())
    }

    /// Pushes an entry of any size that the queue accepts: an [`Entry`] on every queue, an
    /// [`Entry128`] on queues of 128-byte entries and on [`Mixed`] ones.
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push). On [`Mixed`] queues of two entries also
    /// [`PushError::NeverFits`].
    ///
    /// # Safety
    ///
    /// [The contract](self#the-contract) holds for the entry.
    #[inline]
    pub unsafe fn push_any<E: Copy>(&mut self, entry: &E) -> Result<(), PushError>
    where
        S: Accepts<E>,
    {
        let reserved = self.reservation::<E>()?;
        self.write(reserved.slot, *entry);
        self.local.consume(reserved, Self::slots::<E>());
        Ok(())
    }

    /// Pushes several entries of the queue's own size, or none of them.
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] if there is no room for all now; [`PushError::NeverFits`] if there never
    /// is, for more than the capacity above all.
    ///
    /// # Safety
    ///
    /// [The contract](self#the-contract) holds for each of the entries.
    #[inline]
    pub unsafe fn push_multiple(&mut self, entries: &[S::Slot]) -> Result<(), PushError> {
        // SAFETY: the caller vouches for the entries.
        unsafe { self.push_each(entries.len(), |i| entries[i]) }
    }

    /// Pushes `n` entries, or none of them, each made in its place by `entry`, which gets its
    /// number.
    ///
    /// If `entry` panics, nothing is pushed.
    ///
    /// # Errors
    ///
    /// As for [`push_multiple`](Self::push_multiple); `entry` is not called then.
    ///
    /// # Safety
    ///
    /// [The contract](self#the-contract) holds for each of the entries.
    #[inline]
    pub unsafe fn push_each<E: Copy>(
        &mut self,
        n: usize,
        mut entry: impl FnMut(usize) -> E,
    ) -> Result<(), PushError>
    where
        S: Accepts<E>,
    {
        let free = self.limit.wrapping_sub(self.local.tail) as usize;
        if n > free || self.slots_for(self.local.tail, n, Self::slots::<E>()) > free {
            return Err(self.no_room(n, Self::slots::<E>()));
        }
        let (mut tail, mut big_end) = (self.local.tail, self.local.big_end);
        for i in 0..n {
            let reserved = self.reservation_at::<E>(tail, big_end);
            self.write(reserved.slot, entry(i));
            tail = reserved.next;
            if Self::slots::<E>() == 2 {
                big_end = tail;
            }
        }
        (self.local.tail, self.local.big_end) = (tail, big_end);
        Ok(())
    }

    /// Reserves room for one entry, to be written in place.
    ///
    /// This is for entries that are built behind a call: the callee gets the [`Vacant`] slot and
    /// writes into it, where a returned entry would be copied. Nothing changes until the written
    /// entry is committed, and an unwritten one cannot be.
    ///
    /// ```
    /// # use rustix_uring::{opcode, squeue::{Entry, Filled, Vacant}, IoUring};
    /// fn nop<'q>(slot: Vacant<'q, Entry>) -> Filled<'q, Entry> {
    ///     slot.write(opcode::Nop::new().build().user_data(1))
    /// }
    ///
    /// let mut ring = IoUring::new(8)?;
    /// let mut queue = ring.submission();
    /// let entry = nop(queue.reserve()?);
    /// // SAFETY: a NOP uses no memory and no descriptor.
    /// unsafe { entry.commit() };
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`push`](Self::push).
    #[cfg(not(rustix_uring_loom))]
    #[inline]
    pub fn reserve<E: Copy>(&mut self) -> Result<Vacant<'_, E>, PushError>
    where
        S: Accepts<E>,
    {
        let reserved = self.reservation::<E>()?;
        self.clear_rest(reserved.slot);
        if is_big::<E>() {
            self.local.next = reserved.next;
        }
        Ok(Vacant::new(reserved.slot, &mut self.local))
    }

    /// Room for one entry, if there is.
    #[inline(always)]
    fn reservation<E>(&mut self) -> Result<Reservation<E>, PushError>
    where
        S: Accepts<E>,
    {
        let tail = self.local.tail;
        let full = if Self::slots::<E>() == 1 {
            tail == self.limit
        } else {
            self.limit.wrapping_sub(tail) < Self::slots::<E>() + self.pad_at(tail)
        };
        if !full {
            Ok(self.reservation_at(tail, self.local.big_end))
        } else if Self::slots::<E>() == 1 {
            Err(PushError::Full)
        } else {
            Err(self.no_room(1, Self::slots::<E>()))
        }
    }

    /// The reservation for an entry pushed at `tail`, which is there. A pad that is due is written.
    #[inline(always)]
    fn reservation_at<E>(&mut self, tail: u32, big_end: u32) -> Reservation<E>
    where
        S: Accepts<E>,
    {
        let mut start = tail;
        if Self::slots::<E>() == 2 && self.pad_at(tail) == 1 {
            self.pad(tail, big_end);
            start = tail.wrapping_add(1);
        }
        Reservation { slot: self.slot(start).cast(), next: start.wrapping_add(Self::slots::<E>()) }
    }

    /// How many pads come before an entry of two slots: one at the last slot, else none.
    #[inline(always)]
    fn pad_at(&self, tail: u32) -> u32 {
        let last = self.capacity.wrapping_sub(1);
        u32::from(tail & last == last)
    }

    /// How many slots `n` entries take at `tail`, at most one pad included. `n` is at most the
    /// capacity.
    #[inline(always)]
    fn slots_for(&self, tail: u32, n: usize, slots: u32) -> usize {
        if slots == 1 {
            return n;
        }
        let to_the_end = (self.capacity - (tail & self.capacity.wrapping_sub(1))) as usize;
        2 * n + usize::from(to_the_end % 2 == 1 && n > to_the_end / 2)
    }

    /// Why there is no room for `n` entries: whether there would be if the queue were empty.
    #[cold]
    fn no_room(&self, n: usize, slots: u32) -> PushError {
        let capacity = self.capacity();
        // Waiting moves the tail of a rewound queue only.
        let tail = if S::REWIND { 0 } else { self.local.tail };
        let never = n > capacity || self.slots_for(tail, n, slots) > capacity;
        if never { PushError::NeverFits } else { PushError::Full }
    }

    /// Fills the last slot before the end. See [`Mixed`].
    #[cold]
    fn pad(&mut self, tail: u32, big_end: u32) {
        let newest = tail.wrapping_sub(if big_end == tail { 2 } else { 1 });
        // A chain ends where a submission ends: only an entry that the kernel has not taken yet
        // is continued.
        let linked = if self.sq.head.acquire() == tail {
            Flags::empty()
        } else {
            // SAFETY: the entry is between head and tail, so it was written and is still there.
            let newest: Entry = unsafe { get(self.slot(newest).cast().as_ptr()) };
            newest.get_flags().intersection(Flags::IO_LINK.union(Flags::IO_HARDLINK))
        };
        let silent =
            if self.sq.settings.post_pad_cqes { Flags::empty() } else { Flags::SKIP_SUCCESS };
        let pad = Entry::from_raw(Sqe { fd: -1, ..Sqe::ZERO })
            .flags(linked.union(silent))
            .user_data(PAD_USER_DATA);
        self.write(self.slot(tail).cast(), pad);
    }

    /// The slot of a position.
    #[inline(always)]
    fn slot(&self, position: u32) -> NonNull<Slot<S::Slot>> {
        let index = (position & (self.capacity.wrapping_sub(1))) as usize;
        // SAFETY: the queue has `capacity` slots, a power of two, so the index is within.
        unsafe { self.slots.add(index) }
    }

    /// Writes an entry into a slot between tail and limit.
    #[inline(always)]
    fn write<E: Copy>(&mut self, slot: NonNull<Slot<E>>, entry: E) {
        // SAFETY: a slot between tail and limit is ours: the kernel does not look there before it
        // is published. `S: Accepts<E>` says that the entry fits.
        unsafe { put(slot.as_ptr(), entry) };
        self.clear_rest(slot);
    }

    /// A short entry in a long slot: the rest is zero.
    #[inline(always)]
    fn clear_rest<E>(&mut self, slot: NonNull<Slot<E>>) {
        if Self::STRIDE > size_of::<E>() {
            // SAFETY: the slot is ours, as in `write`, and the rest of its 128 bytes is within.
            unsafe { slot.cast::<[u64; 8]>().add(1).write([0; 8]) };
        }
    }

    /// Keeps an old end from being taken for a new one when positions wrap.
    #[inline(always)]
    fn forget_old_big_end(&mut self) {
        if S::MIXED && self.local.tail.wrapping_sub(self.local.big_end) > self.capacity {
            self.local.big_end = self.local.tail.wrapping_sub(self.capacity).wrapping_sub(1);
        }
    }

    /// What the kernel has not taken, as far as [`sync`](Self::sync) has seen, oldest first: up to
    /// the end of the memory, and from its start.
    #[cfg(not(rustix_uring_loom))]
    #[inline]
    pub fn as_slices(&self) -> (&[S::Slot], &[S::Slot]) {
        let first = self.head() & (self.capacity.wrapping_sub(1));
        let len = self.len();
        let before_end = len.min((self.capacity - first) as usize);
        // SAFETY: entries between head and tail were written by us. The kernel only reads them,
        // and our own writes need the view mutably, which the slices borrow.
        unsafe {
            (
                core::slice::from_raw_parts(self.slot(first).as_ptr(), before_end),
                core::slice::from_raw_parts(self.slots.as_ptr(), len - before_end),
            )
        }
    }

    /// Takes back everything that the kernel has not taken. [`IoUring::clear`](crate::IoUring::clear)
    /// is the safe form.
    ///
    /// # Safety
    ///
    /// The kernel takes no entries during the call:
    ///
    /// - The ring is no SQPOLL ring, whose thread takes them at any time.
    /// - No other thread is in an enter call for this ring that submits, by whatever name or
    ///   descriptor. One that only waits or gets events does no harm.
    pub unsafe fn clear(&mut self) {
        self.sync();
        self.local.tail = self.head();
        self.local.big_end = self.local.tail;
        self.publish();
    }

    /// Takes back as many of the newest `n` entries as the kernel has not taken, each of one slot,
    /// and returns how many.
    ///
    /// # Safety
    ///
    /// As for [`clear`](Self::clear).
    pub(crate) unsafe fn take_back(&mut self, n: usize) -> usize {
        self.sync();
        let left = self.len().min(n);
        self.local.tail = self.local.tail.wrapping_sub(left as u32);
        self.publish();
        left
    }
}

impl<S: FixedSize> SubmissionQueue<'_, S> {
    /// Takes back the newest entries that the kernel has not taken, and leaves at most `len`.
    ///
    /// This is for after a failed submit, when the memory of an entry has to go. Their operations
    /// have not happened, and post no completion. [`IoUring::truncate`](crate::IoUring::truncate) is
    /// the safe form.
    ///
    /// # Safety
    ///
    /// As for [`clear`](Self::clear).
    pub unsafe fn truncate(&mut self, len: usize) {
        self.sync();
        if len < self.len() {
            self.local.tail = self.head().wrapping_add(len as u32);
            self.publish();
        }
    }
}

impl<S: Kind> Drop for SubmissionQueue<'_, S> {
    #[inline]
    fn drop(&mut self) {
        self.publish();
    }
}

#[cfg(not(rustix_uring_loom))]
impl<S: Kind> fmt::Debug for SubmissionQueue<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (older, newer) = self.as_slices();
        f.debug_list().entries(older).entries(newer).finish()
    }
}

/// A slot, and the tail behind it.
struct Reservation<E> {
    slot: NonNull<Slot<E>>,
    next: u32,
}

/// Whether this is an entry of 128 bytes, which may take two slots, and a pad before them.
#[cfg(not(rustix_uring_loom))]
const fn is_big<E>() -> bool {
    size_of::<E>() == size_of::<Entry128>()
}

impl Local {
    #[inline(always)]
    fn consume<E>(&mut self, reserved: Reservation<E>, slots: u32) {
        self.tail = reserved.next;
        if slots == 2 {
            self.big_end = reserved.next;
        }
    }
}

#[cfg(all(test, not(rustix_uring_loom)))]
mod tests;
