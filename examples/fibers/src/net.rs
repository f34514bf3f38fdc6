//! TCP with the methods of std, which block only the fiber instead of the thread.

use std::io::{self, Read, Write};
use std::net::{self, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};

use rustix_uring::types::{
    AddressFamily, MsgFlags, Shutdown, SocketAddrAny, SocketAddrBuf, SocketFlags, SocketType,
};
use rustix_uring::{opcode, sys};

use crate::ring::{operate, operate_regardless};
use crate::scheduler::with;

/// The maximum number of connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A socket that accepts connections.
pub struct TcpListener(net::TcpListener);

impl TcpListener {
    /// Listens on the first of the addresses that can be bound.
    ///
    /// If you pass a host name, std resolves it with the system's resolver, which blocks the thread. Nothing
    /// else here waits, so a cancelled fiber can also bind.
    ///
    /// # Errors
    ///
    /// If there is no address, or if binding fails for all of them: the error of the last one.
    pub fn bind(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        each(addresses, |address| match with(|it| it.listens()) {
            true => Self::bind_by_ring(address),
            // Before Linux 6.11, use the system calls of std. Neither of them waits.
            false => net::TcpListener::bind(address).map(Self),
        })
    }

    fn bind_by_ring(address: SocketAddr) -> io::Result<Self> {
        let socket = socket(address)?;
        let on: u32 = 1;
        let reuse = opcode::SetSockOpt::new(
            &socket,
            sys::SOL_SOCKET,
            sys::SO_REUSEADDR,
            (&raw const on).cast(),
            size_of_val(&on) as u32,
        );
        let address = SocketAddrAny::from(address);
        let bind = opcode::Bind::new(&socket, address.as_ptr(), address.addr_len());
        let listen = opcode::Listen::new(&socket, BACKLOG);
        for entry in [reuse.build(), bind.build(), listen.build()] {
            // SAFETY: `socket`, `on` and `address` live until this function returns.
            unsafe { operate_regardless(entry) }?;
        }
        Ok(Self(socket.into()))
    }

    /// Returns the address that the listener is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Waits for the next connection. Returns it with the address of its peer.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let mut peer = SocketAddrBuf::new();
        let (addr, addrlen) = peer.as_mut_ptrs();
        let accept = opcode::Accept::new(self.0.as_fd(), addr, addrlen).flags(SocketFlags::CLOEXEC);
        // SAFETY: the listener is borrowed, and `peer` is on this stack. An accept creates a descriptor,
        // and no other code takes it from the completion.
        let socket = unsafe { operate(accept.build())?.to_fd() }?;
        let peer = peer.to_socket_addr().expect("the peer of a TCP connection has an address");
        Ok((TcpStream(socket.into()), peer))
    }

    /// Returns the incoming connections, to accept one after the other.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming(self)
    }
}

/// The connections of a listener, returned by [`TcpListener::incoming`].
pub struct Incoming<'a>(&'a TcpListener);

impl Incoming<'_> {
    /// Waits for the next connection. Returns it with the address of its peer.
    ///
    /// This is not an iterator, because there is no last connection.
    ///
    /// # Errors
    ///
    /// Same errors as [`TcpListener::accept`]. If the fiber is cancelled, the error
    /// [is a cancellation](crate::is_cancellation).
    #[expect(clippy::should_implement_trait, reason = "an error ends a loop of `while let Ok`")]
    pub fn next(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept()
    }
}

/// A connection. Two fibers can share it: one reads while the other writes.
pub struct TcpStream(net::TcpStream);

impl TcpStream {
    /// Connects to the first of the addresses that accepts the connection.
    ///
    /// If you pass a host name, std resolves it with the system's resolver, which blocks the thread.
    ///
    /// # Errors
    ///
    /// If there is no address, or if connecting fails for all of them: the error of the last one.
    pub fn connect(addresses: impl ToSocketAddrs) -> io::Result<Self> {
        each(addresses, |address| {
            let socket = socket(address)?;
            let address = SocketAddrAny::from(address);
            let connect = opcode::Connect::new(&socket, address.as_ptr(), address.addr_len());
            // SAFETY: socket and address are on this stack.
            unsafe { operate(connect.build()) }?;
            Ok(Self(socket.into()))
        })
    }

    /// Returns a half to read and a half to write.
    pub fn split(&self) -> (&Self, &Self) {
        (self, self)
    }

    /// Returns the address of the other end.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }

    /// Returns the address of this end.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Shuts down one direction or both. This also ends the waits of other fibers that read or write.
    pub fn shutdown(&self, how: net::Shutdown) -> io::Result<()> {
        let how = match how {
            net::Shutdown::Read => Shutdown::Read,
            net::Shutdown::Write => Shutdown::Write,
            net::Shutdown::Both => Shutdown::Both,
        };
        // SAFETY: the stream is borrowed until this returns.
        unsafe { operate(opcode::Shutdown::new(self.0.as_fd(), how).build()) }?;
        Ok(())
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let receive = opcode::Recv::new(self.0.as_fd(), buf.as_mut_ptr(), length(buf)).build();
        // SAFETY: stream and buffer are borrowed until this returns.
        Ok(unsafe { operate(receive) }?.result() as usize)
    }
}

impl Write for &TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let send = opcode::Send::new(self.0.as_fd(), buf.as_ptr(), length(buf))
            .flags(MsgFlags::NOSIGNAL)
            .build();
        // SAFETY: stream and buffer are borrowed until this returns.
        Ok(unsafe { operate(send) }?.result() as usize)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for TcpStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tries the addresses one after the other until one works.
fn each<T>(
    addresses: impl ToSocketAddrs,
    mut attempt: impl FnMut(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut outcome = Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to use"));
    for address in addresses.to_socket_addrs()? {
        outcome = attempt(address);
        if outcome.is_ok() || outcome.as_ref().is_err_and(crate::is_cancellation) {
            break;
        }
    }
    outcome
}

fn socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = opcode::Socket::new(family, SocketType::STREAM, None).flags(SocketFlags::CLOEXEC);
    // SAFETY: the entry points to no memory. A socket operation creates a descriptor, and no other code
    // takes it from the completion.
    Ok(unsafe { operate_regardless(socket.build())?.to_fd() }?)
}

/// Returns how many bytes of a buffer one operation transfers.
pub(crate) fn length(buf: &[u8]) -> u32 {
    buf.len().min(1 << 30) as u32
}
