//! Timeouts.

use super::operations;
use crate::types::{TimeoutFlags, Timespec};

operations! {
    /// Completes when the time is up, or when enough other requests have completed.
    ///
    /// - **Result:** -ETIME when the time was up; 0 when the count was reached; -ECANCELED when the
    ///   timeout was removed. -ETIME breaks a chain of links unless [`TimeoutFlags::ETIME_SUCCESS`]
    ///   is set
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) with [`TimeoutFlags::MULTISHOT`]
    /// - **Memory:** `timespec` until *submit*
    Timeout = "IORING_OP_TIMEOUT" since "5.4",
    new(timespec: *const Timespec => addr; len(1), no_fd(()))
    {
        /// Completes the timeout early, with 0, when the kernel has put this many completions into
        /// the queue since it started the timeout, whichever requests they are for. 0, the
        /// default, means never. With [`TimeoutFlags::MULTISHOT`], this is the
        /// number of expirations, and 0 means no limit.
        count: u32 => count,
        /// Sets the clock, and whether the time is absolute.
        flags: impl Into<TimeoutFlags> => timeout_flags,
        /// Sets the time in nanoseconds, at most `i64::MAX`. It replaces `timespec`, which may be
        /// null. Since Linux 7.1.
        immediate: u64 => immediate,
    }

    /// Cancels the [`Timeout`] with this user data.
    ///
    /// The timeout completes with -ECANCELED.
    ///
    /// - **Result:** 0; -ENOENT if there is no such timeout; -EALREADY if it is completing
    TimeoutRemove = "IORING_OP_TIMEOUT_REMOVE" since "5.5",
    new(user_data: u64 => target_user_data; no_fd(()))

    /// Changes the time of the [`Timeout`] or [`LinkTimeout`] with this user data.
    ///
    /// The timeout loses its [`count`](Timeout::count): it then ends only by its time.
    ///
    /// - **Result:** 0; -ENOENT if there is no such timeout; -EALREADY if it is completing
    /// - **Memory:** `timespec` until *submit*
    TimeoutUpdate = "IORING_OP_TIMEOUT_REMOVE" since "5.11",
    new(
        user_data: u64 => target_user_data, timespec: *const Timespec => addr2;
        timeout_flags(TimeoutFlags::UPDATE), no_fd(())
    )
    {
        /// Sets flags: [`TimeoutFlags::ABS`] if the new time is absolute, and
        /// [`TimeoutFlags::LINK_TIMEOUT_UPDATE`] for a [`LinkTimeout`].
        flags: impl Into<TimeoutFlags> => timeout_flags,
        /// Sets the new time in nanoseconds, at most `i64::MAX`. It replaces `timespec`, which may
        /// be null. Since Linux 7.1.
        immediate: u64 => immediate_update,
    }

    /// Cancels the operation that it is linked behind, if that operation takes too long.
    ///
    /// Push the timeout directly after the operation, which must have
    /// [`Flags::IO_LINK`](crate::squeue::Flags::IO_LINK). Both complete. If the operation finishes
    /// in time, it has its own result and the timeout has -ECANCELED. Otherwise the operation has
    /// -ECANCELED (or -EINTR if it was running), and the timeout has -ETIME.
    ///
    /// - **Result:** -ETIME when the time was up; -ECANCELED when the operation finished first
    /// - **Memory:** `timespec` until *submit*
    LinkTimeout = "IORING_OP_LINK_TIMEOUT" since "5.5",
    new(timespec: *const Timespec => addr; len(1), no_fd(()))
    {
        /// Sets the clock, and whether the time is absolute.
        flags: impl Into<TimeoutFlags> => timeout_flags,
        /// Sets the time in nanoseconds, at most `i64::MAX`. It replaces `timespec`, which may be
        /// null. Since Linux 7.1.
        immediate: u64 => immediate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::tests::{at, entries};

    entries! {
        timeout: Timeout::new(at(0x1000)).count(5)
            .flags(TimeoutFlags::ABS | TimeoutFlags::BOOTTIME)
            => { opcode: 11, fd: -1, addr: 0x1000, len: 1, off: 5, op_flags: 5 };
        timeout_immediate: Timeout::new(at(0)).immediate(1 << 40).flags(TimeoutFlags::MULTISHOT)
            => { opcode: 11, fd: -1, addr: 1 << 40, len: 1, op_flags: 1 << 7 | 1 << 6 };
        timeout_remove: TimeoutRemove::new(5) => { opcode: 12, fd: -1, addr: 5 };
        timeout_update: TimeoutUpdate::new(5, at(0x1000)).flags(TimeoutFlags::ABS)
            => { opcode: 12, fd: -1, addr: 5, off: 0x1000, op_flags: 3 };
        timeout_update_immediate: TimeoutUpdate::new(5, at(0)).immediate(6)
            .flags(TimeoutFlags::LINK_TIMEOUT_UPDATE)
            => { opcode: 12, fd: -1, addr: 5, off: 6, op_flags: 1 << 7 | 1 << 4 | 2 };
        link_timeout: LinkTimeout::new(at(0x1000)).flags(TimeoutFlags::REALTIME)
            => { opcode: 15, fd: -1, addr: 0x1000, len: 1, op_flags: 8 };
        link_timeout_immediate: LinkTimeout::new(at(0)).immediate(6)
            => { opcode: 15, fd: -1, addr: 6, len: 1, op_flags: 1 << 7 };
    }
}
