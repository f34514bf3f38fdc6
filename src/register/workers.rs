//! The kernel's worker threads, which run operations that must block.

use rustix::io;
use rustix::thread::CpuSet;

use crate::handle::Handle;
use crate::submit::Submitter;
use crate::sys::io_uring_register_op::*;

/// # Worker threads
impl<H: Handle> Submitter<'_, H> {
    /// Restricts the worker threads of this task to these CPUs (`IORING_REGISTER_IOWQ_AFF`). Since
    /// Linux 5.14.
    ///
    /// The setting applies to threads that start from now on. Nonexistent CPUs are ignored.
    ///
    /// # Errors
    ///
    /// EINVAL on older kernels.
    pub fn register_iowq_aff(&self, cpus: &CpuSet) -> io::Result<()> {
        let mask = (&raw const *cpus).cast_mut().cast();
        // SAFETY: a `CpuSet` has the layout of the kernel's mask, which the kernel reads. The count
        // is its length in bytes.
        unsafe { self.register(IORING_REGISTER_IOWQ_AFF as u32, mask, size_of::<CpuSet>() as u32) }
            .map(drop)
    }

    /// Removes the restriction of worker threads to certain CPUs (`IORING_UNREGISTER_IOWQ_AFF`).
    /// Since Linux 5.14.
    ///
    /// This restores the default for threads that start from now on: the kernel chooses the CPUs.
    ///
    /// # Errors
    ///
    /// EINVAL on older kernels.
    pub fn unregister_iowq_aff(&self) -> io::Result<()> {
        self.register_nothing(IORING_UNREGISTER_IOWQ_AFF).map(drop)
    }

    /// Limits the number of worker threads of this task on each NUMA node
    /// (`IORING_REGISTER_IOWQ_MAX_WORKERS`). Since Linux 5.15.
    ///
    /// `max[0]` limits bounded workers (regular files), `max[1]` unbounded workers (sockets,
    /// pipes). 0 leaves a limit unchanged. On return, `max` has the previous limits.
    ///
    /// # Errors
    ///
    /// EINVAL above 2147483647, or on older kernels.
    pub fn register_iowq_max_workers(&self, max: &mut [u32; 2]) -> io::Result<()> {
        // SAFETY: the kernel reads and writes two words.
        unsafe { self.register_struct(IORING_REGISTER_IOWQ_MAX_WORKERS, max, 2) }.map(drop)
    }
}
