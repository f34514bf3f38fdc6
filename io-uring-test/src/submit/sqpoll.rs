//! SQPOLL rings, whose submissions a kernel thread consumes.

use std::thread;
use std::time::Duration;

use rustix_uring::{Builder, IoUring, SetupFlags};

use crate::harness::Need::*;
use crate::harness::*;

const SQPOLL: &[Need] = &[RingWith(SetupFlags::SQPOLL)];

pub(crate) const CASES: &[Case] = &[
    Case::once("wakes_up", SQPOLL, wakes_up),
    Case::once("squeue_wait", SQPOLL, squeue_wait),
    Case::once("submits_by_itself", SQPOLL, submits_by_itself),
];

fn nap() {
    thread::sleep(Duration::from_millis(1));
}

/// A ring whose thread has already consumed an entry. Before that, its idle time does not apply:
/// the thread sleeps at once. On 32-bit kernels in the first five minutes after boot, it does not
/// sleep at all. (Its deadline starts at 0 jiffies, and the jiffies counter starts below 0.)
fn awake(builder: &mut Builder, entries: u32) -> Result<IoUring> {
    let mut ring = builder.build(entries)?;
    works(&mut ring, 1)?;
    Ok(ring)
}

/// Entries that are published while the thread sleeps are consumed after `submit`, without any
/// other call.
fn wakes_up() -> Result {
    let mut ring = awake(<IoUring>::builder().setup_sqpoll(1), 8)?;
    for n in 0..50 {
        while !ring.submission_status().need_wakeup() {
            nap();
        }
        // SAFETY: NOPs use no memory and no descriptor.
        unsafe { ring.submission().push(&nop(n)) }?;
        assert_eq!(ring.submit(), Ok(1));
        while ring.completion_status().is_empty() {
            nap();
        }
        assert!(ring.completion().map(|cqe| cqe.user_data()).eq([n]));
    }
    Ok(())
}

/// While the thread is awake, publishing is enough.
fn submits_by_itself() -> Result {
    let mut ring = awake(<IoUring>::builder().setup_sqpoll(60_000), 8)?;
    for n in 0..50 {
        // SAFETY: NOPs use no memory and no descriptor.
        unsafe { ring.submission().push(&nop(n)) }?;
        while ring.completion_status().is_empty() {
            thread::yield_now();
        }
        assert!(ring.completion().map(|cqe| cqe.user_data()).eq([n]));
        // On 6.1, the slot may be released after the completion is posted.
        while !ring.submission_status().is_empty() {
            thread::yield_now();
        }
    }
    Ok(())
}

/// Waits for free slots in a queue that is repeatedly full, whether the thread is asleep or not.
fn squeue_wait() -> Result {
    let mut ring = awake(<IoUring>::builder().setup_sqpoll(1).setup_cqsize(1024), 2)?;
    let mut next = 0;
    for round in 0..20 {
        if round % 4 == 0 {
            while !ring.submission().need_wakeup() {
                nap();
            }
        }
        for _ in 0..20 {
            // SAFETY: NOPs use no memory and no descriptor.
            while unsafe { ring.submission().push(&nop(next)) }.is_err() {
                // Kernels before about 7.0 may return before the freed slots are visible.
                ring.submitter().squeue_wait()?;
            }
            next += 1;
        }
        ring.submitter().submit()?;
    }
    let mut done = Vec::new();
    while done.len() < next as usize {
        done.extend(ring.completion().map(|cqe| cqe.user_data()));
        nap();
    }
    assert!(done.into_iter().eq(0..next));
    Ok(())
}
