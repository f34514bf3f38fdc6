//! Files.

use std::ffi::CString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix_uring::opcode;
use rustix_uring::types::{self, Mode, OFlags};

use crate::buf::Fixed;
use crate::fd::{Fd, made};
use crate::ring::Ring;

/// An open file.
///
/// Reads and writes may be short, like the system calls. A read of 0 bytes means the end of the file.
pub struct File(Fd);

impl File {
    /// Opens a file for reading.
    pub async fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open_with(path, OFlags::RDONLY).await
    }

    /// Opens a file for writing. Creates it if it does not exist, and truncates it if it does.
    pub async fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open_with(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC).await
    }

    /// Opens a file with these flags.
    pub async fn open_with(path: impl AsRef<Path>, flags: OFlags) -> io::Result<Self> {
        let path = CString::new(path.as_ref().as_os_str().as_bytes())?;
        let entry = |path: &mut CString| {
            let open = opcode::OpenAt::new(types::Fd::CWD, path.as_ptr());
            open.flags(flags | OFlags::CLOEXEC).mode(Mode::from(0o666)).build()
        };
        // SAFETY: the operation holds the path. An open creates a descriptor, which only `made` takes.
        let file = unsafe { Ring::current().start(path, entry, |_, result| made(result)).await }?;
        Ok(Self::new(file))
    }

    /// Wraps a file that is already open.
    pub fn new(file: impl Into<OwnedFd>) -> Self {
        Self(Fd::new(file))
    }

    /// Reads at an offset, at most the length of the buffer.
    pub async fn read_at<B>(&self, buf: B, offset: u64) -> (io::Result<usize>, B)
    where
        B: AsMut<[u8]> + 'static,
    {
        let read =
            |fd: BorrowedFd<'_>, to, len| opcode::Read::new(fd, to, len).offset(offset).build();
        self.0.fill(buf, read).await
    }

    /// Reads at an offset into several buffers, one after the other.
    pub async fn readv_at<B>(&self, bufs: Vec<B>, offset: u64) -> (io::Result<usize>, Vec<B>)
    where
        B: AsMut<[u8]> + 'static,
    {
        self.0.readv(bufs, offset).await
    }

    /// Reads at an offset into a registered buffer.
    pub async fn read_fixed_at<B: Fixed>(&self, buf: B, offset: u64) -> (io::Result<usize>, B) {
        self.0.read_fixed(buf, offset).await
    }

    /// Writes at an offset, at most the length of the buffer.
    pub async fn write_at<B>(&self, buf: B, offset: u64) -> (io::Result<usize>, B)
    where
        B: AsRef<[u8]> + 'static,
    {
        let write = |fd: BorrowedFd<'_>, from, len| {
            opcode::Write::new(fd, from, len).offset(offset).build()
        };
        self.0.empty(buf, write).await
    }

    /// Writes several buffers at an offset, one after the other.
    pub async fn writev_at<B>(&self, bufs: Vec<B>, offset: u64) -> (io::Result<usize>, Vec<B>)
    where
        B: AsRef<[u8]> + 'static,
    {
        self.0.writev(bufs, offset).await
    }

    /// Writes a registered buffer at an offset.
    pub async fn write_fixed_at<B: Fixed>(&self, buf: B, offset: u64) -> (io::Result<usize>, B) {
        self.0.write_fixed(buf, offset).await
    }

    /// Flushes written data and metadata to the device.
    pub async fn sync_all(&self) -> io::Result<()> {
        self.0.act(|fd| opcode::Fsync::new(fd).build()).await.map(drop)
    }

    /// Closes the file, and returns the error of the close. Dropping the file also closes it, but ignores the
    /// error.
    pub async fn close(self) -> io::Result<()> {
        self.0.close().await
    }
}
