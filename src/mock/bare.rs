//! A mock ring without a script: the queues' unit tests are its kernel, step by step, and drive
//! it through states that take a real ring years, as positions that wrap.

use super::region::Region;
use crate::cqueue::{self, CompletionQueue};
use crate::memory::Shape;
use crate::shared::{Cq, Ordering, Saved, Settings, Sq};
use crate::squeue::{self, Sqe, SubmissionQueue};

/// A ring and the kernel behind it.
pub(crate) struct Mock {
    sq: Sq,
    cq: Cq,
    mixed: bool,
    region: Region,
}

impl Mock {
    /// A ring of `entries` slots on each side, whose positions all are at `start`.
    pub(crate) fn new<S: squeue::Kind, C: cqueue::Kind>(entries: u32, start: u32) -> Self {
        let region = Region::new::<S, C>(entries, entries, start);
        // SAFETY: the queues are dropped before the memory, and there are no others over it.
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

    /// As a ring that another process has filled and handed on.
    pub(crate) fn hand_on(&mut self) {
        self.sq.saved = Saved::default();
        // SAFETY: we are borrowed mutably, so there is no view; the test has a mixed queue.
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

    /// A view, and the kernel beside it.
    pub(crate) fn split_sq<S: squeue::Kind>(&mut self) -> (SubmissionQueue<'_, S>, Kernel<'_>) {
        // SAFETY: we are borrowed mutably, so there is no other view.
        (unsafe { SubmissionQueue::new(&self.sq) }, Kernel(self))
    }

    /// A view, and the kernel beside it.
    pub(crate) fn split_cq<C: cqueue::Kind>(&mut self) -> (CompletionQueue<'_, C>, Kernel<'_>) {
        // SAFETY: we are borrowed mutably, so there is no other view.
        (unsafe { CompletionQueue::new(&self.cq) }, Kernel(self))
    }

    pub(crate) fn kernel(&mut self) -> Kernel<'_> {
        Kernel(self)
    }
}

/// The kernel's side of a ring.
pub(crate) struct Kernel<'a>(&'a Mock);

impl Kernel<'_> {
    /// Where the program has given its completions back to.
    pub(crate) fn cq_head(&self) -> u32 {
        self.0.region.words().cq_head.load(Ordering::Acquire)
    }

    /// What the program has published and we have not taken.
    pub(crate) fn published(&self) -> u32 {
        self.0.region.published()
    }

    pub(crate) fn set_sq_flags(&self, flags: u32) {
        self.0.region.words().sq_flags.store(flags, Ordering::Relaxed);
    }

    /// Takes the oldest entry: its fields, and on rings of 128 bytes, or where `is_big` knows the
    /// operation to have them, the second half.
    pub(crate) fn take(&mut self, is_big: impl Fn(u8) -> bool) -> Option<(Sqe, Option<[u8; 64]>)> {
        let region = &self.0.region;
        let published = region.published();
        if published == 0 {
            return None;
        }
        let head = region.words().sq_head.load(Ordering::Relaxed);
        let first = region.entry(head);
        let (second, slots) = if region.all_big() || is_big(first.opcode) {
            let (second, slots) =
                region.second_half(head, published).expect("half an entry was published");
            (Some(second), slots)
        } else {
            (None, 1)
        };
        region.take(slots);
        Some((first, second))
    }

    /// Posts a completion, and says whether there was room.
    pub(crate) fn post(&mut self, user_data: u64, big: Option<[u64; 2]>) -> bool {
        self.post_flags(user_data, 0, big)
    }

    /// [`post`](Self::post) with flags, as a message can have any.
    pub(crate) fn post_flags(&mut self, user_data: u64, flags: u32, big: Option<[u64; 2]>) -> bool {
        let entry = cqueue::Entry { user_data, res: 0, flags };
        self.0.region.post(entry, big, self.0.mixed)
    }

    /// The program's own look at how full its completion queue is.
    pub(crate) fn status(&self) -> cqueue::Status<'_> {
        cqueue::Status::new(&self.0.cq)
    }

    /// Moves the tail of the completion queue, as another thread's look at it may find it.
    pub(crate) fn set_cq_tail(&mut self, tail: u32) {
        self.0.region.words().cq_tail.store(tail, Ordering::Release);
    }
}
