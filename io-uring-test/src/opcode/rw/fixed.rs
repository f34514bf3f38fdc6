//! Reads and writes with registered buffers.

use std::os::fd::{AsFd, AsRawFd};
use std::ptr;

use rustix_uring::Errno;
use rustix_uring::opcode::{ReadFixed, ReadvFixed, WriteFixed, WritevFixed};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::types::{Fd, FileSlot, Fixed, RwFlags, iovec};

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("read_fixed", &[Opcode(ReadFixed::CODE)], read_fixed),
    Case::kinds("read_fixed_refused", &[Opcode(ReadFixed::CODE)], read_fixed_refused),
    Case::kinds("write_fixed", &[Opcode(WriteFixed::CODE)], write_fixed),
    Case::kinds("write_fixed_refused", &[Opcode(WriteFixed::CODE)], write_fixed_refused),
    Case::kinds("readv_fixed", &[Opcode(ReadvFixed::CODE)], readv_fixed),
    Case::kinds("readv_fixed_refused", &[Opcode(ReadvFixed::CODE)], readv_fixed_refused),
    Case::kinds("writev_fixed", &[Opcode(WritevFixed::CODE)], writev_fixed),
    Case::kinds("writev_fixed_refused", &[Opcode(WritevFixed::CODE)], writev_fixed_refused),
];

const LEN: usize = 4096;
/// The buffer is the second of two registered buffers.
const INDEX: u16 = 1;

/// A registered buffer and the memory around it.
struct Registered {
    memory: Pages,
}

impl Registered {
    fn new(ring: &dyn Ring, content: &[u8]) -> Result<Self> {
        let memory = Pages::new(2 * LEN)?;
        let registered = Self { memory };
        let buffer = |at| iovec { iov_base: registered.at(at).cast(), iov_len: LEN };
        // SAFETY: the pointer stays within the memory, which nothing else uses.
        unsafe { ptr::copy(content.as_ptr(), registered.at(LEN), content.len()) };
        // SAFETY: every caller ensures that the memory outlives the ring's operations.
        unsafe { ring.submitter().register_buffers(&[buffer(0), buffer(LEN)]) }?;
        Ok(registered)
    }

    fn at(&self, offset: usize) -> *mut u8 {
        self.memory.all().cast::<u8>().as_ptr().wrapping_add(offset)
    }

    /// The address of this byte of the buffer.
    fn byte(&self, n: usize) -> *mut u8 {
        self.at(LEN + n)
    }

    /// A part of the buffer, or of the memory around it.
    fn part(&self, from: usize, len: usize) -> iovec {
        iovec { iov_base: self.byte(from).cast(), iov_len: len }
    }

    /// The content of the buffer. No operation is using it.
    fn content(&self, from: usize, len: usize) -> Vec<u8> {
        // SAFETY: the memory is initialized, and every caller has awaited its operations.
        unsafe { self.memory.all().as_ref()[LEN + from..][..len].to_vec() }
    }
}

const SYNC: RwFlags = RwFlags::DSYNC;

fn read_fixed(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello world")?;
    let buffer = Registered::new(&**ring, b"")?;
    for flags in [Flags::empty(), Flags::ASYNC] {
        let read = ReadFixed::new(file.as_fd(), buffer.byte(10), 100, INDEX).offset(6);
        assert_eq!(ring.result(read.build().flags(flags))?, Ok(5));
        assert_eq!(buffer.content(9, 7), b"\0world\0");
    }
    Ok(())
}

/// Invalid entries and the expected errors.
type Refusals<T> = [(T, Errno); 5];

/// Entries with an index that has no buffer, and with ranges that exceed the buffer at either end.
fn refusals<T>(buffer: &Registered, build: impl Fn(Fd, *mut u8, u16) -> T, fd: Fd) -> Refusals<T> {
    [
        (build(fd, buffer.byte(0), 2), Errno::FAULT),
        (build(fd, buffer.byte(LEN - 4), INDEX), Errno::FAULT),
        (build(fd, buffer.byte(0).wrapping_sub(1), INDEX), Errno::FAULT),
        (build(fd, ptr::null_mut(), INDEX), Errno::FAULT),
        (build(Fd(-1), buffer.byte(0), INDEX), Errno::BADF),
    ]
}

fn read_fixed_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello")?;
    let buffer = Registered::new(&**ring, b"")?;
    let fd = Fd(file.as_raw_fd());
    let read = |fd, buf, index| ReadFixed::new(fd, buf, 5, index);
    ring.refuses(refusals(&buffer, read, fd).map(|(read, errno)| (read.build(), errno)))
}

fn write_fixed(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello world")?;
    ring.submitter().register_files(&[FileSlot::new(&file)])?;
    let buffer = Registered::new(&**ring, b"?WORLD!")?;
    for (flags, offset) in [(Flags::empty(), 6), (Flags::ASYNC, 7)] {
        let write = WriteFixed::new(Fixed(0), buffer.byte(1), 5, INDEX).offset(offset);
        assert_eq!(ring.result(write.rw_flags(SYNC).build().flags(flags))?, Ok(5));
    }
    assert_eq!(content(&file)?, b"hello WWORLD");
    Ok(())
}

fn write_fixed_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello")?;
    let buffer = Registered::new(&**ring, b"nothing")?;
    let fd = Fd(file.as_raw_fd());
    let write = |fd, buf: *mut u8, index| WriteFixed::new(fd, buf, 5, index);
    ring.refuses(refusals(&buffer, write, fd).map(|(write, errno)| (write.build(), errno)))?;
    assert_eq!(content(&file)?, b"hello");
    Ok(())
}

fn readv_fixed(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello world")?;
    let buffer = Registered::new(&**ring, b"")?;
    let parts = [buffer.part(100, 5), buffer.part(10, 50)];
    let read = ReadvFixed::new(file.as_fd(), parts.as_ptr(), 2, INDEX).offset(1).build();
    assert_eq!(ring.result(read)?, Ok(10));
    assert_eq!(
        (buffer.content(100, 6), buffer.content(10, 6)),
        (b"ello \0".into(), b"world\0".into())
    );
    Ok(())
}

/// Same as [`refusals`], with a vector whose first part is valid.
fn vector_refusals<T>(
    ring: &mut Runner<'_>,
    buffer: &Registered,
    fd: Fd,
    build: impl Fn(Fd, *const iovec, u32, u16) -> T,
    entry: impl Fn(T) -> Entry,
) -> Result {
    let good = buffer.part(0, 2);
    for (n, (fd, second, index, errno)) in [
        (fd, good, 2, Errno::FAULT),
        (fd, buffer.part(LEN - 1, 2), INDEX, Errno::FAULT),
        (fd, iovec { iov_base: buffer.at(LEN - 1).cast(), iov_len: 2 }, INDEX, Errno::FAULT),
        (Fd(-1), good, INDEX, Errno::BADF),
    ]
    .into_iter()
    .enumerate()
    {
        let parts = [good, second];
        let refused = entry(build(fd, parts.as_ptr(), 2, index));
        assert_eq!(ring.result(refused)?, Err(errno), "{n}");
    }
    let nothing = entry(build(fd, ptr::null(), 2, INDEX));
    assert_eq!(ring.result(nothing)?, Err(Errno::FAULT));
    Ok(())
}

fn readv_fixed_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello")?;
    let buffer = Registered::new(&**ring, b"")?;
    vector_refusals(ring, &buffer, Fd(file.as_raw_fd()), ReadvFixed::new, ReadvFixed::build)
}

fn writev_fixed(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello world")?;
    let buffer = Registered::new(&**ring, b"HELLO WORLD")?;
    let parts = [buffer.part(6, 5), buffer.part(5, 1), buffer.part(0, 5)];
    let write = WritevFixed::new(file.as_fd(), parts.as_ptr(), 3, INDEX).offset(2).rw_flags(SYNC);
    assert_eq!(ring.result(write.build())?, Ok(11));
    assert_eq!(content(&file)?, b"heWORLD HELLO");
    Ok(())
}

fn writev_fixed_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to memory on this stack, which outlives each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello")?;
    let buffer = Registered::new(&**ring, b"nothing")?;
    let fd = Fd(file.as_raw_fd());
    vector_refusals(ring, &buffer, fd, WritevFixed::new, WritevFixed::build)?;
    assert_eq!(content(&file)?, b"hello");
    Ok(())
}
