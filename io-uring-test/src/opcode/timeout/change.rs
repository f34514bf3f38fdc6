//! Removing and updating timeouts, timeouts of other operations, and times without a pointer.

use std::ptr;
use std::time::{Duration, Instant};

use rustix::io::write;
use rustix::pipe::pipe;
use rustix_uring::Errno;
use rustix_uring::opcode::{LinkTimeout, Read, Timeout, TimeoutRemove, TimeoutUpdate};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::types::{TimeoutFlags, Timespec};

use crate::harness::Need::*;
use crate::harness::*;
use crate::opcode::{reap, taken};

const REMOVE: Need = Opcode(TimeoutRemove::CODE);
const LINK: Need = Opcode(LinkTimeout::CODE);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("timeout_remove", &[REMOVE], timeout_remove),
    Case::kinds("timeout_remove_update", &[REMOVE, UPDATE], timeout_remove_update),
    Case::kinds(
        "timeout_remove_update_linked",
        &[REMOVE, LINK, UPDATE_LINKED],
        timeout_remove_update_linked,
    ),
    Case::kinds("timeout_remove_update_refused", &[REMOVE, UPDATE], timeout_remove_update_refused),
    Case::kinds("link_timeout", &[LINK], link_timeout),
    Case::kinds("link_timeout_absolute", &[LINK], link_timeout_absolute),
    Case::kinds("link_timeout_refused", &[LINK], link_timeout_refused),
    Case::kinds("timeout_immediate", &[Opcode(Timeout::CODE), IMMEDIATE], timeout_immediate),
    Case::kinds("link_timeout_immediate", &[LINK, IMMEDIATE], link_timeout_immediate),
    Case::kinds(
        "timeout_remove_update_immediate",
        &[REMOVE, IMMEDIATE],
        timeout_remove_update_immediate,
    ),
];

const HOUR: Timespec = Timespec::new().sec(3600);
const MOMENT: Duration = Duration::from_millis(20);

const UPDATE: Need = Trial {
    what: "timeout updates",
    refusal: Errno::INVAL,
    // SAFETY: the time is a constant.
    call: || unsafe { taken(TimeoutUpdate::new(1, &HOUR).build(), &[Errno::NOENT]) },
};
const UPDATE_LINKED: Need = Trial {
    what: "updates of linked timeouts",
    refusal: Errno::INVAL,
    call: || {
        let update = TimeoutUpdate::new(1, &HOUR).flags(TimeoutFlags::LINK_TIMEOUT_UPDATE);
        // SAFETY: the time is a constant.
        unsafe { taken(update.build(), &[Errno::NOENT]) }
    },
};
const IMMEDIATE: Need = Trial {
    what: "timeouts with an immediate time",
    refusal: Errno::INVAL,
    // SAFETY: the entry points to no memory.
    call: || unsafe { taken(Timeout::new(ptr::null()).immediate(1).build(), &[Errno::TIME]) },
};

/// Queues and submits entries whose times are constants or outlive the submission.
fn start(ring: &mut dyn Ring, entries: &[Entry]) -> Result {
    // SAFETY: every caller in this file keeps the memory of the entries until they complete.
    unsafe { ring.push(entries) }?;
    ring.submit()?;
    Ok(())
}

fn timeout_remove(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries point only to times, which are constants.
    let ring = &mut unsafe { ring.runner() };
    start(&mut **ring, &[Timeout::new(&HOUR).build().user_data(1)])?;
    assert_eq!(ring.result(TimeoutRemove::new(2).build())?, Err(Errno::NOENT));
    start(&mut **ring, &[TimeoutRemove::new(1).build().user_data(2)])?;
    let done = reap(&mut **ring, 2)?;
    assert_eq!(done[0].to_result(), Err(Errno::CANCELED));
    assert_eq!(done[1].to_result(), Ok(0));
    assert_eq!(ring.result(TimeoutRemove::new(1).build())?, Err(Errno::NOENT));
    Ok(())
}

/// Moves a timeout to a time in the future, and to one in the past.
fn timeout_remove_update(ring: &mut dyn Ring) -> Result {
    let moment = Timespec::from(MOMENT);
    for (flags, at_least) in [(TimeoutFlags::empty(), MOMENT), (TimeoutFlags::ABS, Duration::ZERO)]
    {
        start(ring, &[Timeout::new(&HOUR).build().user_data(1)])?;
        let started = Instant::now();
        start(ring, &[TimeoutUpdate::new(1, &moment).flags(flags).build().user_data(2)])?;
        let done = reap(ring, 2)?;
        assert_eq!(done[0].to_result(), Err(Errno::TIME));
        assert_eq!(done[1].to_result(), Ok(0));
        assert!(started.elapsed() >= at_least);
    }
    Ok(())
}

/// A read that waits, and its timeout. The buffer outlives the operations of the caller.
fn waiting(from: &impl std::os::fd::AsFd, buf: &mut [u8; 8], timeout: LinkTimeout) -> [Entry; 2] {
    let read = Read::new(from.as_fd(), buf.as_mut_ptr(), 8).build().user_data(1);
    [read.flags(Flags::IO_LINK), timeout.build().user_data(2)]
}

fn timeout_remove_update_linked(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries point only to times, which are constants.
    let ring = &mut unsafe { ring.runner() };
    let ((out, _to), mut buf) = (pipe()?, [0; 8]);
    start(&mut **ring, &waiting(&out, &mut buf, LinkTimeout::new(&HOUR)))?;
    let moment = Timespec::from(MOMENT);
    let update = TimeoutUpdate::new(2, &moment);
    // There is no timeout of the other kind.
    assert_eq!(ring.result(update.build())?, Err(Errno::NOENT));
    let update = update.flags(TimeoutFlags::LINK_TIMEOUT_UPDATE);
    start(&mut **ring, &[update.build().user_data(3)])?;
    let done = reap(&mut **ring, 3)?;
    ended(&done[0]);
    assert_eq!(done[1].to_result(), Err(Errno::TIME));
    assert_eq!(done[2].to_result(), Ok(0));
    Ok(())
}

/// Checks that the operation was canceled, or interrupted in a worker thread.
fn ended(cqe: &Completion) {
    assert!(matches!(cqe.to_result(), Err(Errno::CANCELED | Errno::INTR)), "{cqe:?}");
}

fn timeout_remove_update_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries point only to times, which are constants.
    let ring = &mut unsafe { ring.runner() };
    let update = |time: *const Timespec| TimeoutUpdate::new(1, time);
    let unknown = TimeoutFlags::from_bits_retain(1 << 30);
    ring.refuses([
        (update(&HOUR).build(), Errno::NOENT),
        (update(ptr::null()).build(), Errno::FAULT),
        (update(&HOUR).flags(unknown).build(), Errno::INVAL),
    ])
}

/// The operation finishes in time, or does not.
fn link_timeout(ring: &mut dyn Ring) -> Result {
    let ((out, to), mut buf) = (pipe()?, [0; 8]);
    start(ring, &waiting(&out, &mut buf, LinkTimeout::new(&HOUR)))?;
    assert!(ring.reap().is_empty());
    write(&to, b"hello")?;
    let done = reap(ring, 2)?;
    assert_eq!(done[0].to_result(), Ok(5));
    assert_eq!(done[1].to_result(), Err(Errno::CANCELED));

    let moment = Timespec::from(MOMENT);
    let started = Instant::now();
    start(ring, &waiting(&out, &mut buf, LinkTimeout::new(&moment)))?;
    let done = reap(ring, 2)?;
    ended(&done[0]);
    assert_eq!(done[1].to_result(), Err(Errno::TIME));
    assert!(started.elapsed() >= MOMENT);
    Ok(())
}

/// An absolute time that is long past.
fn link_timeout_absolute(ring: &mut dyn Ring) -> Result {
    let ((out, _to), mut buf) = (pipe()?, [0; 8]);
    let past = Timespec::from(MOMENT);
    let timeout = LinkTimeout::new(&past).flags(TimeoutFlags::ABS);
    start(ring, &waiting(&out, &mut buf, timeout))?;
    let done = reap(ring, 2)?;
    ended(&done[0]);
    assert_eq!(done[1].to_result(), Err(Errno::TIME));
    Ok(())
}

fn link_timeout_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries point only to times, which are constants.
    let ring = &mut unsafe { ring.runner() };
    // The timeout is linked to no operation.
    assert_eq!(ring.result(LinkTimeout::new(&HOUR).build())?, Err(Errno::INVAL));
    let ((out, _to), mut buf) = (pipe()?, [0; 8]);
    for (timeout, errno) in [
        (LinkTimeout::new(ptr::null()), Errno::FAULT),
        (LinkTimeout::new(&HOUR).flags(TimeoutFlags::from_bits_retain(1 << 30)), Errno::INVAL),
    ] {
        start(&mut **ring, &waiting(&out, &mut buf, timeout))?;
        let done = reap(&mut **ring, 2)?;
        assert_eq!(done[0].to_result(), Err(Errno::CANCELED));
        assert_eq!(done[1].to_result(), Err(errno));
    }
    Ok(())
}

const NANOSECONDS: u64 = MOMENT.as_nanos() as u64;

fn timeout_immediate(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries point only to times, which are constants.
    let ring = &mut unsafe { ring.runner() };
    for (flags, at_least) in [(TimeoutFlags::empty(), MOMENT), (TimeoutFlags::ABS, Duration::ZERO)]
    {
        let started = Instant::now();
        let timeout = Timeout::new(ptr::null()).immediate(NANOSECONDS).flags(flags).build();
        assert_eq!(ring.result(timeout)?, Err(Errno::TIME));
        assert!(started.elapsed() >= at_least);
    }
    Ok(())
}

fn link_timeout_immediate(ring: &mut dyn Ring) -> Result {
    let ((out, _to), mut buf) = (pipe()?, [0; 8]);
    let started = Instant::now();
    let timeout = LinkTimeout::new(ptr::null()).immediate(NANOSECONDS);
    start(ring, &waiting(&out, &mut buf, timeout))?;
    let done = reap(ring, 2)?;
    ended(&done[0]);
    assert_eq!(done[1].to_result(), Err(Errno::TIME));
    assert!(started.elapsed() >= MOMENT);
    Ok(())
}

fn timeout_remove_update_immediate(ring: &mut dyn Ring) -> Result {
    start(ring, &[Timeout::new(&HOUR).build().user_data(1)])?;
    let update = TimeoutUpdate::new(1, ptr::null()).immediate(NANOSECONDS);
    start(ring, &[update.build().user_data(2)])?;
    let done = reap(ring, 2)?;
    assert_eq!(done[0].to_result(), Err(Errno::TIME));
    assert_eq!(done[1].to_result(), Ok(0));
    Ok(())
}
