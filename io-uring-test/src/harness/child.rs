//! Child processes, for what is for good.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{bail, ensure};

use super::outcome::Result;

/// Runs in a child process, and hands over the small number that it returns.
pub(crate) fn in_child(run: impl FnOnce() -> Result<i32>) -> Result<i32> {
    // SAFETY: the child has this thread alone, and does what it must without waiting for others.
    match unsafe { libc::fork() } {
        -1 => bail!(io::Error::last_os_error()),
        0 => {
            let answer = catch_unwind(AssertUnwindSafe(run));
            let status = match answer {
                Ok(Ok(n)) => n,
                Ok(Err(_)) => 254,
                Err(_) => 255,
            };
            // SAFETY: ends the child, without running what is the parent's to run.
            unsafe { libc::_exit(status) }
        }
        child => {
            let mut status = 0;
            // SAFETY: the status is ours to be written.
            let ended = unsafe { libc::waitpid(child, &mut status, 0) };
            ensure!(ended == child && libc::WIFEXITED(status), "the child: {status:#x}");
            Ok(libc::WEXITSTATUS(status))
        }
    }
}
