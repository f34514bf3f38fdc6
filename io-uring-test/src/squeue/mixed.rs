//! Queues that accept entries of both sizes.

use rustix_uring::squeue::{Entry, Entry128, Flags, Kind, Mixed, PAD_USER_DATA, Rewind};
use rustix_uring::{Builder, Errno, IoUring, SetupFlags, cqueue, sys};

use super::{bad, in_order, nops, outcomes};
use crate::harness::Need::*;
use crate::harness::*;

const MIXED: &[Need] = &[RingWith(SetupFlags::SQE_MIXED)];
const REWOUND: SetupFlags = SetupFlags::SQE_MIXED.union(SetupFlags::SQ_REWIND);

pub(crate) const CASES: &[Case] = &[
    Case::once("interleaved", MIXED, interleaved),
    Case::once("push_each_around_the_end", MIXED, push_each_around_the_end),
    Case::once("half_an_entry_at_the_end", MIXED, half_an_entry_at_the_end),
    Case::once("link_over_pad", MIXED, link_over_pad),
    Case::once("link_broken_over_pad", MIXED, link_broken_over_pad),
    Case::once("pad_ends_io_drain", MIXED, pad_ends_io_drain),
    Case::once("post_pad_cqes", MIXED, post_pad_cqes),
    Case::once("clear", MIXED, clear),
    Case::once("rewound", &[RingWith(REWOUND)], rewound),
    Case::once("one_slot", MIXED, one_slot),
];

/// A ring with eight slots, of which `slot` is the next to be used.
fn ring_at(slot: u64, builder: &Builder<Mixed>) -> Result<IoUring<Mixed>> {
    let mut ring = builder.build(8)?;
    works(&mut ring, 8 + slot)?;
    Ok(ring)
}

fn builder() -> Builder<Mixed> {
    IoUring::builder()
}

/// A 128-byte NOP.
fn sqe128(user_data: u64) -> Entry128 {
    let mut sqe = nop(user_data).into_raw();
    sqe.opcode = sys::IORING_OP_NOP128;
    Entry128::from_raw(sqe, [0xff; 64])
}

/// A NOP that fails.
fn failing(user_data: u64) -> Entry {
    /// The result is the length field. New in Linux 6.10.
    const IORING_NOP_INJECT_RESULT: u32 = 1;
    let mut entry = nop(user_data);
    let sqe = entry.as_raw_mut();
    (sqe.op_flags, sqe.len) = (IORING_NOP_INJECT_RESULT, -libc::EIO as u32);
    entry
}

/// Submits what is queued and waits for `n` completions.
fn complete<S: Kind>(ring: &mut IoUring<S>, n: usize) -> Result<Vec<Completion>> {
    let mut done: Vec<Completion> = Vec::new();
    while done.len() < n {
        ring.submit_and_wait(n - done.len())?;
        done.extend(ring.completion().map(Completion::from));
    }
    assert!(ring.submission().is_empty());
    Ok(done)
}

fn interleaved() -> Result {
    let mut ring = builder().build(8)?;
    let (mut random, mut position, mut pads) = (1_u32, 0, 0);
    for round in 0..3000 {
        let mut queue = ring.submission();
        let (mut expected, mut slots) = (Vec::new(), 0);
        for user_data in 0..4 {
            random = random.wrapping_mul(1664525).wrapping_add(1013904223);
            let is_sqe128 = random >> 31 == 1;
            let pad = usize::from(is_sqe128 && (position + slots) % 8 == 7);
            let needs = if is_sqe128 { 2 + pad } else { 1 };
            // SAFETY: NOPs use no memory and no descriptor.
            let pushed = unsafe {
                if is_sqe128 {
                    queue.push_any(&sqe128(user_data))
                } else {
                    queue.push(&nop(user_data))
                }
            };
            let fits = slots + needs <= 8;
            assert_eq!(pushed.is_ok(), fits, "round {round}");
            if fits {
                slots += needs;
                pads += pad;
                expected.push((user_data, Ok(0)));
            }
            assert_eq!(queue.len(), slots, "round {round}");
        }
        drop(queue);
        assert_eq!(ring.submit_and_wait(expected.len()), Ok(slots), "round {round}");
        position += slots;
        let done = ring.completion().map(Completion::from).collect::<Vec<_>>();
        assert_eq!(in_order(&done), expected, "round {round}");
    }
    assert!(pads > 100, "only {pads} pads");
    Ok(())
}

fn push_each_around_the_end() -> Result {
    for slot in 0..8 {
        // Starting at an odd slot, one of the eight slots is a pad.
        let fit = if slot % 2 == 1 { 3 } else { 4 };
        let mut ring = ring_at(slot, &builder())?;
        let mut queue = ring.submission();
        // SAFETY: NOPs use no memory and no descriptor.
        unsafe {
            let refused =
                queue.push_each(fit + 1, |_| -> Entry128 { panic!("the queue has no free slot") });
            assert!(refused.is_err(), "at {slot}");
            assert!(queue.is_empty());
            queue.push_each(fit, |i| sqe128(i as u64))?;
        }
        drop(queue);
        let expected: Vec<_> = (0..fit as u64).map(|n| (n, Ok(0))).collect();
        assert_eq!(outcomes(&complete(&mut ring, fit)?), expected, "at {slot}");
    }
    Ok(())
}

/// Breaks the contract: a 128-byte operation in a 64-byte entry. The ring must survive it.
fn half_an_entry_at_the_end() -> Result {
    let mut ring = ring_at(7, &builder())?;
    let (half, _) = sqe128(1).into_raw();
    // SAFETY: this breaks the contract on purpose. The operation uses no memory.
    unsafe { ring.submission().push_multiple(&[Entry::from_raw(half), nop(2)]) }?;
    let done = complete(&mut ring, 2)?;
    assert_eq!(outcomes(&done), [(1, Err(Errno::INVAL)), (2, Ok(0))]);
    works(&mut ring, 20)
}

fn link_over_pad() -> Result {
    for flag in [Flags::IO_LINK, Flags::IO_HARDLINK] {
        let mut ring = ring_at(6, &builder())?;
        // SAFETY: NOPs use no memory and no descriptor.
        unsafe {
            ring.submission().push(&nop(1).flags(flag))?;
            ring.submission().push_any(&sqe128(2).flags(flag))?;
            ring.submission().push(&nop(3))?;
        }
        assert_eq!(ring.submission().len(), 5);
        let done = complete(&mut ring, 3)?;
        assert_eq!(in_order(&done), [(1, Ok(0)), (2, Ok(0)), (3, Ok(0))]);
    }
    Ok(())
}

fn link_broken_over_pad() -> Result {
    let cancelled = Err(Errno::CANCELED);
    let mut ring = ring_at(6, &builder())?;
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe {
        ring.submission().push(&failing(1).flags(Flags::IO_LINK))?;
        ring.submission().push_any(&sqe128(2))?;
        ring.submission().push(&nop(3))?;
    }
    let done = complete(&mut ring, 4)?;
    let expected = [(1, Err(Errno::IO)), (2, cancelled), (3, Ok(0)), (PAD_USER_DATA, cancelled)];
    assert_eq!(outcomes(&done), expected);
    assert_eq!(done.iter().filter(|cqe| cqe.is_pad()).count(), 1);

    // A hard link continues.
    let mut ring = ring_at(6, &builder())?;
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe {
        ring.submission().push(&failing(1).flags(Flags::IO_HARDLINK))?;
        ring.submission().push_any(&sqe128(2))?;
    }
    assert_eq!(outcomes(&complete(&mut ring, 2)?), [(1, Err(Errno::IO)), (2, Ok(0))]);

    // A pad does not extend a chain that ended before it.
    let mut ring = ring_at(5, &builder())?;
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe {
        ring.submission().push_multiple(&[failing(1).flags(Flags::IO_LINK), nop(2)])?;
        ring.submission().push_any(&sqe128(3))?;
    }
    let done = complete(&mut ring, 3)?;
    assert_eq!(outcomes(&done), [(1, Err(Errno::IO)), (2, cancelled), (3, Ok(0))]);
    Ok(())
}

fn pad_ends_io_drain() -> Result {
    let mut ring = ring_at(7, &builder())?;
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe {
        ring.submission().push(&nop(1).flags(Flags::IO_DRAIN))?;
        assert_eq!(outcomes(&complete(&mut ring, 1)?), [(1, Ok(0))]);
        works(&mut ring, 7)?;
        ring.submission().push_any(&sqe128(2))?;
        assert_eq!(outcomes(&complete(&mut ring, 1)?), [(2, Ok(0))]);
        ring.submission().push(&nop(3).flags(Flags::IO_DRAIN))?;
        assert_eq!(outcomes(&complete(&mut ring, 1)?), [(3, Err(Errno::OPNOTSUPP))]);
    }
    Ok(())
}

fn post_pad_cqes() -> Result {
    let mut builder = builder();
    builder.post_pad_cqes();
    let mut ring = ring_at(7, &builder)?;
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe { ring.submission().push_any(&sqe128(1)) }?;
    let done = complete(&mut ring, 2)?;
    assert_eq!(in_order(&done), [(PAD_USER_DATA, Ok(0)), (1, Ok(0))]);
    assert!(done[0].is_pad() && !done[1].is_pad());
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe { ring.submission().push(&nop(2).flags(Flags::IO_DRAIN)) }?;
    assert_eq!(outcomes(&complete(&mut ring, 1)?), [(2, Ok(0))]);

    let mut ring = ring_at(6, &builder)?;
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe {
        ring.submission().push(&nop(1).flags(Flags::IO_LINK))?;
        ring.submission().push_any(&sqe128(2))?;
    }
    assert_eq!(
        in_order(&complete(&mut ring, 3)?),
        [(1, Ok(0)), (PAD_USER_DATA, Ok(0)), (2, Ok(0))]
    );
    Ok(())
}

/// Clearing the queue also removes the pad and the link to a chain.
fn clear() -> Result {
    let mut ring = ring_at(7, &builder())?;
    // SAFETY: NOPs use no memory and no descriptor; nobody submits meanwhile.
    unsafe {
        ring.submission().push_any(&sqe128(1).flags(Flags::IO_LINK))?;
        ring.submission().clear();
        assert!(ring.submission().is_empty());
        // The next entry again starts at the last slot, without a chain that it could continue.
        ring.submission().push_any(&sqe128(2))?;
        ring.submission().push_multiple(&nops(3..5))?;
    }
    let done = complete(&mut ring, 3)?;
    assert_eq!(outcomes(&done), [(2, Ok(0)), (3, Ok(0)), (4, Ok(0))]);
    Ok(())
}

/// Entries that a short submit leaves move to the front. Entries of two slots stay whole.
fn rewound() -> Result {
    let mut ring = IoUring::<Rewind<Mixed>>::builder().build(8)?;
    for round in 0..50 {
        // SAFETY: the entries use no memory and no descriptor.
        unsafe {
            ring.submission().push_multiple(&[nop(1), bad(2), nop(3)])?;
            ring.submission().push_any(&sqe128(4))?;
            ring.submission().push_multiple(&[bad(5), nop(6)])?;
            // One slot is free at the end, but it does not adjoin the first slots.
            assert!(ring.submission().push_any(&sqe128(100)).is_err(), "round {round}");
            ring.submission().push(&nop(7))?;
        }
        assert_eq!((ring.submit(), ring.submission().len()), (Ok(2), 6));
        assert_eq!((ring.submit(), ring.submission().len()), (Ok(4), 2));
        // SAFETY: a NOP uses no memory and no descriptor.
        unsafe { ring.submission().push_any(&sqe128(8)) }?;
        assert_eq!((ring.submit(), ring.submission().len()), (Ok(4), 0));
        let done: Vec<Completion> = ring.completion().map(Completion::from).collect();
        let refused = Err(Errno::INVAL);
        let expected = (1..9).map(|n| (n, if n == 2 || n == 5 { refused } else { Ok(0) }));
        assert!(outcomes(&done).into_iter().eq(expected), "round {round}: {done:?}");
    }
    Ok(())
}

fn one_slot() -> Result {
    assert_eq!(builder().build(1).err(), Some(Errno::OVERFLOW));
    builder().build(2)?;
    let mut one_completion = IoUring::<Entry, cqueue::Mixed>::builder();
    one_completion.setup_cqsize(1);
    assert_eq!(one_completion.build(1).err(), Some(Errno::OVERFLOW));
    Ok(())
}
