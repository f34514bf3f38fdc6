//! Reads and writes.

pub(crate) mod fixed;
pub(crate) mod multi;

use std::fs::{File, OpenOptions};
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use rustix::fs::{SeekFrom, seek};
use rustix::io::{ReadWriteFlags, preadv2};
use rustix::pipe::{PipeFlags, pipe, pipe_with};
use rustix_uring::opcode::{Read, Readv, Write, Writev};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::types::{CURRENT_POSITION, Fd, RwFlags, iovec};
use rustix_uring::{Errno, Features};

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("read", &[Opcode(Read::CODE)], read),
    Case::kinds("read_refused", &[Opcode(Read::CODE)], read_refused),
    Case::kinds("read_nowait", &[Opcode(Read::CODE), NOWAIT], read_nowait),
    Case::kinds("read_nonblocking", &[Opcode(Read::CODE)], read_nonblocking),
    Case::kinds(
        "current_position",
        &[Opcode(Read::CODE), Opcode(Write::CODE), Feature(Features::RW_CUR_POS)],
        current_position,
    ),
    Case::kinds("write", &[Opcode(Write::CODE)], write),
    Case::kinds("write_append", &[Opcode(Write::CODE)], write_append),
    Case::kinds("write_refused", &[Opcode(Write::CODE)], write_refused),
    Case::kinds("readv", &[Opcode(Readv::CODE)], readv),
    Case::kinds("writev", &[Opcode(Writev::CODE)], writev),
    Case::kinds("vectors_refused", &[Opcode(Readv::CODE), Opcode(Writev::CODE)], vectors_refused),
];

/// Best effort, level 4, for which no privilege is required.
const BEST_EFFORT: u16 = 2 << 13 | 4;
/// A priority class that does not exist.
const NO_PRIORITY: u16 = 7 << 13;
const NO_SUCH_FLAG: RwFlags = RwFlags::from_bits_retain(1 << 30);

/// Runs the read that `build` creates for an eight-byte buffer, and returns the bytes read.
fn read_with(ring: &mut dyn Ring, build: impl FnOnce(*mut u8) -> Entry) -> Result<Outcome> {
    let mut buf = [0xff; 8];
    let read = build(buf.as_mut_ptr());
    // SAFETY: `buf` outlives the read, for which `run` waits. The files belong to the caller.
    let done = unsafe { ring.run(read) }?.to_result();
    Ok(done.map(|n| buf[..n as usize].to_vec()))
}
type Outcome = Result<Vec<u8>, Errno>;

fn read(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"hello world")?;
    for (offset, expected) in [(0, &b"hello wo"[..]), (6, b"world"), (11, b"")] {
        for flags in [Flags::empty(), Flags::ASYNC] {
            let read = |buf| Read::new(file.as_fd(), buf, 8).offset(offset).ioprio(BEST_EFFORT);
            let done = read_with(ring, |buf| read(buf).build().flags(flags))?;
            assert_eq!(done.as_deref(), Ok(expected), "at {offset}");
        }
    }
    Ok(())
}

fn read_refused(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"hello world")?;
    let to_write = OpenOptions::new().write(true).open("/dev/null")?;
    let directory = File::open("/")?;

    let mut refused = |build: &dyn Fn(*mut u8) -> Read| {
        read_with(ring, |buf| build(buf).build()).map(|done| done.expect_err("the read succeeded"))
    };
    assert_eq!(refused(&|buf| Read::new(Fd(-1), buf, 8))?, Errno::BADF);
    assert_eq!(refused(&|buf| Read::new(to_write.as_fd(), buf, 8))?, Errno::BADF);
    assert_eq!(refused(&|buf| Read::new(directory.as_fd(), buf, 8))?, Errno::ISDIR);
    assert_eq!(refused(&|_| Read::new(file.as_fd(), ptr::null_mut(), 8))?, Errno::FAULT);
    let read = |buf| Read::new(file.as_fd(), buf, 8);
    assert_eq!(refused(&|buf| read(buf).ioprio(NO_PRIORITY))?, Errno::INVAL);
    assert_eq!(refused(&|buf| read(buf).rw_flags(NO_SUCH_FLAG))?, Errno::OPNOTSUPP);
    Ok(())
}

const NOWAIT: Need = Trial {
    what: "RWF_NOWAIT on a pipe",
    refusal: Errno::OPNOTSUPP,
    call: || {
        let (empty, _writer) = pipe()?;
        let mut buf = [0];
        let buf = &mut [IoSliceMut::new(&mut buf)];
        let refusal = preadv2(&empty, buf, CURRENT_POSITION, ReadWriteFlags::NOWAIT).err();
        let refusal = refusal.context("a read from an empty pipe succeeded")?;
        if refusal == Errno::AGAIN { Ok(()) } else { Err(refusal.into()) }
    },
};

fn read_nowait(ring: &mut dyn Ring) -> Result {
    let (empty, _writer) = pipe()?;
    let now = |buf| Read::new(&empty, buf, 8).rw_flags(RwFlags::NOWAIT).build();
    assert_eq!(read_with(ring, now)?, Err(Errno::AGAIN));
    Ok(())
}

/// The read waits even though the descriptor is nonblocking.
fn read_nonblocking(ring: &mut dyn Ring) -> Result {
    let (empty, writer) = pipe_with(PipeFlags::NONBLOCK)?;
    let read = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            rustix::io::write(&writer, b"go ahead")
        });
        read_with(ring, |buf| Read::new(&empty, buf, 8).build())
    });
    assert_eq!(read?.as_deref(), Ok(&b"go ahead"[..]));
    Ok(())
}

/// Runs the write that `build` creates for these bytes, and returns the number of bytes written.
fn write_with(
    ring: &mut dyn Ring,
    bytes: &[u8],
    build: impl FnOnce(*const u8, u32) -> Write,
) -> Result<Result<u32, Errno>> {
    let write = build(bytes.as_ptr(), bytes.len() as u32).build();
    // SAFETY: `bytes` outlives the write, for which `run` waits. The files belong to the caller.
    Ok(unsafe { ring.run(write) }?.to_result())
}

fn current_position(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"0123456789")?;
    seek(&file, SeekFrom::Start(1))?;
    let here = |buf| Read::new(file.as_fd(), buf, 3).offset(CURRENT_POSITION).build();
    assert_eq!(read_with(ring, here)?.as_deref(), Ok(&b"123"[..]));
    assert_eq!(read_with(ring, here)?.as_deref(), Ok(&b"456"[..]));
    let write = |buf, len| Write::new(file.as_fd(), buf, len).offset(CURRENT_POSITION);
    assert_eq!(write_with(ring, b"xy", write)?, Ok(2));
    assert_eq!(seek(&file, SeekFrom::Current(0))?, 9);
    assert_eq!(content(&file)?, b"0123456xy9");
    Ok(())
}

fn write(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"hello world")?;
    for (flags, offset) in [(Flags::empty(), 6), (Flags::ASYNC, 7)] {
        let write = Write::new(file.as_fd(), b"WORLD".as_ptr(), 5).offset(offset);
        let write = write.ioprio(BEST_EFFORT).rw_flags(RwFlags::DSYNC).build().flags(flags);
        // SAFETY: the data is a constant, and the file outlives the write.
        assert_eq!(unsafe { ring.run(write) }?.to_result(), Ok(5));
    }
    assert_eq!(content(&file)?, b"hello WWORLD");
    Ok(())
}

fn write_append(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"hello")?;
    let append = |buf, len| Write::new(file.as_fd(), buf, len).rw_flags(RwFlags::APPEND);
    assert_eq!(write_with(ring, b" world", append)?, Ok(6));
    assert_eq!(content(&file)?, b"hello world");
    Ok(())
}

fn write_refused(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"hello")?;
    let to_read = File::open("/dev/null")?;
    let full = OpenOptions::new().write(true).open("/dev/full")?;

    let mut refused = |build: &dyn Fn(*const u8, u32) -> Write| {
        write_with(ring, b"bye", build).map(|done| done.expect_err("the write succeeded"))
    };
    assert_eq!(refused(&|buf, len| Write::new(Fd(-1), buf, len))?, Errno::BADF);
    assert_eq!(refused(&|buf, len| Write::new(to_read.as_fd(), buf, len))?, Errno::BADF);
    assert_eq!(refused(&|buf, len| Write::new(full.as_fd(), buf, len))?, Errno::NOSPC);
    assert_eq!(refused(&|_, len| Write::new(file.as_fd(), ptr::null(), len))?, Errno::FAULT);
    let write = |buf, len| Write::new(file.as_fd(), buf, len);
    assert_eq!(refused(&|buf, len| write(buf, len).ioprio(NO_PRIORITY))?, Errno::INVAL);
    assert_eq!(refused(&|buf, len| write(buf, len).rw_flags(NO_SUCH_FLAG))?, Errno::OPNOTSUPP);
    assert_eq!(content(&file)?, b"hello");
    Ok(())
}

fn vector(bytes: &mut [u8]) -> iovec {
    iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
}

fn readv(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"hello world")?;
    let (mut first, mut second) = ([0; 2], [0; 16]);
    let vectors = [vector(&mut first), vector(&mut second)];
    let readv = Readv::new(file.as_fd(), vectors.as_ptr(), 2).offset(3).ioprio(BEST_EFFORT);
    // SAFETY: the file, the vectors and their memory outlive the read, for which `run` waits.
    assert_eq!(unsafe { ring.run(readv.build()) }?.to_result(), Ok(8));
    assert_eq!((&first, &second[..7]), (b"lo", &b" world\0"[..]));
    Ok(())
}

fn writev(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"hello world")?;
    let (mut first, mut second) = (*b"HEL", *b"LO");
    let vectors = [vector(&mut first), vector(&mut second)];
    let writev = |flags| {
        let writev = Writev::new(file.as_fd(), vectors.as_ptr(), 2).offset(1);
        writev.ioprio(BEST_EFFORT).rw_flags(flags).build()
    };
    // SAFETY: the file, the vectors and their memory outlive the writes, for which `run` waits.
    unsafe {
        assert_eq!(ring.run(writev(RwFlags::SYNC))?.to_result(), Ok(5));
        assert_eq!(ring.run(writev(RwFlags::APPEND))?.to_result(), Ok(5));
    }
    assert_eq!(content(&file)?, b"hHELLOworldHELLO");
    Ok(())
}

fn vectors_refused(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"hello")?;
    let mut bytes = [0; 4];
    let vectors = [vector(&mut bytes)];
    let ends = [
        (Fd(-1), vectors.as_ptr(), 1, Errno::BADF),
        (Fd(file.as_raw_fd()), ptr::null(), 1, Errno::FAULT),
        // This is one vector more than the maximum.
        (Fd(file.as_raw_fd()), vectors.as_ptr(), 1025, Errno::INVAL),
    ];
    for (fd, vectors, len, errno) in ends {
        let (readv, writev) = (Readv::new(fd, vectors, len), Writev::new(fd, vectors, len));
        // SAFETY: the kernel uses no memory in the first, and detects the invalid addresses in the
        // second.
        let done = unsafe { [ring.run(readv.build())?, ring.run(writev.build())?] };
        assert_eq!(done.map(|cqe| cqe.to_result()), [Err(errno); 2]);
    }
    let refused = Readv::new(file.as_fd(), vectors.as_ptr(), 1).rw_flags(NO_SUCH_FLAG).build();
    // SAFETY: the file, the vectors and their memory outlive the read.
    assert_eq!(unsafe { ring.run(refused) }?.to_result(), Err(Errno::OPNOTSUPP));
    assert_eq!(content(&file)?, b"hello");
    Ok(())
}
