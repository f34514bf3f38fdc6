//! Checks whether the kernel's worker threads of this process (`iou-wrk`) are idle.
//!
//! The ring does not show when a worker is done: the worker posts a completion before it releases
//! the request, and posts nothing for a silent request. But since Linux 5.12, workers are threads
//! of the process, and `/proc` tells where each of them sleeps.

use std::fs;
use std::path::{Path, PathBuf};

/// Whether each worker waits for work or for data to read. `sqpoll` lists the threads of SQPOLL rings,
/// which do not count. Names cannot identify them: for a moment, a worker that such a thread creates has
/// its name.
pub(crate) fn are_at_rest(sqpoll: &[u32]) -> bool {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return true };
    let main = std::process::id();
    threads.flatten().all(|thread| {
        let path = thread.path();
        if [main].iter().chain(sqpoll).any(|tid| path.ends_with(tid.to_string())) {
            return true;
        }
        // An error means that the thread has exited. "0" is a thread that does not sleep.
        fs::read_to_string(path.join("wchan")).map_or(true, |place| {
            let worker = place.starts_with("io_wq") && place.ends_with("worker");
            // The thread of a ring that was dropped exits at some later time.
            worker || place.ends_with("pipe_read") || place == "io_sq_thread"
        })
    })
}

/// Whether the thread is that of an SQPOLL ring.
fn is_sqpoll(thread: &Path) -> bool {
    fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.starts_with("iou-sqp"))
}

/// The IDs of the threads of this process.
pub(crate) fn threads() -> Vec<u32> {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    threads.flatten().filter_map(|thread| thread.file_name().to_str()?.parse().ok()).collect()
}

/// The thread of an SQPOLL ring that has just started.
pub(crate) fn new_sqpoll(before: &[u32]) -> Option<u32> {
    // The thread gets its own name some time after it has started.
    (0..1000).find_map(|i| {
        if i > 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        threads().into_iter().find(|tid| !before.contains(tid) && is_sqpoll(&path(*tid)))
    })
}

fn path(tid: u32) -> PathBuf {
    format!("/proc/self/task/{tid}").into()
}

/// Whether the thread of an SQPOLL ring sleeps because it is idle.
pub(crate) fn sqpoll_sleeps(tid: u32) -> bool {
    fs::read_to_string(path(tid).join("wchan")).is_ok_and(|place| place == "io_sq_thread")
}

/// Whether there is any worker.
pub(crate) fn exist() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|threads| {
        threads.flatten().any(|thread| {
            let name = fs::read_to_string(thread.path().join("comm"));
            name.is_ok_and(|name| name.starts_with("iou-wrk"))
        })
    })
}
