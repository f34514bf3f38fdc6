//! The kernel's worker threads of this process (`iou-wrk`): whether they have come to rest.
//!
//! Nothing that the ring shows tells when a worker is done: it posts a completion first and lets go of
//! the request later, and for a silent request it posts nothing at all. But since Linux 5.12, workers
//! are threads of the process, and `/proc` says where each of them sleeps.

use std::fs;

/// Whether each worker sleeps until there is something to do, or until there is something to read.
pub(crate) fn are_at_rest() -> bool {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return true };
    let main = std::process::id();
    threads.flatten().all(|thread| {
        let path = thread.path();
        if path.ends_with(main.to_string()) {
            return true;
        }
        // An error: the thread has ended. "0" is a thread that does not sleep.
        fs::read_to_string(path.join("wchan")).map_or(true, |place| {
            place.starts_with("io_wq") && place.ends_with("worker") || place.ends_with("pipe_read")
        })
    })
}

/// Whether there is a worker.
pub(crate) fn exist() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|threads| {
        threads.flatten().any(|thread| {
            let name = fs::read_to_string(thread.path().join("comm"));
            name.is_ok_and(|name| name.starts_with("iou-wrk"))
        })
    })
}
