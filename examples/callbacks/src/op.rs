//! The operations and their results.
//!
//! An operation owns everything that the kernel uses for it: its file, its buffer, its path. From the
//! start to the completion these stay in the operation's task, where no other code can access them.
//! After the completion, the callback gets the files and buffers back with the result.

use std::borrow::Cow;
use std::ffi::CStr;
use std::mem::{self, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};

use rustix_uring::squeue::Entry;
use rustix_uring::types::{
    AddressFamily, AtFlags, CancelBuilder, Fd, FsyncFlags, Mode, OFlags, PollFlags, SocketAddrAny,
    SocketAddrBuf, SocketFlags, SocketType, SpliceFlags, StatxFlags, TimeoutFlags, Timespec,
};
use rustix_uring::{Errno, cqueue, opcode};

use crate::owned::{Buffer, File, Mailbox, Message, StatBuffer, Vectored};
use crate::pool::TaskId;

/// The position in a file at which to read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// The file's own position, which the operation advances. Use this for pipes and sockets, which
    /// have no offsets.
    File,
    /// This many bytes from the start. The file's own position does not change.
    At(u64),
}

impl Offset {
    #[inline]
    fn bits(self) -> u64 {
        match self {
            Self::File => u64::MAX,
            Self::At(offset) => offset,
        }
    }
}

/// A path: `c"/a/literal".into()`, or a `CString`.
pub type Path = Cow<'static, CStr>;

/// An operation.
#[derive(Debug)]
pub enum Op {
    /// Does nothing.
    Noop,
    /// Waits for this long.
    Timer(Timespec),
    /// Waits until `CLOCK_MONOTONIC` has reached this time.
    TimerAt(Timespec),
    /// Reads into a buffer.
    Read(File, Buffer, Offset),
    /// Writes from a buffer.
    Write(File, Buffer, Offset),
    /// Reads into several buffers.
    Readv(File, Vectored, Offset),
    /// Writes from several buffers.
    Writev(File, Vectored, Offset),
    /// Opens a file, close-on-exec.
    Open(Path, OFlags, Mode),
    /// Closes a descriptor.
    Close(OwnedFd),
    /// Flushes written data to the device.
    Fsync(File, FsyncFlags),
    /// Reads the metadata of a file. Follows a symbolic link.
    Stat(Path, StatBuffer),
    /// Reads the metadata of a file, or of a symbolic link itself.
    Lstat(Path, StatBuffer),
    /// Creates a socket, close-on-exec.
    Socket(AddressFamily, SocketType),
    /// Connects a socket.
    Connect(File, SocketAddr),
    /// Accepts a connection on a listening socket.
    Accept(File),
    /// Receives from a socket.
    Recv(File, Buffer),
    /// Sends on a connected socket.
    Send(File, Buffer),
    /// Waits until one of these events occurs on the file.
    Poll(File, PollFlags),
    /// Moves up to this many bytes from the first file to the second. One of them must be a pipe; the
    /// other is read or written at its own position.
    Splice(File, File, u32),
    /// Cancels one operation.
    Cancel(TaskId),
    /// Cancels every operation that is in flight on this ring.
    CancelAll,
    /// Sends a message to another ring.
    MsgRing(Mailbox, Message),
}

/// The result of an operation, and the files and buffers that it owned.
#[derive(Debug)]
pub enum OpResult {
    /// The result of [`Op::Noop`].
    Noop(Result<(), Errno>),
    /// The result of [`Op::Timer`] and [`Op::TimerAt`]: `Ok` if the timer expired.
    Timer(Result<(), Errno>),
    /// The result of [`Op::Read`]: the number of bytes read, 0 at the end of the file.
    Read(Result<usize, Errno>, File, Buffer),
    /// The result of [`Op::Write`]: the number of bytes written.
    Write(Result<usize, Errno>, File, Buffer),
    /// The result of [`Op::Readv`]: the number of bytes read, 0 at the end of the file.
    Readv(Result<usize, Errno>, File, Vectored),
    /// The result of [`Op::Writev`]: the number of bytes written.
    Writev(Result<usize, Errno>, File, Vectored),
    /// The result of [`Op::Open`].
    Open(Result<OwnedFd, Errno>),
    /// The result of [`Op::Close`]. The descriptor is closed even if this is an error.
    Close(Result<(), Errno>),
    /// The result of [`Op::Fsync`].
    Fsync(Result<(), Errno>, File),
    /// The result of [`Op::Stat`] and [`Op::Lstat`].
    Stat(Result<(), Errno>, StatBuffer),
    /// The result of [`Op::Socket`].
    Socket(Result<OwnedFd, Errno>),
    /// The result of [`Op::Connect`].
    Connect(Result<(), Errno>, File),
    /// The result of [`Op::Accept`]: the connection and the address of its peer. The file is the
    /// listening socket.
    Accept(Result<(OwnedFd, Option<SocketAddr>), Errno>, File),
    /// The result of [`Op::Recv`]: the number of bytes received, 0 at the end of the stream.
    Recv(Result<usize, Errno>, File, Buffer),
    /// The result of [`Op::Send`]: the number of bytes sent.
    Send(Result<usize, Errno>, File, Buffer),
    /// The result of [`Op::Poll`]: the events that occurred.
    Poll(Result<PollFlags, Errno>, File),
    /// The result of [`Op::Splice`]: the number of bytes moved.
    Splice(Result<usize, Errno>, File, File),
    /// The result of [`Op::Cancel`] and [`Op::CancelAll`]: the number of operations that the kernel
    /// found. Each of them still completes with its own result, usually `ECANCELED`.
    Cancel(Result<usize, Errno>),
    /// The result of [`Op::MsgRing`].
    MsgRing(Result<(), Errno>),
}

/// What an operation owns and does not return to its callback, and other memory that the kernel needs.
/// Some of it is large. All of it stays in the task.
#[derive(Debug)]
pub(crate) enum Rest {
    Unused,
    Time(Timespec),
    Path(Path),
    Close(OwnedFd),
    Connect(SocketAddrAny),
    Accept(SocketAddrBuf),
    Mailbox(Mailbox),
}

/// The result of an operation that has not completed.
const PENDING: Errno = Errno::INPROGRESS;

/// Moves the values that the callback gets back into the task, and borrows them there.
macro_rules! keep {
    ($over:ident, $Kind:ident($($owned:ident),*)) => {{
        let over = $over.write(OpResult::$Kind(Err(PENDING), $($owned),*));
        let OpResult::$Kind(_, $($owned),*) = over else { unreachable!("it was just written") };
        ($($owned),*)
    }};
}

/// Moves the value that the callback does not get back into the task, and borrows it there.
macro_rules! lay_aside {
    ($rest:ident, $Kind:ident($owned:ident)) => {{
        *$rest = Rest::$Kind($owned);
        let Rest::$Kind($owned) = $rest else { unreachable!("it was just set") };
        $owned
    }};
}

impl Op {
    /// Moves everything that the operation owns into the task: `over` gets what the callback gets back,
    /// and `rest` the other values. Returns the entry for the kernel, which points into both. Do not move
    /// or access either of them until the completion.
    #[inline]
    pub(crate) fn entry(self, over: &mut MaybeUninit<OpResult>, rest: &mut Rest) -> Entry {
        match self {
            Self::Noop => {
                over.write(OpResult::Noop(Err(PENDING)));
                opcode::Nop::new().build()
            }
            Self::Timer(time) => {
                over.write(OpResult::Timer(Err(PENDING)));
                let time = lay_aside!(rest, Time(time));
                opcode::Timeout::new(time).build()
            }
            Self::TimerAt(time) => {
                over.write(OpResult::Timer(Err(PENDING)));
                let time = lay_aside!(rest, Time(time));
                opcode::Timeout::new(time).flags(TimeoutFlags::ABS).build()
            }
            Self::Read(file, buffer, offset) => {
                let (file, buffer) = keep!(over, Read(file, buffer));
                let (buf, len) = buffer.parts();
                opcode::Read::new(file.as_fd(), buf, len).offset(offset.bits()).build()
            }
            Self::Write(file, buffer, offset) => {
                let (file, buffer) = keep!(over, Write(file, buffer));
                let (buf, len) = buffer.parts();
                opcode::Write::new(file.as_fd(), buf, len).offset(offset.bits()).build()
            }
            Self::Readv(file, vectored, offset) => {
                let (file, vectored) = keep!(over, Readv(file, vectored));
                let (iovecs, len) = vectored.parts();
                opcode::Readv::new(file.as_fd(), iovecs, len).offset(offset.bits()).build()
            }
            Self::Writev(file, vectored, offset) => {
                let (file, vectored) = keep!(over, Writev(file, vectored));
                let (iovecs, len) = vectored.parts();
                opcode::Writev::new(file.as_fd(), iovecs, len).offset(offset.bits()).build()
            }
            Self::Open(path, flags, mode) => {
                over.write(OpResult::Open(Err(PENDING)));
                let (path, flags) = (lay_aside!(rest, Path(path)), flags.union(OFlags::CLOEXEC));
                opcode::OpenAt::new(Fd::CWD, path.as_ptr()).flags(flags).mode(mode).build()
            }
            Self::Close(fd) => {
                over.write(OpResult::Close(Err(PENDING)));
                opcode::Close::new(lay_aside!(rest, Close(fd)).as_fd()).build()
            }
            Self::Fsync(file, flags) => {
                let file = keep!(over, Fsync(file));
                opcode::Fsync::new(file.as_fd()).flags(flags).build()
            }
            Self::Stat(path, statx) => {
                let statx = keep!(over, Stat(statx));
                stat(lay_aside!(rest, Path(path)), statx, AtFlags::empty())
            }
            Self::Lstat(path, statx) => {
                let statx = keep!(over, Stat(statx));
                stat(lay_aside!(rest, Path(path)), statx, AtFlags::SYMLINK_NOFOLLOW)
            }
            Self::Socket(domain, socket_type) => {
                over.write(OpResult::Socket(Err(PENDING)));
                opcode::Socket::new(domain, socket_type, None).flags(SocketFlags::CLOEXEC).build()
            }
            Self::Connect(file, to) => {
                let file = keep!(over, Connect(file));
                let to = SocketAddrAny::from(to);
                let to = lay_aside!(rest, Connect(to));
                opcode::Connect::new(file.as_fd(), to.as_ptr(), to.addr_len()).build()
            }
            Self::Accept(file) => {
                let file = keep!(over, Accept(file));
                let peer = SocketAddrBuf::new();
                let (addr, addrlen) = lay_aside!(rest, Accept(peer)).as_mut_ptrs();
                let accept = opcode::Accept::new(file.as_fd(), addr, addrlen);
                accept.flags(SocketFlags::CLOEXEC).build()
            }
            Self::Recv(file, buffer) => {
                let (file, buffer) = keep!(over, Recv(file, buffer));
                let (buf, len) = buffer.parts();
                opcode::Recv::new(file.as_fd(), buf, len).build()
            }
            Self::Send(file, buffer) => {
                let (file, buffer) = keep!(over, Send(file, buffer));
                let (buf, len) = buffer.parts();
                opcode::Send::new(file.as_fd(), buf, len).build()
            }
            Self::Poll(file, flags) => {
                let file = keep!(over, Poll(file));
                opcode::PollAdd::new(file.as_fd(), flags).build()
            }
            Self::Splice(from, to, len) => {
                let (from, to) = keep!(over, Splice(from, to));
                let splice = opcode::Splice::new(from.as_fd(), -1, to.as_fd(), -1, len);
                splice.flags(SpliceFlags::MOVE).build()
            }
            Self::Cancel(task) => {
                // Without `ALL`, the kernel returns 0 if it has found the operation.
                over.write(OpResult::Cancel(Ok(1)));
                opcode::AsyncCancel::new(task.0).build()
            }
            Self::CancelAll => {
                over.write(OpResult::Cancel(Ok(0)));
                opcode::AsyncCancel2::new(CancelBuilder::any().all()).build()
            }
            Self::MsgRing(to, message) => {
                over.write(OpResult::MsgRing(Err(PENDING)));
                let to = lay_aside!(rest, Mailbox(to));
                opcode::MsgRingData::new(&*to.0, message.value, message.user_data(), None).build()
            }
        }
    }
}

impl OpResult {
    /// Sets the result of an operation that has completed. After that, `rest` can be dropped.
    ///
    /// # Safety
    ///
    /// `cqe` is the last completion of this operation, and no other code takes a descriptor from it.
    #[inline]
    pub(crate) unsafe fn set(&mut self, rest: &mut Rest, cqe: &cqueue::Entry) {
        let result = cqe.to_result();
        // SAFETY: called below only for operations that create a descriptor. The caller promises that
        // `cqe` belongs to this operation, and that no other code takes its descriptor.
        let fd = || unsafe { cqe.to_fd() };
        match self {
            Self::Read(count, ..)
            | Self::Write(count, ..)
            | Self::Readv(count, ..)
            | Self::Writev(count, ..)
            | Self::Recv(count, ..)
            | Self::Send(count, ..)
            | Self::Splice(count, ..) => *count = result.map(|count| count as usize),
            Self::Noop(done)
            | Self::Fsync(done, _)
            | Self::Stat(done, _)
            | Self::Connect(done, _)
            | Self::MsgRing(done) => *done = result.map(drop),
            Self::Timer(done) => *done = result.map(drop).or_else(time_is_up),
            Self::Open(made) | Self::Socket(made) => *made = fd(),
            Self::Close(done) => {
                *done = result.map(drop);
                match mem::replace(rest, Rest::Unused) {
                    // The kernel has closed the descriptor, unless the operation was canceled before it
                    // ran. Then the other arm drops the `OwnedFd`, which closes it.
                    Rest::Close(fd) if *done != Err(Errno::CANCELED) => drop(fd.into_raw_fd()),
                    _ => {}
                }
            }
            Self::Accept(made, _) => {
                let Rest::Accept(peer) = rest else { unreachable!("an accept has one") };
                *made = fd().map(|fd| (fd, peer.to_socket_addr()));
            }
            Self::Poll(ready, _) => *ready = cqe.to_poll_flags(),
            Self::Cancel(found) => {
                let one = found.unwrap_or(0);
                *found = result.map(|count| count as usize + one);
            }
        }
    }
}

fn time_is_up(errno: Errno) -> Result<(), Errno> {
    if errno == Errno::TIME { Ok(()) } else { Err(errno) }
}

fn stat(path: &CStr, statx: &mut StatBuffer, flags: AtFlags) -> Entry {
    let statx = opcode::Statx::new(Fd::CWD, path.as_ptr(), statx.as_mut_ptr());
    statx.flags(flags).mask(StatxFlags::BASIC_STATS).build()
}
