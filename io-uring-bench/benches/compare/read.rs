//! Random reads of 4 KiB from a file, with several in flight at a time.

use std::cell::LazyCell;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::rc::Rc;

use anyhow::Context;
use rustix::fs::OFlags;
use rustix::io_uring::{IoringRegisterOp, io_uring_register, iovec};

use crate::peer::{Everything, Lasting, Named, PREAD, Read, ReadFixed, Setup, each_peer};
use crate::row::{Figures, Made, Row};

/// The number of pages in the file.
const PAGES: u64 = 4096;
/// The number of reads in a run.
const READS: usize = 256;

/// The file, opened with and without direct I/O.
struct Files {
    cached: File,
    direct: Result<File, String>,
}

impl Files {
    fn new() -> anyhow::Result<Self> {
        let directory = env!("CARGO_TARGET_TMPDIR");
        let mut cached = tempfile::NamedTempFile::new_in(directory).context(directory)?;
        let mut page = [0; Lasting::PAGE as usize];
        for number in 0..PAGES {
            page[..8].copy_from_slice(&number.to_ne_bytes());
            cached.write_all(&page)?;
        }
        cached.as_file().sync_all()?;
        let direct = File::options()
            .read(true)
            .custom_flags(OFlags::DIRECT.bits() as i32)
            .open(cached.path())
            .map_err(|error| format!("{directory} does not support direct reads: {error}"));
        Ok(Self { cached: cached.into_file(), direct })
    }
}

/// The files, created at the first read.
type Shared = Rc<LazyCell<Result<Files, String>>>;

fn file(files: &Shared, direct: bool) -> Result<&File, String> {
    let files = LazyCell::force(files).as_ref().map_err(Clone::clone)?;
    if direct { files.direct.as_ref().map_err(Clone::clone) } else { Ok(&files.cached) }
}

/// A file, and the offsets to read.
struct Reads {
    fd: RawFd,
    depth: usize,
    registered: bool,
    bufs: Vec<Lasting>,
    offsets: Vec<u64>,
    file: Shared,
    direct: bool,
}

impl Reads {
    fn new(files: &Shared, direct: bool, depth: usize, registered: bool) -> Result<Self, String> {
        // A sequence that looks random and is the same for all columns. The multiplier is odd, so
        // that no page is read twice.
        let offset = |i: u64| i.wrapping_mul(2_654_435_761) % PAGES * u64::from(Lasting::PAGE);
        Ok(Self {
            fd: file(files, direct)?.as_raw_fd(),
            depth,
            registered,
            bufs: (0..depth).map(|_| Lasting::page()).collect(),
            offsets: (0..READS as u64).map(offset).collect(),
            file: files.clone(),
            direct,
        })
    }

    /// Checks the data of the last read.
    fn check(&self) -> Result<(), String> {
        for buf in &self.bufs {
            // SAFETY: this is a page that no operation uses any more.
            let number = unsafe { buf.start.cast::<u64>().read_volatile() };
            if !self.offsets.contains(&(number * u64::from(Lasting::PAGE))) {
                return Err(format!("page {number} was read, but not requested"));
            }
        }
        Ok(())
    }
}

pub(crate) fn rows() -> Vec<Row> {
    let files: Shared =
        Rc::new(LazyCell::new(|| Files::new().map_err(|error| format!("{error:#}"))));
    let mut rows = Vec::new();
    for (direct, how) in [(false, "cached"), (true, "direct")] {
        for depth in [1, 32, 128] {
            for (registered, what) in [(false, ""), (true, ", registered")] {
                let files = files.clone();
                rows.push(Row {
                    name: format!("read/{how}/{depth}{what}"),
                    ops: READS as u64,
                    figures: Figures::Times,
                    polled: false,
                    make: Box::new(move || {
                        let reads = || Reads::new(&files, direct, depth, registered);
                        let mut columns = each_peer!(P => reads().and_then(case::<P>));
                        columns.push((PREAD, reads().and_then(pread)));
                        columns
                    }),
                });
            }
        }
    }
    rows
}

fn case<P: Everything + Named>(reads: Reads) -> Made {
    let mut ring = P::ring(&Setup::PLAIN, 128)?;
    if reads.registered {
        register(P::fd(&ring), &reads).map_err(|error| error.to_string())?;
    }
    let mut free = Vec::with_capacity(reads.depth);
    run::<P>(&mut ring, &reads, &mut free);
    reads.check()?;
    Ok(Box::new(move || run::<P>(&mut ring, &reads, &mut free)))
}

/// Registers the buffers and the file. This is not measured, so all columns share it.
fn register(ring: RawFd, reads: &Reads) -> rustix::io::Result<()> {
    let iovecs = reads.bufs.iter();
    let iovecs: Vec<_> =
        iovecs.map(|buf| iovec { iov_base: buf.start.cast(), iov_len: buf.len as usize }).collect();
    // SAFETY: the caller keeps the ring open, and the registered memory is never freed.
    unsafe {
        let ring = BorrowedFd::borrow_raw(ring);
        let n = iovecs.len() as u32;
        io_uring_register(ring, IoringRegisterOp::RegisterBuffers, iovecs.as_ptr().cast(), n)?;
        let fds = (&raw const reads.fd).cast();
        io_uring_register(ring, IoringRegisterOp::RegisterFiles, fds, 1)?;
    }
    Ok(())
}

/// Keeps `depth` reads in flight until all have completed.
#[inline(never)]
fn run<P: Everything>(ring: &mut P::Ring, reads: &Reads, free: &mut Vec<u64>) {
    free.extend(0..reads.depth as u64);
    let mut offsets = reads.offsets.iter();
    let mut done = 0;
    while done < reads.offsets.len() {
        let mut queue = P::queue(ring);
        for (i, offset) in free.drain(..).zip(&mut offsets) {
            push::<P>(&mut queue, reads, i, *offset);
        }
        drop(queue);
        P::submit_and_wait(ring, 1);
        P::reap(ring, |i, result| {
            assert_eq!(result as u32, Lasting::PAGE, "the read is short");
            free.push(i);
            done += 1;
        });
    }
    free.clear();
}

#[inline(always)]
fn push<P: Everything>(queue: &mut P::Queue<'_>, reads: &Reads, i: u64, offset: u64) {
    let buf = reads.bufs[i as usize];
    if reads.registered {
        P::push(queue, ReadFixed { slot: 0, buf, buf_index: i as u16, offset }, i);
    } else {
        P::push(queue, Read { fd: reads.fd, buf, offset }, i);
    }
}

fn pread(reads: Reads) -> Made {
    let page = Lasting::page();
    Ok(Box::new(move || {
        let file = file(&reads.file, reads.direct).expect("cannot open the file to read");
        // SAFETY: only this column uses the page, which is never freed.
        let buf = unsafe { std::slice::from_raw_parts_mut(page.start, page.len as usize) };
        for offset in &reads.offsets {
            file.read_exact_at(buf, *offset).expect("the read failed");
        }
    }))
}
