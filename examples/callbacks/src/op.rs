//! What can be done, and what comes of it.
//!
//! An operation owns what the kernel works on: its file, its buffer, its path. While it is under
//! way it stays where it is, in its task, and nobody else can touch it. When it is over,
//! everything comes back with the result.

use std::borrow::Cow;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix_uring::squeue::Entry;
use rustix_uring::types::{
    AddressFamily, CancelBuilder, Fd, FsyncFlags, Mode, OFlags, PollFlags, SocketAddrAny,
    SocketAddrBuf, SocketFlags, SocketType, SpliceFlags, Statx, StatxFlags, TimeoutFlags, Timespec,
    iovec,
};
use rustix_uring::{Errno, cqueue, opcode};

use crate::pool::TaskId;

/// A file, of one task or of several.
#[derive(Debug)]
pub enum File {
    /// Of one.
    Own(OwnedFd),
    /// Of several.
    Shared(Rc<OwnedFd>),
}

impl File {
    /// The descriptor, if nobody else has it.
    pub fn into_own(self) -> Option<OwnedFd> {
        match self {
            Self::Own(fd) => Some(fd),
            Self::Shared(fd) => Rc::into_inner(fd),
        }
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(fd) => fd.as_fd(),
            Self::Shared(fd) => fd.as_fd(),
        }
    }
}

/// Memory to read into or to write from.
#[derive(Debug)]
pub struct Buffer {
    /// The memory.
    pub bytes: Box<[u8]>,
    /// Which part of it; what lies outside of the bytes does not count.
    pub range: Range<usize>,
}

impl Buffer {
    /// All of these bytes.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self { range: 0..bytes.len(), bytes }
    }

    /// This part of the same bytes.
    pub fn part(self, range: Range<usize>) -> Self {
        Self { range, ..self }
    }

    fn parts(&mut self) -> (*mut u8, u32) {
        let end = self.range.end.min(self.bytes.len());
        let part = &mut self.bytes[self.range.start.min(end)..end];
        // More than the kernel reads or writes at once anyway.
        (part.as_mut_ptr(), part.len().min(i32::MAX as usize) as u32)
    }
}

/// Several buffers, and the array that tells the kernel of them.
#[derive(Debug)]
pub struct Vectored {
    /// The buffers.
    pub buffers: Vec<Buffer>,
    iovecs: Vec<iovec>,
}

impl Vectored {
    /// These buffers. It allocates the array.
    pub fn new(buffers: Vec<Buffer>) -> Self {
        let iovecs = Vec::with_capacity(buffers.len());
        Self { buffers, iovecs }
    }

    fn parts(&mut self) -> (*const iovec, u32) {
        self.iovecs.clear();
        self.iovecs.extend(self.buffers.iter_mut().map(|buffer| {
            let (start, len) = buffer.parts();
            iovec { iov_base: start.cast(), iov_len: len as usize }
        }));
        (self.iovecs.as_ptr(), self.iovecs.len() as u32)
    }
}

/// Where messages to a loop go: its ring, under a descriptor of our own, which stays open.
#[derive(Clone, Debug)]
pub struct Mailbox(pub(crate) Arc<OwnedFd>);

/// What one loop tells another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Message {
    /// What it is about.
    pub subject: u32,
    /// What it says.
    pub value: i32,
}

/// Of the user data of messages. The tasks' have it not.
const MESSAGE: u64 = 1 << 63;

impl Message {
    /// The message in a completion, if it is one.
    pub(crate) fn of(cqe: &cqueue::Entry) -> Option<Self> {
        let subject = cqe.user_data() as u32;
        (cqe.user_data() & MESSAGE != 0).then_some(Self { subject, value: cqe.result() })
    }
}

/// Where the kernel writes what a path is: zeros before.
#[derive(Debug)]
pub struct StatBuffer(MaybeUninit<Statx>);

/// An operation.
#[derive(Debug)]
pub enum Op {
    /// Does nothing.
    Nop,
    /// See [`Op::after`] and [`Op::at`].
    Timer(Timespec, TimeoutFlags),
    /// Reads at an offset of the file; -1 is its own position.
    Read(File, Buffer, u64),
    /// Writes at an offset of the file.
    Write(File, Buffer, u64),
    /// Reads into several buffers.
    Readv(File, Vectored, u64),
    /// Writes from several buffers.
    Writev(File, Vectored, u64),
    /// Opens a file.
    Open(Cow<'static, CStr>, OFlags, Mode),
    /// Closes a descriptor.
    Close(OwnedFd),
    /// Writes the file's data to its device.
    Fsync(File, FsyncFlags),
    /// See [`Op::stat`].
    Stat(Cow<'static, CStr>, StatBuffer),
    /// Makes a socket.
    Socket(AddressFamily, SocketType),
    /// See [`Op::connect`].
    Connect(File, SocketAddrAny),
    /// See [`Op::accept`].
    Accept(File, SocketAddrBuf),
    /// Receives from a socket.
    Receive(File, Buffer),
    /// Sends to a connected socket.
    Send(File, Buffer),
    /// Waits until a file is ready for one of these.
    Poll(File, PollFlags),
    /// From one file to the other, of which one is a pipe; the other's own position counts.
    Splice(File, File, u32),
    /// Cancels one operation.
    Cancel(TaskId),
    /// Cancels all operations that are in flight.
    CancelAll,
    /// Sends a message to another loop.
    Message(Mailbox, Message),
}

/// What came of an operation, and what it had.
#[derive(Debug)]
pub enum Outcome {
    /// Of [`Op::Nop`].
    Nop(Result<(), Errno>),
    /// `Ok` when the time is up.
    Timer(Result<(), Errno>),
    /// Of [`Op::Read`].
    Read(Result<usize, Errno>, File, Buffer),
    /// Of [`Op::Write`].
    Write(Result<usize, Errno>, File, Buffer),
    /// Of [`Op::Readv`].
    Readv(Result<usize, Errno>, File, Vectored),
    /// Of [`Op::Writev`].
    Writev(Result<usize, Errno>, File, Vectored),
    /// Of [`Op::Open`].
    Open(Result<OwnedFd, Errno>),
    /// Of [`Op::Close`].
    Close(Result<(), Errno>),
    /// Of [`Op::Fsync`].
    Fsync(Result<(), Errno>, File),
    /// Of [`Op::Stat`].
    Stat(Result<Statx, Errno>),
    /// Of [`Op::Socket`].
    Socket(Result<OwnedFd, Errno>),
    /// Of [`Op::Connect`].
    Connect(Result<(), Errno>, File),
    /// The connection, and who it is with.
    Accept(Result<(OwnedFd, Option<SocketAddr>), Errno>, File),
    /// Of [`Op::Receive`].
    Receive(Result<usize, Errno>, File, Buffer),
    /// Of [`Op::Send`].
    Send(Result<usize, Errno>, File, Buffer),
    /// Of [`Op::Poll`].
    Poll(Result<PollFlags, Errno>, File),
    /// Of [`Op::Splice`].
    Splice(Result<usize, Errno>, File, File),
    /// How many were found. Each still has an outcome of its own, most often `ECANCELED`.
    Cancel(Result<usize, Errno>),
    /// Of [`Op::Message`].
    Message(Result<(), Errno>),
}

impl Op {
    /// A timer that runs out after some time.
    pub fn after(time: Duration) -> Self {
        Self::Timer(time.into(), TimeoutFlags::empty())
    }

    /// A timer that runs out at a point of `CLOCK_MONOTONIC`.
    pub fn at(time: impl Into<Timespec>) -> Self {
        Self::Timer(time.into(), TimeoutFlags::ABS)
    }

    /// What a path is, or what it links to.
    pub fn stat(path: impl Into<Cow<'static, CStr>>) -> Self {
        Self::Stat(path.into(), StatBuffer(MaybeUninit::zeroed()))
    }

    /// Connects a socket.
    pub fn connect(file: File, to: SocketAddr) -> Self {
        Self::Connect(file, to.into())
    }

    /// Accepts a connection of a listener.
    pub fn accept(file: File) -> Self {
        Self::Accept(file, SocketAddrBuf::new())
    }

    /// The entry that asks the kernel for it. It points to what the operation has, which must stay
    /// in its place and untouched until the completion.
    pub(crate) fn entry(&mut self) -> Entry {
        match self {
            Self::Nop => opcode::Nop::new().build(),
            Self::Timer(time, flags) => opcode::Timeout::new(time).flags(*flags).build(),
            Self::Read(file, buffer, offset) => {
                let (buf, len) = buffer.parts();
                opcode::Read::new(file.as_fd(), buf, len).offset(*offset).build()
            }
            Self::Write(file, buffer, offset) => {
                let (buf, len) = buffer.parts();
                opcode::Write::new(file.as_fd(), buf, len).offset(*offset).build()
            }
            Self::Readv(file, vectored, offset) => {
                let (iovecs, len) = vectored.parts();
                opcode::Readv::new(file.as_fd(), iovecs, len).offset(*offset).build()
            }
            Self::Writev(file, vectored, offset) => {
                let (iovecs, len) = vectored.parts();
                opcode::Writev::new(file.as_fd(), iovecs, len).offset(*offset).build()
            }
            Self::Open(path, flags, mode) => {
                let flags = flags.union(OFlags::CLOEXEC);
                opcode::OpenAt::new(Fd::CWD, path.as_ptr()).flags(flags).mode(*mode).build()
            }
            Self::Close(fd) => opcode::Close::new(fd.as_fd()).build(),
            Self::Fsync(file, flags) => opcode::Fsync::new(file.as_fd()).flags(*flags).build(),
            Self::Stat(path, statx) => {
                let statx = opcode::Statx::new(Fd::CWD, path.as_ptr(), statx.0.as_mut_ptr());
                statx.mask(StatxFlags::BASIC_STATS).build()
            }
            Self::Socket(domain, socket_type) => {
                opcode::Socket::new(*domain, *socket_type, None).flags(SocketFlags::CLOEXEC).build()
            }
            Self::Connect(file, to) => {
                opcode::Connect::new(file.as_fd(), to.as_ptr(), to.addr_len()).build()
            }
            Self::Accept(file, peer) => {
                let (addr, addrlen) = peer.as_mut_ptrs();
                let accept = opcode::Accept::new(file.as_fd(), addr, addrlen);
                accept.flags(SocketFlags::CLOEXEC).build()
            }
            Self::Receive(file, buffer) => {
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
            Self::Message(to, Message { subject, value }) => {
                let user_data = MESSAGE | u64::from(*subject);
                opcode::MsgRingData::new(&*to.0, *value, user_data, None).build()
            }
        }
    }

    /// What came of it.
    ///
    /// # Safety
    ///
    /// The completion is this operation's, its last, and nobody else looks at it.
    pub(crate) unsafe fn finish(self, cqe: &cqueue::Entry) -> Outcome {
        let result = cqe.to_result();
        let (done, count) = (result.map(drop), result.map(|count| count as usize));
        // SAFETY: used below where the operation makes a descriptor; the rest is the caller's word.
        let fd = || unsafe { cqe.to_fd() };
        match self {
            Self::Nop => Outcome::Nop(done),
            Self::Timer(..) => {
                Outcome::Timer(if result == Err(Errno::TIME) { Ok(()) } else { done })
            }
            Self::Read(file, buffer, _) => Outcome::Read(count, file, buffer),
            Self::Write(file, buffer, _) => Outcome::Write(count, file, buffer),
            Self::Readv(file, vectored, _) => Outcome::Readv(count, file, vectored),
            Self::Writev(file, vectored, _) => Outcome::Writev(count, file, vectored),
            Self::Open(..) => Outcome::Open(fd()),
            Self::Close(fd) => {
                // Where it did not come to closing, we do it.
                if done != Err(Errno::CANCELED) {
                    let _ = fd.into_raw_fd();
                }
                Outcome::Close(done)
            }
            Self::Fsync(file, _) => Outcome::Fsync(done, file),
            // SAFETY: integers, which were zero before the kernel filled them in.
            Self::Stat(_, statx) => Outcome::Stat(done.map(|()| unsafe { statx.0.assume_init() })),
            Self::Socket(..) => Outcome::Socket(fd()),
            Self::Connect(file, _) => Outcome::Connect(done, file),
            Self::Accept(file, peer) => {
                Outcome::Accept(fd().map(|fd| (fd, peer.to_socket_addr())), file)
            }
            Self::Receive(file, buffer) => Outcome::Receive(count, file, buffer),
            Self::Send(file, buffer) => Outcome::Send(count, file, buffer),
            Self::Poll(file, _) => Outcome::Poll(cqe.to_poll_flags(), file),
            Self::Splice(from, to, _) => Outcome::Splice(count, from, to),
            Self::Cancel(_) => Outcome::Cancel(done.map(|()| 1)),
            Self::CancelAll => Outcome::Cancel(count),
            Self::Message(..) => Outcome::Message(done),
        }
    }
}
