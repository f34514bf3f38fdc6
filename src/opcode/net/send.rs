//! Sending.

use core::ptr;

use super::operations;
use crate::types::{
    MsgFlags, MsgHdr, RecvSendFlags, SocketAddrLen, SocketAddrStorage, Target, iovec,
};

operations! {
    /// Sends, like [`send(2)`] or [`sendto(2)`].
    ///
    /// [`send(2)`]: https://man7.org/linux/man-pages/man2/send.2.html
    /// [`sendto(2)`]: https://man7.org/linux/man-pages/man2/send.2.html
    ///
    /// - **Result:** bytes sent, which may be fewer than `len` unless [`MsgFlags::WAITALL`] is set
    /// - **CQE flags:** [`buffer_select`](crate::cqueue::Entry::buffer_select) with a provided buffer
    /// - **Memory:** `buf` until *completion*
    Send = "IORING_OP_SEND" since "5.6",
    new(fd: impl Target => fd, buf: *const u8 => addr, len: u32 => len)
    {
        /// How the ring sends, beside the flags that are set already.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
        /// How the socket sends.
        flags: impl Into<MsgFlags> => msg_flags,
        /// Where to send to, with [`dest_addr_len`](Self::dest_addr_len); it must live until
        /// *submit*. Since Linux 6.0.
        dest_addr: *const SocketAddrStorage => addr2,
        /// The length of [`dest_addr`](Self::dest_addr).
        dest_addr_len: SocketAddrLen => addr_len,
        /// The buffers are these, `len` of them, in place of `buf`, which may be null; the array
        /// must live until *submit*. Since Linux 6.17.
        vectorized: *const iovec => vectorized,
        /// The group to take a provided buffer from: sets
        /// [`Flags::BUFFER_SELECT`](crate::squeue::Flags::BUFFER_SELECT); `buf` is
        /// ignored then and may be null. Since Linux 6.10.
        buf_group: u16 => select_buffer,
        /// The registered buffer that `buf` and `len` lie in. Since Linux 7.2.
        buf_index: Option<u16> => recvsend_buffer,
    }

    /// Sends what is in a group's provided buffers, as many as there are, like [`send(2)`].
    ///
    /// It takes the buffers that the group holds, 256 at a time, with a completion for each time. It
    /// uses up all that it has taken, even if it fails or falls short. The last completion then does
    /// not tell which: [`BufTracker::taken_segments`](crate::BufTracker::taken_segments) does.
    ///
    /// [`send(2)`]: https://man7.org/linux/man-pages/man2/send.2.html
    ///
    /// - **Result:** bytes sent, out of as many consecutive buffers as that takes; -ENOBUFS where
    ///   the group is empty
    /// - **CQE flags:** [`buffer_select`](crate::cqueue::Entry::buffer_select), the first buffer;
    ///   [`more`](crate::cqueue::Entry::more) until the last
    /// - **Needs:** a group of provided buffers, a [`BufRing`](crate::BufRing) if more than one at a
    ///   time is to be sent
    #[doc(alias = "IORING_RECVSEND_BUNDLE")]
    SendBundle = "IORING_OP_SEND" since "6.10",
    new(fd: impl Target => fd, buf_group: u16 => select_buffer; recvsend_flags(RecvSendFlags::BUNDLE))
    {
        /// How the socket sends.
        flags: impl Into<MsgFlags> => msg_flags,
        /// How many bytes to send first; 0, as if not given, sends all at once.
        ///
        /// **This does not limit the total.** The first completion covers at most this many bytes, and
        /// then the operation goes on with everything else in the group, in further completions. From
        /// a plain ring, the first one covers whole buffers only; if `len` is less than the first
        /// buffer, it covers that much, and the rest of that buffer is not sent. From an
        /// [incremental](crate::BufRingFlags::INC) ring it covers just `len` bytes, and no byte is
        /// skipped. To limit the total, add no more buffers than you want to send.
        len: u32 => len,
        /// How the ring sends, beside the flags that are set already.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
    }

    /// Sends without copying the data, like [`send(2)`] or [`sendto(2)`].
    ///
    /// It completes twice: with the result, and with a notification, when the kernel is done with
    /// the memory. That can be long after, as the other end must acknowledge what was sent. A
    /// failure may have no second completion: the first one says.
    ///
    /// [`send(2)`]: https://man7.org/linux/man-pages/man2/send.2.html
    /// [`sendto(2)`]: https://man7.org/linux/man-pages/man2/send.2.html
    ///
    /// - **Result:** bytes sent, which may be fewer than `len` unless [`MsgFlags::WAITALL`] is set;
    ///   of the notification 0, or what [`RecvSendFlags::ZC_REPORT_USAGE`] asks for
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) if a notification follows; that has
    ///   [`notif`](crate::cqueue::Entry::notif)
    /// - **Memory:** `buf` until *notification*
    SendZc = "IORING_OP_SEND_ZC" since "6.0",
    new(fd: impl Target => fd, buf: *const u8 => addr, len: u32 => len)
    {
        /// The registered buffer that `buf` and `len` lie in.
        buf_index: Option<u16> => recvsend_buffer,
        /// Where to send to, with [`dest_addr_len`](Self::dest_addr_len); it must live until
        /// *submit*.
        dest_addr: *const SocketAddrStorage => addr2,
        /// The length of [`dest_addr`](Self::dest_addr).
        dest_addr_len: SocketAddrLen => addr_len,
        /// How the socket sends.
        flags: impl Into<MsgFlags> => msg_flags,
        /// How the ring sends, beside the flags that are set already.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
        /// The buffers are these, `len` of them, as with [`Send::vectorized`]. Since Linux 6.17; of
        /// a registered buffer since 7.1.
        vectorized: *const iovec => vectorized,
        /// The user data of the notification; if 0, as if not given, the entry's own. Since Linux
        /// 7.1; -EINVAL before.
        notif_user_data: u64 => notif_user_data,
    }

    /// Sends a message, like [`sendmsg(2)`].
    ///
    /// [`sendmsg(2)`]: https://man7.org/linux/man-pages/man2/sendmsg.2.html
    ///
    /// - **Result:** bytes sent, which may be fewer than there are unless [`MsgFlags::WAITALL`] is
    ///   set
    /// - **Memory:** `msg`, its address, control messages and array of buffers until *submit*; the
    ///   buffers until *completion*
    SendMsg = "IORING_OP_SENDMSG" since "5.3",
    new(fd: impl Target => fd, msg: *const MsgHdr => addr; len(1))
    {
        /// How the ring sends, beside the flags that are set already.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
        /// How the socket sends.
        flags: impl Into<MsgFlags> => msg_flags,
    }

    /// Sends a message without copying the data, like [`sendmsg(2)`].
    ///
    /// It completes twice, as [`SendZc`] does.
    ///
    /// [`sendmsg(2)`]: https://man7.org/linux/man-pages/man2/sendmsg.2.html
    ///
    /// - **Result:** bytes sent, and of the notification, as with [`SendZc`]
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) if a notification follows; that has
    ///   [`notif`](crate::cqueue::Entry::notif)
    /// - **Memory:** `msg`, its address, control messages and array of buffers until *submit*; the
    ///   buffers until *notification*
    SendMsgZc = "IORING_OP_SENDMSG_ZC" since "6.1",
    new(fd: impl Target => fd, msg: *const MsgHdr => addr; len(1))
    {
        /// How the ring sends, beside the flags that are set already.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
        /// How the socket sends.
        flags: impl Into<MsgFlags> => msg_flags,
        /// The registered buffer that the buffers lie in. Since Linux 6.15.
        buf_index: Option<u16> => recvsend_buffer,
        /// The user data of the notification, as with [`SendZc::notif_user_data`].
        notif_user_data: u64 => notif_user_data,
    }
}

impl Send {
    /// Sends out of a buffer of this group, at most `len` bytes: [`new`](Self::new) with a null pointer, and
    /// [`buf_group`](Self::buf_group). Since Linux 6.10.
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
