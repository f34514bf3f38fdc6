//! Rings that reject cancellations, submits or waits.

use std::thread;

use anyhow::ensure;
use rustix::io::{dup, write};
use rustix::pipe::pipe;
use rustix_uring::opcode::{AsyncCancel, Nop, PollAdd, Read};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::sys::io_uring_register_op::*;
use rustix_uring::{Features, Restriction};

use super::*;

const RESTRICT: Need = Register(IORING_REGISTER_RESTRICTIONS as u32);
const DISABLED: Setup = Setup::USUAL.flags(SetupFlags::R_DISABLED);
/// Some kernels allow all register calls if a list names none.
const NO_CALL: Restriction = Restriction::register_op(IORING_REGISTER_PROBE as u8);
/// The restrictions of a program that may use the ring, but may not cancel by register call.
const BY_ENTRIES: &[Restriction] = &[
    NO_CALL,
    Restriction::sqe_op(Nop::CODE),
    Restriction::sqe_op(Read::CODE),
    Restriction::sqe_op(PollAdd::CODE),
    Restriction::sqe_op(AsyncCancel::CODE),
    Restriction::sqe_flags_allowed(Flags::all()),
];

pub(crate) const CASES: &[Case] = &[
    Case::kinds("may_not_cancel", &[RESTRICT], may_not_cancel).setup(DISABLED),
    Case::kinds("by_entries", &[RESTRICT], by_entries).setup(DISABLED),
    Case::kinds("entries_behind_io_drain", &[RESTRICT, CANCELS_ANY], entries_behind_io_drain)
        .setup(DISABLED),
    Case::kinds("disabled", &[RingWith(SetupFlags::R_DISABLED)], disabled).setup(DISABLED),
    Case::once("cannot_enter", &[], cannot_enter),
    Case::once("cannot_enter_for_now", &[], cannot_enter_for_now),
];

fn restrict(ring: &mut dyn Ring, to: &[Restriction]) -> Result {
    ring.submitter().register_restrictions(to)?;
    ring.submitter().register_enable_rings()?;
    Ok(())
}

/// An operation that cannot be canceled may still complete before the time limit.
fn may_not_cancel(ring: &mut dyn Ring) -> Result {
    restrict(ring, &[NO_CALL, Restriction::sqe_op(Read::CODE), Restriction::sqe_op(Nop::CODE)])?;
    let (reader, writer) = pipe()?;
    let mut buf = [0; 8];
    let read = Read::new(&reader, buf.as_mut_ptr(), 8).build().user_data(0);
    // SAFETY: `reader` and `buf` outlive the read, which ends below.
    unsafe { ring.push(&[read]) }?;
    ring.submit()?;
    assert_eq!(parts(ring.quiesce(1, A_WHILE)), Err((Errno::ACCESS, 1)));
    assert!(ring.queue().is_empty());
    write(&writer, b"over")?;
    assert_eq!(ends(ring, 1)?, [(0, Ok(4))]);
    ring.works(5)
}

/// If the register call is rejected, entries cancel instead, and do not join a chain.
fn by_entries(ring: &mut dyn Ring) -> Result {
    restrict(ring, BY_ENTRIES)?;
    newest_is_linked(ring)
}

/// Canceling entries wait behind `IO_DRAIN`, as all entries do. (If the kernel rejects such an
/// entry, it counts that as the completion of an earlier entry, and starts the others too early.)
fn entries_behind_io_drain(ring: &mut dyn Ring) -> Result {
    restrict(ring, BY_ENTRIES)?;
    let (reader, writer) = pipe()?;
    let mut buf = [0; 8];
    let read = Read::new(&reader, buf.as_mut_ptr(), 8).build().user_data(0);
    // SAFETY: `reader` and `buf` outlive the read, which ends below.
    unsafe { ring.push(&[read, nop(1).flags(Flags::IO_DRAIN)]) }?;
    let mut in_flight = 2;
    let quiesced = ring.quiesce_with(&mut in_flight, A_WHILE, &[0, 1], &mut |_| true);
    assert_eq!(parts(quiesced), Err((Errno::TIME, 2)));
    write(&writer, b"over")?;
    assert_eq!(ends(ring, 2)?, [(0, Ok(4)), (1, Ok(0))]);
    // The cancellation of the first call may complete now. The caller can tell it from other
    // completions.
    ring.push_nops([7], Flags::IO_DRAIN)?;
    let mut over = false;
    while !over {
        ring.submit_and_wait(1)?;
        for cqe in ring.reap() {
            ensure!(cqe.is_quiesce() || cqe.user_data() == 7, "{cqe:?}");
            over |= cqe.user_data() == 7;
        }
    }
    ring.works(5)
}

fn disabled(ring: &mut dyn Ring) -> Result {
    ring.push_nops([0], Flags::empty())?;
    assert_eq!(parts(ring.quiesce(1, LIMIT)), Err((Errno::BADFD, 1)));
    ring.submitter().register_enable_rings()?;
    assert_eq!(ends(ring, 1)?, [(0, Ok(0))]);
    ring.works(5)
}

/// Runs in a thread where all enter calls fail with this errno, on a ring that supports wait times
/// or does not. Returns the entries that remained in the queue.
fn with_enter(errno: i32, ext_arg: bool, limit: Duration) -> Result<(Errno, usize, Vec<Entry>)> {
    let maker = IoUring::new(8)?;
    let lacking = if ext_arg { Features::empty() } else { Features::EXT_ARG };
    let params = altered_params(maker.params(), |raw| raw.features &= !lacking.bits());
    // SAFETY: except for one feature, the descriptor and the parameters belong to a ring, which is
    // not used meanwhile.
    let mut ring = unsafe { <IoUring>::from_fd(dup(maker.as_fd())?, params) }?;
    // SAFETY: a timeout points only to a constant.
    unsafe { ring.submission().push(&hour(0)) }?;
    let refuses = move || -> Result<_> {
        // The filter also matches the canceling register call, so that entries would cancel.
        seccomp::answer(libc::SYS_io_uring_enter, errno)?;
        seccomp::answer(libc::SYS_io_uring_register, libc::EINVAL)?;
        let Err(error) = ring.quiesce(1, limit) else {
            anyhow::bail!("`quiesce` succeeds although it cannot wait")
        };
        let left = ring.submission();
        let (older, newer) = left.as_slices();
        Ok((error.errno(), error.in_flight(), [older, newer].concat()))
    };
    thread::spawn(refuses).join().expect("the thread panicked")
}

/// If nothing can ever complete, the call fails immediately.
fn cannot_enter() -> Result {
    for ext_arg in [true, false] {
        let (errno, in_flight, queued) = with_enter(libc::ENXIO, ext_arg, LIMIT)?;
        assert_eq!((errno, in_flight, queued.len()), (Errno::NXIO, 1, 1));
        assert_eq!(queued[0], hour(0));
    }
    Ok(())
}

/// If the error may be temporary, the call retries until the time limit.
fn cannot_enter_for_now() -> Result {
    for ext_arg in [true, false] {
        for (errno, seen) in [(libc::EAGAIN, Errno::AGAIN), (libc::EBUSY, Errno::BUSY)] {
            let (errno, in_flight, queued) = with_enter(errno, ext_arg, A_WHILE)?;
            assert_eq!((errno, in_flight, queued.len()), (seen, 1, 1));
        }
    }
    // Every call is interrupted.
    assert_eq!(with_enter(libc::EINTR, true, A_WHILE)?.0, Errno::TIME);
    Ok(())
}
