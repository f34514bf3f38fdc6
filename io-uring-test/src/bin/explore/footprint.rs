//! Detects what a ring leaves behind.

use std::fs;
use std::time::{Duration, Instant};

use crate::model::holds::Holds;

/// What the process holds now. The mappings are those of rings, and reserved address space.
pub(crate) fn look() -> Holds {
    // Memory that the first thread needs stays allocated: an allocator arena and a stack.
    static FIRST: std::sync::Once = std::sync::Once::new();
    FIRST.call_once(|| _ = std::thread::spawn(|| vec![0; 100].len()).join());
    let descriptors = fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as isize);
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let ours = |line: &&str| line.contains("io_uring") || line.contains(" ---p ");
    Holds { descriptors, mappings: maps.lines().filter(ours).count() as isize }
}

/// Fails if something was left behind.
pub(crate) fn same(before: &Holds) -> Result<(), String> {
    let now = look();
    if now == *before {
        Ok(())
    } else {
        Err(format!(
            "the episode leaked descriptors or mappings: after it {now:?}, before it {before:?}"
        ))
    }
}

/// The memory that the kernel has pinned for the process, in the kernel's words. It is empty where
/// the kernel does not tell.
pub(crate) fn pinned() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find(|line| line.starts_with("VmPin")).unwrap_or_default().into()
}

/// Fails if the kernel does not release the memory that it has pinned for rings. It does so at some
/// time after a ring was dropped.
pub(crate) fn same_pinned(before: &str) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(5);
    while pinned() != before {
        if Instant::now() > end {
            return Err(format!("the rings leave memory pinned: {}, before: {before}", pinned()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
