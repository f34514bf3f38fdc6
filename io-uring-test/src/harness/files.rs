//! What cases open, and what they must not leave open.

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

/// The file system that lives in memory, as `statfs(2)` tells.
const TMPFS_MAGIC: u32 = 0x0102_1994;

/// A file without a name that holds `content`.
pub(crate) fn file_with(content: &[u8]) -> Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(content)?;
    Ok(file)
}

/// All that a file holds.
pub(crate) fn content(file: &File) -> Result<Vec<u8>> {
    let mut bytes = vec![0; file.metadata()?.len() as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// A path as operations take it.
pub(crate) fn c_path(path: impl AsRef<Path>) -> Result<CString> {
    Ok(CString::new(path.as_ref().as_os_str().as_bytes())?)
}

/// A file without a name, opened twice: as usual, and for direct I/O, which takes place on a disk.
/// None where no file system that we may write to has such.
pub(crate) fn direct_file() -> Result<Option<(File, File)>> {
    for directory in [env::temp_dir(), ".".into(), "/var/tmp".into(), "/mnt/disk".into()] {
        let Ok(file) = tempfile::tempfile_in(directory) else { continue };
        // What lives in memory alone takes the flag, and no time.
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

/// How many descriptors the process has open.
pub(crate) fn descriptors() -> Result<usize> {
    // The one that reads the directory is counted both times that this is compared.
    Ok(fs::read_dir("/proc/self/fd")?.count())
}
