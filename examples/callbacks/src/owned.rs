//! The values that operations own: files, buffers, messages and the addresses of other rings.

use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::ops::{Deref, Range};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::sync::Arc;
use std::{fmt, fs};

use rustix_uring::types::{Statx, iovec};
use rustix_uring::{Errno, IoUring, cqueue};

/// A file or socket, owned by one operation or shared by several.
#[derive(Debug)]
#[repr(align(16))] // Moves in one load and store: a load that spans two recent stores stalls.
pub enum File {
    /// One operation at a time uses the descriptor.
    Own(OwnedFd),
    /// Several operations can use the descriptor at the same time.
    Shared(Rc<OwnedFd>),
}

impl File {
    /// Returns the descriptor, or `None` if it is still shared.
    pub fn into_own(self) -> Option<OwnedFd> {
        match self {
            Self::Own(fd) => Some(fd),
            Self::Shared(fd) => Rc::into_inner(fd),
        }
    }
}

impl AsFd for File {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(fd) => fd.as_fd(),
            Self::Shared(fd) => fd.as_fd(),
        }
    }
}

macro_rules! into_file {
    ($($Fd:ty),*) => {
        $(
            impl From<$Fd> for File {
                fn from(fd: $Fd) -> Self {
                    Self::Own(fd.into())
                }
            }
        )*
    };
}
into_file!(OwnedFd, fs::File, TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream);

impl From<Rc<OwnedFd>> for File {
    fn from(fd: Rc<OwnedFd>) -> Self {
        Self::Shared(fd)
    }
}

/// Memory to read into or to write from.
#[derive(Debug)]
#[repr(align(16))] // For the same reason as `File`.
pub struct Buffer {
    /// The memory.
    pub bytes: Box<[u8]>,
    /// The part of `bytes` that an operation uses. Indexes past the end of `bytes` are ignored.
    pub range: Range<usize>,
}

impl Buffer {
    /// Returns a buffer that covers all of `bytes`.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        let bytes = bytes.into();
        Self { range: 0..bytes.len(), bytes }
    }

    /// Selects another part of the same memory.
    #[must_use]
    pub fn part(self, range: Range<usize>) -> Self {
        Self { range, ..self }
    }

    #[inline]
    pub(crate) fn parts(&mut self) -> (*mut u8, u32) {
        let end = self.range.end.min(self.bytes.len());
        let part = &mut self.bytes[self.range.start.min(end)..end];
        // The kernel reads or writes at most about 2 GiB in one operation.
        (part.as_mut_ptr(), part.len().min(i32::MAX as usize) as u32)
    }
}

impl<B: Into<Box<[u8]>>> From<B> for Buffer {
    fn from(bytes: B) -> Self {
        Self::new(bytes)
    }
}

/// Several buffers, and the array that describes them to the kernel.
#[derive(Debug)]
pub struct Vectored {
    /// The buffers.
    pub buffers: Vec<Buffer>,
    iovecs: Vec<iovec>,
}

impl Vectored {
    /// Wraps these buffers, and allocates the array.
    pub fn new(buffers: Vec<Buffer>) -> Self {
        let iovecs = Vec::with_capacity(buffers.len());
        Self { buffers, iovecs }
    }

    pub(crate) fn parts(&mut self) -> (*const iovec, u32) {
        self.iovecs.clear();
        self.iovecs.extend(self.buffers.iter_mut().map(|buffer| {
            let (start, len) = buffer.parts();
            iovec { iov_base: start.cast(), iov_len: len as usize }
        }));
        (self.iovecs.as_ptr(), self.iovecs.len() as u32)
    }
}

/// A buffer to which the kernel writes the metadata of a file. It starts as all zeros, and you can reuse
/// it.
pub struct StatBuffer(Box<Statx>);

impl StatBuffer {
    /// Allocates a buffer.
    pub fn new() -> Self {
        // SAFETY: `Statx` has only integer fields, for which zero is valid.
        Self(Box::new(unsafe { MaybeUninit::zeroed().assume_init() }))
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut Statx {
        &raw mut *self.0
    }
}

impl Default for StatBuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Deref for StatBuffer {
    type Target = Statx;

    fn deref(&self) -> &Statx {
        &self.0
    }
}

impl fmt::Debug for StatBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Statx { stx_mode, stx_size, .. } = **self;
        write!(f, "StatBuffer {{ mode: {stx_mode:#o}, size: {stx_size} .. }}")
    }
}

/// The address of a ring, to which other rings send messages. It keeps a descriptor of the ring open.
#[derive(Clone, Debug)]
pub struct Mailbox(pub(crate) Arc<OwnedFd>);

impl Mailbox {
    pub(crate) fn of(uring: &IoUring) -> Result<Self, Errno> {
        let fd = uring.as_fd().try_clone_to_owned();
        let fd = fd.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::MFILE))?;
        Ok(Self(Arc::new(fd)))
    }
}

/// A message from one ring to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The kind of message; you define the numbers.
    pub subject: u32,
    /// The content of the message.
    pub value: i32,
}

/// The bit that is set in the user data of messages and clear in that of tasks.
const MESSAGE: u64 = 1 << 63;

impl Message {
    /// Returns the message that a completion carries, if any.
    #[inline]
    pub(crate) fn of(cqe: &cqueue::Entry) -> Option<Self> {
        let subject = cqe.user_data() as u32;
        (cqe.user_data() & MESSAGE != 0).then_some(Self { subject, value: cqe.result() })
    }

    pub(crate) fn user_data(self) -> u64 {
        MESSAGE | u64::from(self.subject)
    }
}
