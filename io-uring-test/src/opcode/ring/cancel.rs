//! Cancellation by operation, and by several criteria at once.

use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context;
use rustix::pipe::pipe;
use rustix_uring::Errno;
use rustix_uring::opcode::{AsyncCancel, AsyncCancel2, PollAdd, Read, Timeout};
use rustix_uring::types::{AsyncCancelFlags, CancelBuilder, FileSlot, Fixed, PollFlags, Timespec};

use crate::harness::Need::*;
use crate::harness::*;
use crate::opcode::{reap, taken};

const CANCEL: Need = Opcode(AsyncCancel::CODE);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("async_cancel_by_operation", &[CANCEL, BY_OPERATION], async_cancel_by_operation),
    Case::kinds("async_cancel_by_slot", &[CANCEL, BY_SLOT], async_cancel_by_slot),
    Case::kinds("async_cancel_by_all_of_it", &[CANCEL, BY_OPERATION], async_cancel_by_all_of_it),
    Case::kinds("async_cancel_narrowed", &[CANCEL, BY_OPERATION], async_cancel_narrowed),
    Case::kinds("async_cancel_refused", &[CANCEL, BY_OPERATION], async_cancel_refused),
];

const BY_OPERATION: Need = Trial {
    what: "cancellation by operation",
    refusal: Errno::NOENT,
    call: || {
        let (out, _to) = pipe()?;
        let mut ring = KINDS[0].build(&Setup::USUAL)?;
        let poll = PollAdd::new(&out, PollFlags::IN).build().user_data(1);
        let polls = AsyncCancel2::new(CancelBuilder::op(PollAdd::CODE)).build().user_data(2);
        // SAFETY: the entries use no memory, and the pipe outlives the ring.
        unsafe { ring.push(&[poll, polls]) }?;
        ring.submit_and_wait(1)?;
        let done = ring.reap().into_iter().find(|cqe| cqe.user_data() == 2);
        match done.context("the cancellation did not complete")?.to_result() {
            // Some kernels accept the flag but find no operation.
            Err(Errno::INVAL | Errno::NOENT) => Err(Errno::NOENT.into()),
            result => Ok(result.map(drop)?),
        }
    },
};
const BY_SLOT: Need = Trial {
    what: "cancellation by file slot",
    refusal: Errno::INVAL,
    call: || {
        let slot = AsyncCancel2::new(CancelBuilder::fd(Fixed(0))).build();
        // SAFETY: a cancellation uses no memory.
        unsafe { taken(slot, &[Errno::BADF, Errno::NOENT]) }
    },
};

/// Cancels, and returns the result and the user data of the `n` operations that ended.
fn cancel(
    ring: &mut dyn Ring,
    criteria: CancelBuilder,
    n: usize,
) -> Result<(Result<u32, Errno>, Vec<u64>)> {
    let cancel = AsyncCancel2::new(criteria).build().user_data(99);
    // SAFETY: a cancellation uses no memory.
    unsafe { ring.push(&[cancel]) }?;
    let mut done = reap(ring, n + 1)?;
    let result = done.pop().expect("there is no completion");
    assert_eq!(result.user_data(), 99);
    assert!(done.iter().all(|cqe| cqe.to_result() == Err(Errno::CANCELED)), "{done:?}");
    Ok((result.to_result(), done.iter().map(|cqe| cqe.user_data()).collect()))
}

fn async_cancel_by_operation(ring: &mut dyn Ring) -> Result {
    let (out, _to) = pipe()?;
    let hour = Timespec::from(Duration::from_secs(3600));
    let mut bufs = [[0; 8]; 2];
    let [first, second] = bufs.each_mut().map(|buf| buf.as_mut_ptr());
    let waits = [
        PollAdd::new(&out, PollFlags::IN).build().user_data(1),
        Read::new(&out, first, 8).build().user_data(2),
        Timeout::new(&hour).build().user_data(3),
        PollAdd::new(&out, PollFlags::IN).build().user_data(4),
        Read::new(&out, second, 8).build().user_data(5),
    ];
    // SAFETY: pipe, buffers and time outlive the waits, all of which are canceled below.
    unsafe { ring.push(&waits) }?;
    ring.submit()?;
    let polls = CancelBuilder::op(PollAdd::CODE);
    assert_eq!(cancel(ring, polls.all(), 2)?, (Ok(2), vec![1, 4]));
    assert_eq!(cancel(ring, polls, 0)?, (Err(Errno::NOENT), vec![]));
    assert_eq!(cancel(ring, CancelBuilder::op(Timeout::CODE).all(), 1)?, (Ok(1), vec![3]));
    let (result, ended) = cancel(ring, CancelBuilder::op(Read::CODE), 1)?;
    assert_eq!((result, ended.len()), (Ok(0), 1));
    assert_eq!(cancel(ring, CancelBuilder::op(Read::CODE).all(), 1)?.0, Ok(1));
    Ok(())
}

fn async_cancel_by_slot(ring: &mut dyn Ring) -> Result {
    let (out, _to) = pipe()?;
    let (other, _other_to) = pipe()?;
    ring.submitter().register_files(&[FileSlot::new(&other), FileSlot::new(&out)])?;
    let poll = |slot| PollAdd::new(Fixed(slot), PollFlags::IN).build();
    // SAFETY: polls use no memory, and their files are registered.
    unsafe { ring.push(&[poll(0).user_data(1), poll(1).user_data(2), poll(1).user_data(3)]) }?;
    ring.submit()?;
    assert_eq!(cancel(ring, CancelBuilder::fd(Fixed(1)).all(), 2)?, (Ok(2), vec![2, 3]));
    assert_eq!(cancel(ring, CancelBuilder::fd(Fixed(2)), 0)?, (Err(Errno::BADF), vec![]));
    assert_eq!(cancel(ring, CancelBuilder::fd(other.as_fd()), 1)?, (Ok(0), vec![1]));
    Ok(())
}

/// An operation must match all criteria.
fn async_cancel_by_all_of_it(ring: &mut dyn Ring) -> Result {
    let (out, to) = pipe()?;
    let mut buf = [0; 8];
    let poll = PollAdd::new(&out, PollFlags::IN).build();
    let other = PollAdd::new(&to, PollFlags::PRI).build();
    let read = Read::new(&out, buf.as_mut_ptr(), 8).build();
    let waits = [poll.user_data(1), poll.user_data(2), other.user_data(2), read.user_data(2)];
    // SAFETY: pipe and buffer outlive the waits, all of which are canceled below.
    unsafe { ring.push(&waits) }?;
    ring.submit()?;
    let op = CancelBuilder::user_data(2).and_op(PollAdd::CODE);
    let none = op.and_user_data(3).all();
    assert_eq!(cancel(ring, none, 0)?, (Ok(0), vec![]));
    let one = op.and_fd(&out).all();
    assert_eq!(cancel(ring, one, 1)?, (Ok(1), vec![2]));
    // Of the operations with user data 2, the read and the other poll remain.
    assert_eq!(cancel(ring, op.all(), 1)?, (Ok(1), vec![2]));
    assert_eq!(cancel(ring, CancelBuilder::fd(&out).and_user_data(1).all(), 1)?, (Ok(1), vec![1]));
    assert_eq!(cancel(ring, CancelBuilder::user_data(2).all(), 1)?, (Ok(1), vec![2]));
    Ok(())
}

/// A criterion in addition to "everything" spares the operations that do not match it.
fn async_cancel_narrowed(ring: &mut dyn Ring) -> Result {
    let (out, _to) = pipe()?;
    let (other, _other_to) = pipe()?;
    let poll = PollAdd::new(&out, PollFlags::IN).build();
    let elsewhere = PollAdd::new(&other, PollFlags::IN).build();
    // SAFETY: the pipes outlive the waits, all of which are canceled below.
    unsafe { ring.push(&[poll.user_data(1), poll.user_data(2), elsewhere.user_data(3)]) }?;
    ring.submit()?;
    let any = CancelBuilder::any();
    assert_eq!(cancel(ring, any.and_user_data(2), 1)?, (Ok(1), vec![2]));
    assert_eq!(cancel(ring, any.and_fd(&out), 1)?, (Ok(1), vec![1]));
    assert_eq!(cancel(ring, any, 1)?, (Ok(1), vec![3]));
    Ok(())
}

fn async_cancel_refused(ring: &mut dyn Ring) -> Result {
    let everything = AsyncCancelFlags::ANY;
    let (out, _to) = pipe()?;
    for criteria in [CancelBuilder::op(Read::CODE), CancelBuilder::fd(&out)] {
        let cancel = AsyncCancel2::new(criteria.flags(everything)).build();
        // SAFETY: the kernel rejects the cancellation, and nothing else is in flight.
        assert_eq!(unsafe { ring.run(cancel) }?.to_result(), Err(Errno::INVAL));
    }
    // Not every kernel checks whether the operation exists.
    let unknown = cancel(ring, CancelBuilder::op(u8::MAX), 0)?.0;
    assert!(matches!(unknown, Err(Errno::NOENT | Errno::INVAL)), "{unknown:?}");
    Ok(())
}
