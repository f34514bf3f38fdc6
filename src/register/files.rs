//! Registered files.

use rustix::io;

use super::{address, length};
use crate::handle::Handle;
use crate::submit::Submitter;
use crate::sys::{io_uring_file_index_range, io_uring_files_update, io_uring_register_op::*};
use crate::types::FileSlot;

/// # Registered files
///
/// The kernel looks registered files up once, instead of at each operation, and operations can put
/// files there that never become descriptors. Operations name them by their slot:
/// [`types::Fixed`](crate::types::Fixed). A slot keeps its file open, whatever becomes of the
/// descriptor that it came from.
impl<H: Handle> Submitter<'_, H> {
    /// Registers files (`IORING_REGISTER_FILES`). Since Linux 5.1.
    ///
    /// # Errors
    ///
    /// EBUSY if there are files already; EBADF if one is a ring, or [`KEEP`](FileSlot::KEEP); EMFILE above
    /// `RLIMIT_NOFILE`; EINVAL for none.
    pub fn register_files(&self, fds: &[FileSlot<'_>]) -> io::Result<()> {
        // SAFETY: an array of descriptors, borrowed for the call, is what the kernel expects, and there are no addresses.
        unsafe { self.register_slice(IORING_REGISTER_FILES, fds) }.map(drop)
    }

    /// Registers files with tags (`IORING_REGISTER_FILES2`): when a slot is given up and the last
    /// operation is done with its file, a completion with its tag as user data is posted, unless
    /// the tag is 0. Without tags (`&[]`), every tag is 0. Since Linux 5.13.
    ///
    /// Before 6.13, the completion may be a second late, and there is none when all slots are given
    /// up at once.
    ///
    /// # Errors
    ///
    /// Same errors as [`register_files`](Self::register_files); and EINVAL if there are tags, but not
    /// one for each file.
    pub fn register_files_tags(&self, fds: &[FileSlot<'_>], tags: &[u64]) -> io::Result<()> {
        // SAFETY: descriptors are what the kernel expects.
        unsafe { self.register_tagged(IORING_REGISTER_FILES2, fds, tags) }
    }

    /// Registers `nr` empty slots for files to come. Since Linux 5.19.
    ///
    /// # Errors
    ///
    /// EBUSY if there are slots already; EMFILE above `RLIMIT_NOFILE`; EINVAL for none, or on older
    /// kernels.
    pub fn register_files_sparse(&self, nr: u32) -> io::Result<()> {
        self.register_sparse(IORING_REGISTER_FILES2, nr)
    }

    /// Puts other files into the slots from `offset` on (`IORING_REGISTER_FILES_UPDATE`);
    /// [`EMPTY`](FileSlot::EMPTY) empties a slot, [`KEEP`](FileSlot::KEEP) leaves it as it is. Since
    /// Linux 5.5.
    ///
    /// # Result
    ///
    /// How many slots were seen to, which is fewer than given if one fails and is not the first.
    /// The slot of one that fails is empty then.
    ///
    /// # Errors
    ///
    /// ENXIO without slots; EINVAL for none, or beyond them (EOVERFLOW if the sum has more than 32
    /// bits); EBADF if the first is a ring.
    pub fn register_files_update(&self, offset: u32, fds: &[FileSlot<'_>]) -> io::Result<usize> {
        let mut arg = io_uring_files_update { offset, resv: 0, fds: address(fds) };
        // SAFETY: the kernel reads the struct and, through it, as many descriptors as we say.
        let updated =
            unsafe { self.register_struct(IORING_REGISTER_FILES_UPDATE, &mut arg, length(fds)?) }?;
        Ok(updated as usize)
    }

    /// [`register_files_update`](Self::register_files_update) with tags, or without (`&[]`)
    /// (`IORING_REGISTER_FILES_UPDATE2`). Since Linux 5.13.
    ///
    /// # Errors
    ///
    /// Same errors as [`register_files_update`](Self::register_files_update); and EINVAL if there are
    /// tags, but not one for each file, or for a tag with [`EMPTY`](FileSlot::EMPTY) or
    /// [`KEEP`](FileSlot::KEEP).
    pub fn register_files_update_tag(
        &self,
        offset: u32,
        fds: &[FileSlot<'_>],
        tags: &[u64],
    ) -> io::Result<usize> {
        // SAFETY: descriptors are what the kernel expects.
        unsafe { self.update_tagged(IORING_REGISTER_FILES_UPDATE2, offset, fds, tags) }
    }

    /// Gives up all slots (`IORING_UNREGISTER_FILES`); operations in flight keep their files to
    /// their end. Since Linux 5.1.
    ///
    /// # Errors
    ///
    /// ENXIO if there are none.
    pub fn unregister_files(&self) -> io::Result<()> {
        self.register_nothing(IORING_UNREGISTER_FILES).map(drop)
    }

    /// Confines [`auto_target`](crate::types::DestinationSlot::auto_target) to `len` slots from
    /// `offset` on (`IORING_REGISTER_FILE_ALLOC_RANGE`): where all of them are taken, operations
    /// fail with -ENFILE. Since Linux 6.0.
    ///
    /// # Errors
    ///
    /// EINVAL beyond the slots, without any, or on older kernels; EOVERFLOW if the sum has more
    /// than 32 bits.
    pub fn register_file_alloc_range(&self, offset: u32, len: u32) -> io::Result<()> {
        let mut arg = io_uring_file_index_range { off: offset, len, resv: 0 };
        // SAFETY: the kernel reads the struct, in which there are no addresses.
        unsafe { self.register_struct(IORING_REGISTER_FILE_ALLOC_RANGE, &mut arg, 0) }.map(drop)
    }
}
