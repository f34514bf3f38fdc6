//! An eventfd that the kernel signals for completions.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{read, write};
use rustix::pipe::pipe;
use rustix_uring::opcode::Read;
use rustix_uring::squeue::Flags;
use rustix_uring::sys::io_uring_register_op::*;
use rustix_uring::{Errno, IoUring};

use crate::harness::Need::*;
use crate::harness::*;

const EVENTFD: Need = Register(IORING_REGISTER_EVENTFD as u32);
const ASYNC: Need = Register(IORING_REGISTER_EVENTFD_ASYNC as u32);
const UNREGISTER: Need = Register(IORING_UNREGISTER_EVENTFD as u32);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("register_eventfd", &[EVENTFD, UNREGISTER], register_eventfd),
    Case::kinds("register_eventfd_async", &[ASYNC, UNREGISTER], register_eventfd_async),
    Case::kinds("refused", &[EVENTFD, ASYNC, UNREGISTER], refused),
    Case::once("disable_eventfd", &[EVENTFD], disable_eventfd),
];

fn counter() -> Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::NONBLOCK)?)
}

/// The number of signals since the last call.
fn count(eventfd: &OwnedFd) -> Result<u64> {
    let mut count = [0; 8];
    match read(eventfd, &mut count) {
        Ok(_) => Ok(u64::from_ne_bytes(count)),
        Err(Errno::AGAIN) => Ok(0),
        Err(e) => Err(e.into()),
    }
}

fn register_eventfd(ring: &mut dyn Ring) -> Result {
    let eventfd = counter()?;
    ring.submitter().register_eventfd(&eventfd)?;
    ring.works(1)?;
    assert_ne!(count(&eventfd)?, 0);
    assert_eq!(count(&eventfd)?, 0);
    ring.submitter().unregister_eventfd()?;
    ring.works(1)?;
    assert_eq!(count(&eventfd)?, 0);
    ring.submitter().register_eventfd(&eventfd)?;
    ring.works(1)?;
    assert_ne!(count(&eventfd)?, 0);
    Ok(ring.submitter().unregister_eventfd()?)
}

/// Completions during the submit do not signal the eventfd, and later ones do.
fn register_eventfd_async(ring: &mut dyn Ring) -> Result {
    let eventfd = counter()?;
    ring.submitter().register_eventfd_async(&eventfd)?;
    ring.works(5)?;
    assert_eq!(count(&eventfd)?, 0);
    ring.push_nops([1], Flags::ASYNC)?;
    ring.complete(1)?;
    // The worker thread signals after it posts the completion.
    poll(&mut [PollFd::new(&eventfd, PollFlags::IN)], None)?;
    assert_ne!(count(&eventfd)?, 0);
    Ok(ring.submitter().unregister_eventfd()?)
}

fn refused(ring: &mut dyn Ring) -> Result {
    let (eventfd, no_eventfd) = (counter()?, open("/dev/null", OFlags::RDONLY, Mode::empty())?);
    let ring = ring.submitter();
    assert_eq!(ring.unregister_eventfd(), Err(Errno::NXIO));
    assert_eq!(ring.register_eventfd(&no_eventfd), Err(Errno::INVAL));
    ring.register_eventfd(&eventfd)?;
    assert_eq!(ring.register_eventfd(&eventfd), Err(Errno::BUSY));
    assert_eq!(ring.register_eventfd_async(&eventfd), Err(Errno::BUSY));
    ring.unregister_eventfd()?;
    assert_eq!(ring.unregister_eventfd(), Err(Errno::NXIO));
    Ok(())
}

fn disable_eventfd() -> Result {
    let (eventfd, (reader, writer)) = (counter()?, pipe()?);
    let mut ring = IoUring::new(4)?;
    ring.submitter().register_eventfd(&eventfd)?;
    for enabled in [false, true, false] {
        // The status is available without a view, and a view reports the same.
        let status = ring.completion_status();
        if enabled {
            status.enable_eventfd()
        } else {
            status.disable_eventfd()
        }
        assert_eq!(status.eventfd_disabled(), !enabled);
        assert_eq!(ring.completion().eventfd_disabled(), !enabled);
        let mut byte = 0;
        // SAFETY: the pipe and the byte outlive the read, whose completion is awaited.
        unsafe { ring.submission().push(&Read::new(reader.as_fd(), &mut byte, 1).build()) }?;
        ring.submit()?;
        write(&writer, b"a")?;
        while ring.completion_status().is_empty() {
            ring.submit_and_wait(1)?;
        }
        assert_eq!(ring.completion().count(), 1);
        assert_eq!(count(&eventfd)? != 0, enabled);
    }
    Ok(())
}
