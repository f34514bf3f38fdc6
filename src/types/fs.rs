//! Files: flags of reading, writing and syncing.

use bitflags::bitflags;

use crate::sys;

/// The offset that stands for the file's own position: it is used, and moved.
///
/// Files without a position (sockets, pipes) take it as well. Since Linux 5.6
/// ([`is_feature_rw_cur_pos`](crate::Parameters::is_feature_rw_cur_pos)).
pub const CURRENT_POSITION: u64 = u64::MAX;

bitflags! {
    /// Flags of one read or write, the `RWF_*` of [`preadv2(2)`].
    ///
    /// [`preadv2(2)`]: https://man7.org/linux/man-pages/man2/preadv2.2.html
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct RwFlags: u32 {
        /// Poll for the completion; what IOPOLL rings do of themselves.
        const HIPRI = sys::RWF_HIPRI;
        /// Write, and the data is on the device when it completes (`O_DSYNC` for one write).
        const DSYNC = sys::RWF_DSYNC;
        /// Write, and data and metadata are on the device when it completes (`O_SYNC`).
        const SYNC = sys::RWF_SYNC;
        /// Complete with EAGAIN where the operation would have to wait.
        const NOWAIT = sys::RWF_NOWAIT;
        /// Write at the end, wherever the offset points.
        const APPEND = sys::RWF_APPEND;
        /// Write at the offset although the file is open for appending. Since Linux 6.9.
        const NOAPPEND = sys::RWF_NOAPPEND;
        /// Write all or nothing, even if power is lost. Since Linux 6.11.
        const ATOMIC = sys::RWF_ATOMIC;
        /// Drop the pages from the cache afterwards. Since Linux 6.14.
        const DONTCACHE = sys::RWF_DONTCACHE;

        const _ = !0;
    }
}

bitflags! {
    /// Flags of [`Fsync`](crate::opcode::Fsync).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct FsyncFlags: u32 {
        /// Sync the data, and of the metadata only what reading it back needs: `fdatasync(2)`.
        const DATASYNC = sys::IORING_FSYNC_DATASYNC;

        const _ = !0;
    }
}
