//! The completion queue, which returns results from the kernel.
//!
//! A [`CompletionQueue`] is a view of the ring's queue: an iterator over the completions that were
//! ready when the view was created or last [synced](CompletionQueue::sync). The view releases
//! consumed completions when the iteration reaches its end, on `sync`, and when the view is
//! dropped. Only then can the kernel reuse their slots. Until then, a consumed completion still
//! counts as ready, so the next wait returns at once. (A view that is passed to `mem::forget`
//! releases nothing: the next view starts after the last released completion.)
//!
//! # In an epoll loop
//!
//! The ring's descriptor ([`ring_fd`](crate::IoUring::ring_fd)) is readable (`POLLIN`, `EPOLLIN`)
//! when completions are ready, so you can add a ring to an epoll instance.
//!
//! Completions that have found the queue full are not posted until a task enters the kernel, and an
//! edge-triggered loop gets no further event for them. After such a loop has reaped, it must call
//! [`submit`](crate::IoUring::submit), even with nothing to submit, until
//! [`cq_overflow`](crate::SubmissionQueue::cq_overflow) returns `false`.
//!
//! If the ring has [`setup_defer_taskrun`](crate::Builder::setup_defer_taskrun), as rings of
//! [`build_local`](crate::Builder::build_local) do, add an eventfd
//! ([`register_eventfd`](crate::Submitter::register_eventfd)) to the instance instead of the ring.
//! The completions of such a ring wait until you ask for them. The kernel then signals the eventfd,
//! but current kernels do not signal the ring's descriptor: on 6.18 and 7.2, `epoll_wait` continues
//! to wait, although a new `poll` reports that the ring is readable. When the eventfd is readable,
//! call [`get_events`](crate::Submitter::get_events) and read the queue.

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
        /// The content of one slot.
        type Slot: Copy;
        /// The setup flags of such a queue.
        const SETUP: SetupFlags;

        /// Returns the completion at `head`, and moves `head` past it.
        ///
        /// # Safety
        ///
        /// All slots from `head` to `tail` are published and not released.
        unsafe fn take(
            slots: NonNull<Slot<Self::Slot>>,
            mask: u32,
            head: &mut u32,
            tail: u32,
        ) -> Option<Self>;
    }
}
use sealed::Sealed;

/// A kind of completion queue, and the type of its completions: [`Entry`], [`Entry32`] or
/// [`Mixed`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a kind of completion queue",
    label = "expected `cqueue::Entry`, `Entry32` or `Mixed`"
)]
pub trait Kind: Sealed + Copy + Debug + Into<Entry> + 'static {
    /// Returns the user data, which is that of the submission.
    fn user_data(&self) -> u64;

    /// Replaces the user data in this completion.
    fn set_user_data(&mut self, user_data: u64);
}

/// A completion type that is also the kind of a queue of such completions: [`Entry`] or
/// [`Entry32`].
///
/// Use this bound for code that is generic over completions and was written for the `io-uring`
/// crate. The more general bound is [`Kind`], which includes [`Mixed`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a completion",
    label = "expected `cqueue::Entry` or `cqueue::Entry32`",
    note = "to include `Mixed`, use the bound `cqueue::Kind`"
)]
pub trait EntryMarker: Kind + Sealed<Slot = Self> {}
impl EntryMarker for Entry {}
impl EntryMarker for Entry32 {}

/// Copies the slot at `head`, and moves `head` past it.
///
/// # Safety
///
/// The slot at `head` is published and not released.
#[inline(always)]
unsafe fn next_slot<T: Copy>(slots: NonNull<Slot<T>>, mask: u32, head: &mut u32) -> T {
    let index = (*head & mask) as usize;
    *head = head.wrapping_add(1);
    // SAFETY: the mask keeps the index inside the queue. The caller vouches for the slot.
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
        // SAFETY: the caller vouches for every slot before the tail.
        (*head != tail).then(|| unsafe { next_slot(slots, mask, head) })
    };
    Entry32: SetupFlags::CQE32, Entry32, |slots, mask, head, tail| {
        // SAFETY: the caller vouches for every slot before the tail.
        (*head != tail).then(|| unsafe { next_slot(slots, mask, head) })
    };
    Mixed: SetupFlags::CQE_MIXED, Entry, |slots, mask, head, tail| {
        while *head != tail {
            // SAFETY: the caller vouches for every slot before the tail.
            let entry: Entry = unsafe { next_slot(slots, mask, head) };
            let mut big = [0; 2];
            // The kernel publishes both halves at once.
            if entry.flags & sys::IORING_CQE_F_32 != 0 && *head != tail {
                // SAFETY: the caller vouches for every slot before the tail.
                let half: Entry = unsafe { next_slot(slots, mask, head) };
                big = half.into_words();
            }
            // The kernel's filler has one slot. A message that has the filler flag may have two.
            if entry.flags & sys::IORING_CQE_F_SKIP != 0 {
                continue;
            }
            return Some(Mixed(Entry32 { entry, big }));
        }
        None
    };
}

impl Entry {
    /// Returns the 16 bytes as two words.
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
    /// Copies of the constants of the queue, and our own positions.
    slots: NonNull<Slot<C::Slot>>,
    mask: u32,
    head: u32,
    tail: u32,
}

// SAFETY: this is the only view, and everything that it points to outlives the ring that it borrows
// from. Any thread may use it.
unsafe impl<C: Kind> Send for CompletionQueue<'_, C> {}

impl<'a, C: Kind> CompletionQueue<'a, C> {
    /// # Safety
    ///
    /// No other view of the queue exists while this one exists.
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

    /// Releases the consumed completions, and loads the kernel's progress.
    #[inline]
    pub fn sync(&mut self) {
        self.release();
        self.tail = self.cq.tail.acquire();
    }

    #[inline(always)]
    fn release(&mut self) {
        self.cq.head.release(self.head);
    }

    /// Returns the number of slots with completions that were ready at the last
    /// [`sync`](Self::sync) and are not consumed.
    ///
    /// On [`Mixed`] queues, a completion may take two slots, and filler takes one.
    #[inline]
    pub fn len(&self) -> usize {
        // Whatever the kernel's position is, slices must lie inside the queue.
        (self.tail.wrapping_sub(self.head) as usize).min(self.capacity())
    }

    /// Returns whether no completion was ready at the last [`sync`](Self::sync), or all are
    /// consumed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tail == self.head
    }

    /// Returns whether all slots are in use. Further completions then wait in the kernel.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.len() == self.capacity()
    }

    /// Returns the number of slots of the queue.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.mask.wrapping_add(1) as usize
    }

    /// Returns the completion that [`next`](Iterator::next) would return, without consuming it.
    #[inline]
    pub fn peek(&self) -> Option<C> {
        let mut head = self.head;
        // SAFETY: all slots between our copies of head and tail are published and not released.
        unsafe { C::take(self.slots, self.mask, &mut head, self.tail) }
    }

    /// Moves ready completions into `entries`, as many as fit, and returns them.
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

    /// Returns the number of completions that are lost because the kernel had neither a free slot
    /// nor memory for them.
    ///
    /// Before Linux 5.5 ([`NODROP`](crate::Features::NODROP)), a completion was lost whenever the
    /// queue was full. Do not confuse this with
    /// [`cq_overflow`](crate::SubmissionQueue::cq_overflow), which reports completions that are not
    /// lost.
    #[inline]
    pub fn overflow(&self) -> u32 {
        self.cq.overflow.relaxed()
    }

    /// Returns whether completions do not signal the registered eventfd. See
    /// [`Status::eventfd_disabled`].
    #[inline]
    pub fn eventfd_disabled(&self) -> bool {
        self.status().eventfd_disabled()
    }

    /// Stops completions from signaling the registered eventfd. See [`Status::disable_eventfd`].
    #[inline]
    pub fn disable_eventfd(&self) {
        self.status().disable_eventfd();
    }

    /// Lets completions signal the registered eventfd again. See [`Status::enable_eventfd`].
    #[inline]
    pub fn enable_eventfd(&self) {
        self.status().enable_eventfd();
    }

    /// Returns a handle that reads the state of the queue for as long as the ring is borrowed.
    #[inline]
    pub fn status(&self) -> Status<'a> {
        Status { cq: self.cq }
    }
}

#[cfg(not(rustix_uring_loom))]
impl<C: EntryMarker> CompletionQueue<'_, C> {
    /// Returns the ready completions without copying them, the oldest first. If they wrap around
    /// the end of the queue, the second slice has the rest. Otherwise it is empty. Call
    /// [`consume`](Self::consume) to move past them.
    #[inline]
    pub fn as_slices(&self) -> (&[C], &[C]) {
        let first = (self.head & self.mask) as usize;
        let len = self.len();
        let before_end = len.min(self.capacity() - first);
        // SAFETY: all slots between head and tail are published. The kernel writes to them only
        // after they are released. Releasing needs the view mutably, and the slices borrow it.
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
        // SAFETY: all slots between our copies of head and tail are published and not released.
        let next = unsafe { C::take(self.slots, self.mask, &mut self.head, self.tail) };
        if next.is_none() {
            // At the end, release everything, so that consumed completions do not count for the
            // next wait.
            self.release();
        }
        next
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        // On mixed queues, all slots may be filler: messages can post any amount of it.
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

/// Reads the fill level of a completion queue, and switches its eventfd, without a view of it.
///
/// [`IoUring::completion_status`](crate::IoUring::completion_status) and
/// [`CompletionQueue::status`] return one.
///
/// Any thread can use it. The kernel and the reaping thread continue in the meantime, so a result
/// may already be outdated when you receive it. A completion counts as ready until the view that
/// consumes it has released it.
#[derive(Clone, Copy)]
pub struct Status<'a> {
    cq: &'a Cq,
}

impl Status<'_> {
    /// Returns the number of slots with ready completions. It is at most the capacity.
    ///
    /// If another thread reaps at the same time, the result may include completions that it
    /// releases during this call. Completions that arrive during this call may be missing.
    #[inline]
    pub fn ready(&self) -> usize {
        // Load our position before the kernel's, which is never behind it. If the other thread
        // releases completions in between, the difference can exceed the number of slots.
        let head = self.cq.head.acquire();
        let ready = self.cq.tail.acquire().wrapping_sub(head);
        ready.min(self.cq.capacity) as usize
    }

    /// Returns whether no completion is ready. A result of `true` was correct at some moment during
    /// the call.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ready() == 0
    }

    /// Returns the number of lost completions. See [`CompletionQueue::overflow`].
    #[inline]
    pub fn overflow(&self) -> u32 {
        self.cq.overflow.relaxed()
    }

    /// Returns whether completions do not signal the registered eventfd.
    #[inline]
    pub fn eventfd_disabled(&self) -> bool {
        self.cq.flags.is_some_and(|flags| flags.relaxed() & sys::IORING_CQ_EVENTFD_DISABLED != 0)
    }

    /// Stops completions from signaling the registered eventfd. You can call this from any thread.
    ///
    /// Since Linux 5.8. On older kernels, this has no effect, and
    /// [`eventfd_disabled`](Self::eventfd_disabled) returns `false`.
    #[inline]
    pub fn disable_eventfd(&self) {
        if let Some(flags) = self.cq.flags {
            flags.set_bits(sys::IORING_CQ_EVENTFD_DISABLED);
        }
    }

    /// Lets completions signal the registered eventfd again, which is the default.
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
