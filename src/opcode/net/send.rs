//! Operations that send on sockets.

use core::ptr;

use super::operations;
use crate::types::{
    MsgFlags, MsgHdr, RecvSendFlags, SocketAddrLen, SocketAddrStorage, Target, iovec,
};

operations! {
    /// Sends data on a socket, like [`send(2)`] or [`sendto(2)`].
    ///
    /// [`send(2)`]: https://man7.org/linux/man-pages/man2/send.2.html
    /// [`sendto(2)`]: https://man7.org/linux/man-pages/man2/send.2.html
    ///
    /// - **Result:** bytes sent, which may be fewer than `len` unless [`MsgFlags::WAITALL`] is set
    /// - **CQE flags:** [`buffer_select`](crate::cqueue::Entry::buffer_select) with a provided
    ///   buffer
    /// - **Memory:** `buf` until *completion*
    Send = "IORING_OP_SEND" since "5.6",
    new(fd: impl Target => fd, buf: *const u8 => addr, len: u32 => len)
    {
        /// Adds flags that control how the ring sends.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
        /// Sets the flags of the system call.
        flags: impl Into<MsgFlags> => msg_flags,
        /// Sets the destination, together with [`dest_addr_len`](Self::dest_addr_len). The address
        /// must stay valid until *submit*. Since Linux 6.0.
        dest_addr: *const SocketAddrStorage => addr2,
        /// Sets the length of [`dest_addr`](Self::dest_addr).
        dest_addr_len: SocketAddrLen => addr_len,
        /// Sends this array of `len` buffers instead of `buf`, which may be null. The array must
        /// stay valid until *submit*. Since Linux 6.17.
        vectorized: *const iovec => vectorized,
        /// Uses a provided buffer of this group, and sets
        /// [`Flags::BUFFER_SELECT`](crate::squeue::Flags::BUFFER_SELECT). The kernel then
        /// ignores `buf`, which may be null. Since Linux 6.10.
        buf_group: u16 => select_buffer,
        /// Sets the index of the registered buffer that contains the memory at `buf`. Since Linux 7.2.
        buf_index: Option<u16> => recvsend_buffer,
    }

    /// Sends the contents of all provided buffers in a group, like [`send(2)`].
    ///
    /// The kernel takes up to 256 buffers of the group at a time, and posts a completion for each
    /// batch. Every buffer that it takes is consumed, even if the send fails or is short. In that
    /// case the last completion does not tell which buffers were consumed; use
    /// [`BufTracker::taken_segments`](crate::BufTracker::taken_segments).
    ///
    /// [`send(2)`]: https://man7.org/linux/man-pages/man2/send.2.html
    ///
    /// - **Result:** bytes sent, from as many consecutive buffers as they fill; -ENOBUFS if the
    ///   group is empty
    /// - **CQE flags:** [`buffer_select`](crate::cqueue::Entry::buffer_select), the first buffer;
    ///   [`more`](crate::cqueue::Entry::more) until the last
    /// - **Needs:** a group of provided buffers; to send more than one at a time, a
    ///   [`BufRing`](crate::BufRing)
    #[doc(alias = "IORING_RECVSEND_BUNDLE")]
    SendBundle = "IORING_OP_SEND" since "6.10",
    new(fd: impl Target => fd, buf_group: u16 => select_buffer; recvsend_flags(RecvSendFlags::BUNDLE))
    {
        /// Sets the flags of the system call.
        flags: impl Into<MsgFlags> => msg_flags,
        /// Sets how many bytes the first completion covers at most. 0, the default, means no limit.
        ///
        /// **This does not limit the total.** After the first completion, the operation continues
        /// with everything else in the group, in further completions. With a plain ring, the first
        /// completion covers whole buffers only. If `len` is less than the first buffer, it covers
        /// `len` bytes, and the rest of that buffer is not sent. With an
        /// [incremental](crate::BufRingFlags::INC) ring, it covers exactly `len` bytes, and no byte
        /// is skipped. To limit the total, add no more buffers than you want to send.
        len: u32 => len,
        /// Adds flags that control how the ring sends.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
    }

    /// Sends without copying the data, like [`send(2)`] or [`sendto(2)`].
    ///
    /// The operation completes twice: first with the result, and then with a notification, when the
    /// kernel no longer needs the memory. The notification can arrive much later, because the peer
    /// must acknowledge the data first. If the operation fails, there may be no notification;
    /// [`more`](crate::cqueue::Entry::more) of the first completion tells.
    ///
    /// [`send(2)`]: https://man7.org/linux/man-pages/man2/send.2.html
    /// [`sendto(2)`]: https://man7.org/linux/man-pages/man2/send.2.html
    ///
    /// - **Result:** bytes sent, which may be fewer than `len` unless [`MsgFlags::WAITALL`] is set;
    ///   in the notification 0, or what [`RecvSendFlags::ZC_REPORT_USAGE`] requests
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) if a notification follows;
    ///   [`notif`](crate::cqueue::Entry::notif) in the notification
    /// - **Memory:** `buf` until *notification*
    SendZc = "IORING_OP_SEND_ZC" since "6.0",
    new(fd: impl Target => fd, buf: *const u8 => addr, len: u32 => len)
    {
        /// Sets the index of the registered buffer that contains the memory at `buf`.
        buf_index: Option<u16> => recvsend_buffer,
        /// Sets the destination, together with [`dest_addr_len`](Self::dest_addr_len). The address
        /// must stay valid until *submit*.
        dest_addr: *const SocketAddrStorage => addr2,
        /// Sets the length of [`dest_addr`](Self::dest_addr).
        dest_addr_len: SocketAddrLen => addr_len,
        /// Sets the flags of the system call.
        flags: impl Into<MsgFlags> => msg_flags,
        /// Adds flags that control how the ring sends.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
        /// Sends this array of `len` buffers, as with [`Send::vectorized`]. Since Linux 6.17; with
        /// a registered buffer since 7.1.
        vectorized: *const iovec => vectorized,
        /// Sets the user data of the notification. 0, the default, means that of the entry. Since
        /// Linux 7.1; -EINVAL before.
        notif_user_data: u64 => notif_user_data,
    }

    /// Sends a message, like [`sendmsg(2)`].
    ///
    /// [`sendmsg(2)`]: https://man7.org/linux/man-pages/man2/sendmsg.2.html
    ///
    /// - **Result:** bytes sent, which may be fewer than the message has unless
    ///   [`MsgFlags::WAITALL`] is set
    /// - **Memory:** `msg`, its address, control messages and array of buffers until *submit*; the
    ///   buffers until *completion*
    SendMsg = "IORING_OP_SENDMSG" since "5.3",
    new(fd: impl Target => fd, msg: *const MsgHdr => addr; len(1))
    {
        /// Adds flags that control how the ring sends.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
        /// Sets the flags of the system call.
        flags: impl Into<MsgFlags> => msg_flags,
    }

    /// Sends a message without copying the data, like [`sendmsg(2)`].
    ///
    /// The operation completes twice, as [`SendZc`] does.
    ///
    /// [`sendmsg(2)`]: https://man7.org/linux/man-pages/man2/sendmsg.2.html
    ///
    /// - **Result:** bytes sent, then a notification, as with [`SendZc`]
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) if a notification follows;
    ///   [`notif`](crate::cqueue::Entry::notif) in the notification
    /// - **Memory:** `msg`, its address, control messages and array of buffers until *submit*; the
    ///   buffers until *notification*
    SendMsgZc = "IORING_OP_SENDMSG_ZC" since "6.1",
    new(fd: impl Target => fd, msg: *const MsgHdr => addr; len(1))
    {
        /// Adds flags that control how the ring sends.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
        /// Sets the flags of the system call.
        flags: impl Into<MsgFlags> => msg_flags,
        /// Sets the index of the registered buffer that contains all buffers. Since Linux 6.15.
        buf_index: Option<u16> => recvsend_buffer,
        /// Sets the user data of the notification, as with [`SendZc::notif_user_data`].
        notif_user_data: u64 => notif_user_data,
    }
}

impl Send {
    /// Creates a send from a provided buffer of this group, of at most `len` bytes. Since Linux
    /// 6.10.
    ///
    /// Equivalent to [`new`](Self::new) with a null pointer, followed by
    /// [`buf_group`](Self::buf_group).
    #[inline]
    pub fn provided(fd: impl Target, buf_group: u16, len: u32) -> Self {
        Self::new(fd, ptr::null(), len).buf_group(buf_group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::tests::{at, entries};
    use crate::squeue::Sqe;
    use crate::types::{Fd, Fixed};

    /// The first two of four bytes.
    const ADDR_LEN_16: u32 = if cfg!(target_endian = "little") { 16 } else { 16 << 16 };

    entries! {
        send: Send::new(Fd(3), at(0x1000), 64).recvsend_flags(RecvSendFlags::POLL_FIRST)
            .flags(MsgFlags::MORE).dest_addr(at(0x2000)).dest_addr_len(16)
            => { opcode: 26, ioprio: 1, fd: 3, addr: 0x1000, len: 64, op_flags: 0x8000,
               off: 0x2000, file_index: ADDR_LEN_16 };
        send_vectorized: Send::new(Fd(3), at(0), 2).vectorized(at(0x1000))
            .recvsend_flags(RecvSendFlags::POLL_FIRST)
            => { opcode: 26, ioprio: 33, fd: 3, addr: 0x1000, len: 2 };
        send_from_a_registered_buffer: Send::new(Fd(3), at(0x1000), 64).buf_index(Some(7))
            => { opcode: 26, ioprio: 4, fd: 3, addr: 0x1000, len: 64, buf_index: 7 };
        send_bundle: SendBundle::new(Fd(3), 7).flags(MsgFlags::WAITALL).len(64)
            .recvsend_flags(RecvSendFlags::POLL_FIRST)
            => { opcode: 26, flags: 1 << 5, ioprio: 17, fd: 3, len: 64, op_flags: 0x100,
               buf_index: 7 };
        send_zc: SendZc::new(Fd(3), at(0x1000), 64).buf_index(Some(7)).dest_addr(at(0x2000))
            .dest_addr_len(16).flags(MsgFlags::WAITALL)
            .recvsend_flags(RecvSendFlags::ZC_REPORT_USAGE).notif_user_data(9)
            => { opcode: 47, ioprio: 12, fd: 3, addr: 0x1000, len: 64, off: 0x2000,
               file_index: ADDR_LEN_16, op_flags: 0x100, buf_index: 7, addr3: 9 };
        send_zc_vectorized: SendZc::new(Fd(3), at(0), 2).vectorized(at(0x1000))
            => { opcode: 47, ioprio: 32, fd: 3, addr: 0x1000, len: 2 };
        send_msg: SendMsg::new(Fixed(3), at(0x1000)).recvsend_flags(RecvSendFlags::POLL_FIRST)
            .flags(MsgFlags::EOR)
            => { opcode: 9, flags: 1, ioprio: 1, fd: 3, addr: 0x1000, len: 1, op_flags: 0x80 };
        send_msg_zc: SendMsgZc::new(Fd(3), at(0x1000))
            .recvsend_flags(RecvSendFlags::ZC_REPORT_USAGE).flags(MsgFlags::EOR).buf_index(Some(7))
            .notif_user_data(9)
            => { opcode: 48, ioprio: 12, fd: 3, addr: 0x1000, len: 1, op_flags: 0x80, buf_index: 7,
               addr3: 9 };
    }

    #[test]
    fn send_from_a_group() {
        let entry = Send::provided(Fd(3), 7, 64).build();
        let sqe = Sqe { opcode: 26, flags: 1 << 5, fd: 3, len: 64, buf_index: 7, ..Sqe::ZERO };
        assert_eq!(entry.into_raw(), sqe);
        assert_eq!(Send::new(Fd(3), at(0), 64).buf_group(7).build(), entry);
    }
}
