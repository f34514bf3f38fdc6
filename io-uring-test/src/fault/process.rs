//! Tasks that exit, and tasks that inherited a ring.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::io::{read, write};
use rustix::pipe::pipe;
use rustix_uring::opcode::Read;
use rustix_uring::sys::io_uring_register_op::*;
use rustix_uring::{Errno, Features, IoUring, Local, SetupFlags, cqueue, squeue};

use crate::harness::Need::*;
use crate::harness::*;

const SINGLE: SetupFlags = SetupFlags::SINGLE_ISSUER;
const RING_FDS: Need = Register(IORING_REGISTER_RING_FDS as u32);
/// With this feature, the thread of an SQPOLL ring belongs to the process that created the ring.
const NATIVE: Need = Feature(Features::NATIVE_WORKERS);

pub(crate) const CASES: &[Case] = &[
    Case::once("child_takes_part", &[], child_takes_part),
    Case::once("child_of_single_issuer", &[RingWith(SINGLE)], child_of_single_issuer),
    Case::once("child_has_no_index", &[RING_FDS], child_has_no_index),
    Case::once("child_ends_with_requests", &[], child_ends_with_requests),
    Case::once("thread_ends_with_requests", &[], thread_ends_with_requests),
    Case::once("thread_ends_with_rings", &[RING_FDS], thread_ends_with_rings),
    Case::once("owner_dead", &[RingWith(SetupFlags::SQPOLL), NATIVE], owner_dead),
];

/// A forked child shares the queues: the parent sees the completions of what the child submits.
fn child_takes_part() -> Result {
    let mut ring = IoUring::new(8)?;
    works(&mut ring, 3)?;
    for n in 0..20 {
        let taken = in_child(|| {
            // SAFETY: a NOP uses no memory and no descriptor.
            unsafe { ring.submission().push(&nop(n)) }?;
            Ok(ring.submit()? as i32)
        })?;
        assert_eq!(taken, 1);
        assert!(ring.completion().map(|cqe| cqe.user_data()).eq([n]));
    }
    works(&mut ring, 20)
}

/// The child is another task, so a single-issuer ring rejects its submits.
fn child_of_single_issuer() -> Result {
    let mut ring = <IoUring>::builder().setup_single_issuer().build(8)?;
    works(&mut ring, 3)?;
    let refusal = in_child(|| {
        // SAFETY: a NOP uses no memory and no descriptor.
        unsafe { ring.submission().push(&nop(7)) }?;
        Ok(ring.submit().err().map_or(0, Errno::raw_os_error))
    })?;
    assert_eq!(refusal, Errno::EXIST.raw_os_error());
    // The queue is shared nevertheless: the entry that the child pushed runs now.
    assert_eq!(ring.submit_and_wait(1), Ok(1));
    assert!(ring.completion().map(|cqe| cqe.user_data()).eq([7]));
    works(&mut ring, 20)
}

/// A child does not inherit an index, and dropping its copy of the ring does not affect the parent.
fn child_has_no_index() -> Result {
    let mut ring = IoUring::new(8)?.into_local();
    ring.register_ring_fd()?;
    works(&mut ring, 3)?;
    let index = ring.registered_index();
    let refusal = in_child(|| {
        // SAFETY: this process uses only the copy.
        let ring = unsafe { ptr::read(&raw const ring) };
        let refusal = ring.submit_and_wait(1).err();
        drop(ring);
        Ok(refusal.map_or(0, Errno::raw_os_error))
    })?;
    // The errno depends on the kernel.
    let refusal = Errno::from_raw_os_error(refusal);
    assert!(matches!(refusal, Errno::INVAL | Errno::BADF), "{refusal}");
    assert_eq!(ring.registered_index(), index);
    works(&mut ring, 20)
}

/// Waits for the one operation in flight. It is canceled now, or was canceled when its task exited.
fn comes_to_its_end(ring: &mut IoUring, user_data: u64) -> Result {
    let (mut in_flight, mut ends) = (1, Vec::new());
    ring.quiesce_with(&mut in_flight, LIMIT, &[user_data], |cqe| {
        ends.push((cqe.user_data(), cqe.to_result()));
        true
    })?;
    ensure!(ends == [(user_data, Err(Errno::CANCELED))], "{ends:?}");
    works(ring, 5)
}

/// A read that waits, into memory that lives for the rest of the process.
fn endless_read(reader: &OwnedFd, user_data: u64) -> squeue::Entry {
    let buf = Box::leak(Box::new([0_u8; 8]));
    Read::new(reader, buf.as_mut_ptr(), 8).build().user_data(user_data)
}

/// An operation may outlive the task that submitted it. Whichever task has the ring can end it.
fn child_ends_with_requests() -> Result {
    let (reader, _writer) = pipe()?;
    let mut ring = IoUring::new(8)?;
    for n in 0..5 {
        in_child(|| {
            // SAFETY: the descriptor is open, and the child never frees the memory.
            unsafe { ring.submission().push(&endless_read(&reader, n)) }?;
            Ok(ring.submit()? as i32)
        })?;
        comes_to_its_end(&mut ring, n)?;
    }
    Ok(())
}

fn thread_ends_with_requests() -> Result {
    static mut BUF: [u8; 8] = [0; 8];
    let (reader, _writer) = pipe()?;
    let mut ring = IoUring::new(8)?;
    for n in 0..20 {
        let read = Read::new(&reader, (&raw mut BUF).cast(), 8).build().user_data(n);
        let submit = || {
            // SAFETY: the descriptor stays open, and the memory is never freed.
            unsafe { ring.submission().push(&read) }?;
            Ok::<_, anyhow::Error>(ring.submit()?)
        };
        let submitted = thread::scope(|scope| scope.spawn(submit).join());
        assert_eq!(submitted.expect("panics are caught by the harness")?, 1);
        comes_to_its_end(&mut ring, n)?;
    }
    Ok(())
}

/// Rings that are dropped at the very end of their thread release what they have.
fn thread_ends_with_rings() -> Result {
    thread_local! {
        static RINGS: RefCell<Vec<IoUring<squeue::Entry, cqueue::Entry, Local>>> =
            const { RefCell::new(Vec::new()) };
    }
    let before = descriptors()?;
    for _ in 0..20 {
        let thread = thread::spawn(|| -> Result {
            for _ in 0..16 {
                let mut ring = <IoUring>::builder().build_local(4)?;
                works(&mut ring, 2)?;
                ensure!(ring.registered_index().is_some(), "a registered ring index is missing");
                RINGS.with_borrow_mut(|rings| rings.push(ring));
            }
            Ok(())
        });
        thread.join().expect("panics are caught by the harness")?;
        assert_eq!(descriptors()?, before);
    }
    Ok(())
}

/// A process exits whose SQPOLL ring another process inherited, and the SQPOLL thread ends with it.
fn owner_dead() -> Result {
    let (reader, writer) = pipe()?;
    in_child(|| {
        let mut ring = <IoUring>::builder().setup_sqpoll(1).build(8)?;
        works(&mut ring, 3)?;
        // SAFETY: the child has only this thread, and does its work without waiting for other
        // threads.
        match unsafe { libc::fork() } {
            -1 => bail!("fork"),
            0 => {
                let said = match outlived(ring) {
                    Ok(errno) => errno.raw_os_error() as u8,
                    Err(_) => 0,
                };
                let _ = write(&writer, &[said]);
                // SAFETY: ends the child without running the exit handlers of its parent.
                unsafe { libc::_exit(0) }
            }
            _ => Ok(0),
        }
    })?;
    drop(writer);
    let mut said = [0; 2];
    assert_eq!(read(&reader, &mut said)?, 1, "the read did not complete");
    assert_eq!(Errno::from_raw_os_error(said[0].into()), Errno::OWNERDEAD);
    Ok(())
}

/// Returns the errno with which the kernel rejects submissions once the thread is gone. It rejects
/// every way to submit or wait alike, and dropping the ring leaves nothing behind.
fn outlived(mut ring: IoUring) -> Result<Errno> {
    let before = descriptors()?;
    let start = Instant::now();
    let refusal = loop {
        // SAFETY: a NOP uses no memory and no descriptor.
        let _ = unsafe { ring.submission().push(&nop(1)) };
        if let Err(errno) = ring.submit() {
            break errno;
        }
        ring.completion().for_each(drop);
        ensure!(start.elapsed() < Duration::from_secs(10), "the SQPOLL thread still runs");
        thread::sleep(Duration::from_millis(1));
    };
    // Completions that the thread still posted do not count as left over.
    ring.completion().for_each(drop);
    let left = ring.submission().len();
    ensure!(ring.submit_and_wait(1).err() == Some(refusal));
    ensure!(ring.submitter().squeue_wait().err() == Some(refusal));
    let Err(error) = ring.quiesce(left, LIMIT) else {
        bail!("`quiesce` succeeds although it cannot wait")
    };
    ensure!((error.errno(), error.in_flight()) == (refusal, left), "{error}");
    drop(ring);
    ensure!(
        descriptors()?.checked_add(1).context("the number of descriptors overflows")? == before
    );
    Ok(refusal)
}
