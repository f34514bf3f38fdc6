//! Sockets: listeners, streams and datagram sockets.

use std::io;
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix_uring::types::{
    MsgFlags, Shutdown, SocketAddrAny, SocketAddrBuf, SocketFlags, SocketType,
};
use rustix_uring::{Errno, opcode};

use crate::buf::{Fixed, Part};
use crate::fd::{Fd, made};
use crate::ring::Ring;

/// A socket that accepts connections.
pub struct TcpListener(Fd);

impl TcpListener {
    /// Listens on an address.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::new(net::TcpListener::bind(address)?))
    }

    /// Wraps a listener that is already bound.
    pub fn new(listener: net::TcpListener) -> Self {
        Self(Fd::new(listener))
    }

    /// Returns the address that the listener is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        net::TcpListener::from(self.0.fd.try_clone()?).local_addr()
    }

    /// Accepts a connection.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let entry = |(fd, peer): &mut (Rc<OwnedFd>, SocketAddrBuf)| {
            let (addr, addrlen) = peer.as_mut_ptrs();
            opcode::Accept::new(fd.as_fd(), addr, addrlen).flags(SocketFlags::CLOEXEC).build()
        };
        let done = |(_, peer): (_, SocketAddrBuf), result| {
            // SAFETY: an accept creates a descriptor, and no other code takes it.
            Ok((unsafe { made(result) }?, peer.to_socket_addr().ok_or(Errno::AFNOSUPPORT)?))
        };
        let Fd { ring, fd } = &self.0;
        // SAFETY: the operation holds the descriptor and the buffer for the address.
        let accepted: io::Result<_> =
            unsafe { ring.start((fd.clone(), SocketAddrBuf::new()), entry, done).await };
        let (stream, peer) = accepted?;
        Ok((TcpStream(Fd::new(stream)), peer))
    }
}

/// A connection.
///
/// Reads and writes may be short, like the system calls. A read of 0 bytes means the end of the stream.
pub struct TcpStream(Fd);

impl TcpStream {
    /// Wraps an existing connection. It can come from tokio: a non-blocking socket works as well.
    pub fn new(stream: net::TcpStream) -> Self {
        Self(Fd::new(stream))
    }

    /// Connects to an address. Requires Linux 5.19.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let address = SocketAddrAny::from(address);
        let socket = opcode::Socket::new(address.address_family(), SocketType::STREAM, None);
        let socket = socket.flags(SocketFlags::CLOEXEC).build();
        let ring = Ring::current();
        // SAFETY: the entry points to no memory. A socket operation creates a descriptor, which only `made`
        // takes.
        let socket = unsafe { ring.start((), |()| socket, |(), result| made(result)).await }?;
        let stream = Self(Fd::new(socket));
        stream.0.connect(address).await?;
        Ok(stream)
    }

    /// Receives at most the length of the buffer.
    pub async fn read<B: AsMut<[u8]> + 'static>(&self, buf: B) -> (io::Result<usize>, B) {
        self.0.fill(buf, |fd, to, len| opcode::Recv::new(fd, to, len).build()).await
    }

    /// Receives into several buffers, one after the other.
    pub async fn readv<B>(&self, bufs: Vec<B>) -> (io::Result<usize>, Vec<B>)
    where
        B: AsMut<[u8]> + 'static,
    {
        self.0.readv(bufs, 0).await
    }

    /// Receives into a registered buffer.
    pub async fn read_fixed<B: Fixed>(&self, buf: B) -> (io::Result<usize>, B) {
        self.0.read_fixed(buf, 0).await
    }

    /// Sends at most the length of the buffer.
    pub async fn write<B: AsRef<[u8]> + 'static>(&self, buf: B) -> (io::Result<usize>, B) {
        self.0.send(buf).await
    }

    /// Sends several buffers, one after the other.
    pub async fn writev<B>(&self, bufs: Vec<B>) -> (io::Result<usize>, Vec<B>)
    where
        B: AsRef<[u8]> + 'static,
    {
        self.0.writev(bufs, 0).await
    }

    /// Sends from a registered buffer.
    pub async fn write_fixed<B: Fixed>(&self, buf: B) -> (io::Result<usize>, B) {
        self.0.write_fixed(buf, 0).await
    }

    /// Sends all of a buffer.
    pub async fn write_all<B>(&self, buf: B) -> (io::Result<()>, B)
    where
        B: AsRef<[u8]> + 'static,
    {
        let len = buf.as_ref().len();
        let mut rest = Part::new(buf, 0..len);
        while !rest.range.is_empty() {
            let (written, back) = self.write(rest).await;
            rest = back;
            match written {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), rest.whole),
                Ok(n) => rest.range.start += n,
                Err(error) => return (Err(error), rest.whole),
            }
        }
        (Ok(()), rest.whole)
    }

    /// Shuts down one direction or both. Requires Linux 5.11.
    pub async fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.act(|fd| opcode::Shutdown::new(fd, how).build()).await.map(drop)
    }

    /// Closes the connection, like [`File::close`](crate::fs::File::close).
    pub async fn close(self) -> io::Result<()> {
        self.0.close().await
    }
}

/// A datagram socket. It sends and receives each datagram as a whole. If a datagram does not fit in the
/// buffer, the rest of it is lost.
pub struct UdpSocket(Fd);

impl UdpSocket {
    /// Binds a socket to an address.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::new(net::UdpSocket::bind(address)?))
    }

    /// Wraps a socket that is already bound.
    pub fn new(socket: net::UdpSocket) -> Self {
        Self(Fd::new(socket))
    }

    /// Returns the address that the socket is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        net::UdpSocket::from(self.0.fd.try_clone()?).local_addr()
    }

    /// Sets the address to which [`send`](Self::send) sends. The socket then receives only from this address.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<()> {
        self.0.connect(address.into()).await
    }

    /// Receives a datagram, and returns the address of its sender.
    pub async fn recv_from<B>(&self, buf: B) -> (io::Result<(usize, SocketAddr)>, B)
    where
        B: AsMut<[u8]> + 'static,
    {
        self.0.recv_from(buf).await
    }

    /// Sends a datagram to an address.
    pub async fn send_to<B>(&self, buf: B, address: SocketAddr) -> (io::Result<usize>, B)
    where
        B: AsRef<[u8]> + 'static,
    {
        self.0.send_to(buf, address).await
    }

    /// Receives a datagram.
    pub async fn recv<B: AsMut<[u8]> + 'static>(&self, buf: B) -> (io::Result<usize>, B) {
        self.0.fill(buf, |fd, to, len| opcode::Recv::new(fd, to, len).build()).await
    }

    /// Sends a datagram to the address that the socket is connected to.
    pub async fn send<B: AsRef<[u8]> + 'static>(&self, buf: B) -> (io::Result<usize>, B) {
        self.0.send(buf).await
    }

    /// Closes the socket, like [`File::close`](crate::fs::File::close).
    pub async fn close(self) -> io::Result<()> {
        self.0.close().await
    }
}

impl Fd {
    async fn send<B: AsRef<[u8]> + 'static>(&self, buf: B) -> (io::Result<usize>, B) {
        let send = |fd: BorrowedFd<'_>, from, len| {
            opcode::Send::new(fd, from, len).flags(MsgFlags::NOSIGNAL).build()
        };
        self.empty(buf, send).await
    }

    async fn connect(&self, address: SocketAddrAny) -> io::Result<()> {
        let entry = |(fd, address): &mut (Rc<OwnedFd>, SocketAddrAny)| {
            opcode::Connect::new(fd.as_fd(), address.as_ptr(), address.addr_len()).build()
        };
        // SAFETY: the operation holds the descriptor and the address.
        unsafe { self.ring.start((self.fd.clone(), address), entry, |_, result| result).await }
            .map(drop)
    }
}
