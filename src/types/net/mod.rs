//! Sockets: flags, addresses, messages.

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
    /// The `MSG_*` flags of [`send(2)`] and [`recv(2)`], and those that come back with a message.
    ///
    /// [`send(2)`]: https://man7.org/linux/man-pages/man2/send.2.html
    /// [`recv(2)`]: https://man7.org/linux/man-pages/man2/recv.2.html
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct MsgFlags: u32 {
        /// Urgent data: send or receive it; received.
        const OOB = sys::MSG_OOB;
        /// Receive, and leave it to be received again.
        const PEEK = sys::MSG_PEEK;
        /// Send to hosts on the same network only.
        const DONTROUTE = sys::MSG_DONTROUTE;
        /// Received: control messages were cut off.
        const CTRUNC = sys::MSG_CTRUNC;
        /// Receive, and get a packet's real length as the result. Received: it was cut off.
        const TRUNC = sys::MSG_TRUNC;
        /// Complete with -EAGAIN where the operation would have to wait.
        const DONTWAIT = sys::MSG_DONTWAIT;
        /// The end of a record.
        const EOR = sys::MSG_EOR;
        /// Go on until all is sent or received; what ends it early fails a chain of links.
        const WAITALL = sys::MSG_WAITALL;
        /// Send, and tell the link layer that the other end is there.
        const CONFIRM = sys::MSG_CONFIRM;
        /// Receive from the error queue; received from there.
        const ERRQUEUE = sys::MSG_ERRQUEUE;
        /// Send, and raise no SIGPIPE. Sends of a ring never do.
        const NOSIGNAL = sys::MSG_NOSIGNAL;
        /// Send, and more is to come.
        const MORE = sys::MSG_MORE;
        /// Receive, and leave the data in the device's memory. Since Linux 6.12.
        const SOCK_DEVMEM = sys::MSG_SOCK_DEVMEM;
        /// Not with the zero-copy operations of a ring, which have no use for it.
        const ZEROCOPY = sys::MSG_ZEROCOPY;
        /// Send along with the connection request.
        const FASTOPEN = sys::MSG_FASTOPEN;
        /// Receive, and have received descriptors closed on `exec`.
        const CMSG_CLOEXEC = sys::MSG_CMSG_CLOEXEC;

        const _ = !0;
    }
}

bitflags! {
    /// How a ring sends and receives: the `IORING_RECVSEND_*` flags and their kin, which sends and
    /// receives have in the `ioprio` word of their entry.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct RecvSendFlags: u16 {
        /// Do not try first: wait until the socket is ready. For where it is known not to be.
        /// Since Linux 5.19.
        const POLL_FIRST = sys::IORING_RECVSEND_POLL_FIRST as u16;
        /// Receive again and again. The builders that end in `Multi` set it.
        /// `IORING_RECV_MULTISHOT`, since Linux 6.0.
        const MULTISHOT = sys::IORING_RECV_MULTISHOT as u16;
        /// The buffer is a registered one. `buf_index` sets it. Since Linux 6.0.
        const FIXED_BUF = sys::IORING_RECVSEND_FIXED_BUF as u16;
        /// Have the notification of a zero-copy send tell whether it was copied
        /// ([`zc_copied`](crate::cqueue::Entry::zc_copied)). `IORING_SEND_ZC_REPORT_USAGE`, since
        /// Linux 6.2.
        const ZC_REPORT_USAGE = sys::IORING_SEND_ZC_REPORT_USAGE as u16;
        /// Use as many provided buffers as there are, and are needed. The builders that end in
        /// `Bundle` set it. Since Linux 6.10.
        const BUNDLE = sys::IORING_RECVSEND_BUNDLE as u16;
        /// The buffer is an array of buffers. `vectorized` sets it. `IORING_SEND_VECTORIZED`,
        /// since Linux 6.17.
        const VECTORIZED = sys::IORING_SEND_VECTORIZED as u16;

        const _ = !0;
    }
}

bitflags! {
    /// How a ring accepts: the `IORING_ACCEPT_*` flags, which accepts have in the `ioprio` word of
    /// their entry.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct AcceptFlags: u16 {
        /// Accept again and again. [`AcceptMulti`](crate::opcode::AcceptMulti) sets it. Since Linux
        /// 5.19.
        const MULTISHOT = sys::IORING_ACCEPT_MULTISHOT as u16;
        /// Complete with -EAGAIN where no connection waits. Since Linux 6.10.
        const DONTWAIT = sys::IORING_ACCEPT_DONTWAIT as u16;
        /// Do not try first: wait until a connection comes. Since Linux 6.10.
        const POLL_FIRST = sys::IORING_ACCEPT_POLL_FIRST as u16;

        const _ = !0;
    }
}

/// A message to send, or where to put one: the kernel's `struct user_msghdr`, as of [`sendmsg(2)`].
///
/// It is not every libc's `struct msghdr`: the two lengths are `usize` here.
///
/// [`sendmsg(2)`]: https://man7.org/linux/man-pages/man2/sendmsg.2.html
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct MsgHdr {
    /// The address to send to, or where to put the sender's; null for none.
    pub msg_name: *mut SocketAddrStorage,
    /// The address's length; how much room there is for it.
    pub msg_namelen: SocketAddrLen,
    /// The buffers.
    pub msg_iov: *mut iovec,
    /// How many buffers.
    pub msg_iovlen: usize,
    /// The control messages, or where to put them; null for none.
    pub msg_control: *mut c_void,
    /// The control messages' length in bytes; how much room there is for them.
    pub msg_controllen: usize,
    /// What came back with a received message.
    pub msg_flags: MsgFlags,
}

impl MsgHdr {
    /// No address, no buffers, no control messages.
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
    fn layout_is_the_kernels() {
        assert_eq!(size_of::<MsgHdr>(), size_of::<msghdr>());
        macro_rules! same {
            ($($field:ident)*) => { $(
                assert_eq!(offset_of!(MsgHdr, $field), offset_of!(msghdr, $field));
            )* };
        }
        same!(msg_name msg_namelen msg_iov msg_iovlen msg_control msg_controllen msg_flags);
    }
}
