//! Queues in which every submission starts at the first slot.

use std::time::Duration;

use rustix_uring::squeue::{Entry, Rewind};
use rustix_uring::types::{SubmitArgs, Timespec};
use rustix_uring::{Errno, IoUring, SetupFlags};

use super::{bad, nops, outcomes};
use crate::harness::Need::*;
use crate::harness::*;

const REWIND: &[Need] = &[RingWith(SetupFlags::SQ_REWIND)];

pub(crate) const CASES: &[Case] = &[
    Case::once("leftovers_run_once", REWIND, leftovers_run_once),
    Case::once("view_submits", REWIND, view_submits),
    Case::once("ring_submits", REWIND, ring_submits),
    Case::once("submitter_does_not", REWIND, submitter_does_not),
    Case::once("other_rings_submitter", REWIND, other_rings_submitter),
];

fn ring() -> Result<IoUring<Rewind>> {
    Ok(IoUring::<Rewind>::builder().build(8)?)
}

fn reap(ring: &mut IoUring<Rewind>) -> Vec<Completion> {
    ring.completion().map(Completion::from).collect()
}

/// Pushes entries that use no memory and no descriptor.
fn push(ring: &mut IoUring<Rewind>, entries: &[Entry]) -> Result {
    // SAFETY: the cases in this file push only NOPs and invalid operations.
    Ok(unsafe { ring.submission().push_multiple(entries) }?)
}

fn leftovers_run_once() -> Result {
    let mut ring = ring()?;
    let (mut pushed, mut done) = (Vec::new(), Vec::new());
    for round in 0..500 {
        let (submitter, mut queue, mut completions) = ring.split();
        for i in 0..5 {
            let user_data = round * 5 + i;
            let entry = if i % 3 == 1 { bad(user_data) } else { nop(user_data) };
            // SAFETY: neither entry uses memory or a descriptor.
            if unsafe { queue.push(&entry) }.is_ok() {
                pushed.push(user_data);
            }
        }
        let before = queue.len();
        let taken = queue.submit(&submitter)?;
        assert!(taken > 0 && queue.len() == before - taken, "round {round}: {taken} of {before}");
        completions.sync();
        done.extend(completions.map(|cqe| cqe.user_data()));
    }
    while !ring.submission().is_empty() {
        ring.submit()?;
        done.extend(ring.completion().map(|cqe| cqe.user_data()));
    }
    assert_eq!(done, pushed);
    Ok(())
}

fn view_submits() -> Result {
    let mut ring = ring()?;
    let (submitter, mut queue, mut done) = ring.split();
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe { queue.push_multiple(&nops(0..3)) }?;
    assert_eq!(queue.submit(&submitter), Ok(3));
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe { queue.push_multiple(&nops(3..5)) }?;
    assert_eq!(queue.submit_and_wait(&submitter, 5), Ok(2));
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe { queue.push_multiple(&nops(5..13)) }?;
    let soon = Timespec::from(Duration::from_millis(1));
    let args = SubmitArgs::new().timespec(&soon);
    assert_eq!(queue.submit_with_args(&submitter, 13, &args), Ok(8));
    assert!(queue.is_empty());
    done.sync();
    assert!(done.by_ref().map(|cqe| cqe.user_data()).eq(0..13));
    assert_eq!(queue.submit_with_args(&submitter, 1, &args), Err(Errno::TIME));
    Ok(())
}

fn ring_submits() -> Result {
    let mut ring = ring()?;
    let soon = Timespec::from(Duration::from_millis(1));
    let args = SubmitArgs::new().timespec(&soon);
    push(&mut ring, &[nop(1), bad(2), nop(3), nop(4), bad(5), nop(6)])?;
    assert_eq!(ring.submit(), Ok(2));
    assert_eq!(ring.submit_and_wait(2), Ok(3));
    assert_eq!(ring.submit_with_args(3, &args), Ok(1));
    assert_eq!(ring.submit(), Ok(0));
    let expected: Vec<_> =
        (1..7).map(|n| (n, if n == 2 || n == 5 { Err(Errno::INVAL) } else { Ok(0) })).collect();
    assert_eq!(outcomes(&reap(&mut ring)), expected);
    assert_eq!(ring.submit_with_args(1, &args), Err(Errno::TIME));
    Ok(())
}

fn submitter_does_not() -> Result {
    let mut ring = ring()?;
    push(&mut ring, &nops(0..3))?;
    let now = Timespec::new();
    let args = SubmitArgs::new().timespec(&now);
    // The call does not fail silently.
    assert_eq!(ring.submitter().submit(), Err(Errno::INVAL));
    assert_eq!(ring.submitter().submit_and_wait(1), Err(Errno::INVAL));
    assert_eq!(ring.submitter().submit_with_args(1, &args), Err(Errno::INVAL));
    ring.submitter().get_events()?;
    assert_eq!(ring.submitter().wait_with_args(1, &args), Err(Errno::TIME));
    assert_eq!(ring.submission().len(), 3);
    assert_eq!(reap(&mut ring), []);
    assert_eq!(ring.submit(), Ok(3));
    // It can still wait if there is nothing to submit.
    assert_eq!(ring.submitter().wait(3), Ok(()));
    assert_eq!(ring.submitter().submit_and_wait(3), Ok(0));
    assert_eq!(ring.submitter().submit(), Ok(0));
    assert_eq!(reap(&mut ring).len(), 3);
    let (submitter, mut queue, _done) = ring.split();
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe { queue.push(&nop(1)) }?;
    queue.sync();
    assert_eq!(submitter.submit(), Err(Errno::INVAL));
    assert_eq!(queue.submit(&submitter), Ok(1));
    assert_eq!(submitter.submit(), Ok(0));
    Ok(())
}

fn other_rings_submitter() -> Result {
    let (mut ring, mut other) = (ring()?, ring()?);
    push(&mut other, &[nop(100)])?;
    push(&mut ring, &nops(0..3))?;
    let mut queue = ring.submission();
    assert_eq!(queue.submit(&other.submitter()), Err(Errno::INVAL));
    assert_eq!(queue.submit_and_wait(&other.submitter(), 1), Err(Errno::INVAL));
    assert_eq!(queue.len(), 3);
    drop(queue);
    assert_eq!(reap(&mut other), []);
    assert_eq!(ring.submit(), Ok(3));
    assert_eq!(reap(&mut ring).len(), 3);
    Ok(())
}
