//! The table of registered files.

use core::num::NonZeroU32;

use bitflags::bitflags;
use rustix::fd::RawFd;

use crate::sys::{self, IORING_FILE_INDEX_ALLOC};

/// In a list of descriptors to register: leave this slot as it is.
pub const SKIP_FILE: RawFd = sys::IORING_REGISTER_FILES_SKIP as RawFd;

/// The slot of the registered file table that takes the file that an operation makes, in place of a
/// descriptor: the field `file_index` of `struct io_uring_sqe`. Since Linux 5.15; each operation says
/// since when it can.
///
/// The operation's result is then 0; -EINVAL where the slot is beyond the table; -ENXIO where there
/// is no table. Where [any](Self::auto_target) would do, it is the slot; -ENFILE where there is
/// none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct DestinationSlot {
    /// The slot plus one, or [`Self::AUTO`].
    file_index: NonZeroU32,
}

impl DestinationSlot {
    const AUTO: NonZeroU32 = NonZeroU32::new(IORING_FILE_INDEX_ALLOC as u32).unwrap();

    /// Any free slot; the completion's result says which. Since Linux 5.19.
    pub const fn auto_target() -> Self {
        Self { file_index: Self::AUTO }
    }

    /// This slot; what it held is closed.
    ///
    /// # Errors
    ///
    /// Gives `slot` back where it is above `u32::MAX - 2`: the last two numbers mean "none" and
    /// "any" to the kernel.
    pub const fn try_from_slot_target(slot: u32) -> Result<Self, u32> {
        match NonZeroU32::new(slot.wrapping_add(1)) {
            Some(file_index) if slot <= u32::MAX - 2 => Ok(Self { file_index }),
            _ => Err(slot),
        }
    }

    #[inline(always)]
    pub(crate) const fn file_index(self) -> u32 {
        self.file_index.get()
    }
}

bitflags! {
    /// Flags of [`FixedFdInstall`](crate::opcode::FixedFdInstall): the `IORING_FIXED_FD_*`. Since Linux
    /// 6.8.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct FixedFdFlags: u32 {
        /// Leave the descriptor open on `exec`.
        const NO_CLOEXEC = sys::IORING_FIXED_FD_NO_CLOEXEC;

        const _ = !0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_count_from_one_to_the_kernel() {
        let index = |slot| DestinationSlot::try_from_slot_target(slot).map(|s| s.file_index());
        assert_eq!(index(0), Ok(1));
        assert_eq!(index(u32::MAX - 2), Ok(u32::MAX - 1));
        assert_eq!(index(u32::MAX - 1), Err(u32::MAX - 1));
        assert_eq!(index(u32::MAX), Err(u32::MAX));
        assert_eq!(DestinationSlot::auto_target().file_index(), u32::MAX);
    }
}
