//! One face for the rings of all kinds, so that a case is compiled once.

use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, ensure};
use rustix_uring::squeue::{Entry, Entry128, EntryMarker, Flags, PushError, Rewind, Takes};
use rustix_uring::types::SubmitArgs;
use rustix_uring::{
    Errno, Handle, IoUring, Parameters, SubmissionQueue, Submitter, cqueue, opcode, squeue,
};

use super::coverage::submits;
use super::{Kind, Result};

/// A ring of some kind.
pub(crate) trait Ring {
    fn kind(&self) -> &'static Kind;
    fn params(&self) -> &Parameters;
    fn as_fd(&self) -> BorrowedFd<'_>;

    /// For register calls, and for waiting.
    fn submitter(&self) -> Submitter<'_>;

    /// Pushes all or none.
    ///
    /// # Safety
    ///
    /// The contract of a pushed entry holds for each.
    unsafe fn push(&mut self, entries: &[Entry]) -> Result<(), PushError>;

    /// Pushes an entry of 128 bytes, on kinds that [take](Self::takes_wide) it.
    ///
    /// # Safety
    ///
    /// The contract of a pushed entry holds for it.
    unsafe fn push_wide(&mut self, entry: &Entry128) -> Result<(), PushError>;

    /// Whether entries of 128 bytes can be pushed.
    fn takes_wide(&self) -> bool;

    fn submit(&mut self) -> Result<usize, Errno>;
    fn submit_and_wait(&mut self, want: usize) -> Result<usize, Errno>;
    fn submit_with_args(&mut self, want: usize, args: &SubmitArgs<'_>) -> Result<usize, Errno>;

    /// How many places of the submission queue are taken.
    fn queued(&mut self) -> usize;

    /// Takes back what the kernel has not taken.
    ///
    /// # Safety
    ///
    /// That of [`SubmissionQueue::clear`].
    unsafe fn clear(&mut self);

    /// The flags that the kernel raises: overflow, taskrun.
    fn cq_overflow(&mut self) -> bool;
    fn taskrun(&mut self) -> bool;

    /// Everything that is ready.
    fn reap(&mut self) -> Vec<Completion>;
}

/// What the kinds of completion have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    entry: cqueue::Entry,
    /// The other 16 bytes, where there are such.
    pub(crate) big: Option<[u64; 2]>,
}

impl Deref for Completion {
    type Target = cqueue::Entry;

    fn deref(&self) -> &cqueue::Entry {
        &self.entry
    }
}

impl From<cqueue::Entry> for Completion {
    fn from(entry: cqueue::Entry) -> Self {
        Self { entry, big: None }
    }
}

impl From<cqueue::Entry32> for Completion {
    fn from(cqe: cqueue::Entry32) -> Self {
        Self { entry: cqe.into(), big: Some(*cqe.big_cqe()) }
    }
}

impl From<cqueue::Mixed> for Completion {
    fn from(cqe: cqueue::Mixed) -> Self {
        Self { entry: cqe.into(), big: cqe.big_cqe().copied() }
    }
}

/// A NOP with this user data.
pub(crate) fn nop(user_data: u64) -> Entry {
    opcode::Nop::new().build().user_data(user_data)
}

/// What cases do with a ring of whichever kind.
impl dyn Ring + '_ {
    /// Submits one operation and waits for its only completion.
    ///
    /// # Safety
    ///
    /// What the entry points to, and its descriptors, are valid until this returns.
    pub(crate) unsafe fn run(&mut self, entry: Entry) -> Result<Completion> {
        // SAFETY: the caller's promise.
        let done = unsafe { self.run_all(&[entry]) }?;
        Ok(done[0])
    }

    /// Submits operations and waits until each has completed once; in the order of completion.
    ///
    /// # Safety
    ///
    /// What the entries point to, and their descriptors, are valid until this returns.
    pub(crate) unsafe fn run_all(&mut self, entries: &[Entry]) -> Result<Vec<Completion>> {
        // SAFETY: the caller's promise.
        unsafe { self.push(entries) }.context("pushing")?;
        self.complete(entries.len())
    }

    /// Submits what is queued and waits until there are `n` completions, of which none has `more`.
    pub(crate) fn complete(&mut self, n: usize) -> Result<Vec<Completion>> {
        let mut done = Vec::new();
        while done.len() < n {
            self.submit_and_wait(n - done.len()).context("submitting and waiting")?;
            done.extend(self.reap());
        }
        ensure!(done.len() == n, "{n} completions expected: {done:?}");
        ensure!(!done.iter().any(|cqe| cqe.more()), "more completions announced: {done:?}");
        Ok(done)
    }

    /// Queues NOPs with these user data, which use no memory.
    pub(crate) fn push_nops(
        &mut self,
        user_data: impl IntoIterator<Item = u64>,
        flags: Flags,
    ) -> Result<(), PushError> {
        let nops: Vec<_> = user_data.into_iter().map(|n| nop(n).flags(flags)).collect();
        // SAFETY: NOPs use no memory and no descriptor.
        unsafe { self.push(&nops) }
    }

    /// Shows that the ring works: `n` NOPs go through, around the ends of the queues.
    pub(crate) fn works(&mut self, n: u64) -> Result {
        for i in 0..n {
            self.push_nops([i], Flags::empty())?;
            let done = self.complete(1)?;
            ensure!(done[0].user_data() == i && done[0].result() == 0, "NOP {i}: {done:?}");
        }
        Ok(())
    }
}

/// [`works`](trait@Ring) for a ring whose type is known.
pub(crate) fn works<S, C, H>(ring: &mut IoUring<S, C, H>, n: u64) -> Result
where
    S: EntryMarker,
    C: cqueue::EntryMarker,
    H: Handle,
{
    for i in 0..n {
        // SAFETY: a NOP uses no memory and no descriptor.
        unsafe { ring.submission().push(&nop(i)) }?;
        while ring.status().is_empty() {
            ring.submit_and_wait(1)?;
        }
        let done: Vec<_> = ring.completion().collect();
        let entry: cqueue::Entry = done[0].into();
        ensure!(done.len() == 1 && entry.user_data() == i && entry.result() == 0, "{i}: {done:?}");
    }
    Ok(())
}

/// A ring, and the name of its kind.
pub(super) struct Kinded<S: Wide, C: cqueue::EntryMarker> {
    pub(super) kind: &'static Kind,
    pub(super) ring: IoUring<S, C>,
}

impl<S: Wide, C: cqueue::EntryMarker + Into<Completion>> Ring for Kinded<S, C> {
    fn kind(&self) -> &'static Kind {
        self.kind
    }

    fn params(&self) -> &Parameters {
        self.ring.params()
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    fn submitter(&self) -> Submitter<'_> {
        self.ring.submitter()
    }

    unsafe fn push(&mut self, entries: &[Entry]) -> Result<(), PushError> {
        entries.iter().for_each(|entry| submits(entry.get_opcode() as u8));
        // SAFETY: the caller vouches for the entries.
        unsafe { self.ring.submission().push_multiple(entries) }
    }

    unsafe fn push_wide(&mut self, entry: &Entry128) -> Result<(), PushError> {
        submits(entry.get_opcode() as u8);
        // SAFETY: the caller vouches for the entry.
        unsafe { S::push_wide(&mut self.ring.submission(), entry) }
    }

    fn takes_wide(&self) -> bool {
        S::TAKES_WIDE
    }

    fn submit(&mut self) -> Result<usize, Errno> {
        self.ring.submit()
    }

    fn submit_and_wait(&mut self, want: usize) -> Result<usize, Errno> {
        self.ring.submit_and_wait(want)
    }

    fn submit_with_args(&mut self, want: usize, args: &SubmitArgs<'_>) -> Result<usize, Errno> {
        self.ring.submit_with_args(want, args)
    }

    fn queued(&mut self) -> usize {
        self.ring.submission().len()
    }

    unsafe fn clear(&mut self) {
        // SAFETY: the caller's promise.
        unsafe { self.ring.submission().clear() }
    }

    fn cq_overflow(&mut self) -> bool {
        self.ring.submission().cq_overflow()
    }

    fn taskrun(&mut self) -> bool {
        self.ring.submission().taskrun()
    }

    fn reap(&mut self) -> Vec<Completion> {
        self.ring.completion().map(Into::into).collect()
    }
}

/// A kind of submission queue that may take entries of 128 bytes.
pub(super) trait Wide: EntryMarker {
    const TAKES_WIDE: bool;

    /// # Safety
    ///
    /// The contract of a pushed entry holds for it.
    unsafe fn push_wide(
        queue: &mut SubmissionQueue<'_, Self>,
        entry: &Entry128,
    ) -> Result<(), PushError>
    where
        Self: Sized;
}

macro_rules! narrow {
    ($($S:ty)*) => { $(
        impl Wide for $S {
            const TAKES_WIDE: bool = false;

            unsafe fn push_wide(_: &mut SubmissionQueue<'_, Self>, _: &Entry128) -> Result<(), PushError> {
                panic!("this kind takes no entries of 128 bytes")
            }
        }
    )* };
}
macro_rules! wide {
    ($($S:ty)*) => { $(
        impl Wide for $S where $S: Takes<Entry128> {
            const TAKES_WIDE: bool = true;

            unsafe fn push_wide(
                queue: &mut SubmissionQueue<'_, Self>,
                entry: &Entry128,
            ) -> Result<(), PushError> {
                // SAFETY: the caller vouches for the entry.
                unsafe { queue.push(entry) }
            }
        }
    )* };
}
narrow! { Entry Rewind<Entry> }
wide! { Entry128 squeue::Mixed Rewind<Entry128> Rewind<squeue::Mixed> }
