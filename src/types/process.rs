//! Arguments of waits for processes, and their results.

use core::fmt;

use bitflags::bitflags;

use crate::sys;

/// The kind of the ID of [`WaitId`](crate::opcode::WaitId): the `P_*` numbers of [`waitid(2)`].
///
/// [`waitid(2)`]: https://man7.org/linux/man-pages/man2/waitid.2.html
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct IdType(pub u32);

impl IdType {
    /// Any child. The ID is ignored.
    pub const ALL: Self = Self(sys::P_ALL);
    /// The child with this process ID.
    pub const PID: Self = Self(sys::P_PID);
    /// Any child of this process group. 0 means the group of the caller.
    pub const PGID: Self = Self(sys::P_PGID);
    /// The child that this descriptor from `pidfd_open(2)` refers to.
    pub const PIDFD: Self = Self(sys::P_PIDFD);
}

bitflags! {
    /// The events that [`WaitId`](crate::opcode::WaitId) waits for, and how it waits, as in
    /// [`waitid(2)`]. At least one of the first three flags is necessary.
    ///
    /// [`waitid(2)`]: https://man7.org/linux/man-pages/man2/waitid.2.html
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct WaitIdOptions: u32 {
        /// Children that have exited.
        const EXITED = sys::WEXITED;
        /// Children that a signal has stopped.
        const STOPPED = sys::WSTOPPED;
        /// Children that have continued after a stop.
        const CONTINUED = sys::WCONTINUED;
        /// Complete at once, even if there is nothing to report.
        const NOHANG = sys::WNOHANG;
        /// Leave the child waitable.
        const NOWAIT = sys::WNOWAIT;

        const _ = !0;
    }
}

/// The result of [`WaitId`](crate::opcode::WaitId): the part of the kernel's `siginfo_t` that
/// [`waitid(2)`] fills in.
///
/// [`waitid(2)`]: https://man7.org/linux/man-pages/man2/waitid.2.html
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct SigInfo {
    words: [u32; 32],
}

impl SigInfo {
    /// The positions of the two words after the first, which MIPS has in reverse order.
    const ERRNO_AND_CODE: [usize; 2] =
        if cfg!(any(target_arch = "mips", target_arch = "mips64")) { [2, 1] } else { [1, 2] };
    /// The position of the other fields, which are aligned for a pointer.
    const FIELDS: usize = if cfg!(target_pointer_width = "64") { 4 } else { 3 };

    /// Creates an empty result.
    #[inline]
    pub const fn new() -> Self {
        Self { words: [0; 32] }
    }

    /// Returns the signal, which is `SIGCHLD`, or 0 if there was nothing to report.
    #[inline]
    pub const fn signo(&self) -> i32 {
        self.words[0] as i32
    }

    /// Returns 0.
    #[inline]
    pub const fn errno(&self) -> i32 {
        self.words[Self::ERRNO_AND_CODE[0]] as i32
    }

    /// Returns what happened to the child.
    #[inline]
    pub const fn code(&self) -> Cld {
        Cld(self.words[Self::ERRNO_AND_CODE[1]] as i32)
    }

    /// Returns the process ID of the child.
    #[inline]
    pub const fn pid(&self) -> i32 {
        self.words[Self::FIELDS] as i32
    }

    /// Returns the user ID of the child.
    #[inline]
    pub const fn uid(&self) -> u32 {
        self.words[Self::FIELDS + 1]
    }

    /// Returns the exit status with [`Cld::EXITED`], otherwise the signal.
    #[inline]
    pub const fn status(&self) -> i32 {
        self.words[Self::FIELDS + 2] as i32
    }
}

impl Default for SigInfo {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SigInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigInfo")
            .field("signo", &self.signo())
            .field("errno", &self.errno())
            .field("code", &self.code())
            .field("pid", &self.pid())
            .field("uid", &self.uid())
            .field("status", &self.status())
            .finish()
    }
}

/// What happened to a child: the `CLD_*` codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Cld(pub i32);

impl Cld {
    /// The child has exited.
    pub const EXITED: Self = Self(linux_raw_sys::general::CLD_EXITED as i32);
    /// A signal has killed the child.
    pub const KILLED: Self = Self(linux_raw_sys::general::CLD_KILLED as i32);
    /// A signal has killed the child, and it has dumped core.
    pub const DUMPED: Self = Self(linux_raw_sys::general::CLD_DUMPED as i32);
    /// The child has trapped, and its tracer was notified.
    pub const TRAPPED: Self = Self(linux_raw_sys::general::CLD_TRAPPED as i32);
    /// A signal has stopped the child.
    pub const STOPPED: Self = Self(linux_raw_sys::general::CLD_STOPPED as i32);
    /// The child has continued.
    pub const CONTINUED: Self = Self(linux_raw_sys::general::CLD_CONTINUED as i32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;
    use linux_raw_sys::general::{
        __sifields__bindgen_ty_4, siginfo, siginfo__bindgen_ty_1__bindgen_ty_1,
    };

    #[test]
    fn layout_is_that_of_the_kernel() {
        assert_eq!(size_of::<SigInfo>(), size_of::<siginfo>());
        assert!(align_of::<SigInfo>() >= align_of::<siginfo>());
        type Outer = siginfo__bindgen_ty_1__bindgen_ty_1;
        type Child = __sifields__bindgen_ty_4;
        let fields = offset_of!(Outer, _sifields);
        let mut info = SigInfo::new();
        for (n, word) in info.words.iter_mut().enumerate() {
            *word = n as u32 * 4;
        }
        assert_eq!(info.signo() as usize, offset_of!(Outer, si_signo));
        assert_eq!(info.errno() as usize, offset_of!(Outer, si_errno));
        assert_eq!(info.code().0 as usize, offset_of!(Outer, si_code));
        assert_eq!(info.pid() as usize, fields + offset_of!(Child, _pid));
        assert_eq!(info.uid() as usize, fields + offset_of!(Child, _uid));
        assert_eq!(info.status() as usize, fields + offset_of!(Child, _status));
    }
}
