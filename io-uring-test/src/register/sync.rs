//! Cancelling, and sending messages, at once.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::pipe::pipe;
use rustix_uring::opcode::{OpenAt, Read};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::sys::{IORING_CQE_F_SOCK_NONEMPTY, io_uring_register_op::*};
use rustix_uring::types::{CancelBuilder, Fd, Timespec};
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
    // SAFETY: pipes and bytes outlive the reads, which all complete.
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

/// Opens a FIFO that nobody writes to: a worker thread waits there.
fn open_fifo(path: &CStr) -> Entry {
    OpenAt::new(Fd::CWD, path.as_ptr()).flags(OFlags::RDONLY).build().flags(Flags::ASYNC)
}

fn with_fifo(run: impl FnOnce(&CStr) -> Result) -> Result {
    let dir = tempfile::tempdir()?;
    let path = CString::new(dir.path().join("fifo").as_os_str().as_bytes())?;
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    run(&path)
}

/// Cancels what a worker waits for until it has completed: on its way to the worker, it cannot be
/// found.
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
            // An errno of the kernel's own, as interrupted opens have, where it had begun.
            let interrupted = [-512, -libc::ECANCELED, -libc::EINTR].contains(&done.result());
            ensure!(interrupted, "{done:?}");
            return Ok(());
        }
        ensure!(done.is_empty(), "{done:?}");
    }
}

/// What a worker thread waits for is interrupted, and waited for.
fn cancel_in_worker(ring: &mut dyn Ring) -> Result {
    with_fifo(|path| {
        // SAFETY: the path outlives the operation, whose completion is awaited.
        unsafe { ring.push(&[open_fifo(path)]) }?;
        ring.submit()?;
        cancel_and_complete(ring)
    })
}

/// No time at all is too little, once a worker has begun.
fn cancel_timeout(ring: &mut dyn Ring) -> Result {
    with_fifo(|path| {
        for _ in 0..1000 {
            // SAFETY: the path outlives the operation, whose completion is awaited.
            unsafe { ring.push(&[open_fifo(path)]) }?;
            ring.submit()?;
            // The worker may not have begun, or may have ended by the second look.
            thread::sleep(Duration::from_micros(100));
            let criteria = CancelBuilder::user_data(0);
            match ring.submitter().register_sync_cancel(Some(Timespec::new()), criteria) {
                Ok(_) | Err(Errno::NOENT) => cancel_and_complete(ring)?,
                Err(Errno::TIME) => return cancel_and_complete(ring),
                Err(e) => bail!(e),
            }
        }
        bail!("it was always in time")
    })
}

fn cancel_refused(ring: &mut dyn Ring) -> Result {
    let cancel = |criteria| ring.submitter().register_sync_cancel(None, criteria);
    assert_eq!(cancel(CancelBuilder::user_data(1)), Err(Errno::NOENT));
    assert_eq!(cancel(CancelBuilder::fd(Fd(-1))), Err(Errno::BADF));
    assert_eq!(cancel(CancelBuilder::any().all()), Ok(0));
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
