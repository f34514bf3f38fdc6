//! Commands: what a file's driver makes of them; those of sockets and block devices.

use super::operations;
use crate::squeue::Entry128;
use crate::sys::{
    BLOCK_URING_CMD_DISCARD, BLOCK_URING_CMD_ZONE_RESET_ALL, SOCKET_URING_OP_GETSOCKNAME,
    io_uring_socket_op::*,
};
use crate::types::{SocketAddrLen, SocketAddrStorage, Target, c_void};

operations! {
    /// Gives a file's driver a command, with 16 bytes of arguments: `ioctl(2)` for rings.
    ///
    /// - **Result:** what the command defines; -EOPNOTSUPP where the file takes none
    /// - **Memory:** what the command defines
    UringCmd16 = "IORING_OP_URING_CMD" since "5.19",
    new(fd: impl Target => fd, cmd_op: u32 => cmd_op)
    {
        /// The arguments.
        cmd: [u8; 16] => cmd,
        /// The registered buffer that the command uses. Since Linux 6.1.
        buf_index: Option<u16> => cmd_buffer,
        /// The address that the command is given beside its arguments, where it takes one.
        addr: Option<u64> => cmd_addr,
        /// The length that the command is given beside its arguments, where it takes one.
        len: u32 => len,
        /// Complete again and again, each time with a provided buffer of this group, where the
        /// command can. Since Linux 6.18.
        multishot: u16 => cmd_multishot,
    }

    /// Gives a file's driver a command, with 80 bytes of arguments: `ioctl(2)` for rings.
    ///
    /// - **Result:** what the command defines; -EOPNOTSUPP where the file takes none
    /// - **Memory:** what the command defines
    /// - **Needs:** a ring with submissions of 128 bytes, not [mixed](crate::squeue::Mixed)
    UringCmd80 = "IORING_OP_URING_CMD" since "5.19",
    struct(UringCmd16, [u8; 64])

    /// Gives a file's driver a command, with 80 bytes of arguments, also on rings that have smaller
    /// entries beside: `ioctl(2)` for rings.
    ///
    /// - **Result:** what the command defines; -EOPNOTSUPP where the file takes none
    /// - **Memory:** what the command defines
    /// - **Needs:** a ring with submissions of 128 bytes, be they [mixed](crate::squeue::Mixed)
    UringCmd128 = "IORING_OP_URING_CMD128" since "6.19",
    struct(UringCmd16, [u8; 64])

    /// Sets a socket's option, like [`setsockopt(2)`]. [`sys`](crate::sys) has the names of the level
    /// `SOL_SOCKET` and of its options.
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

    /// Asks for a socket's option of the level `SOL_SOCKET`, like [`getsockopt(2)`].
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

    /// Asks how much there is to receive, like the `SIOCINQ` of [`tcp(7)`].
    ///
    /// [`tcp(7)`]: https://man7.org/linux/man-pages/man7/tcp.7.html
    ///
    /// - **Result:** bytes; -EOPNOTSUPP for sockets that do not count
    #[doc(alias = "SOCKET_URING_OP_SIOCINQ")]
    SiocInq = "IORING_OP_URING_CMD" since "6.6",
    new(fd: impl Target => fd; cmd_op(SOCKET_URING_OP_SIOCINQ as u32))

    /// Asks how much there is still to send, like the `SIOCOUTQ` of [`tcp(7)`].
    ///
    /// [`tcp(7)`]: https://man7.org/linux/man-pages/man7/tcp.7.html
    ///
    /// - **Result:** bytes; -EOPNOTSUPP for sockets that do not count
    #[doc(alias = "SOCKET_URING_OP_SIOCOUTQ")]
    SiocOutq = "IORING_OP_URING_CMD" since "6.6",
    new(fd: impl Target => fd; cmd_op(SOCKET_URING_OP_SIOCOUTQ as u32))

    /// Tells when what a socket sends is sent, again and again: the timestamps of its error queue.
    ///
    /// The socket has them on (`SO_TIMESTAMPING`), without the data that was sent
    /// (`SOF_TIMESTAMPING_OPT_TSONLY`).
    ///
    /// - **Result:** the number that the socket has given to what was sent; the completion's second
    ///   half has the time ([`tx_timestamp`](crate::cqueue::Entry32::tx_timestamp)). Without
    ///   [`more`](crate::cqueue::Entry::more), why it has ended
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) with each timestamp
    /// - **Needs:** a ring whose completions have 32 bytes
    #[doc(alias = "SOCKET_URING_OP_TX_TIMESTAMP")]
    TxTimestamp = "IORING_OP_URING_CMD" since "6.17",
    new(fd: impl Target => fd; cmd_op(SOCKET_URING_OP_TX_TIMESTAMP as u32))

    /// Asks for a socket's own address, or its peer's, like [`getsockname(2)`].
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
        /// The address of the other end, like `getpeername(2)`.
        peer: bool => getsockname_peer,
    }

    /// Forgets a range of a block device, like the `BLKDISCARD` of [`ioctl(2)`].
    ///
    /// [`ioctl(2)`]: https://man7.org/linux/man-pages/man2/ioctl.2.html
    ///
    /// - **Result:** 0; -EINVAL where `offset` or `len` is not a multiple of the sector size;
    ///   -EOPNOTSUPP where the device does not discard
    /// - **Needs:** the device, open for writing
    #[doc(alias = "BLOCK_URING_CMD_DISCARD")]
    BlockDiscard = "IORING_OP_URING_CMD" since "6.12",
    new(fd: impl Target => fd, offset: u64 => discard_start, len: u64 => discard_len; cmd_op(BLOCK_URING_CMD_DISCARD))

    /// Resets all zones of a zoned block device, like the `BLKRESETZONE` of [`ioctl(2)`] for all of
    /// it.
    ///
    /// [`ioctl(2)`]: https://man7.org/linux/man-pages/man2/ioctl.2.html
    ///
    /// - **Result:** 0; -EOPNOTSUPP where the device has no zones
    /// - **Needs:** the device, open for writing
    #[doc(alias = "BLOCK_URING_CMD_ZONE_RESET_ALL")]
    BlockZoneResetAll = "IORING_OP_URING_CMD" since "7.3",
    new(fd: impl Target => fd; cmd_op(BLOCK_URING_CMD_ZONE_RESET_ALL))
}

/// The two commands of 128 bytes: one operation, in whose larger entry the arguments go on; and one
/// that has the larger entry by itself.
macro_rules! big_commands {
    ($($Name:ident)*) => { $(
        impl $Name {
            /// The operation with what it cannot do without.
            #[inline]
            pub fn new(fd: impl Target, cmd_op: u32) -> Self {
                let mut narrow = UringCmd16::new(fd, cmd_op);
                narrow.0.as_raw_mut().opcode = Self::CODE;
                Self(narrow, [0; 64])
            }

            /// The arguments.
            #[inline]
            pub fn cmd(mut self, cmd: [u8; 80]) -> Self {
                let (first, rest) = (cmd.first_chunk(), cmd.last_chunk());
                if let (Some(first), Some(rest)) = (first, rest) {
                    self.0 = self.0.cmd(*first);
                    self.1 = *rest;
                }
                self
            }

            /// The registered buffer that the command uses, as with [`UringCmd16::buf_index`].
            #[inline]
            pub fn buf_index(mut self, buf_index: Option<u16>) -> Self {
                self.0 = self.0.buf_index(buf_index);
                self
            }

            /// The address that the command is given, as with [`UringCmd16::addr`].
            #[inline]
            pub fn addr(mut self, addr: Option<u64>) -> Self {
                self.0 = self.0.addr(addr);
                self
            }

            /// The length that the command is given, as with [`UringCmd16::len`].
            #[inline]
            pub fn len(mut self, len: u32) -> Self {
                self.0 = self.0.len(len);
                self
            }

            /// Complete again and again, as with [`UringCmd16::multishot`].
            #[inline]
            pub fn multishot(mut self, buf_group: u16) -> Self {
                self.0 = self.0.multishot(buf_group);
                self
            }

            /// The entry, ready to be pushed.
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

    /// The first of two numbers in a word, and both.
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

    /// The 80 bytes are one after the other, across the two parts of the entry.
    #[test]
    fn a_big_command_has_its_bytes_in_order() {
        let cmd = core::array::from_fn(|n| n as u8);
        let (sqe, rest) = UringCmd80::new(Fd(3), 5).cmd(cmd).build().into_raw();
        assert_eq!(sqe.addr3.to_ne_bytes(), cmd[..8]);
        assert_eq!(sqe.pad2.to_ne_bytes(), cmd[8..16]);
        assert_eq!(rest, cmd[16..]);
    }
}
