//! Futexes.

use super::operations;
use crate::types::{FutexFlags, FutexWaitV as Waiter};

operations! {
    /// Waits on a futex while it has the expected value, like [`futex(2)`] with
    /// `FUTEX_WAIT_BITSET`.
    ///
    /// [`futex(2)`]: https://man7.org/linux/man-pages/man2/futex.2.html
    ///
    /// - **Result:** 0 when woken; -EAGAIN if the value of the futex is not `val`; -EINVAL if
    ///   `mask` is 0, if `val` exceeds what the futex can hold (a 32-bit kernel uses the lower half
    ///   of it instead), or if the flags contain no size that the kernel supports
    /// - **Memory:** `futex` until *completion*
    FutexWait = "IORING_OP_FUTEX_WAIT" since "6.7",
    new(
        futex: *const u32 => addr, val: u64 => futex_val,
        mask: u64 => futex_mask, futex_flags: impl Into<FutexFlags> => futex_flags
    )

    /// Wakes waiters of a futex, like [`futex(2)`] with `FUTEX_WAKE_BITSET`.
    ///
    /// It wakes at most `val` waiters whose masks have a bit in common with `mask`.
    ///
    /// [`futex(2)`]: https://man7.org/linux/man-pages/man2/futex.2.html
    ///
    /// - **Result:** the number of waiters woken; -EINVAL if `mask` is 0, or if the flags contain
    ///   no size that the kernel supports
    /// - **Memory:** `futex` until *completion*
    FutexWake = "IORING_OP_FUTEX_WAKE" since "6.7",
    new(
        futex: *const u32 => addr, val: u64 => futex_val,
        mask: u64 => futex_mask, futex_flags: impl Into<FutexFlags> => futex_flags
    )

    /// Waits on several futexes while each has its expected value, like [`futex_waitv(2)`].
    ///
    /// [`futex_waitv(2)`]: https://docs.kernel.org/userspace-api/futex2.html
    ///
    /// - **Result:** the index of a futex that was woken; -EAGAIN if one does not have its value
    /// - **Memory:** the `futexv` array and the futexes until *completion*
    FutexWaitV = "IORING_OP_FUTEX_WAITV" since "6.7",
    new(futexv: *const Waiter => addr, nr_futex: u32 => len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::tests::{at, entries};

    entries! {
        futex_wait: FutexWait::new(at(0x1000), 5, 6, FutexFlags::SIZE_U32 | FutexFlags::PRIVATE)
            => { opcode: 51, fd: 0x82, addr: 0x1000, off: 5, addr3: 6 };
        futex_wake: FutexWake::new(at(0x1000), 5, 6, FutexFlags::SIZE_U32 | FutexFlags::PRIVATE)
            => { opcode: 52, fd: 0x82, addr: 0x1000, off: 5, addr3: 6 };
        futex_wait_v: FutexWaitV::new(at(0x1000), 2) => { opcode: 53, addr: 0x1000, len: 2 };
    }
}
