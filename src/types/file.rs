//! Open files: flags of syncing and allocating, advice.

use bitflags::bitflags;
use linux_raw_sys::general;

use crate::sys;

bitflags! {
    /// Flags of [`Fsync`](crate::opcode::Fsync): the `IORING_FSYNC_*`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct FsyncFlags: u32 {
        /// Sync the data, and of the metadata only what reading it back needs: `fdatasync(2)`.
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
        /// First wait for what is being written already.
        const WAIT_BEFORE = sys::SYNC_FILE_RANGE_WAIT_BEFORE;
        /// Start writing what is not being written yet.
        const WRITE = sys::SYNC_FILE_RANGE_WRITE;
        /// Wait for what is being written then.
        const WAIT_AFTER = sys::SYNC_FILE_RANGE_WAIT_AFTER;

        const _ = !0;
    }
}

bitflags! {
    /// The mode of [`Fallocate`](crate::opcode::Fallocate), the `FALLOC_FL_*` of
    /// [`fallocate(2)`]; none of them allocates.
    ///
    /// [`fallocate(2)`]: https://man7.org/linux/man-pages/man2/fallocate.2.html
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct FallocateFlags: u32 {
        /// Leave the file's size as it is.
        const KEEP_SIZE = sys::FALLOC_FL_KEEP_SIZE;
        /// Free the range; it then reads as zeros. Goes with
        /// [`KEEP_SIZE`](Self::KEEP_SIZE) only.
        const PUNCH_HOLE = sys::FALLOC_FL_PUNCH_HOLE;
        /// Reserved.
        const NO_HIDE_STALE = sys::FALLOC_FL_NO_HIDE_STALE;
        /// Take the range out of the file: what is behind it moves forward.
        const COLLAPSE_RANGE = sys::FALLOC_FL_COLLAPSE_RANGE;
        /// Make the range read as zeros, and keep it allocated.
        const ZERO_RANGE = sys::FALLOC_FL_ZERO_RANGE;
        /// Put a hole into the file: what is behind it moves back.
        const INSERT_RANGE = sys::FALLOC_FL_INSERT_RANGE;
        /// Give the range blocks of its own, where it shares some with other files.
        const UNSHARE_RANGE = sys::FALLOC_FL_UNSHARE_RANGE;
        /// Write zeros to the device. Since Linux 6.17.
        const WRITE_ZEROES = sys::FALLOC_FL_WRITE_ZEROES;

        const _ = !0;
    }
}

/// How a file is going to be used: the `POSIX_FADV_*` of [`posix_fadvise(2)`].
///
/// [`posix_fadvise(2)`]: https://man7.org/linux/man-pages/man2/posix_fadvise.2.html
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Fadv(pub u32);

impl Fadv {
    /// As usual.
    pub const NORMAL: Self = Self(general::POSIX_FADV_NORMAL);
    /// Here and there.
    pub const RANDOM: Self = Self(general::POSIX_FADV_RANDOM);
    /// From front to back.
    pub const SEQUENTIAL: Self = Self(general::POSIX_FADV_SEQUENTIAL);
    /// Soon: read it ahead.
    pub const WILLNEED: Self = Self(general::POSIX_FADV_WILLNEED);
    /// Not any more: drop it from the cache.
    pub const DONTNEED: Self = Self(general::POSIX_FADV_DONTNEED);
    /// Once.
    pub const NOREUSE: Self = Self(general::POSIX_FADV_NOREUSE);
}

/// How memory is going to be used, or what to do with it: the `MADV_*` of [`madvise(2)`].
///
/// [`madvise(2)`]: https://man7.org/linux/man-pages/man2/madvise.2.html
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Madv(pub u32);

impl Madv {
    /// As usual.
    pub const NORMAL: Self = Self(general::MADV_NORMAL);
    /// Here and there.
    pub const RANDOM: Self = Self(general::MADV_RANDOM);
    /// From front to back.
    pub const SEQUENTIAL: Self = Self(general::MADV_SEQUENTIAL);
    /// Soon: read it ahead.
    pub const WILLNEED: Self = Self(general::MADV_WILLNEED);
    /// Not any more: its contents are gone at once.
    pub const DONTNEED: Self = Self(general::MADV_DONTNEED);
    /// As [`DONTNEED`](Self::DONTNEED), locked pages included. Since Linux 5.18.
    pub const DONTNEED_LOCKED: Self = Self(general::MADV_DONTNEED_LOCKED);
    /// Not any more: its contents are gone when memory runs short.
    pub const FREE: Self = Self(general::MADV_FREE);
    /// Not any more, nor what backs it: a hole in the file.
    pub const REMOVE: Self = Self(general::MADV_REMOVE);
    /// A child does not get it.
    pub const DONTFORK: Self = Self(general::MADV_DONTFORK);
    /// A child gets it.
    pub const DOFORK: Self = Self(general::MADV_DOFORK);
    /// A child gets zeros.
    pub const WIPEONFORK: Self = Self(general::MADV_WIPEONFORK);
    /// A child gets its contents.
    pub const KEEPONFORK: Self = Self(general::MADV_KEEPONFORK);
    /// Not in a core dump.
    pub const DONTDUMP: Self = Self(general::MADV_DONTDUMP);
    /// In a core dump.
    pub const DODUMP: Self = Self(general::MADV_DODUMP);
    /// Share pages of equal contents.
    pub const MERGEABLE: Self = Self(general::MADV_MERGEABLE);
    /// Share no pages.
    pub const UNMERGEABLE: Self = Self(general::MADV_UNMERGEABLE);
    /// In huge pages.
    pub const HUGEPAGE: Self = Self(general::MADV_HUGEPAGE);
    /// Not in huge pages.
    pub const NOHUGEPAGE: Self = Self(general::MADV_NOHUGEPAGE);
    /// Into huge pages, now. Since Linux 6.1.
    pub const COLLAPSE: Self = Self(general::MADV_COLLAPSE);
    /// Rarely: the first to go when memory runs short.
    pub const COLD: Self = Self(general::MADV_COLD);
    /// Rarely: swap it out.
    pub const PAGEOUT: Self = Self(general::MADV_PAGEOUT);
    /// Fault it in for reading. Since Linux 5.14.
    pub const POPULATE_READ: Self = Self(general::MADV_POPULATE_READ);
    /// Fault it in for writing. Since Linux 5.14.
    pub const POPULATE_WRITE: Self = Self(general::MADV_POPULATE_WRITE);
    /// Make every use a fault, with no mapping of its own. Since Linux 6.13.
    pub const GUARD_INSTALL: Self = Self(general::MADV_GUARD_INSTALL);
    /// Undo [`GUARD_INSTALL`](Self::GUARD_INSTALL). Since Linux 6.13.
    pub const GUARD_REMOVE: Self = Self(general::MADV_GUARD_REMOVE);
}
