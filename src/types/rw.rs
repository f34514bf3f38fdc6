//! Reading and writing: per-call flags, the file's own position, protection information.

use core::ffi::c_void;

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
    /// What of the protection information is checked: the `IO_INTEGRITY_CHK_*` flags.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct PiFlags: u16 {
        /// Check the guard: the checksum of each block.
        const CHK_GUARD = sys::IO_INTEGRITY_CHK_GUARD as u16;
        /// Check the reference tag, which counts on from [`AttrPi::seed`].
        const CHK_REFTAG = sys::IO_INTEGRITY_CHK_REFTAG as u16;
        /// Check the application tag, [`AttrPi::app_tag`].
        const CHK_APPTAG = sys::IO_INTEGRITY_CHK_APPTAG as u16;

        const _ = !0;
    }
}

/// The protection information that goes along with a direct read or write, on block devices that
/// keep some: `struct io_uring_attr_pi`. Since Linux 6.14.
///
/// See `attr_pi` of [`Read`](crate::opcode::Read) and its kin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct AttrPi {
    flags: u16,
    app_tag: u16,
    len: u32,
    addr: u64,
    seed: u64,
    rsvd: u64,
}

impl AttrPi {
    /// `len` bytes of protection information at `addr`, which must live as long as the data: until
    /// the operation's *completion*. A read writes them.
    #[inline]
    pub fn new(addr: *mut u8, len: u32) -> Self {
        let addr = addr.cast::<c_void>().expose_provenance() as u64;
        Self { len, addr, ..Self::default() }
    }

    /// Sets what is checked.
    #[must_use]
    #[inline]
    pub const fn flags(mut self, flags: PiFlags) -> Self {
        self.flags = flags.bits();
        self
    }

    /// Sets the application tag.
    #[must_use]
    #[inline]
    pub const fn app_tag(mut self, app_tag: u16) -> Self {
        self.app_tag = app_tag;
        self
    }

    /// Sets the reference tag of the first block.
    #[must_use]
    #[inline]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::io_uring_attr_pi;
    use core::mem::offset_of;

    #[test]
    fn layout_is_the_kernels() {
        assert_eq!(size_of::<AttrPi>(), size_of::<io_uring_attr_pi>());
        macro_rules! same {
            ($($field:ident)*) => { $(
                assert_eq!(offset_of!(AttrPi, $field), offset_of!(io_uring_attr_pi, $field));
            )* };
        }
        same!(flags app_tag len addr seed rsvd);
    }

    #[test]
    fn protection_information_goes_where_it_belongs() {
        let addr = core::ptr::without_provenance_mut(0x1000);
        let pi = AttrPi::new(addr, 64).flags(PiFlags::CHK_REFTAG).app_tag(7).seed(9);
        let expected = AttrPi { flags: 2, app_tag: 7, len: 64, addr: 0x1000, seed: 9, rsvd: 0 };
        assert_eq!(pi, expected);
    }
}
