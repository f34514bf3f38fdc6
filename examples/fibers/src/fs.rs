//! Files, to read: those of a file system, and whatever else there is a descriptor of.

use std::ffi::CString;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix_uring::opcode;
use rustix_uring::types::{CURRENT_POSITION, Fd, OFlags};

use crate::net::length;
use crate::scheduler::operate;

/// A file, a pipe, a terminal: anything with a descriptor that can be read.
pub struct File(OwnedFd);

impl File {
    /// Opens a file to read it.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = CString::new(path.as_ref().as_os_str().as_bytes())?;
        let open = opcode::OpenAt::new(Fd::CWD, path.as_ptr()).flags(OFlags::CLOEXEC).build();
        // SAFETY: the path is here until this returns; the completion is an open's, and nobody else's.
        Ok(Self(unsafe { operate(open)?.to_fd() }?))
    }

    /// Reads from a place in the file, not from the file's own position.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        // Beyond that there is no file, and one number of them means the file's own position.
        self.read_from(buf, offset.min(i64::MAX as u64))
    }

    fn read_from(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = opcode::Read::new(&self.0, buf.as_mut_ptr(), length(buf)).offset(offset).build();
        // SAFETY: file and buffer are borrowed until this returns.
        Ok(unsafe { operate(read) }?.result() as usize)
    }
}

impl Read for File {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.read_from(buf, CURRENT_POSITION)
    }
}

impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}
