//! What is left behind.

use std::fs;

/// What the process has that a ring could leave behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Footprint {
    descriptors: usize,
    /// Mappings of rings, and address space that is only reserved.
    mappings: usize,
}

/// What it has now.
pub(crate) fn look() -> Footprint {
    // What the first thread brings along stays: memory of the allocator, a stack.
    static FIRST: std::sync::Once = std::sync::Once::new();
    FIRST.call_once(|| _ = std::thread::spawn(|| vec![0; 100].len()).join());
    let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let ours = |line: &&str| line.contains("io_uring") || line.contains(" ---p ");
    Footprint { descriptors, mappings: maps.lines().filter(ours).count() }
}

/// Whether nothing was left behind.
pub(crate) fn same(before: &Footprint) -> Result<(), String> {
    let now = look();
    if now == *before {
        Ok(())
    } else {
        Err(format!("left behind: {now:?}, and before {before:?}"))
    }
}
