//! Polling for readiness.

use std::net::{Shutdown, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr;

use rustix::event::epoll;
use rustix::io::write;
use rustix::pipe::pipe;
use rustix_uring::Errno;
use rustix_uring::opcode::{
    AsyncCancel, EpollCtl, EpollWait, PollAdd, PollRemove, PollUpdate, Read,
};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::types::{
    EpollEvent, EpollEventData, EpollEventFlags, EpollOp, Fd, FileSlot, Fixed, PollFlags,
};

use crate::harness::Need::*;
use crate::harness::*;
use crate::opcode::reap;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("poll_add", &[Opcode(PollAdd::CODE)], poll_add),
    Case::kinds("poll_add_wide_mask", &[Opcode(PollAdd::CODE)], wide_mask),
    Case::kinds("poll_add_unasked", &[Opcode(PollAdd::CODE)], unasked),
    Case::kinds("poll_add_multi", &[Opcode(PollAdd::CODE), MULTI], multi),
    Case::kinds("poll_add_refused", &[Opcode(PollAdd::CODE)], poll_add_refused),
    Case::kinds("poll_remove", &[Opcode(PollRemove::CODE)], poll_remove),
    Case::kinds("poll_update", &[Opcode(PollUpdate::CODE), MULTI], poll_update),
    Case::kinds("poll_update_refused", &[Opcode(PollUpdate::CODE), MULTI], poll_update_refused),
    Case::kinds("epoll_ctl", &[Opcode(EpollCtl::CODE)], epoll_ctl),
    Case::kinds("epoll_ctl_refused", &[Opcode(EpollCtl::CODE)], epoll_ctl_refused),
    Case::kinds("epoll_wait", &[Opcode(EpollWait::CODE)], epoll_wait),
    Case::kinds("epoll_wait_refused", &[Opcode(EpollWait::CODE)], epoll_wait_refused),
];

/// Multishot polls and poll updates came in the same release.
const MULTI: Need = Trial {
    what: "multishot poll",
    refusal: Errno::INVAL,
    call: || {
        let (_out, to) = pipe()?;
        let mut ring = KINDS[0].build(&Setup::USUAL)?;
        let poll = PollAdd::new(&to, PollFlags::OUT).multi(true).build();
        // SAFETY: a poll uses no memory, and it ends when the ring is dropped.
        unsafe { ring.push(&[poll]) }?;
        ring.submit_and_wait(1)?;
        ring.reap()[0].to_result()?;
        Ok(())
    },
};

/// Queues and submits operations that use no memory.
fn start(ring: &mut dyn Ring, entries: &[Entry]) -> Result {
    // SAFETY: the entries use no memory, and the caller's files outlive the operations.
    unsafe { ring.push(entries) }?;
    ring.submit()?;
    Ok(())
}

fn poll_add(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory, and the files outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (out, to) = pipe()?;
    ring.submitter().register_files(&[FileSlot::new(&out)])?;
    // The descriptor is ready immediately.
    let poll = PollAdd::new(&to, PollFlags::OUT | PollFlags::IN).build();
    assert_eq!(ring.result(poll)?, Ok(PollFlags::OUT.bits()));
    // The descriptor becomes ready later.
    start(
        &mut **ring,
        &[
            PollAdd::new(&out, PollFlags::IN).build().user_data(1),
            PollAdd::new(Fixed(0), PollFlags::IN).build().user_data(2),
        ],
    )?;
    assert!(ring.reap().is_empty());
    write(&to, b"hello")?;
    for done in ring.complete(2)? {
        assert!(done.to_poll_flags()?.contains(PollFlags::IN), "{done:?}");
    }
    drop(to);
    // The kernel reports hangups even if they were not requested.
    let done = ring.result(PollAdd::new(&out, PollFlags::PRI).build())?;
    assert_eq!(done, Ok(PollFlags::HUP.bits()));
    Ok(())
}

/// Mask bits above the original sixteen. On big-endian machines, they are in the other half of the
/// field.
fn wide_mask(ring: &mut dyn Ring) -> Result {
    let (out, to) = pipe()?;
    let alone = |user_data| {
        let flags = PollFlags::IN | PollFlags::EXCLUSIVE;
        PollAdd::new(&out, flags).build().user_data(user_data)
    };
    start(ring, &[alone(1), alone(2)])?;
    write(&to, b"hello")?;
    // Exactly one of the two polls completes.
    let done = reap(ring, 1)?;
    assert!(done[0].to_poll_flags()?.contains(PollFlags::IN), "{done:?}");
    assert!(ring.reap().is_empty());
    let other = 3 - done[0].user_data();
    start(ring, &[AsyncCancel::new(other).build().user_data(9)])?;
    let done = reap(ring, 2)?;
    assert_eq!(done[0].to_result(), Err(Errno::CANCELED));
    assert_eq!(done[1].to_result(), Ok(0));
    Ok(())
}

fn multi(ring: &mut dyn Ring) -> Result {
    let (out, to) = pipe()?;
    start(ring, &[PollAdd::new(&out, PollFlags::IN).multi(true).build().user_data(1)])?;
    for _ in 0..3 {
        write(&to, b"hello")?;
        let done = reap(ring, 1)?;
        assert!(done[0].more() && done[0].to_poll_flags()?.contains(PollFlags::IN), "{done:?}");
        let mut buf = [0; 16];
        let read = Read::new(&out, buf.as_mut_ptr(), 16).build().user_data(2);
        // SAFETY: `buf` outlives the read, whose completion is awaited.
        unsafe { ring.push(&[read]) }?;
        assert_eq!(reap(ring, 1)?[0].to_result(), Ok(5));
    }
    start(ring, &[PollRemove::new(1).build().user_data(2)])?;
    let done = reap(ring, 2)?;
    assert_eq!(done[0].to_result(), Err(Errno::CANCELED));
    assert!(!done[0].more());
    assert_eq!(done[1].to_result(), Ok(0));
    Ok(())
}

fn poll_add_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory, and the files outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (out, _to) = pipe()?;
    ring.submitter().register_files(&[FileSlot::EMPTY])?;
    let poll = |fd: Fd| PollAdd::new(fd, PollFlags::IN);
    assert_eq!(ring.result(poll(Fd(-1)).build())?, Err(Errno::BADF));
    let empty = PollAdd::new(Fixed(0), PollFlags::IN).build();
    assert_eq!(ring.result(empty)?, Err(Errno::BADF));
    // The flag has been in the header for years, but no kernel supports it. This case fails once
    // one does.
    let level = poll(Fd(out.as_raw_fd())).level(true);
    ring.refuses([(level.build(), Errno::INVAL), (level.multi(true).build(), Errno::INVAL)])
}

fn poll_remove(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory, and the files outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (out, _to) = pipe()?;
    start(&mut **ring, &[PollAdd::new(&out, PollFlags::IN).build().user_data(1)])?;
    assert_eq!(ring.result(PollRemove::new(5).build())?, Err(Errno::NOENT));
    start(&mut **ring, &[PollRemove::new(1).build().user_data(2)])?;
    let done = reap(&mut **ring, 2)?;
    assert_eq!(done[0].to_result(), Err(Errno::CANCELED));
    assert_eq!(done[1].to_result(), Ok(0));
    assert_eq!(ring.result(PollRemove::new(1).build())?, Err(Errno::NOENT));
    Ok(())
}

/// Changes the mask, the user data, and both.
fn poll_update(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory, and the files outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (out, to) = pipe()?;
    // No priority data ever arrives.
    start(&mut **ring, &[PollAdd::new(&out, PollFlags::PRI).build().user_data(1)])?;
    start(&mut **ring, &[PollUpdate::new(1).new_user_data(2).build().user_data(9)])?;
    assert_eq!(reap(&mut **ring, 1)?[0].to_result(), Ok(0));
    assert_eq!(ring.result(PollUpdate::new(1).new_user_data(3).build())?, Err(Errno::NOENT));
    let change = PollUpdate::new(2).events(PollFlags::IN).build();
    assert_eq!(ring.result(change)?, Ok(0));
    write(&to, b"hello")?;
    let done = reap(&mut **ring, 1)?;
    assert_eq!((done[0].user_data(), done[0].more()), (2, false));
    assert!(done[0].to_poll_flags()?.contains(PollFlags::IN), "{done:?}");
    assert_eq!(rustix::io::read(&out, &mut [0; 16])?, 5);

    // An update does not end a multishot poll.
    let poll = PollAdd::new(&out, PollFlags::PRI).multi(true).build();
    start(&mut **ring, &[poll.user_data(1)])?;
    for (multi, user_data) in [(true, 2), (false, 3)] {
        let change = PollUpdate::new(user_data - 1).events(PollFlags::IN).multi(multi);
        start(&mut **ring, &[change.new_user_data(user_data).build().user_data(9)])?;
        assert_eq!(reap(&mut **ring, 1)?[0].to_result(), Ok(0));
        for _ in 0..2 {
            write(&to, b"hello")?;
            let done = reap(&mut **ring, 1)?;
            assert_eq!(done[0].user_data(), user_data);
            assert!(done[0].more() && done[0].to_poll_flags()?.contains(PollFlags::IN), "{done:?}");
            let mut buf = [0; 16];
            assert_eq!(rustix::io::read(&out, &mut buf)?, 5);
        }
    }
    start(&mut **ring, &[PollRemove::new(3).build().user_data(9)])?;
    assert_eq!(reap(&mut **ring, 2)?[1].to_result(), Ok(0));
    Ok(())
}

fn poll_update_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory, and the files outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let none = PollUpdate::new(1).events(PollFlags::IN).build();
    ring.refuses([
        (none, Errno::NOENT),
        // `multi` requires another change.
        (PollUpdate::new(1).multi(true).build(), Errno::INVAL),
    ])
}

fn epoll() -> Result<OwnedFd> {
    Ok(epoll::create(epoll::CreateFlags::CLOEXEC)?)
}

const IN: EpollEventFlags = EpollEventFlags::IN;
const OUT: EpollEventFlags = EpollEventFlags::OUT;

fn event(flags: EpollEventFlags, data: u64) -> EpollEvent {
    EpollEvent { flags, data: EpollEventData::new_u64(data) }
}

/// Space for `N` events.
fn room<const N: usize>() -> [EpollEvent; N] {
    [event(EpollEventFlags::empty(), 0); N]
}

fn told(events: &[EpollEvent]) -> Vec<(EpollEventFlags, u64)> {
    events.iter().map(|event| (event.flags, { event.data }.u64())).collect()
}

/// The events that the epoll reports.
fn found(epoll: &OwnedFd) -> Result<Vec<(EpollEventFlags, u64)>> {
    let mut events = room::<4>();
    let at_once = Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 });
    let n = epoll::wait(epoll, &mut events, at_once)?;
    Ok(told(&events[..n]))
}

/// Runs an [`EpollCtl`].
fn control(
    ring: &mut dyn Ring,
    epoll: &OwnedFd,
    fd: &OwnedFd,
    op: EpollOp,
    event: *const EpollEvent,
) -> Result<Result<u32, Errno>> {
    // SAFETY: the event belongs to the caller and outlives the operation, for which `run` waits.
    Ok(unsafe { ring.run(EpollCtl::new(epoll, fd, op, event).build()) }?.to_result())
}

fn epoll_ctl(ring: &mut dyn Ring) -> Result {
    let (epoll, (_out, to)) = (epoll()?, pipe()?);
    let add = event(OUT, 7);
    assert_eq!(control(ring, &epoll, &to, EpollOp::ADD, &add)?, Ok(0));
    assert_eq!(found(&epoll)?, [(OUT, 7)]);
    let change = event(IN, 8);
    assert_eq!(control(ring, &epoll, &to, EpollOp::MOD, &change)?, Ok(0));
    assert_eq!(found(&epoll)?, []);
    let change = event(OUT, 9);
    assert_eq!(control(ring, &epoll, &to, EpollOp::MOD, &change)?, Ok(0));
    assert_eq!(found(&epoll)?, [(OUT, 9)]);
    assert_eq!(control(ring, &epoll, &to, EpollOp::DEL, ptr::null())?, Ok(0));
    assert_eq!(found(&epoll)?, []);
    Ok(())
}

fn epoll_ctl_refused(ring: &mut dyn Ring) -> Result {
    let (epoll, (_out, to)) = (epoll()?, pipe()?);
    let add = event(OUT, 7);
    for op in [EpollOp::MOD, EpollOp::DEL] {
        assert_eq!(control(ring, &epoll, &to, op, &add)?, Err(Errno::NOENT));
    }
    assert_eq!(control(ring, &epoll, &to, EpollOp::ADD, ptr::null())?, Err(Errno::FAULT));
    assert_eq!(control(ring, &epoll, &to, EpollOp::ADD, &add)?, Ok(0));
    assert_eq!(control(ring, &epoll, &to, EpollOp::ADD, &add)?, Err(Errno::EXIST));
    assert_eq!(control(ring, &epoll, &epoll, EpollOp::ADD, &add)?, Err(Errno::INVAL));
    assert_eq!(control(ring, &to, &epoll, EpollOp::ADD, &add)?, Err(Errno::INVAL));
    // A slot cannot name the epoll, whether it is registered or not.
    ring.submitter().register_files(&[FileSlot::new(&epoll)])?;
    let slot = EpollCtl::new(Fd(-1), &to, EpollOp::MOD, &add).build().flags(Flags::FIXED_FILE);
    // SAFETY: `add` outlives the operation, for which `run` waits.
    assert_eq!(unsafe { ring.run(slot) }?.to_result(), Err(Errno::BADF));
    Ok(())
}

fn epoll_wait(ring: &mut dyn Ring) -> Result {
    let (epoll, (out, to)) = (epoll()?, pipe()?);
    ring.submitter().register_files(&[FileSlot::new(&epoll)])?;
    let there = EpollEventData::new_u64(5);
    epoll::add(&epoll, &out, there, IN)?;
    let mut events = room::<4>();
    let wait = EpollWait::new(&epoll, events.as_mut_ptr(), 4).build();
    // SAFETY: `events` outlives the operation, whose completion is awaited.
    unsafe { ring.push(&[wait]) }?;
    ring.submit()?;
    assert!(ring.reap().is_empty());
    write(&to, b"hello")?;
    assert_eq!(ring.complete(1)?[0].to_result(), Ok(1));
    assert_eq!(told(&events[..1]), [(IN, 5)]);

    let mut again = room::<1>();
    let wait = EpollWait::new(Fixed(0), again.as_mut_ptr(), 1).build();
    // SAFETY: `again` outlives the operation, for which `run` waits.
    assert_eq!(unsafe { ring.run(wait) }?.to_result(), Ok(1));
    assert_eq!(told(&again), [(IN, 5)]);
    Ok(())
}

fn epoll_wait_refused(ring: &mut dyn Ring) -> Result {
    let (epoll, (_out, to)) = (epoll()?, pipe()?);
    epoll::add(&epoll, &to, EpollEventData::new_u64(0), OUT)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut events = room::<4>();
    let start = events.as_mut_ptr();
    let refusals = [
        (EpollWait::new(&epoll, start, 0), Errno::INVAL),
        (EpollWait::new(listener.as_fd(), start, 4), Errno::INVAL),
        (EpollWait::new(Fd(-1), start, 4), Errno::BADF),
        (EpollWait::new(&epoll, ptr::null_mut(), 4), Errno::FAULT),
    ];
    // SAFETY: `events` outlives each operation, for which `refuses` waits.
    let mut ring = unsafe { ring.runner() };
    ring.refuses(refusals.map(|(wait, errno)| (wait.build(), errno)))
}

/// A poll reports a peer that shut down writing even if no events were requested, as it does with
/// hangups.
fn unasked(ring: &mut dyn Ring) -> Result {
    let (one, other) = UnixStream::pair()?;
    start(ring, &[PollAdd::new(one.as_fd(), PollFlags::empty()).build()])?;
    other.shutdown(Shutdown::Write)?;
    ring.submitter().wait(1)?;
    assert_eq!(reap(ring, 1)?[0].to_poll_flags(), Ok(PollFlags::RDHUP));
    drop(other);
    start(ring, &[PollAdd::new(one.as_fd(), PollFlags::empty()).build()])?;
    let found = reap(ring, 1)?[0].to_poll_flags()?;
    assert!(found.contains(PollFlags::RDHUP | PollFlags::HUP), "{found:?}");
    Ok(())
}
