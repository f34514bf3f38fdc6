//! Timeouts.

use std::ptr;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use rustix_uring::Errno;
use rustix_uring::opcode::{AsyncCancel, Timeout};
use rustix_uring::squeue::Flags;
use rustix_uring::types::{TimeoutFlags, Timespec};

use crate::harness::Need::*;
use crate::harness::*;

const TIMEOUT: &[Need] = &[Opcode(Timeout::CODE)];

pub(crate) const CASES: &[Case] = &[
    Case::kinds("timeout", TIMEOUT, timeout),
    Case::kinds("timeout_count", TIMEOUT, timeout_count),
    Case::kinds("timeout_absolute", TIMEOUT, timeout_absolute),
    Case::kinds("timeout_clocks", &[Opcode(Timeout::CODE), CLOCKS], timeout_clocks),
    Case::kinds("timeout_multishot", &[Opcode(Timeout::CODE), MULTISHOT], timeout_multishot),
    Case::kinds("timeout_in_chain", &[Opcode(Timeout::CODE), ETIME_SUCCESS], timeout_in_chain),
    Case::kinds("timeout_cancelled", TIMEOUT, timeout_cancelled),
    Case::kinds("timeout_takes_time_at_submit", TIMEOUT, timeout_takes_time_at_submit),
    Case::kinds("timeout_refused", TIMEOUT, timeout_refused),
];

const A_WHILE: Duration = Duration::from_millis(10);
static HOUR: Timespec = Timespec::new().sec(3600);

/// Runs a timeout of no time, for what its flags are refused with.
fn trial(flags: TimeoutFlags) -> Result {
    let mut ring = KINDS[0].build(&Setup::USUAL)?;
    let now = Timespec::new();
    // SAFETY: `now` outlives the timeout.
    let done = unsafe { ring.run(Timeout::new(&now).flags(flags).count(1).build()) }?;
    match done.to_result() {
        Ok(_) | Err(Errno::TIME) => Ok(()),
        Err(refusal) => Err(refusal.into()),
    }
}

const CLOCKS: Need = Trial {
    what: "a timeout on another clock",
    refusal: Errno::INVAL,
    call: || trial(TimeoutFlags::REALTIME),
};
const MULTISHOT: Need = Trial {
    what: "a timeout that runs out repeatedly",
    refusal: Errno::INVAL,
    call: || trial(TimeoutFlags::MULTISHOT),
};
const ETIME_SUCCESS: Need = Trial {
    what: "a timeout that counts as success",
    refusal: Errno::INVAL,
    call: || trial(TimeoutFlags::ETIME_SUCCESS),
};

/// Runs a timeout to its end, and says how long that took.
fn run(ring: &mut dyn Ring, timeout: Timeout) -> Result<(Result<u32, Errno>, Duration)> {
    let start = Instant::now();
    // SAFETY: the callers' times outlive the timeout, for whose end `run` waits.
    let done = unsafe { ring.run(timeout.build()) }?;
    Ok((done.to_result(), start.elapsed()))
}

fn timeout(ring: &mut dyn Ring) -> Result {
    let a_while = Timespec::from(A_WHILE);
    let (ended, took) = run(ring, Timeout::new(&a_while))?;
    assert_eq!(ended, Err(Errno::TIME));
    assert!(took >= A_WHILE, "{took:?}");
    Ok(())
}

fn timeout_count(ring: &mut dyn Ring) -> Result {
    // SAFETY: what the timeout points to is a constant.
    unsafe { ring.push(&[Timeout::new(&HOUR).count(2).build().user_data(100)]) }?;
    ring.push_nops([1, 2], Flags::empty())?;
    let mut done = ring.complete(3)?;
    done.sort_by_key(|cqe| cqe.user_data());
    assert_eq!((done[2].user_data(), done[2].to_result()), (100, Ok(0)));
    Ok(())
}

/// A point on this clock, a while from now.
fn soon(clock: ClockId) -> Timespec {
    let mut time = clock_gettime(clock);
    time.tv_nsec += A_WHILE.as_nanos() as i64;
    time.tv_sec += time.tv_nsec / 1_000_000_000;
    time.tv_nsec %= 1_000_000_000;
    time.into()
}

fn timeout_absolute(ring: &mut dyn Ring) -> Result {
    let start = Instant::now();
    let soon = soon(ClockId::Monotonic);
    let timeout = Timeout::new(&soon).flags(TimeoutFlags::ABS);
    assert_eq!(run(ring, timeout)?.0, Err(Errno::TIME));
    assert!(start.elapsed() >= A_WHILE);
    // It is over.
    assert_eq!(run(ring, timeout)?.0, Err(Errno::TIME));
    Ok(())
}

fn timeout_clocks(ring: &mut dyn Ring) -> Result {
    for (clock, flag) in
        [(ClockId::Realtime, TimeoutFlags::REALTIME), (ClockId::Boottime, TimeoutFlags::BOOTTIME)]
    {
        let start = Instant::now();
        let soon = soon(clock);
        let timeout = Timeout::new(&soon).flags(TimeoutFlags::ABS | flag);
        assert_eq!(run(ring, timeout)?.0, Err(Errno::TIME));
        // Clocks are set now and then.
        assert!(start.elapsed() >= A_WHILE / 2 || clock == ClockId::Realtime);
        let a_while = Timespec::from(A_WHILE);
        let (ended, took) = run(ring, Timeout::new(&a_while).flags(flag))?;
        assert_eq!(ended, Err(Errno::TIME));
        assert!(took >= A_WHILE, "{took:?}");
    }
    // The wall clock is far ahead of the one that counts from the start.
    let far = Timespec::from(clock_gettime(ClockId::Monotonic)).sec(3600);
    let timeout = Timeout::new(&far).flags(TimeoutFlags::ABS | TimeoutFlags::REALTIME);
    let (ended, _) = run(ring, timeout)?;
    assert_eq!(ended, Err(Errno::TIME));
    // There is one clock at a time.
    let both = TimeoutFlags::REALTIME | TimeoutFlags::BOOTTIME;
    assert_eq!(run(ring, Timeout::new(&far).flags(both))?.0, Err(Errno::INVAL));
    Ok(())
}

fn timeout_multishot(ring: &mut dyn Ring) -> Result {
    let a_while = Timespec::from(A_WHILE);
    let timeout = Timeout::new(&a_while).flags(TimeoutFlags::MULTISHOT).count(3);
    let start = Instant::now();
    // SAFETY: `a_while` outlives the timeout, whose last completion is waited for.
    unsafe { ring.push(&[timeout.build().user_data(1)]) }?;
    let mut done = Vec::new();
    while done.len() < 3 {
        ring.submit_and_wait(1)?;
        done.extend(ring.reap().iter().map(|cqe| (cqe.user_data(), cqe.to_result(), cqe.more())));
    }
    assert!(start.elapsed() >= 3 * A_WHILE);
    let ended = Err(Errno::TIME);
    assert_eq!(done, [(1, ended, true), (1, ended, true), (1, ended, false)]);
    Ok(())
}

fn timeout_in_chain(ring: &mut dyn Ring) -> Result {
    let a_while = Timespec::from(A_WHILE);
    for (flags, next) in
        [(TimeoutFlags::empty(), Err(Errno::CANCELED)), (TimeoutFlags::ETIME_SUCCESS, Ok(0))]
    {
        let timeout = Timeout::new(&a_while).flags(flags).build().flags(Flags::IO_LINK);
        // SAFETY: `a_while` outlives the timeout, for whose end `run_all` waits.
        let done = unsafe { ring.run_all(&[timeout, nop(1)]) }?;
        assert_eq!([done[0].to_result(), done[1].to_result()], [Err(Errno::TIME), next]);
    }
    Ok(())
}

fn timeout_cancelled(ring: &mut dyn Ring) -> Result {
    let timeout = Timeout::new(&HOUR).build().user_data(1);
    // SAFETY: what the timeout points to is a constant; a cancellation points to nothing.
    let mut done = unsafe { ring.run_all(&[timeout, AsyncCancel::new(1).build().user_data(2)]) }?;
    done.sort_by_key(|cqe| cqe.user_data());
    assert_eq!([done[0].to_result(), done[1].to_result()], [Err(Errno::CANCELED), Ok(0)]);
    Ok(())
}

fn timeout_takes_time_at_submit(ring: &mut dyn Ring) -> Result {
    let mut time = Timespec::from(A_WHILE);
    // SAFETY: `time` lives until the kernel has taken the entry.
    unsafe { ring.push(&[Timeout::new(&time).build()]) }?;
    assert_eq!(ring.submit(), Ok(1));
    time = HOUR;
    assert_eq!(ring.complete(1)?[0].to_result(), Err(Errno::TIME));
    assert_eq!(time, HOUR);
    Ok(())
}

fn timeout_refused(ring: &mut dyn Ring) -> Result {
    let no_such_flag = TimeoutFlags::from_bits_retain(1 << 30);
    let mut two = Timeout::new(&HOUR).build();
    two.as_raw_mut().len = 2;
    for (timeout, errno) in [
        (Timeout::new(ptr::null()).build(), Errno::FAULT),
        (Timeout::new(&HOUR).flags(no_such_flag).build(), Errno::INVAL),
        (two, Errno::INVAL),
    ] {
        // SAFETY: the times outlive the timeout.
        assert_eq!(unsafe { ring.run(timeout) }?.to_result(), Err(errno), "{timeout:?}");
    }
    Ok(())
}
