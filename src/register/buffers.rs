//! Registered buffers.

use rustix::io;

use crate::handle::Handle;
use crate::handle::sealed::SEAL;
use crate::submit::Submitter;
use crate::sys::{self, io_uring_clone_buffers, io_uring_register_op::*};
use crate::types::{CloneBuffersFlags, iovec};

/// # Registered buffers
///
/// The kernel looks registered buffers up and pins their pages once, instead of at each operation.
/// Operations name them by their position. Their memory must stay what it is until it is
/// unregistered *and* the operations that use it have completed; pages stay pinned until then, and
/// are charged to `RLIMIT_MEMLOCK` of users without `CAP_IPC_LOCK`.
impl<H: Handle> Submitter<'_, H> {
    /// Registers buffers (`IORING_REGISTER_BUFFERS`), each up to 1 GiB before Linux 7.2. A null
    /// base with length 0 leaves a slot empty, since 5.13. Since Linux 5.1.
    ///
    /// # Errors
    ///
    /// EBUSY if there are buffers already; ENOMEM above `RLIMIT_MEMLOCK`; EFAULT if memory is not
    /// there, EFAULT or EOPNOTSUPP if it is a shared mapping of a file on a disk; EINVAL for none or more than
    /// 16384.
    ///
    /// # Safety
    ///
    /// The buffers are valid, and used for nothing else than the operations that name them, until
    /// they are unregistered and those operations have completed.
    pub unsafe fn register_buffers(&self, bufs: &[iovec]) -> io::Result<()> {
        // SAFETY: an array of `iovec` is what the kernel expects; the caller vouches for the memory.
        unsafe { self.register_slice(IORING_REGISTER_BUFFERS, bufs) }.map(drop)
    }

    /// Registers buffers with tags (`IORING_REGISTER_BUFFERS2`): when a buffer is given up and the
    /// last operation is done with it, a completion with its tag as user data is posted, unless
    /// the tag is 0. Without tags (`&[]`), every tag is 0. Since Linux 5.13.
    ///
    /// Before 6.13, the completion may be a second late, and there is none when all buffers are
    /// given up at once.
    ///
    /// # Errors
    ///
    /// Same errors as [`register_buffers`](Self::register_buffers); and EINVAL if there are tags, but
    /// not one for each buffer.
    ///
    /// # Safety
    ///
    /// As for [`register_buffers`](Self::register_buffers).
    pub unsafe fn register_buffers2(&self, bufs: &[iovec], tags: &[u64]) -> io::Result<()> {
        // SAFETY: `iovec`s are what the kernel expects; the caller vouches for the memory.
        unsafe { self.register_tagged(IORING_REGISTER_BUFFERS2, bufs, tags) }
    }

    /// Registers `nr` empty slots for buffers to come
    /// ([`register_buffers_update`](Self::register_buffers_update)). Since Linux 5.19.
    ///
    /// # Errors
    ///
    /// EBUSY if there are buffers already; EINVAL for none, more than 16384, or on older kernels.
    pub fn register_buffers_sparse(&self, nr: u32) -> io::Result<()> {
        self.register_sparse(IORING_REGISTER_BUFFERS2, nr)
    }

    /// Puts other buffers into the slots from `offset` on, with tags if given
    /// (`IORING_REGISTER_BUFFERS_UPDATE`). A null base with length 0 empties a slot. Since Linux
    /// 5.13.
    ///
    /// # Result
    ///
    /// How many were put, which is fewer than given if one fails and is not the first.
    ///
    /// # Errors
    ///
    /// As of [`register_buffers`](Self::register_buffers); ENXIO without slots; EINVAL beyond them
    /// (EOVERFLOW if the sum has more than 32 bits), for a tag where a slot is emptied, or if
    /// there are tags, but not one for each buffer.
    ///
    /// # Safety
    ///
    /// As for [`register_buffers`](Self::register_buffers).
    pub unsafe fn register_buffers_update(
        &self,
        offset: u32,
        bufs: &[iovec],
        tags: Option<&[u64]>,
    ) -> io::Result<usize> {
        // SAFETY: `iovec`s are what the kernel expects; the caller vouches for the memory.
        unsafe {
            self.update_tagged(IORING_REGISTER_BUFFERS_UPDATE, offset, bufs, tags.unwrap_or(&[]))
        }
    }

    /// Gives up all buffers (`IORING_UNREGISTER_BUFFERS`); operations in flight keep theirs to
    /// their end. Since Linux 5.1.
    ///
    /// # Errors
    ///
    /// ENXIO if there are none.
    pub fn unregister_buffers(&self) -> io::Result<()> {
        self.register_nothing(IORING_UNREGISTER_BUFFERS).map(drop)
    }

    /// Takes over all buffers that another ring has registered, in the same slots
    /// (`IORING_REGISTER_CLONE_BUFFERS`), without pinning them again. Since Linux 6.12.
    ///
    /// They are that ring's as well: what was promised of their memory holds until both have given
    /// them up.
    ///
    /// # Errors
    ///
    /// EBUSY if there are buffers already; ENXIO if the other ring has none; EINVAL on older
    /// kernels.
    pub fn register_buffers_clone<T: Handle>(&self, src: &Submitter<'_, T>) -> io::Result<()> {
        self.register_buffers_clone_offset(src, 0, 0, 0, CloneBuffersFlags::empty())
    }

    /// Takes over `nr` buffers of another ring from its slot `src_off` on, into the slots from
    /// `dst_off` on, of which there are then at least as many. If all three are 0, it takes all.
    /// Since Linux 6.13.
    ///
    /// # Errors
    ///
    /// As of [`register_buffers_clone`](Self::register_buffers_clone), where EBUSY is not for
    /// [`DST_REPLACE`](CloneBuffersFlags::DST_REPLACE); EINVAL if only `nr` is 0; EOVERFLOW beyond
    /// the slots of the other ring.
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
        // SAFETY: the kernel reads the struct, in which there are no addresses; the memory is what
        // the other ring was promised.
        unsafe { self.register_struct(IORING_REGISTER_CLONE_BUFFERS, &mut arg, 1) }.map(drop)
    }
}

/// The source is named by the index that this task has registered for it.
const SRC_REGISTERED: u32 = sys::IORING_REGISTER_SRC_REGISTERED as u32;
