//! Operations on the registered file table.

use super::operations;
use crate::types::{Fixed, FixedFdFlags, RawFd};

operations! {
    /// Puts files into consecutive slots of the registered file table: one for each descriptor in
    /// an array.
    ///
    /// Instead of a descriptor, -1 empties a slot, and [`SKIP_FILE`](crate::types::SKIP_FILE)
    /// leaves it unchanged.
    ///
    /// - **Result:** the number of slots processed, which is less than `len` if one failed; -ENXIO
    ///   if there is no table
    /// - **Memory:** `len` descriptors at `fds` until *completion*
    /// - **Needs:** a [registered file table](crate::Submitter::register_files)
    FilesUpdate = "IORING_OP_FILES_UPDATE" since "5.6",
    new(fds: *const RawFd => addr, len: u32 => len; no_fd(()))
    {
        /// Sets the first slot. The default is 0.
        offset: u32 => first_slot,
    }

    /// Puts files into free slots of the registered file table, and replaces each descriptor in the
    /// array by the number of its slot.
    ///
    /// - **Result:** the number of files put into slots, which is less than `len` if one failed;
    ///   -ENFILE if no slot is free; -ENXIO if there is no table
    /// - **Memory:** `len` descriptors at `fds` until *completion*; the kernel writes to this array
    /// - **Needs:** a [registered file table](crate::Submitter::register_files)
    #[doc(alias = "IORING_FILE_INDEX_ALLOC")]
    FilesUpdateAlloc = "IORING_OP_FILES_UPDATE" since "5.19",
    new(fds: *mut RawFd => addr, len: u32 => len; no_fd(()), any_slots(()))

    /// Creates a descriptor for the file in a registered slot, which keeps the file.
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
