//! Zero-copy receive: over loopback without a device, and what the kernel rejects without one.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::LazyLock;
use std::thread;

use anyhow::{Context, anyhow, bail, ensure};
use rustix::fs::{Mode, OFlags, open};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use rustix_uring::squeue::{self, Entry, Sqe};
use rustix_uring::sys::{
    IORING_RECV_MULTISHOT, IORING_REGISTER_ZCRX_CTRL, ZCRX_CTRL_ADD_AREA, ZCRX_FEATURE_EVENT,
    io_uring_op::*, io_uring_register_op::*,
};
use rustix_uring::zcrx::{Area, Events, Ifq, IfqConfig, IfqFlags, Received, Stats};
use rustix_uring::{Errno, IoUring, cqueue};

use crate::harness::Need::*;
use crate::harness::*;

const REGISTER: Need = Register(IORING_REGISTER_ZCRX_IFQ as u32);
const CONTROL: Need = Register(IORING_REGISTER_ZCRX_CTRL);
const ADMIN: Need = Capability(CapabilitySet::NET_ADMIN);
const NODEV: Need = Trial {
    what: "zero-copy receive without a device",
    refusal: Errno::INVAL,
    call: || {
        let ring = ring()?;
        let area = area(1).map_err(|_| Errno::NOMEM)?;
        // SAFETY: nothing is received, so the kernel writes nothing.
        Ok(unsafe { ring.submitter().register_ifq(&config(&area, 8)) }.map(drop)?)
    },
};
const EVENTS: Need = Trial {
    what: "zero-copy receive events",
    refusal: Errno::OPNOTSUPP,
    call: || {
        let features = IoUring::new(1)?.submitter().register_query()?.zcrx();
        let there = features.is_some_and(|zcrx| zcrx.features() & ZCRX_FEATURE_EVENT != 0);
        Ok(there.then_some(()).ok_or(Errno::OPNOTSUPP)?)
    },
};
const ADD_AREA: Need = Trial {
    what: "additional zero-copy receive areas",
    refusal: Errno::OPNOTSUPP,
    call: || {
        let controls = IoUring::new(1)?.submitter().register_query()?.zcrx();
        let there = controls.is_some_and(|zcrx| zcrx.control_opcodes() > ZCRX_CTRL_ADD_AREA);
        Ok(there.then_some(()).ok_or(Errno::OPNOTSUPP)?)
    },
};

pub(crate) const CASES: &[Case] = &[
    Case::once("refused", &[REGISTER, ADMIN], refused),
    Case::once("unprivileged", &[REGISTER], unprivileged),
    Case::once("receive", &[REGISTER, CONTROL, ADMIN, NODEV], receive),
    Case::once("receive_mixed", &[REGISTER, CONTROL, ADMIN, NODEV], receive_mixed),
    Case::once("control_refused", &[CONTROL, ADMIN, NODEV], control_refused),
    Case::once("export_and_import", &[CONTROL, ADMIN, NODEV], export_and_import),
    Case::once("events", &[CONTROL, ADMIN, NODEV, EVENTS], events),
    Case::once("add_area", &[CONTROL, ADMIN, NODEV, ADD_AREA], add_area),
];

type Ring32 = IoUring<squeue::Entry, cqueue::Entry32>;

fn ring() -> Result<Ring32, Errno> {
    Ring32::builder().setup_single_issuer().setup_defer_taskrun().build(16)
}

fn area(pages: usize) -> Result<Pages> {
    Pages::new(pages * rustix::param::page_size())
}

fn config(area: &Pages, rq_entries: u32) -> IfqConfig<'static> {
    let mut config = IfqConfig::new(0, 0, rq_entries, Area::Memory(area.all()));
    config.flags = IfqFlags::NODEV;
    config
}

fn recv_zc(fd: BorrowedFd<'_>, ifq: u32) -> Entry {
    Entry::from_raw(Sqe {
        opcode: IORING_OP_RECV_ZC as u8,
        fd: fd.as_raw_fd(),
        ioprio: IORING_RECV_MULTISHOT as u16,
        file_index: ifq,
        ..Sqe::ZERO
    })
}

/// A loopback connection: the sender and the receiver.
fn connection() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let sender = TcpStream::connect(listener.local_addr()?)?;
    Ok((sender, listener.accept()?.0))
}

/// The data that is sent, from this position. It repeats, but not at page boundaries.
fn pattern(at: usize, len: usize) -> &'static [u8] {
    static PATTERN: LazyLock<Vec<u8>> =
        LazyLock::new(|| (0..251 + (128 << 10)).map(|i| (i % 251) as u8).collect());
    &PATTERN[at % 251..][..len]
}

fn send(mut to: TcpStream, total: usize) -> thread::JoinHandle<std::io::Result<()>> {
    thread::spawn(move || {
        let mut sent = 0;
        while sent < total {
            sent += to.write(pattern(sent, (128 << 10).min(total - sent)))?;
        }
        to.shutdown(Shutdown::Write)
    })
}

/// Checks received data, and returns its memory to the kernel.
fn take(ifq: &mut Ifq, memory: &Pages, received: Received, at: usize) -> Result<usize> {
    let len = received.len() as usize;
    ensure!(received.offset() as usize + len <= memory.all().len(), "{received:?}");
    let start = memory.all().cast::<u8>().as_ptr().wrapping_add(received.offset() as usize);
    // SAFETY: the data is within the area, and belongs to the program until it is returned below.
    let bytes = unsafe { std::slice::from_raw_parts(start, len) };
    ensure!(bytes == pattern(at, len), "received wrong bytes at offset {at}");
    // SAFETY: it comes from a completion of this queue, and the bytes are no longer read.
    unsafe { ifq.refill(received) }.map_err(|_| anyhow!("the refill ring is full"))?;
    Ok(len)
}

fn receive_on<C>(mut ring: IoUring<squeue::Entry, C>) -> Result
where
    C: cqueue::Kind + Into<Completion>,
{
    const TOTAL: usize = 64 << 20;
    let memory = area(256)?;
    // SAFETY: the pages are unmapped after the ring is dropped.
    let mut ifq = unsafe { ring.submitter().register_ifq(&config(&memory, 256)) }?;
    assert_eq!(ifq.free(), 256);
    let (sender, receiver) = connection()?;
    let sending = send(sender, TOTAL);
    let (mut at, mut ended, mut armed) = (0, false, false);
    let (mut full, mut empty) = (0, 0);
    while !ended {
        if !armed {
            // SAFETY: the socket outlives the operation; the area is registered.
            unsafe { ring.submission().push(&recv_zc(receiver.as_fd(), ifq.id())) }?;
            armed = true;
        }
        ring.submit_and_wait(1)?;
        let done: Vec<Completion> = ring.completion().map(Into::into).collect();
        for done in done {
            armed = done.more();
            match done.to_result() {
                Ok(0) => ended = true,
                Ok(_) => {
                    let big = done.big.context("the completion is not big")?;
                    let received =
                        Received::parse(&done, &big).context("the completion contains no data")?;
                    at += take(&mut ifq, &memory, received, at)?;
                }
                // There is no free slot in the completion queue, or no free memory in the area
                // until it is refilled.
                Err(Errno::NOSPC) => full += 1,
                Err(Errno::NOMEM) => empty += 1,
                Err(e) => bail!("after {at} bytes: {e}"),
            }
        }
        ifq.publish();
        if ifq.free() < 200 {
            ring.submitter().zcrx_flush(&ifq)?;
            ensure!(ifq.free() > 0, "no memory of the area is in use");
        }
    }
    sending.join().expect("the sender panicked")?;
    assert_eq!(at, TOTAL);
    // The completion queue is short, and the area is never completely in use.
    assert!(
        full > 0 && empty == 0,
        "the queue was full {full} times, the area empty {empty} times"
    );
    Ok(())
}

fn receive() -> Result {
    receive_on(ring()?)
}

fn receive_mixed() -> Result {
    let mut builder = IoUring::<squeue::Entry, cqueue::Mixed>::builder();
    receive_on(builder.setup_single_issuer().setup_defer_taskrun().build(16)?)
}

fn refused() -> Result {
    let memory = area(4)?;
    let config = altered(config(&memory, 8), |it| (it.flags, it.if_idx) = (IfqFlags::empty(), 1));
    // Completions that are too small, and a ring without deferred task work.
    let small = <IoUring>::builder().setup_single_issuer().setup_defer_taskrun().build(4)?;
    let other = Ring32::builder().build(4)?;
    // SAFETY: the kernel rejects the registration.
    unsafe {
        assert_eq!(small.submitter().register_ifq(&config).err(), Some(Errno::INVAL));
        assert_eq!(other.submitter().register_ifq(&config).err(), Some(Errno::INVAL));
    }
    let ring = ring()?;
    let no_device = altered(config, |it| it.if_idx = 12345);
    let refusals = [
        (no_device, Errno::NODEV),
        // The loopback device has no receive queues that could fill the memory.
        (config, Errno::OPNOTSUPP),
        (altered(config, |it| it.if_rxq = u32::MAX), Errno::INVAL),
        (altered(config, |it| it.rq_entries = 0), Errno::INVAL),
        (altered(config, |it| it.rq_entries = 65536), Errno::INVAL),
        (altered(config, |it| it.rq_entries = u32::MAX), Errno::INVAL),
        (altered(config, |it| it.flags = IfqFlags::from_bits_retain(1 << 30)), Errno::INVAL),
        (altered(config, |it| it.flags = IfqFlags::IMPORT), Errno::INVAL),
        // A configuration without a device, and one with a device.
        (altered(config, |it| it.flags = IfqFlags::NODEV), Errno::INVAL),
        (altered(config, |it| (it.if_idx, it.flags) = (0, IfqFlags::empty())), Errno::NODEV),
    ];
    let before = footprint()?;
    for (config, errno) in refusals {
        // SAFETY: the kernel rejects the registration.
        let refusal = unsafe { ring.submitter().register_ifq(&config) }.err();
        assert_eq!(refusal, Some(errno), "{config:?}");
    }
    assert_eq!(footprint()?, before);
    Ok(())
}

fn unprivileged() -> Result {
    let memory = area(4)?;
    let (ring, with_device) =
        (ring()?, altered(config(&memory, 8), |it| (it.if_idx, it.flags) = (1, IfqFlags::empty())));
    let all = capabilities(None)?;
    let fewer = CapabilitySets { effective: all.effective - CapabilitySet::NET_ADMIN, ..all };
    set_capabilities(None, fewer)?;
    let register = |config: &IfqConfig<'_>| {
        // SAFETY: the kernel rejects the registration.
        unsafe { ring.submitter().register_ifq(config) }.err()
    };
    let refusals = [register(&with_device), register(&config(&memory, 8))];
    set_capabilities(None, all)?;
    assert_eq!(refusals, [Some(Errno::PERM); 2]);
    Ok(())
}

fn control_refused() -> Result {
    let (memory, more) = (area(4)?, area(2)?);
    let (ring, other) = (ring()?, ring()?);
    // SAFETY: the pages are unmapped after the rings are dropped.
    let ifq = unsafe { ring.submitter().register_ifq(&config(&memory, 8)) }?;
    let (ring, other) = (ring.submitter(), other.submitter());
    assert_eq!(other.zcrx_flush(&ifq), Err(Errno::INVAL));
    assert_eq!(other.zcrx_export(&ifq).err(), Some(Errno::INVAL));
    assert_eq!(other.zcrx_arm_event(&ifq, Events::COPY), Err(Errno::INVAL));
    // SAFETY: the kernel rejects the area.
    let added = unsafe { other.zcrx_add_area(&ifq, Area::Memory(more.all())) };
    assert_eq!(added, Err(Errno::INVAL));
    assert_eq!(
        ring.import_ifq(open("/dev/null", OFlags::RDONLY, Mode::empty())?.as_fd()),
        Err(Errno::BADF)
    );
    for events in [Events::empty(), Events::all(), Events::from_bits_retain(1 << 20)] {
        assert_eq!(ring.zcrx_arm_event(&ifq, events), Err(Errno::INVAL), "{events:?}");
    }
    Ok(())
}

/// Another ring receives through the queue of the first one.
fn export_and_import() -> Result {
    let memory = area(64)?;
    let (first, mut second) = (ring()?, ring()?);
    // SAFETY: the pages are unmapped after the rings are dropped.
    let mut ifq = unsafe { first.submitter().register_ifq(&config(&memory, 64)) }?;
    let id = second.submitter().import_ifq(first.submitter().zcrx_export(&ifq)?.as_fd())?;
    let (sender, receiver) = connection()?;
    let sending = send(sender, 100_000);
    // SAFETY: the socket outlives the operation; the area is registered.
    unsafe { second.submission().push(&recv_zc(receiver.as_fd(), id)) }?;
    let mut at = 0;
    'all: loop {
        second.submit_and_wait(1)?;
        for done in second.completion() {
            if done.to_result()? == 0 {
                break 'all;
            }
            let received = Received::parse(&done, done.big_cqe())
                .context("the completion contains no data")?;
            at += take(&mut ifq, &memory, received, at)?;
        }
        ifq.publish();
        first.submitter().zcrx_flush(&ifq)?;
    }
    sending.join().expect("the sender panicked")?;
    assert_eq!(at, 100_000);
    Ok(())
}

/// Without a device, all data is copied. The kernel reports that once, and again after the event is
/// armed again.
fn events() -> Result {
    const TOLD: u64 = 77;
    let memory = area(16)?;
    let mut ring = ring()?;
    let both = Events::COPY | Events::ALLOC_FAIL;
    let config = altered(config(&memory, 16), |it| it.events = Some((both, TOLD)));
    // SAFETY: the pages are unmapped after the ring is dropped.
    let mut ifq = unsafe { ring.submitter().register_ifq(&config) }?;
    assert_eq!(ifq.stats(), Some(Stats::default()));
    // Both events are armed from the start.
    for event in both {
        assert_eq!(ring.submitter().zcrx_arm_event(&ifq, event), Err(Errno::INVAL));
    }
    let (mut sender, receiver) = connection()?;
    // SAFETY: the socket outlives the operation; the area is registered.
    unsafe { ring.submission().push(&recv_zc(receiver.as_fd(), ifq.id()).user_data(1)) }?;
    let (mut at, mut told) = (0, 0);
    for round in 1..=4 {
        sender.write_all(pattern(at, 5000))?;
        while at < round * 5000 {
            ring.submit_and_wait(1)?;
            for done in ring.completion() {
                if done.user_data() == TOLD {
                    assert_eq!(Events::of(&done), Events::COPY, "{done:?}");
                    told += 1;
                    continue;
                }
                let received = Received::parse(&done, done.big_cqe()).context("nothing")?;
                at += take(&mut ifq, &memory, received, at)?;
            }
        }
        // Every second round arms the event again.
        ring.submitter().get_events()?;
        told += ring.completion().filter(|cqe| cqe.user_data() == TOLD).count();
        assert_eq!(told, round.div_ceil(2));
        if round % 2 == 0 {
            ring.submitter().zcrx_arm_event(&ifq, Events::COPY)?;
        }
    }
    let stats = ifq.stats().context("there are no statistics")?;
    assert_eq!(stats.copy_bytes, 4 * 5000);
    assert!(stats.copy_count >= 4, "{stats:?}");
    Ok(())
}

/// Data that does not fit in the first area goes to the second one. Both are refilled.
fn add_area() -> Result {
    const TOTAL: usize = 1 << 20;
    let (first, second) = (area(2)?, area(16)?);
    let mut ring = ring()?;
    // SAFETY: the pages are unmapped after the ring is dropped.
    let (mut ifq, token) = unsafe {
        let ifq = ring.submitter().register_ifq(&config(&first, 32))?;
        let token = ring.submitter().zcrx_add_area(&ifq, Area::Memory(second.all()))?;
        (ifq, token)
    };
    assert_ne!(token, ifq.area_token());
    let (sender, receiver) = connection()?;
    let sending = send(sender, TOTAL);
    let (mut at, mut armed, mut areas) = (0, false, [0; 2]);
    'all: loop {
        if !armed {
            // SAFETY: the socket outlives the operation; both areas are registered.
            unsafe { ring.submission().push(&recv_zc(receiver.as_fd(), ifq.id())) }?;
            armed = true;
        }
        ring.submit_and_wait(1)?;
        for done in ring.completion() {
            armed = done.more();
            match done.to_result() {
                Ok(0) => break 'all,
                Err(Errno::NOSPC | Errno::NOMEM) => continue,
                result => drop(result?),
            }
            let received = Received::parse(&done, done.big_cqe())
                .context("the completion contains no data")?;
            areas[usize::from(received.area())] += 1;
            let memory = if received.area() == 0 { &first } else { &second };
            at += take(&mut ifq, memory, received, at)?;
        }
        ifq.publish();
        ring.submitter().zcrx_flush(&ifq)?;
    }
    sending.join().expect("the sender panicked")?;
    assert_eq!(at, TOTAL);
    assert!(areas.iter().all(|&n| n > 16), "{areas:?}");
    Ok(())
}
