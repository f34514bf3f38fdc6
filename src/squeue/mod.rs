//! The submission queue, which passes entries to the kernel.
//!
//! A [`SubmissionQueue`] is a view of the ring's queue. It works on its own copies of the queue's
//! head and tail. Pushed entries are published to the kernel by [`sync`], or when the view is
//! dropped. (A view that is passed to `mem::forget` publishes nothing.) The kernel consumes
//! published entries when you call [`submit`](crate::IoUring::submit) or one of its variants. On
//! SQPOLL rings, a kernel thread consumes them.
//!
//! # The contract
//!
//! An entry is like a raw pointer: safe to create, unsafe to use. If you push an entry, you promise
//! that from then on:
//!
//! 1. Every pointer in it is valid for what the operation does with it, and nothing else uses the
//!    memory. If the kernel reads the memory, nothing writes to it. If the kernel writes to it,
//!    nothing reads or writes it. This holds until you have reaped the operation's last completion,
//!    which is the one without [`more`](crate::cqueue::Entry::more). For zero-copy sends, the last
//!    completion is the one with [`notif`](crate::cqueue::Entry::notif) if the first completion
//!    announced it. Where a builder says *submit*, it only holds until the kernel has consumed the
//!    entry. Other rules apply to [silent entries](#silent-entries), and to the entries behind one
//!    in its chain.
//! 2. Descriptors in it are open, and refer to the intended file, until the kernel has consumed the
//!    entry. In a chain of links, this holds until the kernel starts the entry.
//! 3. File slots, buffers, buffer groups and credentials in it stay registered for the same time.
//! 4. If the queue accepts entries of both sizes ([`Mixed`]), the entry has the size that the
//!    kernel expects for its operation.
//!
//! Nothing ends these obligations early:
//!
//! - After a failed submit, the entry is still queued and runs with the next submit, unless you
//!   remove it with [`truncate`](crate::IoUring::truncate).
//! - A canceled operation is over only when its own completion has arrived.
//! - Dropping the ring ends nothing: the kernel still writes to the memory of operations in flight.
//!   To wait for them, use [`IoUring::quiesce`](crate::IoUring::quiesce).
//!
//! ## Silent entries
//!
//! An entry with [`SKIP_SUCCESS`](Flags::SKIP_SUCCESS) posts no completion if it succeeds. If it
//! fails, the entries behind it in its chain post none. The memory of these entries stays valid as
//! follows.
//!
//! - **A silent entry**: until you have reaped its own completion, which reports a failure. A
//!   completion of an entry behind it in its chain also ends the obligation, unless that entry is a
//!   [`LinkTimeout`](crate::opcode::LinkTimeout). If neither arrives, the memory stays valid
//!   forever.
//! - **An entry behind a silent one, linked with [`IO_LINK`](Flags::IO_LINK)**: until you have
//!   reaped its own completion, or that of a silent entry before it in its chain.
//! - **An entry behind a silent one, linked with [`IO_HARDLINK`](Flags::IO_HARDLINK)**: until you
//!   have reaped its own completion, which may never arrive.
//!
//! # Which thread owns an operation
//!
//! An operation belongs to the thread that has submitted it, no matter which thread pushed the
//! entry. On SQPOLL rings, it belongs to the ring's kernel thread. When the owning thread exits,
//! its pending operations complete with -ECANCELED. If several threads share a ring, let one
//! long-lived thread submit.
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
    /// Finds the end of the newest big entry in a [`Mixed`] queue that another process has filled.
    /// The shared words do not contain it.
    ///
    /// # Safety
    ///
    /// The queue is mixed and not rewound, and nothing else uses it.
    pub(crate) unsafe fn find_big_end(&self) {
        let (mut position, tail) = (self.head.acquire(), self.tail.own());
        let mut left = tail.wrapping_sub(position).min(self.capacity);
        while left > 0 {
            let index = (position & (self.capacity.wrapping_sub(1))) as usize;
            // SAFETY: the index is inside the queue, and the entries between head and tail were
            // written.
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
    /// Copies of the constants of the queue, and our own positions. Behind the reference, the
    /// compiler would have to read them again after each store to the ring.
    slots: NonNull<Slot<S::Slot>>,
    capacity: u32,
    /// The position at which the queue is full: the last loaded head plus the capacity.
    limit: u32,
    local: Local,
}

/// The positions of a view that are not published yet.
#[derive(Debug)]
struct Local {
    tail: u32,
    /// The tail after the reserved entry is committed, if that has 128 bytes.
    #[cfg_attr(rustix_uring_loom, expect(dead_code, reason = "the loom build has no `reserve`"))]
    next: u32,
    /// The position after the newest entry that takes two slots, on mixed queues.
    big_end: u32,
}

// SAFETY: this is the only view, and everything that it points to outlives the ring that it borrows
// from. Any thread may use it.
unsafe impl<S: Kind> Send for SubmissionQueue<'_, S> {}

impl<'a, S: Kind> SubmissionQueue<'a, S> {
    /// The distance between entries, in bytes.
    const STRIDE: usize = size_of::<S::Slot>();

    /// # Safety
    ///
    /// No other view of the queue exists while this one exists.
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

    /// Publishes the pushed entries, and loads the kernel's progress.
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

    /// Returns the number of slots that an entry takes.
    #[inline(always)]
    const fn slots<E>() -> u32
    where
        S: Accepts<E>,
    {
        <S as sealed::Fits<E>>::SLOTS
    }

    /// Returns the kernel's position as of the last load.
    #[inline(always)]
    fn head(&self) -> u32 {
        self.limit.wrapping_sub(self.capacity)
    }

    /// Returns the number of slots in use: those of pushed entries, published or not, that the
    /// kernel had not consumed at the last [`sync`](Self::sync).
    ///
    /// After a failed submit, call `sync`: this then returns the number of slots that the kernel
    /// has not consumed. To see the entries, use [`as_slices`](Self::as_slices).
    #[inline]
    pub fn len(&self) -> usize {
        // Whatever the kernel's position is, slices must lie inside the queue.
        (self.local.tail.wrapping_sub(self.head()) as usize).min(self.capacity())
    }

    /// Returns whether the kernel has consumed all pushed entries.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.local.tail == self.head()
    }

    /// Returns whether no slot is free.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.local.tail == self.limit
    }

    /// Returns the number of slots of the queue.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// Returns whether the SQPOLL thread sleeps. It then consumes published entries only after an
    /// enter call. [`Submitter::submit`](crate::Submitter::submit) checks this automatically.
    ///
    /// A result of `false` is only meaningful if you publish with [`sync`](Self::sync) before this
    /// call.
    #[inline]
    pub fn need_wakeup(&self) -> bool {
        self.status().need_wakeup()
    }

    /// Like [`need_wakeup`](Self::need_wakeup), for callers that have executed a sequentially
    /// consistent fence since they published.
    #[inline]
    pub fn need_wakeup_after_intermittent_seqcst(&self) -> bool {
        self.status().has(sys::IORING_SQ_NEED_WAKEUP)
    }

    /// Returns whether completions wait in the kernel for free slots. See [`Status::cq_overflow`].
    #[inline]
    pub fn cq_overflow(&self) -> bool {
        self.status().cq_overflow()
    }

    /// Returns whether completions wait until this task asks for them. See [`Status::taskrun`].
    #[inline]
    pub fn taskrun(&self) -> bool {
        self.status().taskrun()
    }

    /// Returns the number of entries that the kernel has dropped, which is always 0. See
    /// [`Status::dropped`].
    #[inline]
    pub fn dropped(&self) -> u32 {
        self.status().dropped()
    }

    /// Returns a handle that reads the state of the queue for as long as the ring is borrowed. The
    /// handle does not see entries that this view has not published.
    #[inline]
    pub fn status(&self) -> Status<'a> {
        Status::new(self.sq)
    }

    /// Pushes an entry of the queue's own size: an [`Entry128`] on queues of 128-byte entries,
    /// otherwise an [`Entry`]. For entries of another size that the queue accepts, use
    /// [`push_any`](Self::push_any).
    ///
    /// # Errors
    ///
    /// [`PushError::Full`] if the queue was full at the last [`sync`](Self::sync).
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
    /// [`Entry128`] on queues of 128-byte entries and on [`Mixed`] queues.
    ///
    /// # Errors
    ///
    /// Same errors as [`push`](Self::push). On [`Mixed`] queues with two slots, also
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
    /// [`PushError::Full`] if the free slots do not suffice now. [`PushError::NeverFits`] if they
    /// will never suffice, in particular for more entries than the capacity.
    ///
    /// # Safety
    ///
    /// [The contract](self#the-contract) holds for each of the entries.
    #[inline]
    pub unsafe fn push_multiple(&mut self, entries: &[S::Slot]) -> Result<(), PushError> {
        // SAFETY: the caller vouches for the entries.
        unsafe { self.push_each(entries.len(), |i| entries[i]) }
    }

    /// Pushes `n` entries, or none of them. Each is created in its slot by calling `entry` with its
    /// index.
    ///
    /// If `entry` panics, nothing is pushed.
    ///
    /// # Errors
    ///
    /// Same errors as [`push_multiple`](Self::push_multiple). After an error, `entry` has not been
    /// called.
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

    /// Reserves a slot for one entry, to be written in place.
    ///
    /// Use this if another function creates the entry: it receives the [`Vacant`] slot and writes
    /// into it, which saves the copy of a returned entry. The queue does not change until you
    /// commit the written entry. An unwritten slot cannot be committed.
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
    /// Same errors as [`push`](Self::push).
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

    /// Reserves a slot for one entry, if there is one.
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

    /// Returns the reservation for an entry at `tail`, which must exist. Writes a pad if one is
    /// due.
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

    /// Returns the number of pads before an entry of two slots: one at the last slot, otherwise
    /// none.
    #[inline(always)]
    fn pad_at(&self, tail: u32) -> u32 {
        let last = self.capacity.wrapping_sub(1);
        u32::from(tail & last == last)
    }

    /// Returns the number of slots that `n` entries take at `tail`, including at most one pad. `n`
    /// is at most the capacity.
    #[inline(always)]
    fn slots_for(&self, tail: u32, n: usize, slots: u32) -> usize {
        if slots == 1 {
            return n;
        }
        let to_the_end = (self.capacity - (tail & self.capacity.wrapping_sub(1))) as usize;
        2 * n + usize::from(to_the_end % 2 == 1 && n > to_the_end / 2)
    }

    /// Returns why `n` entries do not fit: whether they would fit if the queue were empty.
    #[cold]
    fn no_room(&self, n: usize, slots: u32) -> PushError {
        let capacity = self.capacity();
        // Waiting moves the tail of a rewound queue only.
        let tail = if S::REWIND { 0 } else { self.local.tail };
        let never = n > capacity || self.slots_for(tail, n, slots) > capacity;
        if never { PushError::NeverFits } else { PushError::Full }
    }

    /// Fills the last slot before the end of the queue. See [`Mixed`].
    #[cold]
    fn pad(&mut self, tail: u32, big_end: u32) {
        let newest = tail.wrapping_sub(if big_end == tail { 2 } else { 1 });
        // A chain ends at the end of a submission, so the pad only continues the chain of an entry
        // that the kernel has not consumed.
        let linked = if self.sq.head.acquire() == tail {
            Flags::empty()
        } else {
            // SAFETY: the entry is between head and tail, so it was written and not overwritten.
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

    /// Returns the slot at a position.
    #[inline(always)]
    fn slot(&self, position: u32) -> NonNull<Slot<S::Slot>> {
        let index = (position & (self.capacity.wrapping_sub(1))) as usize;
        // SAFETY: the queue has `capacity` slots, a power of two, so the index is inside.
        unsafe { self.slots.add(index) }
    }

    /// Writes an entry into a slot between tail and limit.
    #[inline(always)]
    fn write<E: Copy>(&mut self, slot: NonNull<Slot<E>>, entry: E) {
        // SAFETY: a slot between tail and limit is ours: the kernel does not read it before it is
        // published. `S: Accepts<E>` ensures that the entry fits.
        unsafe { put(slot.as_ptr(), entry) };
        self.clear_rest(slot);
    }

    /// Clears the rest of a 128-byte slot behind a 64-byte entry.
    #[inline(always)]
    fn clear_rest<E>(&mut self, slot: NonNull<Slot<E>>) {
        if Self::STRIDE > size_of::<E>() {
            // SAFETY: the slot is ours, as in `write`, and the rest of its 128 bytes is part of it.
            unsafe { slot.cast::<[u64; 8]>().add(1).write([0; 8]) };
        }
    }

    /// Moves an old end forward, so that it is not mistaken for a new one when positions wrap.
    #[inline(always)]
    fn forget_old_big_end(&mut self) {
        if S::MIXED && self.local.tail.wrapping_sub(self.local.big_end) > self.capacity {
            self.local.big_end = self.local.tail.wrapping_sub(self.capacity).wrapping_sub(1);
        }
    }

    /// Returns the entries that the kernel had not consumed at the last [`sync`](Self::sync), the
    /// oldest first. If they wrap around the end of the queue, the second slice has the rest.
    /// Otherwise it is empty.
    #[cfg(not(rustix_uring_loom))]
    #[inline]
    pub fn as_slices(&self) -> (&[S::Slot], &[S::Slot]) {
        let first = self.head() & (self.capacity.wrapping_sub(1));
        let len = self.len();
        let before_end = len.min((self.capacity - first) as usize);
        // SAFETY: we have written the entries between head and tail. The kernel only reads them.
        // Our own writes need the view mutably, and the slices borrow it.
        unsafe {
            (
                core::slice::from_raw_parts(self.slot(first).as_ptr(), before_end),
                core::slice::from_raw_parts(self.slots.as_ptr(), len - before_end),
            )
        }
    }

    /// Removes all entries that the kernel has not consumed.
    /// [`IoUring::clear`](crate::IoUring::clear) is the safe form.
    ///
    /// # Safety
    ///
    /// The kernel consumes no entries during the call:
    ///
    /// - The ring is not an SQPOLL ring, whose thread consumes entries at any time.
    /// - No other thread is in an enter call for this ring that submits, under any name or
    ///   descriptor. Enter calls that only wait or get events are allowed.
    pub unsafe fn clear(&mut self) {
        self.sync();
        self.local.tail = self.head();
        self.local.big_end = self.local.tail;
        self.publish();
    }

    /// Removes as many of the newest `n` entries as the kernel has not consumed, and returns their
    /// number. Each entry takes one slot.
    ///
    /// # Safety
    ///
    /// Same contract as [`clear`](Self::clear).
    pub(crate) unsafe fn take_back(&mut self, n: usize) -> usize {
        self.sync();
        let left = self.len().min(n);
        self.local.tail = self.local.tail.wrapping_sub(left as u32);
        self.publish();
        left
    }
}

impl<S: FixedSize> SubmissionQueue<'_, S> {
    /// Removes the newest entries that the kernel has not consumed, so that at most `len` entries
    /// are left.
    ///
    /// Use this after a failed submit, to free the memory of an entry. The removed entries do not
    /// run and post no completions. [`IoUring::truncate`](crate::IoUring::truncate) is the safe
    /// form.
    ///
    /// # Safety
    ///
    /// Same contract as [`clear`](Self::clear).
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

/// A slot, and the tail after it.
struct Reservation<E> {
    slot: NonNull<Slot<E>>,
    next: u32,
}

/// Returns whether `E` has 128 bytes. On mixed queues, it then takes two slots, and may need a pad
/// before them.
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
