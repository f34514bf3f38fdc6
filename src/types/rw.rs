//! Arguments of reads and writes: flags, the current position, protection information.

use core::ffi::c_void;

use bitflags::bitflags;

use crate::sys;

/// The offset that means the current position of the file. The operation uses and advances it.
///
/// Files without a position (sockets, pipes) accept this offset, too. Since Linux 5.6
/// ([`is_feature_rw_cur_pos`](crate::Parameters::is_feature_rw_cur_pos)).
pub const CURRENT_POSITION: u64 = u64::MAX;

bitflags! {
    /// Flags of one read or write: the `RWF_*` flags of [`preadv2(2)`].
    ///
    /// [`preadv2(2)`]: https://man7.org/linux/man-pages/man2/preadv2.2.html
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct RwFlags: u32 {
        /// Poll for the completion. IOPOLL rings always do so.
        const HIPRI = sys::RWF_HIPRI;
        /// Complete a write when the data is on the device (`O_DSYNC` for one write).
        const DSYNC = sys::RWF_DSYNC;
        /// Complete a write when data and metadata are on the device (`O_SYNC` for one write).
        const SYNC = sys::RWF_SYNC;
        /// Complete with EAGAIN if the operation would block.
        const NOWAIT = sys::RWF_NOWAIT;
        /// Write at the end of the file, whatever the offset is.
        const APPEND = sys::RWF_APPEND;
        /// Write at the offset even if the file is in append mode. Since Linux 6.9.
        const NOAPPEND = sys::RWF_NOAPPEND;
        /// Write all of the data or none, even if power is lost. Since Linux 6.11.
        const ATOMIC = sys::RWF_ATOMIC;
        /// Drop the pages from the page cache afterwards. Since Linux 6.14.
        const DONTCACHE = sys::RWF_DONTCACHE;

        const _ = !0;
    }
}

bitflags! {
    /// The parts of the protection information to check: the `IO_INTEGRITY_CHK_*` flags.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct PiFlags: u16 {
        /// Check the guard, which is the checksum of each block.
        const CHK_GUARD = sys::IO_INTEGRITY_CHK_GUARD as u16;
        /// Check the reference tag, which starts at [`AttrPi::seed`] and increases with each block.
        const CHK_REFTAG = sys::IO_INTEGRITY_CHK_REFTAG as u16;
        /// Check the application tag, which is [`AttrPi::app_tag`].
        const CHK_APPTAG = sys::IO_INTEGRITY_CHK_APPTAG as u16;

        const _ = !0;
    }
}

/// The protection information of a direct read or write, on block devices that store it (`struct
/// io_uring_attr_pi`). Since Linux 6.14.
///
/// See `attr_pi` of [`Read`](crate::opcode::Read) and the other reads and writes.
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
    /// Creates an attribute with `len` bytes of protection information at `addr`. They must stay
    /// valid as long as the data: until the operation's *completion*. A read writes them.
    #[inline]
    pub fn new(addr: *mut u8, len: u32) -> Self {
        let addr = addr.cast::<c_void>().expose_provenance() as u64;
        Self { len, addr, ..Self::default() }
    }

    /// Sets the checks.
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
    fn layout_is_that_of_the_kernel() {
        assert_eq!(size_of::<AttrPi>(), size_of::<io_uring_attr_pi>());
        macro_rules! same {
            ($($field:ident)*) => { $(
                assert_eq!(offset_of!(AttrPi, $field), offset_of!(io_uring_attr_pi, $field));
            )* };
        }
        same!(flags app_tag len addr seed rsvd);
    }

    #[test]
    fn each_setter_fills_its_own_field() {
        let addr = core::ptr::without_provenance_mut(0x1000);
        let pi = AttrPi::new(addr, 64).flags(PiFlags::CHK_REFTAG).app_tag(7).seed(9);
        let expected = AttrPi { flags: 2, app_tag: 7, len: 64, addr: 0x1000, seed: 9, rsvd: 0 };
        assert_eq!(pi, expected);
    }
}
