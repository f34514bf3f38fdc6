//! A common interface for the submission queues of all kinds.

use std::mem;

use rustix_uring::squeue::{Entry, Entry128, Mixed, PushError, Rewind};
use rustix_uring::{SubmissionQueue, squeue};

use super::outcome::Result;
use super::submitted::submits;

/// A view of a submission queue.
pub(crate) trait Queue {
    /// # Safety
    ///
    /// Same as [`SubmissionQueue::push_multiple`].
    unsafe fn push(&mut self, entries: &[Entry]) -> Result<(), PushError>;

    /// # Safety
    ///
    /// Same as [`SubmissionQueue::push_each`].
    unsafe fn push_each(
        &mut self,
        n: usize,
        entry: &mut dyn FnMut(usize) -> Entry,
    ) -> Result<(), PushError>;

    /// Pushes a 128-byte entry, which not every kind [accepts](Self::accepts_sqe128).
    ///
    /// # Safety
    ///
    /// Same as [`SubmissionQueue::push`].
    unsafe fn push_128(&mut self, entry: &Entry128) -> Result<(), PushError>;

    fn accepts_sqe128(&self) -> bool;

    /// Reserves a slot, and continues with it up to the given stage.
    ///
    /// # Safety
    ///
    /// If the stage is [`Reserve::Committed`], same as
    /// [`Filled::commit`](rustix_uring::squeue::Filled::commit).
    unsafe fn reserve(&mut self, how_far: Reserve) -> Result<(), PushError>;

    /// # Safety
    ///
    /// Same as [`SubmissionQueue::clear`].
    unsafe fn clear(&mut self);

    /// The user data of the entries that the kernel has not consumed.
    fn left(&self) -> Vec<u64>;

    /// Forgets the view, so that entries which it has not published stay unpublished.
    fn forget(self: Box<Self>);

    fn len(&self) -> usize;
    fn is_empty(&self) -> bool;
    fn is_full(&self) -> bool;
    fn capacity(&self) -> usize;
    fn sync(&mut self);
    fn cq_overflow(&self) -> bool;
    fn taskrun(&self) -> bool;
}

/// The stage up to which to continue with a reserved slot.
#[derive(Clone, Copy)]
pub(crate) enum Reserve {
    Vacant,
    Filled(Entry),
    Committed(Entry),
}

impl<S: QueueKind> Queue for SubmissionQueue<'_, S> {
    unsafe fn push(&mut self, entries: &[Entry]) -> Result<(), PushError> {
        entries.iter().for_each(|entry| submits(entry.get_opcode() as u8));
        let own: Vec<S::Slot> = entries.iter().map(|entry| (*entry).into()).collect();
        // SAFETY: the caller upholds the same contract.
        unsafe { self.push_multiple(&own) }
    }

    unsafe fn push_each(
        &mut self,
        n: usize,
        entry: &mut dyn FnMut(usize) -> Entry,
    ) -> Result<(), PushError> {
        // SAFETY: the caller upholds the same contract.
        unsafe { self.push_each(n, entry) }
    }

    unsafe fn push_128(&mut self, entry: &Entry128) -> Result<(), PushError> {
        submits(entry.get_opcode() as u8);
        // SAFETY: the caller upholds the same contract.
        unsafe { S::push_128(self, entry) }
    }

    fn accepts_sqe128(&self) -> bool {
        S::ACCEPTS_SQE128
    }

    unsafe fn reserve(&mut self, how_far: Reserve) -> Result<(), PushError> {
        let vacant = self.reserve::<Entry>()?;
        let (entry, commit) = match how_far {
            Reserve::Vacant => return Ok(()),
            Reserve::Filled(entry) => (entry, false),
            Reserve::Committed(entry) => (entry, true),
        };
        let filled = vacant.write(entry);
        if commit {
            // SAFETY: the caller upholds the same contract.
            unsafe { filled.commit() };
        }
        Ok(())
    }

    unsafe fn clear(&mut self) {
        // SAFETY: the caller upholds the same contract.
        unsafe { self.clear() }
    }

    fn left(&self) -> Vec<u64> {
        let (older, newer) = self.as_slices();
        older.iter().chain(newer).map(Slot::user_data).collect()
    }

    fn forget(self: Box<Self>) {
        // Forgets only the view, not the box around it.
        mem::forget(*self);
    }

    fn len(&self) -> usize {
        self.len()
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn is_full(&self) -> bool {
        self.is_full()
    }

    fn capacity(&self) -> usize {
        self.capacity()
    }

    fn sync(&mut self) {
        self.sync();
    }

    fn cq_overflow(&self) -> bool {
        self.cq_overflow()
    }

    fn taskrun(&self) -> bool {
        self.taskrun()
    }
}

/// The operations in which the kinds of submission queue differ.
pub(super) trait QueueKind: squeue::Kind<Slot: Slot> + Sized {
    const ACCEPTS_SQE128: bool;

    /// # Safety
    ///
    /// Same as [`SubmissionQueue::push`].
    unsafe fn push_128(
        queue: &mut SubmissionQueue<'_, Self>,
        entry: &Entry128,
    ) -> Result<(), PushError>;
}

pub(super) trait Slot {
    fn user_data(&self) -> u64;
}

impl Slot for Entry {
    fn user_data(&self) -> u64 {
        self.get_user_data()
    }
}

impl Slot for Entry128 {
    fn user_data(&self) -> u64 {
        self.get_user_data()
    }
}

macro_rules! sqe64 {
    ($($S:ty)*) => { $(
        impl QueueKind for $S {
            const ACCEPTS_SQE128: bool = false;

            unsafe fn push_128(
                _: &mut SubmissionQueue<'_, Self>,
                _: &Entry128,
            ) -> Result<(), PushError> {
                panic!("this kind does not accept 128-byte entries")
            }
        }
    )* };
}
sqe64! { Entry Rewind<Entry> }

macro_rules! sqe128 {
    ($($S:ty)*) => { $(
        impl QueueKind for $S {
            const ACCEPTS_SQE128: bool = true;

            unsafe fn push_128(
                queue: &mut SubmissionQueue<'_, Self>,
                entry: &Entry128,
            ) -> Result<(), PushError> {
                // SAFETY: the caller upholds the same contract.
                unsafe { queue.push_any(entry) }
            }
        }
    )* };
}
sqe128! { Entry128 Mixed Rewind<Entry128> Rewind<Mixed> }
