//! What can be done, and what comes of it.
//!
//! An operation owns what the kernel works on: its file, its buffer, its path. While it is under
//! way it stays where it is, in its task, and nobody else can touch it. When it is over,
//! everything comes back with the result.

use std::borrow::Cow;
use std::ffi::CStr;
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

/// Where in a file to read or write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    /// At the file's own position, which moves. For pipes and sockets, which have no other.
    File,
    /// At this many bytes from the start. The file's own position does not move.
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
    /// Makes a socket, close-on-exec.
    Socket(AddressFamily, SocketType),
    /// Connects a socket.
    Connect(File, SocketAddr),
    /// Accepts a connection of a listening socket.
    Accept(File),
    /// Receives from a socket.
    Recv(File, Buffer),
    /// Sends on a connected socket.
    Send(File, Buffer),
    /// Waits until the file is ready for one of these.
    Poll(File, PollFlags),
    /// Moves up to this many bytes from the first file to the second. One of them must be a pipe; the
    /// other is read or written at its own position.
    Splice(File, File, u32),
    /// Cancels one operation.
    Cancel(TaskId),
    /// Cancels every operation that the kernel has.
    CancelAll,
    /// Sends a message to another ring.
    MsgRing(Mailbox, Message),
}

/// What came of an operation, and what it owned.
#[derive(Debug)]
pub enum OpResult {
    /// Of [`Op::Noop`].
    Noop(Result<(), Errno>),
    /// Of [`Op::Timer`] and [`Op::TimerAt`]: `Ok` when the time is up.
    Timer(Result<(), Errno>),
    /// Of [`Op::Read`]: how many bytes, 0 at the end of the file.
    Read(Result<usize, Errno>, File, Buffer),
    /// Of [`Op::Write`]: how many bytes.
    Write(Result<usize, Errno>, File, Buffer),
    /// Of [`Op::Readv`]: how many bytes, 0 at the end of the file.
    Readv(Result<usize, Errno>, File, Vectored),
    /// Of [`Op::Writev`]: how many bytes.
    Writev(Result<usize, Errno>, File, Vectored),
    /// Of [`Op::Open`].
    Open(Result<OwnedFd, Errno>),
    /// Of [`Op::Close`]. The descriptor is closed in any case.
    Close(Result<(), Errno>),
    /// Of [`Op::Fsync`].
    Fsync(Result<(), Errno>, File),
    /// Of [`Op::Stat`] and [`Op::Lstat`].
    Stat(Result<(), Errno>, StatBuffer),
    /// Of [`Op::Socket`].
    Socket(Result<OwnedFd, Errno>),
    /// Of [`Op::Connect`].
    Connect(Result<(), Errno>, File),
    /// Of [`Op::Accept`]: the connection and its peer, and the listening socket.
    Accept(Result<(OwnedFd, Option<SocketAddr>), Errno>, File),
    /// Of [`Op::Recv`]: how many bytes, 0 at the end.
    Recv(Result<usize, Errno>, File, Buffer),
    /// Of [`Op::Send`]: how many bytes.
    Send(Result<usize, Errno>, File, Buffer),
    /// Of [`Op::Poll`]: what the file is ready for.
    Poll(Result<PollFlags, Errno>, File),
    /// Of [`Op::Splice`]: how many bytes.
    Splice(Result<usize, Errno>, File, File),
    /// Of [`Op::Cancel`] and [`Op::CancelAll`]: how many operations were found. Each of them still
    /// has a result of its own, usually `ECANCELED`.
    Cancel(Result<usize, Errno>),
    /// Of [`Op::MsgRing`].
    MsgRing(Result<(), Errno>),
}

/// What the kernel needs for an operation beside what the operation owns. It is large, and it stays
/// in the task, so that moving an operation does not move it.
#[derive(Debug)]
pub(crate) enum Scratch {
    Unused,
    Connect(SocketAddrAny),
    Accept(SocketAddrBuf),
}

impl Op {
    /// The entry that asks the kernel for it. It points to what the operation owns and to the
    /// scratch: both must stay in place and untouched until the completion.
    #[inline]
    pub(crate) fn entry(&mut self, scratch: &mut Scratch) -> Entry {
        match self {
            Self::Noop => opcode::Nop::new().build(),
            Self::Timer(time) => opcode::Timeout::new(time).build(),
            Self::TimerAt(time) => opcode::Timeout::new(time).flags(TimeoutFlags::ABS).build(),
            Self::Read(file, buffer, offset) => {
                let (buf, len) = buffer.parts();
                opcode::Read::new(file.as_fd(), buf, len).offset(offset.bits()).build()
            }
            Self::Write(file, buffer, offset) => {
                let (buf, len) = buffer.parts();
                opcode::Write::new(file.as_fd(), buf, len).offset(offset.bits()).build()
            }
            Self::Readv(file, vectored, offset) => {
                let (iovecs, len) = vectored.parts();
                opcode::Readv::new(file.as_fd(), iovecs, len).offset(offset.bits()).build()
            }
            Self::Writev(file, vectored, offset) => {
                let (iovecs, len) = vectored.parts();
                opcode::Writev::new(file.as_fd(), iovecs, len).offset(offset.bits()).build()
            }
            Self::Open(path, flags, mode) => {
                let flags = flags.union(OFlags::CLOEXEC);
                opcode::OpenAt::new(Fd::CWD, path.as_ptr()).flags(flags).mode(*mode).build()
            }
            Self::Close(fd) => opcode::Close::new(fd.as_fd()).build(),
            Self::Fsync(file, flags) => opcode::Fsync::new(file.as_fd()).flags(*flags).build(),
            Self::Stat(path, statx) => stat(path, statx, AtFlags::empty()),
            Self::Lstat(path, statx) => stat(path, statx, AtFlags::SYMLINK_NOFOLLOW),
            Self::Socket(domain, socket_type) => {
                opcode::Socket::new(*domain, *socket_type, None).flags(SocketFlags::CLOEXEC).build()
            }
            Self::Connect(file, to) => {
                *scratch = Scratch::Connect((*to).into());
                let Scratch::Connect(to) = scratch else { unreachable!("it was just set") };
                opcode::Connect::new(file.as_fd(), to.as_ptr(), to.addr_len()).build()
            }
            Self::Accept(file) => {
                *scratch = Scratch::Accept(SocketAddrBuf::new());
                let Scratch::Accept(peer) = scratch else { unreachable!("it was just set") };
                let (addr, addrlen) = peer.as_mut_ptrs();
                let accept = opcode::Accept::new(file.as_fd(), addr, addrlen);
                accept.flags(SocketFlags::CLOEXEC).build()
            }
            Self::Recv(file, buffer) => {
                let (buf, len) = buffer.parts();
                opcode::Recv::new(file.as_fd(), buf, len).build()
            }
            Self::Send(file, buffer) => {
                let (buf, len) = buffer.parts();
                opcode::Send::new(file.as_fd(), buf, len).build()
            }
            Self::Poll(file, flags) => opcode::PollAdd::new(file.as_fd(), *flags).build(),
            Self::Splice(from, to, len) => {
                let splice = opcode::Splice::new(from.as_fd(), -1, to.as_fd(), -1, *len);
                splice.flags(SpliceFlags::MOVE).build()
            }
            Self::Cancel(task) => opcode::AsyncCancel::new(task.0).build(),
            Self::CancelAll => opcode::AsyncCancel2::new(CancelBuilder::any().all()).build(),
            Self::MsgRing(to, message) => {
                opcode::MsgRingData::new(&*to.0, message.value, message.user_data(), None).build()
            }
        }
    }

    /// What came of it.
    ///
    /// # Safety
    ///
    /// The completion is this operation's, its last, and nobody else looks at it.
    #[inline]
    pub(crate) unsafe fn finish(self, scratch: &Scratch, cqe: &cqueue::Entry) -> OpResult {
        let result = cqe.to_result();
        let (done, count) = (result.map(drop), result.map(|count| count as usize));
        // SAFETY: used below where the operation makes a descriptor; our caller promises the rest.
        let fd = || unsafe { cqe.to_fd() };
        match self {
            Self::Noop => OpResult::Noop(done),
            Self::Timer(_) | Self::TimerAt(_) => {
                OpResult::Timer(if result == Err(Errno::TIME) { Ok(()) } else { done })
            }
            Self::Read(file, buffer, _) => OpResult::Read(count, file, buffer),
            Self::Write(file, buffer, _) => OpResult::Write(count, file, buffer),
            Self::Readv(file, vectored, _) => OpResult::Readv(count, file, vectored),
            Self::Writev(file, vectored, _) => OpResult::Writev(count, file, vectored),
            Self::Open(..) => OpResult::Open(fd()),
            Self::Close(fd) => {
                // The kernel did not get to closing it, so dropping it does.
                if done != Err(Errno::CANCELED) {
                    let _ = fd.into_raw_fd();
                }
                OpResult::Close(done)
            }
            Self::Fsync(file, _) => OpResult::Fsync(done, file),
            Self::Stat(_, statx) | Self::Lstat(_, statx) => OpResult::Stat(done, statx),
            Self::Socket(..) => OpResult::Socket(fd()),
            Self::Connect(file, _) => OpResult::Connect(done, file),
            Self::Accept(file) => {
                let peer = match scratch {
                    Scratch::Accept(peer) => peer.to_socket_addr(),
                    _ => None,
                };
                OpResult::Accept(fd().map(|fd| (fd, peer)), file)
            }
            Self::Recv(file, buffer) => OpResult::Recv(count, file, buffer),
            Self::Send(file, buffer) => OpResult::Send(count, file, buffer),
            Self::Poll(file, _) => OpResult::Poll(cqe.to_poll_flags(), file),
            Self::Splice(from, to, _) => OpResult::Splice(count, from, to),
            Self::Cancel(_) => OpResult::Cancel(done.map(|()| 1)),
            Self::CancelAll => OpResult::Cancel(count),
            Self::MsgRing(..) => OpResult::MsgRing(done),
        }
    }
}

fn stat(path: &CStr, statx: &mut StatBuffer, flags: AtFlags) -> Entry {
    let statx = opcode::Statx::new(Fd::CWD, path.as_ptr(), statx.as_mut_ptr());
    statx.flags(flags).mask(StatxFlags::BASIC_STATS).build()
}
