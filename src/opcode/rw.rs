//! Reading and writing.

use super::opcode;
use crate::sys::io_uring_op::*;
use crate::types::{RwFlags, Target, iovec};

opcode! {
    /// Reads into several buffers at a file offset, like [`preadv2(2)`].
    ///
    /// [`preadv2(2)`]: https://man7.org/linux/man-pages/man2/preadv2.2.html
    ///
    /// - **Since:** Linux 5.1
    /// - **Result:** bytes read, which may be fewer than there is room for; 0 at the end of the file
    /// - **Memory:** the `iovec` array until *submit*, the buffers until *completion*
    Readv = IORING_OP_READV,
    new(fd: impl Target => fd, iovec: *const iovec => addr, len: u32 => len)
    {
        /// Where in the file to start, 0 if not given;
        /// [`CURRENT_POSITION`](crate::types::CURRENT_POSITION) uses and moves the file's own
        /// position. Sockets and pipes take either.
        offset: u64 => off,
        /// The I/O priority, as of [`ioprio_set(2)`](https://man7.org/linux/man-pages/man2/ioprio_set.2.html).
        ioprio: u16 => ioprio,
        /// Flags of this read.
        rw_flags: RwFlags => rw_flags,
        /// The group to take a provided buffer from, with
        /// [`Flags::BUFFER_SELECT`](crate::squeue::Flags::BUFFER_SELECT) on the entry.
        buf_group: u16 => buf_group,
    }
}

opcode! {
    /// Writes several buffers at a file offset, like [`pwritev2(2)`].
    ///
    /// [`pwritev2(2)`]: https://man7.org/linux/man-pages/man2/preadv2.2.html
    ///
    /// - **Since:** Linux 5.1
    /// - **Result:** bytes written, which may be fewer than were given
    /// - **Memory:** the `iovec` array until *submit*, the buffers until *completion*
    Writev = IORING_OP_WRITEV,
    new(fd: impl Target => fd, iovec: *const iovec => addr, len: u32 => len)
    {
        /// Where in the file to start, 0 if not given;
        /// [`CURRENT_POSITION`](crate::types::CURRENT_POSITION) uses and moves the file's own
        /// position. Sockets and pipes take either.
        offset: u64 => off,
        /// The I/O priority, as of [`ioprio_set(2)`](https://man7.org/linux/man-pages/man2/ioprio_set.2.html).
        ioprio: u16 => ioprio,
        /// Flags of this write.
        rw_flags: RwFlags => rw_flags,
    }
}

opcode! {
    /// Reads into a buffer at a file offset, like [`pread(2)`].
    ///
    /// [`pread(2)`]: https://man7.org/linux/man-pages/man2/pread.2.html
    ///
    /// - **Since:** Linux 5.6
    /// - **Result:** bytes read, which may be fewer than `len` (at most 2 GiB less a page); 0 at
    ///   the end of the file; with a provided buffer, -ENOBUFS where the group is empty
    /// - **CQE flags:** [`buffer_select`](crate::cqueue::Entry::buffer_select) with a provided buffer
    /// - **Memory:** `buf` until *completion*
    Read = IORING_OP_READ,
    new(fd: impl Target => fd, buf: *mut u8 => addr, len: u32 => len)
    {
        /// Where in the file to start, 0 if not given;
        /// [`CURRENT_POSITION`](crate::types::CURRENT_POSITION) uses and moves the file's own
        /// position. Sockets and pipes take either.
        offset: u64 => off,
        /// The I/O priority, as of [`ioprio_set(2)`](https://man7.org/linux/man-pages/man2/ioprio_set.2.html).
        ioprio: u16 => ioprio,
        /// Flags of this read.
        rw_flags: RwFlags => rw_flags,
        /// The group to take a provided buffer from, with
        /// [`Flags::BUFFER_SELECT`](crate::squeue::Flags::BUFFER_SELECT) on the entry; `buf` is
        /// ignored then and may be null.
        buf_group: u16 => buf_group,
    }
}

opcode! {
    /// Writes a buffer at a file offset, like [`pwrite(2)`].
    ///
    /// [`pwrite(2)`]: https://man7.org/linux/man-pages/man2/pread.2.html
    ///
    /// - **Since:** Linux 5.6
    /// - **Result:** bytes written, which may be fewer than `len` (at most 2 GiB less a page)
    /// - **Memory:** `buf` until *completion*
    Write = IORING_OP_WRITE,
    new(fd: impl Target => fd, buf: *const u8 => addr, len: u32 => len)
    {
        /// Where in the file to start, 0 if not given;
        /// [`CURRENT_POSITION`](crate::types::CURRENT_POSITION) uses and moves the file's own
        /// position. Sockets and pipes take either.
        offset: u64 => off,
        /// The I/O priority, as of [`ioprio_set(2)`](https://man7.org/linux/man-pages/man2/ioprio_set.2.html).
        ioprio: u16 => ioprio,
        /// Flags of this write.
        rw_flags: RwFlags => rw_flags,
    }
}
