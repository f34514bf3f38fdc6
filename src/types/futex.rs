//! Arguments of futex operations.

use core::ffi::c_void;

use bitflags::bitflags;

use crate::sys;

/// The mask that has a bit in common with every other mask of waiters and wakers.
pub const FUTEX_BITSET_MATCH_ANY: u64 = sys::FUTEX_BITSET_MATCH_ANY as u64;

bitflags! {
    /// The size and the properties of a futex: the `FUTEX2_*` flags. A size is required. So far,
    /// kernels only accept [`SIZE_U32`](Self::SIZE_U32).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct FutexFlags: u32 {
        /// One byte. The value is zero, because sizes are numbers and not bits.
        const SIZE_U8 = sys::FUTEX2_SIZE_U8;
        /// Two bytes.
        const SIZE_U16 = sys::FUTEX2_SIZE_U16;
        /// Four bytes.
        const SIZE_U32 = sys::FUTEX2_SIZE_U32;
        /// Eight bytes.
        const SIZE_U64 = sys::FUTEX2_SIZE_U64;
        /// A second word after the futex contains its NUMA node. Since Linux 6.16.
        const NUMA = sys::FUTEX2_NUMA;
        /// The memory policy determines the NUMA node of the futex. Since Linux 6.16.
        const MPOL = sys::FUTEX2_MPOL;
        /// Only threads of one process use the futex.
        const PRIVATE = sys::FUTEX2_PRIVATE;

        const _ = !0;
    }
}

/// One futex in the array that the operation
/// [`opcode::FutexWaitV`](crate::opcode::FutexWaitV) waits on: the `struct futex_waitv` of
/// [`futex(2)`].
///
/// [`futex(2)`]: https://man7.org/linux/man-pages/man2/futex.2.html
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FutexWaitV {
    val: u64,
    uaddr: u64,
    flags: u32,
    reserved: u32,
}

impl FutexWaitV {
    /// Creates a `FutexWaitV` in which all fields are zero.
    #[inline]
    pub const fn new() -> Self {
        Self { val: 0, uaddr: 0, flags: 0, reserved: 0 }
    }

    /// Sets the value that the futex must have for the wait to start.
    #[must_use]
    #[inline]
    pub const fn val(mut self, val: u64) -> Self {
        self.val = val;
        self
    }

    /// Sets the futex, which must stay valid until the operation's *completion*.
    #[must_use]
    #[inline]
    pub fn uaddr(mut self, uaddr: *const u32) -> Self {
        self.uaddr = uaddr.cast::<c_void>().expose_provenance() as u64;
        self
    }

    /// Sets the size and the properties of the futex.
    #[must_use]
    #[inline]
    pub const fn flags(mut self, flags: FutexFlags) -> Self {
        self.flags = flags.bits();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;
    use linux_raw_sys::general::futex_waitv;

    #[test]
    fn layout_is_that_of_the_kernel() {
        assert_eq!(size_of::<FutexWaitV>(), size_of::<futex_waitv>());
        assert_eq!(offset_of!(FutexWaitV, val), offset_of!(futex_waitv, val));
        assert_eq!(offset_of!(FutexWaitV, uaddr), offset_of!(futex_waitv, uaddr));
        assert_eq!(offset_of!(FutexWaitV, flags), offset_of!(futex_waitv, flags));
        let word = core::ptr::without_provenance(0x1000);
        let one = FutexWaitV::new().val(5).uaddr(word).flags(FutexFlags::SIZE_U32);
        assert_eq!(one, FutexWaitV { val: 5, uaddr: 0x1000, flags: 2, reserved: 0 });
    }
}
