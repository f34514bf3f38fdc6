//! A driver written with the API of the `io-uring` crate, generic over entries and completions.

use std::collections::VecDeque;
use std::io;

use super::io_uring::{
    CompletionQueue, IoUring, Probe, SubmissionQueue, Submitter, cqueue, opcode, squeue, types,
};

/// A ring, and the entries that did not fit in its queue yet.
pub(crate) struct Driver<
    S: squeue::EntryMarker = squeue::Entry,
    C: cqueue::EntryMarker = cqueue::Entry,
> {
    ring: IoUring<S, C>,
    backlog: VecDeque<S>,
}

fn nop<S: squeue::EntryMarker>(user_data: u64) -> S {
    let mut entry: S = opcode::Nop::new().build().into();
    entry.set_user_data(user_data);
    assert_eq!(entry.get_user_data(), user_data);
    entry
}

/// Pushes one entry of either size.
fn push<S: squeue::EntryMarker>(
    sq: &mut SubmissionQueue<'_, S>,
    entry: &S,
) -> Result<(), squeue::PushError> {
    // SAFETY: only NOPs are pushed here, which use no memory.
    unsafe { sq.push(entry) }
}

fn push_all<S: squeue::EntryMarker>(
    sq: &mut SubmissionQueue<'_, S>,
    entries: &[S],
) -> Result<(), squeue::PushError> {
    // SAFETY: only NOPs are pushed here, which use no memory.
    unsafe { sq.push_multiple(entries) }
}

/// The user data of the completions that are ready. Reserves memory for them first.
fn reap<C: cqueue::EntryMarker>(cq: &mut CompletionQueue<'_, C>) -> Vec<u64> {
    cq.sync();
    let mut reaped = Vec::with_capacity(cq.len());
    for cqe in cq {
        let cqe: cqueue::Entry = cqe.into();
        assert_eq!(cqe.result(), 0);
        reaped.push(cqe.user_data());
    }
    reaped
}

#[allow(clippy::needless_question_mark, reason = "one of the two crates has errors of its own")]
fn wait(submitter: &Submitter<'_>, n: usize) -> io::Result<usize> {
    let limit = types::Timespec::new().sec(10);
    let args = types::SubmitArgs::new().timespec(&limit);
    Ok(submitter.submit_with_args(n, &args)?)
}

impl<S: squeue::EntryMarker, C: cqueue::EntryMarker> Driver<S, C> {
    pub(crate) fn new(entries: u32) -> io::Result<Self> {
        let ring = IoUring::<S, C>::builder().setup_clamp().build(entries)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        assert!(probe.is_supported(opcode::Nop::CODE));
        Ok(Self { ring, backlog: (0..10).map(nop).collect() })
    }

    /// Runs the backlog and two more entries. Returns the user data of all, in order.
    pub(crate) fn run(mut self) -> io::Result<Vec<u64>> {
        let mut done = Vec::new();
        while let Some(entry) = self.backlog.pop_front() {
            let (submitter, mut sq, mut cq) = self.ring.split();
            while push(&mut sq, &entry).is_err() {
                sq.sync();
                wait(&submitter, 1)?;
                sq.sync();
                done.extend(reap(&mut cq));
            }
        }
        let entry = opcode::Nop::new().build().user_data(100);
        let (submitter, mut sq, mut cq) = self.ring.split();
        sq.sync();
        wait(&submitter, 1)?;
        sq.sync();
        // SAFETY: a NOP uses no memory.
        unsafe { sq.push(&entry.into()) }.map_err(io::Error::other)?;
        push_all(&mut sq, &[nop(101)]).map_err(io::Error::other)?;
        sq.sync();
        while done.len() < 12 {
            wait(&submitter, 1)?;
            done.extend(reap(&mut cq));
        }
        Ok(done)
    }
}
