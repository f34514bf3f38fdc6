//! Registering rings of provided buffers, and what the kernel rejects.

use std::ptr::NonNull;

use anyhow::ensure;
use rustix::param::page_size;
use rustix_uring::squeue::{Entry, Sqe};
use rustix_uring::sys::{io_uring_op::*, io_uring_register_op::*};
use rustix_uring::{BufRing, BufRingFlags, Errno, IoUring, SetupFlags, Submitter, cqueue, squeue};

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const REGISTER: Need = Register(IORING_REGISTER_PBUF_RING as u32);
const UNREGISTER: Need = Register(IORING_UNREGISTER_PBUF_RING as u32);
const RESIZE: Need = Register(IORING_REGISTER_RESIZE_RINGS as u32);
const DEFER: SetupFlags = SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN);
pub(crate) const STATUS: Need = Register(IORING_REGISTER_PBUF_STATUS as u32);
pub(crate) const KERNELS: Need = Trial {
    what: "rings of provided buffers in kernel memory",
    refusal: Errno::INVAL,
    call: || {
        let ring = IoUring::new(1)?;
        Ok(ring.submitter().register_buf_ring_mmap(1, 0, NONE).map(drop)?)
    },
};

pub(crate) const CASES: &[Case] = &[
    Case::kinds("application_memory", &[REGISTER, UNREGISTER], application_memory),
    Case::kinds("kernel_memory", &[REGISTER, UNREGISTER, KERNELS], kernel_memory),
    Case::kinds("owned_memory", &[REGISTER, UNREGISTER], owned_memory),
    Case::kinds("owned_memory_refused", &[REGISTER, UNREGISTER], owned_memory_refused),
    Case::once(
        "owned_memory_by_index",
        &[REGISTER, STATUS, RingWith(SetupFlags::NO_MMAP)],
        owned_memory_by_index,
    ),
    Case::kinds("refused", &[REGISTER, UNREGISTER], refused),
    Case::kinds("kernel_memory_refused", &[REGISTER, KERNELS], kernel_memory_refused),
    Case::kinds("status", &[REGISTER, STATUS], status),
    Case::kinds("another_ring", &[REGISTER, UNREGISTER], another_ring),
    Case::kinds("comes_back", &[REGISTER, UNREGISTER], comes_back),
    Case::once("still_the_same", &[KERNELS, STATUS, RESIZE, RingWith(DEFER)], still_the_same),
];

/// For groups below 64, kernels that preallocate them answer EINVAL instead of ENOENT.
const GROUP: u16 = 100;
const NONE: BufRingFlags = BufRingFlags::empty();

/// Every valid size: 1 to 32768.
fn sizes() -> impl Iterator<Item = u16> {
    (0..16).map(|shift| 1 << shift)
}

/// Unregisters a group by its ID, after its handle was dropped.
fn unregister(ring: &Submitter<'_>, group: u16) -> Result<(), Errno> {
    // SAFETY: every caller in this file has dropped the handle.
    unsafe { ring.unregister_buf_ring(group) }
}

fn application_memory(ring: &mut dyn Ring) -> Result {
    for entries in sizes() {
        let pages = Pages::new(BufRing::memory_size(entries))?;
        // SAFETY: the pages are ours, and outlive the registration.
        unsafe {
            // The previous content of the memory does not matter.
            pages.all().cast::<u8>().write_bytes(0xff, pages.all().len());
            let bufs = ring.submitter().register_buf_ring(pages.all(), entries, GROUP, NONE)?;
            assert_eq!((bufs.capacity(), bufs.group()), (usize::from(entries), GROUP));
            bufs.unregister(&ring.submitter())?;
        }
        assert_eq!(unregister(&ring.submitter(), GROUP), Err(Errno::NOENT));
    }
    Ok(())
}

fn kernel_memory(ring: &mut dyn Ring) -> Result {
    let before = footprint()?;
    for (group, entries) in [0, 1, 7, 2047].into_iter().cycle().zip(sizes()) {
        let bufs = ring.submitter().register_buf_ring_mmap(entries, group, NONE)?;
        assert_eq!((bufs.capacity(), bufs.group()), (usize::from(entries), group));
        ensure!(footprint()?.pages > before.pages);
        bufs.unregister(&ring.submitter())?;
        assert_eq!(footprint()?, before);
    }
    Ok(())
}

/// Every size, and group IDs for which kernel memory cannot be mapped.
fn owned_memory(ring: &mut dyn Ring) -> Result {
    let before = footprint()?;
    for (group, entries) in [100, 2047, 2048, u16::MAX].into_iter().cycle().zip(sizes()) {
        let bufs = ring.submitter().register_buf_ring_owned(entries, group, NONE)?;
        assert_eq!((bufs.capacity(), bufs.group()), (usize::from(entries), group));
        ensure!(footprint()?.pages > before.pages || cfg!(target_env = "musl"));
        bufs.unregister(&ring.submitter())?;
        assert_eq!(unregister(&ring.submitter(), group), Err(Errno::NOENT));
        assert_eq!(footprint()?, before);
    }
    Ok(())
}

fn owned_memory_refused(ring: &mut dyn Ring) -> Result {
    let before = footprint()?;
    let ring = ring.submitter();
    for entries in [0, 3, 1000, u16::MAX] {
        let refused = ring.register_buf_ring_owned(entries, GROUP, NONE).err();
        assert_eq!(refused, Some(Errno::INVAL), "{entries}");
    }
    let unknown = BufRingFlags::from_bits_retain(1 << 15);
    assert_eq!(ring.register_buf_ring_owned(4, GROUP, unknown).err(), Some(Errno::INVAL));
    let bufs = ring.register_buf_ring_owned(4, GROUP, NONE)?;
    assert_eq!(ring.register_buf_ring_owned(4, GROUP, NONE).err(), Some(Errno::EXIST));
    // The kernel still has the group after its handle was dropped.
    drop(bufs);
    assert_eq!(footprint()?, before);
    assert_eq!(ring.register_buf_ring_owned(4, GROUP, NONE).err(), Some(Errno::EXIST));
    unregister(&ring, GROUP)?;
    assert_eq!(footprint()?, before);
    Ok(())
}

/// A ring without a descriptor, which cannot map kernel memory.
fn owned_memory_by_index() -> Result {
    let builder = <IoUring>::builder();
    let pages = Pages::new(builder.memory_size(4)?)?;
    // SAFETY: the pages outlive the ring and its operations, all of which are reaped.
    let ring = unsafe { builder.build_registered_in_memory(4, pages.all()) }?;
    assert_eq!(ring.submitter().register_buf_ring_mmap(4, 1, NONE).err(), Some(Errno::BADF));
    let bufs = ring.submitter().register_buf_ring_owned(4, 1, NONE)?;
    assert_eq!(bufs.head(&ring.submitter()), Ok(0));
    bufs.unregister(&ring.submitter())?;
    Ok(())
}

fn refused(ring: &mut dyn Ring) -> Result {
    let pages = Pages::new(BufRing::memory_size(1024) + page_size())?;
    let register = |ring: &Submitter<'_>, start, len, entries| {
        let start = pages.all().cast::<u8>().as_ptr().wrapping_add(start);
        let memory = NonNull::slice_from_raw_parts(NonNull::new(start).unwrap(), len);
        // SAFETY: the pages are ours and outlive the registration, or the kernel rejects it.
        unsafe { ring.register_buf_ring(memory, entries, GROUP, NONE) }.err()
    };
    let all = pages.all().len();
    for entries in [0, 3, 1000, u16::MAX] {
        assert_eq!(register(&ring.submitter(), 0, all, entries), Some(Errno::INVAL), "{entries}");
    }
    assert_eq!(
        register(&ring.submitter(), 0, BufRing::memory_size(1024) - 1, 1024),
        Some(Errno::INVAL)
    );
    assert_eq!(register(&ring.submitter(), 16, all - 16, 4), Some(Errno::INVAL));
    assert_eq!(register(&ring.submitter(), 0, all, 1024), None);
    assert_eq!(register(&ring.submitter(), 0, all, 1024), Some(Errno::EXIST));
    // The last page is the guard page.
    unregister(&ring.submitter(), GROUP)?;
    let guarded = all - page_size();
    assert_eq!(register(&ring.submitter(), guarded, all, 1024), Some(Errno::FAULT));
    assert_eq!(unregister(&ring.submitter(), GROUP), Err(Errno::NOENT));
    // A group of individually provided buffers is no ring, and its ID cannot be registered as one.
    let mut byte = 0_u8;
    let provide = Entry::from_raw(Sqe {
        opcode: IORING_OP_PROVIDE_BUFFERS as u8,
        fd: 1,
        addr: (&raw mut byte).expose_provenance() as u64,
        len: 1,
        buf_index: GROUP,
        ..Sqe::ZERO
    });
    // SAFETY: no operation uses the byte.
    assert_eq!(unsafe { ring.run(provide) }?.to_result(), Ok(0));
    let ring = ring.submitter();
    assert_eq!(unregister(&ring, GROUP), Err(Errno::INVAL));
    assert_eq!(register(&ring, 0, all, 4), Some(Errno::EXIST));
    let unknown = BufRingFlags::from_bits_retain(1 << 15);
    // SAFETY: the kernel rejects the registration.
    let bufs = unsafe { ring.register_buf_ring(pages.all(), 4, 2, unknown) };
    assert_eq!(bufs.err(), Some(Errno::INVAL));
    Ok(())
}

fn kernel_memory_refused(ring: &mut dyn Ring) -> Result {
    let before = footprint()?;
    let ring = ring.submitter();
    let register = |entries| ring.register_buf_ring_mmap(entries, 1, NONE);
    for entries in [0, 3, 1000, u16::MAX] {
        assert_eq!(register(entries).err(), Some(Errno::INVAL), "{entries}");
    }
    let bufs = register(4)?;
    assert_eq!(register(4).err(), Some(Errno::EXIST));
    // The mmap offset cannot express these group IDs: the kernel would map the memory of group 1.
    for group in [2048, 4097, 32769, u16::MAX] {
        assert_eq!(ring.register_buf_ring_mmap(4, group, NONE).err(), Some(Errno::INVAL));
        assert_eq!(unregister(&ring, group), Err(Errno::NOENT));
    }
    bufs.unregister(&ring)?;
    assert_eq!(footprint()?, before);
    Ok(())
}

fn status(ring: &mut dyn Ring) -> Result {
    let pages = Pages::new(BufRing::memory_size(4))?;
    let ring = ring.submitter();
    let mut byte = 0;
    // SAFETY: the pages and the byte outlive the registration.
    let mut bufs = unsafe { ring.register_buf_ring(pages.all(), 4, 1, NONE) }?;
    assert_eq!(bufs.available(&ring)?, 0);
    for n in 1..=3 {
        // SAFETY: the byte outlives the registration, and no operation uses the buffer.
        unsafe { bufs.add(&mut byte, 1, n) };
        assert_eq!(bufs.available(&ring)?, n - 1);
        bufs.publish();
        assert_eq!(bufs.available(&ring)?, n);
    }
    assert_eq!((bufs.head(&ring), ring.buf_ring_head(1)), (Ok(0), Ok(0)));
    bufs.unregister(&ring)?;
    assert_eq!(ring.buf_ring_head(1), Err(Errno::NOENT));
    Ok(())
}

/// Two rings have groups with the same ID. Unregistering one does not unregister the other.
fn another_ring(ring: &mut dyn Ring) -> Result {
    let other = IoUring::new(1)?;
    let pages = [Pages::new(BufRing::memory_size(4))?, Pages::new(BufRing::memory_size(2))?];
    // SAFETY: the pages outlive the registrations.
    let (ours, theirs) = unsafe {
        let ours = ring.submitter().register_buf_ring(pages[0].all(), 4, GROUP, NONE)?;
        (ours, other.submitter().register_buf_ring(pages[1].all(), 2, GROUP, NONE)?)
    };
    assert_eq!(theirs.available(&ring.submitter()), Err(Errno::INVAL));
    assert_eq!(theirs.head(&ring.submitter()), Err(Errno::INVAL));
    let error = ours.unregister(&other.submitter()).unwrap_err();
    assert_eq!(error.errno(), Errno::INVAL);
    // The error returns the handle, and both groups still exist.
    let ours = error.into_buf_ring();
    let spare = Pages::new(BufRing::memory_size(2))?;
    for ring in [ring.submitter(), other.submitter()] {
        // SAFETY: the kernel rejects the registration, because the group exists already.
        let again = unsafe { ring.register_buf_ring(spare.all(), 2, GROUP, NONE) };
        assert_eq!(again.err(), Some(Errno::EXIST));
    }
    ours.unregister(&ring.submitter())?;
    theirs.unregister(&other.submitter())?;
    Ok(())
}

/// If the kernel rejects the call, the handle is returned too.
fn comes_back(ring: &mut dyn Ring) -> Result {
    let pages = Pages::new(BufRing::memory_size(4))?;
    // SAFETY: the pages outlive the registration. The second call breaks its contract on purpose:
    // its handle no longer writes, and the pages stay mapped.
    let bufs = unsafe {
        let bufs = ring.submitter().register_buf_ring(pages.all(), 4, GROUP, NONE)?;
        ring.submitter().unregister_buf_ring(GROUP)?;
        bufs
    };
    let error = bufs.unregister(&ring.submitter()).unwrap_err();
    assert_eq!(error.errno(), Errno::NOENT);
    assert_eq!(error.into_buf_ring().capacity(), 4);
    Ok(())
}

/// A ring keeps its identity after a resize, and after it gets a registered index.
fn still_the_same() -> Result {
    let setup = || IoUring::<squeue::Entry, cqueue::Entry>::builder();
    let mut ring = setup().setup_single_issuer().setup_defer_taskrun().build(4)?;
    let bufs = ring.submitter().register_buf_ring_mmap(4, GROUP, NONE)?;
    ring.resize(8, None)?;
    assert_eq!(bufs.available(&ring.submitter())?, 0);
    let mut local = ring.into_local();
    local.register_ring_fd()?;
    assert_eq!(bufs.available(&local.submitter())?, 0);
    Ok(bufs.unregister(&local.submitter())?)
}
