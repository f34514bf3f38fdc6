//! The completion queue: ready completions, released slots, and completions that wait for a slot.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::ensure;
use rustix_uring::cqueue::{Entry, Entry32, EntryMarker, Kind, Mixed};
use rustix_uring::opcode::MsgRingData;
use rustix_uring::squeue::{self, Flags};
use rustix_uring::types::{SubmitArgs, Timespec};
use rustix_uring::{Errno, Features, IoUring, SetupFlags, sys};

use crate::harness::Need::*;
use crate::harness::*;

const CQE32: &[Need] = &[RingWith(SetupFlags::CQE32)];
const CQE_MIXED: &[Need] = &[RingWith(SetupFlags::CQE_MIXED)];
const DEFER: SetupFlags = SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN);
/// A queue with two slots for completions.
const TWO_SLOTS: Setup = Setup::new(2).cq_entries(2);

pub(crate) const CASES: &[Case] = &[
    Case::once("iteration_16", &[], iteration::<Entry>),
    Case::once("iteration_32", CQE32, iteration::<Entry32>),
    Case::once("iteration_mixed", CQE_MIXED, iteration::<Mixed>),
    Case::once("fill_16", &[], fill::<Entry>),
    Case::once("fill_32", CQE32, fill::<Entry32>),
    Case::once("fill_mixed", CQE_MIXED, fill::<Mixed>),
    Case::once("as_slices_16", &[], as_slices::<Entry>),
    Case::once("as_slices_32", CQE32, as_slices::<Entry32>),
    Case::kinds("forgotten_view", &[], forgotten_view),
    Case::once("status", &[], status),
    Case::once("consumed_does_not_end_a_wait", &[Feature(Features::EXT_ARG)], consumed),
    Case::kinds("overflow", &[Feature(Features::NODROP)], overflow).setup(TWO_SLOTS),
    Case::kinds(
        "overflow_sqpoll",
        &[Feature(Features::NODROP), RingWith(SetupFlags::SQPOLL)],
        overflow,
    )
    .setup(TWO_SLOTS.flags(SetupFlags::SQPOLL)),
    Case::kinds("overflow_defer", &[RingWith(DEFER)], overflow).setup(TWO_SLOTS.flags(DEFER)),
    Case::once("both_sizes", CQE_MIXED, both_sizes),
    Case::once("filler_of_a_message", CQE_MIXED, filler_of_a_message),
    Case::once("both_sizes_overflow", CQE_MIXED, both_sizes_overflow),
    Case::once("big_overflow", CQE_MIXED, big_overflow),
    Case::once("big_on_32", CQE_MIXED, big_on_32),
];

/// A forgotten view releases nothing: the next view begins where it began, and no completion is
/// lost. Completions that were released earlier do not appear again.
fn forgotten_view(ring: &mut dyn Ring) -> Result {
    let user_data =
        |done: Vec<Completion>| -> Vec<_> { done.iter().map(|cqe| cqe.user_data()).collect() };
    for start in (0..200).step_by(10) {
        ring.push_nops(start..start + 10, Flags::empty())?;
        ring.submit_and_wait(10)?;
        let all: Vec<_> = (start..start + 10).collect();
        assert_eq!(user_data(ring.look_and_forget(4)), all[..4]);
        assert_eq!(user_data(ring.look_and_forget(3)), all[..3]);
        // Their slots are not reused either.
        ring.push_nops([start + 10], Flags::empty())?;
        ring.submit()?;
        // A view that reaches the end releases everything, even if it is forgotten.
        assert_eq!(user_data(ring.look_and_forget(100)), [&all[..], &[start + 10]].concat());
        assert_eq!(user_data(ring.reap()), []);
    }
    Ok(())
}

/// A ring with 8 and 16 slots, of which `slot` have already been used.
fn ring_at<C: Kind>(slot: u64) -> Result<IoUring<squeue::Entry, C>> {
    let mut ring = IoUring::builder().build(8)?;
    works(&mut ring, slot)?;
    Ok(ring)
}

/// Makes NOPs with these user data complete.
fn nops<C: Kind>(ring: &mut IoUring<squeue::Entry, C>, user_data: &[u64]) -> Result {
    let entries: Vec<_> = user_data.iter().map(|n| nop(*n)).collect();
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe { ring.submission().push_multiple(&entries) }?;
    ensure!(ring.submit_and_wait(entries.len())? == entries.len());
    Ok(())
}

fn iteration<C: Kind>() -> Result {
    for slot in 0..20 {
        let mut ring = ring_at::<C>(slot)?;
        nops(&mut ring, &[1, 2, 3, 4, 5])?;
        let (submitter, mut queue, mut done) = ring.split();
        assert_eq!(
            (done.len(), done.is_empty(), done.is_full(), done.capacity()),
            (5, false, false, 16)
        );
        assert!(done.size_hint().0 <= 5 && done.size_hint().1 == Some(5));
        for n in 1..=5 {
            assert_eq!(done.peek().map(|cqe| cqe.user_data()), Some(n));
            assert_eq!(done.next().map(|cqe| cqe.user_data()), Some(n));
        }
        // A further completion is invisible until the view is synced.
        // SAFETY: NOPs use no memory and no descriptor.
        unsafe { queue.push(&nop(6)) }?;
        queue.sync();
        submitter.submit_and_wait(1)?;
        assert_eq!((done.len(), done.is_empty(), done.peek().is_none()), (0, true, true));
        assert!(done.next().is_none());
        done.sync();
        assert_eq!((done.len(), done.next().map(|cqe| cqe.user_data())), (1, Some(6)));
        drop((queue, done));
        assert!(ring.completion().is_empty());
    }
    Ok(())
}

fn fill<C: Kind>() -> Result {
    for slot in 0..20 {
        let mut ring = ring_at::<C>(slot)?;
        nops(&mut ring, &[1, 2, 3, 4, 5])?;
        let mut room = [const { MaybeUninit::uninit() }; 3];
        let mut done = ring.completion();
        for expected in [&[1, 2, 3][..], &[4, 5], &[]] {
            let filled: Vec<_> = done.fill(&mut room).iter().map(C::user_data).collect();
            assert_eq!(filled, expected, "at {slot}");
        }
        assert!(done.fill(&mut []).is_empty());
    }
    Ok(())
}

fn as_slices<C: EntryMarker>() -> Result {
    for slot in 0..20 {
        let mut ring = ring_at::<C>(slot)?;
        nops(&mut ring, &[1, 2, 3, 4, 5])?;
        let mut done = ring.completion();
        let ready = |done: &rustix_uring::CompletionQueue<'_, C>| {
            let (older, newer) = done.as_slices();
            older.iter().chain(newer).map(C::user_data).collect::<Vec<_>>()
        };
        assert_eq!(ready(&done), [1, 2, 3, 4, 5], "at {slot}");
        done.consume(2);
        assert_eq!(ready(&done), [3, 4, 5], "at {slot}");
        assert_eq!(done.next().map(|cqe| cqe.user_data()), Some(3));
        assert_eq!(done.status().ready(), 5);
        done.consume(100);
        assert_eq!(ready(&done), []);
        // The iterator reached the end, so all slots are released.
        assert_eq!(done.status().ready(), 0);
    }
    Ok(())
}

fn status() -> Result {
    let mut ring = ring_at::<Entry>(0)?;
    nops(&mut ring, &[1, 2, 3])?;
    assert_eq!((ring.completion_status().ready(), ring.completion_status().overflow()), (3, 0));
    let mut done = ring.completion();
    let status = done.status();
    done.next();
    // Consumed completions count until their slots are released.
    assert_eq!((status.ready(), done.len()), (3, 2));
    done.sync();
    assert_eq!((status.ready(), done.len()), (2, 2));
    done.next();
    drop(done);
    assert_eq!(ring.completion_status().ready(), 1);
    assert_eq!(ring.completion().count(), 1);
    assert!(ring.completion_status().is_empty());
    Ok(())
}

fn consumed() -> Result {
    let soon = Timespec::from(Duration::from_millis(10));
    let args = SubmitArgs::new().timespec(&soon);
    let mut ring = ring_at::<Entry>(0)?;
    nops(&mut ring, &[1, 2])?;
    let (submitter, _, mut done) = ring.split();
    done.next();
    // A completion stays ready until its slot is released.
    assert_eq!(submitter.wait_with_args(2, &args), Ok(()));
    assert_eq!(done.by_ref().count(), 1);
    // The view reached the end, and still exists.
    assert_eq!(submitter.wait_with_args(1, &args), Err(Errno::TIME));
    drop(done);
    Ok(())
}

/// Many completions for a queue of two slots: each arrives exactly once.
fn overflow(ring: &mut dyn Ring) -> Result {
    const FLOOD: u64 = 2000;
    let (mut done, mut flagged) = (Vec::new(), false);
    let mut next = 0;
    while next < FLOOD || !ring.queue().is_empty() {
        if next < FLOOD && ring.push_nops(next..next + 1, Flags::empty()).is_ok() {
            next += 1;
        }
        match ring.submit() {
            Ok(_) => {}
            // Older kernels require that some completions are consumed first.
            Err(Errno::BUSY) => done.extend(ring.reap()),
            Err(e) => return Err(e.into()),
        }
        flagged |= ring.queue().cq_overflow();
    }
    assert!(flagged);
    while done.len() < FLOOD as usize {
        ring.submit()?;
        done.extend(ring.reap());
    }
    let mut seen: Vec<_> = done.iter().map(|cqe| cqe.user_data()).collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..FLOOD));
    assert_eq!(ring.lost(), 0);
    ring.submit()?;
    assert!(!ring.queue().cq_overflow());
    Ok(())
}

/// A NOP whose completion has 32 bytes, including these words.
fn big(user_data: u64, words: [u64; 2]) -> squeue::Entry {
    /// New in Linux 6.18.
    const IORING_NOP_CQE32: u32 = 1 << 5;
    let mut entry = nop(user_data);
    let sqe = entry.as_raw_mut();
    sqe.op_flags = IORING_NOP_CQE32;
    [sqe.off, sqe.addr] = words;
    entry
}

/// Pseudo-random bits.
fn bits() -> impl Iterator<Item = bool> {
    let step = |x: &u32| Some(x.wrapping_mul(1664525).wrapping_add(1013904223));
    std::iter::successors(Some(1), step).map(|x: u32| x >> 31 == 1)
}

fn words(user_data: u64) -> [u64; 2] {
    [!user_data, user_data << 32]
}

/// A NOP with a small or a big completion, and the expected content of the latter.
fn either(user_data: u64, is_big: bool) -> (squeue::Entry, Option<[u64; 2]>) {
    match is_big {
        true => (big(user_data, words(user_data)), Some(words(user_data))),
        false => (nop(user_data), None),
    }
}

/// Every combination of sizes at the end of the queue: the filler CQEs there are invisible.
fn both_sizes() -> Result {
    let mut ring = IoUring::<squeue::Entry, Mixed>::builder().setup_cqsize(8).build(4)?;
    let (mut bits, mut next) = (bits(), 0);
    for round in 0..5000 {
        let mut expected = Vec::new();
        for _ in 0..1 + round % 3 {
            let (entry, big) = either(next, bits.next() == Some(true));
            // SAFETY: NOPs use no memory and no descriptor.
            unsafe { ring.submission().push(&entry) }?;
            expected.push((next, 0, big));
            next += 1;
        }
        ring.submit_and_wait(expected.len())?;
        let done = ring.completion();
        let done: Vec<_> =
            done.map(|cqe| (cqe.user_data(), cqe.result(), cqe.big_cqe().copied())).collect();
        assert_eq!(done, expected, "round {round}");
    }
    Ok(())
}

/// Many completions of both sizes for a queue of four slots.
///
/// Small completions come in pairs, so that a big one never finds only the last slot before the
/// end. Kernels up to at least 7.2 mishandle that case: a small completion after it overwrites the
/// filler CQE, and an old completion appears again.
fn both_sizes_overflow() -> Result {
    let pairs =
        bits().take(1000).flat_map(|is_big| if is_big { vec![true] } else { vec![false; 2] });
    flood(0, pairs)
}

/// Big completions that overflow when only the last slot before the end is free.
fn big_overflow() -> Result {
    flood(3, std::iter::repeat_n(true, 1000))
}

/// Overflows a queue of four slots with big and small completions. The next free slot is `slot`.
fn flood(slot: u64, sizes: impl Iterator<Item = bool>) -> Result {
    let mut ring = IoUring::<squeue::Entry, Mixed>::builder().setup_cqsize(4).build(4)?;
    works(&mut ring, slot)?;
    let (mut expected, mut done) = (Vec::new(), Vec::new());
    for (user_data, is_big) in (0..).zip(sizes) {
        let (entry, big) = either(user_data, is_big);
        // SAFETY: NOPs use no memory and no descriptor.
        unsafe { ring.submission().push(&entry) }?;
        expected.push((user_data, big));
        ring.submit()?;
    }
    assert!(ring.submission().cq_overflow() && ring.submission_status().cq_overflow());
    while done.len() < expected.len() {
        let before = done.len();
        done.extend(ring.completion().map(|cqe| (cqe.user_data(), cqe.big_cqe().copied())));
        ring.submit()?;
        ensure!(done.len() > before, "only {before} completions arrived");
    }
    let wrong = done.iter().zip(&expected).position(|(done, expected)| done != expected);
    assert_eq!(wrong.map(|at| (at, done[at], expected[at])), None);
    assert_eq!(done.len(), expected.len());
    Ok(())
}

fn big_on_32() -> Result {
    let mut ring = ring_at::<Entry32>(0)?;
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe { ring.submission().push_multiple(&[big(1, [5, 6]), nop(2)]) }?;
    ring.submit_and_wait(2)?;
    let done: Vec<_> = ring.completion().map(|cqe| (cqe.user_data(), *cqe.big_cqe())).collect();
    assert_eq!(done, [(1, [5, 6]), (2, [0, 0])]);
    Ok(())
}

/// The queue skips CQEs that a message marks as filler, whether or not they are also marked as big.
fn filler_of_a_message() -> Result {
    let mut from = IoUring::<squeue::Entry>::builder().build(8)?;
    let mut to = IoUring::<squeue::Entry, Mixed>::builder().build(8)?;
    let (skip, large) = (sys::IORING_CQE_F_SKIP, sys::IORING_CQE_F_32);
    for round in 0..20 {
        for (n, flags) in [skip | large, 0, skip, large, skip | large].into_iter().enumerate() {
            let message =
                MsgRingData::new(to.as_fd(), 1, round * 10 + n as u64, Some(flags)).build();
            // SAFETY: a message uses no memory, and its ring is open.
            unsafe { from.submission().push(&message) }?;
            from.submit_and_wait(1)?;
            let sent = from.completion().next().map(|cqe| cqe.to_result());
            ensure!(sent == Some(Ok(0)), "{sent:?}");
        }
        // Skipped are two fillers of two slots and one of one slot. Visible are one big and one
        // small CQE.
        ensure!(to.completion_status().ready() >= 8);
        let sizes = |cqe: Mixed| (cqe.user_data(), cqe.big_cqe().is_some());
        let came: Vec<_> = to.completion().map(sizes).collect();
        assert_eq!(came, [(round * 10 + 1, false), (round * 10 + 3, true)]);
        assert!(to.completion_status().is_empty());
    }
    Ok(())
}
