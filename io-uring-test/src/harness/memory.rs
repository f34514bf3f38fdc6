//! Memory with an end that shows, and how much of it the process has.

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

/// Zeroed whole pages, and right behind them one that nobody may touch.
pub(crate) struct Pages {
    start: NonNull<u8>,
    len: usize,
}

impl Pages {
    /// At least `len` bytes.
    pub(crate) fn new(len: usize) -> Result<Self> {
        let len = len.next_multiple_of(page_size());
        // SAFETY: without a wished-for address, the kernel takes addresses that nobody uses.
        let start = unsafe {
            let all = ProtFlags::READ | ProtFlags::WRITE;
            mmap_anonymous(ptr::null_mut(), len + page_size(), all, MapFlags::PRIVATE)
        }?;
        let start = NonNull::new(start.cast::<u8>()).context("mapped at address 0")?;
        let pages = Self { start, len };
        // SAFETY: the last page of the mapping that was just made.
        unsafe { mprotect(pages.end(), page_size(), MprotectFlags::empty()) }?;
        Ok(pages)
    }

    fn end(&self) -> *mut c_void {
        self.start.as_ptr().wrapping_add(self.len).cast()
    }

    /// All bytes before the guard.
    pub(crate) fn all(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.start, self.len)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and whoever points into it must not outlive it.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len + page_size()) };
    }
}

/// What the process has that a ring could leave behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    descriptors: usize,
    /// Address space, in pages.
    pub(crate) pages: usize,
}

pub(crate) fn footprint() -> Result<Footprint> {
    // musl's allocator maps and unmaps pages at any time.
    let pages = if cfg!(target_env = "musl") { not_allocated()? } else { address_space()? };
    Ok(Footprint { descriptors: descriptors()?, pages })
}

/// How many pages are mapped that are none of an allocator's.
fn not_allocated() -> Result<usize> {
    let mut pages = 0;
    for line in fs::read_to_string("/proc/self/maps")?.lines() {
        // Addresses, permissions, offset, device, inode, and a name if there is one.
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

/// How many pages of address space the process has. To know, it allocates none.
pub(crate) fn address_space() -> Result<usize> {
    let mut text = [0; 256];
    let len = fs::File::open("/proc/self/statm")?.read(&mut text)?;
    let pages = std::str::from_utf8(&text[..len])?.split(' ').next();
    Ok(pages.context("/proc/self/statm is empty")?.parse()?)
}

/// Runs with a limit in force.
pub(crate) fn limited<T>(resource: Resource, limit: u64, run: impl FnOnce() -> T) -> Result<T> {
    let old = getrlimit(resource);
    setrlimit(resource, Rlimit { current: Some(limit), ..old })?;
    let result = run();
    setrlimit(resource, old)?;
    Ok(result)
}
