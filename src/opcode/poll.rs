//! Operations that wait until files are ready.

use super::operations;
use crate::types::{Descriptor, EpollEvent, EpollOp, PollFlags, Target};

operations! {
    /// Completes when a file is ready, like [`poll(2)`] on one file.
    ///
    /// [`ERR`](PollFlags::ERR), [`HUP`](PollFlags::HUP) and [`RDHUP`](PollFlags::RDHUP) complete it
    /// even if you did not request them.
    ///
    /// [`poll(2)`]: https://man7.org/linux/man-pages/man2/poll.2.html
    ///
    /// - **Result:** what the file is ready for
    ///   ([`to_poll_flags`](crate::cqueue::Entry::to_poll_flags))
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) until the last, with
    ///   [`multi`](Self::multi)
    PollAdd = "IORING_OP_POLL_ADD" since "5.1",
    new(fd: impl Target => fd, flags: impl Into<PollFlags> => poll_mask)
    {
        /// Sets whether the poll is multishot. A multishot poll can end on its own. Since Linux
        /// 5.13.
        multi: bool => poll_multi,
        /// Sets whether the poll is level-triggered: it completes for as long as the file is ready,
        /// not only each time it becomes ready. The flag is in the kernel's header since Linux 6.0,
        /// but it fails with -EINVAL up to Linux 7.3 at least.
        level: bool => poll_level,
    }

    /// Cancels the [`PollAdd`] with this user data.
    ///
    /// The poll completes with -ECANCELED.
    ///
    /// - **Result:** 0; -ENOENT if there is no such poll; -EALREADY if it is completing
    PollRemove = "IORING_OP_POLL_REMOVE" since "5.1",
    new(user_data: u64 => target_user_data; no_fd(()))

    /// Changes the events or the user data, or both, of the [`PollAdd`] with this user data.
    ///
    /// - **Result:** 0; -ENOENT if there is no such poll; -EALREADY if it is completing
    PollUpdate = "IORING_OP_POLL_REMOVE" since "5.13",
    new(user_data: u64 => target_user_data; no_fd(()))
    {
        /// Sets the new events to wait for.
        events: impl Into<PollFlags> => poll_update_events,
        /// Sets the new user data.
        new_user_data: u64 => poll_update_user_data,
        /// Sets the flag of [`PollAdd::multi`]. It requires [`events`](Self::events), and fails
        /// with -EINVAL without. Current kernels accept this but do not change whether the poll is
        /// multishot.
        multi: bool => poll_multi,
    }

    /// Changes the interest list of an epoll instance, like [`epoll_ctl(2)`].
    ///
    /// [`epoll_ctl(2)`]: https://man7.org/linux/man-pages/man2/epoll_ctl.2.html
    ///
    /// - **Result:** 0
    /// - **Memory:** `ev` until *submit*; null for [`EpollOp::DEL`]
    EpollCtl = "IORING_OP_EPOLL_CTL" since "5.6",
    new(
        epfd: impl Descriptor => dirfd, fd: impl Descriptor => epoll_target,
        op: EpollOp => epoll_op, ev: *const EpollEvent => addr
    )

    /// Waits for events of an epoll instance, like [`epoll_wait(2)`].
    ///
    /// [`epoll_wait(2)`]: https://man7.org/linux/man-pages/man2/epoll_wait.2.html
    ///
    /// - **Result:** the number of events written
    /// - **Memory:** `events`, with space for `max_events` of them, until *completion*
    EpollWait = "IORING_OP_EPOLL_WAIT" since "6.15",
    new(fd: impl Target => fd, events: *mut EpollEvent => addr, max_events: u32 => len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::tests::{at, entries};
    use crate::squeue::Sqe;
    use crate::types::{Fd, Fixed};

    /// The mask in the kernel's layout, with the halves swapped on big endian.
    const IN: u32 = if cfg!(target_endian = "little") { 1 } else { 1 << 16 };

    entries! {
        poll_add: PollAdd::new(Fixed(3), PollFlags::IN).multi(true).level(true)
            => { opcode: 6, flags: 1, fd: 3, len: 9, op_flags: IN };
        poll_remove: PollRemove::new(5) => { opcode: 7, fd: -1, addr: 5 };
        epoll_wait: EpollWait::new(Fixed(3), at(0x1000), 16)
            => { opcode: 59, flags: 1, fd: 3, addr: 0x1000, len: 16 };
    }

    #[test]
    fn poll_update() {
        let entry = PollUpdate::new(5).events(PollFlags::IN).multi(true).new_user_data(6).build();
        assert_eq!(
            entry.into_raw(),
            Sqe { opcode: 7, fd: -1, addr: 5, off: 6, len: 7, op_flags: IN, ..Sqe::ZERO }
        );
        let events = PollUpdate::new(5).events(PollFlags::IN).build();
        assert_eq!(
            events.into_raw(),
            Sqe { opcode: 7, fd: -1, addr: 5, len: 2, op_flags: IN, ..Sqe::ZERO }
        );
        let user_data = PollUpdate::new(5).new_user_data(6).build();
        assert_eq!(
            user_data.into_raw(),
            Sqe { opcode: 7, fd: -1, addr: 5, off: 6, len: 4, ..Sqe::ZERO }
        );
    }

    #[test]
    fn epoll_ctl() {
        let entry = EpollCtl::new(Fd(3), Fd(4), EpollOp::MOD, at(0x1000)).build();
        assert_eq!(
            entry.into_raw(),
            Sqe { opcode: 29, fd: 3, off: 4, len: 3, addr: 0x1000, ..Sqe::ZERO }
        );
        // The sign does not extend into the upper half; liburing does the same.
        let negative = EpollCtl::new(Fd(3), Fd(-1), EpollOp::DEL, at(0)).build();
        assert_eq!(negative.as_raw().off, 0xffff_ffff);
    }
}
