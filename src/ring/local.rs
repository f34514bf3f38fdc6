//! Rings that stay in one task, which can name them by a registered index.

use rustix::io::{self, Errno};

use super::IoUring;
use crate::cqueue;
use crate::handle::Local;
use crate::squeue;

impl<S: squeue::Kind, C: cqueue::Kind> IoUring<S, C> {
    /// Binds the ring to this task, which can then [register its
    /// descriptor](IoUring::register_ring_fd).
    pub fn into_local(self) -> IoUring<S, C, Local> {
        self.with_handle(Local::from)
    }
}

impl<S: squeue::Kind, C: cqueue::Kind> IoUring<S, C, Local> {
    /// Registers the ring's descriptor with this task (`IORING_REGISTER_RING_FDS`). Enter calls
    /// then do not look up a descriptor. Since Linux 5.18.
    ///
    /// If the ring is already registered, this does nothing.
    ///
    /// # Errors
    ///
    /// EINVAL on older kernels: the ring continues to use its descriptor. EBUSY if all 16 indices
    /// of the task are in use.
    pub fn register_ring_fd(&mut self) -> io::Result<()> {
        self.submitter().check()?;
        self.handle.register()
    }

    /// Releases the registered index (`IORING_UNREGISTER_RING_FDS`). The ring then uses its
    /// descriptor. If the ring is not registered, this does nothing.
    ///
    /// # Errors
    ///
    /// EINVAL if the ring has no descriptor, because nothing else names the ring.
    pub fn unregister_ring_fd(&mut self) -> io::Result<()> {
        self.handle.unregister()
    }

    /// Closes the ring's descriptor, so that it does not count toward `RLIMIT_NOFILE`. The ring
    /// then uses its registered index. If the descriptor is already closed, this does nothing.
    /// Since Linux 6.3.
    ///
    /// # Errors
    ///
    /// EINVAL if the ring is not registered, or if the kernel does not accept an index in register
    /// calls ([`is_feature_reg_reg_ring`](crate::Parameters::is_feature_reg_reg_ring)).
    pub fn close_ring_fd(&mut self) -> io::Result<()> {
        if !self.params.is_feature_reg_reg_ring() {
            return Err(Errno::INVAL);
        }
        self.handle.close_descriptor()
    }

    /// Returns the index by which this task names the ring, if it is registered.
    ///
    /// The index is not a descriptor, although it looks like one.
    pub fn registered_index(&self) -> Option<u32> {
        self.handle.index()
    }

    /// Releases the index and returns a ring that can leave this task.
    ///
    /// # Errors
    ///
    /// Returns the ring unchanged if it has no descriptor.
    #[allow(clippy::result_large_err, reason = "the error is the ring itself")]
    pub fn into_shared(mut self) -> Result<IoUring<S, C>, Self> {
        match self.handle.take_descriptor() {
            Some(fd) => Ok(self.with_handle(|_| fd)),
            None => Err(self),
        }
    }
}
