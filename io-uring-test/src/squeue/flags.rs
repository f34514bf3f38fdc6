//! The flags of an entry: chains, ordering, and suppressed completions.

use rustix::io::write;
use rustix::pipe::pipe;
use rustix_uring::opcode::{Nop, Read};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::types::Fd;
use rustix_uring::{Errno, Features};
use std::os::fd::AsFd;

use super::{bad, in_order, outcomes, push};
use crate::harness::Need::*;
use crate::harness::*;

const READ_AND_NOP: &[Need] = &[Opcode(Read::CODE), Opcode(Nop::CODE)];

pub(crate) const CASES: &[Case] = &[
    Case::kinds("io_link", READ_AND_NOP, io_link),
    Case::kinds("io_link_broken", READ_AND_NOP, io_link_broken),
    Case::kinds("io_link_ends_with_the_submission", READ_AND_NOP, io_link_ends),
    Case::kinds("io_hardlink", READ_AND_NOP, io_hardlink),
    Case::kinds("io_drain", READ_AND_NOP, io_drain),
    Case::kinds("skip_success", &[Feature(Features::CQE_SKIP)], skip_success),
    Case::kinds("skip_success_ends_io_drain", &[Feature(Features::CQE_SKIP)], skip_ends_drain),
];

/// Submits a read that waits and has this flag, with user data 0, followed by these NOPs. Then
/// makes the read complete. No completion may arrive before.
fn behind_a_read(ring: &mut dyn Ring, flag: Flags, nops: &[Entry]) -> Result<Vec<Completion>> {
    let (reader, writer) = pipe()?;
    let mut buf = [0; 8];
    let read = Read::new(&reader, buf.as_mut_ptr(), 8).build().flags(flag);
    // SAFETY: `reader` and `buf` outlive the read, for which `complete` waits.
    unsafe { ring.push(&[read]) }?;
    push(&mut *ring.queue(), nops)?;
    assert_eq!(ring.submit(), Ok(1 + nops.len()));
    ring.submitter().get_events()?;
    let early = ring.reap();
    write(&writer, b"go ahead")?;
    let done = ring.complete(1 + nops.len() - early.len())?;
    assert_eq!(early, []);
    assert_eq!(in_order(&done)[0], (0, Ok(8)));
    Ok(done[1..].to_vec())
}

fn io_link(ring: &mut dyn Ring) -> Result {
    let nops = [nop(1).flags(Flags::IO_LINK), nop(2)];
    let done = behind_a_read(ring, Flags::IO_LINK, &nops)?;
    assert_eq!(in_order(&done), [(1, Ok(0)), (2, Ok(0))]);
    Ok(())
}

/// Runs a read of eight bytes from a file of five bytes, followed by NOPs.
fn behind_a_short_read(
    ring: &mut dyn Ring,
    flag: Flags,
    nops: &[Entry],
) -> Result<Vec<Completion>> {
    let file = file_with(b"hello")?;
    let mut buf = [0; 8];
    let read = Read::new(file.as_fd(), buf.as_mut_ptr(), 8).build().flags(flag);
    // SAFETY: `file` and `buf` outlive the read, for which `complete` waits.
    unsafe { ring.push(&[read]) }?;
    push(&mut *ring.queue(), nops)?;
    let mut done = ring.complete(1 + nops.len())?;
    done.sort_by_key(|cqe| cqe.user_data());
    assert_eq!(in_order(&done)[0], (0, Ok(5)));
    Ok(done[1..].to_vec())
}

fn io_link_broken(ring: &mut dyn Ring) -> Result {
    let nops = [nop(1).flags(Flags::IO_LINK), nop(2).flags(Flags::IO_HARDLINK), nop(3), nop(4)];
    let done = behind_a_short_read(ring, Flags::IO_LINK, &nops)?;
    let cancelled = Err(Errno::CANCELED);
    // The chain ends with number 3. Number 4 is not part of it.
    assert_eq!(outcomes(&done), [(1, cancelled), (2, cancelled), (3, cancelled), (4, Ok(0))]);
    Ok(())
}

fn io_link_ends(ring: &mut dyn Ring) -> Result {
    assert_eq!(behind_a_short_read(ring, Flags::IO_LINK, &[])?, []);
    push(&mut *ring.queue(), &[nop(1)])?;
    assert_eq!(outcomes(&ring.complete(1)?), [(1, Ok(0))]);
    Ok(())
}

fn io_hardlink(ring: &mut dyn Ring) -> Result {
    let nops = [nop(1).flags(Flags::IO_HARDLINK), nop(2)];
    let done = behind_a_read(ring, Flags::IO_HARDLINK, &nops)?;
    assert_eq!(in_order(&done), [(1, Ok(0)), (2, Ok(0))]);
    let done = behind_a_short_read(ring, Flags::IO_HARDLINK, &nops)?;
    assert_eq!(outcomes(&done), [(1, Ok(0)), (2, Ok(0))]);
    // A rejected entry severs even a hard chain.
    push(&mut *ring.queue(), &[bad(1).flags(Flags::IO_HARDLINK), nop(2)])?;
    let done = ring.complete(2)?;
    assert_eq!(outcomes(&done), [(1, Err(Errno::INVAL)), (2, Err(Errno::CANCELED))]);
    Ok(())
}

fn io_drain(ring: &mut dyn Ring) -> Result {
    let nops = [nop(1).flags(Flags::IO_DRAIN), nop(2)];
    let done = behind_a_read(ring, Flags::empty(), &nops)?;
    // Entries after the drain wait until it starts, and may then overtake it.
    assert_eq!(outcomes(&done), [(1, Ok(0)), (2, Ok(0))]);
    Ok(())
}

fn skip_success(ring: &mut dyn Ring) -> Result {
    ring.push_nops([1], Flags::SKIP_SUCCESS)?;
    ring.push_nops([2], Flags::empty())?;
    let refused = Read::new(Fd(-1), std::ptr::null_mut(), 8).build().user_data(3);
    // SAFETY: the read has no valid address, and fails.
    unsafe { ring.push(&[refused.flags(Flags::SKIP_SUCCESS)]) }?;
    ring.push_nops([4], Flags::SKIP_SUCCESS)?;
    let done = ring.complete(2)?;
    assert_eq!(outcomes(&done), [(2, Ok(0)), (3, Err(Errno::BADF))]);
    assert!(ring.queue().is_empty());
    Ok(())
}

fn skip_ends_drain(ring: &mut dyn Ring) -> Result {
    ring.push_nops([1], Flags::IO_DRAIN)?;
    assert_eq!(outcomes(&ring.complete(1)?), [(1, Ok(0))]);
    ring.push_nops([2], Flags::SKIP_SUCCESS)?;
    ring.push_nops([3], Flags::IO_DRAIN)?;
    assert_eq!(outcomes(&ring.complete(1)?), [(3, Err(Errno::OPNOTSUPP))]);
    Ok(())
}
