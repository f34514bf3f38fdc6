//! Open files: syncing.

use super::opcode;
use crate::sys::io_uring_op::*;
use crate::types::{FsyncFlags, Target};

opcode! {
    /// Brings what was written to the device, like [`fsync(2)`].
    ///
    /// It waits for no write of the same ring: link it behind the writes, or drain.
    ///
    /// [`fsync(2)`]: https://man7.org/linux/man-pages/man2/fsync.2.html
    ///
    /// - **Since:** Linux 5.1
    /// - **Result:** 0
    Fsync = IORING_OP_FSYNC,
    new(fd: impl Target => fd)
    {
        /// [`FsyncFlags::DATASYNC`] makes it an `fdatasync(2)`.
        flags: FsyncFlags => fsync_flags,
        /// The start of the range to sync, 0 if not given.
        offset: u64 => off,
        /// The length of the range in bytes; 0, as if not given, is to the end of the file.
        len: u32 => len,
    }
}
