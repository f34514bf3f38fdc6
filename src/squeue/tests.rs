use core::panic::AssertUnwindSafe;
use std::collections::VecDeque;
use std::vec::Vec;

use super::*;
use crate::cqueue;
use crate::mock::bare::{Kernel, Mock};

/// Interesting positions: the start, and those before a wrap or a change of sign.
const STARTS: [u32; 5] = [0, 5, u32::MAX - 20, u32::MAX, i32::MAX as u32 - 3];

/// Miri is slow.
const ROUNDS: u64 = if cfg!(miri) { 30 } else { 2000 };

fn ring<S: Kind>(entries: u32, start: u32) -> Mock {
    Mock::new::<S, cqueue::Entry>(entries, start)
}

fn numbered(user_data: u64) -> Entry {
    Entry::from_raw(Sqe { opcode: 1, ..Sqe::ZERO }).user_data(user_data)
}

fn big(user_data: u64) -> Entry128 {
    let sqe = Sqe { opcode: sys::IORING_OP_NOP128, ..Sqe::ZERO };
    Entry128::from_raw(sqe, [7; 64]).user_data(user_data)
}

fn is_big(opcode: u8) -> bool {
    opcode >= sys::IORING_OP_NOP128
}

fn push<S: Accepts<E> + Kind, E: Copy>(
    queue: &mut SubmissionQueue<'_, S>,
    entry: E,
) -> Result<(), PushError> {
    // SAFETY: nothing runs the entry.
    unsafe { queue.push_any(&entry) }
}

fn take(kernel: &mut Kernel<'_>) -> Option<u64> {
    kernel.take(is_big).map(|(sqe, _)| sqe.user_data)
}

/// Generates pseudorandom numbers.
struct Dice(u32);

impl Dice {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 16) % n
    }
}

fn in_order_across_the_wrap<S: Kind>() {
    for start in STARTS {
        let mut ring = ring::<S>(8, start);
        let (mut queue, mut kernel) = ring.split_sq::<S>();
        let (mut queued, mut next, mut dice) = (VecDeque::new(), 0, Dice(start));
        for _ in 0..ROUNDS {
            for _ in 0..dice.below(6) {
                assert_eq!(queue.len(), queued.len());
                assert_eq!(queue.is_full(), queued.len() == 8);
                assert_eq!(queue.is_empty(), queued.is_empty());
                let pushed = push(&mut queue, numbered(next));
                assert_eq!(pushed.is_ok(), queued.len() < 8);
                if pushed.is_ok() {
                    queued.push_back(next);
                    next += 1;
                }
            }
            queue.sync();
            for _ in 0..dice.below(6) {
                assert_eq!(take(&mut kernel), queued.pop_front());
            }
            queue.sync();
        }
        assert!(next > ROUNDS / 2);
    }
}

#[test]
fn entries_arrive_in_order_across_the_wrap() {
    in_order_across_the_wrap::<Entry>();
    in_order_across_the_wrap::<Entry128>();
    in_order_across_the_wrap::<Mixed>();
}

#[test]
fn a_short_entry_in_a_big_slot_ends_in_zeros() {
    let mut ring = ring::<Entry128>(2, 0);
    let (mut queue, mut kernel) = ring.split_sq::<Entry128>();
    for round in 0..3 {
        push(&mut queue, big(round)).unwrap();
        let reserved = queue.reserve::<Entry>().unwrap().write(numbered(round));
        // SAFETY: nothing runs the entry.
        unsafe { reserved.commit() };
        queue.sync();
        assert_eq!(kernel.take(is_big).unwrap().1, Some([7; 64]));
        assert_eq!(kernel.take(is_big).unwrap().1, Some([0; 64]));
        // Swap the order, so that each slot sees both sizes.
        queue.sync();
        push(&mut queue, numbered(round)).unwrap();
        queue.sync();
        assert_eq!(kernel.take(is_big).unwrap().1, Some([0; 64]));
        queue.sync();
    }
}

#[test]
fn nothing_is_published_before_sync_or_drop() {
    let mut ring = ring::<Entry>(4, u32::MAX);
    let (mut queue, kernel) = ring.split_sq::<Entry>();
    push(&mut queue, numbered(1)).unwrap();
    assert_eq!(kernel.published(), 0);
    queue.sync();
    assert_eq!(kernel.published(), 1);
    push(&mut queue, numbered(2)).unwrap();
    drop(queue);
    assert_eq!(kernel.published(), 2);

    let mut queue = ring.submission::<Entry>();
    push(&mut queue, numbered(3)).unwrap();
    core::mem::forget(queue);
    assert_eq!(ring.kernel().published(), 2);
    assert_eq!(ring.submission::<Entry>().len(), 2);
}

#[test]
fn push_multiple_pushes_all_or_none() {
    for start in STARTS {
        let mut ring = ring::<Entry>(4, start);
        let mut queue = ring.submission::<Entry>();
        push(&mut queue, numbered(0)).unwrap();
        let four = [1, 2, 3, 4].map(numbered);
        // SAFETY: nothing runs the entries.
        unsafe {
            assert_eq!(queue.push_multiple(&four), Err(PushError::Full));
            let five = [1, 2, 3, 4, 5].map(numbered);
            assert_eq!(queue.push_multiple(&five), Err(PushError::NeverFits));
            assert_eq!(
                queue.push_each(usize::MAX, |_| -> Entry { panic!() }),
                Err(PushError::NeverFits)
            );
            assert_eq!(queue.push_multiple(&four[..3]), Ok(()));
            assert_eq!(queue.push_multiple(&four[..1]), Err(PushError::Full));
            assert_eq!(queue.push_multiple(&[]), Ok(()));
        }
        drop(queue);
        let mut kernel = ring.kernel();
        assert_eq!([(); 5].map(|()| take(&mut kernel)), [Some(0), Some(1), Some(2), Some(3), None]);
    }
}

#[test]
fn a_panic_in_push_each_pushes_none() {
    let mut ring = ring::<Entry>(4, u32::MAX - 1);
    let mut queue = ring.submission::<Entry>();
    let made = std::panic::catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: nothing runs the entries.
        unsafe { queue.push_each(3, |i| if i < 2 { numbered(9) } else { panic!("on purpose") }) }
    }));
    assert!(made.is_err());
    assert!(queue.is_empty());
    drop(queue);
    assert_eq!(ring.kernel().published(), 0);
}

#[test]
fn a_reserved_slot_counts_once_committed() {
    let mut ring = ring::<Entry>(2, u32::MAX);
    let mut queue = ring.submission::<Entry>();
    drop(queue.reserve::<Entry>().unwrap());
    drop(queue.reserve().unwrap().write(numbered(1)));
    assert!(queue.is_empty());
    for user_data in [2, 3] {
        let mut entry = queue.reserve().unwrap().write(numbered(1));
        assert_eq!(entry.get_user_data(), 1);
        entry.set_user_data(user_data);
        // SAFETY: nothing runs the entry.
        unsafe { entry.commit() };
    }
    assert_eq!(queue.reserve::<Entry>().map(drop), Err(PushError::Full));
    drop(queue);
    let mut kernel = ring.kernel();
    assert_eq!([(); 3].map(|()| take(&mut kernel)), [Some(2), Some(3), None]);
}

#[test]
fn remaining_entries_are_visible_and_removable() {
    for start in STARTS {
        let mut ring = ring::<Entry>(8, start);
        let (mut queue, mut kernel) = ring.split_sq::<Entry>();
        for user_data in 0..6 {
            push(&mut queue, numbered(user_data)).unwrap();
        }
        queue.sync();
        assert_eq!([take(&mut kernel), take(&mut kernel)], [Some(0), Some(1)]);
        queue.sync();
        let seen = |queue: &SubmissionQueue<'_, Entry>| -> Vec<u64> {
            let (older, newer) = queue.as_slices();
            older.iter().chain(newer).map(Entry::get_user_data).collect()
        };
        assert_eq!(seen(&queue), [2, 3, 4, 5]);
        // SAFETY: the mock kernel reads the queue only when this test calls it.
        unsafe { queue.truncate(9) };
        assert_eq!(queue.len(), 4);
        // SAFETY: the mock kernel reads the queue only when this test calls it.
        unsafe { queue.truncate(1) };
        assert_eq!((seen(&queue), kernel.published()), (std::vec![2], 1));
        push(&mut queue, numbered(7)).unwrap();
        queue.sync();
        assert_eq!([(); 3].map(|()| take(&mut kernel)), [Some(2), Some(7), None]);
        push(&mut queue, numbered(8)).unwrap();
        // SAFETY: the mock kernel reads the queue only when this test calls it.
        unsafe { queue.clear() };
        assert_eq!((queue.len(), kernel.published()), (0, 0));
    }
}

/// Pushes both sizes in random order, and compares with a model of what the kernel expects.
#[test]
fn both_sizes_interleave_across_the_wrap() {
    for start in STARTS {
        let mut ring = ring::<Mixed>(8, start);
        let (mut queue, mut kernel) = ring.split_sq::<Mixed>();
        let (mut queued, mut next, mut dice) = (VecDeque::new(), 0, Dice(start));
        let (mut pads, mut refused) = (0, 0);
        for _ in 0..2 * ROUNDS {
            let before = queue.len();
            let (pushed, slots) = if dice.below(2) == 0 {
                (push(&mut queue, big(next)), 2)
            } else {
                (push(&mut queue, numbered(next)), 1)
            };
            if pushed.is_ok() {
                queued.push_back(next);
                next += 1;
                pads += queue.len() - before - slots;
            } else {
                refused += 1;
                assert!(queue.len() + slots + 1 > 8, "rejected despite free slots");
                assert_eq!(queue.len(), before);
            }
            if dice.below(3) == 0 {
                queue.sync();
                for _ in 0..dice.below(5) {
                    match take(&mut kernel) {
                        Some(PAD_USER_DATA) => pads -= 1,
                        taken => assert_eq!(taken, queued.pop_front()),
                    }
                }
                queue.sync();
            }
        }
        assert!(next > ROUNDS / 2 && refused > 10, "{next} {refused}");
        queue.sync();
        while let Some(taken) = take(&mut kernel) {
            match taken {
                PAD_USER_DATA => pads -= 1,
                taken => assert_eq!(Some(taken), queued.pop_front()),
            }
        }
        assert_eq!((pads, queued.len()), (0, 0));
    }
}

#[test]
fn push_each_pushes_all_big_entries_or_none() {
    for at in 0..8 {
        for n in 0..=5 {
            let mut ring = ring::<Mixed>(8, u32::MAX - 3 - at);
            let (mut queue, mut kernel) = ring.split_sq::<Mixed>();
            // SAFETY: nothing runs the entries.
            let pushed = unsafe { queue.push_each(n, |i| big(i as u64)) };
            drop(queue);
            let mut taken = Vec::new();
            while let Some(user_data) = take(&mut kernel) {
                if user_data != PAD_USER_DATA {
                    taken.push(user_data);
                }
            }
            let fits = match n {
                0..=3 => true,
                // With an odd start, the pad leaves slots for three entries.
                4 => (u32::MAX - 3 - at) % 2 == 0,
                _ => false,
            };
            // The queue was empty, so waiting cannot help.
            let expected = if fits { Ok(()) } else { Err(PushError::NeverFits) };
            assert_eq!(pushed, expected, "{n} at {at}");
            assert_eq!(taken, if fits { (0..n as u64).collect() } else { Vec::new() });
        }
    }
}

/// A pad and a big entry take three slots. If the queue has two, waiting for free slots does not
/// help. (A rewound queue starts over, without a pad.)
#[test]
fn entries_that_never_fit_are_reported() {
    let mut ring = ring::<Mixed>(2, 1);
    let mut queue = ring.submission::<Mixed>();
    assert_eq!(push(&mut queue, big(1)), Err(PushError::NeverFits));
    assert_eq!(queue.reserve::<Entry128>().map(drop), Err(PushError::NeverFits));
    // Do what the documentation of the error says.
    push(&mut queue, numbered(1)).unwrap();
    assert_eq!(push(&mut queue, big(2)), Err(PushError::Full));
    queue.sync();
    drop(queue);
    let (mut queue, mut kernel) = ring.split_sq::<Mixed>();
    assert_eq!(take(&mut kernel), Some(1));
    queue.sync();
    assert_eq!(push(&mut queue, big(2)), Ok(()));
    assert_eq!(push(&mut queue, big(3)), Err(PushError::Full));
    drop(queue);

    let mut ring = self::ring::<Rewind<Mixed>>(2, 0);
    let mut queue = ring.submission::<Rewind<Mixed>>();
    push(&mut queue, numbered(1)).unwrap();
    assert_eq!(push(&mut queue, big(2)), Err(PushError::Full));
    // SAFETY: nothing runs the entries.
    let two = unsafe { queue.push_each(2, |i| big(2 + i as u64)) };
    assert_eq!(two, Err(PushError::NeverFits));
    assert_ne!(
        std::format!("{}", PushError::Full),
        std::format!("{}", PushError::NeverFits),
        "their messages differ"
    );
}

/// Returns the pad that the queue inserts before a big entry at the last slot.
fn pad_behind(
    ring: &mut Mock,
    before: impl FnOnce(&mut SubmissionQueue<'_, Mixed>, &mut Kernel<'_>),
) -> Sqe {
    let (mut queue, mut kernel) = ring.split_sq::<Mixed>();
    before(&mut queue, &mut kernel);
    push(&mut queue, big(99)).unwrap();
    queue.sync();
    loop {
        let (sqe, _) = kernel.take(is_big).unwrap();
        if sqe.user_data == PAD_USER_DATA {
            return sqe;
        }
    }
}

const SILENT: Flags = Flags::SKIP_SUCCESS;

#[test]
fn a_pad_continues_the_link_before_it() {
    for link in [Flags::IO_LINK, Flags::IO_HARDLINK, Flags::IO_LINK | Flags::IO_HARDLINK] {
        // A short entry before the last slot.
        let pad = pad_behind(&mut ring::<Mixed>(8, 6), |queue, _| {
            push(queue, numbered(1).flags(link | Flags::ASYNC)).unwrap();
        });
        assert_eq!(Flags::from_bits_retain(pad.flags), link | SILENT);
        // A big entry, whose second half contains no flags.
        let pad = pad_behind(&mut ring::<Mixed>(8, 5), |queue, _| {
            push(queue, big(1).flags(link)).unwrap();
        });
        assert_eq!(Flags::from_bits_retain(pad.flags), link | SILENT);
    }
    let pad = pad_behind(&mut ring::<Mixed>(8, 6), |queue, _| {
        push(queue, numbered(1).flags(Flags::ASYNC)).unwrap();
    });
    assert_eq!((pad.opcode, pad.fd, Flags::from_bits_retain(pad.flags)), (0, -1, SILENT));
}

#[test]
fn a_pad_does_not_continue_a_submitted_or_removed_chain() {
    let linked = numbered(1).flags(Flags::IO_LINK);
    // The kernel has consumed the entry, but the view has not noticed it.
    let pad = pad_behind(&mut ring::<Mixed>(8, 6), |queue, kernel| {
        push(queue, linked).unwrap();
        queue.sync();
        take(kernel).unwrap();
    });
    assert_eq!(Flags::from_bits_retain(pad.flags), SILENT);
    // The entry was removed.
    let pad = pad_behind(&mut ring::<Mixed>(8, 7), |queue, _| {
        push(queue, linked).unwrap();
        // SAFETY: the mock kernel reads the queue only when this test calls it.
        unsafe { queue.clear() };
    });
    assert_eq!(Flags::from_bits_retain(pad.flags), SILENT);
    // The slot was reserved and released.
    let pad = pad_behind(&mut ring::<Mixed>(8, 7), |queue, _| {
        drop(queue.reserve().unwrap().write(linked));
    });
    assert_eq!(Flags::from_bits_retain(pad.flags), SILENT);
}

/// An end of a big entry must not be remembered forever: the same positions occur again.
#[test]
fn a_pad_depends_on_the_newest_entry_only() {
    let linked = |user_data| numbered(user_data).flags(Flags::IO_LINK);
    // A big entry ended where the short ones end now, but was removed.
    let pad = pad_behind(&mut ring::<Mixed>(8, 5), |queue, _| {
        push(queue, big(1)).unwrap();
        // SAFETY: the mock kernel reads the queue only when this test calls it.
        unsafe { queue.clear() };
        push(queue, numbered(2)).unwrap();
        push(queue, linked(3)).unwrap();
    });
    assert_eq!(Flags::from_bits_retain(pad.flags), Flags::IO_LINK | SILENT);
    // The big entry was written in its slot.
    let pad = pad_behind(&mut ring::<Mixed>(8, 5), |queue, _| {
        let entry = queue.reserve().unwrap().write(big(1).flags(Flags::IO_LINK));
        // SAFETY: nothing runs the entry.
        unsafe { entry.commit() };
    });
    assert_eq!(Flags::from_bits_retain(pad.flags), Flags::IO_LINK | SILENT);
    // An earlier view has pushed the big entry.
    let mut ring = ring::<Mixed>(8, 5);
    push(&mut ring.submission::<Mixed>(), big(1).flags(Flags::IO_LINK)).unwrap();
    let pad = pad_behind(&mut ring, |_, _| {});
    assert_eq!(Flags::from_bits_retain(pad.flags), Flags::IO_LINK | SILENT);
    // Another process has pushed the big entry, behind a short one.
    for links in [Flags::IO_LINK, Flags::empty()] {
        let mut ring = self::ring::<Mixed>(8, 4);
        push(&mut ring.submission::<Mixed>(), linked(1)).unwrap();
        push(&mut ring.submission::<Mixed>(), big(2).flags(links)).unwrap();
        ring.hand_on();
        let pad = pad_behind(&mut ring, |_, _| {});
        assert_eq!(Flags::from_bits_retain(pad.flags), links | SILENT);
    }
}

#[test]
fn a_big_end_is_forgotten_before_positions_wrap() {
    let mut ring = ring::<Mixed>(8, 5);
    let (mut queue, mut kernel) = ring.split_sq::<Mixed>();
    push(&mut queue, big(1)).unwrap();
    queue.sync();
    for _ in 0..20 {
        while take(&mut kernel).is_some() {}
        queue.sync();
        push(&mut queue, numbered(2)).unwrap();
        queue.sync();
    }
    assert!(queue.local.tail.wrapping_sub(queue.local.big_end) <= 9);
    assert_ne!(queue.local.tail, queue.local.big_end);
}

#[test]
fn pads_post_completions_on_request() {
    let pad = pad_behind(&mut ring::<Mixed>(8, 6).post_pad_cqes(), |queue, _| {
        push(queue, numbered(1).flags(Flags::IO_LINK)).unwrap();
    });
    assert_eq!(Flags::from_bits_retain(pad.flags), Flags::IO_LINK);
}

#[test]
fn a_rewound_queue_keeps_its_entries_between_views() {
    let mut ring = ring::<Rewind<Mixed>>(4, 0);
    for user_data in 0..3 {
        push(&mut ring.submission::<Rewind<Mixed>>(), numbered(user_data)).unwrap();
    }
    // Neither head nor tail is shared with the kernel.
    assert_eq!(ring.kernel().published(), 0);
    let mut queue = ring.submission::<Rewind<Mixed>>();
    assert_eq!(queue.len(), 3);
    // Here, too, a big entry does not wrap. There is no pad, because the queue starts over anyway.
    assert_eq!(push(&mut queue, big(9)), Err(PushError::Full));
    assert_eq!(push(&mut queue, numbered(3)), Ok(()));
    assert!(queue.is_full());
    let (entries, rest) = queue.as_slices();
    assert!(entries.iter().map(Entry::get_user_data).eq(0..4) && rest.is_empty());
}

#[test]
fn kernel_flags_are_distinguished() {
    let mut ring = ring::<Entry>(2, 0);
    let (queue, kernel) = ring.split_sq::<Entry>();
    let seen = |flags| {
        kernel.set_sq_flags(flags);
        (queue.need_wakeup(), queue.cq_overflow(), queue.taskrun())
    };
    assert_eq!(seen(0), (false, false, false));
    assert_eq!(seen(1), (true, false, false));
    assert_eq!(seen(2), (false, true, false));
    assert_eq!(seen(4), (false, false, true));
}

#[test]
fn queues_can_be_sent_to_other_threads() {
    fn sends<T: Send>() {}
    fn shares<T: Sync>() {}
    sends::<SubmissionQueue<'_, Mixed>>();
    sends::<Vacant<'_, Entry128>>();
    sends::<crate::IoUring<Entry128, cqueue::Mixed>>();
    shares::<crate::IoUring<Entry128, cqueue::Mixed>>();
    sends::<crate::IoUring<Rewind<Mixed>>>();
    sends::<crate::Submitter<'_>>();
    sends::<crate::CompletionQueue<'_>>();
    sends::<cqueue::Status<'_>>();
}
