//! Futexes.

use super::operations;
use crate::types::{FutexFlags, FutexWaitV as Waiter};

operations! {
    /// Waits while a futex has a value, like [`futex(2)`] with `FUTEX_WAIT_BITSET`.
    ///
    /// [`futex(2)`]: https://man7.org/linux/man-pages/man2/futex.2.html
    ///
    /// - **Result:** 0 when it was woken; -EAGAIN where the futex has not `val`; -EINVAL where
    ///   `mask` is 0, `val` is more than the futex can hold (a 32-bit kernel takes the lower half of
    ///   it), or the flags have no size that the kernel takes
    /// - **Memory:** `futex` until *completion*
    FutexWait = "IORING_OP_FUTEX_WAIT" since "6.7",
    new(
        futex: *const u32 => addr, val: u64 => futex_val,
        mask: u64 => futex_mask, futex_flags: impl Into<FutexFlags> => futex_flags
    )

    /// Wakes waiters of a futex, like [`futex(2)`] with `FUTEX_WAKE_BITSET`.
    ///
    /// Those with a bit in common with `mask`, and at most `val` of them.
    ///
    /// [`futex(2)`]: https://man7.org/linux/man-pages/man2/futex.2.html
    ///
    /// - **Result:** how many were woken; -EINVAL where `mask` is 0, or the flags have no size that
    ///   the kernel takes
    /// - **Memory:** `futex` until *completion*
    FutexWake = "IORING_OP_FUTEX_WAKE" since "6.7",
    new(
        futex: *const u32 => addr, val: u64 => futex_val,
        mask: u64 => futex_mask, futex_flags: impl Into<FutexFlags> => futex_flags
    )

    /// Waits while each of several futexes has its value, like [`futex_waitv(2)`].
    ///
    /// [`futex_waitv(2)`]: https://docs.kernel.org/userspace-api/futex2.html
    ///
    /// - **Result:** the index of one that was woken; -EAGAIN where one has not its value
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
