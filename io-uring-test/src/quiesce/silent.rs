//! Entries that post no completion if they succeed.

use anyhow::{bail, ensure};
use rustix::io::write;
use rustix::pipe::pipe;
use rustix_uring::opcode::{AsyncCancel, PollAdd, Read};
use rustix_uring::types::Fd;

use super::*;

const SKIP: Need = Feature(Features::CQE_SKIP);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("not_counted", &[SKIP], not_counted),
    Case::once("not_too_early", &[SKIP, UNTOUCHED], not_too_early),
    Case::kinds("counted_by_mistake", &[SKIP], counted_by_mistake),
    Case::once("chains", &[SKIP], chains),
    Case::once("chain_counts_once", &[SKIP, CALL], chain_counts_once),
];

/// The completion of a silent entry that failed or was canceled does not count as the end of
/// another operation.
fn not_counted(ring: &mut dyn Ring) -> Result {
    let (reader, _writer) = pipe()?;
    let poll = PollAdd::new(&reader, PollFlags::IN).build();
    let mut byte = 0;
    let fails = Read::new(Fd(i32::MAX), &raw mut byte, 1).build();
    let quiet = [poll, fails].map(|it| it.user_data(QUIET).flags(Flags::SKIP_SUCCESS));
    // SAFETY: the pipe outlives the polls, which end below. The read fails when it is submitted.
    unsafe { ring.push(&[quiet[0], quiet[1], poll.user_data(0)]) }?;
    let (mut in_flight, mut seen) = (1, Vec::new());
    ring.quiesce_with(&mut in_flight, LIMIT, &[QUIET, 0], &mut |cqe| {
        seen.push((cqe.user_data(), cqe.to_result()));
        cqe.user_data() != QUIET
    })?;
    ensure!(seen.contains(&(0, Err(Errno::CANCELED))), "{seen:?}");
    ensure!(seen.contains(&(QUIET, Err(Errno::BADF))), "{seen:?}");
    // The poll may be canceled after that.
    while seen.len() < 3 {
        ring.submit_and_wait(1)?;
        seen.extend(ring.reap().iter().map(|cqe| (cqe.user_data(), cqe.to_result())));
    }
    ensure!(seen.contains(&(QUIET, Err(Errno::CANCELED))), "{seen:?}");
    Ok(())
}

const QUIET: u64 = 9;

/// A silent entry is canceled, while another operation that cannot be canceled continues.
fn not_too_early() -> Result {
    // While it moves to a worker, the read may be canceled before it starts.
    for _ in 0..20 {
        if let [(QUIET, Err(Errno::CANCELED)), (0, Ok(1))] = seen_until_the_end()?[..] {
            return Ok(());
        }
    }
    bail!("no worker started the read in any attempt")
}

/// The completions up to the end of a read that no cancellation can end, next to a silent poll.
fn seen_until_the_end() -> Result<Vec<(u64, Result<u32, Errno>)>> {
    let (reader, writer) = pipe()?;
    let (empty, _writer) = pipe()?;
    let (pages, faults) = untouched()?;
    let mut ring = IoUring::new(8)?;
    let buf = pages.all().cast::<u8>().as_ptr();
    let read = Read::new(&reader, buf, 1).build().flags(Flags::ASYNC).user_data(0);
    let poll = PollAdd::new(&empty, PollFlags::IN).build().user_data(QUIET);
    write(&writer, b"x")?;
    // SAFETY: the pipes and the memory outlive the operations, which end below.
    unsafe { ring.submission().push_multiple(&[read, poll.flags(Flags::SKIP_SUCCESS)]) }?;
    ring.submit()?;
    thread::sleep(Duration::from_millis(20));
    let (mut in_flight, mut seen) = (1, Vec::new());
    thread::scope(|scope| {
        scope.spawn(move || {
            thread::sleep(Duration::from_millis(100));
            drop(faults);
        });
        ring.quiesce_with(&mut in_flight, LIMIT, &[0, QUIET], |cqe| {
            seen.push((cqe.user_data(), cqe.to_result()));
            cqe.user_data() != QUIET
        })
    })?;
    let over = seen.iter().any(|(user_data, _)| *user_data == 0);
    ensure!(over, "`quiesce` returned too early: {seen:?}");
    Ok(seen)
}

/// A silent entry succeeds without a completion. The call neither waits forever nor returns too
/// early.
fn counted_by_mistake(ring: &mut dyn Ring) -> Result {
    ring.push_nops([0], Flags::SKIP_SUCCESS)?;
    assert_eq!(parts(ring.quiesce(1, A_WHILE)), Err((Errno::TIME, 1)));
    Ok(())
}

/// The outcome of one entry of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Succeeds,
    Fails,
    IsCancelled,
    /// The kernel rejects the entry, and does not start the chain.
    IsRefused,
}

const LEN: usize = 4;

/// A chain where entry `k` has this outcome, and the entries in `silent` are silent.
#[derive(Clone, Copy, Debug)]
struct Chain {
    link: Flags,
    how: How,
    k: usize,
    silent: [bool; LEN],
}

impl Chain {
    /// All possible chains.
    fn all() -> impl Iterator<Item = Self> {
        let hows = [How::Succeeds, How::Fails, How::IsCancelled, How::IsRefused];
        let links = [Flags::IO_LINK, Flags::IO_HARDLINK];
        links.into_iter().flat_map(move |link| {
            hows.into_iter().flat_map(move |how| {
                (0..LEN << LEN).map(move |n| {
                    let (k, silent) = (n >> LEN, n);
                    Self { link, how, k, silent: std::array::from_fn(|i| silent >> i & 1 == 1) }
                })
            })
        })
    }

    /// The entries of the chain, numbered. `waits` never becomes readable.
    fn entries(&self, waits: &impl AsFd) -> Vec<Entry> {
        let entry = |i: usize| {
            let special = match self.how {
                How::Fails => Read::new(Fd(i32::MAX), std::ptr::null_mut(), 1).build(),
                How::IsCancelled => PollAdd::new(waits.as_fd(), PollFlags::IN).build(),
                How::IsRefused => {
                    let mut unknown = nop(0);
                    unknown.as_raw_mut().opcode = u8::MAX;
                    unknown
                }
                How::Succeeds => nop(0),
            };
            let link = if i + 1 < LEN { self.link } else { Flags::empty() };
            let skip = if self.silent[i] { Flags::SKIP_SUCCESS } else { Flags::empty() };
            let entry = if i == self.k { special } else { nop(0) };
            entry.flags(link | skip).user_data(i as u64)
        };
        (0..LEN).map(entry).collect()
    }

    /// Whether entry `i` posts a completion, by the rule that the guide states.
    fn posts(&self, i: usize) -> bool {
        // If the kernel rejects an entry, the first entry of the chain is the one that fails.
        let failed = if self.how == How::IsRefused { 0 } else { self.k };
        let severs = self.link == Flags::IO_LINK || self.how == How::IsRefused;
        if self.how == How::Succeeds || i < failed {
            !self.silent[i]
        } else if i == failed {
            true
        } else if severs {
            !self.silent[failed]
        } else {
            !self.silent[i]
        }
    }
}

/// Checks which entries of a chain post, for every combination of silent and failing entries.
fn chains() -> Result {
    let (reader, _writer) = pipe()?;
    let mut ring = IoUring::new(8)?;
    for chain in Chain::all() {
        // SAFETY: the pipe outlives the poll, which is canceled below. The read fails.
        unsafe { ring.submission().push_multiple(&chain.entries(&reader)) }?;
        while !ring.submission().is_empty() {
            ring.submit()?;
        }
        let expected: Vec<_> = (0..LEN).filter(|&i| chain.posts(i)).map(|i| i as u64).collect();
        let mut seen: Vec<u64> = Vec::new();
        while seen.len() < expected.len() {
            if chain.how == How::IsCancelled {
                let cancel = AsyncCancel::new(chain.k as u64).build().user_data(99);
                // SAFETY: a cancellation uses no memory.
                unsafe { ring.submission().push(&cancel) }?;
            }
            ring.submit_and_wait(1)?;
            seen.extend(ring.completion().map(|cqe| cqe.user_data()).filter(|it| *it != 99));
        }
        works(&mut ring, 2).with_context(|| format!("{chain:?} posts more than {expected:?}"))?;
        seen.sort_unstable();
        ensure!(seen == expected, "{chain:?} posts {seen:?}, not {expected:?}");
    }
    Ok(())
}

/// Silent entries before an entry that posts count as one operation with it, whatever their
/// outcome.
fn chain_counts_once() -> Result {
    let (reader, _writer) = pipe()?;
    let mut ring = IoUring::new(8)?;
    let silent = |i| i + 1 < LEN;
    for chain in Chain::all() {
        if chain.link != Flags::IO_LINK || !(0..LEN).all(|i| chain.silent[i] == silent(i)) {
            continue;
        }
        // SAFETY: the pipe outlives the poll, which is canceled. The read fails.
        unsafe { ring.submission().push_multiple(&chain.entries(&reader)) }?;
        let quiesced = ring.quiesce(1, LIMIT);
        quiesced.with_context(|| format!("{chain:?}"))?;
        works(&mut ring, 2).with_context(|| format!("{chain:?}"))?;
    }
    Ok(())
}
