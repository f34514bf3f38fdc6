//! Checks whether the kernel's worker threads of this process (`iou-wrk`) are idle.
//!
//! The ring does not show when a worker is done: the worker posts a completion before it releases
//! the request, and posts nothing for a silent request. But since Linux 5.12, workers are threads
//! of the process, and `/proc` tells where each of them sleeps.

use std::fs;

/// Whether each worker waits for work or for data to read.
pub(crate) fn are_at_rest() -> bool {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return true };
    let main = std::process::id();
    threads.flatten().all(|thread| {
        let path = thread.path();
        if path.ends_with(main.to_string()) {
            return true;
        }
        // An error means that the thread has exited. "0" is a thread that does not sleep.
        fs::read_to_string(path.join("wchan")).map_or(true, |place| {
            place.starts_with("io_wq") && place.ends_with("worker") || place.ends_with("pipe_read")
        })
    })
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
