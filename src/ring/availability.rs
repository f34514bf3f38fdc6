//! Whether a program can use io_uring.

use core::fmt;

use rustix::io::Errno;

use crate::memory::zeroed_params;
use crate::sys::call;

/// Tells whether the program can use io_uring. Returned by [`availability`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Availability {
    /// The program can set up rings.
    Available,
    /// The kernel has no io_uring: it is older than Linux 5.1, or was built without it (ENOSYS).
    Absent,
    /// The program may not use io_uring because of a seccomp filter (as in many containers), a
    /// security module, or the sysctl `kernel.io_uring_disabled` (EPERM, EACCES).
    Forbidden,
    /// There is no memory for a ring (ENOMEM). Either `RLIMIT_MEMLOCK` is too low on a kernel that
    /// charges rings to it (before Linux 5.12, and again around 6.16 to 7.1), or the system is
    /// short of memory.
    OutOfMemory,
    /// Another error occurred, for example EMFILE because too many files are open.
    Failed(Errno),
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Available => f.write_str("io_uring is available"),
            Self::Absent => f.write_str("this kernel has no io_uring (ENOSYS): it needs Linux 5.1"),
            Self::Forbidden => f.write_str(
                "io_uring is forbidden (EPERM, EACCES) by a seccomp filter, as in many containers, by a \
                 security module, or by the sysctl kernel.io_uring_disabled",
            ),
            Self::OutOfMemory => f.write_str(
                "no memory for a ring (ENOMEM): some kernels charge rings to RLIMIT_MEMLOCK, raise it",
            ),
            Self::Failed(errno) => write!(f, "cannot set up a ring: {errno}"),
        }
    }
}

/// Returns whether the program can use io_uring. It sets up a ring with one entry and closes it
/// again.
///
/// If a seccomp filter kills the process instead of returning an error, neither this function nor
/// any other can detect it.
pub fn availability() -> Availability {
    // SAFETY: the parameters contain no addresses.
    match unsafe { call::setup(1, &mut zeroed_params()) } {
        Ok(_) => Availability::Available,
        Err(Errno::NOSYS) => Availability::Absent,
        Err(Errno::PERM | Errno::ACCESS) => Availability::Forbidden,
        Err(Errno::NOMEM) => Availability::OutOfMemory,
        Err(errno) => Availability::Failed(errno),
    }
}
