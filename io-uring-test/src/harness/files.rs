//! Opens files for cases, and counts the open descriptors.

use std::env;
use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, fstatfs};

use super::outcome::Result;

/// The magic number that `statfs(2)` returns for tmpfs.
const TMPFS_MAGIC: u32 = 0x0102_1994;

/// An unnamed file with this content.
pub(crate) fn file_with(content: &[u8]) -> Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(content)?;
    Ok(file)
}

/// The whole content of a file.
pub(crate) fn content(file: &File) -> Result<Vec<u8>> {
    let mut bytes = vec![0; file.metadata()?.len() as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// A path as a C string, which operations require.
pub(crate) fn c_path(path: impl AsRef<Path>) -> Result<CString> {
    Ok(CString::new(path.as_ref().as_os_str().as_bytes())?)
}

/// An unnamed file on a disk, opened twice: as usual, and for direct I/O. Returns `None` if no
/// writable file system supports direct I/O.
pub(crate) fn direct_file() -> Result<Option<(File, File)>> {
    for directory in [env::temp_dir(), ".".into(), "/var/tmp".into(), "/mnt/disk".into()] {
        let Ok(file) = tempfile::tempfile_in(directory) else { continue };
        // tmpfs accepts the flag, but its I/O completes at once.
        let in_memory = fstatfs(&file)?.f_type as u32 == TMPFS_MAGIC;
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::DIRECT.bits() as i32);
        match options.open(path) {
            Ok(direct) if !in_memory => return Ok(Some((file, direct))),
            _ => {}
        }
    }
    Ok(None)
}

/// The number of descriptors that the process has open.
pub(crate) fn descriptors() -> Result<usize> {
    // The descriptor of this directory is counted too, in both values that the harness compares.
    Ok(fs::read_dir("/proc/self/fd")?.count())
}
