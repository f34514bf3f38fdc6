//! A method for each operation. All of them call [`Ring::start`], and fail as it does.

#![allow(clippy::result_large_err, reason = "the caller gets the operation back, unboxed")]

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix_uring::Handle;
use rustix_uring::types::{
    AddressFamily, FsyncFlags, Mode, OFlags, PollFlags, SocketType, Timespec,
};

use crate::op::{Offset, Op, Path};
use crate::owned::{Buffer, File, Mailbox, Message, StatBuffer, Vectored};
use crate::pool::TaskId;
use crate::ring::{Context, Refused, Ring};

type Started<U, H> = Result<TaskId, Refused<U, H>>;

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $Type:ty),*) => $op:expr;)*) => {
        /// # Operations
        ///
        /// Each method queues one operation, like [`start`](Ring::start). If all tasks are busy, you get
        /// the operation and the context back.
        impl<U, H: Handle> Ring<U, H> {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                ///
                /// Same errors as [`start`](Ring::start).
                #[inline]
                pub fn $name(&mut self, $($arg: $Type,)* context: Context<U, H>) -> Started<U, H> {
                    self.start($op, context)
                }
            )*
        }
    };
}

methods! {
    /// Does nothing. Use it for tests and benchmarks.
    noop() => Op::Noop;
    /// Waits for this long.
    timer(time: impl Into<Timespec>) => Op::Timer(time.into());
    /// Waits until `CLOCK_MONOTONIC` has reached this time.
    timer_at(time: impl Into<Timespec>) => Op::TimerAt(time.into());
    /// Reads into a buffer.
    read(file: impl Into<File>, buffer: impl Into<Buffer>, offset: Offset)
        => Op::Read(file.into(), buffer.into(), offset);
    /// Writes from a buffer.
    write(file: impl Into<File>, buffer: impl Into<Buffer>, offset: Offset)
        => Op::Write(file.into(), buffer.into(), offset);
    /// Reads into several buffers.
    readv(file: impl Into<File>, buffers: Vectored, offset: Offset)
        => Op::Readv(file.into(), buffers, offset);
    /// Writes from several buffers.
    writev(file: impl Into<File>, buffers: Vectored, offset: Offset)
        => Op::Writev(file.into(), buffers, offset);
    /// Opens a file.
    open(path: impl Into<Path>, flags: OFlags, mode: Mode) => Op::Open(path.into(), flags, mode);
    /// Closes a descriptor.
    close(fd: impl Into<OwnedFd>) => Op::Close(fd.into());
    /// Flushes written data to the device.
    fsync(file: impl Into<File>, flags: FsyncFlags) => Op::Fsync(file.into(), flags);
    /// Reads the metadata of a file. Follows a symbolic link.
    stat(path: impl Into<Path>, buffer: StatBuffer) => Op::Stat(path.into(), buffer);
    /// Reads the metadata of a file, or of a symbolic link itself.
    lstat(path: impl Into<Path>, buffer: StatBuffer) => Op::Lstat(path.into(), buffer);
    /// Creates a socket.
    socket(domain: AddressFamily, socket_type: SocketType) => Op::Socket(domain, socket_type);
    /// Connects a socket.
    connect(socket: impl Into<File>, to: SocketAddr) => Op::Connect(socket.into(), to);
    /// Accepts a connection on a listening socket.
    accept(listener: impl Into<File>) => Op::Accept(listener.into());
    /// Receives from a socket.
    recv(socket: impl Into<File>, buffer: impl Into<Buffer>)
        => Op::Recv(socket.into(), buffer.into());
    /// Sends on a connected socket.
    send(socket: impl Into<File>, buffer: impl Into<Buffer>)
        => Op::Send(socket.into(), buffer.into());
    /// Waits until one of these events occurs on a file.
    poll(file: impl Into<File>, flags: PollFlags) => Op::Poll(file.into(), flags);
    /// Moves up to `len` bytes from one file to another. One of them must be a pipe.
    splice(from: impl Into<File>, to: impl Into<File>, len: u32)
        => Op::Splice(from.into(), to.into(), len);
    /// Cancels an operation.
    cancel(task: TaskId) => Op::Cancel(task);
    /// Cancels every operation that is in flight on this ring.
    cancel_all() => Op::CancelAll;
    /// Sends a message to another ring.
    msg_ring(to: Mailbox, message: Message) => Op::MsgRing(to, message);
}

impl TaskId {
    /// Cancels the operation, like [`Ring::cancel`].
    ///
    /// # Errors
    ///
    /// Same errors as [`Ring::start`].
    pub fn cancel<U, H: Handle>(
        self,
        ring: &mut Ring<U, H>,
        context: Context<U, H>,
    ) -> Started<U, H> {
        ring.cancel(self, context)
    }
}
