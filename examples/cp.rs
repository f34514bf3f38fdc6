//! Copies a file through one ring, with a window of reads and writes in flight.
//!
//! The window is a number of buffers. Each buffer reads a block of the file, writes it, and continues
//! with the next block that no other buffer has taken. This bounds the memory. A buffer never has
//! more than one operation in flight, and blocks complete in any order.
//!
//! The copy grows under a temporary name and is renamed to the destination when it is complete. Until
//! then, an existing destination keeps its contents.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::mem;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{self, Path, PathBuf};
use std::process::{self, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix_uring::{Availability, Errno, IoUring, availability, cqueue, opcode};

const USAGE: &str = "usage: cp SOURCE DEST [--window BLOCKS] [--block BYTES]

Copies a file through io_uring.

  --window BLOCKS   how many blocks to have in flight, 1 to 1024 (default 32)
  --block BYTES     the size of a block, 1 to 16777216 (default 262144)";

struct Options {
    source: PathBuf,
    /// The file to create, or to replace when the copy is complete.
    dest: PathBuf,
    window: u32,
    block: u32,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = OsString>) -> Result<Self> {
        let (mut paths, mut window, mut block) = (Vec::new(), 32, 256 << 10);
        while let Some(arg) = args.next() {
            let mut number = |max| -> Result<u32> {
                let number = args.next().and_then(|it| it.to_str()?.parse().ok());
                let within = number.filter(|it| (1..=max).contains(it));
                within.with_context(|| {
                    format!("{} requires a number from 1 to {max}", arg.to_string_lossy())
                })
            };
            match arg.to_str() {
                Some("--window") => window = number(1024)?,
                Some("--block") => block = number(16 << 20)?,
                Some("--help") => {
                    println!("{USAGE}");
                    process::exit(0);
                }
                _ => paths.push(PathBuf::from(arg)),
            }
        }
        let Ok([source, dest]) = <[_; 2]>::try_from(paths) else { bail!("{USAGE}") };
        Ok(Self { source, dest, window, block })
    }
}

fn main() -> ExitCode {
    match Options::parse(env::args_os().skip(1)).and_then(|options| copy(&options)) {
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

    // A new file gets the permissions of the source, less the umask. A replaced file keeps its own.
    let mode = if old.is_some() { 0o600 } else { source.mode() & 0o777 };
    let mut to = Unfinished::create(dest, mode).with_context(cannot_write)?;

    // A small file needs one buffer for each of its blocks, and one more to detect the end.
    let blocks = source.len() / u64::from(options.block) + 1;
    let window = blocks.min(options.window.into()) as u32;
    let copied = Window::new(window, options.block, &from, &to.file)?.copy(options)?;

    // If the source shrank during the copy, the copy may be longer than the data read last.
    to.file.set_len(copied).with_context(cannot_write)?;
    if let Some(old) = old {
        fchown(&to.file, Some(old.uid()), Some(old.gid())).with_context(cannot_write)?;
        to.file.set_permissions(old.permissions()).with_context(cannot_write)?;
    }
    to.finish().with_context(cannot_write)
}

/// The copy under its temporary name, which is removed unless [`finish`](Self::finish) succeeds.
struct Unfinished {
    file: File,
    path: PathBuf,
    dest: PathBuf,
}

impl Unfinished {
    fn create(dest: PathBuf, mode: u32) -> io::Result<Self> {
        let path = dest.with_file_name(format!(".cp-{}", process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
        Ok(Self { file, path, dest })
    }

    fn finish(&mut self) -> Result<()> {
        Ok(fs::rename(&self.path, &self.dest)?)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a rename there is nothing to remove.
        let _ = fs::remove_file(&self.path);
    }
}

fn cannot(what: &str, path: &Path) -> String {
    format!("cannot {what} {}", path.display())
}

/// Inspects a file before it is opened: opening a pipe would wait for its other end.
fn regular(path: &Path) -> Result<Metadata> {
    let metadata = fs::metadata(path)?;
    ensure!(!metadata.is_dir(), "it is a directory");
    ensure!(metadata.is_file(), "it is not a regular file");
    Ok(metadata)
}

/// Returns the path of the copy, with symbolic links followed, and the metadata of the file that it
/// replaces, if that exists and is writable.
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
    /// The number of pushed operations whose completions have not been reaped.
    in_flight: usize,
    /// The offset of the next block.
    next: u64,
    /// The end of the source as far as we know: a read at this offset returned nothing.
    end: u64,
}

struct Buffer {
    bytes: Box<[u8]>,
    /// The offset of the block in the file.
    offset: u64,
    /// Whether the block is being written. It is read first.
    writing: bool,
    /// The part of the buffer that remains to be filled or written.
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

    /// Copies the file and returns its length.
    fn copy(mut self, options: &Options) -> Result<u64> {
        for index in 0..self.buffers.len() {
            self.read_next(index)?;
        }
        while self.in_flight > 0 {
            match self.ring.submit_and_wait(1) {
                // Entries that an error leaves in the queue are submitted with the next call.
                Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
                Err(errno) => return Err(errno).context("cannot submit"),
            }
            while let Some(cqe) = self.reap() {
                let index = cqe.user_data() as usize;
                let writing = self.buffers[index].writing;
                let (what, path) =
                    if writing { ("write", &options.dest) } else { ("read", &options.source) };
                match cqe.to_result() {
                    Ok(0) if writing => bail!("{}: it accepts no more data", cannot(what, path)),
                    Ok(n) => self.advance(index, n as usize)?,
                    Err(Errno::INTR | Errno::AGAIN) => self.push(index)?,
                    Err(errno) => return Err(errno).with_context(|| cannot(what, path)),
                }
            }
        }
        Ok(self.end)
    }

    /// Continues with a buffer of which `n` bytes were read or written.
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

    /// Starts to read the next block into a buffer, unless the source has ended.
    fn read_next(&mut self, index: usize) -> Result<()> {
        if self.next >= self.end {
            return Ok(());
        }
        let buffer = &mut self.buffers[index];
        (buffer.offset, buffer.writing, buffer.rest) = (self.next, false, 0..buffer.bytes.len());
        self.next += buffer.bytes.len() as u64;
        self.push(index)
    }

    /// Pushes the next operation of a buffer.
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
        // SAFETY: only this function accesses the bytes of a buffer. It is called when the buffer
        // has no operation in flight: at the start, and once for each completion. Both files are
        // borrowed for longer than the window lives, and `drop` waits before it frees the buffers.
        unsafe { self.ring.submission().push(&entry) }?;
        self.in_flight += 1;
        Ok(())
    }

    /// Returns the next completion, if there is one.
    fn reap(&mut self) -> Option<cqueue::Entry> {
        let cqe = self.ring.completion().next()?;
        self.in_flight -= 1;
        Some(cqe)
    }
}

impl Drop for Window<'_> {
    /// Waits until no operation is in flight. Until then, the kernel may write to the buffers,
    /// however the copy ended.
    fn drop(&mut self) {
        let user_data: Vec<u64> = (0..self.buffers.len() as u64).collect();
        // Every read and write of a regular file completes, however slow the disk is.
        let forever = Duration::MAX;
        let ended = self.ring.quiesce_with(&mut self.in_flight, forever, &user_data, |_| true);
        if ended.is_err() {
            mem::forget(mem::take(&mut self.buffers));
        }
    }
}
