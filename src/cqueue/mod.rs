//! The completion queue: results on their way back.
//!
//! A [`CompletionQueue`] is a view of the ring's queue: an iterator over what was ready when it was
//! made or last [synced](CompletionQueue::sync). What it has consumed is the kernel's to use
//! again once it is released, which happens when the iteration comes to its end, on `sync`, and
//! when the view is dropped. Until then a completion counts as there, and ends the next wait at
//! once. (A view that is forgotten releases nothing: the next one begins where the last release has
//! ended.)
//!
//! # In an event loop of another kind
//!
//! The ring's descriptor ([`ring_fd`](crate::IoUring::ring_fd)) is readable (`POLLIN`, `EPOLLIN`) when
//! completions are there: a ring can be in an epoll instance. Completions that have found the queue full
//! do not come by themselves, and an edge-triggered loop is not told of them again. After such a loop
//! has reaped, it calls [`submit`](crate::IoUring::submit), even with nothing to submit, until
//! [`cq_overflow`](crate::SubmissionQueue::cq_overflow) says that none is left.
//!
//! On rings with [`setup_defer_taskrun`](crate::Builder::setup_defer_taskrun), those of
//! [`build_local`](crate::Builder::build_local) among them, add an eventfd
//! ([`register_eventfd`](crate::Submitter::register_eventfd)) to the instance, and not the ring. Their
//! completions wait until you ask for them. The kernel signals the eventfd when some do, but current
//! kernels do not report the ring: on 6.18 and 7.2, `epoll_wait` goes on waiting, although a new `poll`
//! says that the ring is readable. When the eventfd is readable, call
//! [`get_events`](crate::Submitter::get_events) and look at the queue.

mod entry;
mod result;

use core::fmt::{self, Debug};
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use crate::params::SetupFlags;
use crate::shared::{Cq, Slot, get};
use crate::sys;

pub use entry::{Entry, Entry32, Mixed, buffer_more, buffer_select, more, notif, sock_nonempty};
pub use result::{TimestampKind, TxTimestamp};

mod sealed {
    use super::*;

    pub trait Sealed: Sized {
        /// What lies in one slot.
        type Slot: Copy;
        /// What asks the kernel for such a queue.
        const SETUP: SetupFlags;

        /// Takes the completion at `head`, and moves `head` behind it.
        ///
        /// # Safety
        ///
        /// Everything from `head` to `tail` is published and not released.
        unsafe fn take(
            slots: NonNull<Slot<Self::Slot>>,
            mask: u32,
            head: &mut u32,
            tail: u32,
        ) -> Option<Self>;
    }
}
use sealed::Sealed;

/// A kind of completion queue, and what it yields: [`Entry`], [`Entry32`] or [`Mixed`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a kind of completion queue",
    label = "expected `cqueue::Entry`, `Entry32` or `Mixed`"
)]
pub trait Kind: Sealed + Copy + Debug + Into<Entry> + 'static {
    /// The number that the submission was given.
    fn user_data(&self) -> u64;

    /// Replaces the number that the submission was given.
    fn set_user_data(&mut self, user_data: u64);
}

/// A completion, which is also the kind of a queue that holds nothing else: [`Entry`] or [`Entry32`].
///
/// Code that is generic over completions, as it is written for the `io-uring` crate, has this bound.
/// The wider idea, with [`Mixed`], is [`Kind`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a completion",
    label = "expected `cqueue::Entry` or `cqueue::Entry32`",
    note = "code for `Mixed` as well has the bound `cqueue::Kind`"
)]
pub trait EntryMarker: Kind + Sealed<Slot = Self> {}
impl EntryMarker for Entry {}
impl EntryMarker for Entry32 {}

/// Copies the slot at `head`, and moves `head` behind it.
///
/// # Safety
///
/// `head` is published and not released.
#[inline(always)]
unsafe fn next_slot<T: Copy>(slots: NonNull<Slot<T>>, mask: u32, head: &mut u32) -> T {
    let index = (*head & mask) as usize;
    *head = head.wrapping_add(1);
    // SAFETY: the mask keeps the index inside the queue; the caller vouches for the slot.
    unsafe { get(slots.add(index).as_ptr()) }
}

macro_rules! kinds {
    ($($Kind:ident: $setup:expr, $Slot:ty, |$slots:ident, $mask:ident, $head:ident, $tail:ident| $take:expr;)*) => { $(
        impl Sealed for $Kind {
            type Slot = $Slot;
            const SETUP: SetupFlags = $setup;

            #[inline(always)]
            unsafe fn take(
                $slots: NonNull<Slot<$Slot>>,
                $mask: u32,
                $head: &mut u32,
                $tail: u32,
            ) -> Option<Self> {
                $take
            }
        }

        impl Kind for $Kind {
            #[inline]
            fn user_data(&self) -> u64 {
                Entry::user_data(self)
            }

            #[inline]
            fn set_user_data(&mut self, user_data: u64) {
                Entry::set_user_data(self, user_data);
            }
        }
    )* };
}
kinds! {
    Entry: SetupFlags::empty(), Entry, |slots, mask, head, tail| {
        // SAFETY: the caller vouches for everything before the tail.
        (*head != tail).then(|| unsafe { next_slot(slots, mask, head) })
    };
    Entry32: SetupFlags::CQE32, Entry32, |slots, mask, head, tail| {
        // SAFETY: the caller vouches for everything before the tail.
        (*head != tail).then(|| unsafe { next_slot(slots, mask, head) })
    };
    Mixed: SetupFlags::CQE_MIXED, Entry, |slots, mask, head, tail| {
        while *head != tail {
            // SAFETY: the caller vouches for everything before the tail.
            let entry: Entry = unsafe { next_slot(slots, mask, head) };
            let mut big = [0; 2];
            // The kernel publishes both halves at once.
            if entry.flags & sys::IORING_CQE_F_32 != 0 && *head != tail {
                // SAFETY: the caller vouches for everything before the tail.
                let half: Entry = unsafe { next_slot(slots, mask, head) };
                big = half.into_words();
            }
            // Filler of the kernel's has one entry. What a message calls filler may have two.
            if entry.flags & sys::IORING_CQE_F_SKIP != 0 {
                continue;
            }
            return Some(Mixed(Entry32 { entry, big }));
        }
        None
    };
}

impl Entry {
    /// The same 16 bytes as two words.
    #[inline(always)]
    const fn into_words(self) -> [u64; 2] {
        let (res, flags) = (self.res.to_ne_bytes(), self.flags.to_ne_bytes());
        let second = [res[0], res[1], res[2], res[3], flags[0], flags[1], flags[2], flags[3]];
        [self.user_data, u64::from_ne_bytes(second)]
    }
}

/// A view of the ring's completion queue. See the [module](self).
pub struct CompletionQueue<'a, C: Kind = Entry> {
    cq: &'a Cq,
    /// Copies of what does not change, and our own positions.
    slots: NonNull<Slot<C::Slot>>,
    mask: u32,
    head: u32,
    tail: u32,
}

// SAFETY: the view is the only one there is, and everything that it points to outlives the ring
// that it borrows from; which thread uses it makes no difference.
unsafe impl<C: Kind> Send for CompletionQueue<'_, C> {}

impl<'a, C: Kind> CompletionQueue<'a, C> {
    /// # Safety
    ///
    /// No other view of the queue exists while this one does.
    #[inline]
    pub(crate) unsafe fn new(cq: &'a Cq) -> Self {
        Self {
            cq,
            slots: cq.entries.cast(),
            mask: cq.capacity.wrapping_sub(1),
            head: cq.head.own(),
            tail: cq.tail.acquire(),
        }
    }

    /// Releases what was consumed, and sees what has become ready meanwhile.
    #[inline]
    pub fn sync(&mut self) {
        self.release();
        self.tail = self.cq.tail.acquire();
    }

    #[inline(always)]
    fn release(&mut self) {
        self.cq.head.release(self.head);
    }

    /// How many slots are taken by what is ready, as far as [`sync`](Self::sync) has seen.
    ///
    /// On [`Mixed`] queues a completion may take two, and filler takes one.
    #[inline]
    pub fn len(&self) -> usize {
        // Whatever the kernel's position says, slices lie inside the queue.
        (self.tail.wrapping_sub(self.head) as usize).min(self.capacity())
    }

    /// Whether nothing is ready, as far as [`sync`](Self::sync) has seen.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tail == self.head
    }

    /// Whether every slot is taken: further completions wait in the kernel.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// How many slots the queue has.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.mask.wrapping_add(1) as usize
    }

    /// The completion that [`next`](Iterator::next) would return, without consuming it.
    #[inline]
    pub fn peek(&self) -> Option<C> {
        let mut head = self.head;
        // SAFETY: between our copies of head and tail, everything is published and not released.
        unsafe { C::take(self.slots, self.mask, &mut head, self.tail) }
    }

    /// Moves as many completions as are ready and fit into `entries`, and returns them.
    #[inline]
    pub fn fill<'e>(&mut self, entries: &'e mut [MaybeUninit<C>]) -> &'e mut [C] {
        let mut filled = 0;
        while filled < entries.len() {
            let Some(cqe) = self.next() else { break };
            entries[filled].write(cqe);
            filled += 1;
        }
        // SAFETY: the first `filled` elements were just written, and `MaybeUninit<C>` has the
        // layout of `C`.
        unsafe { core::slice::from_raw_parts_mut(entries.as_mut_ptr().cast(), filled) }
    }

    /// How many completions are lost because the kernel had neither a slot nor memory for them.
    ///
    /// Before Linux 5.5 ([`NODROP`](crate::Features::NODROP)) a full queue was enough. Not to be
    /// confused with [`cq_overflow`](crate::SubmissionQueue::cq_overflow), where nothing is lost.
    #[inline]
    pub fn overflow(&self) -> u32 {
        self.cq.overflow.relaxed()
    }

    /// Returns whether completions leave the registered eventfd alone. See
    /// [`Status::eventfd_disabled`].
    #[inline]
    pub fn eventfd_disabled(&self) -> bool {
        self.status().eventfd_disabled()
    }

    /// Lets completions leave the registered eventfd alone. See [`Status::disable_eventfd`].
    #[inline]
    pub fn disable_eventfd(&self) {
        self.status().disable_eventfd();
    }

    /// Lets completions signal the registered eventfd again. See [`Status::enable_eventfd`].
    #[inline]
    pub fn enable_eventfd(&self) {
        self.status().enable_eventfd();
    }

    /// A handle that tells how full the queue is, for as long as the ring is borrowed.
    #[inline]
    pub fn status(&self) -> Status<'a> {
        Status { cq: self.cq }
    }
}

#[cfg(not(rustix_uring_loom))]
impl<C: EntryMarker> CompletionQueue<'_, C> {
    /// What is ready, oldest first, without a copy: up to the end of the memory, and from its
    /// start. [`consume`](Self::consume) moves behind it.
    #[inline]
    pub fn as_slices(&self) -> (&[C], &[C]) {
        let first = (self.head & self.mask) as usize;
        let len = self.len();
        let before_end = len.min(self.capacity() - first);
        // SAFETY: between head and tail everything is published, and the kernel writes there only
        // once it is released, which needs the view mutably, which the slices borrow.
        unsafe {
            (
                core::slice::from_raw_parts(self.slots.add(first).as_ptr(), before_end),
                core::slice::from_raw_parts(self.slots.as_ptr(), len - before_end),
            )
        }
    }

    /// Consumes the `n` oldest completions, or all if there are fewer.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.len());
        self.head = self.head.wrapping_add(n as u32);
        if self.head == self.tail {
            self.release();
        }
    }
}

impl<C: Kind> Iterator for CompletionQueue<'_, C> {
    type Item = C;

    #[inline]
    fn next(&mut self) -> Option<C> {
        // SAFETY: between our copies of head and tail, everything is published and not released.
        let next = unsafe { C::take(self.slots, self.mask, &mut self.head, self.tail) };
        if next.is_none() {
            // The end: what was consumed must not count for the next wait.
            self.release();
        }
        next
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        // On mixed queues, all of it may be filler: messages can post as much as they like.
        let slots = self.len();
        let least = if size_of::<C>() == size_of::<C::Slot>() { slots } else { 0 };
        (least, Some(slots))
    }
}

impl<C: EntryMarker> ExactSizeIterator for CompletionQueue<'_, C> {}

impl<C: Kind> Drop for CompletionQueue<'_, C> {
    #[inline]
    fn drop(&mut self) {
        self.release();
    }
}

impl<C: Kind> Debug for CompletionQueue<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompletionQueue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("next", &self.peek())
            .finish()
    }
}

/// How full a completion queue is, and the switch of its eventfd, without a view of it.
///
/// [`IoUring::completion_status`](crate::IoUring::completion_status) and
/// [`CompletionQueue::status`] make one.
///
/// You can ask from any thread. The kernel and the thread that reaps go on meanwhile, so an answer
/// may be out of date when you have it. A completion counts until the view that consumes it has
/// released it.
#[derive(Clone, Copy)]
pub struct Status<'a> {
    cq: &'a Cq,
}

impl Status<'_> {
    /// How many slots are taken by what is ready, at most the capacity.
    ///
    /// While another thread reaps, this may also count completions that it releases during the
    /// call. It never counts fewer than are there at the end of the call, unless more arrive.
    #[inline]
    pub fn ready(&self) -> usize {
        // Our position first: the kernel's is never behind it. It may be ahead by more than there
        // are entries, if the other thread has released some in between.
        let head = self.cq.head.acquire();
        let ready = self.cq.tail.acquire().wrapping_sub(head);
        ready.min(self.cq.capacity) as usize
    }

    /// Whether nothing is ready. If it says so, there was a moment during the call when nothing was.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ready() == 0
    }

    /// How many completions are lost. See [`CompletionQueue::overflow`].
    #[inline]
    pub fn overflow(&self) -> u32 {
        self.cq.overflow.relaxed()
    }

    /// Returns whether completions leave the registered eventfd alone.
    #[inline]
    pub fn eventfd_disabled(&self) -> bool {
        self.cq.flags.is_some_and(|flags| flags.relaxed() & sys::IORING_CQ_EVENTFD_DISABLED != 0)
    }

    /// Lets completions leave the registered eventfd alone, from any thread.
    ///
    /// Since Linux 5.8; before, this does nothing, as
    /// [`eventfd_disabled`](Self::eventfd_disabled) then says.
    #[inline]
    pub fn disable_eventfd(&self) {
        if let Some(flags) = self.cq.flags {
            flags.set_bits(sys::IORING_CQ_EVENTFD_DISABLED);
        }
    }

    /// Lets completions signal the registered eventfd again, as they do from the start.
    #[inline]
    pub fn enable_eventfd(&self) {
        if let Some(flags) = self.cq.flags {
            flags.clear_bits(sys::IORING_CQ_EVENTFD_DISABLED);
        }
    }
}

impl Debug for Status<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status")
            .field("ready", &self.ready())
            .field("overflow", &self.overflow())
            .field("eventfd_disabled", &self.eventfd_disabled())
            .finish()
    }
}

impl<'a> Status<'a> {
    #[inline]
    pub(crate) fn new(cq: &'a Cq) -> Self {
        Self { cq }
    }
}

#[cfg(all(test, not(rustix_uring_loom)))]
mod tests;
