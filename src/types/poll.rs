//! Arguments of polls: the events to wait for.

use bitflags::bitflags;
use rustix::event::{PollFlags as Poll, epoll};

pub use rustix::event::epoll::{
    Event as EpollEvent, EventData as EpollEventData, EventFlags as EpollEventFlags,
};

bitflags! {
    /// The events that [`PollAdd`](crate::opcode::PollAdd) waits for, and those that it returns:
    /// the `POLL*` bits of [`poll(2)`], and two of [`epoll_ctl(2)`].
    ///
    /// [`poll(2)`]: https://man7.org/linux/man-pages/man2/poll.2.html
    /// [`epoll_ctl(2)`]: https://man7.org/linux/man-pages/man2/epoll_ctl.2.html
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct PollFlags: u32 {
        /// Data can be read.
        const IN = Poll::IN.bits() as u32;
        /// Urgent data can be read.
        const PRI = Poll::PRI.bits() as u32;
        /// Data can be written.
        const OUT = Poll::OUT.bits() as u32;
        /// An error occurred. Returned even if not requested.
        const ERR = Poll::ERR.bits() as u32;
        /// The peer has hung up. Returned even if not requested.
        const HUP = Poll::HUP.bits() as u32;
        /// The descriptor does not exist. A ring returns -EBADF instead.
        const NVAL = Poll::NVAL.bits() as u32;
        /// Like [`IN`](Self::IN), for ordinary data.
        const RDNORM = Poll::RDNORM.bits() as u32;
        /// Like [`IN`](Self::IN), for priority data.
        const RDBAND = Poll::RDBAND.bits() as u32;
        /// Like [`OUT`](Self::OUT), for ordinary data.
        const WRNORM = Poll::WRNORM.bits() as u32;
        /// Like [`OUT`](Self::OUT), for priority data.
        const WRBAND = Poll::WRBAND.bits() as u32;
        /// The peer will not write any more. Returned even if not requested.
        const RDHUP = linux_raw_sys::general::POLLRDHUP;
        /// Wake only one of the waiters for the same file. A request flag, which is never returned.
        const EXCLUSIVE = epoll::EventFlags::EXCLUSIVE.bits();
        /// Report only changes, even with [`level`](crate::opcode::PollAdd::level). A request flag,
        /// which is never returned.
        const ET = epoll::EventFlags::ET.bits();

        const _ = !0;
    }
}

/// The action of [`EpollCtl`](crate::opcode::EpollCtl): the `EPOLL_CTL_*` numbers of
/// [`epoll_ctl(2)`].
///
/// [`epoll_ctl(2)`]: https://man7.org/linux/man-pages/man2/epoll_ctl.2.html
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct EpollOp(pub u32);

impl EpollOp {
    /// Add the descriptor. Fails with -EEXIST if it was added before.
    pub const ADD: Self = Self(linux_raw_sys::general::EPOLL_CTL_ADD);
    /// Remove the descriptor. Fails with -ENOENT if it was not added.
    pub const DEL: Self = Self(linux_raw_sys::general::EPOLL_CTL_DEL);
    /// Change the events of the descriptor. Fails with -ENOENT if it was not added.
    pub const MOD: Self = Self(linux_raw_sys::general::EPOLL_CTL_MOD);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's `struct epoll_event` is packed on x86-64 and nowhere else, whatever the libc
    /// does.
    #[test]
    fn layout_of_epoll_event_is_that_of_the_kernel() {
        let packed = cfg!(any(target_arch = "x86_64", target_arch = "x86"));
        assert_eq!(size_of::<EpollEvent>(), if packed { 12 } else { 16 });
        assert_eq!(core::mem::offset_of!(EpollEvent, data), if packed { 4 } else { 8 });
    }
}
