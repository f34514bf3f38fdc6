//! Enabling a ring, its clock, and its registered index. Resizing has a file of its own.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use rustix_uring::sys::io_uring_register_op::*;
use rustix_uring::types::{self, SubmitArgs, Timespec};
use rustix_uring::{Errno, Features, Handle, IoUring, Probe, SetupFlags, Submitter};

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("enable_rings", &[Register(IORING_REGISTER_ENABLE_RINGS as u32)], enable_rings)
        .setup(Setup::new(16).flags(SetupFlags::R_DISABLED)),
    Case::once("clock", &[Register(IORING_REGISTER_CLOCK as u32)], clock),
    Case::kinds("clock_refused", &[Register(IORING_REGISTER_CLOCK as u32)], clock_refused),
    Case::kinds("any_operation", &[], any_operation),
    Case::once(
        "any_operation_by_index",
        &[Feature(Features::REG_REG_RING), RingWith(SetupFlags::NO_MMAP)],
        any_operation_by_index,
    ),
    Case::once(
        "ring_fds",
        &[Register(IORING_REGISTER_RING_FDS as u32), Register(IORING_UNREGISTER_RING_FDS as u32)],
        ring_fds,
    ),
];

fn enable_rings(ring: &mut dyn Ring) -> Result {
    ring.push_nops([1], Default::default())?;
    assert_eq!(ring.submit(), Err(Errno::BADFD));
    ring.submitter().register_enable_rings()?;
    assert_eq!(ring.complete(1)?[0].result(), 0);
    assert_eq!(ring.submitter().register_enable_rings(), Err(Errno::BADFD));
    ring.works(10)
}

/// A deadline refers to the registered clock. (On a machine that was never suspended, both clocks
/// show the same time.)
fn clock() -> Result {
    let ring = IoUring::new(4)?;
    for (clock, same) in [
        (types::ClockId::Boottime, ClockId::Boottime),
        (types::ClockId::Monotonic, ClockId::Monotonic),
    ] {
        ring.submitter().register_clock(clock)?;
        let now = clock_gettime(same);
        let deadline = Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + TICK;
        let (deadline, start) = (Timespec::from(deadline), Instant::now());
        let args = SubmitArgs::new().deadline(&deadline);
        assert_eq!(ring.submitter().wait_with_args(1, &args), Err(Errno::TIME));
        assert!(start.elapsed() >= TICK - TICK / 4, "{:?}", start.elapsed());
    }
    Ok(())
}
const TICK: Duration = Duration::from_millis(40);

fn clock_refused(ring: &mut dyn Ring) -> Result {
    let ring = ring.submitter();
    assert_eq!(ring.register_clock(types::ClockId::Realtime), Err(Errno::INVAL));
    Ok(())
}

/// The raw register call: a probe, which writes to its argument, a number that no kernel knows, and
/// the flag bit that only the crate may set.
fn any<H: Handle>(submitter: &Submitter<'_, H>) -> Result {
    let (mut raw, mut typed) = ([0_u64; 2 + 256], Probe::new());
    // SAFETY: the kernel writes 16 bytes, and 8 for each of up to 256 operations. It does not keep
    // the pointer.
    let mut probe = |op| unsafe { submitter.register(op, raw.as_mut_ptr().cast(), 256) };
    let op = IORING_REGISTER_PROBE as u32;
    assert_eq!(probe(op), Ok(0));
    let by_index = IORING_REGISTER_USE_REGISTERED_RING as u32;
    assert_eq!(probe(op | by_index), Err(Errno::INVAL));
    submitter.register_probe(&mut typed)?;
    // Each operation has eight bytes: the first is its number, and the third pair its flags.
    for code in 0..=u8::MAX {
        let flags = raw[2 + usize::from(code)].to_ne_bytes()[2];
        assert_eq!(flags & 1 == 1, typed.is_supported(code), "operation {code}");
    }
    // SAFETY: the operation does not exist, and the call passes no address.
    let absent = unsafe { submitter.register(0x7fff_ffff, std::ptr::null(), 0) };
    assert_eq!(absent, Err(Errno::INVAL));
    Ok(())
}

fn any_operation(ring: &mut dyn Ring) -> Result {
    any(&ring.submitter())?;
    ring.works(3)
}

/// Registered rings: one that closed its descriptor, and one that never had one.
fn any_operation_by_index() -> Result {
    let mut ring = IoUring::new(4)?.into_local();
    ring.register_ring_fd()?;
    any(&ring.submitter())?;
    ring.close_ring_fd()?;
    any(&ring.submitter())?;
    let builder = <IoUring>::builder();
    let pages = Pages::new(builder.memory_size(4)?)?;
    // SAFETY: the pages outlive the ring and its operations, all of which are reaped.
    let mut ring = unsafe { builder.build_registered_in_memory(4, pages.all()) }?;
    assert!(ring.ring_fd().is_none());
    any(&ring.submitter())?;
    works(&mut ring, 3)
}

fn ring_fds() -> Result {
    let mut ring = IoUring::new(4)?.into_local();
    ring.register_ring_fd()?;
    assert!(ring.registered_index().is_some());
    works(&mut ring, 10)?;
    let mut rings = Vec::new();
    let refusal = loop {
        let mut next = IoUring::new(1)?.into_local();
        match next.register_ring_fd() {
            Ok(()) => rings.push(next),
            Err(e) => break e,
        }
    };
    assert_eq!((refusal, rings.len()), (Errno::BUSY, 15));
    ring.unregister_ring_fd()?;
    assert_eq!(ring.registered_index(), None);
    works(&mut ring, 10)
}
