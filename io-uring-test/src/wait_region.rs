//! Waits whose arguments are in memory shared with the kernel.

use std::mem;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use rustix::param::page_size;
use rustix_uring::sys::io_uring_register_op::*;
use rustix_uring::types::{KernelSigSet, Signal, SubmitArgs, Timespec};
use rustix_uring::{Errno, Features, IoUring, SetupFlags, WaitRegion};

use crate::harness::Need::*;
use crate::harness::*;

const REGION: Need = Register(IORING_REGISTER_MEM_REGION as u32);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("timeout", &[REGION], timeout).setup(DISABLED),
    Case::kinds("submits", &[REGION], submits).setup(DISABLED),
    Case::once("deadline", &[REGION], deadline),
    Case::once("sigmask", &[REGION], sigmask),
    Case::once("registered_index", &[REGION], registered_index),
    Case::once("without_descriptor", &[REGION], without_descriptor),
    Case::kinds("in_memory", &[REGION], in_memory).setup(DISABLED),
    Case::once("in_memory_refused", &[REGION], in_memory_refused),
    Case::kinds("refused", &[REGION], refused).setup(DISABLED),
    Case::kinds("gone", &[REGION], gone).setup(DISABLED),
];

const DISABLED: Setup = Setup::new(16).flags(SetupFlags::R_DISABLED);
const TICK: Duration = Duration::from_millis(20);

/// The time until `wait` reports ETIME.
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
    let wait = |slot| times_out(|| ring.submitter().submit_and_wait_reg(1, &region, slot));
    assert!(wait(0) >= TICK);
    assert!(wait(last) >= TICK * 4);
    assert!(wait(1) < TICK * 100);
    // The slot can be changed, and applies to any number of waits.
    region.set(0, &SubmitArgs::new().timespec(&times[2]))?;
    for _ in 0..10 {
        times_out(|| ring.submitter().submit_and_wait_reg(1, &region, 0));
    }
    drop(region);
    assert_eq!(footprint()?, before);
    Ok(())
}

/// The wait submits like other waits, and ends when the completions arrive.
fn submits(ring: &mut dyn Ring) -> Result {
    if ring.kind().flags.contains(SetupFlags::SQ_REWIND) {
        // Only the view of the queue can submit. With an empty queue, the wait is like the others.
        let mut region = ring.submitter().register_wait_region(1)?;
        ring.submitter().register_enable_rings()?;
        region.set(0, &SubmitArgs::new().timespec(&Timespec::new()))?;
        ring.push_nops([1], Default::default())?;
        let wait =
            |ring: &mut dyn Ring| ring.submitter().submit_and_wait_reg(usize::MAX, &region, 0);
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
        assert_eq!(ring.submitter().submit_and_wait_reg(2, &region, 0), Ok(slots));
        assert!(ring.reap().iter().map(|cqe| cqe.user_data()).eq([n, n + 1]));
    }
    Ok(())
}

fn disabled() -> Result<IoUring, Errno> {
    <IoUring>::builder().setup_r_disabled().build(4)
}

/// The slot records that its time is a deadline. As a duration, the time would equal the uptime of
/// the machine.
fn deadline() -> Result {
    let ring = disabled()?;
    let mut region = ring.submitter().register_wait_region(2)?;
    ring.submitter().register_enable_rings()?;
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let deadline = Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + TICK;
    let deadline = deadline.into();
    let args = SubmitArgs::new().deadline(&deadline);
    region.set(0, &args)?;
    let wait = |region: &WaitRegion, slot| {
        times_out(|| ring.submitter().submit_and_wait_reg(1, region, slot))
    };
    let took = wait(&region, 0);
    assert!((TICK / 2..TICK * 100).contains(&took), "{took:?}");
    // The same slot with a duration: as a deadline, it would be in the past.
    region.set(0, &SubmitArgs::new().timespec(&TICK.into()))?;
    assert!(wait(&region, 0) >= TICK);
    region.set(1, &args.no_iowait(true))?;
    if ring.params().features().contains(Features::NO_IOWAIT) {
        wait(&region, 1);
    } else {
        let refused = ring.submitter().submit_and_wait_reg(1, &region, 1);
        assert_eq!(refused, Err(Errno::INVAL));
    }
    Ok(())
}

/// A signal that the slot blocks does not end the wait, and other signals do.
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
    // SAFETY: the handler does nothing. This thread blocks the signal, except during waits that
    // unblock it.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = nothing as *const () as usize;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaddset(&mut action.sa_mask, libc::SIGUSR1);
        libc::pthread_sigmask(libc::SIG_BLOCK, &action.sa_mask, std::ptr::null_mut());
        libc::raise(libc::SIGUSR1);
    }
    let wait = |region: &WaitRegion, slot| ring.submitter().submit_and_wait_reg(1, region, slot);
    // The thread blocks the signal, and then so does the slot: only the timeout ends the wait.
    assert_eq!(wait(&region, 0), Err(Errno::TIME));
    assert_eq!(wait(&region, 1), Err(Errno::TIME));
    region.set(1, &args.sigmask(&KernelSigSet::empty()))?;
    assert_eq!(wait(&region, 1), Err(Errno::INTR));
    // The signal was already delivered.
    assert_eq!(wait(&region, 1), Err(Errno::TIME));
    // SAFETY: the mask is ours, and the signal that it unblocks has a handler that does nothing.
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
    assert!(times_out(|| ring.submitter().submit_and_wait_reg(1, &region, 0)) >= TICK);
    Ok(())
}

/// A ring that never had a descriptor.
fn without_descriptor() -> Result {
    let mut builder = <IoUring>::builder();
    builder.setup_r_disabled();
    let pages = Pages::new(builder.memory_size(4)?)?;
    // SAFETY: the pages outlive the ring and its operations, all of which are reaped.
    let mut ring = unsafe { builder.build_registered_in_memory(4, pages.all()) }?;
    let mut region = ring.submitter().register_wait_region(1)?;
    ring.submitter().register_enable_rings()?;
    region.set(0, &SubmitArgs::new().timespec(&TICK.into()))?;
    assert!(times_out(|| ring.submitter().submit_and_wait_reg(1, &region, 0)) >= TICK);
    works(&mut ring, 3)
}

/// Uses every slot of application-provided memory, which has other content at first. The
/// application owns the memory again at the end.
fn in_memory(ring: &mut dyn Ring) -> Result {
    let len = WaitRegion::memory_size(page_size() / 128 + 1)?;
    assert_eq!(len, 2 * page_size());
    let pages = Pages::new(len)?;
    // SAFETY: the pages are ours.
    unsafe { pages.all().cast::<u8>().write_bytes(0xaa, len) };
    // SAFETY: the pages outlive the region, and nothing else uses them while it exists.
    let mut region = unsafe { ring.submitter().register_wait_region_in_memory(pages.all()) }?;
    assert_eq!(region.slots(), len / 128);
    // SAFETY: the call fails. If it did not, the pages would outlive the region.
    let second = unsafe { ring.submitter().register_wait_region_in_memory(pages.all()) };
    assert_eq!(second.err(), Some(Errno::BUSY));
    ring.submitter().register_enable_rings()?;
    // A slot that was not set waits without a time limit, here for completions.
    if !ring.kind().flags.contains(SetupFlags::SQ_REWIND) {
        ring.push_nops([1], Default::default())?;
        assert!(ring.submitter().submit_and_wait_reg(1, &region, 1).is_ok());
        assert_eq!(ring.reap().len(), 1);
    }
    for slot in 0..region.slots() {
        region.set(slot, &SubmitArgs::new().timespec(&Timespec::new()))?;
        times_out(|| ring.submitter().submit_and_wait_reg(1, &region, slot));
    }
    drop(region);
    // SAFETY: the region no longer exists.
    unsafe { pages.all().cast::<u8>().write_bytes(0xaa, len) };
    ring.works(3)
}

fn in_memory_refused() -> Result {
    let ring = disabled()?;
    let pages = Pages::new(2 * page_size())?;
    // SAFETY: the pages are ours.
    unsafe { pages.all().cast::<u8>().write_bytes(7, pages.all().len()) };
    let refused = |start, len| {
        // SAFETY: the pointer stays within the pages or the guard page behind them.
        let part = unsafe { pages.all().cast::<u8>().add(start) };
        let memory = NonNull::slice_from_raw_parts(part, len);
        // SAFETY: the kernel rejects the memory, or nothing uses the pages while the region exists.
        unsafe { ring.submitter().register_wait_region_in_memory(memory) }.err()
    };
    let page = page_size();
    assert_eq!(refused(0, 0), Some(Errno::INVAL));
    assert_eq!(refused(128, page), Some(Errno::INVAL));
    assert_eq!(refused(0, page + 128), Some(Errno::INVAL));
    // The last page is the guard page.
    assert_eq!(refused(page, 2 * page), Some(Errno::FAULT));
    // SAFETY: nothing else uses the pages.
    assert!(unsafe { pages.all().as_ref() }.iter().all(|byte| *byte == 7));
    assert_eq!(refused(0, page), None);
    assert_eq!(WaitRegion::memory_size(usize::MAX), Err(Errno::INVAL));
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
        let wait = submitter.submit_and_wait_reg(1, &region, slot);
        assert_eq!(wait, Err(Errno::INVAL));
    }
    // Rings that have no region, or another one.
    region.set(0, &SubmitArgs::new().timespec(&Timespec::new()))?;
    let other = disabled()?;
    let _own = other.submitter().register_wait_region(1)?;
    other.submitter().register_enable_rings()?;
    for other in [&enabled, &other] {
        let wait = other.submitter().submit_and_wait_reg(1, &region, 0);
        assert_eq!(wait, Err(Errno::INVAL));
    }
    Ok(())
}

/// The ring keeps its memory after the program has unmapped it.
fn gone(ring: &mut dyn Ring) -> Result {
    drop(ring.submitter().register_wait_region(1)?);
    ring.submitter().register_enable_rings()?;
    ring.works(10)
}
