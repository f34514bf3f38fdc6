//! Quiescing: ending all operations in flight.

pub(crate) mod refused;
pub(crate) mod silent;

use std::io::Write;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::fs::{Advice, fadvise};
use rustix::io::dup;
use rustix::pipe::pipe;
use rustix_uring::opcode::{AsyncCancel2, Nop, PollAdd, Read, Timeout};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::sys::io_uring_register_op::IORING_REGISTER_SYNC_CANCEL;
use rustix_uring::types::{CancelBuilder, PollFlags, Timespec};
use rustix_uring::{Errno, Features, IoUring, QuiesceError, SetupFlags, sys};

use crate::harness::Need::*;
use crate::harness::*;
use crate::opcode::taken;

const SQPOLL: SetupFlags = SetupFlags::SQPOLL;
const IOPOLL: SetupFlags = SetupFlags::IOPOLL;
const CALL: Need = Register(IORING_REGISTER_SYNC_CANCEL as u32);
const DEFER: SetupFlags = SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("in_flight", &[], in_flight),
    Case::kinds("in_flight_sqpoll", &[RingWith(SQPOLL)], in_flight)
        .setup(Setup::USUAL.flags(SQPOLL)),
    Case::kinds("in_flight_defer", &[RingWith(DEFER)], in_flight).setup(Setup::USUAL.flags(DEFER)),
    Case::kinds("nothing_in_flight", &[], nothing_in_flight),
    Case::kinds("more_than_fits", &[Feature(Features::NODROP)], more_than_fits),
    Case::kinds("not_all_counts", &[], not_all_counts),
    Case::kinds("one_too_many", &[], one_too_many),
    Case::kinds("newest_is_linked", &[], newest_is_linked),
    Case::kinds("newest_is_linked_sqpoll", &[RingWith(SQPOLL)], newest_is_linked)
        .setup(Setup::USUAL.flags(SQPOLL)),
    Case::kinds("behind_io_drain", &[CALL], behind_io_drain),
    Case::kinds("polled", &[RingWith(IOPOLL)], polled).setup(Setup::USUAL.flags(IOPOLL)),
    Case::kinds(
        "mixed_overflows",
        &[RingWith(SetupFlags::CQE_MIXED), CANCELS_ANY],
        mixed_overflows,
    )
    .setup(Setup::new(8).cq_entries(8)),
    Case::once("panic_keeps_count", &[], panic_keeps_count),
    Case::once("without_ext_arg", &[], without_ext_arg),
    Case::once("failure_keeps_count", &[RingWith(SetupFlags::SINGLE_ISSUER)], failure_keeps_count),
    Case::kinds("direct_read", &[DISK, CANCELS_ANY, SLOW], direct_read),
    Case::kinds("buffered_read", &[DISK], buffered_read),
];

/// A time limit for operations that cannot end.
const A_WHILE: Duration = Duration::from_millis(100);

/// A timeout that never expires during a test.
fn hour(user_data: u64) -> Entry {
    static HOUR: Timespec = Timespec::new().sec(3600);
    Timeout::new(&HOUR).build().user_data(user_data)
}

/// Quiesces, and returns the results of completions during that time, by user data.
fn ends(ring: &mut dyn Ring, in_flight: usize) -> Result<Vec<(u64, Result<u32, Errno>)>> {
    let mut left = in_flight;
    let mut done = Vec::new();
    let user_data: Vec<_> = (0..in_flight as u64).collect();
    ring.quiesce_with(&mut left, LIMIT, &user_data, &mut |cqe| {
        done.push((cqe.user_data(), cqe.to_result()));
        true
    })?;
    assert_eq!(left, 0);
    done.sort_by_key(|(user_data, _)| *user_data);
    Ok(done)
}

/// The parts of an error.
fn parts(quiesced: Result<(), QuiesceError>) -> Result<(), (Errno, usize)> {
    quiesced.map_err(|error| (error.errno(), error.in_flight()))
}

/// Operations that wait forever, have completed, or are not submitted yet.
fn in_flight(ring: &mut dyn Ring) -> Result {
    let cancelled = Err(Errno::CANCELED);
    let (reader, _writer) = pipe()?;
    let mut buf = [0; 8];
    let buf = buf.as_mut_ptr();
    let read = |user_data| Read::new(&reader, buf, 8).build().user_data(user_data);
    // SAFETY: `reader` and `buf` outlive the reads, which `quiesce_with` ends.
    unsafe { ring.push(&[read(0), hour(1), nop(2), hour(3).flags(Flags::IO_LINK), nop(4)]) }?;
    ring.submit()?;
    // SAFETY: `reader` and `buf` outlive the read, which `quiesce_with` ends. A NOP uses no memory, and a
    // timeout points only to a constant.
    unsafe { ring.push(&[nop(5), read(6), hour(7)]) }?;
    let done = ends(ring, 8)?;
    let expected = [cancelled, cancelled, Ok(0), cancelled, cancelled, Ok(0), cancelled, cancelled];
    assert!(done.into_iter().eq((0..).zip(expected)));
    ring.works(20)
}

fn nothing_in_flight(ring: &mut dyn Ring) -> Result {
    assert_eq!(ends(ring, 0)?, []);
    ring.push_nops(0..3, Flags::empty())?;
    assert_eq!(ends(ring, 3)?, [(0, Ok(0)), (1, Ok(0)), (2, Ok(0))]);
    ring.works(5)
}

/// More completions than fit in the completion queue, with a full submission queue.
fn more_than_fits(ring: &mut dyn Ring) -> Result {
    for start in (0..80).step_by(16) {
        let hours: Vec<_> = (start..start + 16).map(hour).collect();
        // SAFETY: a timeout points only to a constant.
        unsafe { ring.push(&hours) }?;
        if start < 64 {
            assert_eq!(ring.submit(), Ok(16));
        }
    }
    assert!(ring.queue().is_full());
    if ring.kind().flags.contains(SetupFlags::CQE_MIXED) {
        // Neither this call nor a later one can tell whether a completion arrived twice.
        let (errno, left) = parts(ring.quiesce(80, A_WHILE)).unwrap_err();
        assert_eq!(errno, Errno::OVERFLOW);
        assert_eq!(parts(ring.quiesce(left, A_WHILE)), Err((Errno::TIME, left)));
        return ring.works(50);
    }
    let done = ends(ring, 80)?;
    assert!(done.into_iter().eq((0..80).map(|n| (n, Err(Errno::CANCELED)))));
    ring.works(50)
}

/// Some completions belong to no entry of this ring, for example messages from other rings.
fn not_all_counts(ring: &mut dyn Ring) -> Result {
    ring.push_nops([100, 101, 102], Flags::empty())?;
    // SAFETY: a timeout points only to a constant.
    unsafe { ring.push(&[hour(0), hour(1)]) }?;
    ring.submit()?;
    let (mut in_flight, mut others) = (2, 0);
    ring.quiesce_with(&mut in_flight, LIMIT, &[0, 1], &mut |cqe| {
        others += u32::from(cqe.user_data() >= 100);
        cqe.user_data() < 100
    })?;
    assert_eq!((in_flight, others), (0, 3));
    ring.works(5)
}

/// The call times out if it waits for a completion that never arrives.
fn one_too_many(ring: &mut dyn Ring) -> Result {
    ring.push_nops([0], Flags::empty())?;
    // SAFETY: a timeout points only to a constant.
    unsafe { ring.push(&[hour(1)]) }?;
    let mut in_flight = 3;
    let quiesced = ring.quiesce_with(&mut in_flight, A_WHILE, &[0, 1], &mut |_| true);
    assert_eq!((parts(quiesced), in_flight), (Err((Errno::TIME, 1)), 1));
    assert_eq!(parts(ring.quiesce(1, Duration::ZERO)), Err((Errno::TIME, 1)));
    ring.works(5)
}

/// A cancellation must not become part of the chain that it is to cancel, whether the queue is full
/// or not.
fn newest_is_linked(ring: &mut dyn Ring) -> Result {
    let lengths = [(Flags::IO_LINK, 16), (Flags::IO_HARDLINK, 2)];
    for (flag, longest) in [(Flags::empty(), 16)].into_iter().chain(lengths) {
        for n in [1, longest] {
            let (reader, _writer) = pipe()?;
            let poll = PollAdd::new(&reader, PollFlags::IN).build();
            let polls: Vec<_> = (0..n).map(|i| poll.user_data(i).flags(flag)).collect();
            // SAFETY: the pipe outlives the polls, which `quiesce_with` ends.
            unsafe { ring.push(&polls) }?;
            // A hard link continues after a canceled entry, so the polls start one at a time.
            let done = ends(ring, n as usize)?;
            ensure!(done.iter().all(|end| end.1 == Err(Errno::CANCELED)), "{flag:?}: {done:?}");
        }
    }
    ring.works(5)
}

/// An entry that waits for all earlier ones can still be canceled.
fn behind_io_drain(ring: &mut dyn Ring) -> Result {
    // SAFETY: a timeout points only to a constant.
    unsafe { ring.push(&[hour(0), nop(1).flags(Flags::IO_DRAIN), hour(2)]) }?;
    let done = ends(ring, 3)?;
    let cancelled = Err(Errno::CANCELED);
    assert_eq!(done, [(0, cancelled), (1, Ok(0)), (2, cancelled)]);
    ring.works(5)
}

/// On IOPOLL rings, completions appear only when polled for. Older kernels reject operations that
/// cannot be polled for.
fn polled(ring: &mut dyn Ring) -> Result {
    ring.push_nops([0, 1, 2], Flags::empty())?;
    assert_eq!(ends(ring, 3)?.len(), 3);
    assert_eq!(parts(ring.quiesce(1, A_WHILE)), Err((Errno::TIME, 1)));
    Ok(())
}

/// Seven NOPs of both sizes overflow the queue in such a way that one completion arrives twice.
fn mixed_overflows(ring: &mut dyn Ring) -> Result {
    if !ring.kind().flags.contains(SetupFlags::CQE_MIXED) {
        return Ok(());
    }
    let big = |user_data| Nop::new().big_cqe([5, 6]).build().user_data(user_data);
    let nops = [nop(0), big(1), big(2), big(3), big(4), nop(5), nop(6)];
    // SAFETY: NOPs use no memory, and a timeout points only to a constant.
    unsafe { ring.push(&nops) }?;
    ring.submit()?;
    // SAFETY: a timeout points only to a constant.
    unsafe { ring.push(&[hour(7)]) }?;
    assert_eq!(parts(ring.quiesce(8, A_WHILE)), Err((Errno::OVERFLOW, 8)));
    assert_eq!(parts(ring.quiesce(8, A_WHILE)), Err((Errno::TIME, 8)));
    ring.works(20)
}

/// Completions that `is_counted` handled before it panicked stay counted.
fn panic_keeps_count() -> Result {
    let mut ring = IoUring::new(8)?;
    // SAFETY: a NOP uses nothing.
    unsafe { ring.submission().push_multiple(&[nop(0), nop(1), nop(2)]) }?;
    ring.submit()?;
    let mut in_flight = 3;
    let quiesces = || {
        ring.quiesce_with(&mut in_flight, LIMIT, &[], |cqe| {
            assert_ne!(cqe.user_data(), 1, "this panic is intended");
            true
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(quiesces)).is_err());
    assert_eq!(in_flight, 2);
    // The completion that it handled is consumed.
    assert_eq!(parts(ring.quiesce(in_flight - 1, LIMIT)), Ok(()));
    works(&mut ring, 5)
}

/// Quiescing on kernels where a wait cannot have a time limit.
fn without_ext_arg() -> Result {
    let maker = IoUring::new(8)?;
    let params = altered_params(maker.params(), |raw| raw.features &= !Features::EXT_ARG.bits());
    // SAFETY: except for one feature, the descriptor and the parameters belong to a ring, which is
    // not used meanwhile.
    let mut ring = unsafe { <IoUring>::from_fd(dup(maker.as_fd())?, params) }?;
    // SAFETY: a timeout points only to a constant.
    unsafe { ring.submission().push_multiple(&[hour(0), hour(1)]) }?;
    let mut in_flight = 2;
    ring.quiesce_with(&mut in_flight, LIMIT, &[0, 1], |_| true)?;
    assert_eq!(in_flight, 0);
    // Nothing in flight would wake the call.
    assert_eq!(parts(ring.quiesce(1, A_WHILE)), Err((Errno::TIME, 1)));
    works(&mut ring, 5)
}

/// If the call fails, it reports how many operations are still in flight.
fn failure_keeps_count() -> Result {
    let mut ring = <IoUring>::builder().setup_single_issuer().build(8)?;
    // SAFETY: a timeout points only to a constant, and a NOP uses no memory.
    unsafe { ring.submission().push_multiple(&[hour(0), nop(1), hour(2)]) }?;
    ring.submit()?;
    let elsewhere = move || {
        let mut in_flight = 3;
        let quiesced = ring.quiesce_with(&mut in_flight, LIMIT, &[0, 1, 2], |_| true);
        (ring, quiesced, in_flight)
    };
    let (mut ring, quiesced, in_flight) =
        thread::spawn(elsewhere).join().expect("the thread panicked");
    assert_eq!((parts(quiesced), in_flight), (Err((Errno::EXIST, 2)), 2));
    // It does not leave a cancellation in the queue for the next submit either.
    assert!(ring.submission().is_empty());
    ring.submit()?;
    assert!(ring.completion_status().is_empty(), "{:?}", ring.completion().next());
    ring.quiesce(in_flight, LIMIT)?;
    works(&mut ring, 5)
}

const CANCELS_ANY: Need = Trial {
    what: "cancellation of any operation",
    refusal: Errno::INVAL,
    call: || {
        let mut cancel = nop(1).into_raw();
        cancel.opcode = AsyncCancel2::CODE;
        cancel.op_flags = sys::IORING_ASYNC_CANCEL_ANY;
        // SAFETY: a cancellation uses no memory.
        unsafe { taken(Entry::from_raw(cancel), &[]) }
    },
};

const PART: usize = 4 << 20;
const PARTS: usize = 4;

/// A file that takes time to read, its content, and memory for the reads.
struct Large {
    content: Vec<u8>,
    usual: std::fs::File,
    direct: std::fs::File,
    memory: Pages,
}

impl Large {
    fn new() -> Result<Self> {
        let (mut usual, direct) = direct_file()?.context("the disk for direct I/O is gone")?;
        let mut content = vec![0; PART * PARTS];
        for (i, page) in content.chunks_mut(4096).enumerate() {
            page.fill((i % 251) as u8 + 1);
        }
        usual.write_all(&content)?;
        usual.sync_all()?;
        let memory = Pages::new(content.len())?;
        Ok(Self { content, usual, direct, memory })
    }

    /// Reads the whole file in parts.
    fn reads(&self, fd: impl AsFd) -> Vec<Entry> {
        let part = |i: usize| {
            // SAFETY: the pointer stays within the memory.
            let buf = unsafe { self.memory.all().cast::<u8>().add(i * PART) };
            let read = Read::new(fd.as_fd(), buf.as_ptr(), PART as u32);
            read.offset((i * PART) as u64).build().user_data(i as u64)
        };
        (0..PARTS).map(part).collect()
    }

    /// Checks that every part has completed, and that the memory holds the data that was read.
    fn check(&self, done: &[(u64, Result<u32, Errno>)]) -> Result {
        ensure!(done.len() == PARTS, "{done:?}");
        // SAFETY: the memory is initialized, and the reads have completed.
        let memory = unsafe { self.memory.all().as_ref() };
        for &(i, read) in done {
            let start = i as usize * PART;
            let part = start..start + read.unwrap_or(0) as usize;
            ensure!(
                memory[part.clone()] == self.content[part],
                "part {i} of the memory does not hold the data that was read"
            );
        }
        Ok(())
    }
}

const DISK: Need = Found {
    what: "a disk for temporary files that supports direct I/O",
    look: || Ok(direct_file()?.is_some()),
};

const SLOW: Need = Found {
    what: "a disk slow enough for direct reads to outlast a cancellation",
    look: || {
        let large = Large::new()?;
        for _ in 0..10 {
            if direct_reads(&mut *KINDS[0].build(&Setup::USUAL)?, &large)? {
                return Ok(true);
            }
        }
        Ok(false)
    },
};

/// A cancellation does not find direct I/O. Its result proves nothing: only the completion proves
/// that the read ended.
fn direct_read(ring: &mut dyn Ring) -> Result {
    let large = Large::new()?;
    // A slow machine with a fast disk may need many attempts. The data must be right in each of
    // them.
    for _ in 0..20 {
        if direct_reads(ring, &large)? {
            break;
        }
    }
    ring.works(5)
}

/// Starts direct reads, cancels, and quiesces. Returns whether a read was still in flight after the
/// cancellation found nothing.
fn direct_reads(ring: &mut dyn Ring, large: &Large) -> Result<bool> {
    const CANCEL: u64 = 100;
    // SAFETY: the memory is initialized, and nothing else uses it.
    unsafe { large.memory.all().cast::<u8>().write_bytes(0, large.content.len()) };
    let cancel = AsyncCancel2::new(CancelBuilder::any().all()).build().user_data(CANCEL);
    // SAFETY: `large` outlives the reads, which `quiesce_with` ends. A cancellation uses no memory.
    unsafe {
        ring.push(&large.reads(&large.direct))?;
        ring.push(&[cancel])?;
    }
    assert_eq!(ring.submit(), Ok(PARTS + 1));
    let mut done = ring.reap();
    while !done.iter().any(|cqe| cqe.user_data() == CANCEL) {
        ring.submit_and_wait(1)?;
        done.extend(ring.reap());
    }
    let (cancels, mut reads): (Vec<_>, Vec<_>) = done
        .iter()
        .map(|cqe| (cqe.user_data(), cqe.to_result()))
        .partition(|(user_data, _)| *user_data == CANCEL);
    let in_flight = PARTS - reads.len();
    reads.extend(ends(ring, in_flight)?);
    large.check(&reads)?;
    assert_eq!(cancels, [(CANCEL, Ok(0))]);
    assert!(reads.iter().all(|(_, read)| *read == Ok(PART as u32)), "{reads:?}");
    Ok(in_flight > 0)
}

fn buffered_read(ring: &mut dyn Ring) -> Result {
    let large = Large::new()?;
    // Drops the page cache, so that the reads have to wait.
    fadvise(&large.usual, 0, None, Advice::DontNeed)?;
    // SAFETY: `large` outlives the reads, which `quiesce_with` ends.
    unsafe { ring.push(&large.reads(&large.usual)) }?;
    assert_eq!(ring.submit(), Ok(PARTS));
    let done = ends(ring, PARTS)?;
    large.check(&done)?;
    // Reads that no worker had started are canceled.
    let ends =
        |read: Result<u32, Errno>| matches!(read, Ok(1..) | Err(Errno::CANCELED | Errno::INTR));
    assert!(done.iter().all(|(_, read)| ends(*read)), "{done:?}");
    ring.works(5)
}
