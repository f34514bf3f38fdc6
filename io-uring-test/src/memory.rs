//! Rings in application-provided memory.

use std::fs;
use std::ptr::NonNull;

use anyhow::bail;
use rustix::mm::{MprotectFlags, mprotect};
use rustix::param::page_size;
use rustix_uring::squeue::Flags;
use rustix_uring::{Errno, IoUring, Probe, SetupFlags};

use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("build_in_memory", &[NO_MMAP], build_in_memory),
    Case::once("build_in_refused", &[NO_MMAP], build_in_refused),
    Case::once("build_in_unwritable", &[NO_MMAP], build_in_unwritable),
    Case::once("memory_without_index_array", &[NO_MMAP, NO_SQARRAY], memory_without_index_array),
    Case::once("build_registered_in_memory", &[NO_MMAP], build_registered_in_memory),
    Case::once("build_registered_in_limit", &[NO_MMAP], build_registered_in_limit),
];

const NO_MMAP: Need = Need::RingWith(SetupFlags::NO_MMAP);
const NO_SQARRAY: Need = Need::RingWith(SetupFlags::NO_SQARRAY);

/// Sizes around those at which a region of the memory needs another page.
const SETUPS: [Setup; 6] = [
    Setup::new(2),
    Setup::new(8),
    Setup::new(64),
    Setup::new(128),
    Setup::new(32).cq_entries(1024),
    Setup::new(1024),
];

/// Every slot of both queues works, in memory of exactly the reported size.
fn build_in_memory(ring: &mut dyn Ring) -> Result {
    let kind = ring.kind();
    for setup in SETUPS {
        let pages = Pages::new(kind.memory_size(&setup)?)?;
        assert_eq!(pages.all().len(), kind.memory_size(&setup)?);
        // SAFETY: the pages are ours, and their initial content does not matter.
        unsafe { pages.all().cast::<u8>().write_bytes(0xaa, pages.all().len()) };
        // SAFETY: the pages outlive the ring and its operations, all of which are reaped.
        let mut ring = unsafe { kind.build_in_memory(&setup, pages.all()) }?;
        let params = *ring.params();
        assert!(params.setup_flags().contains(SetupFlags::NO_MMAP.union(kind.flags)));
        ring.works(3)?;
        // Starts in the middle of the queues, so that they wrap around.
        let (sq, cq) = (u64::from(params.sq_entries()), u64::from(params.cq_entries()));
        for start in (0..cq).step_by(sq as usize) {
            ring.push_nops(start..start + sq, Flags::empty())?;
            assert_eq!(ring.submit()? as u64, sq);
        }
        let done = ring.complete(cq as usize)?;
        assert!(done.iter().map(|cqe| (cqe.user_data(), cqe.result())).eq((0..cq).map(|n| (n, 0))));
    }
    Ok(())
}

fn build_in_refused() -> Result {
    let builder = <IoUring>::builder();
    let size = builder.memory_size(64)?;
    let pages = Pages::new(size + page_size())?;
    let part = |start, len| {
        // SAFETY: the pointer stays within the pages or the guard page behind them.
        NonNull::slice_from_raw_parts(unsafe { pages.all().cast::<u8>().add(start) }, len)
    };
    let refused = |start, len| {
        // SAFETY: the build fails. Only the kernel touches the guard page, which is the purpose.
        unsafe { builder.build_in_memory(64, part(start, len)) }.err()
    };
    assert_eq!(refused(0, size - 1), Some(Errno::INVAL));
    assert_eq!(refused(64, size), Some(Errno::INVAL));
    // The last page is the guard page.
    assert_eq!(refused(2 * page_size(), size), Some(Errno::FAULT));
    assert_eq!(refused(0, size), None);
    Ok(())
}

/// Memory that is not writable or not mapped causes an error and does not crash the program.
fn build_in_unwritable() -> Result {
    let builder = <IoUring>::builder();
    let size = builder.memory_size(64)?;
    let pages = Pages::new(size)?;
    let start = pages.all().as_ptr().cast();
    for flags in [MprotectFlags::READ, MprotectFlags::empty()] {
        // SAFETY: the pages are ours, and nothing accesses them meanwhile.
        unsafe { mprotect(start, size, flags) }?;
        // SAFETY: both calls fail, so no ring uses the pages.
        unsafe {
            let refused = builder.build_in_memory(64, pages.all()).err();
            assert_eq!(refused, Some(Errno::FAULT));
            let refused = builder.build_registered_in_memory(64, pages.all()).err();
            assert_eq!(refused, Some(Errno::FAULT));
        }
    }
    // SAFETY: the pages are ours, and no ring uses them.
    unsafe { mprotect(start, size, MprotectFlags::READ | MprotectFlags::WRITE) }?;
    // SAFETY: the pages outlive the ring.
    let mut ring = unsafe { builder.build_in_memory(64, pages.all()) }?;
    works(&mut ring, 5)
}

/// The index array counts only if the ring has one.
fn memory_without_index_array() -> Result {
    let (builder, mut with) = (<IoUring>::builder(), <IoUring>::builder());
    with.sqarray();
    // Completions and their header fill one page less than together with 4 KiB of indices.
    let entries = page_size() as u32 / 4;
    assert_eq!(builder.memory_size(entries)? + page_size(), with.memory_size(entries)?);
    for builder in [&with, &builder] {
        let pages = Pages::new(builder.memory_size(entries)?)?;
        // SAFETY: the pages outlive the ring and its operations, all of which are reaped.
        let mut ring = unsafe { builder.build_in_memory(entries, pages.all()) }?;
        works(&mut ring, 2 * u64::from(entries))?;
        let short = NonNull::slice_from_raw_parts(pages.all().cast(), pages.all().len() - 1);
        // SAFETY: the build fails.
        let refused = unsafe { builder.build_in_memory(entries, short) }.err();
        assert_eq!(refused, Some(Errno::INVAL));
    }
    Ok(())
}

fn build_registered_in_memory() -> Result {
    let builder = <IoUring>::builder();
    let pages = Pages::new(builder.memory_size(8)?)?;
    let open = || -> Result<Vec<_>> {
        let mut open: Vec<_> = fs::read_dir("/proc/self/fd")?
            .map(|entry| {
                Ok((entry.as_ref().unwrap().file_name(), fs::read_link(entry?.path()).ok()))
            })
            .collect::<Result<_>>()?;
        open.sort();
        Ok(open)
    };
    let before = open()?;
    {
        // SAFETY: the pages outlive the ring and its operations, all of which are reaped.
        let mut ring = unsafe { builder.build_registered_in_memory(8, pages.all()) }?;
        assert_eq!(open()?, before);
        assert!(ring.registered_index().is_some());
        works(&mut ring, 50)?;
        ring.submitter().register_probe(&mut Probe::new())?;
        // The ring has no descriptor, and so no other way to address it.
        assert_eq!(ring.unregister_ring_fd(), Err(Errno::INVAL));
        assert_eq!(ring.resize(16, None), Err(Errno::INVAL));
        let Err(mut ring) = ring.into_shared() else { bail!("the ring has a descriptor") };
        works(&mut ring, 50)?;
    }
    assert_eq!(open()?, before);
    Ok(())
}

fn build_registered_in_limit() -> Result {
    let builder = <IoUring>::builder();
    let size = builder.memory_size(2)?;
    // The second round fails if the first one leaks an index.
    for _ in 0..2 {
        // Uses fresh memory: the kernel still writes to the old memory while it tears a ring down.
        let pages = (0..17).map(|_| Pages::new(size)).collect::<Result<Vec<_>>>()?;
        // SAFETY: the pages outlive the rings and their operations, all of which are reaped.
        let build = |pages: &Pages| unsafe { builder.build_registered_in_memory(2, pages.all()) };
        let mut rings = pages[..16].iter().map(build).collect::<Result<Vec<_>, _>>()?;
        assert_eq!(build(&pages[16]).err(), Some(Errno::BUSY));
        for ring in &mut rings {
            works(ring, 5)?;
        }
    }
    Ok(())
}
