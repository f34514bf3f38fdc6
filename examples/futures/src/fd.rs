//! Operations that every kind of descriptor has, with each kind of buffer.

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix_uring::squeue::Entry;
use rustix_uring::types::{MsgHdr, SocketAddrAny, SocketAddrBuf, SocketAddrStorage, iovec};
use rustix_uring::{Errno, cqueue, opcode};

use crate::buf::Fixed;
use crate::ring::Ring;

/// The number of bytes that were transferred, and the buffer.
pub(crate) type Counted<B> = (io::Result<usize>, B);

/// A descriptor. Operations that are in flight keep it open.
pub(crate) struct Fd {
    pub(crate) ring: Ring,
    pub(crate) fd: Rc<OwnedFd>,
}

impl Fd {
    pub(crate) fn new(fd: impl Into<OwnedFd>) -> Self {
        Self { ring: Ring::current(), fd: Rc::new(fd.into()) }
    }

    /// Runs an operation with a buffer of any kind. `entry` builds the entry from the descriptor and from the
    /// buffer, which has its final address.
    ///
    /// # Safety
    ///
    /// [The contract](rustix_uring::squeue#the-contract) holds for the entry as long as the buffer is not
    /// dropped, moved or accessed, and the descriptor is open.
    pub(crate) async unsafe fn with<B: 'static>(
        &self,
        buf: B,
        entry: impl FnOnce(BorrowedFd<'_>, &mut B) -> Entry,
    ) -> Counted<B> {
        let entry = |(fd, buf): &mut (Rc<OwnedFd>, B)| entry(fd.as_fd(), buf);
        let done = |(_, buf), result: io::Result<_>| (result.map(count), buf);
        // SAFETY: the operation holds the descriptor and the buffer. The caller guarantees the contract
        // while it does.
        unsafe { self.ring.start((self.fd.clone(), buf), entry, done).await }
    }

    /// Runs an operation that writes to a buffer. `entry` gets the descriptor and the memory.
    pub(crate) async fn fill<B: AsMut<[u8]> + 'static>(
        &self,
        buf: B,
        entry: impl FnOnce(BorrowedFd<'_>, *mut u8, u32) -> Entry,
    ) -> Counted<B> {
        let entry = |fd: BorrowedFd<'_>, buf: &mut B| {
            let bytes = buf.as_mut();
            entry(fd, bytes.as_mut_ptr(), length(bytes))
        };
        // SAFETY: the bytes that a buffer provides stay valid until the buffer is accessed again.
        unsafe { self.with(buf, entry).await }
    }

    /// Runs an operation that reads from a buffer. `entry` gets the descriptor and the memory.
    pub(crate) async fn empty<B: AsRef<[u8]> + 'static>(
        &self,
        buf: B,
        entry: impl FnOnce(BorrowedFd<'_>, *const u8, u32) -> Entry,
    ) -> Counted<B> {
        let entry = |fd: BorrowedFd<'_>, buf: &mut B| {
            let bytes = B::as_ref(buf);
            entry(fd, bytes.as_ptr(), length(bytes))
        };
        // SAFETY: the bytes that a buffer provides stay valid until the buffer is accessed again.
        unsafe { self.with(buf, entry).await }
    }

    /// Reads into several buffers, one after the other.
    pub(crate) async fn readv<B>(&self, bufs: Vec<B>, offset: u64) -> Counted<Vec<B>>
    where
        B: AsMut<[u8]> + 'static,
    {
        let entry = |fd: BorrowedFd<'_>, (bufs, vectors): &mut (Vec<B>, Vec<iovec>)| {
            vectors.extend(bufs.iter_mut().map(|buf| to_fill(buf.as_mut())));
            let len = u32::try_from(vectors.len()).unwrap_or(u32::MAX);
            opcode::Readv::new(fd, vectors.as_ptr(), len).offset(offset).build()
        };
        let vectors = Vec::with_capacity(bufs.len());
        // SAFETY: the bytes that a buffer provides stay valid until the buffer is accessed again. The
        // operation also holds the vectors.
        let (read, (bufs, _)) = unsafe { self.with((bufs, vectors), entry).await };
        (read, bufs)
    }

    /// Writes several buffers, one after the other.
    pub(crate) async fn writev<B>(&self, bufs: Vec<B>, offset: u64) -> Counted<Vec<B>>
    where
        B: AsRef<[u8]> + 'static,
    {
        let entry = |fd: BorrowedFd<'_>, (bufs, vectors): &mut (Vec<B>, Vec<iovec>)| {
            vectors.extend(bufs.iter().map(|buf| to_take(buf.as_ref())));
            let len = u32::try_from(vectors.len()).unwrap_or(u32::MAX);
            opcode::Writev::new(fd, vectors.as_ptr(), len).offset(offset).build()
        };
        let vectors = Vec::with_capacity(bufs.len());
        // SAFETY: the bytes that a buffer provides stay valid until the buffer is accessed again. The
        // operation also holds the vectors.
        let (written, (bufs, _)) = unsafe { self.with((bufs, vectors), entry).await };
        (written, bufs)
    }

    /// Reads into a registered buffer.
    pub(crate) async fn read_fixed<B: Fixed>(&self, buf: B, offset: u64) -> Counted<B> {
        let Some(index) = buf.index(&self.ring) else { return (Err(elsewhere()), buf) };
        let read = |fd: BorrowedFd<'_>, to, len| {
            opcode::ReadFixed::new(fd, to, len, index).offset(offset).build()
        };
        self.fill(buf, read).await
    }

    /// Writes from a registered buffer.
    pub(crate) async fn write_fixed<B: Fixed>(&self, buf: B, offset: u64) -> Counted<B> {
        let Some(index) = buf.index(&self.ring) else { return (Err(elsewhere()), buf) };
        let write = |fd: BorrowedFd<'_>, from, len| {
            opcode::WriteFixed::new(fd, from, len, index).offset(offset).build()
        };
        self.empty(buf, write).await
    }

    /// Receives a datagram, and the address of its sender.
    pub(crate) async fn recv_from<B>(&self, buf: B) -> (io::Result<(usize, SocketAddr)>, B)
    where
        B: AsMut<[u8]> + 'static,
    {
        let entry = |fd: BorrowedFd<'_>, message: &mut Message<SocketAddrBuf, B>| {
            let Message { header, vector, name, buf } = message;
            *vector = to_fill(buf.as_mut());
            header.msg_name = name.as_mut_ptrs().0;
            header.msg_namelen = size_of::<SocketAddrStorage>() as u32;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            opcode::RecvMsg::new(fd, header).build()
        };
        let message = Message::new(SocketAddrBuf::new(), buf);
        // SAFETY: the bytes that a buffer provides stay valid until the buffer is accessed again. The
        // operation also holds the header, the vector and the address buffer.
        let (received, message) = unsafe { self.with(message, entry).await };
        let peer = message.name.to_socket_addr().ok_or(Errno::AFNOSUPPORT);
        (received.and_then(|len| Ok((len, peer?))), message.buf)
    }

    /// Sends a datagram to an address.
    pub(crate) async fn send_to<B>(&self, buf: B, address: SocketAddr) -> Counted<B>
    where
        B: AsRef<[u8]> + 'static,
    {
        let entry = |fd: BorrowedFd<'_>, message: &mut Message<SocketAddrAny, B>| {
            let Message { header, vector, name, buf } = message;
            *vector = to_take(B::as_ref(buf));
            header.msg_name = name.as_ptr().cast_mut(); // the kernel only reads it
            header.msg_namelen = name.addr_len();
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            opcode::SendMsg::new(fd, header).build()
        };
        // SAFETY: the bytes that a buffer provides stay valid until the buffer is accessed again. The
        // operation also holds the header, the vector and the address.
        let (sent, message) = unsafe { self.with(Message::new(address.into(), buf), entry).await };
        (sent, message.buf)
    }

    /// Runs an operation that uses no memory.
    pub(crate) async fn act(
        &self,
        entry: impl FnOnce(BorrowedFd<'_>) -> Entry,
    ) -> io::Result<cqueue::Entry> {
        // SAFETY: the operation holds the descriptor, and the entry points to no memory.
        unsafe {
            self.ring.start(self.fd.clone(), |fd| entry(fd.as_fd()), |_, result| result).await
        }
    }

    /// Closes the descriptor. Waits first for operations that still use it, because their futures were
    /// dropped.
    pub(crate) async fn close(self) -> io::Result<()> {
        let Self { ring, mut fd } = self;
        let fd = loop {
            let reaped = ring.reaped();
            match Rc::try_unwrap(fd) {
                Ok(alone) => break alone,
                Err(shared) => fd = shared,
            }
            reaped.await;
        };
        let closed = |fd: OwnedFd, result: io::Result<_>| {
            let errno = result.as_ref().err().and_then(Errno::from_io_error);
            if matches!(errno, Some(Errno::CANCELED | Errno::INVAL)) {
                drop(fd); // the kernel has not closed it, so close it without the ring
                return Ok(());
            }
            // The kernel has closed it, even if it reports an error. The number may already be reused.
            mem::forget(fd);
            result.map(drop)
        };
        // SAFETY: the operation holds the descriptor, and is its only owner.
        unsafe { ring.start(fd, |fd| opcode::Close::new(&*fd).build(), closed).await }
    }
}

/// A buffer and an address, with the header that points to both.
struct Message<N, B> {
    header: MsgHdr,
    vector: iovec,
    name: N,
    buf: B,
}

impl<N, B> Message<N, B> {
    fn new(name: N, buf: B) -> Self {
        Self { header: MsgHdr::new(), vector: to_take(&[]), name, buf }
    }
}

fn to_fill(bytes: &mut [u8]) -> iovec {
    iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}

fn to_take(bytes: &[u8]) -> iovec {
    iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

/// Returns the length of a buffer for the kernel, which transfers at most 2 GiB in one operation.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn count(cqe: cqueue::Entry) -> usize {
    cqe.result() as usize
}

fn elsewhere() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the buffer is registered with another ring")
}

/// Returns the descriptor that an operation has created.
///
/// # Safety
///
/// The operation creates a descriptor, and no other code takes it from the completion.
pub(crate) unsafe fn made(result: io::Result<cqueue::Entry>) -> io::Result<OwnedFd> {
    // SAFETY: the caller promises that the result is a descriptor, and that nothing else owns it.
    Ok(unsafe { result?.to_fd() }?)
}
