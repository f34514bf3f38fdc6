//! Calls into the kernel: submitting and waiting.

pub(crate) mod args;
pub(crate) mod iopoll;
pub(crate) mod sqpoll;
pub(crate) mod taskrun;

use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::write;
use rustix::pipe::pipe;
use rustix_uring::opcode::Read;
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::types::SubmitArgs;
use rustix_uring::{EnterFlags, Errno, IoUring, SetupFlags};

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("submit", &[], submit),
    Case::kinds("submit_and_wait", &[], submit_and_wait),
    Case::kinds("wait", &[], wait),
    Case::once("enter", &[], enter),
    Case::once("enter_refused", &[], enter_refused),
    Case::once("squeue_wait_elsewhere", &[], squeue_wait_elsewhere),
    Case::once("parts_in_threads", &[], parts_in_threads),
    Case::once("submitter_ends", &[Opcode(Read::CODE)], submitter_ends),
    Case::once(
        "submitter_ends_sqpoll",
        &[Opcode(Read::CODE), RingWith(SetupFlags::SQPOLL)],
        submitter_ends_sqpoll,
    ),
];

/// A read that waits until its pipe is written to.
struct Waiting {
    reader: OwnedFd,
    writer: OwnedFd,
    buf: [u8; 8],
}

impl Waiting {
    fn new() -> Result<Self> {
        let (reader, writer) = pipe()?;
        Ok(Self { reader, writer, buf: [0; 8] })
    }

    /// The read, which uses the memory and the pipe of `self`.
    fn read(&mut self, user_data: u64) -> Entry {
        Read::new(&self.reader, self.buf.as_mut_ptr(), 8).build().user_data(user_data)
    }

    /// Makes the read complete.
    fn release(&self) -> Result {
        write(&self.writer, b"go ahead")?;
        Ok(())
    }
}

const A_WHILE: Duration = Duration::from_millis(20);

fn submit(ring: &mut dyn Ring) -> Result {
    assert_eq!(ring.submit(), Ok(0));
    for n in 1..=16 {
        ring.push_nops(0..n, Flags::empty())?;
        assert_eq!(ring.submit(), Ok(n as usize));
        assert_eq!(ring.submit(), Ok(0));
        // NOPs complete during the submit.
        assert!(ring.reap().iter().map(|cqe| cqe.user_data()).eq(0..n));
    }
    Ok(())
}

fn submit_and_wait(ring: &mut dyn Ring) -> Result {
    let mut waiting = Waiting::new()?;
    // SAFETY: `waiting` outlives its read, whose completion is awaited.
    unsafe { ring.push(&[waiting.read(1)]) }?;
    ring.push_nops([2, 3], Flags::empty())?;
    let start = Instant::now();
    let taken = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(A_WHILE);
            waiting.release()
        });
        ring.submit_and_wait(3)
    });
    assert!(start.elapsed() >= A_WHILE);
    assert_eq!(taken, Ok(3));
    assert!(ring.reap().iter().map(|cqe| cqe.user_data()).eq([2, 3, 1]));
    Ok(())
}

fn wait(ring: &mut dyn Ring) -> Result {
    let mut waiting = Waiting::new()?;
    // SAFETY: `waiting` outlives its read, whose completion is awaited.
    unsafe { ring.push(&[waiting.read(1)]) }?;
    ring.submit()?;
    // Queued entries stay queued.
    ring.push_nops([2], Flags::empty())?;
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(A_WHILE);
            waiting.release()
        });
        ring.submitter().wait(1)
    })?;
    assert!(ring.reap().iter().map(|cqe| cqe.user_data()).eq([1]));
    assert_eq!(ring.queue().len(), 1);
    // With 0 wanted completions, the call does not wait.
    ring.submitter().wait(0)?;
    assert_eq!(ring.complete(1)?[0].user_data(), 2);
    Ok(())
}

fn enter() -> Result {
    let mut ring = IoUring::new(8)?;
    let (submitter, mut queue, mut done) = ring.split();
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe {
        queue.push_multiple(&[nop(1), nop(2), nop(3)])?;
        queue.sync();
        assert_eq!(submitter.enter(0, 0, EnterFlags::empty(), None), Ok(0));
        assert_eq!(submitter.enter(2, 2, EnterFlags::GETEVENTS, None), Ok(2));
        done.sync();
        assert!(done.by_ref().map(|cqe| cqe.user_data()).eq([1, 2]));
        // The count exceeds the number of queued entries.
        assert_eq!(submitter.enter(100, 0, EnterFlags::empty(), Some(&SubmitArgs::new())), Ok(1));
    }
    done.sync();
    assert!(done.by_ref().map(|cqe| cqe.user_data()).eq([3]));
    Ok(())
}

/// If the kernel rejects the call, the error is returned unchanged.
fn enter_refused() -> Result {
    let ring = IoUring::new(8)?;
    // SAFETY: nothing is queued.
    let refused = |flags| unsafe { ring.submitter().enter(0, 0, flags, None) };
    assert_eq!(refused(EnterFlags::from_bits_retain(1 << 30)), Err(Errno::INVAL));
    // As an index, the number would name another ring.
    assert_eq!(refused(EnterFlags::REGISTERED_RING), Err(Errno::INVAL));
    // The argument is missing.
    assert_eq!(refused(EnterFlags::GETEVENTS | EnterFlags::EXT_ARG), Err(Errno::INVAL));
    Ok(())
}

/// The ring has no SQPOLL thread to wait for.
fn squeue_wait_elsewhere() -> Result {
    let mut ring = IoUring::new(2)?;
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe { ring.submission().push_multiple(&[nop(1), nop(2)]) }?;
    assert_eq!(ring.submitter().squeue_wait(), Ok(0));
    assert!(ring.submission().is_full());
    Ok(())
}

/// One thread submits, and another one reaps.
fn parts_in_threads() -> Result {
    const N: u64 = 20_000;
    let mut ring = IoUring::new(8)?;
    let (submitter, mut queue, mut done) = ring.split();
    thread::scope(|scope| -> Result {
        let submitting = scope.spawn(move || -> Result {
            for n in 0..N {
                // SAFETY: NOPs use no memory and no descriptor.
                while unsafe { queue.push(&nop(n)) }.is_err() {
                    queue.sync();
                    match submitter.submit() {
                        Ok(_) | Err(Errno::BUSY) => queue.sync(),
                        Err(e) => return Err(e.into()),
                    }
                }
            }
            queue.sync();
            while !queue.is_empty() {
                match submitter.submit() {
                    Ok(_) | Err(Errno::BUSY) => queue.sync(),
                    Err(e) => return Err(e.into()),
                }
            }
            Ok(())
        });
        let mut reaped = Vec::new();
        while reaped.len() < N as usize {
            done.sync();
            if done.is_empty() {
                // Some completions may have overflowed.
                submitter.get_events()?;
            }
            reaped.extend(done.by_ref().map(|cqe| cqe.user_data()));
        }
        // In older kernels, later completions may overtake those that overflowed.
        reaped.sort_unstable();
        assert!(reaped.into_iter().eq(0..N));
        submitting.join().expect("the submitting thread panicked")
    })
}

/// Returns the result of a waiting read if the thread that submitted it exits before data arrives.
fn read_of_a_thread(mut ring: IoUring) -> Result<Result<u32, Errno>> {
    let mut waiting = Waiting::new()?;
    let read = waiting.read(1);
    thread::scope(|scope| {
        let submit = || -> Result {
            // SAFETY: `waiting` outlives the read, whose completion is awaited.
            unsafe { ring.submission().push(&read) }?;
            ring.submit()?;
            thread::sleep(A_WHILE);
            Ok(())
        };
        scope.spawn(submit).join().expect("the submitting thread panicked")
    })?;
    waiting.release()?;
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().expect("there is no completion");
    Ok(done.to_result())
}

/// Operations belong to the thread that submitted them.
fn submitter_ends() -> Result {
    assert_eq!(read_of_a_thread(IoUring::new(8)?)?, Err(Errno::CANCELED));
    Ok(())
}

/// With SQPOLL, operations belong to the polling thread, whichever thread pushed them.
fn submitter_ends_sqpoll() -> Result {
    assert_eq!(read_of_a_thread(IoUring::builder().setup_sqpoll(100).build(8)?)?, Ok(8));
    Ok(())
}
