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

use crate::task::TaskId;

/// A file, of one task or of several.
#[derive(Debug)]
pub(crate) enum File {
    Own(OwnedFd),
    Shared(Rc<OwnedFd>),
}

impl File {
    /// The descriptor, if nobody else has it.
    pub(crate) fn into_own(self) -> Option<OwnedFd> {
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
pub(crate) struct Buffer {
    pub(crate) bytes: Box<[u8]>,
    /// Which part of it; what lies outside of the bytes does not count.
    pub(crate) range: Range<usize>,
}

impl Buffer {
    pub(crate) fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self { range: 0..bytes.len(), bytes }
    }

    pub(crate) fn part(self, range: Range<usize>) -> Self {
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
pub(crate) struct Vectored {
    pub(crate) buffers: Vec<Buffer>,
    iovecs: Vec<iovec>,
}

impl Vectored {
    pub(crate) fn new(buffers: Vec<Buffer>) -> Self {
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
pub(crate) struct Mailbox(pub(crate) Arc<OwnedFd>);

/// What one loop tells another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) subject: u32,
    pub(crate) value: i32,
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

/// An operation.
#[derive(Debug)]
pub(crate) enum Op {
    Nop,
    /// See [`Op::after`] and [`Op::at`].
    Timer(Timespec, TimeoutFlags),
    /// At an offset of the file.
    Read(File, Buffer, u64),
    Write(File, Buffer, u64),
    Readv(File, Vectored, u64),
    Writev(File, Vectored, u64),
    Open(Cow<'static, CStr>, OFlags, Mode),
    Close(OwnedFd),
    Fsync(File, FsyncFlags),
    /// See [`Op::stat`].
    Stat(Cow<'static, CStr>, MaybeUninit<Statx>),
    Socket(AddressFamily, SocketType),
    /// See [`Op::connect`].
    Connect(File, SocketAddrAny),
    /// See [`Op::accept`].
    Accept(File, SocketAddrBuf),
    Receive(File, Buffer),
    Send(File, Buffer),
    Poll(File, PollFlags),
    /// From one file to the other, of which one is a pipe; the other's own position counts.
    Splice(File, File, u32),
    Cancel(TaskId),
    CancelAll,
    Message(Mailbox, Message),
}

/// What came of an operation, and what it had.
#[derive(Debug)]
pub(crate) enum Outcome {
    Nop(Result<(), Errno>),
    /// `Ok` when the time is up.
    Timer(Result<(), Errno>),
    Read(Result<usize, Errno>, File, Buffer),
    Write(Result<usize, Errno>, File, Buffer),
    Readv(Result<usize, Errno>, File, Vectored),
    Writev(Result<usize, Errno>, File, Vectored),
    Open(Result<OwnedFd, Errno>),
    Close(Result<(), Errno>),
    Fsync(Result<(), Errno>, File),
    Stat(Result<Statx, Errno>),
    Socket(Result<OwnedFd, Errno>),
    Connect(Result<(), Errno>, File),
    /// The connection, and who it is with.
    Accept(Result<(OwnedFd, Option<SocketAddr>), Errno>, File),
    Receive(Result<usize, Errno>, File, Buffer),
    Send(Result<usize, Errno>, File, Buffer),
    Poll(Result<PollFlags, Errno>, File),
    Splice(Result<usize, Errno>, File, File),
    /// How many were found. Each still has an outcome of its own, most often `ECANCELED`.
    Cancel(Result<usize, Errno>),
    Message(Result<(), Errno>),
}

impl Op {
    /// A timer that runs out after some time.
    pub(crate) fn after(time: Duration) -> Self {
        Self::Timer(time.into(), TimeoutFlags::empty())
    }

    /// A timer that runs out at a point of `CLOCK_MONOTONIC`.
    pub(crate) fn at(time: impl Into<Timespec>) -> Self {
        Self::Timer(time.into(), TimeoutFlags::ABS)
    }

    pub(crate) fn stat(path: impl Into<Cow<'static, CStr>>) -> Self {
        Self::Stat(path.into(), MaybeUninit::zeroed())
    }

    pub(crate) fn connect(file: File, to: SocketAddr) -> Self {
        Self::Connect(file, to.into())
    }

    pub(crate) fn accept(file: File) -> Self {
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
                let statx = opcode::Statx::new(Fd::CWD, path.as_ptr(), statx.as_mut_ptr());
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
            Self::Stat(_, statx) => Outcome::Stat(done.map(|()| unsafe { statx.assume_init() })),
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
