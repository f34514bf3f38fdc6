//! Sockets: creating and connecting them. Sending and receiving are in the submodules.

pub(super) mod recv;
pub(super) mod send;

use super::operations;
use crate::types::{
    AcceptFlags, AddressFamily, DestinationSlot, Protocol, Shutdown as How, SocketAddrLen,
    SocketAddrStorage, SocketFlags, SocketType, Target,
};

pub use recv::*;
pub use send::*;

operations! {
    /// Creates a socket, like [`socket(2)`].
    ///
    /// [`socket(2)`]: https://man7.org/linux/man-pages/man2/socket.2.html
    ///
    /// - **Result:** the new descriptor ([`to_fd`](crate::cqueue::Entry::to_fd)); with a slot, see
    ///   [`DestinationSlot`]
    Socket = "IORING_OP_SOCKET" since "5.19",
    new(
        domain: AddressFamily => domain, socket_type: SocketType => socket_type,
        protocol: Option<Protocol> => protocol
    )
    {
        /// Puts the socket into a slot of the registered file table, without a descriptor.
        file_index: Option<DestinationSlot> => slot,
        /// Sets the flags of the socket. With a slot, `SOCK_CLOEXEC` fails with -EINVAL, because no
        /// process inherits a slot.
        flags: SocketFlags => socket_type_flags,
    }

    /// Binds a socket to an address, like [`bind(2)`].
    ///
    /// [`bind(2)`]: https://man7.org/linux/man-pages/man2/bind.2.html
    ///
    /// - **Result:** 0
    /// - **Memory:** `addr` until *submit*
    Bind = "IORING_OP_BIND" since "6.11",
    new(fd: impl Target => fd, addr: *const SocketAddrStorage => addr, addrlen: SocketAddrLen => addrlen)

    /// Makes a socket listen for connections, like [`listen(2)`].
    ///
    /// [`listen(2)`]: https://man7.org/linux/man-pages/man2/listen.2.html
    ///
    /// - **Result:** 0
    Listen = "IORING_OP_LISTEN" since "6.11",
    new(fd: impl Target => fd, backlog: i32 => backlog)

    /// Accepts a connection, like [`accept4(2)`].
    ///
    /// [`accept4(2)`]: https://man7.org/linux/man-pages/man2/accept.2.html
    ///
    /// - **Result:** the descriptor of the connection ([`to_fd`](crate::cqueue::Entry::to_fd)),
    ///   which you must close even if you have asked to cancel the operation; with a slot, see
    ///   [`DestinationSlot`]
    /// - **CQE flags:** [`sock_nonempty`](crate::cqueue::Entry::sock_nonempty) if more connections
    ///   are waiting, since Linux 6.10
    /// - **Memory:** `addr` and `addrlen` until *completion*; both may be null
    ///   ([`SocketAddrBuf`](crate::types::SocketAddrBuf) contains both)
    Accept = "IORING_OP_ACCEPT" since "5.5",
    new(
        fd: impl Target => fd, addr: *mut SocketAddrStorage => addr,
        addrlen: *mut SocketAddrLen => addr2
    )
    {
        /// Puts the connection into a slot of the registered file table, without a descriptor.
        /// Since Linux 5.15.
        file_index: Option<DestinationSlot> => slot,
        /// Sets the flags of the connection's socket. With a slot, `SOCK_CLOEXEC` fails with
        /// -EINVAL.
        flags: SocketFlags => socket_flags,
        /// Adds flags that control how the ring accepts. Since Linux 6.10.
        accept_flags: impl Into<AcceptFlags> => accept_flags,
    }

    /// Accepts connections until it is canceled or fails (multishot), like [`accept4(2)`].
    ///
    /// [`accept4(2)`]: https://man7.org/linux/man-pages/man2/accept.2.html
    ///
    /// - **Result:** as with [`Accept`], for each completion
    /// - **CQE flags:** [`more`](crate::cqueue::Entry::more) until the last;
    ///   [`sock_nonempty`](crate::cqueue::Entry::sock_nonempty) as with [`Accept`]
    #[doc(alias = "IORING_ACCEPT_MULTISHOT")]
    AcceptMulti = "IORING_OP_ACCEPT" since "5.19",
    new(fd: impl Target => fd; accept_flags(AcceptFlags::MULTISHOT))
    {
        /// Sets whether to put connections into free slots of the registered file table, without
        /// descriptors ([`to_fixed`](crate::cqueue::Entry::to_fixed)).
        allocate_file_index: bool => auto_slot,
        /// Sets the flags of the connections' sockets. With slots, `SOCK_CLOEXEC` fails with
        /// -EINVAL.
        flags: SocketFlags => socket_flags,
        /// Adds flags that control how the ring accepts. Since Linux 6.10.
        accept_flags: impl Into<AcceptFlags> => accept_flags,
    }

    /// Connects a socket, like [`connect(2)`].
    ///
    /// [`connect(2)`]: https://man7.org/linux/man-pages/man2/connect.2.html
    ///
    /// - **Result:** 0
    /// - **Memory:** `addr` until *submit*
    Connect = "IORING_OP_CONNECT" since "5.5",
    new(fd: impl Target => fd, addr: *const SocketAddrStorage => addr, addrlen: SocketAddrLen => addrlen)

    /// Shuts down one or both directions of a connection, like [`shutdown(2)`].
    ///
    /// [`shutdown(2)`]: https://man7.org/linux/man-pages/man2/shutdown.2.html
    ///
    /// - **Result:** 0
    Shutdown = "IORING_OP_SHUTDOWN" since "5.11",
    new(fd: impl Target => fd, how: How => how)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::tests::{at, entries};
    use crate::types::{Fd, Fixed};
    use rustix::net::ipproto::UDP;

    entries! {
        socket: Socket::new(AddressFamily::INET6, SocketType::DGRAM, Some(UDP))
            .flags(SocketFlags::NONBLOCK).file_index(Some(DestinationSlot::auto_target()))
            => { opcode: 45, fd: 10, off: u64::from(2 | SocketFlags::NONBLOCK.bits()), len: 17,
               file_index: u32::MAX };
        socket_of_the_usual_protocol: Socket::new(AddressFamily::UNIX, SocketType::STREAM, None)
            => { opcode: 45, fd: 1, off: 1 };
        bind: Bind::new(Fd(3), at(0x1000), 16) => { opcode: 56, fd: 3, addr: 0x1000, off: 16 };
        listen: Listen::new(Fixed(3), 16) => { opcode: 57, flags: 1, fd: 3, len: 16 };
        accept: Accept::new(Fd(3), at(0x1000), at(0x2000))
            .file_index(DestinationSlot::try_from_slot_target(6).ok()).flags(SocketFlags::NONBLOCK)
            .accept_flags(AcceptFlags::DONTWAIT)
            => { opcode: 13, ioprio: 2, fd: 3, addr: 0x1000, off: 0x2000, file_index: 7,
               op_flags: SocketFlags::NONBLOCK.bits() };
        accept_multi: AcceptMulti::new(Fd(3)).allocate_file_index(true)
            .flags(SocketFlags::NONBLOCK).accept_flags(AcceptFlags::POLL_FIRST)
            => { opcode: 13, ioprio: 5, fd: 3, file_index: u32::MAX,
               op_flags: SocketFlags::NONBLOCK.bits() };
        connect: Connect::new(Fd(3), at(0x1000), 16)
            => { opcode: 16, fd: 3, addr: 0x1000, off: 16 };
        shutdown: Shutdown::new(Fd(3), How::Both) => { opcode: 34, fd: 3, len: 2 };
    }
}
