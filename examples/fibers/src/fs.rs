//! Files, and everything else that you can read or write through a descriptor.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix_uring::opcode;
use rustix_uring::types::{CURRENT_POSITION, Fd, Mode, OFlags};

use crate::net::length;
use crate::ring::operate;

/// A file, a pipe, a terminal, or anything else with a descriptor that you can read or write.
pub struct File(OwnedFd);

impl File {
    /// Opens a file to read it.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open_with(path.as_ref(), OFlags::RDONLY)
    }

    /// Opens a file to write it. Creates it, or truncates it if it exists.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open_with(path.as_ref(), OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)
    }

    /// Opens a file to write at its end. Creates it if it does not exist.
    pub fn append(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open_with(path.as_ref(), OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND)
    }

    fn open_with(path: &Path, flags: OFlags) -> io::Result<Self> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let open = opcode::OpenAt::new(Fd::CWD, path.as_ptr())
            .flags(flags | OFlags::CLOEXEC)
            .mode(Mode::from_raw_mode(0o666));
        // SAFETY: `path` lives until this returns. An open creates a descriptor, and no other code takes it
        // from the completion.
        Ok(Self(unsafe { operate(open.build())?.to_fd() }?))
    }

    /// Reads from an offset. Does not use the position of the file.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        read(self.0.as_fd(), buf, limited(offset))
    }

    /// Writes at an offset. Does not use the position of the file.
    pub fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        write(self.0.as_fd(), buf, limited(offset))
    }

    /// Flushes written data and metadata of the file to the device.
    pub fn sync_all(&self) -> io::Result<()> {
        // SAFETY: the file is borrowed until this returns.
        unsafe { operate(opcode::Fsync::new(&self.0).build()) }?;
        Ok(())
    }
}

impl Read for &File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        read(self.0.as_fd(), buf, CURRENT_POSITION)
    }
}

impl Write for &File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        write(self.0.as_fd(), buf, CURRENT_POSITION)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for File {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

/// Limits an offset to the largest file size. A larger number could be `CURRENT_POSITION`.
fn limited(offset: u64) -> u64 {
    offset.min(i64::MAX as u64)
}

fn read(fd: BorrowedFd<'_>, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    let read = opcode::Read::new(fd, buf.as_mut_ptr(), length(buf)).offset(offset).build();
    // SAFETY: `fd` and `buf` are borrowed until this returns.
    Ok(unsafe { operate(read) }?.result() as usize)
}

fn write(fd: BorrowedFd<'_>, buf: &[u8], offset: u64) -> io::Result<usize> {
    let write = opcode::Write::new(fd, buf.as_ptr(), length(buf)).offset(offset).build();
    // SAFETY: `fd` and `buf` are borrowed until this returns.
    Ok(unsafe { operate(write) }?.result() as usize)
}
