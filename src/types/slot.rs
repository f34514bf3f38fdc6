//! The registered file table.

use core::fmt;
use core::marker::PhantomData;
use core::num::NonZeroU32;

use bitflags::bitflags;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use crate::sys::{self, IORING_FILE_INDEX_ALLOC};

/// The entry of a [`FilesUpdate`](crate::opcode::FilesUpdate) list that keeps a slot unchanged.
pub const SKIP_FILE: RawFd = sys::IORING_REGISTER_FILES_SKIP as RawFd;

/// The new content of a slot of the registered file table: a file, nothing, or the current content.
///
/// This borrows the descriptor for the call that registers it. After that, the slot keeps the file
/// open. In memory, this is the number that the kernel reads.
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
/// A bare number is not accepted, because it may be a descriptor that belongs to somebody else:
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
    /// No file (-1).
    pub const EMPTY: Self = Self { fd: -1, file: PhantomData };

    /// In an update, the current content of the slot (`IORING_REGISTER_FILES_SKIP`). Anywhere else,
    /// it fails with EBADF. Since Linux 5.12.
    pub const KEEP: Self = Self { fd: SKIP_FILE, file: PhantomData };

    /// Puts this open file into the slot.
    pub fn new(fd: &'fd impl AsFd) -> Self {
        fd.as_fd().into()
    }
}

impl<'fd> From<BorrowedFd<'fd>> for FileSlot<'fd> {
    fn from(fd: BorrowedFd<'fd>) -> Self {
        Self { fd: fd.as_raw_fd(), file: PhantomData }
    }
}

/// The slot of the registered file table for the file that an operation creates. The operation then
/// creates no descriptor. This is the field `file_index` of `struct io_uring_sqe`. Since Linux
/// 5.15. Each operation documents since which release it supports this.
///
/// The operation's result is then 0. It is -EINVAL if the slot is beyond the table, and -ENXIO if
/// there is no table. With [`auto_target`](Self::auto_target), the result is the slot, or -ENFILE
/// if no slot is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct DestinationSlot {
    /// The slot plus one, or [`Self::AUTO`].
    file_index: NonZeroU32,
}

impl DestinationSlot {
    const AUTO: NonZeroU32 = NonZeroU32::new(IORING_FILE_INDEX_ALLOC as u32).unwrap();

    /// Lets the kernel choose a free slot, which it returns as the result of the completion. Since
    /// Linux 5.19.
    pub const fn auto_target() -> Self {
        Self { file_index: Self::AUTO }
    }

    /// Selects this slot. If the slot holds a file, the kernel closes it.
    ///
    /// # Errors
    ///
    /// Fails if `slot` is above `u32::MAX - 2`: for the kernel, the last two numbers mean "none"
    /// and "any".
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

/// The error for a number that cannot be a slot.
///
/// [`DestinationSlot::try_from_slot_target`] returns it for the two highest numbers, to which the
/// kernel gives other meanings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DestinationSlotError {
    slot: u32,
}

impl DestinationSlotError {
    /// Returns the requested slot.
    #[inline]
    pub const fn slot(self) -> u32 {
        self.slot
    }
}

impl fmt::Display for DestinationSlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {} is above {}, the last possible slot", self.slot, u32::MAX - 2)
    }
}

impl core::error::Error for DestinationSlotError {}

bitflags! {
    /// Flags of [`FixedFdInstall`](crate::opcode::FixedFdInstall): the `IORING_FIXED_FD_*`. Since Linux
    /// 6.8.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct FixedFdFlags: u32 {
        /// Keep the descriptor open on `exec`.
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
        /// Allow the ring to have buffers, and replace those in the destination range. Since Linux
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
    fn the_kernel_counts_slots_from_one() {
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
