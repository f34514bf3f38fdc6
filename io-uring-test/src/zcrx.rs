//! Zero-copy receive: over the loopback, without a device; and what is refused where there is none.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::thread;

use anyhow::{Context, bail, ensure};
use rustix::fs::{Mode, OFlags, open};
use rustix::thread::CapabilitySet;
use rustix_uring::squeue::{self, Entry, Sqe};
use rustix_uring::sys::{
    IORING_RECV_MULTISHOT, IORING_REGISTER_ZCRX_CTRL, ZCRX_CTRL_ADD_AREA, ZCRX_FEATURE_EVENT,
    io_uring_op::*, io_uring_register_op::*,
};
use rustix_uring::zcrx::{Area, Events, Ifq, IfqConfig, IfqFlags, Received};
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
        // SAFETY: nothing is received, so nothing is written.
        unsafe { ring.submitter().register_ifq(&config(&area, 8)) }.map(drop)
    },
};
const EVENTS: Need = Trial {
    what: "events of zero-copy receive",
    refusal: Errno::OPNOTSUPP,
    call: || {
        let features = IoUring::new(1)?.submitter().register_query()?.zcrx();
        let there = features.is_some_and(|zcrx| zcrx.features() & ZCRX_FEATURE_EVENT != 0);
        there.then_some(()).ok_or(Errno::OPNOTSUPP)
    },
};
const ADD_AREA: Need = Trial {
    what: "more areas of zero-copy receive",
    refusal: Errno::OPNOTSUPP,
    call: || {
        let controls = IoUring::new(1)?.submitter().register_query()?.zcrx();
        let there = controls.is_some_and(|zcrx| zcrx.control_opcodes() > ZCRX_CTRL_ADD_AREA);
        there.then_some(()).ok_or(Errno::OPNOTSUPP)
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
    IfqConfig {
        if_idx: 0,
        if_rxq: 0,
        rq_entries,
        flags: IfqFlags::NODEV,
        area: Area::Memory(area.all()),
        rx_buf_len: 0,
        events: None,
    }
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

/// A connection over the loopback: who sends, who receives.
fn connection() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let sender = TcpStream::connect(listener.local_addr()?)?;
    Ok((sender, listener.accept()?.0))
}

/// What is sent, from there on: it repeats itself, but not at the end of a page.
fn pattern(at: usize, len: usize) -> impl Iterator<Item = u8> {
    (at..at + len).map(|i| (i % 251) as u8)
}

fn send(mut to: TcpStream, total: usize) -> thread::JoinHandle<std::io::Result<()>> {
    thread::spawn(move || {
        let data: Vec<u8> = pattern(0, 251 * 512).collect();
        let mut sent = 0;
        while sent < total {
            let len = data.len().min(total - sent);
            to.write_all(&data[..len])?;
            sent += len;
        }
        to.shutdown(Shutdown::Write)
    })
}

/// Looks at what was received, and gives it back.
fn take(ifq: &mut Ifq, memory: &Pages, received: Received, at: usize) -> Result<usize> {
    let len = received.len() as usize;
    ensure!(received.area() == 0 && !received.is_empty());
    ensure!(received.offset() as usize + len <= memory.all().len(), "{received:?}");
    let start = memory.all().cast::<u8>().as_ptr().wrapping_add(received.offset() as usize);
    // SAFETY: within the area, and the program's until it is given back below.
    let bytes = unsafe { std::slice::from_raw_parts(start, len) };
    ensure!(bytes.iter().copied().eq(pattern(at, len)), "wrong bytes from {at} on");
    ensure!(ifq.refill(received), "the refill ring is full");
    Ok(len)
}

fn receive_on<C>(mut ring: IoUring<squeue::Entry, C>) -> Result
where
    C: cqueue::EntryMarker + Into<Completion>,
{
    const TOTAL: usize = 64 << 20;
    let memory = area(256)?;
    // SAFETY: the pages are unmapped behind the ring.
    let mut ifq = unsafe { ring.submitter().register_ifq(&config(&memory, 256)) }?;
    assert_eq!(ifq.free(), 256);
    let (sender, receiver) = connection()?;
    let sending = send(sender, TOTAL);
    let (mut at, mut ended, mut armed) = (0, false, false);
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
                    let big = done.big.context("a small completion")?;
                    let received = Received::parse(&done, &big).context("nothing received")?;
                    at += take(&mut ifq, &memory, received, at)?;
                }
                // All of the area is in use, until it is refilled.
                Err(Errno::NOMEM) => {}
                Err(e) => bail!("after {at} bytes: {e}"),
            }
        }
        ifq.publish();
        if ifq.free() < 200 {
            ring.submitter().zcrx_flush(&ifq)?;
            ensure!(ifq.free() > 0, "nothing was taken");
        }
    }
    sending.join().expect("the sender panicked")?;
    assert_eq!(at, TOTAL);
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
    let ring = ring()?;
    let config = IfqConfig { flags: IfqFlags::empty(), ..config(&memory, 8) };
    // SAFETY: it is refused; and without a device, nothing is written.
    let register = |config: &IfqConfig<'_>| unsafe { ring.submitter().register_ifq(config) }.err();
    let small = <IoUring>::builder().setup_single_issuer().setup_defer_taskrun().build(4)?;
    // SAFETY: it is refused.
    let on_small = unsafe { small.submitter().register_ifq(&config) }.err();
    let other = Ring32::builder().build(4)?;
    // SAFETY: it is refused.
    let on_other = unsafe { other.submitter().register_ifq(&config) }.err();
    eprintln!("small {on_small:?} undeferred {on_other:?}");
    for (what, config) in [
        ("no such interface", IfqConfig { if_idx: 12345, ..config }),
        ("no interface", IfqConfig { if_idx: 0, ..config }),
        ("lo", IfqConfig { if_idx: 1, ..config }),
        ("lo queue 77", IfqConfig { if_idx: 1, if_rxq: 77, ..config }),
        ("no queue", IfqConfig { if_idx: 1, if_rxq: u32::MAX, ..config }),
        ("no entries", IfqConfig { if_idx: 1, rq_entries: 0, ..config }),
        ("too many entries", IfqConfig { if_idx: 1, rq_entries: 65536, ..config }),
        ("far too many entries", IfqConfig { if_idx: 1, rq_entries: u32::MAX, ..config }),
        ("unknown flag", IfqConfig { if_idx: 1, flags: IfqFlags::from_bits_retain(1 << 30), ..config }),
        ("import", IfqConfig { if_idx: 1, flags: IfqFlags::IMPORT, ..config }),
        ("nodev with device", IfqConfig { if_idx: 1, flags: IfqFlags::NODEV, ..config }),
        ("rx_buf_len", IfqConfig { if_idx: 1, rx_buf_len: 12345, ..config }),
    ] {
        eprintln!("{what}: {:?}", register(&config));
    }
    Ok(())
}

fn unprivileged() -> Result {
    let memory = area(4)?;
    let config = config(&memory, 8);
    let memory = memory.all().cast::<u8>().as_ptr().expose_provenance();
    let _ = memory;
    use rustix::thread::{capabilities, set_capabilities};
    let all = capabilities(None)?;
    let ring = ring()?;
    set_capabilities(None, rustix::thread::CapabilitySets { effective: all.effective - CapabilitySet::NET_ADMIN, ..all })?;
    // SAFETY: it is refused.
    let a = unsafe { ring.submitter().register_ifq(&config) }.err();
    let b = unsafe { ring.submitter().register_ifq(&IfqConfig{flags: IfqFlags::empty(), if_idx: 1, ..config}) }.err();
    set_capabilities(None, all)?;
    eprintln!("unpriv {a:?} {b:?}");
    Ok(())
}

fn control_refused() -> Result {
    let memory = area(4)?;
    let (ring, other) = (ring()?, ring()?);
    // SAFETY: the pages are unmapped behind the ring.
    let ifq = unsafe { ring.submitter().register_ifq(&config(&memory, 8)) }?;
    eprintln!("flush other {:?}", other.submitter().zcrx_flush(&ifq));
    eprintln!("export other {:?}", other.submitter().zcrx_export(&ifq));
    eprintln!("arm {:?}", ring.submitter().zcrx_arm_event(&ifq, Events::COPY));
    eprintln!("arm other {:?}", other.submitter().zcrx_arm_event(&ifq, Events::COPY));
    eprintln!("arm none {:?}", ring.submitter().zcrx_arm_event(&ifq, Events::empty()));
    eprintln!("arm unknown {:?}", ring.submitter().zcrx_arm_event(&ifq, Events::from_bits_retain(1<<20)));
    // SAFETY: the pages are unmapped behind the ring.
    let more = area(2)?;
    eprintln!("add area {:?}", unsafe { ring.submitter().zcrx_add_area(&ifq, Area::Memory(more.all())) });
    eprintln!("add area other {:?}", unsafe { other.submitter().zcrx_add_area(&ifq, Area::Memory(more.all())) });
    let null = open("/dev/null", OFlags::RDONLY, Mode::empty())?;
    eprintln!("import {:?}", ring.submitter().import_ifq(null.as_fd()));
    Ok(())
}

/// Another ring receives through the queue of the first.
fn export_and_import() -> Result {
    let memory = area(64)?;
    let (first, mut second) = (ring()?, ring()?);
    // SAFETY: the pages are unmapped behind the rings.
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
            let received = Received::parse(&done, done.big_cqe()).context("nothing received")?;
            at += take(&mut ifq, &memory, received, at)?;
        }
        ifq.publish();
        first.submitter().zcrx_flush(&ifq)?;
    }
    sending.join().expect("the sender panicked")?;
    assert_eq!(at, 100_000);
    Ok(())
}

fn events() -> Result {
    const TOLD: u64 = 77;
    let memory = area(16)?;
    let mut ring = ring()?;
    let both = Events::COPY | Events::ALLOC_FAIL;
    let config = IfqConfig { events: Some((both, TOLD)), ..config(&memory, 16) };
    // SAFETY: the pages are unmapped behind the ring.
    let mut ifq = unsafe { ring.submitter().register_ifq(&config) }?;
    eprintln!("stats {:?}", ifq.stats());
    eprintln!("arm {:?}", ring.submitter().zcrx_arm_event(&ifq, Events::COPY));
    eprintln!("arm {:?}", ring.submitter().zcrx_arm_event(&ifq, Events::COPY));
    let (mut sender, receiver) = connection()?;
    // SAFETY: the socket outlives the operation; the area is registered.
    unsafe { ring.submission().push(&recv_zc(receiver.as_fd(), ifq.id()).user_data(1)) }?;
    ring.submit()?;
    for _ in 0..3 {
        sender.write_all(&[1; 5000])?;
        thread::sleep(std::time::Duration::from_millis(50));
        ring.submit_and_wait(1)?;
        for done in ring.completion() {
            eprintln!("{done:?}");
            if let Some(r) = Received::parse(&done, done.big_cqe()) {
                if done.user_data() == 1 { let _ = ifq.refill(r); }
            }
        }
        eprintln!("stats {:?}", ifq.stats());
    eprintln!("arm {:?}", ring.submitter().zcrx_arm_event(&ifq, Events::COPY));
    }
    Ok(())
}

fn add_area() -> Result {
    let memory = area(2)?;
    let second = area(16)?;
    let mut ring = ring()?;
    // SAFETY: the pages are unmapped behind the ring.
    let mut ifq = unsafe { ring.submitter().register_ifq(&config(&memory, 16)) }?;
    let token = unsafe { ring.submitter().zcrx_add_area(&ifq, Area::Memory(second.all())) }?;
    eprintln!("tokens {:x} {token:x}", ifq.area_token());
    let (mut sender, receiver) = connection()?;
    sender.write_all(&pattern(0, 30000).collect::<Vec<_>>())?;
    drop(sender);
    // SAFETY: the socket outlives the operation; the area is registered.
    unsafe { ring.submission().push(&recv_zc(receiver.as_fd(), ifq.id()).user_data(1)) }?;
    for _ in 0..5 {
        ring.submit_with_args(1, &rustix_uring::types::SubmitArgs::new().timespec(&rustix_uring::types::Timespec::new().sec(1)))?;
        for done in ring.completion() {
            eprintln!("{done:?} {:?}", Received::parse(&done, done.big_cqe()).map(|r| (r.area(), r.offset())));
            if let Some(r) = Received::parse(&done, done.big_cqe()) {
                let _ = if r.area() == 0 { ifq.refill(r) } else { ifq.refill_area(token, r) };
            }
        }
        ifq.publish();
        eprintln!("flush {:?} free {}", ring.submitter().zcrx_flush(&ifq), ifq.free());
    }
    Ok(())
}
