//! Provided buffers, one by one.

use super::operations;

operations! {
    /// Adds buffers to a group, for operations to take when they need one.
    ///
    /// `nbufs` buffers of `len` bytes each, one behind the other from `addr` on, numbered from `bid`
    /// on. The last number is 65,535, so that there are 65,536 buffers at most.
    ///
    /// A buffer that an operation has taken is out of the group until it is provided again. A
    /// [`BufRing`](crate::BufRing) does the same faster, and a group is one or the other.
    ///
    /// - **Result:** 0; for 65,536 buffers at once -E2BIG on some kernels, and others put in 65,535 and
    ///   answer 0 all the same
    /// - **Memory:** all buffers for as long as they are in the group, and until the *completion*
    ///   of the operation that has taken them
    ProvideBuffers = "IORING_OP_PROVIDE_BUFFERS" since "5.7",
    new(
        addr: *mut u8 => addr, len: u32 => len, nbufs: u32 => nr_buffers,
        bgid: u16 => buf_group, bid: u16 => first_bid
    )

    /// Takes buffers out of a group.
    ///
    /// - **Result:** how many were taken out; -ENOENT where there is no such group, 0 on some kernels;
    ///   -EINVAL for 65,536 on kernels that do not provide so many
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
