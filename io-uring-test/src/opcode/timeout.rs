//! Timeouts.

pub(crate) mod change;

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use rustix_uring::opcode::{AsyncCancel, Timeout};
use rustix_uring::squeue::Flags;
use rustix_uring::types::{TimeoutFlags, Timespec};
use rustix_uring::{Errno, IoUring};

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("timeout", &[Opcode(Timeout::CODE)], timeout),
    Case::kinds("timeout_absolute", &[Opcode(Timeout::CODE)], timeout_absolute),
    Case::kinds("timeout_other_clocks", &[Opcode(Timeout::CODE), CLOCKS], timeout_other_clocks),
    Case::kinds("timeout_count", &[Opcode(Timeout::CODE)], timeout_count),
    Case::kinds(
        "timeout_etime_success",
        &[Opcode(Timeout::CODE), ETIME_SUCCESS],
        timeout_etime_success,
    ),
    Case::kinds("timeout_multishot", &[Opcode(Timeout::CODE), MULTISHOT], timeout_multishot),
    Case::kinds(
        "timeout_takes_time_at_submit",
        &[Opcode(Timeout::CODE)],
        timeout_takes_time_at_submit,
    ),
    Case::kinds("timeout_refused", &[Opcode(Timeout::CODE)], timeout_refused),
];

const MOMENT: Duration = Duration::from_millis(20);

/// Whether the kernel accepts a timeout with these flags.
fn takes(flags: TimeoutFlags) -> Result<(), Errno> {
    let mut ring = IoUring::new(2)?;
    let at_once = Timespec::new().nsec(1);
    // SAFETY: the time outlives the timeout, which is awaited.
    unsafe { ring.submission().push(&Timeout::new(&at_once).count(1).flags(flags).build()) }
        .map_err(|_| Errno::BUSY)?;
    ring.submit_and_wait(1)?;
    match ring.completion().next().map(|cqe| cqe.to_result()) {
        Some(Err(Errno::TIME)) => Ok(()),
        Some(Err(errno)) => Err(errno),
        other => panic!("{other:?}"),
    }
}

const CLOCKS: Need = Trial {
    what: "timeouts on CLOCK_BOOTTIME",
    refusal: Errno::INVAL,
    call: || Ok(takes(TimeoutFlags::BOOTTIME)?),
};
const ETIME_SUCCESS: Need = Trial {
    what: "timeouts with ETIME_SUCCESS",
    refusal: Errno::INVAL,
    call: || Ok(takes(TimeoutFlags::ETIME_SUCCESS)?),
};
const MULTISHOT: Need = Trial {
    what: "multishot timeouts",
    refusal: Errno::INVAL,
    call: || Ok(takes(TimeoutFlags::MULTISHOT)?),
};

/// Runs a timeout, and returns its result and how long it took.
fn run(
    ring: &mut dyn Ring,
    time: Duration,
    flags: TimeoutFlags,
) -> Result<(Result<u32, Errno>, Duration)> {
    let time = Timespec::from(time);
    let started = Instant::now();
    // SAFETY: the time outlives the timeout, for which `run` waits.
    let done = unsafe { ring.run(Timeout::new(&time).flags(flags).build()) }?;
    Ok((done.to_result(), started.elapsed()))
}

fn timeout(ring: &mut dyn Ring) -> Result {
    let (result, after) = run(ring, MOMENT, TimeoutFlags::empty())?;
    assert_eq!(result, Err(Errno::TIME));
    assert!(after >= MOMENT, "after {after:?}");
    Ok(())
}

/// The current time of the clock.
fn now(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn timeout_absolute(ring: &mut dyn Ring) -> Result {
    let deadline = now(ClockId::Monotonic) + MOMENT;
    assert_eq!(run(ring, deadline, TimeoutFlags::ABS)?.0, Err(Errno::TIME));
    assert!(now(ClockId::Monotonic) >= deadline);
    // A time in the past expires immediately.
    assert_eq!(run(ring, MOMENT, TimeoutFlags::ABS)?.0, Err(Errno::TIME));
    Ok(())
}

/// The wall clock is far ahead of the other clocks: its present is years in the future for them.
fn timeout_other_clocks(ring: &mut dyn Ring) -> Result {
    for (clock, flag) in
        [(ClockId::Realtime, TimeoutFlags::REALTIME), (ClockId::Boottime, TimeoutFlags::BOOTTIME)]
    {
        let (result, _) = run(ring, now(clock) + MOMENT, TimeoutFlags::ABS | flag)?;
        assert_eq!(result, Err(Errno::TIME), "{flag:?}");
        assert_eq!(run(ring, MOMENT, flag)?.0, Err(Errno::TIME), "{flag:?}");
    }
    let both = TimeoutFlags::REALTIME | TimeoutFlags::BOOTTIME;
    assert_eq!(run(ring, MOMENT, both)?.0, Err(Errno::INVAL));
    Ok(())
}

fn hour() -> Timespec {
    Timespec::from(Duration::from_secs(3600))
}

/// The timeout ends with 0 once the given number of other operations has completed.
fn timeout_count(ring: &mut dyn Ring) -> Result {
    let hour = hour();
    let timeout = Timeout::new(&hour).count(3).build().user_data(99);
    // SAFETY: the time outlives the timeout, which is awaited; NOPs use no memory.
    unsafe { ring.push(&[timeout, nop(1), nop(2)]) }?;
    assert_eq!(ring.complete(2)?.len(), 2);
    // SAFETY: a NOP uses no memory.
    unsafe { ring.push(&[nop(3)]) }?;
    let mut done: Vec<_> =
        ring.complete(2)?.iter().map(|cqe| (cqe.user_data(), cqe.to_result())).collect();
    done.sort_by_key(|(n, _)| *n);
    assert_eq!(done, [(3, Ok(0)), (99, Ok(0))]);
    Ok(())
}

/// The flag decides whether a chain continues after the timeout or is severed by it.
fn timeout_etime_success(ring: &mut dyn Ring) -> Result {
    let moment = Timespec::from(MOMENT);
    let chain = |flags| {
        let first = Timeout::new(&moment).flags(flags).build().user_data(1).flags(Flags::IO_LINK);
        [first, nop(2)]
    };
    for (flags, behind) in
        [(TimeoutFlags::ETIME_SUCCESS, Ok(0)), (TimeoutFlags::empty(), Err(Errno::CANCELED))]
    {
        // SAFETY: the time outlives the timeout, for which `run_all` waits.
        let mut done = unsafe { ring.run_all(&chain(flags)) }?;
        done.sort_by_key(|cqe| cqe.user_data());
        assert_eq!(done[0].to_result(), Err(Errno::TIME));
        assert_eq!(done[1].to_result(), behind, "{flags:?}");
    }
    Ok(())
}

/// Expires repeatedly, as often as requested or until it is canceled.
fn timeout_multishot(ring: &mut dyn Ring) -> Result {
    let moment = Timespec::from(Duration::from_millis(2));
    let again = |count| {
        let flags = TimeoutFlags::MULTISHOT;
        Timeout::new(&moment).count(count).flags(flags).build().user_data(1)
    };
    let reap = |ring: &mut dyn Ring, n: usize| -> Result<Vec<Completion>> {
        let mut done = Vec::new();
        while done.len() < n {
            ring.submit_and_wait(1)?;
            done.extend(ring.reap());
        }
        Ok(done)
    };
    // SAFETY: the time outlives the timeout, which ends after it has expired three times.
    unsafe { ring.push(&[again(3)]) }?;
    let done = reap(ring, 3)?;
    assert!(done.iter().all(|cqe| cqe.to_result() == Err(Errno::TIME)), "{done:?}");
    assert!(done.iter().map(|cqe| cqe.more()).eq([true, true, false]), "{done:?}");

    // SAFETY: the time outlives the timeout, which is canceled and awaited.
    unsafe { ring.push(&[again(0)]) }?;
    reap(ring, 5)?;
    // SAFETY: a cancellation uses no memory.
    unsafe { ring.push(&[AsyncCancel::new(1).build().user_data(2)]) }?;
    let mut last = None;
    let mut cancelled = None;
    while last.is_none() || cancelled.is_none() {
        for cqe in reap(ring, 1)? {
            match cqe.user_data() {
                2 => cancelled = Some(cqe.to_result()),
                _ if !cqe.more() => last = Some(cqe.to_result()),
                _ => {}
            }
        }
    }
    assert_eq!((last, cancelled), (Some(Err(Errno::CANCELED)), Some(Ok(0))));
    Ok(())
}

/// The time may change once the entry is submitted.
fn timeout_takes_time_at_submit(ring: &mut dyn Ring) -> Result {
    let mut time = Timespec::from(MOMENT);
    // SAFETY: `time` lives until the kernel has consumed the entry.
    unsafe { ring.push(&[Timeout::new(&time).build()]) }?;
    assert_eq!(ring.submit(), Ok(1));
    time = hour();
    assert_eq!(ring.complete(1)?[0].to_result(), Err(Errno::TIME));
    assert_eq!(time, hour());
    Ok(())
}

fn timeout_refused(ring: &mut dyn Ring) -> Result {
    let moment = Timespec::from(MOMENT);
    let unknown = TimeoutFlags::from_bits_retain(1 << 30);
    let mut two = Timeout::new(&moment).build();
    two.as_raw_mut().len = 2;
    // SAFETY: `moment` outlives the timeouts, which are rejected.
    let mut ring = unsafe { ring.runner() };
    ring.refuses([
        (Timeout::new(std::ptr::null()).build(), Errno::FAULT),
        (Timeout::new(&moment).flags(unknown).build(), Errno::INVAL),
        (two, Errno::INVAL),
    ])
}
