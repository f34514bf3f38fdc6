//! Open files: syncing, allocating and advising; also advice about memory.

use super::operations;
use crate::types::{Fadv, FallocateFlags, FsyncFlags, Madv, SyncFileRangeFlags, Target, c_void};

operations! {
    /// Flushes written data to the device, like [`fsync(2)`].
    ///
    /// A sync does not wait for other writes of the same ring. Link it behind the writes, or set
    /// [`IO_DRAIN`](crate::squeue::Flags::IO_DRAIN).
    ///
    /// [`fsync(2)`]: https://man7.org/linux/man-pages/man2/fsync.2.html
    ///
    /// - **Result:** 0
    Fsync = "IORING_OP_FSYNC" since "5.1",
    new(fd: impl Target => fd)
    {
        /// Sets flags; [`FsyncFlags::DATASYNC`] makes this an `fdatasync(2)`.
        flags: impl Into<FsyncFlags> => fsync_flags,
        /// Sets the start of the range to sync. The default is 0.
        offset: u64 => off,
        /// Sets the length of the range in bytes. 0, the default, means up to the end of the file.
        len: u32 => len,
    }

    /// Starts or awaits the writeback of a range of a file, like [`sync_file_range(2)`].
    ///
    /// This flushes data only, not metadata: if the file has grown, the new data may be lost in a
    /// crash.
    ///
    /// [`sync_file_range(2)`]: https://man7.org/linux/man-pages/man2/sync_file_range.2.html
    ///
    /// - **Result:** 0; -ESPIPE if `fd` is not a regular file, block device, directory or symbolic
    ///   link
    SyncFileRange = "IORING_OP_SYNC_FILE_RANGE" since "5.2",
    new(fd: impl Target => fd, len: u32 => len)
    {
        /// Sets the start of the range. The default is 0.
        offset: u64 => off,
        /// Sets what to do. By default, the operation does nothing.
        flags: SyncFileRangeFlags => range_flags,
    }

    /// Allocates or frees a range of a file, like [`fallocate(2)`].
    ///
    /// [`fallocate(2)`]: https://man7.org/linux/man-pages/man2/fallocate.2.html
    ///
    /// - **Result:** 0; -EOPNOTSUPP if the file system does not support the mode
    Fallocate = "IORING_OP_FALLOCATE" since "5.6",
    new(fd: impl Target => fd, len: u64 => fallocate_len)
    {
        /// Sets the start of the range. The default is 0.
        offset: u64 => off,
        /// Sets what to do. The default is to allocate.
        mode: impl Into<FallocateFlags> => fallocate_mode,
    }

    /// Truncates or extends a file, like [`ftruncate(2)`].
    ///
    /// [`ftruncate(2)`]: https://man7.org/linux/man-pages/man2/ftruncate.2.html
    ///
    /// - **Result:** 0
    Ftruncate = "IORING_OP_FTRUNCATE" since "6.9",
    new(fd: impl Target => fd, len: u64 => off)

    /// Announces how a range of a file will be used, like [`posix_fadvise(2)`].
    ///
    /// [`posix_fadvise(2)`]: https://man7.org/linux/man-pages/man2/posix_fadvise.2.html
    ///
    /// - **Result:** 0
    Fadvise = "IORING_OP_FADVISE" since "5.6; lengths of 4 GiB and more since 6.11",
    new(fd: impl Target => fd, len: u64 => fadvise_len, advice: impl Into<Fadv> => advice)
    {
        /// Sets the start of the range. The default is 0.
        offset: u64 => off,
    }

    /// Announces how memory will be used, or requests an action on it, like [`madvise(2)`].
    ///
    /// [`madvise(2)`]: https://man7.org/linux/man-pages/man2/madvise.2.html
    ///
    /// - **Result:** 0
    /// - **Memory:** `addr` until *completion*. Some advice discards the contents of the memory, or
    ///   the mapping itself
    Madvise = "IORING_OP_MADVISE" since "5.6; lengths of 4 GiB and more since 6.11",
    new(addr: *const c_void => addr, len: u64 => madvise_len, advice: impl Into<Madv> => madvice; no_fd(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::tests::{at, entries};
    use crate::types::Fd;

    entries! {
        fsync: Fsync::new(Fd(3)).flags(FsyncFlags::DATASYNC).offset(5).len(6)
            => { opcode: 3, fd: 3, off: 5, len: 6, op_flags: 1 };
        sync_file_range: SyncFileRange::new(Fd(3), 6).offset(5)
            .flags(SyncFileRangeFlags::WRITE | SyncFileRangeFlags::WAIT_AFTER)
            => { opcode: 8, fd: 3, off: 5, len: 6, op_flags: 6 };
        fallocate: Fallocate::new(Fd(3), 1 << 40).offset(5)
            .mode(FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE)
            => { opcode: 17, fd: 3, off: 5, addr: 1 << 40, len: 3 };
        ftruncate: Ftruncate::new(Fd(3), 1 << 40) => { opcode: 55, fd: 3, off: 1 << 40 };
        fadvise: Fadvise::new(Fd(3), 6, Fadv::WILLNEED).offset(5)
            => { opcode: 24, fd: 3, off: 5, len: 6, op_flags: 3 };
        fadvise_far: Fadvise::new(Fd(3), 1 << 40, Fadv::WILLNEED).offset(5)
            => { opcode: 24, fd: 3, off: 5, addr: 1 << 40, op_flags: 3 };
        madvise: Madvise::new(at(0x1000), 6, Madv::DONTNEED)
            => { opcode: 25, fd: -1, addr: 0x1000, len: 6, op_flags: 4 };
        madvise_far: Madvise::new(at(0x1000), 1 << 40, Madv::DONTNEED)
            => { opcode: 25, fd: -1, addr: 0x1000, off: 1 << 40, op_flags: 4 };
    }
}
