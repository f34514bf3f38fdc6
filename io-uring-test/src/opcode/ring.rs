//! Operations on the ring itself: NOP and cancellation.

pub(crate) mod cancel;
pub(crate) mod message;
pub(crate) mod nop;

use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::pipe::pipe;
use rustix_uring::Errno;
use rustix_uring::opcode::{AsyncCancel, AsyncCancel2, Nop, OpenAt, Read, Timeout};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::types::{CancelBuilder, Fd, Timespec};

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("nop", &[Opcode(Nop::CODE)], nops),
    Case::kinds("nop_refused", &[Opcode(Nop::CODE)], nop_refused),
    Case::kinds("async_cancel", &[Opcode(AsyncCancel::CODE)], async_cancel),
    Case::kinds("async_cancel_running", &[Opcode(AsyncCancel::CODE)], async_cancel_running),
    Case::kinds("async_cancel_by", &[Opcode(AsyncCancel::CODE), CANCEL_BY], async_cancel_by),
    Case::kinds(
        "async_cancel_refused",
        &[Opcode(AsyncCancel::CODE), CANCEL_BY],
        async_cancel_refused,
    ),
];

/// Cancellation by criteria other than user data.
const CANCEL_BY: Need = Trial {
    what: "cancellation by file and of everything",
    refusal: Errno::INVAL,
    call: || {
        let mut ring = rustix_uring::IoUring::new(1)?;
        let cancel = AsyncCancel2::new(CancelBuilder::any()).build();
        // SAFETY: a cancellation uses no memory.
        unsafe { ring.submission().push(&cancel) }.map_err(|_| Errno::BUSY)?;
        ring.submit_and_wait(1)?;
        Ok(ring.completion().next().map_or(Err(Errno::IO), |cqe| cqe.to_result().map(drop))?)
    },
};

fn nops(ring: &mut dyn Ring) -> Result {
    for flags in [Flags::empty(), Flags::ASYNC, Flags::IO_DRAIN] {
        let entries: Vec<_> =
            (0..7).map(|n| Nop::new().build().user_data(n).flags(flags)).collect();
        // SAFETY: NOPs use no memory and no descriptor.
        let mut done = unsafe { ring.run_all(&entries) }?;
        done.sort_by_key(|cqe| cqe.user_data());
        assert!(done.iter().map(|cqe| (cqe.user_data(), cqe.result())).eq((0..7).map(|n| (n, 0))));
        assert!(done.iter().all(|cqe| !cqe.more() && cqe.buffer_select().is_none()));
    }
    // The user data is returned unchanged.
    for user_data in [0, 1 << 63, u64::MAX] {
        // SAFETY: a NOP uses no memory and no descriptor.
        assert_eq!(unsafe { ring.run(nop(user_data)) }?.user_data(), user_data);
    }
    Ok(())
}

/// Flags that no operation accepts, and flags that NOP does not accept.
fn nop_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: a NOP uses no memory and no descriptor.
    let ring = &mut unsafe { ring.runner() };
    ring.refuses([
        (nop(1).flags(Flags::from_bits_retain(1 << 7)), Errno::INVAL),
        (nop(1).flags(Flags::BUFFER_SELECT), Errno::OPNOTSUPP),
        (nop(1).personality(1), Errno::INVAL),
    ])
}

/// The user data of cancellations.
const CANCEL: u64 = 99;

/// Cancels, and waits for the cancellation and for the `ended` operations that it ends. Returns its
/// result and the user data of those operations.
fn cancel(
    ring: &mut dyn Ring,
    cancel: Entry,
    ended: usize,
) -> Result<(Result<u32, Errno>, Vec<u64>)> {
    // SAFETY: a cancellation uses no memory.
    unsafe { ring.push(&[cancel.user_data(CANCEL)]) }?;
    let mut done = ring.complete(1 + ended)?;
    done.sort_by_key(|cqe| cqe.user_data());
    let (cancel, waits) = done.split_last().expect("there is no completion");
    assert_eq!(cancel.user_data(), CANCEL);
    // An operation that waits in a worker thread is interrupted instead.
    let by_it = |cqe: &Completion| {
        matches!(cqe.to_result(), Err(Errno::CANCELED | Errno::INTR)) && cqe.user_data() < CANCEL
    };
    assert!(waits.iter().all(by_it), "{waits:?}");
    Ok((cancel.to_result(), waits.iter().map(|cqe| cqe.user_data()).collect()))
}

fn async_cancel(ring: &mut dyn Ring) -> Result {
    let (empty, _writer) = pipe()?;
    let mut buf = [0; 8];
    for flags in [Flags::empty(), Flags::ASYNC] {
        let read = Read::new(empty.as_fd(), buf.as_mut_ptr(), 8).build().user_data(1).flags(flags);
        // SAFETY: pipe and buffer outlive the read, which is canceled below.
        unsafe { ring.push(&[read]) }?;
        ring.submit()?;
        assert_eq!(cancel(ring, AsyncCancel::new(2).build(), 0)?.0, Err(Errno::NOENT));
        // A cancellation does not find the operation while it moves to a worker thread, and may not
        // interrupt it while it starts. So several cancellations may be needed.
        let mut ended = None;
        while ended.is_none() {
            // SAFETY: a cancellation uses no memory.
            unsafe { ring.push(&[AsyncCancel::new(1).build().user_data(CANCEL)]) }?;
            let mut answer = None;
            while answer.is_none() {
                ring.submit_and_wait(1)?;
                for cqe in ring.reap() {
                    let of = if cqe.user_data() == CANCEL { &mut answer } else { &mut ended };
                    *of = Some(cqe.to_result());
                }
            }
            let once = flags.is_empty();
            assert!(answer == Some(Ok(0)) || !once, "{answer:?}");
            thread::sleep(Duration::from_millis(u64::from(!once)));
            if once && ended.is_none() {
                ended = Some(ring.complete(1)?[0].to_result());
            }
        }
        assert!(matches!(ended, Some(Err(Errno::CANCELED | Errno::INTR))), "{ended:?}");
    }
    assert_eq!(cancel(ring, AsyncCancel::new(3).build(), 0)?.0, Err(Errno::NOENT));
    Ok(())
}

/// A worker already runs the operation. The cancellation interrupts it, and the operation reports
/// its own result.
fn async_cancel_running(ring: &mut dyn Ring) -> Result {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    let path = c_path(&path)?;
    // The open blocks, because the other end is never opened.
    let open = OpenAt::new(Fd::CWD, path.as_ptr()).build().flags(Flags::ASYNC).user_data(1);
    loop {
        // SAFETY: `path` outlives the operation, for which `complete` waits.
        unsafe { ring.push(&[open]) }?;
        assert_eq!(ring.submit(), Ok(1));
        thread::sleep(Duration::from_millis(5));
        // SAFETY: a cancellation uses no memory.
        unsafe { ring.push(&[AsyncCancel::new(1).build().user_data(2)]) }?;
        let mut done = ring.complete(2)?;
        done.sort_by_key(|cqe| cqe.user_data());
        match [done[0].to_result(), done[1].to_result()] {
            // The errno of an interrupted operation depends on the operation.
            [Err(_), Err(Errno::ALREADY)] => return Ok(()),
            // The worker had not started, or something else interrupted it.
            [Err(Errno::CANCELED), Ok(0)] | [Err(_), Err(Errno::NOENT)] => {}
            outcomes => panic!("{outcomes:?}"),
        }
    }
}

/// Cancels one or all operations on a file, all with given user data, and everything.
fn async_cancel_by(ring: &mut dyn Ring) -> Result {
    let (empty, _writer) = pipe()?;
    let (other, _other_writer) = pipe()?;
    let hour = Timespec::from(Duration::from_secs(3600));
    let mut bufs = [[0; 8]; 7];
    let mut bufs = bufs.iter_mut();
    let mut read = |from: &OwnedFd, n| {
        let buf = bufs.next().expect("the buffers are used up");
        Read::new(from, buf.as_mut_ptr(), 8).build().user_data(n)
    };
    let mut waits = vec![read(&empty, 1), read(&empty, 1), read(&empty, 2), read(&empty, 3)];
    waits.extend([read(&other, 4), read(&other, 5), read(&other, 6)]);
    waits.push(Timeout::new(&hour).build().user_data(7));
    // SAFETY: everything outlives the waits, all of which are canceled below.
    unsafe { ring.push(&waits) }?;
    ring.submit()?;

    let by = |criteria| AsyncCancel2::new(criteria).build();
    assert_eq!(cancel(ring, by(CancelBuilder::user_data(1).all()), 2)?, (Ok(2), vec![1, 1]));
    assert_eq!(cancel(ring, by(CancelBuilder::fd(&empty).all()), 2)?, (Ok(2), vec![2, 3]));
    assert_eq!(cancel(ring, by(CancelBuilder::fd(&empty)), 0)?.0, Err(Errno::NOENT));
    assert_eq!(cancel(ring, by(CancelBuilder::fd(&empty).all()), 0)?.0, Ok(0));
    let (result, ended) = cancel(ring, by(CancelBuilder::fd(other.as_fd())), 1)?;
    assert_eq!((result, ended.len()), (Ok(0), 1));
    assert_eq!(cancel(ring, by(CancelBuilder::user_data(7)), 1)?, (Ok(0), vec![7]));
    assert_eq!(cancel(ring, by(CancelBuilder::any()), 2)?.0, Ok(2));
    assert_eq!(cancel(ring, by(CancelBuilder::any().all()), 0)?.0, Ok(0));
    Ok(())
}

fn async_cancel_refused(ring: &mut dyn Ring) -> Result {
    let refused = AsyncCancel2::new(CancelBuilder::fd(Fd(-1))).build();
    assert_eq!(cancel(ring, refused, 0)?.0, Err(Errno::BADF));
    let mut refused = AsyncCancel::new(1).build();
    refused.as_raw_mut().op_flags = 1 << 30;
    assert_eq!(cancel(ring, refused, 0)?.0, Err(Errno::INVAL));
    Ok(())
}
