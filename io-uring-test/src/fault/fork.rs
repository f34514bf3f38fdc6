//! Children that drop what they inherited.

use std::os::fd::AsFd;
use std::{fs, ptr};

use anyhow::{Context, ensure};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::param::page_size;
use rustix_uring::sys::io_uring_register_op::*;
use rustix_uring::{BufRingFlags, IoUring, Local, SetupFlags, cqueue, opcode, squeue};

use crate::harness::Need::*;
use crate::harness::*;

const RING_FDS: Need = Register(IORING_REGISTER_RING_FDS as u32);
const BUF_RING: Need = Register(IORING_REGISTER_PBUF_STATUS as u32);
const PBUF_RING: Need = Register(IORING_REGISTER_PBUF_RING as u32);
const REGION: Need = Register(IORING_REGISTER_MEM_REGION as u32);
const RESIZE: Need = Register(IORING_REGISTER_RESIZE_RINGS as u32);
const DEFER: SetupFlags = SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN);

pub(crate) const CASES: &[Case] = &[
    Case::once("ring", &[], ring),
    Case::once("ring_left_out", &[], ring_left_out),
    Case::once("resized_ring_left_out", &[RingWith(DEFER), RESIZE], resized_ring_left_out),
    Case::once("buf_ring_left_out", &[BUF_RING], buf_ring_left_out),
    Case::once("owned_buf_ring", &[PBUF_RING, Opcode(opcode::Read::CODE)], owned_buf_ring),
    Case::once("wait_region_left_out", &[REGION], wait_region_left_out),
    Case::once("index", &[RING_FDS], index),
    Case::once("index_unregistered", &[RING_FDS], index_unregistered),
    Case::once("index_alone", &[RingWith(SetupFlags::NO_MMAP)], index_alone),
];

/// Runs a closure in a child, and checks that it succeeds.
fn content(child: impl FnOnce() -> Result) -> Result {
    let status = in_child(|| child().map(|()| 0))?;
    ensure!(status == 0, "the child failed with status {status}");
    Ok(())
}

/// The child's copy of a value that the parent continues to use.
fn inherited<T>(value: &T) -> T {
    // SAFETY: this process uses only this copy. The original belongs to the parent, and its copy on
    // the stack of the child is never dropped, because the child exits first.
    unsafe { ptr::read(value) }
}

/// Fills every hole in the address space of the child, drops the inherited value, and checks that
/// the pages are unchanged.
fn drop_over_own_memory<T>(value: &T) -> Result {
    const PAGES: usize = 512;
    let own = |_| -> Result<*mut u8> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // Maps single pages, so that each hole is filled from its end.
        // SAFETY: without an address hint, the kernel chooses unused addresses.
        let page =
            unsafe { mmap_anonymous(ptr::null_mut(), page_size(), protection, MapFlags::PRIVATE) }?;
        // SAFETY: the page was just mapped.
        unsafe { page.cast::<u8>().write_bytes(7, page_size()) };
        Ok(page.cast())
    };
    let pages: Vec<_> = (0..PAGES).map(own).collect::<Result<_>>()?;
    drop(inherited(value));
    for page in pages {
        // If a page is unmapped, a signal ends the child.
        // SAFETY: the pages belong to the child, whatever was dropped.
        ensure!(unsafe { page.read_volatile() } == 7);
    }
    Ok(())
}

/// The child creates a ring where the parent's mapping is missing, drops the parent's ring, and
/// continues to use its own.
fn drop_beside_own_ring<T>(value: &T) -> Result {
    let mut own = IoUring::new(8)?;
    works(&mut own, 3)?;
    drop(inherited(value));
    works(&mut own, 20)
}

fn dropped_in_children<T>(value: &T) -> Result {
    content(|| drop_over_own_memory(value))?;
    content(|| drop_beside_own_ring(value))
}

/// A child does not have the memory of a ring.
fn left_out() -> Result {
    content(|| {
        let maps = fs::read_to_string("/proc/self/maps")?;
        ensure!(!maps.contains("[io_uring]"), "{maps}");
        Ok(())
    })
}

/// A child unmaps what it inherited.
fn ring() -> Result {
    let mut ring = IoUring::new(8)?;
    works(&mut ring, 3)?;
    dropped_in_children(&ring)?;
    content(|| {
        let before = footprint()?;
        drop(inherited(&ring));
        ensure!(footprint()?.pages < before.pages);
        Ok(())
    })?;
    works(&mut ring, 20)
}

fn ring_left_out() -> Result {
    let mut ring = <IoUring>::builder().dontfork().build(8)?;
    works(&mut ring, 3)?;
    left_out()?;
    dropped_in_children(&ring)?;
    works(&mut ring, 20)
}

fn resized_ring_left_out() -> Result {
    let mut builder = <IoUring>::builder();
    let mut ring = builder.dontfork().setup_single_issuer().setup_defer_taskrun().build(8)?;
    ring.resize(64, None)?;
    works(&mut ring, 3)?;
    left_out()?;
    dropped_in_children(&ring)?;
    works(&mut ring, 100)
}

fn buf_ring_left_out() -> Result {
    let ring = <IoUring>::builder().dontfork().build(8)?;
    let bufs = ring.submitter().register_buf_ring_mmap(8, 0, BufRingFlags::empty())?;
    left_out()?;
    dropped_in_children(&bufs)?;
    // The group exists, and so does its memory.
    assert_eq!(bufs.available(&ring.submitter())?, 0);
    Ok(())
}

/// The kernel continues to use the parent's memory, whatever a child does with its copy.
fn owned_buf_ring() -> Result {
    for leave_out in [false, true] {
        let mut builder = <IoUring>::builder();
        if leave_out {
            builder.dontfork();
        }
        let mut ring = builder.build(8)?;
        let mut bufs = ring.submitter().register_buf_ring_owned(8, 100, BufRingFlags::empty())?;
        let (reader, writer) = rustix::pipe::pipe()?;
        let mut bytes = [[0_u8; 2]; 2];
        for n in 0..2_u8 {
            dropped_in_children(&bufs)?;
            // SAFETY: the buffers outlive the reads, whose completions are awaited.
            unsafe { bufs.add(bytes[usize::from(n)].as_mut_ptr(), 2, n.into()) };
            bufs.publish();
            rustix::io::write(&writer, &[n + 1; 2])?;
            let read = opcode::Read::new(reader.as_fd(), std::ptr::null_mut(), 2).buf_group(100);
            let read = read.build().flags(squeue::Flags::BUFFER_SELECT);
            // SAFETY: the buffers outlive the reads, whose completions are awaited.
            unsafe { ring.submission().push(&read) }?;
            ring.submit_and_wait(1)?;
            let done = ring.completion().next().context("there is no completion")?;
            assert_eq!((done.to_result(), done.buffer_select()), (Ok(2), Some(n.into())));
        }
        assert_eq!(bytes, [[1; 2], [2; 2]]);
        bufs.unregister(&ring.submitter())?;
    }
    Ok(())
}

fn wait_region_left_out() -> Result {
    let ring = <IoUring>::builder().dontfork().setup_r_disabled().build(8)?;
    let region = ring.submitter().register_wait_region(1)?;
    dropped_in_children(&region)
}

type LocalRing = IoUring<squeue::Entry, cqueue::Entry, Local>;

fn local() -> Result<LocalRing> {
    let mut ring = IoUring::new(8)?.into_local();
    ring.register_ring_fd()?;
    works(&mut ring, 3)?;
    Ok(ring)
}

/// The index of a child's ring may equal that of its parent's ring, but refers to another ring.
fn index() -> Result {
    let mut ring = local()?;
    content(|| {
        let mut own = local()?;
        ensure!(own.registered_index() == ring.registered_index());
        drop(inherited(&ring));
        works(&mut own, 20)
    })?;
    works(&mut ring, 20)
}

/// A child cannot release the parent's index explicitly either.
fn index_unregistered() -> Result {
    let mut ring = local()?;
    content(|| {
        let mut own = local()?;
        let mut parents = inherited(&ring);
        parents.unregister_ring_fd()?;
        ensure!(parents.registered_index().is_none());
        drop(parents.into_shared());
        works(&mut own, 20)
    })?;
    works(&mut ring, 20)
}

fn index_alone() -> Result {
    let builder = <IoUring>::builder();
    let memory = Pages::new(builder.memory_size(8)?)?;
    // SAFETY: the memory is not used again.
    let mut ring = unsafe { builder.build_registered_in_memory(8, memory.all()) }?;
    works(&mut ring, 3)?;
    content(|| {
        let mut own = local()?;
        drop(inherited(&ring));
        works(&mut own, 20)
    })?;
    works(&mut ring, 20)
}
