//! Rings that are named by an index of their task.

use std::os::fd::AsRawFd;
use std::thread;

use anyhow::{anyhow, ensure};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::dup;
use rustix_uring::sys::io_uring_register_op::*;
use rustix_uring::{Errno, IoUring, Local, cqueue, squeue};

use crate::harness::Need::*;
use crate::harness::*;

type LocalRing = IoUring<squeue::Entry, cqueue::Entry, Local>;

const NEEDS: &[Need] = &[
    Register(IORING_REGISTER_RING_FDS as u32),
    Register(IORING_UNREGISTER_RING_FDS as u32),
    REGISTERS,
];

pub(crate) const CASES: &[Case] = &[
    Case::once("enters_by_index", NEEDS, enters_by_index),
    Case::once("index_comes_and_goes", NEEDS, index_comes_and_goes),
    Case::once("hundred_times", NEEDS, hundred_times),
    Case::once("seventeenth", NEEDS, seventeenth),
    Case::once("other_tasks_index", NEEDS, other_tasks_index),
    Case::once("without_index", &[], without_index),
];

const REGISTERS: Need = Trial {
    what: "registering a ring's descriptor",
    refusal: Errno::INVAL,
    call: || Ok(local()?.register_ring_fd()?),
};

fn local() -> Result<LocalRing> {
    Ok(IoUring::new(8)?.into_local())
}

fn registered() -> Result<LocalRing> {
    let mut ring = local()?;
    ring.register_ring_fd()?;
    Ok(ring)
}

/// While its descriptor is another file, the ring still works.
fn enters_by_index() -> Result {
    let ring = IoUring::new(8)?;
    let number = ring.as_raw_fd();
    let kept = dup(&ring)?;
    let no_ring = open("/dev/null", OFlags::RDONLY, Mode::empty())?;
    // SAFETY: the number is the ring's, which is put back before anybody closes it.
    let put = |fd: i32| unsafe {
        ensure!(libc::dup2(fd, number) == number);
        Ok(())
    };

    let mut ring = ring.into_local();
    put(no_ring.as_raw_fd())?;
    let by_descriptor = ring.submitter().get_events();
    put(kept.as_raw_fd())?;
    ring.register_ring_fd()?;
    put(no_ring.as_raw_fd())?;
    let by_index = works(&mut ring, 20);
    put(kept.as_raw_fd())?;

    assert!(by_descriptor.is_err());
    by_index
}

fn index_comes_and_goes() -> Result {
    let mut ring = local()?;
    assert_eq!(ring.registered_index(), None);
    works(&mut ring, 5)?;
    ring.unregister_ring_fd()?;
    ring.register_ring_fd()?;
    let index = ring.registered_index();
    assert!(index.is_some_and(|index| index < 16), "{index:?}");
    // Once is enough.
    ring.register_ring_fd()?;
    assert_eq!(ring.registered_index(), index);
    works(&mut ring, 5)?;
    ring.submitter().get_events()?;
    ring.unregister_ring_fd()?;
    assert_eq!(ring.registered_index(), None);
    works(&mut ring, 5)
}

/// USERS.md D4: the seventeenth time was the last.
fn hundred_times() -> Result {
    let mut ring = local()?;
    for _ in 0..100 {
        ring.register_ring_fd()?;
        ring.unregister_ring_fd()?;
    }
    for _ in 0..100 {
        let mut dropped = registered()?;
        works(&mut dropped, 1)?;
    }
    for _ in 0..100 {
        let shared = registered()?.into_shared();
        let mut shared = shared.map_err(|_| anyhow!("it has a descriptor"))?;
        works(&mut shared, 1)?;
    }
    Ok(())
}

fn seventeenth() -> Result {
    let mut rings = (0..16).map(|_| registered()).collect::<Result<Vec<_>>>()?;
    let mut another = local()?;
    assert_eq!(another.register_ring_fd(), Err(Errno::BUSY));
    assert_eq!(another.registered_index(), None);
    works(&mut another, 5)?;
    for ring in &mut rings {
        works(ring, 5)?;
    }
    rings.pop();
    another.register_ring_fd()?;
    works(&mut another, 5)
}

/// A ring that had the first index here moves to where another one has it.
fn other_tasks_index() -> Result {
    let had = registered()?;
    let index = had.registered_index();
    let had = had.into_shared().map_err(|_| anyhow!("it has a descriptor"))?;
    let elsewhere = move || -> Result {
        let mut has = registered()?;
        assert_eq!(has.registered_index(), Some(0));
        let mut had = had;
        works(&mut had, 10)?;
        works(&mut has, 10)?;
        drop(had);
        works(&mut has, 10)?;
        assert_eq!(has.registered_index(), Some(0));
        Ok(())
    };
    assert_eq!(index, Some(0));
    // A ring that stays keeps its index while others come and go elsewhere.
    let mut stays = registered()?;
    assert_eq!(stays.registered_index(), Some(0));
    thread::spawn(elsewhere).join().expect("it panicked")?;
    works(&mut stays, 10)
}

/// Being local alone changes nothing.
fn without_index() -> Result {
    let mut ring = local()?;
    works(&mut ring, 20)?;
    let mut shared = ring.into_shared().map_err(|_| anyhow!("it has a descriptor"))?;
    works(&mut shared, 20)?;
    thread::spawn(move || works(&mut shared, 20)).join().expect("it panicked")
}
