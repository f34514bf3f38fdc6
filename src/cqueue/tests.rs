use core::mem::MaybeUninit;
use std::collections::VecDeque;
use std::vec::Vec;

use super::*;
use crate::mock::bare::{Kernel, Mock};
use crate::shared::KernelU32;
use crate::squeue;

const STARTS: [u32; 5] = [0, 5, u32::MAX - 20, u32::MAX, i32::MAX as u32 - 3];

/// Miri is slow.
const ROUNDS: u64 = if cfg!(miri) { 30 } else { 2000 };

fn ring<C: Kind>(entries: u32, start: u32) -> Mock {
    Mock::new::<squeue::Entry, C>(entries, start)
}

fn big(user_data: u64) -> [u64; 2] {
    [user_data << 8, !user_data]
}

/// Posts completions with increasing numbers, reaps some of them in between, and checks their
/// order. A completion is big if `is_big` returns true for its number.
fn all_arrive<C: Kind>(start: u32, is_big: fn(u64) -> bool, check: impl Fn(&C)) {
    let mut ring = ring::<C>(8, start);
    let (mut queue, mut kernel) = ring.split_cq::<C>();
    let (mut posted, mut seen) = (VecDeque::new(), 0);
    let mut next = 0;
    for round in 0..ROUNDS {
        queue.sync();
        for _ in 0..round * 7 % 5 {
            if kernel.post(next, is_big(next).then(|| big(next))) {
                posted.push_back(next);
                next += 1;
            } else {
                assert!(posted.len() >= 3, "rejected despite free slots");
            }
        }
        queue.sync();
        for _ in 0..round * 11 % 6 {
            let peeked = queue.peek().map(|cqe| cqe.user_data());
            let reaped = queue.next();
            assert_eq!(peeked, reaped.map(|cqe| cqe.user_data()));
            assert_eq!(peeked, posted.pop_front());
            if let Some(cqe) = reaped {
                check(&cqe);
                seen += 1;
            }
        }
    }
    assert!(seen > ROUNDS / 2);
}

#[test]
fn completions_arrive_in_order_across_the_wrap() {
    for start in STARTS {
        all_arrive::<Entry>(start, |_| false, |_| {});
        all_arrive::<Entry32>(
            start,
            |_| true,
            |cqe| assert_eq!(*cqe.big_cqe(), big(cqe.user_data())),
        );
    }
}

#[test]
fn both_sizes_arrive_and_filler_does_not() {
    for start in STARTS {
        all_arrive::<Mixed>(
            start,
            |n| n.wrapping_mul(0x9E37_79B9).count_ones() % 2 == 0,
            |cqe| {
                let is_big = cqe.user_data().wrapping_mul(0x9E37_79B9).count_ones() % 2 == 0;
                assert_eq!(cqe.big_cqe().copied(), is_big.then(|| big(cqe.user_data())));
            },
        );
    }
}

/// An unreleased completion would satisfy the next wait at once.
#[test]
fn reaching_the_end_releases_everything() {
    for start in STARTS {
        let mut ring = ring::<Entry>(8, start);
        let (mut queue, mut kernel) = ring.split_cq::<Entry>();
        for n in 0..3 {
            assert!(kernel.post(n, None));
        }
        queue.sync();
        for _ in 0..3 {
            queue.next();
        }
        assert_eq!(kernel.cq_head(), start, "released before the end was reached");
        assert_eq!(queue.next(), None);
        assert_eq!(kernel.cq_head(), start.wrapping_add(3));
        // The view continues after a sync.
        assert!(kernel.post(7, None));
        assert_eq!(queue.next(), None);
        queue.sync();
        assert_eq!(queue.next().map(|cqe| cqe.user_data()), Some(7));
        drop(queue);
        assert_eq!(kernel.cq_head(), start.wrapping_add(4));
    }
}

/// Filler that is alone at the end of the queue is consumed, too.
#[test]
fn filler_alone_is_released() {
    let mut ring = ring::<Mixed>(4, 3);
    let (mut queue, mut kernel) = ring.split_cq::<Mixed>();
    assert!(kernel.post(1, Some(big(1))));
    queue.sync();
    assert_eq!((queue.len(), queue.size_hint()), (3, (0, Some(3))));
    assert_eq!(queue.next().map(|cqe| cqe.user_data()), Some(1));
    assert_eq!(queue.next(), None);
    assert_eq!(kernel.cq_head(), 6);
}

/// A message that sets the filler flag and the flag of a big completion takes two slots, which are
/// both skipped.
#[test]
fn filler_of_two_slots_is_skipped_as_a_whole() {
    for start in STARTS {
        let mut ring = ring::<Mixed>(8, start);
        let (mut queue, mut kernel) = ring.split_cq::<Mixed>();
        let mut slot = start;
        for round in 0..50 {
            let skip = sys::IORING_CQE_F_SKIP;
            // Filler of two slots is alone, between completions, at the end, and next to filler of
            // one slot.
            assert!(kernel.post_flags(1, skip, Some(big(1))));
            queue.sync();
            assert_eq!(queue.size_hint().0, 0);
            assert_eq!((queue.peek(), queue.next()), (None, None));
            assert!(kernel.post_flags(2, skip, Some(big(2))) && kernel.post(round, None));
            assert!(kernel.post_flags(3, skip, None));
            queue.sync();
            assert_eq!(queue.peek().map(|cqe| cqe.user_data()), Some(round));
            assert!(queue.by_ref().map(|cqe| cqe.user_data()).eq([round]));
            assert!(kernel.post(round, Some(big(round))));
            queue.sync();
            assert_eq!(queue.next().map(|cqe| cqe.big_cqe().copied()), Some(Some(big(round))));
            assert!(queue.next().is_none() && queue.is_empty());
            assert_ne!(kernel.cq_head(), slot, "nothing was released");
            slot = kernel.cq_head();
        }
        // The first half of filler of two slots, at the end.
        assert!(kernel.post_flags(1, sys::IORING_CQE_F_SKIP | sys::IORING_CQE_F_32, None));
        queue.sync();
        assert!(queue.next().is_none() && queue.is_empty());
    }
}

#[test]
fn slices_show_ready_completions_and_consume_moves_past_them() {
    for start in STARTS {
        let mut ring = ring::<Entry>(8, start);
        let (mut queue, mut kernel) = ring.split_cq::<Entry>();
        let mut next = 0;
        for _ in 0..ROUNDS / 20 + 10 {
            while kernel.post(next, None) {
                next += 1;
            }
            queue.sync();
            let (older, newer) = queue.as_slices();
            let seen: Vec<u64> = older.iter().chain(newer).map(|cqe| cqe.user_data()).collect();
            assert!(seen.iter().copied().eq(next - 8..next));
            assert!(queue.is_full());
            queue.consume(3);
            assert_eq!((queue.len(), queue.peek().unwrap().user_data()), (5, next - 5));
            queue.sync();
        }
        queue.consume(usize::MAX);
        assert!(queue.is_empty());
        assert_eq!(kernel.cq_head(), start.wrapping_add(next as u32));
    }
}

#[test]
fn fill_takes_as_many_as_fit() {
    let mut ring = ring::<Entry>(8, u32::MAX - 1);
    let (mut queue, mut kernel) = ring.split_cq::<Entry>();
    for n in 0..5 {
        assert!(kernel.post(n, None));
    }
    queue.sync();
    let mut room = [MaybeUninit::uninit(); 3];
    assert!(queue.fill(&mut room).iter().map(|cqe| cqe.user_data()).eq(0..3));
    assert!(queue.fill(&mut room).iter().map(|cqe| cqe.user_data()).eq(3..5));
    assert!(queue.fill(&mut room).is_empty());
    assert_eq!(kernel.cq_head(), 3);
}

#[test]
fn status_counts_ready_completions() {
    let mut ring = ring::<Entry>(8, u32::MAX);
    let (mut queue, mut kernel) = ring.split_cq::<Entry>();
    let status = queue.status();
    assert!(status.is_empty());
    assert!(kernel.post(1, None) && kernel.post(2, None));
    assert_eq!((status.ready(), status.overflow()), (2, 0));
    queue.sync();
    queue.next();
    queue.sync();
    assert_eq!(status.ready(), 1);
}

/// Another thread may see this if completions are released and posted while it reads.
#[test]
fn status_is_within_the_capacity() {
    for start in STARTS {
        let mut ring = ring::<Entry>(8, start);
        let mut kernel = ring.kernel();
        let ahead = |n: u32, kernel: &mut Kernel<'_>| {
            kernel.set_cq_tail(start.wrapping_add(n));
            kernel.status().ready()
        };
        assert_eq!(ahead(8, &mut kernel), 8);
        assert_eq!(ahead(9, &mut kernel), 8);
        assert_eq!(ahead(i32::MAX as u32, &mut kernel), 8);
    }
}

/// If a queue always holds four to eight completions, another thread never sees fewer or more.
#[test]
fn status_is_right_in_another_thread() {
    use core::sync::atomic::AtomicU32;
    // The kernel puts these words into different cache lines.
    let words: [AtomicU32; 128] = [const { AtomicU32::new(0) }; 128];
    // SAFETY: the word is within `words`, which outlives the queue.
    let word = |at: u32| unsafe { KernelU32::at(NonNull::from(&words).cast(), at * 4) };
    let (head, tail) = (word(0), word(64));
    let cq = Cq {
        head,
        tail,
        overflow: word(127),
        flags: None,
        entries: NonNull::dangling(),
        capacity: 8,
        most_wanted: 8,
    };
    let status = Status::new(&cq);
    tail.release(4);
    let rounds = if cfg!(miri) { 500 } else { 1_000_000 };
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (mut least, mut most) = (usize::MAX, 0);
            for _ in 0..rounds {
                let ready = status.ready();
                (least, most) = (least.min(ready), most.max(ready));
            }
            (least, most)
        });
        let mut at = 0_u32;
        while !watcher.is_finished() {
            tail.release(at.wrapping_add(8));
            at = at.wrapping_add(4);
            head.release(at);
        }
        let (least, most) = watcher.join().unwrap();
        assert!(4 <= least && most <= 8, "between {least} and {most}");
    });
}

#[test]
fn only_the_eventfd_bit_is_switched() {
    let mut new = ring::<Entry>(8, 0);
    let queue = new.completion::<Entry>();
    assert!(!queue.eventfd_disabled());
    queue.disable_eventfd();
    assert!(queue.eventfd_disabled());
    queue.enable_eventfd();
    assert!(!queue.eventfd_disabled());
    drop(queue);

    // Kernels before 5.8 have no such word.
    let mut ring = ring::<Entry>(8, 0).without_cq_flags();
    let queue = ring.completion::<Entry>();
    queue.disable_eventfd();
    assert!(!queue.eventfd_disabled());
}

/// An all-zero completion is valid, and so is every other.
#[test]
fn every_byte_is_a_valid_completion() {
    // SAFETY: this is what the test checks. The struct consists only of integers.
    let zero: Entry32 = unsafe { core::mem::zeroed() };
    assert_eq!((zero.result(), zero.flags(), zero.big_cqe()), (0, 0, &[0, 0]));
}
