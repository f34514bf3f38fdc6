//! Pipes: creating them, and moving or copying their data.

use super::operations;
use crate::types::{DestinationSlot, PipeFlags, RawFd, SpliceFlags, Target};

operations! {
    /// Moves data between two files, one of which is a pipe, like [`splice(2)`].
    ///
    /// [`splice(2)`]: https://man7.org/linux/man-pages/man2/splice.2.html
    ///
    /// - **Result:** bytes moved, which may be fewer than `len`; 0 at the end of the input
    Splice = "IORING_OP_SPLICE" since "5.7",
    new(
        fd_in: impl Target => splice_in, off_in: i64 => off_in,
        fd_out: impl Target => fd, off_out: i64 => off_out, len: u32 => len
    )
    {
        /// Sets the flags of this splice.
        ///
        /// An offset must be -1 for a pipe. For another file, -1 means to use the file's own
        /// position.
        flags: impl Into<SpliceFlags> => splice_flags,
    }

    /// Copies data from one pipe to another without consuming it, like [`tee(2)`].
    ///
    /// [`tee(2)`]: https://man7.org/linux/man-pages/man2/tee.2.html
    ///
    /// - **Result:** bytes copied, which may be fewer than `len`; 0 at the end of the input
    Tee = "IORING_OP_TEE" since "5.8",
    new(fd_in: impl Target => splice_in, fd_out: impl Target => fd, len: u32 => len)
    {
        /// Sets the flags of this copy.
        flags: impl Into<SpliceFlags> => splice_flags,
    }

    /// Creates a pipe, like [`pipe2(2)`].
    ///
    /// [`pipe2(2)`]: https://man7.org/linux/man-pages/man2/pipe.2.html
    ///
    /// - **Result:** 0; `fds` then has the descriptors, or the slots: the read end, then the write
    ///   end. (If you choose a slot, some kernels write 0 instead of its number.)
    /// - **Memory:** two descriptors at `fds` until *completion*
    Pipe = "IORING_OP_PIPE" since "6.16",
    new(fds: *mut RawFd => addr)
    {
        /// Sets the flags of both ends.
        flags: PipeFlags => pipe_flags,
        /// Puts the ends into the registered file table: into this slot and the next one, or into
        /// any two free slots.
        file_index: Option<DestinationSlot> => slot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::tests::{at, entries};
    use crate::types::{Fd, Fixed};

    entries! {
        splice: Splice::new(Fd(3), -1, Fd(4), 5, 16).flags(SpliceFlags::MOVE)
            => { opcode: 30, fd: 4, off: 5, addr: u64::MAX, len: 16, op_flags: 1, file_index: 3 };
        splice_of_slots: Splice::new(Fixed(3), 0, Fixed(4), -1, 16).flags(SpliceFlags::MORE)
            => { opcode: 30, flags: 1, fd: 4, off: u64::MAX, len: 16, op_flags: 1 << 31 | 4,
               file_index: 3 };
        tee: Tee::new(Fixed(3), Fd(4), 16).flags(SpliceFlags::NONBLOCK)
            => { opcode: 33, fd: 4, len: 16, op_flags: 1 << 31 | 2, file_index: 3 };
        pipe: Pipe::new(at(0x1000)).flags(PipeFlags::NONBLOCK)
            .file_index(DestinationSlot::try_from_slot_target(6).ok())
            => { opcode: 62, addr: 0x1000, op_flags: PipeFlags::NONBLOCK.bits(), file_index: 7 };
    }
}
