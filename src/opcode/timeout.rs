//! Timeouts.

use super::opcode;
use crate::sys::io_uring_op::*;
use crate::types::{TimeoutFlags, Timespec};

opcode! {
    /// Completes when the time is up, or when enough else has completed.
    ///
    /// - **Since:** Linux 5.4
    /// - **Result:** -ETIME when the time was up; 0 when the count was reached; -ECANCELED when it
    ///   was removed. -ETIME severs a chain of links unless [`TimeoutFlags::ETIME_SUCCESS`] is set
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) with [`TimeoutFlags::MULTISHOT`]
    /// - **Memory:** `timespec` until *submit*
    Timeout = IORING_OP_TIMEOUT,
    new(timespec: *const Timespec => addr; len(1), no_fd(()))
    {
        /// Complete early, with 0, when this many other requests submitted after it have
        /// completed; 0, as if not given, is never. With [`TimeoutFlags::MULTISHOT`], how often
        /// to run out; 0 is without end.
        count: u32 => count,
        /// Which clock, and whether the time is a point on it.
        flags: TimeoutFlags => timeout_flags,
    }
}
