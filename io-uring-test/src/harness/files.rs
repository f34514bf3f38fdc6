//! What cases open, and what they must not leave open.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;

use super::Result;

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

/// How many descriptors the process has open.
pub(crate) fn descriptors() -> Result<usize> {
    // The one that reads the directory is counted both times that this is compared.
    Ok(fs::read_dir("/proc/self/fd")?.count())
}
