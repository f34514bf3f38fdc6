//! Memory that a ring shares with the kernel. Wait regions have a file of their own.

use std::ptr::NonNull;

use rustix::param::page_size;
use rustix_uring::Errno;
use rustix_uring::sys::io_uring_register_op::*;

use crate::harness::Need::*;
use crate::harness::*;

const REGION: Need = Register(IORING_REGISTER_MEM_REGION as u32);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("mem_region", &[REGION], mem_region),
    Case::kinds("mem_region_in_memory", &[REGION], mem_region_in_memory),
    Case::kinds("mem_region_refused", &[REGION], mem_region_refused),
];

/// On an enabled ring: memory that is mapped while the handle exists, and unmapped afterwards.
fn mem_region(ring: &mut dyn Ring) -> Result {
    let before = footprint()?;
    let region = ring.submitter().register_mem_region(page_size() + 1)?;
    let memory = region.memory();
    assert_eq!(memory.len(), 2 * page_size());
    // SAFETY: the memory is mapped while the region exists, and no BPF program runs.
    let bytes = unsafe { &mut *memory.as_ptr() };
    assert!(bytes.iter().all(|byte| *byte == 0));
    bytes.fill(0xaa);
    assert_eq!(ring.submitter().register_mem_region(1).err(), Some(Errno::BUSY));
    ring.works(3)?;
    drop(region);
    assert_eq!(footprint()?, before);
    // The ring keeps the region until it is closed.
    assert_eq!(ring.submitter().register_mem_region(1).err(), Some(Errno::BUSY));
    ring.works(3)
}

fn mem_region_in_memory(ring: &mut dyn Ring) -> Result {
    let pages = Pages::new(3 * page_size())?;
    // SAFETY: the pages are ours, and no BPF program runs.
    let register = || unsafe { ring.submitter().register_mem_region_in_memory(pages.all()) };
    assert_eq!(register(), Ok(()));
    assert_eq!(register(), Err(Errno::BUSY));
    ring.works(3)
}

fn mem_region_refused(ring: &mut dyn Ring) -> Result {
    let submitter = ring.submitter();
    assert_eq!(submitter.register_mem_region(usize::MAX).err(), Some(Errno::INVAL));
    let pages = Pages::new(2 * page_size())?;
    let refused = |start, len| {
        // SAFETY: the pointer stays within the pages or the guard page behind them.
        let part = unsafe { pages.all().cast::<u8>().add(start) };
        let memory = NonNull::slice_from_raw_parts(part, len);
        // SAFETY: the kernel rejects the call, or no BPF program runs.
        unsafe { submitter.register_mem_region_in_memory(memory) }.err()
    };
    let page = page_size();
    assert_eq!(refused(0, 0), Some(Errno::INVAL));
    assert_eq!(refused(64, page), Some(Errno::INVAL));
    assert_eq!(refused(0, page + 64), Some(Errno::INVAL));
    // The last page is the guard page.
    assert_eq!(refused(page, 2 * page), Some(Errno::FAULT));
    assert_eq!(refused(0, page), None);
    Ok(())
}
