//! Descriptors, and what is done with each kind: files, listeners, streams.
//!
//! A buffer is whatever gives out bytes: a `Vec<u8>`, a box, an array, a static slice to write from,
//! a [`Part`] of one of them. It goes into the operation, and comes back with the result.

use std::ffi::CString;
use std::io;
use std::mem;
use std::net::{self, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::rc::Rc;

use rustix_uring::squeue::Entry;
use rustix_uring::types::{
    self, Mode, MsgFlags, OFlags, Shutdown, SocketAddrAny, SocketFlags, SocketType,
};
use rustix_uring::{Errno, cqueue, opcode};

use crate::part::Part;
use crate::ring::Ring;

/// A descriptor, which its operations keep open.
struct Fd {
    ring: Ring,
    fd: Rc<OwnedFd>,
}

impl Fd {
    fn new(ring: &Ring, fd: impl Into<OwnedFd>) -> Self {
        Self { ring: ring.clone(), fd: Rc::new(fd.into()) }
    }

    /// Runs what fills a buffer; `entry` is given the descriptor and the memory.
    async fn fill<B: AsMut<[u8]> + 'static>(
        &self,
        buf: B,
        entry: impl FnOnce(BorrowedFd<'_>, *mut u8, u32) -> Entry,
    ) -> (io::Result<usize>, B) {
        let entry = |(fd, buf): &mut (Rc<OwnedFd>, B)| {
            let bytes = buf.as_mut();
            entry(fd.as_fd(), bytes.as_mut_ptr(), length(bytes))
        };
        // SAFETY: descriptor and buffer are held. What a buffer gives out stays its own until it is
        // touched again.
        unsafe {
            let held = (self.fd.clone(), buf);
            self.ring.start(held, entry, |(_, buf), result| (result.map(count), buf)).await
        }
    }

    /// Runs what takes the bytes of a buffer.
    async fn empty<B: AsRef<[u8]> + 'static>(
        &self,
        buf: B,
        entry: impl FnOnce(BorrowedFd<'_>, *const u8, u32) -> Entry,
    ) -> (io::Result<usize>, B) {
        let entry = |(fd, buf): &mut (Rc<OwnedFd>, B)| {
            let bytes = B::as_ref(buf);
            entry(fd.as_fd(), bytes.as_ptr(), length(bytes))
        };
        // SAFETY: as in `fill`.
        unsafe {
            let held = (self.fd.clone(), buf);
            self.ring.start(held, entry, |(_, buf), result| (result.map(count), buf)).await
        }
    }

    /// Runs what needs no memory.
    async fn act(&self, entry: impl FnOnce(BorrowedFd<'_>) -> Entry) -> io::Result<cqueue::Entry> {
        // SAFETY: the descriptor is held.
        unsafe {
            self.ring.start(self.fd.clone(), |fd| entry(fd.as_fd()), |_, result| result).await
        }
    }

    /// Closes it. Operations that were dropped may still use it: it waits for them.
    async fn close(self) -> io::Result<()> {
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
                drop(fd); // it did not come to that: without the ring, then
                return Ok(());
            }
            // Closed, be it with an error: the number is free, or somebody else's by now.
            mem::forget(fd);
            result.map(drop)
        };
        // SAFETY: the descriptor is held, and nobody else has it.
        unsafe { ring.start(fd, |fd| opcode::Close::new(&*fd).build(), closed).await }
    }
}

/// The kernel does at most 2 GiB at a time.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn count(cqe: cqueue::Entry) -> usize {
    cqe.result() as usize
}

/// The descriptor that an operation has made.
///
/// # Safety
///
/// The operation makes one, and this is the only look at its completion.
unsafe fn made(result: io::Result<cqueue::Entry>) -> io::Result<OwnedFd> {
    // SAFETY: as our caller promises.
    Ok(unsafe { result?.to_fd() }?)
}

/// An open file.
pub struct File(Fd);

impl File {
    /// Opens a file for reading.
    pub async fn open(ring: &Ring, path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open_with(ring, path, OFlags::RDONLY).await
    }

    /// Opens a file as `flags` say.
    pub async fn open_with(ring: &Ring, path: impl AsRef<Path>, flags: OFlags) -> io::Result<Self> {
        let path = CString::new(path.as_ref().as_os_str().as_bytes())?;
        let entry = |path: &mut CString| {
            let open = opcode::OpenAt::new(types::Fd::CWD, path.as_ptr());
            open.flags(flags | OFlags::CLOEXEC).mode(Mode::from(0o666)).build()
        };
        // SAFETY: the path is held; opening makes a descriptor.
        let file = unsafe { ring.start(path, entry, |_, result| made(result)).await }?;
        Ok(Self::new(ring, file))
    }

    /// A file that is open already.
    pub fn new(ring: &Ring, file: impl Into<OwnedFd>) -> Self {
        Self(Fd::new(ring, file))
    }

    /// Reads at an offset, as much as the buffer is long or less. 0 is the end of the file.
    pub async fn read_at<B>(&self, buf: B, offset: u64) -> (io::Result<usize>, B)
    where
        B: AsMut<[u8]> + 'static,
    {
        let read =
            |fd: BorrowedFd<'_>, to, len| opcode::Read::new(fd, to, len).offset(offset).build();
        self.0.fill(buf, read).await
    }

    /// Writes at an offset, as much as the buffer is long or less.
    pub async fn write_at<B>(&self, buf: B, offset: u64) -> (io::Result<usize>, B)
    where
        B: AsRef<[u8]> + 'static,
    {
        let write = |fd: BorrowedFd<'_>, from, len| {
            opcode::Write::new(fd, from, len).offset(offset).build()
        };
        self.0.empty(buf, write).await
    }

    /// Brings what was written to the device.
    pub async fn sync(&self) -> io::Result<()> {
        self.0.act(|fd| opcode::Fsync::new(fd).build()).await.map(drop)
    }

    /// Closes the file, which dropping it also does, but tells nobody what came of it.
    pub async fn close(self) -> io::Result<()> {
        self.0.close().await
    }
}

/// A socket that accepts connections.
pub struct TcpListener(Fd);

impl TcpListener {
    /// A listener that is bound already.
    pub fn new(ring: &Ring, listener: net::TcpListener) -> Self {
        Self(Fd::new(ring, listener))
    }

    /// Accepts a connection.
    pub async fn accept(&self) -> io::Result<TcpStream> {
        let entry = |fd: &mut Rc<OwnedFd>| {
            let accept = opcode::Accept::new(fd.as_fd(), ptr::null_mut(), ptr::null_mut());
            accept.flags(SocketFlags::CLOEXEC).build()
        };
        let Fd { ring, fd } = &self.0;
        // SAFETY: the descriptor is held; accepting makes one.
        let stream = unsafe { ring.start(fd.clone(), entry, |_, result| made(result)).await }?;
        Ok(TcpStream(Fd::new(ring, stream)))
    }
}

/// A connection.
pub struct TcpStream(Fd);

impl TcpStream {
    /// A connection that is there already, such as one of tokio's: to a ring, it makes no difference
    /// that those do not block.
    pub fn new(ring: &Ring, stream: net::TcpStream) -> Self {
        Self(Fd::new(ring, stream))
    }

    /// Connects to an address.
    pub async fn connect(ring: &Ring, address: SocketAddr) -> io::Result<Self> {
        let address = SocketAddrAny::from(address);
        let socket = opcode::Socket::new(address.address_family(), SocketType::STREAM, None);
        let socket = socket.flags(SocketFlags::CLOEXEC).build();
        // SAFETY: a socket is made of nothing that is to be held.
        let socket = unsafe { ring.start((), |()| socket, |(), result| made(result)).await }?;
        let stream = Fd::new(ring, socket);
        let entry = |(fd, address): &mut (Rc<OwnedFd>, SocketAddrAny)| {
            opcode::Connect::new(fd.as_fd(), address.as_ptr(), address.addr_len()).build()
        };
        // SAFETY: descriptor and address are held.
        unsafe { ring.start((stream.fd.clone(), address), entry, |_, result| result).await }?;
        Ok(Self(stream))
    }

    /// Receives, as much as the buffer is long or less. 0 is the end.
    pub async fn read<B: AsMut<[u8]> + 'static>(&self, buf: B) -> (io::Result<usize>, B) {
        self.0.fill(buf, |fd, to, len| opcode::Recv::new(fd, to, len).build()).await
    }

    /// Sends, as much as the buffer is long or less.
    pub async fn write<B: AsRef<[u8]> + 'static>(&self, buf: B) -> (io::Result<usize>, B) {
        let send = |fd: BorrowedFd<'_>, from, len| {
            opcode::Send::new(fd, from, len).flags(MsgFlags::NOSIGNAL).build()
        };
        self.0.empty(buf, send).await
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

    /// Ends one or both directions.
    pub async fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.act(|fd| opcode::Shutdown::new(fd, how).build()).await.map(drop)
    }

    /// Closes the connection, as [`File::close`] does.
    pub async fn close(self) -> io::Result<()> {
        self.0.close().await
    }
}
