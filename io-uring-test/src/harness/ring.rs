//! A common interface for the rings of all kinds, so that each case is compiled only once.

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

/// A kind of ring, defined by its submission queue and its completion queue.
pub(crate) struct Kind {
    /// The entry sizes of both queues: `64x16` is the default kind.
    pub(crate) name: &'static str,
    /// The setup flags that select this kind.
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
    /// Same as [`Builder::build_in_memory`](rustix_uring::Builder::build_in_memory).
    pub(crate) unsafe fn build_in_memory(
        &'static self,
        setup: &Setup,
        memory: NonNull<[u8]>,
    ) -> Result<Box<dyn Ring>, Errno> {
        // SAFETY: the caller upholds the same contract.
        unsafe { (self.build_in_memory)(self, setup, memory) }
    }

    pub(crate) fn memory_size(&self, setup: &Setup) -> Result<usize, Errno> {
        (self.memory_size)(setup)
    }

    /// Whether the mock kernel accepts this setup.
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

    /// The submitter, for register calls and for waiting.
    fn submitter(&self) -> Submitter<'_>;

    /// The state of the submission queue that is available without a view.
    fn status(&self) -> squeue::Status<'_>;

    /// A view of the submission queue.
    fn queue(&mut self) -> Box<dyn Queue + '_>;

    fn submit(&mut self) -> Result<usize, Errno>;
    fn submit_and_wait(&mut self, want: usize) -> Result<usize, Errno>;
    fn submit_with_args(&mut self, want: usize, args: &SubmitArgs<'_>) -> Result<usize, Errno>;

    /// Consumes and returns all completions that are ready.
    fn reap(&mut self) -> Vec<Completion>;

    /// Takes `n` completions from a view, and then forgets the view.
    fn look_and_forget(&mut self, n: usize) -> Vec<Completion>;

    /// The number of completions that the kernel dropped.
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
    /// Same as [`IoUring::resize_in_memory`].
    unsafe fn resize_in_memory(
        &mut self,
        entries: u32,
        cq_entries: Option<u32>,
        memory: NonNull<[u8]>,
    ) -> Result<(), Errno>;
}

/// The common part of all kinds of completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    entry: cqueue::Entry,
    /// The additional 16 bytes of a big completion.
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

/// The operations that cases perform on a ring of any kind.
impl dyn Ring + '_ {
    /// Queues all of the entries, or none if there are too few free slots.
    ///
    /// # Safety
    ///
    /// The contract of a pushed entry holds for each entry.
    pub(crate) unsafe fn push(&mut self, entries: &[Entry]) -> Result<(), PushError> {
        // SAFETY: the caller upholds the same contract.
        unsafe { self.queue().push(entries) }
    }

    /// Submits one operation and waits for its only completion.
    ///
    /// # Safety
    ///
    /// The memory that the entry points to, and its descriptors, stay valid until this returns.
    pub(crate) unsafe fn run(&mut self, entry: Entry) -> Result<Completion> {
        // SAFETY: the caller upholds the same contract.
        let done = unsafe { self.run_all(&[entry]) }?;
        Ok(done[0])
    }

    /// Returns a runner, for a case that runs one operation after the other.
    ///
    /// # Safety
    ///
    /// The memory that an entry points to, and its descriptors, stay valid until the method of the
    /// runner that gets the entry returns.
    pub(crate) unsafe fn runner(&mut self) -> Runner<'_> {
        Runner { ring: self }
    }

    /// Submits operations and waits until each has completed once. Returns the completions in
    /// order.
    ///
    /// # Safety
    ///
    /// The memory that the entries point to, and their descriptors, stay valid until this returns.
    pub(crate) unsafe fn run_all(&mut self, entries: &[Entry]) -> Result<Vec<Completion>> {
        // SAFETY: the caller upholds the same contract.
        unsafe { self.push(entries) }.context("pushing")?;
        self.complete(entries.len())
    }

    /// Submits what is queued and waits until there are `n` completions. None may have the flag
    /// `more`.
    pub(crate) fn complete(&mut self, n: usize) -> Result<Vec<Completion>> {
        let mut done = Vec::new();
        while done.len() < n {
            self.submit_and_wait(n - done.len()).context("submitting and waiting")?;
            done.extend(self.reap());
        }
        ensure!(done.len() == n, "expected {n} completions: {done:?}");
        ensure!(!done.iter().any(|cqe| cqe.more()), "unexpected flag `more`: {done:?}");
        Ok(done)
    }

    /// Queues NOPs with these user data. NOPs use no memory.
    pub(crate) fn push_nops(
        &mut self,
        user_data: impl IntoIterator<Item = u64>,
        flags: Flags,
    ) -> Result<(), PushError> {
        let nops: Vec<_> = user_data.into_iter().map(|n| nop(n).flags(flags)).collect();
        // SAFETY: NOPs use no memory and no descriptor.
        unsafe { self.push(&nops) }
    }

    /// Checks that the ring works: `n` NOPs complete, and the queues wrap around.
    pub(crate) fn works(&mut self, n: u64) -> Result {
        for i in 0..n {
            self.push_nops([i], Flags::empty())?;
            let done = self.complete(1)?;
            ensure!(done[0].user_data() == i && done[0].result() == 0, "NOP {i}: {done:?}");
        }
        Ok(())
    }
}

/// A ring that runs entries without `unsafe`: its creator guaranteed the validity of their memory.
pub(crate) struct Runner<'r> {
    ring: &'r mut (dyn Ring + 'r),
}

impl Runner<'_> {
    /// Submits one operation and waits for its only completion.
    pub(crate) fn completion(&mut self, entry: Entry) -> Result<Completion> {
        // SAFETY: the creator of this runner guaranteed it.
        unsafe { self.ring.run(entry) }
    }

    /// Runs one operation and returns its result.
    pub(crate) fn result(&mut self, entry: Entry) -> Result<Result<u32, Errno>> {
        Ok(self.completion(entry)?.to_result())
    }

    /// Runs operations, and checks that each fails with its errno.
    pub(crate) fn refuses(&mut self, refusals: impl IntoIterator<Item = (Entry, Errno)>) -> Result {
        for (n, (entry, errno)) in refusals.into_iter().enumerate() {
            let result = self.result(entry)?;
            ensure!(
                result == Err(errno),
                "row {n}: the result is {result:?}, expected {errno:?}: {entry:?}"
            );
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

/// Same as [`works`](trait@Ring), for a ring whose type is known.
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
