//! One face for the rings of all kinds, so that a case is compiled once.

use std::ops::{Deref, DerefMut};
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix_uring::squeue::{Entry, Flags, PushError};
use rustix_uring::types::SubmitArgs;
use rustix_uring::{
    Errno, Handle, IoUring, Parameters, QuiesceError, SetupFlags, Submitter, cqueue, opcode, squeue,
};

use super::outcome::Result;
use super::queue::Queue;
use super::setup::Setup;

/// A kind of ring: which submission queue, which completion queue.
pub(crate) struct Kind {
    /// The sizes of the entries: `64x16` is the default kind.
    pub(crate) name: &'static str,
    /// Those that make it this kind.
    pub(crate) flags: SetupFlags,
    pub(super) build: Build,
    pub(super) build_in_memory: BuildIn,
    pub(super) memory_size: fn(&Setup) -> Result<usize, Errno>,
    pub(super) mock: fn(&Setup) -> Result<(), Errno>,
}

impl Kind {
    pub(crate) fn build(&'static self, setup: &Setup) -> Result<Box<dyn Ring>, Errno> {
        (self.build)(self, setup)
    }

    /// # Safety
    ///
    /// That of [`Builder::build_in_memory`](rustix_uring::Builder::build_in_memory).
    pub(crate) unsafe fn build_in_memory(
        &'static self,
        setup: &Setup,
        memory: NonNull<[u8]>,
    ) -> Result<Box<dyn Ring>, Errno> {
        // SAFETY: the caller's promise.
        unsafe { (self.build_in_memory)(self, setup, memory) }
    }

    pub(crate) fn memory_size(&self, setup: &Setup) -> Result<usize, Errno> {
        (self.memory_size)(setup)
    }

    /// Whether the mock kernel sets such a ring up.
    pub(crate) fn mock(&self, setup: &Setup) -> Result<(), Errno> {
        (self.mock)(setup)
    }
}

type Build = fn(&'static Kind, &Setup) -> Result<Box<dyn Ring>, Errno>;
type BuildIn = unsafe fn(&'static Kind, &Setup, NonNull<[u8]>) -> Result<Box<dyn Ring>, Errno>;

/// A ring of some kind.
pub(crate) trait Ring {
    fn kind(&self) -> &'static Kind;
    fn params(&self) -> &Parameters;
    fn as_fd(&self) -> BorrowedFd<'_>;

    /// For register calls, and for waiting.
    fn submitter(&self) -> Submitter<'_>;

    /// What is to be known of the submission queue without a view.
    fn status(&self) -> squeue::Status<'_>;

    /// A view of the submission queue.
    fn queue(&mut self) -> Box<dyn Queue + '_>;

    fn submit(&mut self) -> Result<usize, Errno>;
    fn submit_and_wait(&mut self, want: usize) -> Result<usize, Errno>;
    fn submit_with_args(&mut self, want: usize, args: &SubmitArgs<'_>) -> Result<usize, Errno>;

    /// Everything that is ready.
    fn reap(&mut self) -> Vec<Completion>;

    /// What a view yields that is forgotten after so many.
    fn look_and_forget(&mut self, n: usize) -> Vec<Completion>;

    /// How many completions are lost.
    fn lost(&mut self) -> u32;

    fn quiesce(&mut self, in_flight: usize, timeout: Duration) -> Result<(), QuiesceError>;

    fn quiesce_with(
        &mut self,
        in_flight: &mut usize,
        timeout: Duration,
        user_data: &[u64],
        is_counted: &mut dyn FnMut(Completion) -> bool,
    ) -> Result<(), QuiesceError>;

    fn resize(&mut self, entries: u32, cq_entries: Option<u32>) -> Result<(), Errno>;

    /// # Safety
    ///
    /// That of [`IoUring::resize_in_memory`].
    unsafe fn resize_in_memory(
        &mut self,
        entries: u32,
        cq_entries: Option<u32>,
        memory: NonNull<[u8]>,
    ) -> Result<(), Errno>;
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
    /// Queues all or none.
    ///
    /// # Safety
    ///
    /// The contract of a pushed entry holds for each.
    pub(crate) unsafe fn push(&mut self, entries: &[Entry]) -> Result<(), PushError> {
        // SAFETY: the caller's promise.
        unsafe { self.queue().push(entries) }
    }

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

    /// The ring for a case that runs one operation after the other.
    ///
    /// # Safety
    ///
    /// What an entry points to, and its descriptors, are valid until the method that gets it returns.
    pub(crate) unsafe fn runner(&mut self) -> Runner<'_> {
        Runner { ring: self }
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

/// A ring that runs entries whose memory stays: whoever has made it has promised that.
pub(crate) struct Runner<'r> {
    ring: &'r mut (dyn Ring + 'r),
}

impl Runner<'_> {
    /// Submits one operation and waits for its only completion.
    pub(crate) fn completion(&mut self, entry: Entry) -> Result<Completion> {
        // SAFETY: the promise with which this was made.
        unsafe { self.ring.run(entry) }
    }

    /// Its result alone.
    pub(crate) fn result(&mut self, entry: Entry) -> Result<Result<u32, Errno>> {
        Ok(self.completion(entry)?.to_result())
    }

    /// Runs operations, each of which fails with this errno.
    pub(crate) fn refuses(&mut self, refusals: impl IntoIterator<Item = (Entry, Errno)>) -> Result {
        for (n, (entry, errno)) in refusals.into_iter().enumerate() {
            let result = self.result(entry)?;
            ensure!(result == Err(errno), "row {n} ends with {result:?}, not {errno:?}: {entry:?}");
        }
        Ok(())
    }
}

impl<'r> Deref for Runner<'r> {
    type Target = dyn Ring + 'r;

    fn deref(&self) -> &Self::Target {
        self.ring
    }
}

impl DerefMut for Runner<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.ring
    }
}

/// [`works`](trait@Ring) for a ring whose type is known.
pub(crate) fn works<S, C, H>(ring: &mut IoUring<S, C, H>, n: u64) -> Result
where
    S: squeue::Kind,
    C: cqueue::Kind,
    H: Handle,
{
    for i in 0..n {
        // SAFETY: a NOP uses no memory and no descriptor.
        unsafe { ring.submission().push_any(&nop(i)) }?;
        while ring.completion_status().is_empty() {
            ring.submit_and_wait(1)?;
        }
        let done: Vec<_> = ring.completion().collect();
        let entry: cqueue::Entry = done[0].into();
        ensure!(done.len() == 1 && entry.user_data() == i && entry.result() == 0, "{i}: {done:?}");
    }
    Ok(())
}
