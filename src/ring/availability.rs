//! Whether there is io_uring here at all.

use core::fmt;

use rustix::io::Errno;

use crate::memory::zeroed_params;
use crate::sys::call;

/// Whether there is io_uring here. See [`availability`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Availability {
    /// Rings can be set up.
    Available,
    /// The kernel has no io_uring: it is older than Linux 5.1, or was built without (ENOSYS).
    Absent,
    /// It may not be used: by a seccomp filter, as in many containers, by a security module, or by
    /// the sysctl `kernel.io_uring_disabled` (EPERM, EACCES).
    Forbidden,
    /// `RLIMIT_MEMLOCK` leaves no memory for a ring, on kernels that count it there (before Linux
    /// 5.12, and again around 6.16 to 7.1), or memory is short (ENOMEM).
    OutOfMemory,
    /// Something else was in the way: too many open files, for one (EMFILE).
    Failed(Errno),
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Available => f.write_str("io_uring is available"),
            Self::Absent => f.write_str("this kernel has no io_uring (ENOSYS): it needs Linux 5.1"),
            Self::Forbidden => f.write_str(
                "io_uring is forbidden here (EPERM, EACCES): by a seccomp filter, as in a container, \
                 or by the sysctl kernel.io_uring_disabled",
            ),
            Self::OutOfMemory => f.write_str(
                "no memory for a ring (ENOMEM): raise RLIMIT_MEMLOCK, where some kernels count it",
            ),
            Self::Failed(errno) => write!(f, "cannot set up a ring: {errno}"),
        }
    }
}

/// Says whether there is io_uring here, by setting up a ring of one entry and closing it again.
///
/// A seccomp filter that kills instead of answering cannot be found out this way, or any other.
pub fn availability() -> Availability {
    // SAFETY: there are no addresses in the parameters.
    match unsafe { call::setup(1, &mut zeroed_params()) } {
        Ok(_) => Availability::Available,
        Err(Errno::NOSYS) => Availability::Absent,
        Err(Errno::PERM | Errno::ACCESS) => Availability::Forbidden,
        Err(Errno::NOMEM) => Availability::OutOfMemory,
        Err(errno) => Availability::Failed(errno),
    }
}
