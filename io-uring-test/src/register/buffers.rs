//! Registered buffers.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

use anyhow::{bail, ensure};
use rustix::io::write;
use rustix::pipe::pipe;
use rustix_uring::squeue::{Entry, Sqe};
use rustix_uring::sys::{io_uring_op::*, io_uring_register_op::*};
use rustix_uring::types::{CloneBuffersFlags, SubmitArgs, Timespec, iovec};
use rustix_uring::{Errno, IoUring};

use crate::harness::Need::*;
use crate::harness::*;

const UPDATE: Need = Register(IORING_REGISTER_BUFFERS_UPDATE as u32);
const TAGS: Need = Register(IORING_REGISTER_BUFFERS2 as u32);
const CLONE: Need = Register(IORING_REGISTER_CLONE_BUFFERS as u32);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("register_buffers", &[REGISTER, UNREGISTER], register_buffers),
    Case::kinds("register_buffers_refused", &[REGISTER, UNREGISTER], register_buffers_refused),
    Case::kinds("tags", &[TAGS], tags),
    Case::kinds("untagged", &[TAGS], untagged),
    Case::kinds(
        "tag_waits_for_the_last_user",
        &[TAGS, UPDATE, SPARSE],
        tag_waits_for_the_last_user,
    ),
    Case::kinds("update", &[UPDATE, TAGS], update),
    Case::kinds("update_refused", &[UPDATE, SPARSE], update_refused),
    Case::kinds("clone", &[CLONE], clone),
    Case::once("clone_offset", &[CLONE, CLONE_OFFSET], clone_offset),
    Case::once("clone_from_registered_index", &[CLONE], clone_from_registered_index),
];

const REGISTER: Need = Register(IORING_REGISTER_BUFFERS as u32);
const UNREGISTER: Need = Register(IORING_UNREGISTER_BUFFERS as u32);
const SPARSE: Need = Trial {
    what: "empty slots in the buffer table",
    refusal: Errno::INVAL,
    call: || Ok(IoUring::new(1)?.submitter().register_buffers_sparse(1)?),
};
const CLONE_OFFSET: Need = Trial {
    what: "cloning of buffers with an offset",
    refusal: Errno::INVAL,
    call: || {
        let (from, to) = (IoUring::new(1)?, IoUring::new(1)?);
        let mut byte = 0;
        let bufs = [vector(&mut byte, 1), EMPTY];
        // SAFETY: the buffer outlives both rings, and neither uses it.
        unsafe { from.submitter().register_buffers(&bufs) }?;
        let flags = CloneBuffersFlags::empty();
        Ok(to.submitter().register_buffers_clone_offset(&from.submitter(), 1, 0, 1, flags)?)
    },
};

const EMPTY: iovec = iovec { iov_base: ptr::null_mut(), iov_len: 0 };

fn vector(start: *mut u8, len: usize) -> iovec {
    iovec { iov_base: start.cast(), iov_len: len as _ }
}

/// A `READ_FIXED` or `WRITE_FIXED` entry.
fn fixed(
    op: rustix_uring::sys::io_uring_op,
    fd: BorrowedFd<'_>,
    buf: *mut u8,
    len: u32,
    slot: u16,
) -> Entry {
    Entry::from_raw(Sqe {
        opcode: op as u8,
        fd: fd.as_raw_fd(),
        addr: buf.expose_provenance() as u64,
        len,
        buf_index: slot,
        ..Sqe::ZERO
    })
}

/// The user data of all completions that are ready, in order.
fn completed(ring: &mut dyn Ring) -> Vec<u64> {
    ring.submitter().get_events().unwrap();
    let mut tags: Vec<_> = ring.reap().iter().map(|cqe| cqe.user_data()).collect();
    tags.sort();
    tags
}

/// The tags that are posted, of which `n` are expected. On some kernels, they arrive up to a second
/// late.
fn tags_posted(ring: &mut dyn Ring, n: usize) -> Result<Vec<u64>> {
    let (mut tags, long) = (Vec::new(), Timespec::new().sec(5));
    while tags.len() < n {
        match ring.submit_with_args(n - tags.len(), &SubmitArgs::new().timespec(&long)) {
            Ok(_) => {}
            Err(Errno::TIME) => break,
            Err(e) => bail!(e),
        }
        for cqe in ring.reap() {
            ensure!(cqe.result() == 0 && cqe.flags() == 0, "{cqe:?}");
            tags.push(cqe.user_data());
        }
    }
    tags.sort();
    Ok(tags)
}

fn register_buffers(ring: &mut dyn Ring) -> Result {
    let (from, to) = (file_with(b"hello world")?, file_with(b"")?);
    let mut buf = vec![b'.'; 3 * 4096];
    let start = buf.as_mut_ptr();
    let bufs = [vector(start, 4096), vector(start.wrapping_add(4096), 8192)];
    // SAFETY: the buffers outlive their registration, and are accessed here only between
    // operations.
    unsafe { ring.submitter().register_buffers(&bufs) }?;
    // An address range across a page boundary within the second buffer.
    let place = start.wrapping_add(8192 - 4);
    // SAFETY: the file and the buffer outlive the operations, for which `run` waits.
    unsafe {
        let done = ring.run(fixed(IORING_OP_READ_FIXED, from.as_fd(), place, 11, 1))?;
        assert_eq!(done.to_result(), Ok(11));
        let done =
            ring.run(fixed(IORING_OP_WRITE_FIXED, to.as_fd(), place.wrapping_sub(2), 9, 1))?;
        assert_eq!(done.to_result(), Ok(9));
        // A slot covers its own buffer, and nothing around it.
        for (place, slot) in [(place, 0), (start.wrapping_add(3 * 4096 - 4), 1), (place, 2)] {
            let done = ring.run(fixed(IORING_OP_READ_FIXED, from.as_fd(), place, 11, slot))?;
            assert_eq!(done.to_result(), Err(Errno::FAULT), "slot {slot}");
        }
    }
    assert_eq!(&content(&to)?, b"..hello w");
    ring.submitter().unregister_buffers()?;
    assert_eq!(ring.submitter().unregister_buffers(), Err(Errno::NXIO));
    // SAFETY: the kernel fails the read, because no buffers are registered. Otherwise, `run` would wait
    // for it, and the file and the buffer live longer.
    let done = unsafe { ring.run(fixed(IORING_OP_READ_FIXED, from.as_fd(), place, 11, 1)) }?;
    assert_eq!(done.to_result(), Err(Errno::FAULT));
    assert_eq!(&buf[8192 - 4..8192 + 8], b"hello world.");
    Ok(())
}

fn register_buffers_refused(ring: &mut dyn Ring) -> Result {
    let mut byte = 0;
    let one = [vector(&mut byte, 1)];
    let ring = ring.submitter();
    // SAFETY: `byte` outlives its registration, and no operation uses it. The other calls are
    // rejected.
    unsafe {
        assert_eq!(ring.register_buffers(&[]), Err(Errno::INVAL));
        assert_eq!(ring.register_buffers(&vec![one[0]; 16385]), Err(Errno::INVAL));
        assert_eq!(ring.register_buffers(&[vector(ptr::null_mut(), 1)]), Err(Errno::FAULT));
        assert_eq!(ring.register_buffers(&[vector(&mut byte, 0)]), Err(Errno::FAULT));
        let guarded = Pages::new(4096)?;
        let end = guarded.all().cast::<u8>().as_ptr().wrapping_add(guarded.all().len() - 1);
        assert_eq!(ring.register_buffers(&[vector(end, 2)]), Err(Errno::FAULT));
        ring.register_buffers(&one)?;
        assert_eq!(ring.register_buffers(&one), Err(Errno::BUSY));
        ring.unregister_buffers()?;
        ring.register_buffers(&vec![one[0]; 16384])?;
    }
    ring.unregister_buffers()?;
    assert_eq!(ring.unregister_buffers(), Err(Errno::NXIO));
    Ok(())
}

fn tags(ring: &mut dyn Ring) -> Result {
    let mut bytes = [0; 4];
    let bufs = bytes.each_mut().map(|byte| vector(byte, 1));
    // SAFETY: the bytes outlive their registration, and no operation uses them.
    unsafe {
        assert_eq!(ring.submitter().register_buffers2(&bufs, &[1; 3]), Err(Errno::INVAL));
        ring.submitter().register_buffers2(&bufs, &[7, 0, 9, 8])?;
    }
    assert_eq!(completed(ring), []);
    ring.submitter().unregister_buffers()?;
    // Before 6.13, unregistering the whole table posts no tags.
    let posts = Register(IORING_REGISTER_SEND_MSG_RING as u32).missing()?.is_none();
    let tags = if posts { &[7, 8, 9][..] } else { &[] };
    assert_eq!(tags_posted(ring, tags.len())?, tags);
    Ok(())
}

/// The calls that support tags, without tags: nothing is posted.
fn untagged(ring: &mut dyn Ring) -> Result {
    let mut bytes = [0; 4];
    let bufs = bytes.each_mut().map(|byte| vector(byte, 1));
    let submitter = ring.submitter();
    // SAFETY: the bytes outlive their registration, and no operation uses them.
    unsafe {
        submitter.register_buffers2(&bufs, &[])?;
        assert_eq!(submitter.register_buffers_update(0, &bufs[..2], Some(&[]))?, 2);
        assert_eq!(submitter.register_buffers_update(0, &[bufs[0], EMPTY], None)?, 2);
    }
    submitter.unregister_buffers()?;
    ring.works(3)?;
    assert_eq!(completed(ring), []);
    Ok(())
}

fn tag_waits_for_the_last_user(ring: &mut dyn Ring) -> Result {
    let (reader, writer) = pipe()?;
    let mut buf = [0; 4];
    let start = buf.as_mut_ptr();
    // SAFETY: the buffer outlives its registration and the read, whose completion is awaited.
    unsafe {
        ring.submitter().register_buffers2(&[vector(start, 4)], &[7])?;
        let read = fixed(IORING_OP_READ_FIXED, reader.as_fd(), start, 4, 0);
        ring.push(&[read.user_data(1)])?;
        assert_eq!(ring.submit()?, 1);
        assert_eq!(ring.submitter().register_buffers_update(0, &[EMPTY], None)?, 1);
    }
    assert_eq!(completed(ring), []);
    write(&writer, b"abcd")?;
    let mut done = Vec::new();
    while done.len() < 2 {
        ring.submit_and_wait(1)?;
        done.extend(ring.reap().iter().map(|cqe| (cqe.user_data(), cqe.result())));
    }
    done.sort();
    assert_eq!(done, [(1, 4), (7, 0)]);
    assert_eq!(&buf, b"abcd");
    Ok(())
}

fn update(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"hello world")?;
    let mut bufs = [[0; 5]; 3];
    let [a, b, c] = bufs.each_mut().map(|buf| vector(buf.as_mut_ptr(), 5));
    // SAFETY: the buffers outlive their registration and the reads, for which `run` waits.
    unsafe {
        let read = |ring: &mut dyn Ring, vector: iovec, slot| {
            let read = fixed(IORING_OP_READ_FIXED, file.as_fd(), vector.iov_base.cast(), 5, slot);
            ring.run(read).map(|done| done.to_result())
        };
        ring.submitter().register_buffers2(&[EMPTY; 4], &[0; 4])?;
        assert_eq!(read(ring, a, 2)?, Err(Errno::FAULT));
        assert_eq!(ring.submitter().register_buffers_update(2, &[a, b], Some(&[5, 6]))?, 2);
        assert_eq!(read(ring, a, 2)?, Ok(5));
        assert_eq!(read(ring, b, 3)?, Ok(5));
        assert_eq!(read(ring, b, 2)?, Err(Errno::FAULT));
        // The previous buffer is released: its tag is posted, unless the tag is 0.
        assert_eq!(ring.submitter().register_buffers_update(2, &[c], None)?, 1);
        assert_eq!(tags_posted(ring, 1)?, [5]);
        assert_eq!(read(ring, a, 2)?, Err(Errno::FAULT));
        assert_eq!(read(ring, c, 2)?, Ok(5));
        assert_eq!(ring.submitter().register_buffers_update(2, &[EMPTY, EMPTY], None)?, 2);
        assert_eq!(tags_posted(ring, 1)?, [6]);
        assert_eq!(read(ring, c, 2)?, Err(Errno::FAULT));
    }
    assert_eq!(bufs, [*b"hello"; 3]);
    ring.submitter().unregister_buffers()?;
    assert_eq!(completed(ring), []);
    Ok(())
}

fn update_refused(ring: &mut dyn Ring) -> Result {
    let mut byte = 0;
    let (good, bad) = (vector(&mut byte, 1), vector(ptr::null_mut(), 1));
    let ring = ring.submitter();
    // SAFETY: `byte` outlives its registration, and no operation uses it. The other calls are
    // rejected.
    unsafe {
        assert_eq!(ring.register_buffers_update(0, &[good], None), Err(Errno::NXIO));
        assert_eq!(ring.register_buffers_sparse(0), Err(Errno::INVAL));
        assert_eq!(ring.register_buffers_sparse(16385), Err(Errno::INVAL));
        ring.register_buffers_sparse(2)?;
        assert_eq!(ring.register_buffers_sparse(2), Err(Errno::BUSY));
        assert_eq!(ring.register_buffers_update(2, &[good], None), Err(Errno::INVAL));
        assert_eq!(ring.register_buffers_update(1, &[good; 2], None), Err(Errno::INVAL));
        assert_eq!(ring.register_buffers_update(u32::MAX, &[good], None), Err(Errno::OVERFLOW));
        assert_eq!(ring.register_buffers_update(0, &[], None), Err(Errno::INVAL));
        assert_eq!(ring.register_buffers_update(0, &[good], Some(&[1, 2])), Err(Errno::INVAL));
        // An empty slot cannot have a tag.
        assert_eq!(ring.register_buffers_update(0, &[EMPTY], Some(&[1])), Err(Errno::INVAL));
        assert_eq!(ring.register_buffers_update(0, &[bad, good], None), Err(Errno::FAULT));
        assert_eq!(ring.register_buffers_update(0, &[good, bad], None), Ok(1));
    }
    Ok(ring.unregister_buffers()?)
}

/// A buffer cloned from another ring stays usable after that ring unregisters it.
fn clone(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"hello world")?;
    let mut buf = [0; 5];
    let start = buf.as_mut_ptr();
    let other = IoUring::new(1)?;
    assert_eq!(ring.submitter().register_buffers_clone(&other.submitter()), Err(Errno::NXIO));
    // SAFETY: the buffer outlives its registrations and the read, for which `run` waits.
    unsafe {
        other.submitter().register_buffers(&[EMPTY, vector(start, 5)])?;
        ring.submitter().register_buffers_clone(&other.submitter())?;
        let again = ring.submitter().register_buffers_clone(&other.submitter());
        assert_eq!(again, Err(Errno::BUSY));
        other.submitter().unregister_buffers()?;
        let read = |slot| fixed(IORING_OP_READ_FIXED, file.as_fd(), start, 5, slot);
        assert_eq!(ring.run(read(0))?.to_result(), Err(Errno::FAULT));
        assert_eq!(ring.run(read(1))?.to_result(), Ok(5));
    }
    assert_eq!(&buf, b"hello");
    Ok(ring.submitter().unregister_buffers()?)
}

fn clone_offset() -> Result {
    let (from, to) = (IoUring::new(1)?, IoUring::new(4)?);
    let (from, into) = (from.submitter(), to.submitter());
    let mut bytes = [0; 4];
    let bufs = bytes.each_mut().map(|byte| vector(byte, 1));
    // SAFETY: the bytes outlive their registration, and no operation uses them.
    unsafe { from.register_buffers(&bufs) }?;
    let clone = |src_off, dst_off, nr, flags| {
        into.register_buffers_clone_offset(&from, src_off, dst_off, nr, flags)
    };
    let none = CloneBuffersFlags::empty();
    assert_eq!(clone(4, 0, 1, none), Err(Errno::OVERFLOW));
    assert_eq!(clone(1, 0, 4, none), Err(Errno::OVERFLOW));
    assert_eq!(clone(0, u32::MAX, 1, none), Err(Errno::OVERFLOW));
    assert_eq!(clone(0, 0, 1, CloneBuffersFlags::from_bits_retain(1 << 30)), Err(Errno::INVAL));
    // "All" means the whole table, so neither offset may be nonzero.
    assert_eq!(clone(2, 1, 0, none), Err(Errno::INVAL));
    // Clones the last two buffers into slots 1 and 2 of three.
    clone(2, 1, 2, none)?;
    assert_eq!(clone(0, 3, 1, none), Err(Errno::BUSY));
    let replace = CloneBuffersFlags::DST_REPLACE;
    clone(0, 2, 2, replace)?;

    // Checks which slot now has which byte.
    let file = file_with(b"x")?;
    let mut to = to;
    let mut holds = |slot| -> Result<Vec<usize>> {
        let mut held = Vec::new();
        for (i, place) in bufs.iter().enumerate() {
            let read = fixed(IORING_OP_READ_FIXED, file.as_fd(), place.iov_base.cast(), 1, slot);
            // SAFETY: the byte outlives the read, whose completion is awaited.
            unsafe { to.submission().push(&read) }?;
            to.submit_and_wait(1)?;
            if to.completion().next().is_some_and(|cqe| cqe.result() == 1) {
                held.push(i);
            }
        }
        Ok(held)
    };
    assert_eq!([holds(0)?, holds(1)?, holds(2)?, holds(3)?], [vec![], vec![2], vec![0], vec![1]]);
    assert_eq!(holds(4)?, []);
    Ok(())
}

/// A ring without a descriptor, which only its index identifies.
fn clone_from_registered_index() -> Result {
    let mut byte = 0;
    let builder = <IoUring>::builder();
    let pages = Pages::new(builder.memory_size(1)?)?;
    // SAFETY: the pages and the byte outlive the rings, and no operation uses the byte.
    let from = unsafe { builder.build_registered_in_memory(1, pages.all()) }?;
    // SAFETY: the byte outlives the rings, and no operation uses it.
    unsafe { from.submitter().register_buffers(&[vector(&mut byte, 1)]) }?;
    let to = IoUring::new(1)?;
    to.submitter().register_buffers_clone(&from.submitter())?;
    Ok(to.submitter().unregister_buffers()?)
}
