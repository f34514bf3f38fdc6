//! The submission queue: what fits, what is queued, and what the kernel consumes.

pub(crate) mod flags;
pub(crate) mod mixed;
pub(crate) mod rewind;

use std::panic::{self, AssertUnwindSafe};

use rustix_uring::squeue::{Entry, Entry128, FixedSize, PushError, Rewind, Sqe};
use rustix_uring::{EnterFlags, Errno, IoUring, SetupFlags};

use crate::harness::Need::*;
use crate::harness::*;

const DISABLED: Setup = Setup::USUAL.flags(SetupFlags::R_DISABLED);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("free_slots", &[], free_slots),
    Case::kinds("status", &[], status),
    Case::kinds("all_or_nothing", &[], all_or_nothing),
    Case::kinds("panic_while_pushing", &[], panic_while_pushing),
    Case::kinds("reserve", &[], reserve),
    Case::kinds("forgotten_view", &[], forgotten_view),
    Case::kinds("as_slices", &[], as_slices),
    Case::kinds("clear", &[RingWith(SetupFlags::R_DISABLED)], clear).setup(DISABLED),
    Case::once("take_back_64", &[], take_back_safely::<Entry>),
    Case::once(
        "take_back_rewind64",
        &[RingWith(SetupFlags::SQ_REWIND)],
        take_back_safely::<Rewind>,
    ),
    Case::once("take_back_sqpoll", &[RingWith(SetupFlags::SQPOLL)], take_back_sqpoll),
    Case::once("truncate_64", &[RingWith(SetupFlags::R_DISABLED)], truncate::<Entry>),
    Case::once(
        "truncate_128",
        &[RingWith(SetupFlags::R_DISABLED.union(SetupFlags::SQE128))],
        truncate::<Entry128>,
    ),
    Case::once(
        "truncate_rewind64",
        &[RingWith(SetupFlags::R_DISABLED.union(SetupFlags::SQ_REWIND))],
        truncate::<Rewind>,
    ),
    Case::kinds("short_submit", &[], short_submit),
    Case::kinds("submit_all", &[RingWith(SetupFlags::SUBMIT_ALL)], submit_all)
        .setup(Setup::USUAL.flags(SetupFlags::SUBMIT_ALL)),
];

/// An entry that the kernel rejects, because its operation does not exist.
fn bad(user_data: u64) -> Entry {
    Entry::from_raw(Sqe { opcode: 255, ..Sqe::ZERO }).user_data(user_data)
}

fn nops(user_data: impl IntoIterator<Item = u64>) -> Vec<Entry> {
    user_data.into_iter().map(nop).collect()
}

/// Pushes entries that use no memory and no descriptor, as all entries in this file.
fn push(queue: &mut dyn Queue, entries: &[Entry]) -> Result<(), PushError> {
    assert!(entries.iter().all(|entry| [0, 255].contains(&entry.get_opcode())));
    // SAFETY: NOPs and invalid operations use no memory and no descriptor.
    unsafe { queue.push(entries) }
}

/// Submits, and expects successful completions with these user data. NOPs complete in order.
fn expect(ring: &mut dyn Ring, user_data: impl IntoIterator<Item = u64>) -> Result {
    let expected: Vec<_> = user_data.into_iter().map(|n| (n, Ok(0))).collect();
    let done = ring.complete(expected.len())?;
    assert_eq!(in_order(&done), expected);
    Ok(())
}

/// The user data and results of these completions, in order of completion.
fn in_order(done: &[Completion]) -> Vec<(u64, Result<u32, Errno>)> {
    done.iter().map(|cqe| (cqe.user_data(), cqe.to_result())).collect()
}

/// The user data and results, sorted: the kernel chooses the order. Older kernels post rejected
/// entries first.
fn outcomes(done: &[Completion]) -> Vec<(u64, Result<u32, Errno>)> {
    let mut done = in_order(done);
    done.sort_by_key(|(user_data, _)| *user_data);
    done
}

fn free_slots(ring: &mut dyn Ring) -> Result {
    // Does not start at the first slot.
    ring.works(5)?;
    for round in 0..5 {
        let mut queue = ring.queue();
        let capacity = queue.capacity();
        assert_eq!(capacity, 16);
        for i in 0..capacity {
            assert_eq!((queue.len(), queue.is_empty(), queue.is_full()), (i, i == 0, false));
            push(&mut *queue, &[nop(i as u64)])?;
        }
        assert!(queue.is_full());
        assert!(push(&mut *queue, &[nop(99)]).is_err(), "round {round}");
        assert_eq!(queue.len(), capacity);
        drop(queue);
        expect(ring, 0..capacity as u64)?;
        assert!(ring.queue().is_empty());
        ring.works(3)?;
    }
    Ok(())
}

/// Entries that a view has not published do not count, nor do entries that a submit consumed.
fn status(ring: &mut dyn Ring) -> Result {
    ring.works(3)?;
    assert_eq!((ring.status().len(), ring.status().capacity()), (0, 16));
    ring.push_nops(0..5, Default::default())?;
    let slots = ring.queue().len();
    assert_eq!((ring.status().len(), ring.status().is_empty()), (slots, false));
    expect(ring, 0..5)?;
    assert_eq!((ring.status().len(), ring.status().is_empty()), (0, true));
    let flags = (ring.status().need_wakeup(), ring.status().cq_overflow(), ring.status().taskrun());
    assert_eq!((flags, ring.status().dropped()), ((false, false, false), 0));
    Ok(())
}

fn all_or_nothing(ring: &mut dyn Ring) -> Result {
    ring.works(7)?;
    let mut queue = ring.queue();
    push(&mut *queue, &nops(0..13))?;
    assert!(push(&mut *queue, &nops(100..104)).is_err());
    // SAFETY: NOPs use no memory and no descriptor.
    let refused = unsafe { queue.push_each(4, &mut |_| panic!("the queue has no free slot")) };
    assert!(refused.is_err());
    assert_eq!(queue.len(), 13);
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe { queue.push_each(2, &mut |i| nop(13 + i as u64)) }?;
    push(&mut *queue, &nops(15..16))?;
    // Pushing no entries always succeeds.
    push(&mut *queue, &[])?;
    drop(queue);
    expect(ring, 0..16)
}

fn panic_while_pushing(ring: &mut dyn Ring) -> Result {
    ring.works(14)?;
    let mut queue = ring.queue();
    push(&mut *queue, &[nop(1)])?;
    let panicked = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut entry = |i| if i == 2 { panic!("this panic is intended") } else { nop(100) };
        // SAFETY: NOPs use no memory and no descriptor.
        unsafe { queue.push_each(3, &mut entry) }
    }));
    assert!(panicked.is_err());
    assert_eq!(queue.len(), 1);
    push(&mut *queue, &[nop(2)])?;
    drop(queue);
    expect(ring, [1, 2])
}

fn reserve(ring: &mut dyn Ring) -> Result {
    ring.works(13)?;
    let mut queue = ring.queue();
    let mut reserve = |how_far| {
        // SAFETY: NOPs use no memory and no descriptor.
        unsafe { queue.reserve(how_far) }
    };
    for round in 0..5 {
        reserve(Reserve::Vacant)?;
        reserve(Reserve::Filled(nop(100)))?;
        reserve(Reserve::Committed(nop(round)))?;
    }
    for n in 5..16 {
        reserve(Reserve::Committed(nop(n)))?;
    }
    assert!(reserve(Reserve::Vacant).is_err());
    assert!(queue.is_full());
    drop(queue);
    expect(ring, 0..16)
}

fn forgotten_view(ring: &mut dyn Ring) -> Result {
    let mut queue = ring.queue();
    push(&mut *queue, &[nop(1), nop(2)])?;
    queue.sync();
    push(&mut *queue, &[nop(100)])?;
    queue.forget();
    assert_eq!(ring.queue().len(), 2);
    push(&mut *ring.queue(), &[nop(3)])?;
    expect(ring, 1..=3)
}

fn as_slices(ring: &mut dyn Ring) -> Result {
    // Wraps around the end.
    ring.works(10)?;
    let mut queue = ring.queue();
    assert_eq!(queue.left(), []);
    push(&mut *queue, &nops(0..12))?;
    assert_eq!(queue.left(), (0..12).collect::<Vec<_>>());
    drop(queue);
    assert_eq!(ring.queue().left(), (0..12).collect::<Vec<_>>());
    expect(ring, 0..12)?;
    assert_eq!(ring.queue().left(), []);
    Ok(())
}

/// A submit that fails leaves everything queued, and entries that are cleared never run.
fn clear(ring: &mut dyn Ring) -> Result {
    push(&mut *ring.queue(), &nops(0..10))?;
    assert_eq!(ring.submit(), Err(Errno::BADFD));
    assert_eq!(ring.queue().left(), (0..10).collect::<Vec<_>>());
    // SAFETY: nothing submits meanwhile.
    unsafe { ring.queue().clear() };
    assert!(ring.queue().is_empty());
    push(&mut *ring.queue(), &nops(20..36))?;
    ring.submitter().register_enable_rings()?;
    expect(ring, 20..36)
}

fn truncate<S: FixedSize>() -> Result {
    let mut ring = IoUring::<S>::builder().setup_r_disabled().build(8)?;
    {
        let (submitter, mut queue, _) = ring.split();
        // SAFETY: NOPs use no memory and no descriptor.
        unsafe { queue.push_each(8, |i| nop(i as u64)) }?;
        queue.sync();
        // SAFETY: the kernel consumes nothing, because the ring is disabled.
        let refused = unsafe { submitter.enter(8, 0, EnterFlags::empty(), None) };
        assert_eq!(refused, Err(Errno::BADFD));
        // SAFETY: nothing submits meanwhile.
        unsafe {
            queue.truncate(9);
            assert_eq!(queue.len(), 8);
            queue.truncate(3);
            assert_eq!(queue.len(), 3);
            queue.push_any(&nop(9))?;
        }
        submitter.register_enable_rings()?;
    }
    assert_eq!(ring.submit_and_wait(4), Ok(4));
    assert!(ring.completion().map(|cqe| cqe.user_data()).eq([0, 1, 2, 9]));
    works(&mut ring, 20)
}

/// Taking entries back from a ring with exclusive access needs no `unsafe`, and the entries never
/// run.
fn take_back_safely<S: FixedSize>() -> Result {
    let mut ring = IoUring::<S>::builder().build(8)?;
    for round in 0..10 {
        // SAFETY: NOPs use no memory and no descriptor.
        unsafe { ring.submission().push_each(6, |i| nop(i as u64)) }?;
        assert_eq!(ring.truncate(7), Ok(()));
        assert_eq!(ring.submission().len(), 6);
        assert_eq!(ring.truncate(2), Ok(()));
        assert_eq!(ring.submit_and_wait(2), Ok(2), "round {round}");
        assert!(ring.completion().map(|cqe| cqe.user_data()).eq([0, 1]));
        // SAFETY: NOPs use no memory and no descriptor.
        unsafe { ring.submission().push_each(6, |i| nop(i as u64)) }?;
        assert_eq!(ring.clear(), Ok(()));
        assert_eq!(ring.submit(), Ok(0));
        assert_eq!(ring.completion().count(), 0);
    }
    Ok(())
}

/// With SQPOLL, a kernel thread may consume entries at any time.
fn take_back_sqpoll() -> Result {
    let mut ring = IoUring::<Entry>::builder().setup_sqpoll(50).build(8)?;
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe { ring.submission().push(&nop(7)) }?;
    assert_eq!(ring.truncate(0), Err(Errno::INVAL));
    assert_eq!(ring.clear(), Err(Errno::INVAL));
    ring.submit_and_wait(1)?;
    assert!(ring.completion().map(|cqe| cqe.user_data()).eq([7]));
    Ok(())
}

/// The kernel stops after an entry that it rejects. The rest stays queued, and runs once.
fn short_submit(ring: &mut dyn Ring) -> Result {
    for round in 0..5 {
        push(&mut *ring.queue(), &[nop(1), bad(2), nop(3), bad(4), nop(5), nop(6)])?;
        let mut done = Vec::new();
        for (taken, left) in [(2, &[3, 4, 5, 6][..]), (2, &[5, 6]), (2, &[])] {
            assert_eq!(ring.submit(), Ok(taken), "round {round}");
            assert_eq!(ring.queue().left(), left, "round {round}");
            done.extend(ring.reap());
        }
        assert_eq!(
            outcomes(&done),
            [
                (1, Ok(0)),
                (2, Err(Errno::INVAL)),
                (3, Ok(0)),
                (4, Err(Errno::INVAL)),
                (5, Ok(0)),
                (6, Ok(0)),
            ]
        );
    }
    Ok(())
}

fn submit_all(ring: &mut dyn Ring) -> Result {
    push(&mut *ring.queue(), &[nop(1), bad(2), nop(3), bad(4)])?;
    assert_eq!(ring.submit(), Ok(4));
    let (ok, refused) = (Ok(0), Err(Errno::INVAL));
    assert_eq!(outcomes(&ring.reap()), [(1, ok), (2, refused), (3, ok), (4, refused)]);
    Ok(())
}
