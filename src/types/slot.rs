//! The table of registered files.

use core::fmt;
use core::marker::PhantomData;
use core::num::NonZeroU32;

use bitflags::bitflags;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crate::sys::{self, IORING_FILE_INDEX_ALLOC};

/// In the list of [`FilesUpdate`](crate::opcode::FilesUpdate): leave this slot as it is.
pub const SKIP_FILE: RawFd = sys::IORING_REGISTER_FILES_SKIP as RawFd;

/// What a slot of the registered file table is to hold: a file, nothing, or what it holds already.
///
/// It borrows the descriptor for the call that registers it; the slot then keeps the file open by
/// itself. In memory it is the number that the kernel reads.
///
/// ```
/// use std::os::fd::AsFd;
/// use rustix_uring::{IoUring, types::FileSlot};
///
/// let ring = IoUring::new(2)?;
/// let file = std::fs::File::open("/dev/zero")?;
/// ring.submitter().register_files(&[FileSlot::new(&file), FileSlot::EMPTY])?;
/// ring.submitter().register_files_update(0, &[FileSlot::KEEP, file.as_fd().into()])?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A number is not taken for a file, for it may be somebody else's:
///
/// ```compile_fail,E0308
/// # let ring = rustix_uring::IoUring::new(2).unwrap();
/// ring.submitter().register_files(&[0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct FileSlot<'fd> {
    fd: RawFd,
    file: PhantomData<BorrowedFd<'fd>>,
}

impl<'fd> FileSlot<'fd> {
    /// No file: -1.
    pub const EMPTY: Self = Self { fd: -1, file: PhantomData };

    /// In an update, what the slot holds already (`IORING_REGISTER_FILES_SKIP`). Elsewhere -EBADF.
    /// Since Linux 5.12.
    pub const KEEP: Self = Self { fd: SKIP_FILE, file: PhantomData };

    /// This file.
    pub fn new(fd: &'fd impl AsFd) -> Self {
        fd.as_fd().into()
    }
}

impl<'fd> From<BorrowedFd<'fd>> for FileSlot<'fd> {
    fn from(fd: BorrowedFd<'fd>) -> Self {
        Self { fd: fd.as_raw_fd(), file: PhantomData }
    }
}

/// The slot of the registered file table that takes the file that an operation makes, in place of a
/// descriptor: the field `file_index` of `struct io_uring_sqe`. Since Linux 5.15; each operation says
/// since when it can.
///
/// The operation's result is then 0; -EINVAL where the slot is beyond the table; -ENXIO where there
/// is no table. Where [any](Self::auto_target) would do, it is the slot; -ENFILE where there is
/// none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// `slot` is above `u32::MAX - 2`: the last two numbers mean "none" and "any" to the kernel.
    pub const fn try_from_slot_target(slot: u32) -> Result<Self, DestinationSlotError> {
        match NonZeroU32::new(slot.wrapping_add(1)) {
            Some(file_index) if slot <= u32::MAX - 2 => Ok(Self { file_index }),
            _ => Err(DestinationSlotError { slot }),
        }
    }

    #[inline(always)]
    pub(crate) const fn file_index(self) -> u32 {
        self.file_index.get()
    }
}

/// There is no such slot: its number is one of the two that the kernel gives another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DestinationSlotError {
    slot: u32,
}

impl DestinationSlotError {
    /// The slot that was asked for.
    #[inline]
    pub const fn slot(self) -> u32 {
        self.slot
    }
}

impl fmt::Display for DestinationSlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {} is above {}, the last that there can be", self.slot, u32::MAX - 2)
    }
}

impl core::error::Error for DestinationSlotError {}

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

bitflags! {
    /// Flags of [`register_buffers_clone_offset`](crate::Submitter::register_buffers_clone_offset):
    /// `IORING_REGISTER_DST_REPLACE`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct CloneBuffersFlags: u32 {
        /// The ring may have buffers already; those that are in the way are given up. Since Linux
        /// 6.13.
        const DST_REPLACE = sys::IORING_REGISTER_DST_REPLACE as u32;

        const _ = !0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn slots_count_from_one_to_the_kernel() {
        let index = |slot| DestinationSlot::try_from_slot_target(slot).map(|s| s.file_index());
        assert_eq!(index(0), Ok(1));
        assert_eq!(index(u32::MAX - 2), Ok(u32::MAX - 1));
        for slot in [u32::MAX - 1, u32::MAX] {
            let error = index(slot).unwrap_err();
            assert_eq!(error.slot(), slot);
            assert!(error.to_string().contains(&slot.to_string()));
        }
        assert_eq!(DestinationSlot::auto_target().file_index(), u32::MAX);
    }
}
