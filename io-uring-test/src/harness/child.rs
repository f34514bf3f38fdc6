//! Child processes, for actions that a process cannot undo.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{bail, ensure};

use super::outcome::Result;

/// Runs a closure in a child process and returns the small number that it returned.
pub(crate) fn in_child(run: impl FnOnce() -> Result<i32>) -> Result<i32> {
    // SAFETY: the child has only this thread, and does its work without waiting for other threads.
    match unsafe { libc::fork() } {
        -1 => bail!(io::Error::last_os_error()),
        0 => {
            let answer = catch_unwind(AssertUnwindSafe(run));
            let status = match answer {
                Ok(Ok(n)) => n,
                Ok(Err(_)) => 254,
                Err(_) => 255,
            };
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(status) }
        }
        child => {
            let mut status = 0;
            // SAFETY: the kernel writes to `status`, which is ours.
            let ended = unsafe { libc::waitpid(child, &mut status, 0) };
            ensure!(
                ended == child && libc::WIFEXITED(status),
                "the child ended with wait status {status:#x}"
            );
            Ok(libc::WEXITSTATUS(status))
        }
    }
}
