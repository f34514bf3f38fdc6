//! Rings that are bound to a task and addressed by their registered index there.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::thread;

use anyhow::Context;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use rustix::io::fcntl_getfd;
use rustix_uring::sys::io_uring_register_op::*;
use rustix_uring::types::Fd;
use rustix_uring::{Errno, Features, IoUring, Local, SetupFlags, cqueue, opcode, squeue};

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::once("works_unregistered", &[], works_unregistered),
    Case::once("enters_by_its_index", REGISTERED, enters_by_its_index),
    Case::once("gives_its_index_back", REGISTERED, gives_its_index_back),
    Case::once("sixteen_and_no_more", REGISTERED, sixteen_and_no_more),
    Case::once("moved_rings_leave_others_alone", REGISTERED, moved_rings_leave_others_alone),
    Case::once("closed_descriptor", CLOSED, closed_descriptor),
    Case::once("build_local", &[], build_local),
    Case::once("in_an_epoll", &[Opcode(opcode::Read::CODE)], in_an_epoll),
    Case::once("deferred_in_an_epoll", &[Opcode(opcode::Read::CODE)], deferred_in_an_epoll),
    Case::once("gets_messages", &[Opcode(opcode::MsgRingData::CODE)], gets_messages),
    Case::once("handed_on", &[Opcode(opcode::Read::CODE)], handed_on),
];

/// The number of rings that a task can register.
const INDICES: usize = 16;

const REGISTERED: &[Need] =
    &[Register(IORING_REGISTER_RING_FDS as u32), Register(IORING_UNREGISTER_RING_FDS as u32)];
const CLOSED: &[Need] = &[Feature(Features::REG_REG_RING)];

fn registered() -> Result<IoUring<squeue::Entry, cqueue::Entry, Local>> {
    let mut ring = IoUring::new(8)?.into_local();
    ring.register_ring_fd()?;
    Ok(ring)
}

fn works_unregistered() -> Result {
    let mut ring = IoUring::new(8)?.into_local();
    assert_eq!(ring.registered_index(), None);
    works(&mut ring, 20)?;
    assert_eq!(ring.unregister_ring_fd(), Ok(()));
    let mut ring = ring.into_shared().ok().context("the ring has no descriptor")?;
    works(&mut ring, 20)
}

fn enters_by_its_index() -> Result {
    let mut ring = registered()?;
    let index = ring.registered_index().context("the ring is not registered")?;
    assert!((index as usize) < INDICES);
    works(&mut ring, 20)?;
    // Registering it again has no effect.
    ring.register_ring_fd()?;
    assert_eq!(ring.registered_index(), Some(index));
    let (submitter, mut queue, mut completions) = ring.split();
    // SAFETY: a NOP uses no memory and no descriptor.
    unsafe { queue.push(&nop(7)) }?;
    queue.sync();
    assert_eq!(submitter.submit_and_wait(1), Ok(1));
    completions.sync();
    assert_eq!(completions.next().map(|cqe| cqe.user_data()), Some(7));
    drop((queue, completions));
    ring.unregister_ring_fd()?;
    assert_eq!(ring.registered_index(), None);
    works(&mut ring, 20)
}

/// A dropped ring releases its index: a task has only 16, and would run out of them at the 17th ring.
fn gives_its_index_back() -> Result {
    for _ in 0..5 * INDICES {
        let mut ring = registered()?;
        works(&mut ring, 1)?;
    }
    let mut ring = IoUring::new(8)?.into_local();
    for _ in 0..5 * INDICES {
        ring.register_ring_fd()?;
        works(&mut ring, 1)?;
        ring.unregister_ring_fd()?;
    }
    for _ in 0..5 * INDICES {
        let ring = registered()?.into_shared().ok().context("the ring has no descriptor")?;
        drop(ring);
    }
    Ok(())
}

fn sixteen_and_no_more() -> Result {
    let mut rings = (0..INDICES).map(|_| registered()).collect::<Result<Vec<_>>>()?;
    let mut one_more = IoUring::new(8)?.into_local();
    assert_eq!(one_more.register_ring_fd(), Err(Errno::BUSY));
    assert_eq!(one_more.registered_index(), None);
    works(&mut one_more, 5)?;
    for ring in &mut rings {
        works(ring, 5)?;
    }
    drop(rings.remove(3));
    assert_eq!(one_more.register_ring_fd(), Ok(()));
    assert_eq!(one_more.registered_index(), Some(3));
    works(&mut one_more, 5)
}

/// A ring that is used and dropped in another task does not affect the rings that are registered
/// there, whatever index it had before.
fn moved_rings_leave_others_alone() -> Result {
    let mut moves = registered()?;
    let index = moves.registered_index();
    works(&mut moves, 5)?;
    let mut moves = moves.into_shared().ok().context("the ring has no descriptor")?;
    thread::spawn(move || {
        let mut stays = registered()?;
        // In this task, the same index refers to another ring.
        assert_eq!(stays.registered_index(), index);
        works(&mut moves, 5)?;
        works(&mut stays, 5)?;
        assert_eq!(stays.completion_status().ready() + moves.completion_status().ready(), 0);
        drop(moves);
        works(&mut stays, 5)
    })
    .join()
    .expect("panics are caught by the harness")
}

fn closed_descriptor() -> Result {
    let mut ring = IoUring::new(8)?;
    let fd = ring.as_raw_fd();
    let open = |fd| {
        // SAFETY: the number is only queried, whatever it refers to.
        fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).is_ok()
    };
    works(&mut ring, 1)?;
    let mut ring = ring.into_local();
    assert_eq!(ring.close_ring_fd(), Err(Errno::INVAL));
    ring.register_ring_fd()?;
    assert!(open(fd));
    ring.close_ring_fd()?;
    assert!(!open(fd));
    assert!(ring.ring_fd().is_none() && ring.submitter().ring_fd().is_none());
    works(&mut ring, 20)?;
    ring.close_ring_fd()?;
    // Register calls also use the index.
    ring.submitter().register_probe(&mut rustix_uring::Probe::new())?;
    // Calls that would lose the ring, or that need the descriptor, fail, and the ring continues to
    // work.
    assert_eq!(ring.unregister_ring_fd(), Err(Errno::INVAL));
    assert_eq!(ring.resize(16, None), Err(Errno::INVAL));
    let mut ring = ring.into_shared().err().context("the ring has a descriptor")?;
    works(&mut ring, 20)
}

/// A ring in an epoll set: it becomes readable when a waiting read can continue. Rings with
/// DEFER_TASKRUN need an eventfd for this, because current kernels notify only the eventfd.
fn in_an_epoll() -> Result {
    let mut ring = IoUring::new(8)?.into_local();
    let _ = ring.register_ring_fd();
    let fd = ring.ring_fd().context("the ring has no descriptor")?.try_clone_to_owned()?;
    becomes_ready(&mut ring, &fd)
}

fn deferred_in_an_epoll() -> Result {
    let mut ring = <IoUring>::builder().build_local(8)?;
    let eventfd = eventfd(0, EventfdFlags::NONBLOCK)?;
    ring.submitter().register_eventfd(&eventfd)?;
    becomes_ready(&mut ring, &eventfd)
}

fn becomes_ready(ring: &mut IoUring<squeue::Entry, cqueue::Entry, Local>, fd: &OwnedFd) -> Result {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, fd, epoll::EventData::new_u64(7), epoll::EventFlags::IN)?;
    let none =
        epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
    let ready = |seconds| loop {
        let mut events = [none; 2];
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        match epoll::wait(&epoll, &mut events, Some(&time)) {
            // The kernel's task work for the ring interrupts the wait as a signal does.
            Err(Errno::INTR) => {}
            n => break Ok::<Vec<_>, Errno>(events[..n?].iter().map(|it| it.data.u64()).collect()),
        }
    };
    let (reader, writer) = rustix::pipe::pipe()?;
    let mut byte = 0;
    let read = opcode::Read::new(Fd(reader.as_raw_fd()), &mut byte, 1).build().user_data(1);
    // SAFETY: the byte and the pipe stay until the read is reaped below. A failure ends the
    // process.
    unsafe { ring.submission().push(&read) }?;
    ring.submit()?;
    assert_eq!(ready(0)?, [0; 0]);
    rustix::io::write(&writer, b"a")?;
    assert_eq!(ready(10)?, [7]);
    // Deferred work may need more than one call.
    while ring.completion_status().is_empty() {
        ring.submitter().get_events()?;
    }
    assert_eq!(ring.completion().map(|cqe| cqe.user_data()).collect::<Vec<_>>(), [1]);
    Ok(())
}

fn gets_messages() -> Result {
    let (mut local, mut other) = (<IoUring>::builder().build_local(8)?, IoUring::new(8)?);
    let fd = local.ring_fd().context("the ring has no descriptor")?;
    let message = opcode::MsgRingData::new(fd, 42, 7, None).build();
    // SAFETY: the ring is open until the message has completed.
    unsafe { other.submission().push(&message) }?;
    other.submit_and_wait(1)?;
    assert_eq!(other.completion().next().map(|cqe| cqe.result()), Some(0));
    local.submit_and_wait(1)?;
    let got = local.completion().next().map(|cqe| (cqe.user_data(), cqe.result()));
    assert_eq!(got, Some((7, 42)));
    Ok(())
}

/// A ring outlives the mapping of its queues: operations in flight and queued entries remain
/// available to the next owner of the descriptor.
fn handed_on() -> Result {
    let mut local = IoUring::new(8)?.into_local();
    let _ = local.register_ring_fd();
    let mut ring = local.into_shared().ok().context("the ring has no descriptor")?;
    let number = ring.as_raw_fd();
    assert_eq!(ring.ring_fd().map(|fd| fd.as_raw_fd()), Some(number));
    let (reader, writer) = rustix::pipe::pipe()?;
    let mut buf = [0_u8; 4];
    let read = opcode::Read::new(Fd(reader.as_raw_fd()), buf.as_mut_ptr(), 4).build().user_data(1);
    // SAFETY: the buffer and the pipe stay until both operations are reaped below. A failure ends
    // the process.
    unsafe { ring.submission().push(&read) }?;
    assert_eq!(ring.submit(), Ok(1));
    // SAFETY: a NOP uses no memory and no descriptor.
    unsafe { ring.submission().push(&nop(2)) }?;
    let (before, params) = (address_space()?, *ring.params());
    let fd = OwnedFd::from(ring);
    assert_eq!(fd.as_raw_fd(), number);
    assert!(address_space()? < before, "the queues are still mapped");
    assert_eq!(rustix::io::write(&writer, b"data")?, 4);
    // SAFETY: the descriptor and the parameters belong to a ring that nothing else uses.
    let mut ring: IoUring = unsafe { IoUring::from_fd(fd, params) }?;
    let mut done = Vec::new();
    while done.len() < 2 {
        ring.submit_and_wait(2 - done.len())?;
        done.extend(ring.completion().map(|cqe| (cqe.user_data(), cqe.result())));
    }
    done.sort();
    assert_eq!(done, [(1, 4), (2, 0)]);
    assert_eq!(&buf, b"data");
    Ok(())
}

fn build_local() -> Result {
    let mut ring = <IoUring>::builder().build_local(8)?;
    works(&mut ring, 20)?;
    let flags = ring.params().setup_flags();
    // The ring has the best flags available: the kernel rejected each earlier fallback.
    let granted = |flags: SetupFlags| {
        let mut builder = <IoUring>::builder();
        builder.sqarray();
        for flag in flags {
            match flag {
                SetupFlags::SINGLE_ISSUER => builder.setup_single_issuer(),
                SetupFlags::DEFER_TASKRUN => builder.setup_defer_taskrun(),
                SetupFlags::COOP_TASKRUN => builder.setup_coop_taskrun(),
                SetupFlags::NO_SQARRAY => builder.setup_no_sqarray(),
                _ => unreachable!("{flag:?} is not among the fallbacks"),
            };
        }
        builder.build(8).is_ok()
    };
    let defer = SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN;
    assert_eq!(flags.contains(defer), granted(defer));
    assert_eq!(
        flags.contains(defer | SetupFlags::NO_SQARRAY),
        granted(defer | SetupFlags::NO_SQARRAY)
    );
    assert_eq!(flags.contains(SetupFlags::COOP_TASKRUN), {
        !granted(defer) && granted(SetupFlags::COOP_TASKRUN)
    });
    // The flag is set if the kernel supports it, and its absence causes no error.
    let mut flagged = <IoUring>::builder().setup_taskrun_flag().build_local(8)?;
    works(&mut flagged, 20)?;
    let shows = granted(defer) || granted(SetupFlags::COOP_TASKRUN);
    let expected = if shows { flags | SetupFlags::TASKRUN_FLAG } else { flags };
    assert_eq!(flagged.params().setup_flags(), expected);
    let registers = IoUring::new(1)?.into_local().register_ring_fd().is_ok();
    assert_eq!(ring.registered_index().is_some(), registers);
    // Errors that do not depend on flags are not retried.
    assert_eq!(<IoUring>::builder().build_local(0).map(drop), Err(Errno::INVAL));
    Ok(())
}
