//! Registered files.

use rustix::io;

use super::{address, length};
use crate::handle::Handle;
use crate::submit::Submitter;
use crate::sys::{io_uring_file_index_range, io_uring_files_update, io_uring_register_op::*};
use crate::types::FileSlot;

/// # Registered files
///
/// The kernel looks up registered files once, instead of at each operation. Operations can also put
/// files into the table that never become descriptors. Operations refer to a registered file by its
/// slot: [`types::Fixed`](crate::types::Fixed). A slot keeps its file open, even if you close the
/// descriptor that it came from.
impl<H: Handle> Submitter<'_, H> {
    /// Registers files (`IORING_REGISTER_FILES`). Since Linux 5.1.
    ///
    /// # Errors
    ///
    /// EBUSY if the ring has registered files already; EBADF if a file is a ring or
    /// [`KEEP`](FileSlot::KEEP); EMFILE above `RLIMIT_NOFILE`; EINVAL if `fds` is empty.
    pub fn register_files(&self, fds: &[FileSlot<'_>]) -> io::Result<()> {
        // SAFETY: the kernel expects an array of descriptors, which are borrowed for the call. It
        // contains no addresses.
        unsafe { self.register_slice(IORING_REGISTER_FILES, fds) }.map(drop)
    }

    /// Registers files with tags (`IORING_REGISTER_FILES2`). Since Linux 5.13.
    ///
    /// When a slot is emptied or replaced and no operation uses its file any more, the kernel posts
    /// a completion with the tag as user data. A tag of 0 posts none. If `tags` is empty, every tag
    /// is 0.
    ///
    /// Before Linux 6.13, the completion may be a second late. If you unregister all slots at once,
    /// those kernels post none.
    ///
    /// # Errors
    ///
    /// Same errors as [`register_files`](Self::register_files), and EINVAL if there are tags but
    /// not one for each file.
    pub fn register_files_tags(&self, fds: &[FileSlot<'_>], tags: &[u64]) -> io::Result<()> {
        // SAFETY: the kernel expects descriptors.
        unsafe { self.register_tagged(IORING_REGISTER_FILES2, fds, tags) }
    }

    /// Registers `nr` empty slots, to be filled later. Since Linux 5.19.
    ///
    /// # Errors
    ///
    /// EBUSY if the ring has slots already; EMFILE above `RLIMIT_NOFILE`; EINVAL if `nr` is 0, or
    /// on older kernels.
    pub fn register_files_sparse(&self, nr: u32) -> io::Result<()> {
        self.register_sparse(IORING_REGISTER_FILES2, nr)
    }

    /// Replaces the files in the slots from `offset` on (`IORING_REGISTER_FILES_UPDATE`). Since
    /// Linux 5.5.
    ///
    /// [`EMPTY`](FileSlot::EMPTY) empties a slot. [`KEEP`](FileSlot::KEEP) leaves it unchanged.
    ///
    /// # Result
    ///
    /// Returns the number of slots processed. If a later update fails, that slot is left empty and
    /// the count stops there. If the first one fails, the call fails.
    ///
    /// # Errors
    ///
    /// ENXIO if the ring has no slots; EINVAL if `fds` is empty or exceeds the table; EOVERFLOW if
    /// the end of the range exceeds 32 bits; EBADF if the first file is a ring.
    pub fn register_files_update(&self, offset: u32, fds: &[FileSlot<'_>]) -> io::Result<usize> {
        let mut arg = io_uring_files_update { offset, resv: 0, fds: address(fds) };
        // SAFETY: the kernel reads the struct and, through it, as many descriptors as `nr_args`
        // says.
        let updated =
            unsafe { self.register_struct(IORING_REGISTER_FILES_UPDATE, &mut arg, length(fds)?) }?;
        Ok(updated as usize)
    }

    /// Replaces files like [`register_files_update`](Self::register_files_update), with tags
    /// (`IORING_REGISTER_FILES_UPDATE2`). Since Linux 5.13.
    ///
    /// If `tags` is empty, every tag is 0.
    ///
    /// # Errors
    ///
    /// Same errors as [`register_files_update`](Self::register_files_update), and EINVAL if there
    /// are tags but not one for each file, or if a tag belongs to [`EMPTY`](FileSlot::EMPTY) or
    /// [`KEEP`](FileSlot::KEEP).
    pub fn register_files_update_tag(
        &self,
        offset: u32,
        fds: &[FileSlot<'_>],
        tags: &[u64],
    ) -> io::Result<usize> {
        // SAFETY: the kernel expects descriptors.
        unsafe { self.update_tagged(IORING_REGISTER_FILES_UPDATE2, offset, fds, tags) }
    }

    /// Unregisters all slots (`IORING_UNREGISTER_FILES`). Since Linux 5.1.
    ///
    /// Operations in flight keep their files until they complete.
    ///
    /// # Errors
    ///
    /// ENXIO if the ring has no slots.
    pub fn unregister_files(&self) -> io::Result<()> {
        self.register_nothing(IORING_UNREGISTER_FILES).map(drop)
    }

    /// Limits [`auto_target`](crate::types::DestinationSlot::auto_target) to the `len` slots from
    /// `offset` on (`IORING_REGISTER_FILE_ALLOC_RANGE`). Since Linux 6.0.
    ///
    /// If all of these slots are in use, operations fail with -ENFILE.
    ///
    /// # Errors
    ///
    /// EINVAL if the range exceeds the table, if the ring has no slots, or on older kernels;
    /// EOVERFLOW if the end of the range exceeds 32 bits.
    pub fn register_file_alloc_range(&self, offset: u32, len: u32) -> io::Result<()> {
        let mut arg = io_uring_file_index_range { off: offset, len, resv: 0 };
        // SAFETY: the kernel reads the struct, which contains no addresses.
        unsafe { self.register_struct(IORING_REGISTER_FILE_ALLOC_RANGE, &mut arg, 0) }.map(drop)
    }
}
