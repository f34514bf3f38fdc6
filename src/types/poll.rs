//! Readiness: what to wait for.

use bitflags::bitflags;
use rustix::event::{PollFlags as Poll, epoll};

pub use rustix::event::epoll::{
    Event as EpollEvent, EventData as EpollEventData, EventFlags as EpollEventFlags,
};

bitflags! {
    /// What [`PollAdd`](crate::opcode::PollAdd) waits for, and what it has found: the `POLL*` bits
    /// of [`poll(2)`], and two of [`epoll_ctl(2)`].
    ///
    /// [`poll(2)`]: https://man7.org/linux/man-pages/man2/poll.2.html
    /// [`epoll_ctl(2)`]: https://man7.org/linux/man-pages/man2/epoll_ctl.2.html
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct PollFlags: u32 {
        /// There is something to read.
        const IN = Poll::IN.bits() as u32;
        /// There is something urgent to read.
        const PRI = Poll::PRI.bits() as u32;
        /// There is room to write.
        const OUT = Poll::OUT.bits() as u32;
        /// There is an error. Found, asked for or not.
        const ERR = Poll::ERR.bits() as u32;
        /// The other end has hung up. Found, asked for or not.
        const HUP = Poll::HUP.bits() as u32;
        /// There is no such descriptor. A ring says so with -EBADF instead.
        const NVAL = Poll::NVAL.bits() as u32;
        /// As [`IN`](Self::IN), for ordinary data.
        const RDNORM = Poll::RDNORM.bits() as u32;
        /// As [`IN`](Self::IN), for priority data.
        const RDBAND = Poll::RDBAND.bits() as u32;
        /// As [`OUT`](Self::OUT), for ordinary data.
        const WRNORM = Poll::WRNORM.bits() as u32;
        /// As [`OUT`](Self::OUT), for priority data.
        const WRBAND = Poll::WRBAND.bits() as u32;
        /// The other end writes no more. Found, asked for or not.
        const RDHUP = linux_raw_sys::general::POLLRDHUP;
        /// Wake only one of those that wait for the same file. To ask, never found.
        const EXCLUSIVE = epoll::EventFlags::EXCLUSIVE.bits();
        /// Tell of changes only, also where [`level`](crate::opcode::PollAdd::level) is asked for.
        /// To ask, never found.
        const ET = epoll::EventFlags::ET.bits();

        const _ = !0;
    }
}

/// What [`EpollCtl`](crate::opcode::EpollCtl) does: the `EPOLL_CTL_*` of [`epoll_ctl(2)`].
///
/// [`epoll_ctl(2)`]: https://man7.org/linux/man-pages/man2/epoll_ctl.2.html
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct EpollOp(pub u32);

impl EpollOp {
    /// Add the descriptor; -EEXIST if it is there.
    pub const ADD: Self = Self(linux_raw_sys::general::EPOLL_CTL_ADD);
    /// Take the descriptor out; -ENOENT if it is not there.
    pub const DEL: Self = Self(linux_raw_sys::general::EPOLL_CTL_DEL);
    /// Change what is waited for; -ENOENT if it is not there.
    pub const MOD: Self = Self(linux_raw_sys::general::EPOLL_CTL_MOD);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's `struct epoll_event` is packed on x86-64 and nowhere else, whatever the libc.
    #[test]
    fn epoll_event_is_the_kernels() {
        let packed = cfg!(any(target_arch = "x86_64", target_arch = "x86"));
        assert_eq!(size_of::<EpollEvent>(), if packed { 12 } else { 16 });
        assert_eq!(core::mem::offset_of!(EpollEvent, data), if packed { 4 } else { 8 });
    }
}
