//! Wait times, and signal masks during waits.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::dup;
use rustix::io_uring::{
    IoringEnterFlags, io_uring_enter_arg, io_uring_getevents_arg, io_uring_ptr,
};
use rustix::time::{ClockId, clock_gettime};
use rustix_uring::squeue::Flags;
use rustix_uring::types::{KernelSigSet, Signal, SubmitArgs, Timespec};
use rustix_uring::{EnterFlags, Errno, Features, IoUring, SetupFlags};

use super::{A_WHILE, Waiting};
use crate::harness::Need::*;
use crate::harness::*;

const EXT_ARG: &[Need] = &[Feature(Features::EXT_ARG)];

pub(crate) const CASES: &[Case] = &[
    Case::kinds("timespec", EXT_ARG, timespec),
    Case::once("deadline", &[Feature(Features::EXT_ARG), DEADLINE], deadline),
    Case::kinds("count_hides_timeout", EXT_ARG, count_hides_timeout),
    Case::once("min_wait_usec", EXT_ARG, min_wait_usec),
    Case::once("min_wait_alone", &[Feature(Features::MIN_TIMEOUT)], min_wait_alone),
    Case::kinds("want_beyond_reach", EXT_ARG, want_beyond_reach),
    Case::kinds("full_is_all_that_is_wanted", EXT_ARG, full_is_all_that_is_wanted)
        .setup(Setup::USUAL.cq_entries(16)),
    Case::kinds("what_is_there_ends_a_wait", &[RingWith(DEFER)], what_is_there_ends_a_wait)
        .setup(Setup::USUAL.flags(DEFER)),
    Case::once("no_iowait", EXT_ARG, no_iowait),
    Case::once("signal_interrupts", &[], signal_interrupts),
    Case::once("sigmask_blocks", EXT_ARG, sigmask_blocks),
    Case::once("sigmask_unblocks", &[], sigmask_unblocks),
    Case::once("without_ext_arg", &[], without_ext_arg),
];

const DEADLINE: Need = Trial {
    what: "waits with an absolute time",
    refusal: Errno::INVAL,
    // The check does not use the crate, so that a fault of the crate is not taken for the kernel's.
    call: || {
        let ring = IoUring::new(1)?;
        let mut past = Timespec::new();
        let ts = io_uring_ptr::new((&raw mut past).cast());
        let arg = io_uring_getevents_arg { ts, ..Default::default() };
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG | EnterFlags::ABS_TIMER;
        let flags = IoringEnterFlags::from_bits_retain(flags.bits());
        // SAFETY: nothing is submitted, and the argument outlives the call.
        match unsafe { io_uring_enter_arg(&ring, 0, 1, flags, Some(&arg)) } {
            Ok(_) | Err(Errno::TIME) => Ok(()),
            Err(refusal) => Err(refusal.into()),
        }
    },
};

fn timespec(ring: &mut dyn Ring) -> Result {
    let a_while = Timespec::from(A_WHILE);
    let args = SubmitArgs::new().timespec(&a_while);
    let start = Instant::now();
    assert_eq!(ring.submit_with_args(1, &args), Err(Errno::TIME));
    assert!(start.elapsed() >= A_WHILE);
    let start = Instant::now();
    assert_eq!(ring.submitter().wait_with_args(1, &args), Err(Errno::TIME));
    assert!(start.elapsed() >= A_WHILE);
    // More nanoseconds than a second has are normalized by the kernel.
    let none = Timespec::new().nsec(1_000_000_001);
    let args = SubmitArgs::new().timespec(&none);
    assert_eq!(ring.submitter().wait_with_args(1, &args), Err(Errno::TIME));
    // An available completion ends the wait.
    let hour = Timespec::new().sec(3600);
    let args = SubmitArgs::new().timespec(&hour);
    ring.push_nops([1, 2], Flags::empty())?;
    assert_eq!(ring.submit_with_args(2, &args), Ok(2));
    assert_eq!(ring.submitter().wait_with_args(2, &args), Ok(()));
    assert_eq!(ring.reap().len(), 2);
    Ok(())
}

fn deadline() -> Result {
    let ring = IoUring::new(1)?;
    let start = Instant::now();
    let now = clock_gettime(ClockId::Monotonic);
    let soon = Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + A_WHILE;
    let soon = Timespec::from(soon);
    let args = SubmitArgs::new().deadline(&soon);
    assert_eq!(ring.submit_with_args(1, &args), Err(Errno::TIME));
    assert!(start.elapsed() >= A_WHILE);
    // The time is in the past.
    assert_eq!(ring.submitter().wait_with_args(1, &args), Err(Errno::TIME));
    // The last setting applies: as a duration, this would be years.
    let years = soon.sec(3600 * 24 * 365);
    let args = SubmitArgs::new().timespec(&years).deadline(&soon);
    assert_eq!(ring.submitter().wait_with_args(1, &args), Err(Errno::TIME));
    Ok(())
}

fn count_hides_timeout(ring: &mut dyn Ring) -> Result {
    let a_while = Timespec::from(A_WHILE);
    let mut waiting = Waiting::new()?;
    // SAFETY: `waiting` outlives its read, whose completion is awaited.
    unsafe { ring.push(&[waiting.read(1)]) }?;
    let start = Instant::now();
    assert_eq!(ring.submit_with_args(1, &SubmitArgs::new().timespec(&a_while)), Ok(1));
    assert!(start.elapsed() >= A_WHILE);
    assert_eq!(ring.reap(), []);
    waiting.release()?;
    assert_eq!(ring.complete(1)?[0].to_result(), Ok(8));
    Ok(())
}

fn min_wait_usec() -> Result {
    let mut ring = IoUring::new(8)?;
    let hour = Timespec::new().sec(3600);
    let args = SubmitArgs::new().timespec(&hour).min_wait_usec(A_WHILE.as_micros() as u32);
    if !ring.params().is_feature_min_timeout() {
        assert_eq!(ring.submitter().wait_with_args(8, &args), Err(Errno::INVAL));
        return Ok(());
    }
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe { ring.submission().push(&nop(1)) }?;
    let start = Instant::now();
    // One of the eight wanted completions is available, and suffices once the minimum time has
    // passed.
    assert_eq!(ring.submit_with_args(8, &args), Ok(1));
    assert!(start.elapsed() >= A_WHILE);
    assert_eq!(ring.completion().count(), 1);
    Ok(())
}

/// Without a time limit, the minimum time has the effect of one.
fn min_wait_alone() -> Result {
    let ring = IoUring::new(8)?;
    let args = SubmitArgs::new().min_wait_usec(1000);
    assert_eq!(ring.submitter().wait_with_args(8, &args), Err(Errno::TIME));
    assert_eq!(ring.submitter().submit_with_args(8, &args), Err(Errno::TIME));
    Ok(())
}

/// Wanting more completions than possible means waiting. The number does not overflow to a negative
/// one.
fn want_beyond_reach(ring: &mut dyn Ring) -> Result {
    let a_while = Timespec::new().nsec(1_000_000);
    let args = SubmitArgs::new().timespec(&a_while);
    for want in [8, 9, 100, i32::MAX as usize, 1 << 31, u32::MAX as usize, usize::MAX] {
        assert_eq!(ring.submit_with_args(want, &args), Err(Errno::TIME), "{want}");
        assert_eq!(ring.submitter().wait_with_args(want, &args), Err(Errno::TIME), "{want}");
    }
    Ok(())
}

/// The call does not wait for more completions than the queue holds.
fn full_is_all_that_is_wanted(ring: &mut dyn Ring) -> Result {
    for half in [0..8, 8..16] {
        ring.push_nops(half, Flags::empty())?;
        ring.submit()?;
    }
    let long = Timespec::new().sec(10);
    let args = SubmitArgs::new().timespec(&long);
    for want in [17, 100, usize::MAX] {
        assert_eq!(ring.submit_with_args(want, &args), Ok(0), "{want}");
        assert_eq!(ring.submitter().wait_with_args(want, &args), Ok(()), "{want}");
    }
    assert_eq!(ring.reap().len(), 16);
    Ok(())
}

const DEFER: SetupFlags = SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN);

/// The kernel rejects waits by other tasks on these rings, so the result shows whether the kernel
/// was called.
fn what_is_there_ends_a_wait(ring: &mut dyn Ring) -> Result {
    ring.push_nops([1, 2], Flags::empty())?;
    ring.submit_and_wait(2)?;
    let elsewhere = |ring: &mut dyn Ring, want, args: Option<&SubmitArgs<'_>>| {
        let submitter = ring.submitter();
        let wait = || match args {
            None => submitter.wait(want),
            Some(args) => submitter.wait_with_args(want, args),
        };
        thread::scope(|scope| scope.spawn(wait).join().expect("the thread panicked"))
    };
    let second = Timespec::new().sec(1);
    let args = SubmitArgs::new().timespec(&second);
    for args in [None, Some(&args)] {
        for want in 0..=2 {
            assert_eq!(elsewhere(ring, want, args), Ok(()), "{want}");
        }
        assert_eq!(elsewhere(ring, 3, args), Err(Errno::EXIST));
    }
    // Released completions no longer count.
    assert_eq!(ring.reap().len(), 2);
    assert_eq!(elsewhere(ring, 1, None), Err(Errno::EXIST));
    Ok(())
}

fn no_iowait() -> Result {
    let ring = IoUring::new(8)?;
    let a_while = Timespec::from(A_WHILE);
    let args = SubmitArgs::new().timespec(&a_while).no_iowait(true);
    let known = ring.params().is_feature_no_iowait();
    let refusal = if known { Errno::TIME } else { Errno::INVAL };
    assert_eq!(ring.submitter().wait_with_args(1, &args), Err(refusal));
    Ok(())
}

/// Sends this thread a signal during the wait. The wait must not end before the signal.
fn signaled<T>(wait: impl FnOnce() -> T) -> T {
    let this = signal::Thread::this();
    signal::handle();
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(A_WHILE);
            this.signal();
        });
        wait()
    })
}

fn signal_interrupts() -> Result {
    let ring = IoUring::new(8)?;
    let before = signal::handled();
    assert_eq!(signaled(|| ring.submitter().wait(1)), Err(Errno::INTR));
    assert_eq!(signal::handled(), before + 1);
    Ok(())
}

fn sigmask_blocks() -> Result {
    let ring = IoUring::new(8)?;
    let before = signal::handled();
    let mut usr1 = KernelSigSet::empty();
    usr1.insert(Signal::USR1);
    let longer = Timespec::from(3 * A_WHILE);
    let args = SubmitArgs::new().timespec(&longer).sigmask(&usr1);
    let start = Instant::now();
    assert_eq!(signaled(|| ring.submitter().wait_with_args(1, &args)), Err(Errno::TIME));
    assert!(start.elapsed() >= 3 * A_WHILE);
    // The handler ran after the wait.
    assert_eq!(signal::handled(), before + 1);
    Ok(())
}

fn sigmask_unblocks() -> Result {
    unblocks(&IoUring::new(8)?)
}

/// A signal that is blocked outside of the wait interrupts the wait.
fn unblocks(ring: &IoUring) -> Result {
    signal::handle();
    let before = signal::handled();
    let none = KernelSigSet::empty();
    let waited = signal::blocked(|| {
        signal::Thread::this().signal();
        assert_eq!(signal::handled(), before);
        let waited = ring.submitter().wait_with_args(1, &SubmitArgs::new().sigmask(&none));
        assert_eq!(signal::handled(), before + 1);
        waited
    });
    assert_eq!(waited, Err(Errno::INTR));
    Ok(())
}

/// Waits on kernels without time limits: everything else works.
fn without_ext_arg() -> Result {
    let maker = IoUring::new(8)?;
    let params = altered_params(maker.params(), |raw| raw.features &= !Features::EXT_ARG.bits());
    // SAFETY: except for one feature, the descriptor and the parameters belong to a ring, which is
    // not used meanwhile.
    let mut ring = unsafe { IoUring::from_fd(dup(maker.as_fd())?, params) }?;
    let a_while = Timespec::from(A_WHILE);
    for args in [
        SubmitArgs::new().timespec(&a_while),
        SubmitArgs::new().deadline(&a_while),
        SubmitArgs::new().min_wait_usec(1),
    ] {
        assert_eq!(ring.submitter().wait_with_args(1, &args), Err(Errno::OPNOTSUPP));
        // The queued entries are not submitted.
        // SAFETY: NOPs use no memory and no descriptor.
        unsafe { ring.submission().push(&nop(1)) }?;
        assert_eq!(ring.submit_with_args(1, &args), Err(Errno::OPNOTSUPP));
    }
    assert_eq!(ring.submit_with_args(3, &SubmitArgs::new()), Ok(3));
    assert_eq!(ring.completion().count(), 3);
    unblocks(&ring)
}
