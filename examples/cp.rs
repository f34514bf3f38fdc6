//! Copies a file through one ring, with a window of reads and writes in flight.
//!
//! The window is a number of buffers. Each goes round: a block of the file is read into it, and
//! written from it, and then it is given the next block. So the memory is bounded by the window,
//! there is never more than one operation for each buffer, and blocks are done in any order.
//!
//! The copy grows under another name, and takes the destination's when it is complete: until then,
//! what was there stays there.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::mem;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{self, Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, value_parser};
use indicatif::{ProgressBar, ProgressStyle};
use rustix_uring::{Availability, Errno, IoUring, availability, cqueue, opcode};

/// Copies a file through io_uring.
#[derive(Parser)]
#[command(name = "cp")]
struct Options {
    /// The file to copy.
    source: PathBuf,
    /// The file to make, or to replace once the copy is complete.
    dest: PathBuf,
    /// How many blocks to have in flight.
    #[arg(long, default_value_t = 32, value_parser = value_parser!(u32).range(1..=1024))]
    window: u32,
    /// How large a block is, in bytes.
    #[arg(long, default_value_t = 256 << 10, value_parser = value_parser!(u32).range(1..=16 << 20))]
    block: u32,
}

fn main() -> ExitCode {
    match copy(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cp: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn copy(options: &Options) -> Result<()> {
    let cannot_read = || cannot("read", &options.source);
    let cannot_write = || cannot("write", &options.dest);

    let source = regular(&options.source).with_context(cannot_read)?;
    let from = File::open(&options.source).with_context(cannot_read)?;
    let (dest, old) = destination(&options.dest).with_context(cannot_write)?;
    if let Some(old) = &old {
        let differ = (old.dev(), old.ino()) != (source.dev(), source.ino());
        ensure!(differ, "{}: it is the source itself", cannot_write());
    }

    // A new file gets the permissions of the source, less the umask. A replaced one had its own.
    let mode = if old.is_some() { 0o600 } else { source.mode() & 0o777 };
    let to = tempfile::Builder::new()
        .prefix(".cp-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(dest.parent().unwrap_or(&dest))
        .with_context(cannot_write)?;

    let bar = ProgressBar::new(source.len()); // draws on terminals only
    bar.set_style(ProgressStyle::with_template(
        "{wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
    )?);
    // A small file needs no more buffers than it has blocks, and one to see its end with.
    let blocks = source.len() / u64::from(options.block) + 1;
    let window = blocks.min(options.window.into()) as u32;
    let copied = Window::new(window, options.block, &from, to.as_file())?.copy(options, &bar);
    bar.finish_and_clear();

    // If the source became shorter on the way, more of it may have been written than it has now.
    to.as_file().set_len(copied?).with_context(cannot_write)?;
    if let Some(old) = old {
        fchown(to.as_file(), Some(old.uid()), Some(old.gid())).with_context(cannot_write)?;
        to.as_file().set_permissions(old.permissions()).with_context(cannot_write)?;
    }
    to.persist(dest).map_err(|error| error.error).with_context(cannot_write)?;
    Ok(())
}

fn cannot(what: &str, path: &Path) -> String {
    format!("cannot {what} {}", path.display())
}

/// Looks at a file, before it is opened: a pipe would wait for its other end.
fn regular(path: &Path) -> Result<Metadata> {
    let metadata = fs::metadata(path)?;
    ensure!(!metadata.is_dir(), "it is a directory");
    ensure!(metadata.is_file(), "it is not a regular file");
    Ok(metadata)
}

/// Where the copy goes, links followed, and what is there now, if we may replace it.
fn destination(path: &Path) -> Result<(PathBuf, Option<Metadata>)> {
    match fs::canonicalize(path) {
        Ok(path) => {
            let old = regular(&path)?;
            OpenOptions::new().write(true).open(&path)?;
            Ok((path, Some(old)))
        }
        Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => {
            Ok((path::absolute(path)?, None))
        }
        Err(error) => Err(error.into()),
    }
}

/// The buffers, and the ring that fills and empties them.
struct Window<'a> {
    ring: IoUring,
    from: &'a File,
    to: &'a File,
    buffers: Vec<Buffer>,
    /// How many operations were pushed and have not been reaped.
    in_flight: usize,
    /// Where the next block begins.
    next: u64,
    /// Where the source ends, as far as we know: where a read found nothing.
    end: u64,
}

struct Buffer {
    bytes: Box<[u8]>,
    /// Where its block begins in the file.
    offset: u64,
    /// Whether the block is being written; it is being read before.
    writing: bool,
    /// What of the buffer is still to be read into, or written.
    rest: Range<usize>,
}

impl<'a> Window<'a> {
    fn new(window: u32, block: u32, from: &'a File, to: &'a File) -> Result<Self> {
        let here = availability();
        ensure!(here == Availability::Available, "{here}");
        let bytes = || vec![0; block as usize].into_boxed_slice();
        let buffer = |_| Buffer { bytes: bytes(), offset: 0, writing: false, rest: 0..0 };
        Ok(Self {
            ring: IoUring::new(window).context("cannot set up a ring")?,
            from,
            to,
            buffers: (0..window).map(buffer).collect(),
            in_flight: 0,
            next: 0,
            end: u64::MAX,
        })
    }

    /// Copies the file, and returns how long it is.
    fn copy(mut self, options: &Options, bar: &ProgressBar) -> Result<u64> {
        for index in 0..self.buffers.len() {
            self.read_next(index)?;
        }
        while self.in_flight > 0 {
            match self.ring.submit_and_wait(1) {
                // What an error leaves in the queue goes with the next submission.
                Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
                Err(errno) => return Err(errno).context("cannot submit"),
            }
            while let Some(cqe) = self.reap() {
                let index = cqe.user_data() as usize;
                let writing = self.buffers[index].writing;
                let (what, path) =
                    if writing { ("write", &options.dest) } else { ("read", &options.source) };
                match cqe.to_result() {
                    Ok(0) if writing => bail!("{}: it takes no more", cannot(what, path)),
                    Ok(n) => {
                        bar.inc(if writing { n.into() } else { 0 });
                        self.advance(index, n as usize)?;
                    }
                    Err(Errno::INTR | Errno::AGAIN) => self.push(index)?,
                    Err(errno) => return Err(errno).with_context(|| cannot(what, path)),
                }
            }
        }
        Ok(self.end)
    }

    /// Goes on with a buffer of which `n` bytes were read or written.
    fn advance(&mut self, index: usize, n: usize) -> Result<()> {
        let buffer = &mut self.buffers[index];
        buffer.rest.start += n;
        let done = buffer.rest.start;
        if n > 0 && done < buffer.rest.end {
            return self.push(index); // the rest of a short read or write
        }
        if buffer.writing {
            return self.read_next(index);
        }
        if n == 0 {
            self.end = self.end.min(buffer.offset + done as u64);
        }
        (buffer.writing, buffer.rest) = (true, 0..done);
        if done > 0 { self.push(index) } else { Ok(()) }
    }

    /// Has a buffer read the next block, unless the source has ended.
    fn read_next(&mut self, index: usize) -> Result<()> {
        if self.next >= self.end {
            return Ok(());
        }
        let buffer = &mut self.buffers[index];
        (buffer.offset, buffer.writing, buffer.rest) = (self.next, false, 0..buffer.bytes.len());
        self.next += buffer.bytes.len() as u64;
        self.push(index)
    }

    /// Pushes the operation that a buffer is to have next.
    fn push(&mut self, index: usize) -> Result<()> {
        let Buffer { bytes, offset, writing, rest } = &mut self.buffers[index];
        let (offset, len) = (*offset + rest.start as u64, rest.len() as u32);
        let bytes = &mut bytes[rest.clone()];
        let entry = if *writing {
            opcode::Write::new(self.to.as_fd(), bytes.as_ptr(), len).offset(offset).build()
        } else {
            opcode::Read::new(self.from.as_fd(), bytes.as_mut_ptr(), len).offset(offset).build()
        };
        let entry = entry.user_data(index as u64);
        // SAFETY: a buffer is looked at in this function only, which is called for it when nothing
        // is in flight: at the start, and for each completion once. Both files are borrowed for
        // longer than the window lives, and `drop` waits before it frees the buffers.
        unsafe { self.ring.submission().push(&entry) }?;
        self.in_flight += 1;
        Ok(())
    }

    /// The next completion, if one is there.
    fn reap(&mut self) -> Option<cqueue::Entry> {
        let cqe = self.ring.completion().next()?;
        self.in_flight -= 1;
        Some(cqe)
    }
}

impl Drop for Window<'_> {
    /// However the copy ends, the kernel may write to the buffers until nothing is in flight.
    fn drop(&mut self) {
        let user_data: Vec<u64> = (0..self.buffers.len() as u64).collect();
        // However slow the disk is, each read and write ends.
        let forever = Duration::MAX;
        let ended = self.ring.quiesce_with(&mut self.in_flight, forever, &user_data, |_| true);
        if ended.is_err() {
            mem::forget(mem::take(&mut self.buffers));
        }
    }
}
