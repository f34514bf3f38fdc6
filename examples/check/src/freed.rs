//! Finds writes to freed memory, including the kernel's, which no sanitizer sees.
//!
//! While a [`Watch`] exists, freed memory is filled with a pattern and not reused. A test checks the
//! pattern after all completions have arrived:
//!
//! ```ignore
//! #[global_allocator]
//! static ALLOCATOR: check::freed::Keeping = check::freed::Keeping;
//!
//! let watch = Watch::begin();
//! // drop, cancel, panic, forget; then let the kernel finish
//! watch.check();
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::slice;
use std::sync::{Mutex, MutexGuard, PoisonError};

const PATTERN: u8 = 0xd5;

/// The system allocator, except that it keeps freed blocks while a [`Watch`] exists.
pub struct Keeping;

/// The freed blocks that are kept, as a list in memory of the system allocator: this allocator must
/// not call itself.
struct Kept {
    watched: bool,
    last: *mut Node,
}

struct Node {
    block: *mut u8,
    layout: Layout,
    before: *mut Node,
}

// SAFETY: the list owns the memory that its pointers point to.
unsafe impl Send for Kept {}

static KEPT: Mutex<Kept> = Mutex::new(Kept { watched: false, last: std::ptr::null_mut() });

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

// SAFETY: all memory comes from the system allocator and is returned to it once, with the same layout.
unsafe impl GlobalAlloc for Keeping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: our caller keeps the contract of the trait.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let mut kept = kept();
        if kept.watched {
            // SAFETY: the layout of a node is not empty.
            let node = unsafe { System.alloc(Layout::new::<Node>()) }.cast::<Node>();
            if !node.is_null() {
                // SAFETY: the caller has given up the block, and the node was just allocated.
                unsafe {
                    block.write_bytes(PATTERN, layout.size());
                    node.write(Node { block, layout, before: kept.last });
                }
                kept.last = node;
                return;
            }
        }
        drop(kept);
        // SAFETY: our caller keeps the contract of the trait.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Keeps freed memory for as long as it exists.
///
/// Only one test watches at a time. Others wait, so that no test reports the fault of another.
pub struct Watch {
    _alone: MutexGuard<'static, ()>,
}

impl Watch {
    /// Starts to keep freed memory. Waits until no other watch exists.
    pub fn begin() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // Miri reports such writes itself, when they happen.
        kept().watched = !cfg!(miri);
        Self { _alone }
    }

    /// Panics if memory that was freed since the watch began has been written to.
    pub fn check(&self) {
        let mut written = None;
        {
            let kept = kept();
            let mut node = kept.last;
            while !node.is_null() {
                // SAFETY: nodes and blocks exist until the watch is dropped, and we hold the lock.
                let Node { block, layout, before } = unsafe { node.read() };
                // SAFETY: the block exists until the watch is dropped. All of its bytes were filled when it
                // was freed.
                let bytes = unsafe { slice::from_raw_parts(block, layout.size()) };
                if let Some(at) = bytes.iter().position(|&byte| byte != PATTERN) {
                    written = Some((at, layout.size(), bytes[at]));
                }
                node = before;
            }
        }
        if let Some((at, size, byte)) = written {
            panic!("a freed block of {size} bytes was written to: {byte:#x} at {at}");
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut node = {
            let mut kept = kept();
            kept.watched = false;
            std::mem::replace(&mut kept.last, std::ptr::null_mut())
        };
        while !node.is_null() {
            // SAFETY: the whole list was taken, so nothing else refers to its nodes.
            unsafe {
                let Node { block, layout, before } = node.read();
                System.dealloc(block, layout);
                System.dealloc(node.cast(), Layout::new::<Node>());
                node = before;
            }
        }
    }
}

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: Keeping = Keeping;

#[test]
#[should_panic = "0x7 at 3"]
fn a_write_to_freed_memory_is_seen() {
    let watch = Watch::begin();
    let block = Box::into_raw(Box::new([0u8; 1000]));
    // SAFETY: the box's own pointer; then memory that is kept as long as the watch.
    unsafe {
        drop(Box::from_raw(block));
        block.cast::<u8>().add(3).write(7);
    }
    watch.check();
}
