//! Operations that read and write files.

use core::ptr;

use super::operations;
use crate::types::{AttrPi, RwFlags, Target, iovec};

operations! {
    /// Reads into a buffer at a file offset, like [`pread(2)`].
    ///
    /// [`pread(2)`]: https://man7.org/linux/man-pages/man2/pread.2.html
    ///
    /// - **Result:** bytes read, which may be fewer than `len` (at most 2 GiB minus one page); 0 at
    ///   the end of the file; with a provided buffer, -ENOBUFS if the group is empty
    /// - **CQE flags:** [`buffer_select`](crate::cqueue::Entry::buffer_select) with a provided
    ///   buffer
    /// - **Memory:** `buf` until *completion*
    Read = "IORING_OP_READ" since "5.6",
    new(fd: impl Target => fd, buf: *mut u8 => addr, len: u32 => len)
    {
        /// Sets the offset in the file. The default is 0.
        /// [`CURRENT_POSITION`](crate::types::CURRENT_POSITION) uses and advances the file's own
        /// position. Sockets and pipes accept both.
        offset: u64 => off,
        /// Sets the I/O priority, in the format of
        /// [`ioprio_set(2)`](https://man7.org/linux/man-pages/man2/ioprio_set.2.html).
        ioprio: u16 => ioprio,
        /// Sets the flags of this read.
        rw_flags: impl Into<RwFlags> => rw_flags,
        /// Uses a provided buffer of this group, and sets
        /// [`Flags::BUFFER_SELECT`](crate::squeue::Flags::BUFFER_SELECT). The kernel then
        /// ignores `buf`, which may be null. `len` still limits the transfer.
        buf_group: u16 => select_buffer,
        /// Also reads protection information, from a block device opened with `O_DIRECT`. The
        /// [`AttrPi`] itself must stay valid until *submit*. Since Linux 6.14.
        attr_pi: *const AttrPi => attr_pi,
    }

    /// Writes from a buffer at a file offset, like [`pwrite(2)`].
    ///
    /// [`pwrite(2)`]: https://man7.org/linux/man-pages/man2/pread.2.html
    ///
    /// - **Result:** bytes written, which may be fewer than `len` (at most 2 GiB minus one page)
    /// - **Memory:** `buf` until *completion*
    Write = "IORING_OP_WRITE" since "5.6",
    new(fd: impl Target => fd, buf: *const u8 => addr, len: u32 => len)
    {
        /// Sets the offset in the file, as with [`Read::offset`].
        offset: u64 => off,
        /// Sets the I/O priority, as with [`Read::ioprio`].
        ioprio: u16 => ioprio,
        /// Sets the flags of this write.
        rw_flags: impl Into<RwFlags> => rw_flags,
        /// Sets the write stream of the block device. 0, the default, means none. Since Linux 6.16;
        /// ignored before.
        write_stream: u8 => write_stream,
        /// Also writes protection information, as with [`Read::attr_pi`].
        attr_pi: *const AttrPi => attr_pi,
    }

    /// Reads into several buffers at a file offset, like [`preadv2(2)`].
    ///
    /// [`preadv2(2)`]: https://man7.org/linux/man-pages/man2/preadv2.2.html
    ///
    /// - **Result:** bytes read, which may be fewer than the buffers can hold; 0 at the end of the
    ///   file
    /// - **CQE flags:** [`buffer_select`](crate::cqueue::Entry::buffer_select) with a provided
    ///   buffer
    /// - **Memory:** the `iovec` array until *submit*, the buffers until *completion*
    Readv = "IORING_OP_READV" since "5.1",
    new(fd: impl Target => fd, iovec: *const iovec => addr, len: u32 => len)
    {
        /// Sets the offset in the file, as with [`Read::offset`].
        offset: u64 => off,
        /// Sets the I/O priority, as with [`Read::ioprio`].
        ioprio: u16 => ioprio,
        /// Sets the flags of this read.
        rw_flags: impl Into<RwFlags> => rw_flags,
        /// Uses a provided buffer of this group, and sets
        /// [`Flags::BUFFER_SELECT`](crate::squeue::Flags::BUFFER_SELECT). There must
        /// then be exactly one `iovec`, whose length limits the transfer.
        buf_group: u16 => select_buffer,
        /// Also reads protection information, as with [`Read::attr_pi`].
        attr_pi: *const AttrPi => attr_pi,
    }

    /// Writes from several buffers at a file offset, like [`pwritev2(2)`].
    ///
    /// [`pwritev2(2)`]: https://man7.org/linux/man-pages/man2/preadv2.2.html
    ///
    /// - **Result:** bytes written, which may be fewer than the buffers have
    /// - **Memory:** the `iovec` array until *submit*, the buffers until *completion*
    Writev = "IORING_OP_WRITEV" since "5.1",
    new(fd: impl Target => fd, iovec: *const iovec => addr, len: u32 => len)
    {
        /// Sets the offset in the file, as with [`Read::offset`].
        offset: u64 => off,
        /// Sets the I/O priority, as with [`Read::ioprio`].
        ioprio: u16 => ioprio,
        /// Sets the flags of this write.
        rw_flags: impl Into<RwFlags> => rw_flags,
        /// Sets the write stream, as with [`Write::write_stream`].
        write_stream: u8 => write_stream,
        /// Also writes protection information, as with [`Read::attr_pi`].
        attr_pi: *const AttrPi => attr_pi,
    }

    /// Reads into a registered buffer at a file offset, like [`pread(2)`].
    ///
    /// [`pread(2)`]: https://man7.org/linux/man-pages/man2/pread.2.html
    ///
    /// - **Result:** bytes read, as with [`Read`]; -EFAULT if there is no such buffer, or if `buf`
    ///   and `len` exceed it
    /// - **Memory:** `buf` until *completion*
    /// - **Needs:** a [registered buffer](crate::Submitter::register_buffers) that contains `buf`
    ///   and `len`
    ReadFixed = "IORING_OP_READ_FIXED" since "5.1",
    new(fd: impl Target => fd, buf: *mut u8 => addr, len: u32 => len, buf_index: u16 => buf_index)
    {
        /// Sets the offset in the file, as with [`Read::offset`].
        offset: u64 => off,
        /// Sets the I/O priority, as with [`Read::ioprio`].
        ioprio: u16 => ioprio,
        /// Sets the flags of this read.
        rw_flags: impl Into<RwFlags> => rw_flags,
        /// Also reads protection information, as with [`Read::attr_pi`].
        attr_pi: *const AttrPi => attr_pi,
    }

    /// Writes from a registered buffer at a file offset, like [`pwrite(2)`].
    ///
    /// [`pwrite(2)`]: https://man7.org/linux/man-pages/man2/pread.2.html
    ///
    /// - **Result:** bytes written, as with [`Write`]; -EFAULT if there is no such buffer, or if
    ///   `buf` and `len` exceed it
    /// - **Memory:** `buf` until *completion*
    /// - **Needs:** a [registered buffer](crate::Submitter::register_buffers) that contains `buf`
    ///   and `len`
    WriteFixed = "IORING_OP_WRITE_FIXED" since "5.1",
    new(fd: impl Target => fd, buf: *const u8 => addr, len: u32 => len, buf_index: u16 => buf_index)
    {
        /// Sets the offset in the file, as with [`Read::offset`].
        offset: u64 => off,
        /// Sets the I/O priority, as with [`Read::ioprio`].
        ioprio: u16 => ioprio,
        /// Sets the flags of this write.
        rw_flags: impl Into<RwFlags> => rw_flags,
        /// Sets the write stream, as with [`Write::write_stream`].
        write_stream: u8 => write_stream,
        /// Also writes protection information, as with [`Read::attr_pi`].
        attr_pi: *const AttrPi => attr_pi,
    }

    /// Reads into several parts of a registered buffer at a file offset, like [`preadv2(2)`].
    ///
    /// [`preadv2(2)`]: https://man7.org/linux/man-pages/man2/preadv2.2.html
    ///
    /// - **Result:** bytes read, as with [`Readv`]; -EFAULT if there is no such buffer, or if a
    ///   part exceeds it
    /// - **Memory:** the `iovec` array until *submit*, the buffers until *completion*
    /// - **Needs:** a [registered buffer](crate::Submitter::register_buffers) that contains all
    ///   parts
    ReadvFixed = "IORING_OP_READV_FIXED" since "6.15",
    new(fd: impl Target => fd, iovec: *const iovec => addr, len: u32 => len, buf_index: u16 => buf_index)
    {
        /// Sets the offset in the file, as with [`Read::offset`].
        offset: u64 => off,
        /// Sets the I/O priority, as with [`Read::ioprio`].
        ioprio: u16 => ioprio,
        /// Sets the flags of this read.
        rw_flags: impl Into<RwFlags> => rw_flags,
        /// Also reads protection information, as with [`Read::attr_pi`].
        attr_pi: *const AttrPi => attr_pi,
    }

    /// Writes from several parts of a registered buffer at a file offset, like [`pwritev2(2)`].
    ///
    /// [`pwritev2(2)`]: https://man7.org/linux/man-pages/man2/preadv2.2.html
    ///
    /// - **Result:** bytes written, as with [`Writev`]; -EFAULT if there is no such buffer, or if a
    ///   part exceeds it
    /// - **Memory:** the `iovec` array until *submit*, the buffers until *completion*
    /// - **Needs:** a [registered buffer](crate::Submitter::register_buffers) that contains all
    ///   parts
    WritevFixed = "IORING_OP_WRITEV_FIXED" since "6.15",
    new(fd: impl Target => fd, iovec: *const iovec => addr, len: u32 => len, buf_index: u16 => buf_index)
    {
        /// Sets the offset in the file, as with [`Read::offset`].
        offset: u64 => off,
        /// Sets the I/O priority, as with [`Read::ioprio`].
        ioprio: u16 => ioprio,
        /// Sets the flags of this write.
        rw_flags: impl Into<RwFlags> => rw_flags,
        /// Sets the write stream, as with [`Write::write_stream`].
        write_stream: u8 => write_stream,
        /// Also writes protection information, as with [`Read::attr_pi`].
        attr_pi: *const AttrPi => attr_pi,
    }

    /// Reads whenever data is ready (multishot), each time into a provided buffer, like
    /// [`read(2)`].
    ///
    /// `len` must be 0, and the size of the buffer limits each read. Current kernels fail with
    /// -EINVAL for any other `len`.
    ///
    /// [`read(2)`]: https://man7.org/linux/man-pages/man2/read.2.html
    ///
    /// - **Result:** bytes read, for each completion; 0 at the end; -ENOBUFS if the group is
    ///   empty; -EBADFD for files that cannot be polled, such as regular files
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) until the last,
    ///   [`buffer_select`](crate::cqueue::Entry::buffer_select)
    /// - **Needs:** a group of provided buffers
    ReadMulti = "IORING_OP_READ_MULTISHOT" since "6.7",
    new(fd: impl Target => fd, len: u32 => len, buf_group: u16 => select_buffer)
    {
        /// Sets the offset in the file, as with [`Read::offset`].
        offset: u64 => off,
        /// Sets the flags of the reads.
        rw_flags: impl Into<RwFlags> => rw_flags,
    }
}

impl Read {
    /// Creates a read into a provided buffer of this group, of at most `len` bytes.
    ///
    /// Equivalent to [`new`](Self::new) with a null pointer, followed by
    /// [`buf_group`](Self::buf_group).
    #[inline]
    pub fn provided(fd: impl Target, buf_group: u16, len: u32) -> Self {
        Self::new(fd, ptr::null_mut(), len).buf_group(buf_group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::tests::{at, entries};
    use crate::squeue::Sqe;
    use crate::types::{Fd, Fixed};

    /// A word whose first byte in memory is 9.
    const STREAM_9: u32 = if cfg!(target_endian = "little") { 9 } else { 9 << 24 };

    entries! {
        read: Read::new(Fd(3), at(0x1000), 16).offset(5).ioprio(6).rw_flags(RwFlags::NOWAIT)
            .buf_group(7).attr_pi(at(0x2000))
            => { opcode: 22, flags: 1 << 5, fd: 3, addr: 0x1000, len: 16, off: 5, ioprio: 6,
               op_flags: 8, buf_index: 7, addr3: 0x2000, pad2: 1 };
        read_of_a_slot: Read::new(Fixed(3), at(0x1000), 16)
            => { opcode: 22, flags: 1, fd: 3, addr: 0x1000, len: 16 };
        write: Write::new(Fd(3), at(0x1000), 16).offset(u64::MAX).ioprio(6)
            .rw_flags(RwFlags::APPEND).write_stream(9).attr_pi(at(0x2000))
            => { opcode: 23, fd: 3, addr: 0x1000, len: 16, off: u64::MAX, ioprio: 6, op_flags: 16,
               file_index: STREAM_9, addr3: 0x2000, pad2: 1 };
        readv: Readv::new(Fd(3), at(0x1000), 2).offset(5).ioprio(6).rw_flags(RwFlags::HIPRI)
            .buf_group(7).attr_pi(at(0x2000))
            => { opcode: 1, flags: 1 << 5, fd: 3, addr: 0x1000, len: 2, off: 5, ioprio: 6,
               op_flags: 1, buf_index: 7, addr3: 0x2000, pad2: 1 };
        writev: Writev::new(Fd(3), at(0x1000), 2).offset(5).ioprio(6).rw_flags(RwFlags::DSYNC)
            .write_stream(9).attr_pi(at(0x2000))
            => { opcode: 2, fd: 3, addr: 0x1000, len: 2, off: 5, ioprio: 6, op_flags: 2,
               file_index: STREAM_9, addr3: 0x2000, pad2: 1 };
        read_fixed: ReadFixed::new(Fd(3), at(0x1000), 16, 7).offset(5).ioprio(6)
            .rw_flags(RwFlags::NOWAIT).attr_pi(at(0x2000))
            => { opcode: 4, fd: 3, addr: 0x1000, len: 16, off: 5, ioprio: 6, op_flags: 8,
               buf_index: 7, addr3: 0x2000, pad2: 1 };
        write_fixed: WriteFixed::new(Fd(3), at(0x1000), 16, 7).offset(5).ioprio(6)
            .rw_flags(RwFlags::SYNC).write_stream(9).attr_pi(at(0x2000))
            => { opcode: 5, fd: 3, addr: 0x1000, len: 16, off: 5, ioprio: 6, op_flags: 4,
               buf_index: 7, file_index: STREAM_9, addr3: 0x2000, pad2: 1 };
        readv_fixed: ReadvFixed::new(Fd(3), at(0x1000), 2, 7).offset(5).ioprio(6)
            .rw_flags(RwFlags::NOWAIT).attr_pi(at(0x2000))
            => { opcode: 60, fd: 3, addr: 0x1000, len: 2, off: 5, ioprio: 6, op_flags: 8,
               buf_index: 7, addr3: 0x2000, pad2: 1 };
        writev_fixed: WritevFixed::new(Fd(3), at(0x1000), 2, 7).offset(5).ioprio(6)
            .rw_flags(RwFlags::DONTCACHE).write_stream(9).attr_pi(at(0x2000))
            => { opcode: 61, fd: 3, addr: 0x1000, len: 2, off: 5, ioprio: 6, op_flags: 0x80,
               buf_index: 7, file_index: STREAM_9, addr3: 0x2000, pad2: 1 };
        read_multi: ReadMulti::new(Fd(3), 0, 7).offset(u64::MAX).rw_flags(RwFlags::NOWAIT)
            => { opcode: 49, flags: 1 << 5, fd: 3, off: u64::MAX, op_flags: 8, buf_index: 7 };
    }

    #[test]
    fn read_into_a_group() {
        let entry = Read::provided(Fd(3), 7, 16).build();
        let sqe = Sqe { opcode: 22, flags: 1 << 5, fd: 3, len: 16, buf_index: 7, ..Sqe::ZERO };
        assert_eq!(entry.into_raw(), sqe);
        assert_eq!(Read::new(Fd(3), at(0), 16).buf_group(7).build(), entry);
    }
}
