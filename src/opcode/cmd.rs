//! Commands to the driver of a file, including those of sockets and block devices.

use super::operations;
use crate::squeue::Entry128;
use crate::sys::{
    BLOCK_URING_CMD_DISCARD, BLOCK_URING_CMD_ZONE_RESET_ALL, SOCKET_URING_OP_GETSOCKNAME,
    io_uring_socket_op::*,
};
use crate::types::{SocketAddrLen, SocketAddrStorage, Target, c_void};

operations! {
    /// Sends a command with 16 bytes of arguments to the driver of a file, like `ioctl(2)`.
    ///
    /// - **Result:** defined by the command; -EOPNOTSUPP if the file accepts no commands
    /// - **Memory:** defined by the command
    UringCmd16 = "IORING_OP_URING_CMD" since "5.19",
    new(fd: impl Target => fd, cmd_op: u32 => cmd_op)
    {
        /// Sets the 16 bytes of arguments, whose layout the command defines.
        cmd: [u8; 16] => cmd,
        /// Sets the registered buffer that the command uses. Since Linux 6.1.
        buf_index: Option<u16> => cmd_buffer,
        /// Sets the address that the command gets in addition to its arguments, if it uses one.
        addr: Option<u64> => cmd_addr,
        /// Sets the length that the command gets in addition to its arguments, if it uses one.
        len: u32 => len,
        /// Makes the command multishot, if it can be: each completion uses a provided buffer of
        /// this group. Since Linux 6.18.
        multishot: u16 => cmd_multishot,
    }

    /// Sends a command with 80 bytes of arguments to the driver of a file, like `ioctl(2)`.
    ///
    /// - **Result:** defined by the command; -EOPNOTSUPP if the file accepts no commands
    /// - **Memory:** defined by the command
    /// - **Needs:** a ring with 128-byte submissions, not [mixed](crate::squeue::Mixed) ones
    UringCmd80 = "IORING_OP_URING_CMD" since "5.19",
    struct(UringCmd16, [u8; 64])

    /// Sends a command with 80 bytes of arguments to the driver of a file, like `ioctl(2)`.
    ///
    /// Unlike [`UringCmd80`], this also works on rings that mix entry sizes.
    ///
    /// - **Result:** defined by the command; -EOPNOTSUPP if the file accepts no commands
    /// - **Memory:** defined by the command
    /// - **Needs:** a ring with 128-byte or [mixed](crate::squeue::Mixed) submissions
    UringCmd128 = "IORING_OP_URING_CMD128" since "6.19",
    struct(UringCmd16, [u8; 64])

    /// Sets a socket option, like [`setsockopt(2)`]. The names of the level `SOL_SOCKET` and of its
    /// options are in [`sys`](crate::sys).
    ///
    /// [`setsockopt(2)`]: https://man7.org/linux/man-pages/man2/getsockopt.2.html
    ///
    /// - **Result:** 0
    /// - **Memory:** `optval` until *completion*
    #[doc(alias = "SOCKET_URING_OP_SETSOCKOPT")]
    SetSockOpt = "IORING_OP_URING_CMD" since "6.7",
    new(
        fd: impl Target => fd, level: u32 => level, optname: u32 => optname,
        optval: *const c_void => addr3, optlen: u32 => sockopt_len;
        cmd_op(SOCKET_URING_OP_SETSOCKOPT as u32)
    )

    /// Returns a socket option of the level `SOL_SOCKET`, like [`getsockopt(2)`].
    ///
    /// [`getsockopt(2)`]: https://man7.org/linux/man-pages/man2/getsockopt.2.html
    ///
    /// - **Result:** the length of the value; -EOPNOTSUPP for other levels
    /// - **Memory:** `optval` until *completion*
    #[doc(alias = "SOCKET_URING_OP_GETSOCKOPT")]
    GetSockOpt = "IORING_OP_URING_CMD" since "6.7",
    new(
        fd: impl Target => fd, level: u32 => level, optname: u32 => optname,
        optval: *mut c_void => addr3, optlen: u32 => sockopt_len;
        cmd_op(SOCKET_URING_OP_GETSOCKOPT as u32)
    )

    /// Returns the number of bytes ready to be received, like `SIOCINQ` in [`tcp(7)`].
    ///
    /// [`tcp(7)`]: https://man7.org/linux/man-pages/man7/tcp.7.html
    ///
    /// - **Result:** bytes; -EOPNOTSUPP if the socket type does not support the query
    #[doc(alias = "SOCKET_URING_OP_SIOCINQ")]
    SiocInq = "IORING_OP_URING_CMD" since "6.6",
    new(fd: impl Target => fd; cmd_op(SOCKET_URING_OP_SIOCINQ as u32))

    /// Returns the number of bytes in the send queue, with TCP those not acknowledged yet, like
    /// `SIOCOUTQ` in [`tcp(7)`].
    ///
    /// [`tcp(7)`]: https://man7.org/linux/man-pages/man7/tcp.7.html
    ///
    /// - **Result:** bytes; -EOPNOTSUPP if the socket type does not support the query
    #[doc(alias = "SOCKET_URING_OP_SIOCOUTQ")]
    SiocOutq = "IORING_OP_URING_CMD" since "6.6",
    new(fd: impl Target => fd; cmd_op(SOCKET_URING_OP_SIOCOUTQ as u32))

    /// Reports the transmit timestamps of a socket, which the kernel puts into its error queue
    /// (multishot).
    ///
    /// Enable them on the socket first (`SO_TIMESTAMPING`), without a copy of the sent data
    /// (`SOF_TIMESTAMPING_OPT_TSONLY`).
    ///
    /// - **Result:** the number that the socket has assigned to the sent data; the second half of
    ///   the completion has the time ([`tx_timestamp`](crate::cqueue::Entry32::tx_timestamp)). In
    ///   the completion without [`more`](crate::cqueue::Entry::more), the reason why the operation
    ///   ended
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) with each timestamp
    /// - **Needs:** a ring with 32-byte completions
    #[doc(alias = "SOCKET_URING_OP_TX_TIMESTAMP")]
    TxTimestamp = "IORING_OP_URING_CMD" since "6.17",
    new(fd: impl Target => fd; cmd_op(SOCKET_URING_OP_TX_TIMESTAMP as u32))

    /// Returns the address of a socket or of its peer, like [`getsockname(2)`].
    ///
    /// [`getsockname(2)`]: https://man7.org/linux/man-pages/man2/getsockname.2.html
    ///
    /// - **Result:** 0
    /// - **Memory:** `addr` and `addrlen` until *completion*
    ///   ([`SocketAddrBuf`](crate::types::SocketAddrBuf) has both)
    #[doc(alias = "SOCKET_URING_OP_GETSOCKNAME")]
    GetSockName = "IORING_OP_URING_CMD" since "6.19",
    new(
        fd: impl Target => fd, addr: *mut SocketAddrStorage => addr,
        addrlen: *mut SocketAddrLen => addr3;
        cmd_op(SOCKET_URING_OP_GETSOCKNAME)
    )
    {
        /// Sets whether to return the address of the peer, like `getpeername(2)`.
        peer: bool => getsockname_peer,
    }

    /// Discards a range of a block device, like `BLKDISCARD` in [`ioctl(2)`].
    ///
    /// [`ioctl(2)`]: https://man7.org/linux/man-pages/man2/ioctl.2.html
    ///
    /// - **Result:** 0; -EINVAL if `offset` or `len` is not a multiple of the sector size;
    ///   -EOPNOTSUPP if the device does not support discards
    /// - **Needs:** the device, open for writing
    #[doc(alias = "BLOCK_URING_CMD_DISCARD")]
    BlockDiscard = "IORING_OP_URING_CMD" since "6.12",
    new(fd: impl Target => fd, offset: u64 => discard_start, len: u64 => discard_len; cmd_op(BLOCK_URING_CMD_DISCARD))

    /// Resets all zones of a zoned block device, like `BLKRESETZONE` in [`ioctl(2)`] over the whole
    /// device.
    ///
    /// [`ioctl(2)`]: https://man7.org/linux/man-pages/man2/ioctl.2.html
    ///
    /// - **Result:** 0; -EOPNOTSUPP if the device has no zones
    /// - **Needs:** the device, open for writing
    #[doc(alias = "BLOCK_URING_CMD_ZONE_RESET_ALL")]
    BlockZoneResetAll = "IORING_OP_URING_CMD" since "7.3",
    new(fd: impl Target => fd; cmd_op(BLOCK_URING_CMD_ZONE_RESET_ALL))
}

/// Implements the two commands with 128-byte entries. [`UringCmd80`] uses the operation of
/// [`UringCmd16`], and its arguments continue in the second half of the entry. [`UringCmd128`] is
/// an operation of its own that always has a big entry.
macro_rules! big_commands {
    ($($Name:ident)*) => { $(
        impl $Name {
            /// Creates the operation with its required arguments.
            #[inline]
            pub fn new(fd: impl Target, cmd_op: u32) -> Self {
                let mut narrow = UringCmd16::new(fd, cmd_op);
                narrow.0.as_raw_mut().opcode = Self::CODE;
                Self(narrow, [0; 64])
            }

            /// Sets the 80 bytes of arguments, whose layout the command defines.
            #[inline]
            pub fn cmd(mut self, cmd: [u8; 80]) -> Self {
                let (first, rest) = (cmd.first_chunk(), cmd.last_chunk());
                if let (Some(first), Some(rest)) = (first, rest) {
                    self.0 = self.0.cmd(*first);
                    self.1 = *rest;
                }
                self
            }

            /// Sets the registered buffer that the command uses, as with [`UringCmd16::buf_index`].
            #[inline]
            pub fn buf_index(mut self, buf_index: Option<u16>) -> Self {
                self.0 = self.0.buf_index(buf_index);
                self
            }

            /// Sets the address that the command gets, as with [`UringCmd16::addr`].
            #[inline]
            pub fn addr(mut self, addr: Option<u64>) -> Self {
                self.0 = self.0.addr(addr);
                self
            }

            /// Sets the length that the command gets, as with [`UringCmd16::len`].
            #[inline]
            pub fn len(mut self, len: u32) -> Self {
                self.0 = self.0.len(len);
                self
            }

            /// Makes the command multishot, as with [`UringCmd16::multishot`].
            #[inline]
            pub fn multishot(mut self, buf_group: u16) -> Self {
                self.0 = self.0.multishot(buf_group);
                self
            }

            /// Returns the entry, ready to be pushed.
            #[inline]
            pub const fn build(self) -> Entry128 {
                Entry128::from_raw(self.0.build().into_raw(), self.1)
            }
        }
    )* };
}
big_commands!(UringCmd80 UringCmd128);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::tests::{at, entries};
    use crate::squeue::Sqe;
    use crate::types::{Fd, Fixed};

    /// Returns a word whose first 32-bit number is set; [`pair`] sets both.
    const fn first(word: u64) -> u64 {
        if cfg!(target_endian = "little") { word } else { word << 32 }
    }
    const fn pair(one: u64, two: u64) -> u64 {
        if cfg!(target_endian = "little") { two << 32 | one } else { one << 32 | two }
    }
    const CMD: [u8; 80] = [0x55; 80];
    const WORD: u64 = 0x5555_5555_5555_5555;

    entries! {
        uring_cmd16: UringCmd16::new(Fixed(3), 5).cmd([0x55; 16]).buf_index(Some(7))
            .addr(Some(0x1000)).len(64)
            => { opcode: 46, flags: 1, fd: 3, off: first(5), addr: 0x1000, len: 64, op_flags: 1,
               buf_index: 7, addr3: WORD, pad2: WORD };
        uring_cmd16_multishot: UringCmd16::new(Fd(3), 5).multishot(7)
            => { opcode: 46, flags: 1 << 5, fd: 3, off: first(5), op_flags: 2, buf_index: 7 };
        set_sock_opt: SetSockOpt::new(Fd(3), 5, 6, at(0x1000), 4)
            => { opcode: 46, fd: 3, off: first(3), addr: pair(5, 6), addr3: 0x1000, file_index: 4 };
        get_sock_opt: GetSockOpt::new(Fd(3), 5, 6, at(0x1000), 4)
            => { opcode: 46, fd: 3, off: first(2), addr: pair(5, 6), addr3: 0x1000, file_index: 4 };
        sioc_inq: SiocInq::new(Fd(3)) => { opcode: 46, fd: 3 };
        sioc_outq: SiocOutq::new(Fd(3)) => { opcode: 46, fd: 3, off: first(1) };
        tx_timestamp: TxTimestamp::new(Fd(3)) => { opcode: 46, fd: 3, off: first(4) };
        get_sock_name: GetSockName::new(Fd(3), at(0x1000), at(0x2000)).peer(true)
            => { opcode: 46, fd: 3, off: first(5), addr: 0x1000, addr3: 0x2000, file_index: 1 };
        block_discard: BlockDiscard::new(Fd(3), 4096, 8192)
            => { opcode: 46, fd: 3, off: first(BLOCK_URING_CMD_DISCARD.into()), addr: 4096,
               addr3: 8192 };
        block_zone_reset_all: BlockZoneResetAll::new(Fd(3))
            => { opcode: 46, fd: 3, off: first(BLOCK_URING_CMD_ZONE_RESET_ALL.into()) };
    }

    #[test]
    fn uring_cmd80() {
        let entry = UringCmd80::new(Fixed(3), 5)
            .cmd(CMD)
            .buf_index(Some(7))
            .addr(Some(0x1000))
            .len(64)
            .build();
        let sqe = Sqe {
            opcode: 46,
            flags: 1,
            fd: 3,
            off: first(5),
            addr: 0x1000,
            len: 64,
            op_flags: 1,
            buf_index: 7,
            addr3: WORD,
            pad2: WORD,
            ..Sqe::ZERO
        };
        assert_eq!(entry.into_raw(), (sqe, [0x55; 64]));
    }

    #[test]
    fn uring_cmd128() {
        let entry = UringCmd128::new(Fd(3), 5).multishot(7).build();
        let sqe = Sqe {
            opcode: 64,
            flags: 1 << 5,
            fd: 3,
            off: first(5),
            op_flags: 2,
            buf_index: 7,
            ..Sqe::ZERO
        };
        assert_eq!(entry.into_raw(), (sqe, [0; 64]));
    }

    /// The 80 bytes are in order, across both parts of the entry.
    #[test]
    fn the_bytes_of_a_big_command_are_in_order() {
        let cmd = core::array::from_fn(|n| n as u8);
        let (sqe, rest) = UringCmd80::new(Fd(3), 5).cmd(cmd).build().into_raw();
        assert_eq!(sqe.addr3.to_ne_bytes(), cmd[..8]);
        assert_eq!(sqe.pad2.to_ne_bytes(), cmd[8..16]);
        assert_eq!(rest, cmd[16..]);
    }
}
