//! Synchronous cancellation, and messages without a ring.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::io::write;
use rustix::pipe::pipe;
use rustix_uring::opcode::{Nop, OpenAt, PollAdd, Read};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::sys::{
    IORING_ASYNC_CANCEL_ALL, IORING_CQE_F_SOCK_NONEMPTY, io_uring_register_op::*,
};
use rustix_uring::types::{AsyncCancelFlags, CancelBuilder, Fd, PollFlags, Timespec};
use rustix_uring::{Errno, IoUring, send_msg_ring};

use crate::harness::Need::*;
use crate::harness::*;

const CANCEL: Need = Register(IORING_REGISTER_SYNC_CANCEL as u32);
const SEND: Need = Register(IORING_REGISTER_SEND_MSG_RING as u32);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("cancel", &[CANCEL, Opcode(Read::CODE)], cancel),
    Case::kinds("cancel_in_worker", &[CANCEL, Opcode(OpenAt::CODE)], cancel_in_worker),
    Case::kinds("cancel_timeout", &[CANCEL, Opcode(OpenAt::CODE)], cancel_timeout),
    Case::kinds("cancel_refused", &[CANCEL], cancel_refused),
    Case::kinds("cancel_all_criteria", &[CANCEL], cancel_all_criteria),
    Case::once("cancel_without_limit", &[CANCEL, UNTOUCHED], cancel_without_limit),
    Case::kinds("send_msg_ring", &[SEND], send),
    Case::kinds("send_msg_ring_refused", &[SEND], send_refused),
];

fn cancel(ring: &mut dyn Ring) -> Result {
    let (reader, _writer) = pipe()?;
    let (other, _other_writer) = pipe()?;
    let mut bytes = [0; 4];
    let [a, b, c, d] = bytes.each_mut();
    let read = |from: &OwnedFd, byte: &mut u8, user_data| {
        Read::new(from.as_fd(), byte, 1).build().user_data(user_data)
    };
    let reads = [read(&reader, a, 1), read(&reader, b, 2), read(&reader, c, 2), read(&other, d, 3)];
    // SAFETY: the pipes and bytes outlive the reads, all of which complete.
    unsafe { ring.push(&reads) }?;
    assert_eq!(ring.submit()?, 4);
    let mut cancels = |criteria: CancelBuilder, expected: &[u64]| -> Result<usize> {
        let found = ring.submitter().register_sync_cancel(None, criteria)?;
        let mut done = ring.complete(expected.len())?;
        ensure!(done.iter().all(|cqe| cqe.to_result() == Err(Errno::CANCELED)), "{done:?}");
        done.sort_by_key(|cqe| cqe.user_data());
        ensure!(done.iter().map(|cqe| cqe.user_data()).eq(expected.iter().copied()), "{done:?}");
        Ok(found)
    };
    assert_eq!(cancels(CancelBuilder::user_data(2).all(), &[2, 2])?, 2);
    assert_eq!(cancels(CancelBuilder::fd(Fd(other.as_raw_fd())), &[3])?, 0);
    assert_eq!(cancels(CancelBuilder::any(), &[1])?, 1);
    assert_eq!(cancels(CancelBuilder::any(), &[])?, 0);
    Ok(())
}

/// Opens a FIFO that has no writer: a worker thread waits there.
fn open_fifo(path: &CStr) -> Entry {
    OpenAt::new(Fd::CWD, path.as_ptr()).flags(OFlags::RDONLY).build().flags(Flags::ASYNC)
}

fn with_fifo(run: impl FnOnce(&CStr) -> Result) -> Result {
    let dir = tempfile::tempdir()?;
    let path = CString::new(dir.path().join("fifo").as_os_str().as_bytes())?;
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    run(&path)
}

/// Cancels an operation of a worker until it completes. A cancellation cannot find it while it
/// moves to the worker.
fn cancel_and_complete(ring: &mut dyn Ring) -> Result {
    loop {
        match ring.submitter().register_sync_cancel(None, CancelBuilder::user_data(0)) {
            Ok(found) => assert_eq!(found, 0),
            Err(Errno::NOENT) => {}
            Err(e) => bail!(e),
        }
        ring.submitter().get_events()?;
        let done = ring.reap();
        if let [done] = done[..] {
            // If the open had started, it may end with a kernel-internal errno.
            let interrupted = [-512, -libc::ECANCELED, -libc::EINTR].contains(&done.result());
            ensure!(interrupted, "{done:?}");
            return Ok(());
        }
        ensure!(done.is_empty(), "{done:?}");
    }
}

/// An operation that waits in a worker thread is interrupted, and its completion awaited.
fn cancel_in_worker(ring: &mut dyn Ring) -> Result {
    with_fifo(|path| {
        // SAFETY: the path outlives the operation, whose completion is awaited.
        unsafe { ring.push(&[open_fifo(path)]) }?;
        ring.submit()?;
        cancel_and_complete(ring)
    })
}

/// A timeout of zero is too short once a worker has started.
fn cancel_timeout(ring: &mut dyn Ring) -> Result {
    with_fifo(|path| {
        for _ in 0..1000 {
            // SAFETY: the path outlives the operation, whose completion is awaited.
            unsafe { ring.push(&[open_fifo(path)]) }?;
            ring.submit()?;
            // The worker may not have started, or may finish before the timeout is checked.
            thread::sleep(Duration::from_micros(100));
            let criteria = CancelBuilder::user_data(0);
            match ring.submitter().register_sync_cancel(Some(Timespec::new()), criteria) {
                Ok(_) | Err(Errno::NOENT) => cancel_and_complete(ring)?,
                Err(Errno::TIME) => return cancel_and_complete(ring),
                Err(e) => bail!(e),
            }
        }
        bail!("the cancellation never timed out")
    })
}

/// Only operations that match all criteria are canceled: the kernel applies the criteria or rejects
/// the call.
fn cancel_all_criteria(ring: &mut dyn Ring) -> Result {
    let (reader, _writer) = pipe()?;
    let poll = PollAdd::new(&reader, PollFlags::IN).build();
    // SAFETY: the pipe outlives the polls, which are canceled below.
    unsafe { ring.push(&[poll.user_data(0), poll.user_data(1)]) }?;
    ring.submit()?;
    let file = || CancelBuilder::fd(&reader);
    let by_two = |user_data, op| {
        [
            CancelBuilder::user_data(user_data).and_fd(&reader),
            file().and_user_data(user_data),
            file().and_op(op),
            CancelBuilder::user_data(1).and_op(op),
            CancelBuilder::op(op).and_fd(&reader),
            CancelBuilder::op(op),
        ]
    };
    let mut refused = 0;
    for criteria in by_two(2, Nop::CODE).into_iter().chain(by_two(2, Read::CODE)) {
        match ring.submitter().register_sync_cancel(None, criteria.all()) {
            Ok(found) => assert_eq!(found, 0, "{criteria:?}"),
            Err(Errno::INVAL) => refused += 1,
            Err(e) => bail!(e),
        }
        ring.submitter().get_events()?;
        assert_eq!(ring.reap(), [], "{criteria:?}");
    }
    ensure!(refused == 0 || refused == 12, "the kernel rejected {refused} of 12 calls");
    let all = ring.submitter().register_sync_cancel(None, file().and_op(PollAdd::CODE).all());
    assert_eq!(all, if refused == 0 { Ok(2) } else { Err(Errno::INVAL) });
    if refused > 0 {
        assert_eq!(ring.submitter().register_sync_cancel(None, file().all()), Ok(2));
    }
    assert_eq!(ring.complete(2)?.len(), 2);
    Ok(())
}

/// Without a limit, the call waits for an operation that cannot be interrupted, longer than the 3.3
/// seconds that 32-bit kernels make of -1.
fn cancel_without_limit() -> Result {
    // While it moves to a worker, the read may be canceled before it starts.
    for _ in 0..20 {
        if cancels_without_limit()? == Ok(1) {
            return Ok(());
        }
    }
    bail!("no worker started the read in any attempt")
}

/// Cancels a read that takes five seconds, and returns its result.
fn cancels_without_limit() -> Result<Result<u32, Errno>> {
    let (reader, writer) = pipe()?;
    let (pages, faults) = untouched()?;
    let mut ring = IoUring::new(8)?;
    let buf = pages.all().cast::<u8>().as_ptr();
    let read = Read::new(&reader, buf, 1).build().user_data(1).flags(Flags::ASYNC);
    write(&writer, b"x")?;
    // SAFETY: the pipe and the memory outlive the read, whose completion is awaited.
    unsafe { ring.submission().push(&read) }?;
    ring.submit()?;
    thread::sleep(Duration::from_millis(100));
    let (over, is_over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            // Waits no longer than the read takes.
            let _ = is_over.recv_timeout(Duration::from_secs(5));
            drop(faults);
        });
        let cancelled = ring.submitter().register_sync_cancel(None, CancelBuilder::user_data(1));
        assert_eq!(cancelled, Ok(0));
        drop(over);
    });
    ring.submit_and_wait(1)?;
    Ok(ring.completion().next().context("there is no completion")?.to_result())
}

fn cancel_refused(ring: &mut dyn Ring) -> Result {
    let cancel = |criteria| ring.submitter().register_sync_cancel(None, criteria);
    assert_eq!(cancel(CancelBuilder::user_data(1)), Err(Errno::NOENT));
    assert_eq!(cancel(CancelBuilder::fd(Fd(-1))), Err(Errno::BADF));
    assert_eq!(cancel(CancelBuilder::any().all()), Ok(0));
    // Raw flags: one that has a builder method, and one that no kernel knows.
    let raw = AsyncCancelFlags::from_bits_retain;
    assert_eq!(cancel(CancelBuilder::user_data(1).flags(raw(IORING_ASYNC_CANCEL_ALL))), Ok(0));
    assert_eq!(cancel(CancelBuilder::user_data(1).flags(raw(1 << 30))), Err(Errno::INVAL));
    Ok(())
}

fn send(ring: &mut dyn Ring) -> Result {
    for i in 0..40 {
        send_msg_ring(ring.as_fd(), i - 20, u64::MAX - i as u64, None)?;
        ring.submit_and_wait(1)?;
        let done = ring.complete(1)?[0];
        assert_eq!((done.result(), done.user_data()), (i - 20, u64::MAX - i as u64));
    }
    send_msg_ring(ring.as_fd(), 1, 2, Some(IORING_CQE_F_SOCK_NONEMPTY))?;
    assert!(ring.complete(1)?[0].sock_nonempty());
    Ok(())
}

fn send_refused(_: &mut dyn Ring) -> Result {
    let file = file_with(b"")?;
    let disabled = <IoUring>::builder().setup_r_disabled().build(1)?;
    assert_eq!(send_msg_ring(&file, 1, 2, None), Err(Errno::BADFD));
    assert_eq!(send_msg_ring(&disabled, 1, 2, None), Err(Errno::BADFD));
    Ok(())
}
