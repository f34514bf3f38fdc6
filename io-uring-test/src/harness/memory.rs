//! Memory that ends at a guard page, and measures of the memory that the process has.

use std::ffi::c_void;
use std::fs;
use std::io::Read;
use std::ptr::{self, NonNull};

use anyhow::Context;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use rustix::param::page_size;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::files::descriptors;
use super::outcome::Result;

/// Zeroed whole pages, followed by an inaccessible guard page.
pub(crate) struct Pages {
    start: NonNull<u8>,
    len: usize,
}

impl Pages {
    /// Allocates at least `len` bytes.
    pub(crate) fn new(len: usize) -> Result<Self> {
        let len = len.next_multiple_of(page_size());
        // SAFETY: without an address hint, the kernel chooses unused addresses.
        let start = unsafe {
            let all = ProtFlags::READ | ProtFlags::WRITE;
            mmap_anonymous(ptr::null_mut(), len + page_size(), all, MapFlags::PRIVATE)
        }?;
        let start = NonNull::new(start.cast::<u8>()).context("mapped at address 0")?;
        let pages = Self { start, len };
        // SAFETY: this is the last page of the new mapping.
        unsafe { mprotect(pages.end(), page_size(), MprotectFlags::empty()) }?;
        Ok(pages)
    }

    fn end(&self) -> *mut c_void {
        self.start.as_ptr().wrapping_add(self.len).cast()
    }

    /// All bytes before the guard page.
    pub(crate) fn all(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.start, self.len)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no pointer into it is used after the drop.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len + page_size()) };
    }
}

/// Resources of the process that a ring could leave behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    descriptors: usize,
    /// The size of the address space, in pages.
    pub(crate) pages: usize,
}

pub(crate) fn footprint() -> Result<Footprint> {
    // musl's allocator maps and unmaps pages at any time.
    let pages = if cfg!(target_env = "musl") { not_allocated()? } else { address_space()? };
    Ok(Footprint { descriptors: descriptors()?, pages })
}

/// The number of mapped pages that do not belong to an allocator.
fn not_allocated() -> Result<usize> {
    let mut pages = 0;
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        // The fields are address range, permissions, offset, device, inode, and a name if there is
        // one.
        let words: Vec<_> = line.split_whitespace().collect();
        if matches!(words[..], [_, "rw-p", _, _, _] | [.., "[heap]"]) {
            continue;
        }
        let (start, end) = words[0].split_once('-').context("a mapping without an end")?;
        let bytes = u64::from_str_radix(end, 16)? - u64::from_str_radix(start, 16)?;
        pages += bytes as usize / page_size();
    }
    Ok(pages)
}

/// The size of the address space in pages. Measuring it allocates no memory.
pub(crate) fn address_space() -> Result<usize> {
    let mut text = [0; 256];
    let len = fs::File::open("/proc/self/statm")?.read(&mut text)?;
    let pages = std::str::from_utf8(&text[..len])?.split(' ').next();
    Ok(pages.context("/proc/self/statm is empty")?.parse()?)
}

/// Runs a closure with a resource limit in force.
pub(crate) fn limited<T>(resource: Resource, limit: u64, run: impl FnOnce() -> T) -> Result<T> {
    let old = getrlimit(resource);
    setrlimit(resource, Rlimit { current: Some(limit), ..old })?;
    let result = run();
    setrlimit(resource, old)?;
    Ok(result)
}
