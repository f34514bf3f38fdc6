//! Processes: which to wait for, and what became of them.

use core::fmt;

use bitflags::bitflags;

use crate::sys;

/// What the identifier of [`WaitId`](crate::opcode::WaitId) names: the `P_*` of [`waitid(2)`].
///
/// [`waitid(2)`]: https://man7.org/linux/man-pages/man2/waitid.2.html
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct IdType(pub u32);

impl IdType {
    /// Any child; the identifier is ignored.
    pub const ALL: Self = Self(sys::P_ALL);
    /// The child with this number.
    pub const PID: Self = Self(sys::P_PID);
    /// Any child of this process group; 0 is the caller's own.
    pub const PGID: Self = Self(sys::P_PGID);
    /// The child that this descriptor of `pidfd_open(2)` stands for.
    pub const PIDFD: Self = Self(sys::P_PIDFD);
}

bitflags! {
    /// What [`WaitId`](crate::opcode::WaitId) waits for, and how, as of [`waitid(2)`]: at least one
    /// of the first three.
    ///
    /// [`waitid(2)`]: https://man7.org/linux/man-pages/man2/waitid.2.html
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct WaitIdOptions: u32 {
        /// Children that have ended.
        const EXITED = sys::WEXITED;
        /// Children that a signal has stopped.
        const STOPPED = sys::WSTOPPED;
        /// Children that go on after a stop.
        const CONTINUED = sys::WCONTINUED;
        /// Complete at once, also where there is nothing to tell.
        const NOHANG = sys::WNOHANG;
        /// Leave the child to be waited for again.
        const NOWAIT = sys::WNOWAIT;

        const _ = !0;
    }
}

/// What [`WaitId`](crate::opcode::WaitId) tells of a child: the kernel's `siginfo_t`, as far as
/// [`waitid(2)`] fills it.
///
/// [`waitid(2)`]: https://man7.org/linux/man-pages/man2/waitid.2.html
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C, align(8))]
pub struct SigInfo {
    words: [u32; 32],
}

impl SigInfo {
    /// Where the two words behind the first are, which MIPS has the other way round.
    const ERRNO_AND_CODE: [usize; 2] =
        if cfg!(any(target_arch = "mips", target_arch = "mips64")) { [2, 1] } else { [1, 2] };
    /// What follows is aligned for a pointer.
    const FIELDS: usize = if cfg!(target_pointer_width = "64") { 4 } else { 3 };

    /// Nothing told.
    #[inline]
    pub const fn new() -> Self {
        Self { words: [0; 32] }
    }

    /// The signal, `SIGCHLD`; 0 if there was nothing to tell.
    #[inline]
    pub const fn signo(&self) -> i32 {
        self.words[0] as i32
    }

    /// 0.
    #[inline]
    pub const fn errno(&self) -> i32 {
        self.words[Self::ERRNO_AND_CODE[0]] as i32
    }

    /// What became of the child.
    #[inline]
    pub const fn code(&self) -> Cld {
        Cld(self.words[Self::ERRNO_AND_CODE[1]] as i32)
    }

    /// The child's number.
    #[inline]
    pub const fn pid(&self) -> i32 {
        self.words[Self::FIELDS] as i32
    }

    /// The user that the child ran as.
    #[inline]
    pub const fn uid(&self) -> u32 {
        self.words[Self::FIELDS + 1]
    }

    /// The exit status with [`Cld::EXITED`], otherwise the signal.
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

/// What became of a child: the `CLD_*` codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Cld(pub i32);

impl Cld {
    /// It has ended by itself.
    pub const EXITED: Self = Self(linux_raw_sys::general::CLD_EXITED as i32);
    /// A signal has ended it.
    pub const KILLED: Self = Self(linux_raw_sys::general::CLD_KILLED as i32);
    /// A signal has ended it, and there is a core dump.
    pub const DUMPED: Self = Self(linux_raw_sys::general::CLD_DUMPED as i32);
    /// Its tracer has been told of something.
    pub const TRAPPED: Self = Self(linux_raw_sys::general::CLD_TRAPPED as i32);
    /// A signal has stopped it.
    pub const STOPPED: Self = Self(linux_raw_sys::general::CLD_STOPPED as i32);
    /// It goes on.
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
    fn layout_is_the_kernels() {
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
