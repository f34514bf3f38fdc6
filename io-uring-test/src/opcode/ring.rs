//! The ring itself: doing nothing, cancelling.

use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use rustix::fs::{FileType, Mode, mknodat};
use rustix::pipe::pipe;
use rustix_uring::Errno;
use rustix_uring::opcode::{AsyncCancel, AsyncCancel2, Nop, OpenAt, Read};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::types::{CancelBuilder, Fd, Fixed};

use crate::harness::Need::*;
use crate::harness::*;

const CANCEL: Need = Opcode(AsyncCancel::CODE);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("nop", &[Opcode(Nop::CODE)], nop),
    Case::kinds("nop_refused", &[Opcode(Nop::CODE)], nop_refused),
    Case::kinds("async_cancel", &[CANCEL, Opcode(Read::CODE)], async_cancel),
    Case::kinds("async_cancel_absent", &[CANCEL], async_cancel_absent),
    Case::kinds("async_cancel_running", &[CANCEL, Opcode(OpenAt::CODE)], async_cancel_running),
    Case::kinds("async_cancel2_user_data", &[CANCEL, CRITERIA], async_cancel2_user_data),
    Case::kinds("async_cancel2_fd", &[CANCEL, CRITERIA], async_cancel2_fd),
    Case::kinds("async_cancel2_any", &[CANCEL, CRITERIA], async_cancel2_any),
    Case::kinds("async_cancel2_refused", &[CANCEL, CRITERIA], async_cancel2_refused),
];

const CRITERIA: Need = Trial {
    what: "cancelling by criteria",
    refusal: Errno::INVAL,
    call: || {
        let mut ring = KINDS[0].build(&Setup::USUAL)?;
        let cancel = AsyncCancel2::new(CancelBuilder::any()).build();
        // SAFETY: a cancellation points to nothing.
        unsafe { ring.run(cancel) }?.to_result()?;
        Ok(())
    },
};

fn nop(ring: &mut dyn Ring) -> Result {
    for user_data in [0, 1, 1 << 63, u64::MAX] {
        let nop = Nop::new().build().user_data(user_data);
        for flags in [Flags::empty(), Flags::ASYNC, Flags::IO_DRAIN] {
            // SAFETY: a NOP uses no memory and no descriptor.
            let done = unsafe { ring.run(nop.flags(flags)) }?;
            assert_eq!((done.user_data(), done.result(), done.flags()), (user_data, 0, 0));
            assert!(done.big.is_none_or(|words| words == [0, 0]), "{done:?}");
        }
    }
    Ok(())
}

fn nop_refused(ring: &mut dyn Ring) -> Result {
    let nop = Nop::new().build();
    let no_such_flag = Flags::from_bits_retain(1 << 7);
    for (entry, errno) in [
        (nop.flags(no_such_flag), Errno::INVAL),
        (nop.flags(Flags::BUFFER_SELECT), Errno::OPNOTSUPP),
        (nop.personality(1), Errno::INVAL),
    ] {
        // SAFETY: a NOP uses no memory and no descriptor.
        assert_eq!(unsafe { ring.run(entry) }?.to_result(), Err(errno), "{entry:?}");
    }
    Ok(())
}

/// A pipe that is never written to, and what is read from it.
struct Silent {
    reader: OwnedFd,
    _writer: OwnedFd,
    buf: [u8; 8],
}

impl Silent {
    fn new() -> Result<Self> {
        let (reader, _writer) = pipe()?;
        Ok(Self { reader, _writer, buf: [0; 8] })
    }

    fn read(&mut self, user_data: u64) -> Entry {
        Read::new(&self.reader, self.buf.as_mut_ptr(), 8).build().user_data(user_data)
    }
}

/// What a cancellation says, and which operations end with it.
fn cancel(ring: &mut dyn Ring, entry: Entry, n: usize) -> Result<(Result<u32, Errno>, Vec<u64>)> {
    const CANCEL: u64 = 100;
    // SAFETY: a cancellation points to nothing.
    unsafe { ring.push(&[entry.user_data(CANCEL)]) }?;
    let done = ring.complete(1 + n)?;
    let (cancels, others): (Vec<&Completion>, Vec<&Completion>) =
        done.iter().partition(|cqe| cqe.user_data() == CANCEL);
    assert_eq!(cancels.len(), 1);
    assert!(others.iter().all(|cqe| cqe.to_result() == Err(Errno::CANCELED)), "{others:?}");
    let mut others: Vec<_> = others.iter().map(|cqe| cqe.user_data()).collect();
    others.sort_unstable();
    Ok((cancels[0].to_result(), others))
}

fn async_cancel(ring: &mut dyn Ring) -> Result {
    let mut silent = Silent::new()?;
    let reads = [silent.read(1), silent.read(2), silent.read(2)];
    // SAFETY: `silent` outlives its reads, each of which is cancelled and waited for.
    unsafe { ring.push(&reads) }?;
    assert_eq!(ring.submit(), Ok(3));
    let one = |user_data| AsyncCancel::new(user_data).build();
    assert_eq!(cancel(ring, one(1), 1)?, (Ok(0), vec![1]));
    assert_eq!(cancel(ring, one(1), 0)?, (Err(Errno::NOENT), vec![]));
    // One at a time.
    assert_eq!(cancel(ring, one(2), 1)?, (Ok(0), vec![2]));
    assert_eq!(cancel(ring, one(2), 1)?, (Ok(0), vec![2]));
    Ok(())
}

fn async_cancel_absent(ring: &mut dyn Ring) -> Result {
    let absent = AsyncCancel::new(7).build();
    assert_eq!(cancel(ring, absent, 0)?, (Err(Errno::NOENT), vec![]));
    Ok(())
}

/// What a worker is at already is told to stop, and says itself how it ended.
fn async_cancel_running(ring: &mut dyn Ring) -> Result {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("fifo");
    mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    let path = c_path(&path)?;
    // Nobody ever opens the other end.
    let open = OpenAt::new(Fd::CWD, path.as_ptr()).build().flags(Flags::ASYNC).user_data(1);
    loop {
        // SAFETY: `path` outlives the opening, for whose end `complete` waits.
        unsafe { ring.push(&[open]) }?;
        assert_eq!(ring.submit(), Ok(1));
        thread::sleep(Duration::from_millis(5));
        // SAFETY: a cancellation points to nothing.
        unsafe { ring.push(&[AsyncCancel::new(1).build().user_data(2)]) }?;
        let mut done = ring.complete(2)?;
        done.sort_by_key(|cqe| cqe.user_data());
        match [done[0].to_result(), done[1].to_result()] {
            // The worker had not begun.
            [Err(Errno::CANCELED), Ok(0)] => {}
            // With what errno an operation is interrupted, is its own affair.
            [Err(_), Err(Errno::ALREADY)] => return Ok(()),
            outcomes => panic!("{outcomes:?}"),
        }
    }
}

fn async_cancel2_user_data(ring: &mut dyn Ring) -> Result {
    let mut silent = Silent::new()?;
    let reads = [1, 2, 2, 2, 3].map(|user_data| silent.read(user_data));
    // SAFETY: `silent` outlives its reads, each of which is cancelled and waited for.
    unsafe { ring.push(&reads) }?;
    assert_eq!(ring.submit(), Ok(5));
    let by = |criteria| AsyncCancel2::new(criteria).build();
    assert_eq!(cancel(ring, by(CancelBuilder::user_data(1)), 1)?, (Ok(0), vec![1]));
    assert_eq!(cancel(ring, by(CancelBuilder::user_data(1)), 0)?, (Err(Errno::NOENT), vec![]));
    assert_eq!(cancel(ring, by(CancelBuilder::user_data(1).all()), 0)?, (Ok(0), vec![]));
    assert_eq!(cancel(ring, by(CancelBuilder::user_data(2).all()), 3)?, (Ok(3), vec![2, 2, 2]));
    assert_eq!(cancel(ring, by(CancelBuilder::user_data(3)), 1)?, (Ok(0), vec![3]));
    Ok(())
}

fn async_cancel2_fd(ring: &mut dyn Ring) -> Result {
    let (mut one, mut other) = (Silent::new()?, Silent::new()?);
    let reads = [one.read(1), other.read(2), one.read(3), one.read(4)];
    // SAFETY: both outlive their reads, each of which is cancelled and waited for.
    unsafe { ring.push(&reads) }?;
    assert_eq!(ring.submit(), Ok(4));
    let by = |criteria| AsyncCancel2::new(criteria).build();
    let (first, ended) = cancel(ring, by(CancelBuilder::fd(&one.reader)), 1)?;
    assert!(first == Ok(0) && ended.len() == 1 && ended != [2], "{first:?} {ended:?}");
    let (rest, ended) = cancel(ring, by(CancelBuilder::fd(&one.reader).all()), 2)?;
    assert!(rest == Ok(2) && ended.len() == 2 && !ended.contains(&2), "{rest:?} {ended:?}");
    assert_eq!(cancel(ring, by(CancelBuilder::fd(&one.reader)), 0)?, (Err(Errno::NOENT), vec![]));
    assert_eq!(cancel(ring, by(CancelBuilder::fd(&other.reader).all()), 1)?, (Ok(1), vec![2]));
    Ok(())
}

fn async_cancel2_any(ring: &mut dyn Ring) -> Result {
    let mut silent = Silent::new()?;
    // All of them, whether it is said or not.
    for criteria in [CancelBuilder::any(), CancelBuilder::any().all()] {
        let reads = [1, 2, 3].map(|user_data| silent.read(user_data));
        // SAFETY: `silent` outlives its reads, each of which is cancelled and waited for.
        unsafe { ring.push(&reads) }?;
        assert_eq!(ring.submit(), Ok(3));
        let entry = AsyncCancel2::new(criteria).build();
        assert_eq!(cancel(ring, entry, 3)?, (Ok(3), vec![1, 2, 3]));
        assert_eq!(cancel(ring, entry, 0)?, (Ok(0), vec![]));
    }
    Ok(())
}

fn async_cancel2_refused(ring: &mut dyn Ring) -> Result {
    let mut no_such_flag = AsyncCancel2::new(CancelBuilder::any()).build();
    no_such_flag.as_raw_mut().op_flags = 1 << 30;
    for (entry, errno) in [
        (AsyncCancel2::new(CancelBuilder::fd(Fd(-1))).build(), Errno::BADF),
        (AsyncCancel2::new(CancelBuilder::fd(Fixed(0))).build(), Errno::BADF),
        (no_such_flag, Errno::INVAL),
    ] {
        assert_eq!(cancel(ring, entry, 0)?, (Err(errno), vec![]), "{entry:?}");
    }
    Ok(())
}
