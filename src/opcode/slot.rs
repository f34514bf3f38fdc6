//! Registered files.

use super::operations;
use crate::types::{Fixed, FixedFdFlags, RawFd};

operations! {
    /// Puts descriptors into slots of the registered file table.
    ///
    /// -1 empties a slot, [`SKIP_FILE`](crate::types::SKIP_FILE) leaves it as it is.
    ///
    /// - **Result:** how many slots were seen to, which may be fewer than `len` where one failed;
    ///   -ENXIO where there is no table
    /// - **Memory:** `len` descriptors at `fds` until *completion*
    /// - **Needs:** a [registered file table](crate::Submitter::register_files)
    FilesUpdate = "IORING_OP_FILES_UPDATE" since "5.6",
    new(fds: *const RawFd => addr, len: u32 => len; no_fd(()))
    {
        /// The first slot, 0 if not given.
        offset: u32 => first_slot,
    }

    /// Puts descriptors into free slots of the registered file table, and writes the slots in their
    /// place.
    ///
    /// - **Result:** how many were put into slots, which may be fewer than `len` where one failed;
    ///   -ENFILE where no slot is free, -ENXIO where there is no table
    /// - **Memory:** `len` descriptors at `fds` until *completion*; the kernel writes there
    /// - **Needs:** a [registered file table](crate::Submitter::register_files)
    #[doc(alias = "IORING_FILE_INDEX_ALLOC")]
    FilesUpdateAlloc = "IORING_OP_FILES_UPDATE" since "5.19",
    new(fds: *mut RawFd => addr, len: u32 => len; no_fd(()), any_slots(()))

    /// Makes a descriptor of a registered slot, which keeps its file.
    ///
    /// - **Result:** the new descriptor ([`to_fd`](crate::cqueue::Entry::to_fd))
    FixedFdInstall = "IORING_OP_FIXED_FD_INSTALL" since "6.8",
    new(fd: Fixed => fd, file_flags: impl Into<FixedFdFlags> => install_flags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::tests::{at, entries};

    entries! {
        files_update: FilesUpdate::new(at(0x1000), 4).offset(5)
            => { opcode: 20, fd: -1, addr: 0x1000, len: 4, off: 5 };
        files_update_anywhere: FilesUpdateAlloc::new(at(0x1000), 4)
            => { opcode: 20, fd: -1, addr: 0x1000, len: 4, off: 0xffff_ffff };
        fixed_fd_install: FixedFdInstall::new(Fixed(3), FixedFdFlags::NO_CLOEXEC)
            => { opcode: 54, flags: 1, fd: 3, op_flags: 1 };
    }
}
