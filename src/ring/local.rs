//! Rings that stay in one task, and are named by a registered index there.

use rustix::io::{self, Errno};

use super::IoUring;
use crate::cqueue;
use crate::handle::Local;
use crate::squeue;

impl<S: squeue::Kind, C: cqueue::Kind> IoUring<S, C> {
    /// The same ring, bound to stay in this task, where it can
    /// [register its descriptor](IoUring::register_ring_fd).
    pub fn into_local(self) -> IoUring<S, C, Local> {
        self.with_handle(Local::from)
    }
}

impl<S: squeue::Kind, C: cqueue::Kind> IoUring<S, C, Local> {
    /// Registers the ring's descriptor with this task (`IORING_REGISTER_RING_FDS`), so that
    /// entering costs no look-up of a descriptor. Since Linux 5.18.
    ///
    /// Where the ring is registered already, this does nothing.
    ///
    /// # Errors
    ///
    /// EINVAL on older kernels: the ring goes on by its descriptor. EBUSY if all of the task's 16
    /// indices are taken.
    pub fn register_ring_fd(&mut self) -> io::Result<()> {
        self.submitter().check()?;
        self.handle.register()
    }

    /// Gives the registered index back (`IORING_UNREGISTER_RING_FDS`); the ring goes on by its
    /// descriptor. Where it is not registered, this does nothing.
    ///
    /// # Errors
    ///
    /// EINVAL if the ring has no descriptor: it would be gone.
    pub fn unregister_ring_fd(&mut self) -> io::Result<()> {
        self.handle.unregister()
    }

    /// Closes the ring's descriptor, which the registered index makes dispensable: one fewer of
    /// those that `RLIMIT_NOFILE` allows. Where it is closed already, this does nothing. Since
    /// Linux 6.3.
    ///
    /// # Errors
    ///
    /// EINVAL if the ring is not registered, or the kernel cannot register by an index
    /// ([`is_feature_reg_reg_ring`](crate::Parameters::is_feature_reg_reg_ring)).
    pub fn close_ring_fd(&mut self) -> io::Result<()> {
        if !self.params.is_feature_reg_reg_ring() {
            return Err(Errno::INVAL);
        }
        self.handle.close_descriptor()
    }

    /// The index by which this task names the ring, if it is registered.
    ///
    /// It is not a descriptor, although it looks like one.
    pub fn registered_index(&self) -> Option<u32> {
        self.handle.index()
    }

    /// The same ring, free to leave this task: its index is released.
    ///
    /// # Errors
    ///
    /// Gives the ring back as it was if it has no descriptor.
    #[allow(clippy::result_large_err, reason = "what the caller gets back is the ring itself")]
    pub fn into_shared(mut self) -> Result<IoUring<S, C>, Self> {
        match self.handle.take_descriptor() {
            Some(fd) => Ok(self.with_handle(|_| fd)),
            None => Err(self),
        }
    }
}
