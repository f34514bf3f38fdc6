//! Open files: syncing, allocating, advising; and advice on memory.

use super::operations;
use crate::types::{Fadv, FallocateFlags, FsyncFlags, Madv, SyncFileRangeFlags, Target, c_void};

operations! {
    /// Brings what was written to the device, like [`fsync(2)`].
    ///
    /// It waits for no write of the same ring: link it behind the writes, or set
    /// [`IO_DRAIN`](crate::squeue::Flags::IO_DRAIN).
    ///
    /// [`fsync(2)`]: https://man7.org/linux/man-pages/man2/fsync.2.html
    ///
    /// - **Result:** 0
    Fsync = "IORING_OP_FSYNC" since "5.1",
    new(fd: impl Target => fd)
    {
        /// [`FsyncFlags::DATASYNC`] makes it an `fdatasync(2)`.
        flags: impl Into<FsyncFlags> => fsync_flags,
        /// The start of the range to sync, 0 if not given.
        offset: u64 => off,
        /// The length of the range in bytes; 0, as if not given, is to the end of the file.
        len: u32 => len,
    }

    /// Starts writing out a range of a file, or waits for that, like [`sync_file_range(2)`].
    ///
    /// The data only: where the file has grown, nothing of it may be found after a crash.
    ///
    /// [`sync_file_range(2)`]: https://man7.org/linux/man-pages/man2/sync_file_range.2.html
    ///
    /// - **Result:** 0; -ESPIPE for what is no file on a disk
    SyncFileRange = "IORING_OP_SYNC_FILE_RANGE" since "5.2",
    new(fd: impl Target => fd, len: u32 => len)
    {
        /// The start of the range, 0 if not given.
        offset: u64 => off,
        /// What to do; nothing if not given.
        flags: SyncFileRangeFlags => range_flags,
    }

    /// Allocates a range of a file, or frees it, like [`fallocate(2)`].
    ///
    /// [`fallocate(2)`]: https://man7.org/linux/man-pages/man2/fallocate.2.html
    ///
    /// - **Result:** 0; -EOPNOTSUPP where the file system lacks the mode
    Fallocate = "IORING_OP_FALLOCATE" since "5.6",
    new(fd: impl Target => fd, len: u64 => fallocate_len)
    {
        /// The start of the range, 0 if not given.
        offset: u64 => off,
        /// What to do; allocate if not given.
        mode: impl Into<FallocateFlags> => fallocate_mode,
    }

    /// Cuts a file off, or makes it longer, like [`ftruncate(2)`].
    ///
    /// [`ftruncate(2)`]: https://man7.org/linux/man-pages/man2/ftruncate.2.html
    ///
    /// - **Result:** 0
    Ftruncate = "IORING_OP_FTRUNCATE" since "6.9",
    new(fd: impl Target => fd, len: u64 => off)

    /// Tells how a range of a file is going to be used, like [`posix_fadvise(2)`].
    ///
    /// [`posix_fadvise(2)`]: https://man7.org/linux/man-pages/man2/posix_fadvise.2.html
    ///
    /// - **Result:** 0
    Fadvise = "IORING_OP_FADVISE" since "5.6; lengths of 4 GiB and more since 6.11",
    new(fd: impl Target => fd, len: u64 => fadvise_len, advice: impl Into<Fadv> => advice)
    {
        /// The start of the range, 0 if not given.
        offset: u64 => off,
    }

    /// Tells how memory is going to be used, or what to do with it, like [`madvise(2)`].
    ///
    /// [`madvise(2)`]: https://man7.org/linux/man-pages/man2/madvise.2.html
    ///
    /// - **Result:** 0
    /// - **Memory:** `addr` until *completion*, and some advice takes its contents or the mapping
    ///   itself away
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
