//! Shows writes to freed memory, the kernel's too, which no sanitizer sees.
//!
//! While a [`Watch`] is there, freed memory is filled with a pattern and kept from reuse. Tests
//! look at it once all completions have come:
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

/// The system's allocator, which keeps what is freed while it is watched.
pub(crate) struct Keeping;

/// What is kept, as a list that the system's allocator holds: ours must not call itself.
struct Kept {
    watched: bool,
    last: *mut Node,
}

struct Node {
    block: *mut u8,
    layout: Layout,
    before: *mut Node,
}

// SAFETY: the pointers are to memory of nobody else's.
unsafe impl Send for Kept {}

static KEPT: Mutex<Kept> = Mutex::new(Kept { watched: false, last: std::ptr::null_mut() });

fn kept() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

// SAFETY: all memory is the system's allocator's, and goes back there with its own layout, once.
unsafe impl GlobalAlloc for Keeping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let mut kept = kept();
        if kept.watched {
            // SAFETY: a node's layout is not empty.
            let node = unsafe { System.alloc(Layout::new::<Node>()) }.cast::<Node>();
            if !node.is_null() {
                // SAFETY: the block is nobody's now, and the node is ours.
                unsafe {
                    block.write_bytes(PATTERN, layout.size());
                    node.write(Node { block, layout, before: kept.last });
                }
                kept.last = node;
                return;
            }
        }
        drop(kept);
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Keeps freed memory for as long as it is there. One test watches at a time: others wait, so that
/// none sees what another has broken.
pub(crate) struct Watch {
    _alone: MutexGuard<'static, ()>,
}

impl Watch {
    pub(crate) fn begin() -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // Miri sees such writes by itself, when they happen.
        kept().watched = !cfg!(miri);
        Self { _alone }
    }

    /// Panics if something was written to memory that was freed since the watch began.
    pub(crate) fn check(&self) {
        let mut written = None;
        {
            let kept = kept();
            let mut node = kept.last;
            while !node.is_null() {
                // SAFETY: nodes and blocks stay until the watch is gone, and we hold the lock.
                let Node { block, layout, before } = unsafe { node.read() };
                // SAFETY: as above; the block is filled.
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
            // SAFETY: the list was taken whole, so that nobody else sees it.
            unsafe {
                let Node { block, layout, before } = node.read();
                System.dealloc(block, layout);
                System.dealloc(node.cast(), Layout::new::<Node>());
                node = before;
            }
        }
    }
}

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
