//! Methods that create and start an operation in one call, like the methods of rio's ring.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

use crate::operation::{self, Counted};
use crate::scope::{Completion, Scope};

impl<'scope> Scope<'scope, '_> {
    /// Starts a [read](operation::read_at).
    pub fn read_at<F, B>(&'scope self, file: F, buf: B, at: u64) -> Completion<'scope, Counted<B>>
    where
        F: AsFd + Send + 'scope,
        B: AsMut<[u8]> + Send + 'scope,
    {
        self.start(operation::read_at(file, buf, at))
    }

    /// Starts a [write](operation::write_at).
    pub fn write_at<F, B>(&'scope self, file: F, buf: B, at: u64) -> Completion<'scope, Counted<B>>
    where
        F: AsFd + Send + 'scope,
        B: AsRef<[u8]> + Send + 'scope,
    {
        self.start(operation::write_at(file, buf, at))
    }

    /// Starts an [`fsync`](operation::fsync) of a file.
    pub fn fsync<F>(&'scope self, file: F) -> Completion<'scope, io::Result<()>>
    where
        F: AsFd + Send + 'scope,
    {
        self.start(operation::fsync(file))
    }

    /// Starts a [receive](operation::recv).
    pub fn recv<F, B>(&'scope self, socket: F, buf: B) -> Completion<'scope, Counted<B>>
    where
        F: AsFd + Send + 'scope,
        B: AsMut<[u8]> + Send + 'scope,
    {
        self.start(operation::recv(socket, buf))
    }

    /// Starts a [send](operation::send).
    pub fn send<F, B>(&'scope self, socket: F, buf: B) -> Completion<'scope, Counted<B>>
    where
        F: AsFd + Send + 'scope,
        B: AsRef<[u8]> + Send + 'scope,
    {
        self.start(operation::send(socket, buf))
    }

    /// Starts an [accept](operation::accept) of a connection.
    pub fn accept<F>(
        &'scope self,
        listener: F,
    ) -> Completion<'scope, io::Result<(TcpStream, SocketAddr)>>
    where
        F: AsFd + Send + 'scope,
    {
        self.start(operation::accept(listener))
    }

    /// Starts a [connect](operation::connect) of a socket.
    pub fn connect<F>(
        &'scope self,
        socket: F,
        address: SocketAddr,
    ) -> Completion<'scope, (io::Result<()>, F)>
    where
        F: AsFd + Send + 'scope,
    {
        self.start(operation::connect(socket, address))
    }
}
