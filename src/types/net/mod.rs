//! Arguments of socket operations: flags, addresses, messages.

mod address;
mod control;
mod recvmsg;

use core::ffi::c_void;
use core::ptr;

use bitflags::bitflags;
use rustix::io_uring::iovec;

use crate::sys;

pub use address::{SocketAddrBuf, decode_socket_addr};
pub use control::{ControlMessage, ControlMessages};
pub use recvmsg::{RecvMsgError, RecvMsgOut};
pub use rustix::net::addr::{SocketAddrLen, SocketAddrStorage};
pub use rustix::net::{AddressFamily, Protocol, Shutdown, SocketAddrAny, SocketFlags, SocketType};

bitflags! {
    /// The `MSG_*` flags of [`send(2)`] and [`recv(2)`], and those that are returned with a
    /// message.
    ///
    /// [`send(2)`]: https://man7.org/linux/man-pages/man2/send.2.html
    /// [`recv(2)`]: https://man7.org/linux/man-pages/man2/recv.2.html
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct MsgFlags: u32 {
        /// Request: send or receive urgent data. Returned: the data is urgent.
        const OOB = sys::MSG_OOB;
        /// Receive data without removing it from the queue.
        const PEEK = sys::MSG_PEEK;
        /// Send only to hosts on the same network.
        const DONTROUTE = sys::MSG_DONTROUTE;
        /// Returned: control messages were truncated.
        const CTRUNC = sys::MSG_CTRUNC;
        /// Request: return the real length of a packet as the result. Returned: the packet was
        /// truncated.
        const TRUNC = sys::MSG_TRUNC;
        /// Complete with -EAGAIN if the operation would block.
        const DONTWAIT = sys::MSG_DONTWAIT;
        /// Marks the end of a record.
        const EOR = sys::MSG_EOR;
        /// Continue until everything is sent or received. If the transfer ends early, it breaks a
        /// chain of links.
        const WAITALL = sys::MSG_WAITALL;
        /// Tell the link layer on sending that the peer is reachable.
        const CONFIRM = sys::MSG_CONFIRM;
        /// Request: receive from the error queue. Returned: the data is from the error queue.
        const ERRQUEUE = sys::MSG_ERRQUEUE;
        /// Raise no SIGPIPE on sending. Sends of a ring never raise it.
        const NOSIGNAL = sys::MSG_NOSIGNAL;
        /// Send, and announce that more data will follow.
        const MORE = sys::MSG_MORE;
        /// Receive, and leave the data in the device's memory. Since Linux 6.12.
        const SOCK_DEVMEM = sys::MSG_SOCK_DEVMEM;
        /// Request: send without a copy. The zero-copy operations of a ring do not need this flag: do not
        /// combine them with it.
        const ZEROCOPY = sys::MSG_ZEROCOPY;
        /// Send data with the connection request.
        const FASTOPEN = sys::MSG_FASTOPEN;
        /// Set close-on-exec for received descriptors.
        const CMSG_CLOEXEC = sys::MSG_CMSG_CLOEXEC;

        const _ = !0;
    }
}

bitflags! {
    /// Options for sends and receives of a ring: the `IORING_RECVSEND_*` flags and similar ones,
    /// which are in the `ioprio` field of the entry.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct RecvSendFlags: u16 {
        /// Wait until the socket is ready, without a first attempt. Use this if you know that the
        /// socket is not ready. Since Linux 5.19.
        const POLL_FIRST = sys::IORING_RECVSEND_POLL_FIRST as u16;
        /// Receive repeatedly. The builders whose names end in `Multi` set this flag.
        /// `IORING_RECV_MULTISHOT`, since Linux 6.0.
        const MULTISHOT = sys::IORING_RECV_MULTISHOT as u16;
        /// The buffer is a registered buffer. `buf_index` sets this flag. Since Linux 6.0.
        const FIXED_BUF = sys::IORING_RECVSEND_FIXED_BUF as u16;
        /// Report in the notification of a zero-copy send whether the data was copied
        /// ([`zc_copied`](crate::cqueue::Entry::zc_copied)). `IORING_SEND_ZC_REPORT_USAGE`, since
        /// Linux 6.2.
        const ZC_REPORT_USAGE = sys::IORING_SEND_ZC_REPORT_USAGE as u16;
        /// Use as many provided buffers as are available and needed. The builders whose names end
        /// in `Bundle` set this flag. Since Linux 6.10.
        const BUNDLE = sys::IORING_RECVSEND_BUNDLE as u16;
        /// The buffer is an array of buffers. `vectorized` sets this flag.
        /// `IORING_SEND_VECTORIZED`, since Linux 6.17.
        const VECTORIZED = sys::IORING_SEND_VECTORIZED as u16;

        const _ = !0;
    }
}

bitflags! {
    /// Options of [`Accept`](crate::opcode::Accept) that `accept4(2)` does not have: the
    /// `IORING_ACCEPT_*` flags, which are in the `ioprio` field of the entry.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct AcceptFlags: u16 {
        /// Accept repeatedly. [`AcceptMulti`](crate::opcode::AcceptMulti) sets this flag. Since
        /// Linux 5.19.
        const MULTISHOT = sys::IORING_ACCEPT_MULTISHOT as u16;
        /// Complete with -EAGAIN if no connection is waiting. Since Linux 6.10.
        const DONTWAIT = sys::IORING_ACCEPT_DONTWAIT as u16;
        /// Wait until a connection arrives, without a first attempt. Since Linux 6.10.
        const POLL_FIRST = sys::IORING_ACCEPT_POLL_FIRST as u16;

        const _ = !0;
    }
}

/// A message to send, or the buffers for a received message: the kernel's `struct user_msghdr`, as
/// in [`sendmsg(2)`].
///
/// This differs from the `struct msghdr` of some libcs: both lengths are `usize` here.
///
/// [`sendmsg(2)`]: https://man7.org/linux/man-pages/man2/sendmsg.2.html
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct MsgHdr {
    /// The address to send to, or the buffer for the sender's address. Null for none.
    pub msg_name: *mut SocketAddrStorage,
    /// The length of the address, or the size of its buffer.
    pub msg_namelen: SocketAddrLen,
    /// The data buffers.
    pub msg_iov: *mut iovec,
    /// The number of data buffers.
    pub msg_iovlen: usize,
    /// The control messages, or the buffer for them. Null for none.
    pub msg_control: *mut c_void,
    /// The length of the control messages in bytes, or the size of their buffer.
    pub msg_controllen: usize,
    /// The flags that are returned with a received message.
    pub msg_flags: MsgFlags,
}

impl MsgHdr {
    /// Creates a header without address, buffers, and control messages.
    #[inline]
    pub const fn new() -> Self {
        Self {
            msg_name: ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: ptr::null_mut(),
            msg_iovlen: 0,
            msg_control: ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: MsgFlags::empty(),
        }
    }
}

impl Default for MsgHdr {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;
    use linux_raw_sys::net::msghdr;

    #[test]
    fn layout_is_that_of_the_kernel() {
        assert_eq!(size_of::<MsgHdr>(), size_of::<msghdr>());
        macro_rules! same {
            ($($field:ident)*) => { $(
                assert_eq!(offset_of!(MsgHdr, $field), offset_of!(msghdr, $field));
            )* };
        }
        same!(msg_name msg_namelen msg_iov msg_iovlen msg_control msg_controllen msg_flags);
    }
}
