//! Waits whose arguments lie in memory shared with the kernel.

use std::mem;
use std::time::{Duration, Instant};

use rustix_uring::sys::io_uring_register_op::*;
use rustix_uring::types::{KernelSigSet, Signal, SubmitArgs, Timespec};
use rustix_uring::{EnterFlags, Errno, Features, IoUring, SetupFlags};

use crate::harness::Need::*;
use crate::harness::*;

const REGION: Need = Register(IORING_REGISTER_MEM_REGION as u32);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("timeout", &[REGION], timeout).setup(DISABLED),
    Case::kinds("submits", &[REGION], submits).setup(DISABLED),
    Case::once("deadline", &[REGION], deadline),
    Case::once("sigmask", &[REGION], sigmask),
    Case::once("registered_index", &[REGION], registered_index),
    Case::kinds("refused", &[REGION], refused).setup(DISABLED),
    Case::kinds("gone", &[REGION], gone).setup(DISABLED),
];

const DISABLED: Setup = Setup::new(16).flags(SetupFlags::R_DISABLED);
const TICK: Duration = Duration::from_millis(20);
const NONE: EnterFlags = EnterFlags::empty();

/// How long `wait` takes to say that the time ran out.
fn times_out(wait: impl FnOnce() -> Result<usize, Errno>) -> Duration {
    let start = Instant::now();
    assert_eq!(wait(), Err(Errno::TIME));
    start.elapsed()
}

fn timeout(ring: &mut dyn Ring) -> Result {
    let before = footprint()?;
    let mut region = ring.submitter().register_wait_region(3)?;
    assert!(region.slots() >= 3);
    ring.submitter().register_enable_rings()?;
    let last = region.slots() - 1;
    let times = [Timespec::from(TICK), Timespec::from(TICK * 4), Timespec::new()];
    for (slot, time) in [0, last, 1].into_iter().zip(&times) {
        region.set(slot, &SubmitArgs::new().timespec(time))?;
    }
    let wait = |slot| times_out(|| ring.submitter().submit_and_wait_reg(1, &region, slot, NONE));
    assert!(wait(0) >= TICK);
    assert!(wait(last) >= TICK * 4);
    assert!(wait(1) < TICK * 100);
    // It can be changed, and holds for any number of waits.
    region.set(0, &SubmitArgs::new().timespec(&times[2]))?;
    for _ in 0..10 {
        times_out(|| ring.submitter().submit_and_wait_reg(1, &region, 0, NONE));
    }
    drop(region);
    assert_eq!(footprint()?, before);
    Ok(())
}

/// It submits as the other waits do, and ends with the completions.
fn submits(ring: &mut dyn Ring) -> Result {
    if ring.kind().flags.contains(SetupFlags::SQ_REWIND) {
        // Only the queue's own view can submit; with nothing there, it waits as others do.
        let mut region = ring.submitter().register_wait_region(1)?;
        ring.submitter().register_enable_rings()?;
        region.set(0, &SubmitArgs::new().timespec(&Timespec::new()))?;
        ring.push_nops([1], Default::default())?;
        let wait = |ring: &mut dyn Ring| {
            ring.submitter().submit_and_wait_reg(usize::MAX, &region, 0, NONE)
        };
        assert_eq!(wait(ring), Err(Errno::INVAL));
        assert_eq!(ring.complete(1)?.len(), 1);
        assert_eq!(wait(ring), Err(Errno::TIME));
        return Ok(());
    }
    let mut region = ring.submitter().register_wait_region(1)?;
    ring.submitter().register_enable_rings()?;
    let long = Timespec::new().sec(30);
    let args = SubmitArgs::new().timespec(&long).min_wait_usec(1);
    region.set(0, &args)?;
    for n in 0..40 {
        ring.push_nops([n, n + 1], Default::default())?;
        let slots = ring.queue().len();
        assert_eq!(ring.submitter().submit_and_wait_reg(2, &region, 0, NONE), Ok(slots));
        assert!(ring.reap().iter().map(|cqe| cqe.user_data()).eq([n, n + 1]));
    }
    Ok(())
}

fn disabled() -> Result<IoUring, Errno> {
    <IoUring>::builder().setup_r_disabled().build(4)
}

fn deadline() -> Result {
    let ring = disabled()?;
    let mut region = ring.submitter().register_wait_region(1)?;
    ring.submitter().register_enable_rings()?;
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let deadline = Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + TICK;
    region.set(0, &SubmitArgs::new().timespec(&deadline.into()))?;
    let abs = EnterFlags::ABS_TIMER;
    let took = times_out(|| ring.submitter().submit_and_wait_reg(1, &region, 0, abs));
    assert!((TICK / 2..TICK * 100).contains(&took), "{took:?}");
    if ring.params().features().contains(Features::NO_IOWAIT) {
        let flags = abs | EnterFlags::NO_IOWAIT;
        times_out(|| ring.submitter().submit_and_wait_reg(1, &region, 0, flags));
    }
    Ok(())
}

/// A signal that the slot blocks does not end the wait, and others do.
fn sigmask() -> Result {
    let ring = disabled()?;
    let mut region = ring.submitter().register_wait_region(2)?;
    ring.submitter().register_enable_rings()?;
    let time = Timespec::from(TICK);
    let mut blocked = KernelSigSet::empty();
    blocked.insert(Signal::USR1);
    let args = SubmitArgs::new().timespec(&time);
    region.set(0, &args)?;
    region.set(1, &args.sigmask(&blocked))?;

    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the handler does nothing; the signal is blocked in this thread, but for the waits
    // that say otherwise.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaddset(&mut action.sa_mask, libc::SIGUSR1);
        libc::pthread_sigmask(libc::SIG_BLOCK, &action.sa_mask, std::ptr::null_mut());
        libc::raise(libc::SIGUSR1);
    }
    let wait = |region: &rustix_uring::WaitRegion, slot| {
        ring.submitter().submit_and_wait_reg(1, region, slot, NONE)
    };
    // Blocked by the thread, then by the slot: only the time ends it.
    assert_eq!(wait(&region, 0), Err(Errno::TIME));
    assert_eq!(wait(&region, 1), Err(Errno::TIME));
    region.set(1, &args.sigmask(&KernelSigSet::empty()))?;
    assert_eq!(wait(&region, 1), Err(Errno::INTR));
    // It was delivered.
    assert_eq!(wait(&region, 1), Err(Errno::TIME));
    // SAFETY: as above.
    unsafe {
        let mut mask = mem::zeroed();
        libc::sigemptyset(&mut mask);
        libc::sigaddset(&mut mask, libc::SIGUSR1);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &mask, std::ptr::null_mut());
        libc::signal(libc::SIGUSR1, libc::SIG_DFL);
    }
    Ok(())
}

fn registered_index() -> Result {
    let mut ring = disabled()?.into_local();
    let mut region = ring.submitter().register_wait_region(1)?;
    ring.submitter().register_enable_rings()?;
    ring.register_ring_fd()?;
    region.set(0, &SubmitArgs::new().timespec(&TICK.into()))?;
    assert!(times_out(|| ring.submitter().submit_and_wait_reg(1, &region, 0, NONE)) >= TICK);
    Ok(())
}

fn refused(ring: &mut dyn Ring) -> Result {
    let enabled = IoUring::new(1)?;
    assert_eq!(enabled.submitter().register_wait_region(1).err(), Some(Errno::INVAL));
    let submitter = ring.submitter();
    let refusal = submitter.register_wait_region(usize::MAX).err();
    assert_eq!(refusal, Some(Errno::INVAL));
    let refusal = submitter.register_wait_region(usize::MAX / 256).err();
    assert!(matches!(refusal, Some(Errno::INVAL | Errno::NOMEM | Errno::TOOBIG)), "{refusal:?}");
    let mut region = submitter.register_wait_region(1)?;
    assert_eq!(submitter.register_wait_region(1).err(), Some(Errno::BUSY));
    submitter.register_enable_rings()?;
    let none = region.slots();
    assert_eq!(region.set(none, &SubmitArgs::new()), Err(Errno::INVAL));
    for slot in [none, usize::MAX] {
        let wait = submitter.submit_and_wait_reg(1, &region, slot, NONE);
        assert_eq!(wait, Err(Errno::INVAL));
    }
    // Rings that have none, or another one.
    region.set(0, &SubmitArgs::new().timespec(&Timespec::new()))?;
    let other = disabled()?;
    let _own = other.submitter().register_wait_region(1)?;
    other.submitter().register_enable_rings()?;
    for other in [&enabled, &other] {
        let wait = other.submitter().submit_and_wait_reg(1, &region, 0, NONE);
        assert_eq!(wait, Err(Errno::INVAL));
    }
    Ok(())
}

/// The ring goes on with its memory after the program has forgotten about it.
fn gone(ring: &mut dyn Ring) -> Result {
    drop(ring.submitter().register_wait_region(1)?);
    ring.submitter().register_enable_rings()?;
    ring.works(10)
}
