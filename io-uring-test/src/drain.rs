//! Coming to the end of what is in flight.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use anyhow::bail;
use rustix::fs::{Mode, OFlags, open, statfs};
use rustix::pipe::pipe;
use rustix_uring::opcode::{AsyncCancel2, Nop, Read, Timeout};
use rustix_uring::types::{CancelBuilder, Timespec};
use rustix_uring::{Errno, IoUring, SetupFlags};

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::once("nothing", &[], nothing),
    Case::once("waits_that_would_not_end", &[Opcode(Timeout::CODE)], waits_that_would_not_end),
    Case::once("queued_and_never_submitted", &[], queued_and_never_submitted),
    Case::once("more_than_the_queues_hold", &[], more_than_the_queues_hold),
    Case::once("foreign_completions", &[], foreign_completions),
    Case::once("errors_leave_the_count", &[RingWith(SetupFlags::R_DISABLED)], errors),
    Case::once("deferred", &[RingWith(DEFER)], deferred),
    Case::once("sqpoll", &[RingWith(SetupFlags::SQPOLL)], sqpoll),
    Case::once("direct_io_is_not_found", &[DIRECT_IO, CANCEL_ANY], direct_io_is_not_found),
];

const DEFER: SetupFlags = SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN);

fn hour() -> Timespec {
    Timespec::from(Duration::from_secs(3600))
}

fn nothing() -> Result {
    let mut ring = IoUring::new(8)?;
    ring.drain(&mut 0, &[], |cqe| panic!("{cqe:?}"))?;
    works(&mut ring, 5)
}

/// Reads of an empty pipe and timeouts of an hour end by their cancellation, on every kernel: where
/// there is no cancelling of everything, by their user data.
fn waits_in(mut ring: IoUring) -> Result {
    let (empty, _writer) = pipe()?;
    let hour = hour();
    let mut bufs = [[0; 8]; 3];
    let mut entries: Vec<_> = bufs
        .iter_mut()
        .map(|buf| Read::new(empty.as_fd(), buf.as_mut_ptr(), 8).build())
        .chain((0..3).map(|_| Timeout::new(&hour).build()))
        .collect();
    let user_data: Vec<u64> = (100..100 + entries.len() as u64).collect();
    for (entry, &n) in entries.iter_mut().zip(&user_data) {
        entry.set_user_data(n);
        // SAFETY: everything outlives the operations, for whose end `drain` waits.
        unsafe { ring.submission().push(entry) }?;
    }
    ring.submit()?;

    let started = Instant::now();
    let (mut outstanding, mut seen) = (entries.len(), Vec::new());
    ring.drain(&mut outstanding, &user_data, |cqe| {
        seen.push((cqe.user_data(), cqe.to_result()));
        true
    })?;
    seen.sort_by_key(|(n, _)| *n);
    let cancelled: Vec<_> = user_data.iter().map(|&n| (n, Err(Errno::CANCELED))).collect();
    // A read in a worker thread is interrupted instead.
    seen.iter_mut().filter(|it| it.1 == Err(Errno::INTR)).for_each(|it| it.1 = cancelled[0].1);
    assert_eq!((outstanding, &seen), (0, &cancelled));
    assert!(started.elapsed() < Duration::from_secs(600));
    // Nothing of its own is left behind.
    ring.submitter().get_events()?;
    assert!(ring.completion().next().is_none());
    works(&mut ring, 5)
}

fn waits_that_would_not_end() -> Result {
    waits_in(IoUring::new(8)?)
}

fn deferred() -> Result {
    let mut builder = <IoUring>::builder();
    waits_in(builder.setup_single_issuer().setup_defer_taskrun().build(8)?)
}

fn sqpoll() -> Result {
    waits_in(<IoUring>::builder().setup_sqpoll(50).build(8)?)
}

fn queued_and_never_submitted() -> Result {
    let mut ring = IoUring::new(8)?;
    let (empty, _writer) = pipe()?;
    let mut buf = [0; 8];
    let read = Read::new(empty.as_fd(), buf.as_mut_ptr(), 8).build().user_data(1);
    // SAFETY: buffer and pipe outlive the read, for whose end `drain` waits.
    unsafe { ring.submission().push(&read) }?;
    let mut outstanding = 1;
    ring.drain(&mut outstanding, &[1], |_| true)?;
    assert_eq!(outstanding, 0);
    assert!(ring.submission().is_empty());
    Ok(())
}

/// The queue of submissions is full of what was not submitted, and that of completions overflows.
fn more_than_the_queues_hold() -> Result {
    let mut ring = <IoUring>::builder().setup_cqsize(4).build(4)?;
    let (empty, _writer) = pipe()?;
    let mut bufs = [[0; 8]; 40];
    for (i, buf) in bufs.iter_mut().enumerate() {
        let read = Read::new(empty.as_fd(), buf.as_mut_ptr(), 8).build().user_data(i as u64);
        if ring.submission().is_full() {
            ring.submit()?;
        }
        // SAFETY: buffers and pipe outlive the reads, for whose end `drain` waits.
        unsafe { ring.submission().push(&read) }?;
    }
    assert!(ring.submission().is_full());
    let user_data: Vec<u64> = (0..bufs.len() as u64).collect();
    let mut seen = vec![0; bufs.len()];
    let mut outstanding = bufs.len();
    ring.drain(&mut outstanding, &user_data, |cqe| {
        seen[cqe.user_data() as usize] += 1;
        true
    })?;
    assert_eq!((outstanding, seen), (0, vec![1; bufs.len()]));
    works(&mut ring, 9)
}

/// What the caller does not count as one of its operations does not end the wait.
fn foreign_completions() -> Result {
    let mut ring = IoUring::new(8)?;
    let (empty, _writer) = pipe()?;
    let mut buf = [0; 8];
    let read = Read::new(empty.as_fd(), buf.as_mut_ptr(), 8).build().user_data(1);
    // SAFETY: buffer and pipe outlive the read, for whose end `drain` waits; NOPs use no memory.
    unsafe {
        ring.submission().push_multiple(&[read, nop(2), nop(3), nop(4)])?;
    }
    let (mut outstanding, mut foreign) = (1, 0);
    ring.drain(&mut outstanding, &[1], |cqe| {
        foreign += usize::from(cqe.user_data() != 1);
        cqe.user_data() == 1
    })?;
    assert_eq!((outstanding, foreign), (0, 3));
    Ok(())
}

/// What could not be submitted is still outstanding.
fn errors() -> Result {
    let mut ring = <IoUring>::builder().setup_r_disabled().build(8)?;
    // SAFETY: a NOP uses no memory and no descriptor.
    unsafe { ring.submission().push(&Nop::new().build().user_data(1)) }?;
    let mut outstanding = 1;
    let drained = ring.drain(&mut outstanding, &[], |cqe| panic!("{cqe:?}"));
    assert_eq!((drained, outstanding), (Err(Errno::BADFD), 1));
    ring.submitter().register_enable_rings()?;
    let mut seen = Vec::new();
    ring.drain(&mut outstanding, &[], |cqe| {
        seen.push((cqe.user_data(), cqe.result()));
        true
    })?;
    assert_eq!((outstanding, seen), (0, vec![(1, 0)]));
    Ok(())
}

/// A file system on a device, which files can be read from past the cache.
const DIRECT_IO: Need = Trial {
    what: "O_DIRECT to a device, in the folder for temporary files",
    refusal: Errno::INVAL,
    call: || {
        const TMPFS: i64 = 0x0102_1994;
        let file = tempfile::NamedTempFile::new()?;
        // It takes the flag, and has no device.
        #[allow(clippy::unnecessary_cast, reason = "its width differs between targets")]
        if statfs(file.path())?.f_type as i64 == TMPFS {
            return Err(Errno::INVAL.into());
        }
        Ok(open(file.path(), OFlags::RDONLY | OFlags::DIRECT, Mode::empty()).map(drop)?)
    },
};

const CANCEL_ANY: Need = Trial {
    what: "cancelling everything",
    refusal: Errno::INVAL,
    call: || {
        let mut ring = IoUring::new(1)?;
        cancel_everything(&mut ring)?;
        Ok(ring.completion().next().map_or(Err(Errno::IO), |cqe| cqe.to_result().map(drop))?)
    },
};

/// Cancels what is found, and returns when that is done.
fn cancel_everything(ring: &mut IoUring) -> rustix_uring::Result<()> {
    let cancel = AsyncCancel2::new(CancelBuilder::any().all()).build();
    // SAFETY: a cancellation points to nothing.
    unsafe { ring.submission().push(&cancel) }.map_err(|_| Errno::BUSY)?;
    ring.submit().map(drop)
}

/// A cancellation that finds nothing proves nothing: direct I/O under way in the block layer is
/// invisible to it, and goes on writing to its memory. Only the completion is its end.
fn direct_io_is_not_found() -> Result {
    const LEN: usize = 64 << 20;
    const BYTE: u8 = 0x5a;
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(&vec![BYTE; LEN])?;
    file.as_file().sync_all()?;
    let direct = OFlags::DIRECT.bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(direct).open(file.path())?;
    let pages = Pages::new(LEN)?;
    let memory: NonNull<u8> = pages.all().cast();
    // SAFETY: a byte of the pages, which the kernel may be writing.
    let written = |at: usize| unsafe { memory.add(at).read_volatile() } == BYTE;

    for _ in 0..50 {
        // SAFETY: the pages are ours, and nothing is in flight.
        unsafe { memory.write_bytes(0, LEN) };
        let mut ring = IoUring::new(8)?;
        let read = Read::new(file.as_fd(), memory.as_ptr(), LEN as u32).build().user_data(1);
        // SAFETY: file and pages outlive the read, for whose end `drain` waits.
        unsafe { ring.submission().push(&read) }?;
        ring.submit()?;
        cancel_everything(&mut ring)?;
        let done: Vec<_> = ring.completion().map(|cqe| (cqe.user_data(), cqe.result())).collect();
        // Found nothing, and the read is still on its way.
        let unseen = done == [(0, 0)] && !written(LEN - 1);
        let mut outstanding = usize::from(!done.iter().any(|(user_data, _)| *user_data == 1));
        let mut read = None;
        ring.drain(&mut outstanding, &[1], |cqe| {
            read = Some(cqe.result());
            true
        })?;
        assert_eq!(outstanding, 0);
        if unseen {
            assert_eq!(read, Some(LEN as i32));
            assert!((0..LEN).step_by(512).all(written), "drained before the end");
            return Ok(());
        }
    }
    bail!("every read had ended before it could be looked for")
}
