//! The list of all kinds of ring.

use std::mem;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::time::Duration;

use rustix_uring::mock::Script;
use rustix_uring::squeue::{self, Rewind};
use rustix_uring::types::SubmitArgs;
use rustix_uring::{Errno, IoUring, Parameters, QuiesceError, SetupFlags, Submitter, cqueue};

use super::outcome::Result;
use super::queue::{Queue, QueueKind};
use super::ring::{Completion, Kind, Ring};
use super::setup::Setup;

macro_rules! kinds {
    ($($sq:literal: $S:ty, $($flag:ident)|*;)*) => {
        &[$(
            kind!(concat!($sq, "x16"), $S, cqueue::Entry, $($flag)|*),
            kind!(concat!($sq, "x32"), $S, cqueue::Entry32, $($flag |)* CQE32),
            kind!(concat!($sq, "xmixed"), $S, cqueue::Mixed, $($flag |)* CQE_MIXED),
        )*]
    };
}
macro_rules! kind {
    ($name:expr, $S:ty, $C:ty, $($flag:ident)|*) => {
        Kind {
            name: $name,
            flags: SetupFlags::empty()$(.union(SetupFlags::$flag))*,
            build: build::<$S, $C>,
            build_in_memory: build_in_memory::<$S, $C>,
            memory_size: |setup| setup.builder::<$S, $C>().memory_size(setup.entries),
            mock: |setup| {
                let builder = setup.builder::<$S, $C>();
                // SAFETY: the default script keeps the contract of a mock kernel.
                unsafe { builder.build_mock(setup.entries, Script::default()) }.map(drop)
            },
        }
    };
}

/// Every kind of ring that the crate has.
pub(crate) static KINDS: &[Kind] = kinds! {
    "64": squeue::Entry, ;
    "128": squeue::Entry128, SQE128;
    "mixed": squeue::Mixed, SQE_MIXED;
    "rewind64": Rewind<squeue::Entry>, SQ_REWIND;
    "rewind128": Rewind<squeue::Entry128>, SQE128 | SQ_REWIND;
    "rewindmixed": Rewind<squeue::Mixed>, SQE_MIXED | SQ_REWIND;
};

fn build<S: QueueKind, C>(kind: &'static Kind, setup: &Setup) -> Result<Box<dyn Ring>, Errno>
where
    C: cqueue::Kind + Into<Completion>,
{
    let ring = setup.builder::<S, C>().build(setup.entries)?;
    Ok(Box::new(Kinded { kind, ring }))
}

/// # Safety
///
/// Same as [`Builder::build_in_memory`](rustix_uring::Builder::build_in_memory).
unsafe fn build_in_memory<S: QueueKind, C>(
    kind: &'static Kind,
    setup: &Setup,
    memory: NonNull<[u8]>,
) -> Result<Box<dyn Ring>, Errno>
where
    C: cqueue::Kind + Into<Completion>,
{
    // SAFETY: the caller upholds the same contract.
    let ring = unsafe { setup.builder::<S, C>().build_in_memory(setup.entries, memory) }?;
    Ok(Box::new(Kinded { kind, ring }))
}

/// A ring and its kind.
struct Kinded<S: QueueKind, C: cqueue::Kind> {
    kind: &'static Kind,
    ring: IoUring<S, C>,
}

impl<S: QueueKind, C: cqueue::Kind + Into<Completion>> Ring for Kinded<S, C> {
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

    fn status(&self) -> squeue::Status<'_> {
        self.ring.submission_status()
    }

    fn queue(&mut self) -> Box<dyn Queue + '_> {
        Box::new(self.ring.submission())
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

    fn reap(&mut self) -> Vec<Completion> {
        self.ring.completion().map(Into::into).collect()
    }

    fn look_and_forget(&mut self, n: usize) -> Vec<Completion> {
        let mut queue = self.ring.completion();
        let seen = queue.by_ref().take(n).map(Into::into).collect();
        mem::forget(queue);
        seen
    }

    fn lost(&mut self) -> u32 {
        self.ring.completion().overflow()
    }

    fn quiesce(&mut self, in_flight: usize, timeout: Duration) -> Result<(), QuiesceError> {
        self.ring.quiesce(in_flight, timeout)
    }

    fn quiesce_with(
        &mut self,
        in_flight: &mut usize,
        timeout: Duration,
        user_data: &[u64],
        is_counted: &mut dyn FnMut(Completion) -> bool,
    ) -> Result<(), QuiesceError> {
        self.ring.quiesce_with(in_flight, timeout, user_data, |cqe| is_counted(cqe.into()))
    }

    fn resize(&mut self, entries: u32, cq_entries: Option<u32>) -> Result<(), Errno> {
        self.ring.resize(entries, cq_entries)
    }

    unsafe fn resize_in_memory(
        &mut self,
        entries: u32,
        cq_entries: Option<u32>,
        memory: NonNull<[u8]>,
    ) -> Result<(), Errno> {
        // SAFETY: the caller upholds the same contract.
        unsafe { self.ring.resize_in_memory(entries, cq_entries, memory) }
    }
}
