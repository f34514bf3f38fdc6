//! Registered buffers.

use rustix::io;

use crate::handle::Handle;
use crate::handle::sealed::SEAL;
use crate::submit::Submitter;
use crate::sys::{self, io_uring_clone_buffers, io_uring_register_op::*};
use crate::types::{CloneBuffersFlags, iovec};

/// # Registered buffers
///
/// The kernel looks up registered buffers and pins their pages once, instead of at each operation.
/// Operations refer to a buffer by its index. The memory must stay valid until it is unregistered
/// *and* the operations that use it have completed. Until then, the pages stay pinned, and for
/// users without `CAP_IPC_LOCK` they count toward `RLIMIT_MEMLOCK`.
impl<H: Handle> Submitter<'_, H> {
    /// Registers buffers (`IORING_REGISTER_BUFFERS`). Since Linux 5.1.
    ///
    /// Before Linux 7.2, each buffer is limited to 1 GiB. Since Linux 5.13, a null base with length
    /// 0 leaves a slot empty.
    ///
    /// # Errors
    ///
    /// EBUSY if the ring has registered buffers already; ENOMEM above `RLIMIT_MEMLOCK`; EFAULT if
    /// memory is not mapped; EFAULT or EOPNOTSUPP if it is a shared mapping of a file on a disk;
    /// EINVAL if `bufs` is empty or has more than 16384 buffers.
    ///
    /// # Safety
    ///
    /// The buffers are valid, and are used for nothing except the operations that name them, until
    /// they are unregistered and those operations have completed.
    pub unsafe fn register_buffers(&self, bufs: &[iovec]) -> io::Result<()> {
        // SAFETY: the kernel expects an array of `iovec`; the caller vouches for the memory.
        unsafe { self.register_slice(IORING_REGISTER_BUFFERS, bufs) }.map(drop)
    }

    /// Registers buffers with tags (`IORING_REGISTER_BUFFERS2`). Since Linux 5.13.
    ///
    /// When a buffer is unregistered or replaced and no operation uses it any more, the kernel
    /// posts a completion with the tag as user data. A tag of 0 posts none. If `tags` is empty,
    /// every tag is 0.
    ///
    /// Before Linux 6.13, the completion may be a second late. If you unregister all buffers at
    /// once, those kernels post none.
    ///
    /// # Errors
    ///
    /// Same errors as [`register_buffers`](Self::register_buffers), and EINVAL if there are tags
    /// but not one for each buffer.
    ///
    /// # Safety
    ///
    /// Same as [`register_buffers`](Self::register_buffers).
    pub unsafe fn register_buffers2(&self, bufs: &[iovec], tags: &[u64]) -> io::Result<()> {
        // SAFETY: the kernel expects `iovec`s; the caller vouches for the memory.
        unsafe { self.register_tagged(IORING_REGISTER_BUFFERS2, bufs, tags) }
    }

    /// Registers `nr` empty slots, to be filled later with
    /// [`register_buffers_update`](Self::register_buffers_update). Since Linux 5.19.
    ///
    /// # Errors
    ///
    /// EBUSY if the ring has registered buffers already; EINVAL if `nr` is 0 or more than 16384, or
    /// on older kernels.
    pub fn register_buffers_sparse(&self, nr: u32) -> io::Result<()> {
        self.register_sparse(IORING_REGISTER_BUFFERS2, nr)
    }

    /// Replaces the buffers in the slots from `offset` on, optionally with tags
    /// (`IORING_REGISTER_BUFFERS_UPDATE`). Since Linux 5.13.
    ///
    /// A null base with length 0 empties a slot.
    ///
    /// # Result
    ///
    /// Returns the number of slots updated. If a later update fails, the count stops there. If the
    /// first one fails, the call fails.
    ///
    /// # Errors
    ///
    /// Same errors as [`register_buffers`](Self::register_buffers); ENXIO if the ring has no slots;
    /// EINVAL if the range exceeds the table, if a tag belongs to an emptied slot, or if there are
    /// tags but not one for each buffer; EOVERFLOW if the end of the range exceeds 32 bits.
    ///
    /// # Safety
    ///
    /// Same as [`register_buffers`](Self::register_buffers).
    pub unsafe fn register_buffers_update(
        &self,
        offset: u32,
        bufs: &[iovec],
        tags: Option<&[u64]>,
    ) -> io::Result<usize> {
        // SAFETY: the kernel expects `iovec`s; the caller vouches for the memory.
        unsafe {
            self.update_tagged(IORING_REGISTER_BUFFERS_UPDATE, offset, bufs, tags.unwrap_or(&[]))
        }
    }

    /// Unregisters all buffers (`IORING_UNREGISTER_BUFFERS`). Since Linux 5.1.
    ///
    /// Operations in flight keep using their buffers until they complete.
    ///
    /// # Errors
    ///
    /// ENXIO if the ring has no registered buffers.
    pub fn unregister_buffers(&self) -> io::Result<()> {
        self.register_nothing(IORING_UNREGISTER_BUFFERS).map(drop)
    }

    /// Registers all buffers of another ring here too, in the same slots
    /// (`IORING_REGISTER_CLONE_BUFFERS`). Since Linux 6.12.
    ///
    /// The kernel does not pin the pages again. Both rings share the buffers: what you promised
    /// about their memory holds until both rings have unregistered them.
    ///
    /// # Errors
    ///
    /// EBUSY if this ring has registered buffers already; ENXIO if the other ring has none; EINVAL
    /// on older kernels.
    pub fn register_buffers_clone<T: Handle>(&self, src: &Submitter<'_, T>) -> io::Result<()> {
        self.register_buffers_clone_offset(src, 0, 0, 0, CloneBuffersFlags::empty())
    }

    /// Registers `nr` buffers of another ring here too: those from its slot `src_off` on, in the
    /// slots from `dst_off` on. Since Linux 6.13.
    ///
    /// The table of this ring grows if it has too few slots. If all three numbers are 0, the call
    /// clones all buffers.
    ///
    /// # Errors
    ///
    /// Same errors as [`register_buffers_clone`](Self::register_buffers_clone), except that there
    /// is no EBUSY with [`DST_REPLACE`](CloneBuffersFlags::DST_REPLACE); EINVAL if only `nr` is 0;
    /// EOVERFLOW if the range exceeds the slots of the other ring.
    pub fn register_buffers_clone_offset<T: Handle>(
        &self,
        src: &Submitter<'_, T>,
        src_off: u32,
        dst_off: u32,
        nr: u32,
        flags: CloneBuffersFlags,
    ) -> io::Result<()> {
        let (src_fd, registered) = src.handle.register_name(SEAL).number_and_registered();
        let mut arg = io_uring_clone_buffers {
            src_fd,
            flags: flags.bits() | if registered { SRC_REGISTERED } else { 0 },
            src_off,
            dst_off,
            nr,
            pad: [0; 3],
        };
        // SAFETY: the kernel reads the struct, which contains no addresses. The memory of the
        // buffers was promised when the other ring registered them.
        unsafe { self.register_struct(IORING_REGISTER_CLONE_BUFFERS, &mut arg, 1) }.map(drop)
    }
}

/// The flag that says that the source is passed by the index that this task has registered for it.
const SRC_REGISTERED: u32 = sys::IORING_REGISTER_SRC_REGISTERED as u32;
