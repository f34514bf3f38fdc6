//! One face for the submission queues of all kinds.

use std::mem;

use rustix_uring::squeue::{Entry, Entry128, Mixed, PushError, Rewind};
use rustix_uring::{SubmissionQueue, squeue};

use super::outcome::Result;
use super::submitted::submits;

/// A view of a submission queue.
pub(crate) trait Queue {
    /// # Safety
    ///
    /// That of [`SubmissionQueue::push_multiple`].
    unsafe fn push(&mut self, entries: &[Entry]) -> Result<(), PushError>;

    /// # Safety
    ///
    /// That of [`SubmissionQueue::push_each`].
    unsafe fn push_each(
        &mut self,
        n: usize,
        entry: &mut dyn FnMut(usize) -> Entry,
    ) -> Result<(), PushError>;

    /// Pushes an entry of 128 bytes, which not every kind [takes](Self::takes_wide).
    ///
    /// # Safety
    ///
    /// That of [`SubmissionQueue::push`].
    unsafe fn push_wide(&mut self, entry: &Entry128) -> Result<(), PushError>;

    fn takes_wide(&self) -> bool;

    /// Reserves a slot, and goes on as far as it says.
    ///
    /// # Safety
    ///
    /// That of [`Filled::commit`](rustix_uring::squeue::Filled::commit), if it is to commit.
    unsafe fn reserve(&mut self, how_far: Reserve) -> Result<(), PushError>;

    /// # Safety
    ///
    /// That of [`SubmissionQueue::clear`].
    unsafe fn clear(&mut self);

    /// The user data of what the kernel has not taken.
    fn left(&self) -> Vec<u64>;

    /// Forgets the view: nothing that it has not published is.
    fn forget(self: Box<Self>);

    fn len(&self) -> usize;
    fn is_empty(&self) -> bool;
    fn is_full(&self) -> bool;
    fn capacity(&self) -> usize;
    fn sync(&mut self);
    fn cq_overflow(&self) -> bool;
    fn taskrun(&self) -> bool;
}

/// How far to go with a reserved slot.
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
        // SAFETY: the caller's promise.
        unsafe { self.push_multiple(&own) }
    }

    unsafe fn push_each(
        &mut self,
        n: usize,
        entry: &mut dyn FnMut(usize) -> Entry,
    ) -> Result<(), PushError> {
        // SAFETY: the caller's promise.
        unsafe { self.push_each(n, entry) }
    }

    unsafe fn push_wide(&mut self, entry: &Entry128) -> Result<(), PushError> {
        submits(entry.get_opcode() as u8);
        // SAFETY: the caller's promise.
        unsafe { S::push_wide(self, entry) }
    }

    fn takes_wide(&self) -> bool {
        S::TAKES_WIDE
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
            // SAFETY: the caller's promise.
            unsafe { filled.commit() };
        }
        Ok(())
    }

    unsafe fn clear(&mut self) {
        // SAFETY: the caller's promise.
        unsafe { self.clear() }
    }

    fn left(&self) -> Vec<u64> {
        let (older, newer) = self.as_slices();
        older.iter().chain(newer).map(Slot::user_data).collect()
    }

    fn forget(self: Box<Self>) {
        // The view alone, and not its box.
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

/// A kind of submission queue, as far as the kinds differ.
pub(super) trait QueueKind: squeue::Kind<Slot: Slot> + Sized {
    const TAKES_WIDE: bool;

    /// # Safety
    ///
    /// That of [`SubmissionQueue::push`].
    unsafe fn push_wide(
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

macro_rules! narrow {
    ($($S:ty)*) => { $(
        impl QueueKind for $S {
            const TAKES_WIDE: bool = false;

            unsafe fn push_wide(
                _: &mut SubmissionQueue<'_, Self>,
                _: &Entry128,
            ) -> Result<(), PushError> {
                panic!("this kind takes no entries of 128 bytes")
            }
        }
    )* };
}
narrow! { Entry Rewind<Entry> }

macro_rules! wide {
    ($($S:ty)*) => { $(
        impl QueueKind for $S {
            const TAKES_WIDE: bool = true;

            unsafe fn push_wide(
                queue: &mut SubmissionQueue<'_, Self>,
                entry: &Entry128,
            ) -> Result<(), PushError> {
                // SAFETY: the caller's promise.
                unsafe { queue.push_any(entry) }
            }
        }
    )* };
}
wide! { Entry128 Mixed Rewind<Entry128> Rewind<Mixed> }
