//! Arguments of operations on open files: syncing, allocating, advice.

use bitflags::bitflags;
use linux_raw_sys::general;

use crate::sys;

bitflags! {
    /// Flags of [`Fsync`](crate::opcode::Fsync): the `IORING_FSYNC_*`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct FsyncFlags: u32 {
        /// Sync the data, and only the metadata that is necessary to read it back (`fdatasync(2)`).
        const DATASYNC = sys::IORING_FSYNC_DATASYNC;

        const _ = !0;
    }
}

bitflags! {
    /// Flags of [`SyncFileRange`](crate::opcode::SyncFileRange), the `SYNC_FILE_RANGE_*` of
    /// [`sync_file_range(2)`].
    ///
    /// [`sync_file_range(2)`]: https://man7.org/linux/man-pages/man2/sync_file_range.2.html
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct SyncFileRangeFlags: u32 {
        /// First wait for writes that are already in progress.
        const WAIT_BEFORE = sys::SYNC_FILE_RANGE_WAIT_BEFORE;
        /// Start writing dirty pages that are not being written yet.
        const WRITE = sys::SYNC_FILE_RANGE_WRITE;
        /// Finally wait for all writes.
        const WAIT_AFTER = sys::SYNC_FILE_RANGE_WAIT_AFTER;

        const _ = !0;
    }
}

bitflags! {
    /// The mode of [`Fallocate`](crate::opcode::Fallocate): the `FALLOC_FL_*` flags of
    /// [`fallocate(2)`]. Without flags, it allocates.
    ///
    /// [`fallocate(2)`]: https://man7.org/linux/man-pages/man2/fallocate.2.html
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct FallocateFlags: u32 {
        /// Do not change the size of the file.
        const KEEP_SIZE = sys::FALLOC_FL_KEEP_SIZE;
        /// Free the range, which then reads as zeros. Requires [`KEEP_SIZE`](Self::KEEP_SIZE).
        const PUNCH_HOLE = sys::FALLOC_FL_PUNCH_HOLE;
        /// Reserved.
        const NO_HIDE_STALE = sys::FALLOC_FL_NO_HIDE_STALE;
        /// Remove the range from the file, and shift the data behind it to lower offsets.
        const COLLAPSE_RANGE = sys::FALLOC_FL_COLLAPSE_RANGE;
        /// Make the range read as zeros, and keep it allocated.
        const ZERO_RANGE = sys::FALLOC_FL_ZERO_RANGE;
        /// Insert a hole into the file, and shift the data behind it to higher offsets.
        const INSERT_RANGE = sys::FALLOC_FL_INSERT_RANGE;
        /// Give the range its own blocks if it shares blocks with other files.
        const UNSHARE_RANGE = sys::FALLOC_FL_UNSHARE_RANGE;
        /// Write zeros to the device. Since Linux 6.17.
        const WRITE_ZEROES = sys::FALLOC_FL_WRITE_ZEROES;

        const _ = !0;
    }
}

/// The expected use of a file: the `POSIX_FADV_*` numbers of [`posix_fadvise(2)`].
///
/// [`posix_fadvise(2)`]: https://man7.org/linux/man-pages/man2/posix_fadvise.2.html
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Fadv(pub u32);

impl Fadv {
    /// No special use.
    pub const NORMAL: Self = Self(general::POSIX_FADV_NORMAL);
    /// Random access.
    pub const RANDOM: Self = Self(general::POSIX_FADV_RANDOM);
    /// Sequential access.
    pub const SEQUENTIAL: Self = Self(general::POSIX_FADV_SEQUENTIAL);
    /// Use in the near future: read the data ahead.
    pub const WILLNEED: Self = Self(general::POSIX_FADV_WILLNEED);
    /// No use in the near future: drop the data from the cache.
    pub const DONTNEED: Self = Self(general::POSIX_FADV_DONTNEED);
    /// The data is used only once.
    pub const NOREUSE: Self = Self(general::POSIX_FADV_NOREUSE);
}

/// The expected use of memory, or an action on it: the `MADV_*` numbers of [`madvise(2)`].
///
/// [`madvise(2)`]: https://man7.org/linux/man-pages/man2/madvise.2.html
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Madv(pub u32);

impl Madv {
    /// No special use.
    pub const NORMAL: Self = Self(general::MADV_NORMAL);
    /// Random access.
    pub const RANDOM: Self = Self(general::MADV_RANDOM);
    /// Sequential access.
    pub const SEQUENTIAL: Self = Self(general::MADV_SEQUENTIAL);
    /// Use in the near future: read the data ahead.
    pub const WILLNEED: Self = Self(general::MADV_WILLNEED);
    /// Free the memory now and lose its contents.
    pub const DONTNEED: Self = Self(general::MADV_DONTNEED);
    /// Like [`DONTNEED`](Self::DONTNEED), but includes locked pages. Since Linux 5.18.
    pub const DONTNEED_LOCKED: Self = Self(general::MADV_DONTNEED_LOCKED);
    /// Free the memory and lose its contents when the system runs short of memory.
    pub const FREE: Self = Self(general::MADV_FREE);
    /// Free the memory and its backing store, which leaves a hole in the file.
    pub const REMOVE: Self = Self(general::MADV_REMOVE);
    /// Children do not inherit the memory.
    pub const DONTFORK: Self = Self(general::MADV_DONTFORK);
    /// Children inherit the memory.
    pub const DOFORK: Self = Self(general::MADV_DOFORK);
    /// Children inherit the memory filled with zeros.
    pub const WIPEONFORK: Self = Self(general::MADV_WIPEONFORK);
    /// Children inherit the memory with its contents.
    pub const KEEPONFORK: Self = Self(general::MADV_KEEPONFORK);
    /// Exclude the memory from core dumps.
    pub const DONTDUMP: Self = Self(general::MADV_DONTDUMP);
    /// Include the memory in core dumps.
    pub const DODUMP: Self = Self(general::MADV_DODUMP);
    /// Share pages that have the same contents.
    pub const MERGEABLE: Self = Self(general::MADV_MERGEABLE);
    /// Do not share pages that have the same contents.
    pub const UNMERGEABLE: Self = Self(general::MADV_UNMERGEABLE);
    /// Use huge pages.
    pub const HUGEPAGE: Self = Self(general::MADV_HUGEPAGE);
    /// Do not use huge pages.
    pub const NOHUGEPAGE: Self = Self(general::MADV_NOHUGEPAGE);
    /// Move the memory to huge pages now. Since Linux 6.1.
    pub const COLLAPSE: Self = Self(general::MADV_COLLAPSE);
    /// Reclaim the memory first when the system runs short of memory.
    pub const COLD: Self = Self(general::MADV_COLD);
    /// Reclaim the memory now, by writing it back or to swap.
    pub const PAGEOUT: Self = Self(general::MADV_PAGEOUT);
    /// Fault in the memory for reading. Since Linux 5.14.
    pub const POPULATE_READ: Self = Self(general::MADV_POPULATE_READ);
    /// Fault in the memory for writing. Since Linux 5.14.
    pub const POPULATE_WRITE: Self = Self(general::MADV_POPULATE_WRITE);
    /// Turn the pages into guard pages, which fault on every access. Since Linux 6.13.
    pub const GUARD_INSTALL: Self = Self(general::MADV_GUARD_INSTALL);
    /// Undo [`GUARD_INSTALL`](Self::GUARD_INSTALL). Since Linux 6.13.
    pub const GUARD_REMOVE: Self = Self(general::MADV_GUARD_REMOVE);
}
