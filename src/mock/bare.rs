//! A mock ring without a script. The unit tests of the queues play its kernel step by step. They
//! drive it through states that a real ring needs years to reach, such as positions that wrap.

use super::region::Region;
use crate::cqueue::{self, CompletionQueue};
use crate::memory::Shape;
use crate::shared::{Cq, Ordering, Saved, Settings, Sq};
use crate::squeue::{self, Sqe, SubmissionQueue};

/// A ring and its kernel.
pub(crate) struct Mock {
    sq: Sq,
    cq: Cq,
    mixed: bool,
    region: Region,
}

impl Mock {
    /// Creates a ring with `entries` slots in each queue. All positions start at `start`.
    pub(crate) fn new<S: squeue::Kind, C: cqueue::Kind>(entries: u32, start: u32) -> Self {
        let region = Region::new::<S, C>(entries, entries, start);
        // SAFETY: the queues are dropped before the memory, and no other queues use it.
        let (mut sq, cq) = unsafe {
            region.memory().queues(
                &region.params(),
                Shape::of::<S::Slot, C::Slot>(),
                Settings::default(),
            )
        }
        .unwrap();
        sq.setup |= S::SETUP;
        let mixed = size_of::<C>() != size_of::<C::Slot>();
        Self { sq, cq, mixed, region }
    }

    /// Turns this into a ring that another process has filled and handed on.
    pub(crate) fn hand_on(&mut self) {
        self.sq.saved = Saved::default();
        // SAFETY: `self` is borrowed mutably, so there is no view. The test has a mixed queue.
        unsafe { self.sq.find_big_end() };
    }

    pub(crate) fn post_pad_cqes(mut self) -> Self {
        self.sq.settings.post_pad_cqes = true;
        self
    }

    pub(crate) fn without_cq_flags(mut self) -> Self {
        self.cq.flags = None;
        self
    }

    pub(crate) fn submission<S: squeue::Kind>(&mut self) -> SubmissionQueue<'_, S> {
        self.split_sq().0
    }

    pub(crate) fn completion<C: cqueue::Kind>(&mut self) -> CompletionQueue<'_, C> {
        self.split_cq().0
    }

    /// Returns a view and the kernel.
    pub(crate) fn split_sq<S: squeue::Kind>(&mut self) -> (SubmissionQueue<'_, S>, Kernel<'_>) {
        // SAFETY: `self` is borrowed mutably, so there is no other view.
        (unsafe { SubmissionQueue::new(&self.sq) }, Kernel(self))
    }

    /// Returns a view and the kernel.
    pub(crate) fn split_cq<C: cqueue::Kind>(&mut self) -> (CompletionQueue<'_, C>, Kernel<'_>) {
        // SAFETY: `self` is borrowed mutably, so there is no other view.
        (unsafe { CompletionQueue::new(&self.cq) }, Kernel(self))
    }

    pub(crate) fn kernel(&mut self) -> Kernel<'_> {
        Kernel(self)
    }
}

/// The kernel's side of a ring.
pub(crate) struct Kernel<'a>(&'a Mock);

impl Kernel<'_> {
    /// Returns the position up to which the program has released completions.
    pub(crate) fn cq_head(&self) -> u32 {
        self.0.region.words().cq_head.load(Ordering::Acquire)
    }

    /// Returns the number of slots that the program has published and the kernel has not consumed.
    pub(crate) fn published(&self) -> u32 {
        self.0.region.published()
    }

    pub(crate) fn set_sq_flags(&self, flags: u32) {
        self.0.region.words().sq_flags.store(flags, Ordering::Relaxed);
    }

    /// Consumes the oldest entry and returns its fields. Also returns the second half, if the ring
    /// has 128-byte entries or `is_big` says that the operation has one.
    pub(crate) fn take(&mut self, is_big: impl Fn(u8) -> bool) -> Option<(Sqe, Option<[u8; 64]>)> {
        let region = &self.0.region;
        let published = region.published();
        if published == 0 {
            return None;
        }
        let head = region.words().sq_head.load(Ordering::Relaxed);
        let first = region.entry(head);
        let (second, slots) = if region.all_big() || is_big(first.opcode) {
            let (second, slots) = region
                .second_half(head, published)
                .expect("the program published only half an entry");
            (Some(second), slots)
        } else {
            (None, 1)
        };
        region.take(slots);
        Some((first, second))
    }

    /// Posts a completion, and returns whether the queue had space.
    pub(crate) fn post(&mut self, user_data: u64, big: Option<[u64; 2]>) -> bool {
        self.post_flags(user_data, 0, big)
    }

    /// Posts a completion with flags, like a message, which can have any flags.
    pub(crate) fn post_flags(&mut self, user_data: u64, flags: u32, big: Option<[u64; 2]>) -> bool {
        let entry = cqueue::Entry { user_data, res: 0, flags };
        self.0.region.post(entry, big, self.0.mixed)
    }

    /// Returns the status of the completion queue, as the program sees it.
    pub(crate) fn status(&self) -> cqueue::Status<'_> {
        cqueue::Status::new(&self.0.cq)
    }

    /// Moves the tail of the completion queue, as another thread may see it move.
    pub(crate) fn set_cq_tail(&mut self, tail: u32) {
        self.0.region.words().cq_tail.store(tail, Ordering::Release);
    }
}
