//! Operations that receive from sockets.

use core::ptr;

use super::operations;
use crate::types::{MsgFlags, MsgHdr, RecvSendFlags, Target};

operations! {
    /// Receives data from a socket, like [`recv(2)`].
    ///
    /// [`recv(2)`]: https://man7.org/linux/man-pages/man2/recv.2.html
    ///
    /// - **Result:** bytes received, which may be fewer than `len` unless [`MsgFlags::WAITALL`] is
    ///   set; 0 when the peer has stopped sending; with a provided buffer, -ENOBUFS if the group is
    ///   empty
    /// - **CQE flags:** [`sock_nonempty`](crate::cqueue::Entry::sock_nonempty) if more data is
    ///   waiting; [`buffer_select`](crate::cqueue::Entry::buffer_select) with a provided buffer
    /// - **Memory:** `buf` until *completion*
    Recv = "IORING_OP_RECV" since "5.6",
    new(fd: impl Target => fd, buf: *mut u8 => addr, len: u32 => len)
    {
        /// Adds flags that control how the ring receives.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
        /// Sets the flags of the system call.
        flags: impl Into<MsgFlags> => msg_flags,
        /// Uses a provided buffer of this group, and sets
        /// [`Flags::BUFFER_SELECT`](crate::squeue::Flags::BUFFER_SELECT). The kernel then
        /// ignores `buf`, which may be null. `len` still limits the transfer.
        buf_group: u16 => select_buffer,
        /// Sets the index of the registered buffer that contains the memory at `buf`. Since Linux 7.2.
        buf_index: Option<u16> => recvsend_buffer,
    }

    /// Receives whenever data arrives (multishot), each time into a provided buffer, like
    /// [`recv(2)`].
    ///
    /// [`recv(2)`]: https://man7.org/linux/man-pages/man2/recv.2.html
    ///
    /// - **Result:** bytes received, for each completion; 0 when the peer has stopped sending;
    ///   -ENOBUFS if the group is empty
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) until the last,
    ///   [`buffer_select`](crate::cqueue::Entry::buffer_select),
    ///   [`sock_nonempty`](crate::cqueue::Entry::sock_nonempty) if more data is waiting
    /// - **Needs:** a group of provided buffers
    #[doc(alias = "IORING_RECV_MULTISHOT")]
    RecvMulti = "IORING_OP_RECV" since "6.0",
    new(fd: impl Target => fd, buf_group: u16 => select_buffer; recvsend_flags(RecvSendFlags::MULTISHOT))
    {
        /// Sets the flags of the system call. [`MsgFlags::WAITALL`] fails with -EINVAL.
        flags: impl Into<MsgFlags> => msg_flags,
        /// Limits the bytes of each completion. 0, the default, means the size of the buffer. Since
        /// Linux 6.17; -EINVAL before.
        len: u32 => len,
        /// Stops after this many bytes in total. 0, the default, means no limit. The last
        /// completion may exceed the limit, because it is not cut short. Since Linux 6.17.
        total_len: u32 => total_len,
        /// Adds flags that control how the ring receives.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
    }

    /// Receives into as many provided buffers of a group as the data needs, like [`recv(2)`].
    ///
    /// [`recv(2)`]: https://man7.org/linux/man-pages/man2/recv.2.html
    ///
    /// - **Result:** bytes received, in as many consecutive buffers as they need; 0 when the other
    ///   end sends no more; -ENOBUFS if the group is empty; -ENOENT if there is no such group
    /// - **CQE flags:** [`buffer_select`](crate::cqueue::Entry::buffer_select), the first buffer;
    ///   [`sock_nonempty`](crate::cqueue::Entry::sock_nonempty) if more data is waiting
    /// - **Needs:** a [`BufRing`](crate::BufRing) of provided buffers
    #[doc(alias = "IORING_RECVSEND_BUNDLE")]
    RecvBundle = "IORING_OP_RECV" since "6.10",
    new(fd: impl Target => fd, buf_group: u16 => select_buffer; recvsend_flags(RecvSendFlags::BUNDLE))
    {
        /// Sets the flags of the system call.
        flags: impl Into<MsgFlags> => msg_flags,
        /// Adds flags that control how the ring receives.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
    }

    /// Receives whenever data arrives (multishot), each time into as many provided buffers as the
    /// data needs, like [`recv(2)`].
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
        /// Sets the flags of the system call. [`MsgFlags::WAITALL`] fails with -EINVAL.
        flags: impl Into<MsgFlags> => msg_flags,
        /// Limits the bytes of each completion, as with [`RecvMulti::len`].
        len: u32 => len,
        /// Stops after this many bytes in total, as with [`RecvMulti::total_len`].
        total_len: u32 => total_len,
        /// Adds flags that control how the ring receives.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
    }

    /// Receives a message, like [`recvmsg(2)`].
    ///
    /// [`recvmsg(2)`]: https://man7.org/linux/man-pages/man2/recvmsg.2.html
    ///
    /// - **Result:** bytes received, as with [`Recv`]; `msg` then has the lengths of the address
    ///   and of the control messages, and the flags
    /// - **CQE flags:** [`sock_nonempty`](crate::cqueue::Entry::sock_nonempty) if more data is
    ///   waiting; [`buffer_select`](crate::cqueue::Entry::buffer_select) with a provided buffer
    /// - **Memory:** the array of buffers until *submit*; `msg` and everything else that it points
    ///   to until *completion*
    RecvMsg = "IORING_OP_RECVMSG" since "5.3",
    new(fd: impl Target => fd, msg: *mut MsgHdr => addr; len(1))
    {
        /// Adds flags that control how the ring receives.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
        /// Sets the flags of the system call.
        flags: impl Into<MsgFlags> => msg_flags,
        /// Uses a provided buffer of this group, and sets
        /// [`Flags::BUFFER_SELECT`](crate::squeue::Flags::BUFFER_SELECT). `msg` must then
        /// have exactly one buffer, whose length limits the transfer.
        buf_group: u16 => select_buffer,
    }

    /// Receives messages (multishot), each into a provided buffer, like [`recvmsg(2)`].
    ///
    /// From `msg`, the kernel uses only the lengths reserved for the address and the control
    /// messages. It writes both into the provided buffer, before the payload.
    /// [`RecvMsgOut`](crate::types::RecvMsgOut) parses that buffer. A message without payload ends
    /// the operation, because the kernel takes it for the end of the stream.
    ///
    /// [`recvmsg(2)`]: https://man7.org/linux/man-pages/man2/recvmsg.2.html
    ///
    /// - **Result:** bytes written to the buffer, for each completion; -ENOBUFS if the group is
    ///   empty
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) until the last,
    ///   [`buffer_select`](crate::cqueue::Entry::buffer_select),
    ///   [`sock_nonempty`](crate::cqueue::Entry::sock_nonempty) if more data is waiting
    /// - **Memory:** `msg` until *submit*
    /// - **Needs:** a group of provided buffers
    #[doc(alias = "IORING_RECV_MULTISHOT")]
    RecvMsgMulti = "IORING_OP_RECVMSG" since "6.0",
    new(
        fd: impl Target => fd, msg: *const MsgHdr => addr, buf_group: u16 => select_buffer;
        len(1), recvsend_flags(RecvSendFlags::MULTISHOT)
    )
    {
        /// Adds flags that control how the ring receives.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
        /// Sets the flags of the system call. [`MsgFlags::WAITALL`] fails with -EINVAL.
        flags: impl Into<MsgFlags> => msg_flags,
    }

    /// Receives whenever data arrives (multishot), without copying it out of the memory that the
    /// network device has written to.
    ///
    /// The second half of the completion tells where the data is
    /// ([`Received`](crate::zcrx::Received)). Return that memory through the refill ring of the
    /// queue.
    ///
    /// - **Result:** bytes received, for each completion; 0 when the peer has stopped sending
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) until the last
    /// - **Needs:** a registered [interface queue](crate::zcrx); a ring with deferred task work and
    ///   32-byte completions
    RecvZc = "IORING_OP_RECV_ZC" since "6.15",
    new(fd: impl Target => fd, len: u32 => len; recvsend_flags(RecvSendFlags::MULTISHOT))
    {
        /// Sets the interface queue. The default is 0.
        ifq: u32 => ifq,
        /// Adds flags that control how the ring receives.
        recvsend_flags: impl Into<RecvSendFlags> => recvsend_flags,
    }
}

impl Recv {
    /// Creates a receive into a provided buffer of this group, of at most `len` bytes.
    ///
    /// Equivalent to [`new`](Self::new) with a null pointer, followed by
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
