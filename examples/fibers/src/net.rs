//! TCP, blocking as std's is: the fiber, and not the thread.

use std::io::{self, Read, Write};
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::{iter, ptr};

use rustix_uring::types::{
    AddressFamily, MsgFlags, Shutdown, SocketAddrAny, SocketFlags, SocketType,
};
use rustix_uring::{opcode, sys};

use crate::fiber::is_cancelled;
use crate::scheduler::operate;

/// How many connections wait to be accepted.
const BACKLOG: i32 = 1024;

/// Std's listener owns the descriptor, and knows its address.
pub struct TcpListener(net::TcpListener);

impl TcpListener {
    /// Listens on an address. Since Linux 6.11.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
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
            // SAFETY: socket, value and address are on this stack.
            unsafe { operate(entry) }?;
        }
        Ok(Self(socket.into()))
    }

    /// Returns the address that the listener is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Waits for the next connection.
    pub fn accept(&self) -> io::Result<TcpStream> {
        let accept = opcode::Accept::new(self.0.as_fd(), ptr::null_mut(), ptr::null_mut())
            .flags(SocketFlags::CLOEXEC)
            .build();
        // SAFETY: the listener is borrowed; the completion is an accept's, and nobody else's.
        let socket = unsafe { operate(accept)?.to_fd() }?;
        Ok(TcpStream(socket.into()))
    }

    /// Connections as they come, until the fiber is cancelled.
    pub fn incoming(&self) -> impl Iterator<Item = io::Result<TcpStream>> {
        iter::from_fn(|| match self.accept() {
            Err(_) if is_cancelled() => None,
            accepted => Some(accepted),
        })
    }
}

/// A connection. Shared, it reads and writes as well, so that two fibers can have a half each.
pub struct TcpStream(net::TcpStream);

impl TcpStream {
    /// Connects to a server.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let socket = socket(address)?;
        let address = SocketAddrAny::from(address);
        let connect = opcode::Connect::new(&socket, address.as_ptr(), address.addr_len());
        // SAFETY: socket and address are on this stack.
        unsafe { operate(connect.build()) }?;
        Ok(Self(socket.into()))
    }

    /// One half to read, one to write.
    pub fn split(&self) -> (&Self, &Self) {
        (self, self)
    }

    /// Ends one direction, or both, also for an operation of another fiber's that waits.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        // SAFETY: the stream is borrowed.
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

fn socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = opcode::Socket::new(family, SocketType::STREAM, None).flags(SocketFlags::CLOEXEC);
    // SAFETY: it points to nothing; the completion is a socket's, and nobody else's.
    Ok(unsafe { operate(socket.build())?.to_fd() }?)
}

/// As much of a buffer as one operation takes.
pub(crate) fn length(buf: &[u8]) -> u32 {
    buf.len().min(1 << 30) as u32
}
