//! Registering and unregistering everything ten thousand times leaves nothing behind.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::event::{EventfdFlags, eventfd};
use rustix_uring::sys::io_uring_register_op::*;
use rustix_uring::types::{FileSlot, iovec};
use rustix_uring::{BufRing, BufRingFlags, IoUring};

use crate::harness::Need::*;
use crate::harness::*;
use crate::register::buf_ring::KERNELS;

pub(crate) const CASES: &[Case] = &[
    Case::once("registrations", &[], registrations),
    Case::once("buf_rings", &[Register(IORING_REGISTER_PBUF_RING as u32), KERNELS], buf_rings),
    Case::once("forks", &[], forks),
];

/// Ten thousand rounds, or fewer if they take too long. Some kernels wait for every other CPU
/// whenever something is unregistered.
fn rounds() -> impl Iterator<Item = usize> {
    let start = Instant::now();
    (0..10_000).take_while(move |_| start.elapsed() < Duration::from_secs(20))
}

/// Resources that the process holds and a ring could leak.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    descriptors: usize,
    mappings: usize,
    pinned: String,
}

fn held() -> Result<Held> {
    let status = fs::read_to_string("/proc/self/status")?;
    let pinned = status.lines().find(|line| line.starts_with("VmPin")).context("no VmPin")?;
    Ok(Held {
        descriptors: descriptors()?,
        mappings: fs::read_to_string("/proc/self/maps")?.lines().count(),
        pinned: pinned.to_owned(),
    })
}

/// The held resources at rest: once the rings of earlier cases are torn down, and threads that just
/// started have mapped what they need.
fn held_at_rest() -> Result<Held> {
    let start = Instant::now();
    let mut last = held()?;
    loop {
        thread::sleep(Duration::from_millis(50));
        let now = held()?;
        if now == last && now.pinned.ends_with("\t       0 kB") {
            return Ok(now);
        }
        ensure!(start.elapsed() < Duration::from_secs(10), "{now:?}, before {last:?}");
        last = now;
    }
}

/// Waits until the held resources equal `before`. The kernel takes a while to tear down rings.
fn settles_at(before: &Held) -> Result {
    let start = Instant::now();
    while held()? != *before {
        ensure!(start.elapsed() < Duration::from_secs(10), "{:?}, before {before:?}", held()?);
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Registers something of every sort.
fn register_all(ring: &IoUring, page: iovec, file: &File, eventfd: &OwnedFd) -> Result<u16> {
    let ring = ring.submitter();
    // SAFETY: the page outlives every ring, and no operation uses it.
    unsafe { ring.register_buffers(&[page]) }?;
    ring.register_files(&[FileSlot::new(file), FileSlot::EMPTY])?;
    ring.register_eventfd(eventfd)?;
    Ok(ring.register_personality()?)
}

fn unregister_all(ring: &IoUring, personality: u16) -> Result {
    let ring = ring.submitter();
    ring.unregister_buffers()?;
    ring.unregister_files()?;
    ring.unregister_eventfd()?;
    Ok(ring.unregister_personality(personality)?)
}

fn a_page(pages: &Pages) -> iovec {
    iovec { iov_base: pages.all().cast::<u8>().as_ptr().cast(), iov_len: pages.all().len() as _ }
}

fn registrations() -> Result {
    let pages = Pages::new(4096)?;
    let (file, eventfd) = (File::open("/dev/null")?, eventfd(0, EventfdFlags::empty())?);
    let before = held_at_rest()?;
    let mut ring = IoUring::new(2)?;
    for round in rounds() {
        let personality = register_all(&ring, a_page(&pages), &file, &eventfd)?;
        // Every tenth ring is dropped with everything registered.
        if round % 10 == 9 {
            ring = IoUring::new(2)?;
        } else {
            unregister_all(&ring, personality)?;
        }
    }
    ensure!(held()? != before, "the measurement does not notice a ring that is held");
    drop(ring);
    settles_at(&before)
}

fn buf_rings() -> Result {
    let pages = Pages::new(BufRing::memory_size(16))?;
    let before = held_at_rest()?;
    let none = BufRingFlags::empty();
    let mut ring = IoUring::new(2)?;
    for round in rounds() {
        let submitter = ring.submitter();
        // SAFETY: the pages outlive every ring, and no operation uses a buffer.
        let in_memory = unsafe { submitter.register_buf_ring(pages.all(), 16, 1, none) }?;
        let mmapped = submitter.register_buf_ring_mmap(16, 2, none)?;
        let owned = submitter.register_buf_ring_owned(16, 3, none)?;
        match round % 10 {
            9 => ring = IoUring::new(2)?,
            n if n % 2 == 0 => {
                in_memory.unregister(&submitter)?;
                mmapped.unregister(&submitter)?;
                owned.unregister(&submitter)?;
            }
            _ => {
                drop((in_memory, mmapped, owned));
                for group in 1..=3 {
                    // SAFETY: the handle of this group is dropped.
                    unsafe { submitter.unregister_buf_ring(group) }?;
                }
            }
        }
    }
    drop(ring);
    settles_at(&before)
}

/// Children that exit with copies of everything neither take anything away nor leave anything
/// behind.
fn forks() -> Result {
    let pages = Pages::new(4096)?;
    let (file, eventfd) = (File::open("/dev/null")?, eventfd(0, EventfdFlags::empty())?);
    let before = held_at_rest()?;
    let mut ring = IoUring::new(2)?;
    let personality = register_all(&ring, a_page(&pages), &file, &eventfd)?;
    works(&mut ring, 1)?;
    let with_ring = held()?;
    for _ in 0..100 {
        assert_eq!(in_child(|| Ok(0))?, 0);
    }
    settles_at(&with_ring)?;
    works(&mut ring, 100)?;
    unregister_all(&ring, personality)?;
    drop(ring);
    settles_at(&before)
}
