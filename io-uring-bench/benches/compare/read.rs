//! Reads of 4 KiB at random places of a file, so many at a time.

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

/// As many pages as the file has.
const PAGES: u64 = 4096;
/// Reads in a run.
const READS: usize = 256;

/// The file, opened both ways.
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
            .map_err(|error| format!("no direct reads in {directory}: {error}"));
        Ok(Self { cached: cached.into_file(), direct })
    }
}

/// Made when somebody reads.
type Shared = Rc<LazyCell<Result<Files, String>>>;

fn file(files: &Shared, direct: bool) -> Result<&File, String> {
    let files = LazyCell::force(files).as_ref().map_err(Clone::clone)?;
    if direct { files.direct.as_ref().map_err(Clone::clone) } else { Ok(&files.cached) }
}

/// A file and where to read it.
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
        // Not really random, but the same for all; the multiplier is odd, so that nothing is read
        // twice.
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

    /// What was read last is what is there.
    fn check(&self) -> Result<(), String> {
        for buf in &self.bufs {
            // SAFETY: a page, which no operation has any more.
            let number = unsafe { buf.start.cast::<u64>().read_volatile() };
            if !self.offsets.contains(&(number * u64::from(Lasting::PAGE))) {
                return Err(format!("page {number} was read, which was not asked for"));
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

/// Registering is not what is measured, so it is the same for all.
fn register(ring: RawFd, reads: &Reads) -> rustix::io::Result<()> {
    let iovecs = reads.bufs.iter();
    let iovecs: Vec<_> =
        iovecs.map(|buf| iovec { iov_base: buf.start.cast(), iov_len: buf.len as usize }).collect();
    // SAFETY: the caller has the ring open; what is registered lasts.
    unsafe {
        let ring = BorrowedFd::borrow_raw(ring);
        let n = iovecs.len() as u32;
        io_uring_register(ring, IoringRegisterOp::RegisterBuffers, iovecs.as_ptr().cast(), n)?;
        let fds = (&raw const reads.fd).cast();
        io_uring_register(ring, IoringRegisterOp::RegisterFiles, fds, 1)?;
    }
    Ok(())
}

/// Keeps `depth` reads in flight until all are done.
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
            assert_eq!(result as u32, Lasting::PAGE, "a page is read");
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
        let file = file(&reads.file, reads.direct).expect("as before");
        // SAFETY: the page is ours alone, and lasts.
        let buf = unsafe { std::slice::from_raw_parts_mut(page.start, page.len as usize) };
        for offset in &reads.offsets {
            file.read_exact_at(buf, *offset).expect("a page is read");
        }
    }))
}
