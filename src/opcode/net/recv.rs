//! Receiving.

use core::ptr;

use super::operations;
use crate::types::{MsgFlags, MsgHdr, RecvSendFlags, Target};

operations! {
    /// Receives, like [`recv(2)`].
    ///
    /// [`recv(2)`]: https://man7.org/linux/man-pages/man2/recv.2.html
    ///
    /// - **Result:** bytes received, which may be fewer than `len` unless [`MsgFlags::WAITALL`] is
    ///   set; 0 when the other end sends no more; with a provided buffer, -ENOBUFS where the group
    ///   is empty
    /// - **CQE flags:** [`sock_nonempty`](crate::cqueue::Entry::sock_nonempty) where more waits;
    ///   [`buffer_select`](crate::cqueue::Entry::buffer_select) with a provided buffer
    /// - **Memory:** `buf` until *completion*
    Recv = "IORING_OP_RECV" since "5.6",
    new(fd: impl Target => fd, buf: *mut u8 => addr, len: u32 => len)
    {
        /// How the ring receives, beside the flags that are set already.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
        /// How the socket receives.
        flags: impl Into<MsgFlags> => msg_flags,
        /// The group to take a provided buffer from: sets
        /// [`Flags::BUFFER_SELECT`](crate::squeue::Flags::BUFFER_SELECT); `buf` is
        /// ignored then and may be null, `len` still limits.
        buf_group: u16 => select_buffer,
        /// The registered buffer that `buf` and `len` lie in. Since Linux 7.2.
        buf_index: Option<u16> => recvsend_buffer,
    }

    /// Receives whenever there is something, like [`recv(2)`], each time into a provided buffer.
    ///
    /// [`recv(2)`]: https://man7.org/linux/man-pages/man2/recv.2.html
    ///
    /// - **Result:** bytes received, for each completion; 0 when the other end sends no more;
    ///   -ENOBUFS where the group is empty
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) until the last,
    ///   [`buffer_select`](crate::cqueue::Entry::buffer_select),
    ///   [`sock_nonempty`](crate::cqueue::Entry::sock_nonempty) where more waits
    /// - **Needs:** a group of provided buffers
    #[doc(alias = "IORING_RECV_MULTISHOT")]
    RecvMulti = "IORING_OP_RECV" since "6.0",
    new(fd: impl Target => fd, buf_group: u16 => select_buffer; recvsend_flags(RecvSendFlags::MULTISHOT))
    {
        /// How the socket receives; [`MsgFlags::WAITALL`] is -EINVAL.
        flags: impl Into<MsgFlags> => msg_flags,
        /// How many bytes at most with each completion; 0, as if not given, is as many as the
        /// buffer takes. Since Linux 6.17; -EINVAL before.
        len: u32 => len,
        /// After how many bytes in all to stop; 0, as if not given, is never. What belongs to the
        /// last completion is received as well. Since Linux 6.17.
        total_len: u32 => total_len,
        /// How the ring receives, beside the flags that are set already.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
    }

    /// Receives into a group's provided buffers, as many as are needed, like [`recv(2)`].
    ///
    /// [`recv(2)`]: https://man7.org/linux/man-pages/man2/recv.2.html
    ///
    /// - **Result:** bytes received, in as many consecutive buffers as that takes; 0 when the other
    ///   end sends no more; -ENOBUFS where the group is empty; -ENOENT without such a group
    /// - **CQE flags:** [`buffer_select`](crate::cqueue::Entry::buffer_select), the first buffer;
    ///   [`sock_nonempty`](crate::cqueue::Entry::sock_nonempty) where more waits
    /// - **Needs:** a [`BufRing`](crate::BufRing) of provided buffers
    #[doc(alias = "IORING_RECVSEND_BUNDLE")]
    RecvBundle = "IORING_OP_RECV" since "6.10",
    new(fd: impl Target => fd, buf_group: u16 => select_buffer; recvsend_flags(RecvSendFlags::BUNDLE))
    {
        /// How the socket receives.
        flags: impl Into<MsgFlags> => msg_flags,
        /// How the ring receives, beside the flags that are set already.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
    }

    /// Receives whenever there is something, each time into as many provided buffers as it takes,
    /// like [`recv(2)`].
    ///
    /// [`recv(2)`]: https://man7.org/linux/man-pages/man2/recv.2.html
    ///
    /// - **Result:** bytes received, as with [`RecvBundle`], for each completion
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) until the last; the others as with
    ///   [`RecvBundle`]
    /// - **Needs:** a [`BufRing`](crate::BufRing) of provided buffers
    RecvMultiBundle = "IORING_OP_RECV" since "6.10",
    new(
        fd: impl Target => fd, buf_group: u16 => select_buffer;
        recvsend_flags(RecvSendFlags::MULTISHOT.union(RecvSendFlags::BUNDLE))
    )
    {
        /// How the socket receives; [`MsgFlags::WAITALL`] is -EINVAL.
        flags: impl Into<MsgFlags> => msg_flags,
        /// How many bytes at most with each completion, as with [`RecvMulti::len`].
        len: u32 => len,
        /// After how many bytes in all to stop, as with [`RecvMulti::total_len`].
        total_len: u32 => total_len,
        /// How the ring receives, beside the flags that are set already.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
    }

    /// Receives a message, like [`recvmsg(2)`].
    ///
    /// [`recvmsg(2)`]: https://man7.org/linux/man-pages/man2/recvmsg.2.html
    ///
    /// - **Result:** bytes received, as with [`Recv`]; `msg` has the lengths of address and control
    ///   messages, and flags
    /// - **CQE flags:** [`sock_nonempty`](crate::cqueue::Entry::sock_nonempty) where more waits;
    ///   [`buffer_select`](crate::cqueue::Entry::buffer_select) with a provided buffer
    /// - **Memory:** the array of buffers until *submit*; `msg` and all else that it points to until
    ///   *completion*
    RecvMsg = "IORING_OP_RECVMSG" since "5.3",
    new(fd: impl Target => fd, msg: *mut MsgHdr => addr; len(1))
    {
        /// How the ring receives, beside the flags that are set already.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
        /// How the socket receives.
        flags: impl Into<MsgFlags> => msg_flags,
        /// The group to take a provided buffer from: sets
        /// [`Flags::BUFFER_SELECT`](crate::squeue::Flags::BUFFER_SELECT). There is
        /// one buffer in `msg` then, of which the length limits.
        buf_group: u16 => select_buffer,
    }

    /// Receives messages, one after the other, like [`recvmsg(2)`], each into a provided buffer.
    ///
    /// Of `msg`, only how much room there is for address and control messages counts. They are put
    /// into the buffer, before the payload: [`RecvMsgOut`](crate::types::RecvMsgOut) finds its way.
    /// A message without payload is the last one: the operation takes it for the end.
    ///
    /// [`recvmsg(2)`]: https://man7.org/linux/man-pages/man2/recvmsg.2.html
    ///
    /// - **Result:** bytes of the buffer that were filled, for each completion; -ENOBUFS where the
    ///   group is empty
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) until the last,
    ///   [`buffer_select`](crate::cqueue::Entry::buffer_select),
    ///   [`sock_nonempty`](crate::cqueue::Entry::sock_nonempty) where more waits
    /// - **Memory:** `msg` until *submit*
    /// - **Needs:** a group of provided buffers
    #[doc(alias = "IORING_RECV_MULTISHOT")]
    RecvMsgMulti = "IORING_OP_RECVMSG" since "6.0",
    new(
        fd: impl Target => fd, msg: *const MsgHdr => addr, buf_group: u16 => select_buffer;
        len(1), recvsend_flags(RecvSendFlags::MULTISHOT)
    )
    {
        /// How the ring receives, beside the flags that are set already.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
        /// How the socket receives; [`MsgFlags::WAITALL`] is -EINVAL.
        flags: impl Into<MsgFlags> => msg_flags,
    }

    /// Receives whenever there is something, without copying the data out of what the network device
    /// has written to.
    ///
    /// The completion's second half says where the data is ([`Received`](crate::zcrx::Received)).
    /// What it lies in goes back through the queue's refill ring.
    ///
    /// - **Result:** bytes received, for each completion; 0 when the other end sends no more
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) until the last
    /// - **Needs:** a registered [interface queue](crate::zcrx); a ring with deferred task work, whose
    ///   completions have 32 bytes
    RecvZc = "IORING_OP_RECV_ZC" since "6.15",
    new(fd: impl Target => fd, len: u32 => len; recvsend_flags(RecvSendFlags::MULTISHOT))
    {
        /// The interface queue, 0 if not given.
        ifq: u32 => ifq,
        /// How the ring receives, beside the flags that are set already.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
    }
}

impl Recv {
    /// Receives into a buffer of this group, at most `len` bytes: [`new`](Self::new) with a null pointer, and
    /// [`buf_group`](Self::buf_group).
    #[inline]
    pub fn provided(fd: impl Target, buf_group: u16, len: u32) -> Self {
        Self::new(fd, ptr::null_mut(), len).buf_group(buf_group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::tests::{at, entries};
    use crate::squeue::Sqe;
    use crate::types::{Fd, Fixed};

    entries! {
        recv: Recv::new(Fd(3), at(0x1000), 64).recvsend_flags(RecvSendFlags::POLL_FIRST)
            .flags(MsgFlags::PEEK).buf_group(7)
            => { opcode: 27, flags: 1 << 5, ioprio: 1, fd: 3, addr: 0x1000, len: 64, op_flags: 2,
               buf_index: 7 };
        recv_into_a_registered_buffer: Recv::new(Fd(3), at(0x1000), 64).buf_index(Some(7))
            => { opcode: 27, ioprio: 4, fd: 3, addr: 0x1000, len: 64, buf_index: 7 };
        recv_multi: RecvMulti::new(Fd(3), 7).flags(MsgFlags::OOB).len(64).total_len(128)
            .recvsend_flags(RecvSendFlags::POLL_FIRST)
            => { opcode: 27, flags: 1 << 5, ioprio: 3, fd: 3, len: 64, op_flags: 1, buf_index: 7,
               file_index: 128 };
        recv_bundle: RecvBundle::new(Fd(3), 7).flags(MsgFlags::OOB)
            .recvsend_flags(RecvSendFlags::POLL_FIRST)
            => { opcode: 27, flags: 1 << 5, ioprio: 17, fd: 3, op_flags: 1, buf_index: 7 };
        recv_multi_bundle: RecvMultiBundle::new(Fd(3), 7).flags(MsgFlags::OOB).len(64)
            .total_len(128).recvsend_flags(RecvSendFlags::POLL_FIRST)
            => { opcode: 27, flags: 1 << 5, ioprio: 19, fd: 3, len: 64, op_flags: 1, buf_index: 7,
               file_index: 128 };
        recv_msg: RecvMsg::new(Fixed(3), at(0x1000)).recvsend_flags(RecvSendFlags::POLL_FIRST)
            .flags(MsgFlags::ERRQUEUE).buf_group(7)
            => { opcode: 10, flags: 1 << 5 | 1, ioprio: 1, fd: 3, addr: 0x1000, len: 1,
               op_flags: 0x2000, buf_index: 7 };
        recv_msg_multi: RecvMsgMulti::new(Fd(3), at(0x1000), 7)
            .recvsend_flags(RecvSendFlags::POLL_FIRST).flags(MsgFlags::TRUNC)
            => { opcode: 10, flags: 1 << 5, ioprio: 3, fd: 3, addr: 0x1000, len: 1, op_flags: 0x20,
               buf_index: 7 };
        recv_zc: RecvZc::new(Fd(3), 64).ifq(5).recvsend_flags(RecvSendFlags::POLL_FIRST)
            => { opcode: 58, ioprio: 3, fd: 3, len: 64, file_index: 5 };
    }

    #[test]
    fn recv_into_a_group() {
        let entry = Recv::provided(Fd(3), 7, 64).build();
        let sqe = Sqe { opcode: 27, flags: 1 << 5, fd: 3, len: 64, buf_index: 7, ..Sqe::ZERO };
        assert_eq!(entry.into_raw(), sqe);
        assert_eq!(Recv::new(Fd(3), at(0), 64).buf_group(7).build(), entry);
    }
}
