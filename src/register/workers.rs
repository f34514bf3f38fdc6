//! The kernel's worker threads, which run what cannot be done without waiting.

use rustix::io;
use rustix::thread::CpuSet;

use crate::handle::Handle;
use crate::submit::Submitter;
use crate::sys::io_uring_register_op::*;

/// # Worker threads
impl<H: Handle> Submitter<'_, H> {
    /// Has the worker threads of this task run on these processors (`IORING_REGISTER_IOWQ_AFF`):
    /// those that begin from now on. Processors that there are not are passed over. Since Linux
    /// 5.14.
    ///
    /// # Errors
    ///
    /// EINVAL on older kernels.
    pub fn register_iowq_aff(&self, cpus: &CpuSet) -> io::Result<()> {
        let mask = (&raw const *cpus).cast_mut().cast();
        // SAFETY: a `CpuSet` is the kernel's mask, which it reads; here it wants its length in bytes.
        unsafe { self.register(IORING_REGISTER_IOWQ_AFF as u32, mask, size_of::<CpuSet>() as u32) }
            .map(drop)
    }

    /// Lets worker threads that begin from now on run where the kernel sees fit, as they do from
    /// the start (`IORING_UNREGISTER_IOWQ_AFF`). Since Linux 5.14.
    ///
    /// # Errors
    ///
    /// EINVAL on older kernels.
    pub fn unregister_iowq_aff(&self) -> io::Result<()> {
        self.register_nothing(IORING_UNREGISTER_IOWQ_AFF).map(drop)
    }

    /// Limits the number of worker threads, of this task on each NUMA node
    /// (`IORING_REGISTER_IOWQ_MAX_WORKERS`): first those for what ends in bounded time, as files
    /// do; then those for what may not, as sockets. 0 leaves a limit as it is. The limits that held
    /// before stand in `max` afterwards. Since Linux 5.15.
    ///
    /// # Errors
    ///
    /// EINVAL above 2147483647, or on older kernels.
    pub fn register_iowq_max_workers(&self, max: &mut [u32; 2]) -> io::Result<()> {
        // SAFETY: the kernel reads and writes two words.
        unsafe { self.register_struct(IORING_REGISTER_IOWQ_MAX_WORKERS, max, 2) }.map(drop)
    }
}
