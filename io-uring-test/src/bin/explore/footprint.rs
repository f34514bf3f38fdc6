//! Detects what a ring leaves behind.

use std::fs;

/// Resources of the process that a ring could leave behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    descriptors: usize,
    /// Mappings of rings, and reserved address space.
    mappings: usize,
}

/// The present footprint.
pub(crate) fn look() -> Footprint {
    // Memory that the first thread needs stays allocated: an allocator arena and a stack.
    static FIRST: std::sync::Once = std::sync::Once::new();
    FIRST.call_once(|| _ = std::thread::spawn(|| vec![0; 100].len()).join());
    let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let ours = |line: &&str| line.contains("io_uring") || line.contains(" ---p ");
    Footprint { descriptors, mappings: maps.lines().filter(ours).count() }
}

/// Fails if something was left behind.
pub(crate) fn same(before: &Footprint) -> Result<(), String> {
    let now = look();
    if now == *before {
        Ok(())
    } else {
        Err(format!(
            "the episode leaked descriptors or mappings: after it {now:?}, before it {before:?}"
        ))
    }
}
