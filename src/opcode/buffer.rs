//! Provided buffers, added and removed by operations.

use super::operations;

operations! {
    /// Adds buffers to a group, from which operations take a buffer when they need one.
    ///
    /// The buffers are `nbufs` consecutive areas of `len` bytes each, starting at `addr`. Their
    /// buffer IDs count up from `bid`. The highest ID is 65,535, so a group has at most 65,536
    /// buffers.
    ///
    /// A buffer that an operation has taken leaves the group until you provide it again. A
    /// [`BufRing`](crate::BufRing) does the same faster. A group uses one mechanism or the other.
    ///
    /// - **Result:** 0; for 65,536 buffers at once, some kernels fail with -E2BIG, and
    ///   others add only 65,535 and still return 0
    /// - **Memory:** all buffers for as long as they are in the group, and until the *completion*
    ///   of the operation that has taken them
    ProvideBuffers = "IORING_OP_PROVIDE_BUFFERS" since "5.7",
    new(
        addr: *mut u8 => addr, len: u32 => len, nbufs: u32 => nr_buffers,
        bgid: u16 => buf_group, bid: u16 => first_bid
    )

    /// Removes buffers from a group.
    ///
    /// - **Result:** the number of buffers removed; if there is no such group, -ENOENT, or 0 on
    ///   some kernels; -EINVAL if `nbufs` is 65,536 and the kernel accepts at most 65,535
    RemoveBuffers = "IORING_OP_REMOVE_BUFFERS" since "5.7",
    new(nbufs: u32 => nr_buffers, bgid: u16 => buf_group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::tests::{at, entries};
    use crate::squeue::Sqe;

    entries! {
        provide_buffers: ProvideBuffers::new(at(0x1000), 64, 4, 7, 5)
            => { opcode: 31, fd: 4, addr: 0x1000, len: 64, off: 5, buf_index: 7 };
    }

    #[test]
    fn remove_buffers() {
        let all = ProvideBuffers::new(at(0x1000), 1, 1 << 16, 7, 0).build();
        assert_eq!(all.as_raw().fd, 1 << 16);
        let entry = RemoveBuffers::new(4, 7).build();
        assert_eq!(entry.into_raw(), Sqe { opcode: 32, fd: 4, buf_index: 7, ..Sqe::ZERO });
    }
}
