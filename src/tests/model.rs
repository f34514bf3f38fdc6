//! The queues against a mock kernel on another thread, under the model checker loom. It tries every
//! order in which the two can see the stores of each other.
//!
//! `RUSTFLAGS="--cfg rustix_uring_loom" cargo test --release --lib model`

use core::mem::offset_of;
use core::ptr::NonNull;
use std::boxed::Box;
use std::fs::File;
use std::vec::Vec;

use loom::sync::Arc;
use loom::thread;
use rustix::fd::OwnedFd;

use crate::cqueue::{self, CompletionQueue};
use crate::memory::zeroed_params;
use crate::shared::{
    AtomicU32, Cq, KernelU32, Ordering, RingId, Saved, Settings, Slot, Sq, fence, get, put,
};
use crate::squeue::{self, Entry, Sqe, SubmissionQueue};
use crate::submit::Submitter;
use crate::sys::{IORING_CQE_F_32, IORING_SETUP_SQPOLL, IORING_SQ_NEED_WAKEUP, io_uring_params};
use crate::{Parameters, SetupFlags};

const ENTRIES: usize = 2;

#[repr(C)]
struct Region {
    sq_head: AtomicU32,
    sq_tail: AtomicU32,
    sq_flags: AtomicU32,
    cq_head: AtomicU32,
    cq_tail: AtomicU32,
    overflow: AtomicU32,
    sqes: [Slot<Entry>; ENTRIES],
    cqes: [Slot<cqueue::Entry>; ENTRIES],
}

// SAFETY: loom checks every access to the slots. This is what it is used for.
unsafe impl Send for Region {}
// SAFETY: loom checks every access to the slots. This is what it is used for.
unsafe impl Sync for Region {}

impl Region {
    fn new(start: u32) -> Arc<Self> {
        Arc::new(Self {
            sq_head: AtomicU32::new(start),
            sq_tail: AtomicU32::new(start),
            sq_flags: AtomicU32::new(0),
            cq_head: AtomicU32::new(start),
            cq_tail: AtomicU32::new(start),
            overflow: AtomicU32::new(0),
            sqes: core::array::from_fn(|_| Slot::new(Entry::default())),
            cqes: core::array::from_fn(|_| Slot::new(cqueue::Entry::default())),
        })
    }

    fn queues(&self) -> (Sq, Cq) {
        let start = NonNull::from(self).cast::<u8>();
        // SAFETY: the offsets are those of fields, and the region outlives the queues of a test.
        let (word, slot) = unsafe {
            (|offset: usize| KernelU32::at(start, offset as u32), |offset: usize| start.add(offset))
        };
        let sq = Sq {
            id: RingId::new(),
            head: word(offset_of!(Self, sq_head)),
            tail: word(offset_of!(Self, sq_tail)),
            flags: word(offset_of!(Self, sq_flags)),
            dropped: word(offset_of!(Self, overflow)),
            entries: slot(offset_of!(Self, sqes)),
            capacity: ENTRIES as u32,
            // Only submitters read the flags, and the only test with submitters has an SQPOLL ring.
            setup: SetupFlags::SQPOLL,
            settings: Settings::default(),
            saved: Saved::default(),
        };
        let cq = Cq {
            head: word(offset_of!(Self, cq_head)),
            tail: word(offset_of!(Self, cq_tail)),
            overflow: word(offset_of!(Self, overflow)),
            flags: None,
            entries: slot(offset_of!(Self, cqes)),
            capacity: ENTRIES as u32,
            most_wanted: ENTRIES as u32,
        };
        (sq, cq)
    }

    /// Consumes published entries, as many as there are free slots for completions, and completes
    /// them at once. Returns their number.
    fn run(&self) -> usize {
        let head = self.sq_head.load(Ordering::Relaxed);
        let tail = self.sq_tail.load(Ordering::Acquire);
        let released = self.cq_head.load(Ordering::Acquire);
        let posted = self.cq_tail.load(Ordering::Relaxed);
        let room = ENTRIES as u32 - posted.wrapping_sub(released);
        let n = tail.wrapping_sub(head).min(room);
        for i in 0..n {
            let at = |position: u32| position.wrapping_add(i) as usize % ENTRIES;
            let cqe = &raw const self.cqes[at(posted)];
            // SAFETY: loom checks that nothing else accesses the slots.
            unsafe {
                let entry: Entry = get(&raw const self.sqes[at(head)]);
                let user_data = entry.get_user_data();
                put(cqe.cast_mut(), cqueue::Entry { user_data, ..Default::default() });
            }
        }
        self.sq_head.store(head.wrapping_add(n), Ordering::Release);
        self.cq_tail.store(posted.wrapping_add(n), Ordering::Release);
        n as usize
    }
}

fn numbered(user_data: u64) -> Entry {
    Entry::from_raw(Sqe::ZERO).user_data(user_data)
}

/// Publishes and reaps, with positions that wrap in between.
#[test]
fn everything_arrives_once_and_in_order() {
    const N: u64 = 3;
    loom::model(|| {
        let region = Region::new(u32::MAX);
        let kernel = {
            let region = region.clone();
            thread::spawn(move || {
                for _ in 0..2 {
                    region.run();
                    thread::yield_now();
                }
            })
        };
        let (sq, cq) = region.queues();
        // SAFETY: these are the only views.
        let (mut sq, mut cq) = unsafe {
            (SubmissionQueue::<Entry>::new(&sq), CompletionQueue::<cqueue::Entry>::new(&cq))
        };
        let (mut next, mut seen) = (0, Vec::new());
        let mut step = |next: &mut u64, seen: &mut Vec<u64>| {
            // SAFETY: nothing runs the entry.
            while *next < N && unsafe { sq.push(&numbered(*next)) }.is_ok() {
                *next += 1;
            }
            sq.sync();
            cq.sync();
            seen.extend(cq.by_ref().map(|cqe| cqe.user_data()));
        };
        for _ in 0..2 {
            step(&mut next, &mut seen);
            thread::yield_now();
        }
        kernel.join().unwrap();
        while seen.len() < N as usize {
            step(&mut next, &mut seen);
            region.run();
        }
        assert!(seen.into_iter().eq(0..N));
    });
}

/// A completion in two slots is visible as a whole or not at all.
#[test]
fn both_halves_arrive_together() {
    loom::model(|| {
        let region = Region::new(u32::MAX - 1);
        let kernel = {
            let region = region.clone();
            thread::spawn(move || {
                let tail = region.cq_tail.load(Ordering::Relaxed);
                let halves = [
                    cqueue::Entry { user_data: 1, res: 0, flags: IORING_CQE_F_32 },
                    cqueue::Entry { user_data: 2, res: 0, flags: 0 },
                ];
                for (i, half) in (0..).zip(halves) {
                    let slot = tail.wrapping_add(i) as usize % ENTRIES;
                    // SAFETY: loom checks that nothing else accesses the slot.
                    unsafe { put((&raw const region.cqes[slot]).cast_mut(), half) };
                }
                region.cq_tail.store(tail.wrapping_add(2), Ordering::Release);
            })
        };
        let (_sq, cq) = region.queues();
        // SAFETY: this is the only view.
        let mut queue = unsafe { CompletionQueue::<cqueue::Mixed>::new(&cq) };
        let early = queue.next();
        kernel.join().unwrap();
        queue.sync();
        let seen = early.or_else(|| queue.next()).unwrap();
        assert_eq!((seen.user_data(), seen.big_cqe()), (1, Some(&[2, 0])));
        assert!(queue.next().is_none());
    });
}

/// While one entry goes through a queue, a third thread sees one entry or none, and never a head
/// ahead of the tail.
#[test]
fn status_counts_what_is_there() {
    loom::model(|| {
        let region = Region::new(u32::MAX);
        let (kernel, watcher) = (region.clone(), region.clone());
        let kernel = thread::spawn(move || kernel.run());
        let watcher = thread::spawn(move || squeue::Status::new(&watcher.queues().0).len());
        let (sq, _) = region.queues();
        // SAFETY: this is the only view.
        let mut queue = unsafe { SubmissionQueue::<Entry>::new(&sq) };
        // SAFETY: nothing runs the entry.
        unsafe { queue.push(&numbered(1)) }.unwrap();
        queue.sync();
        assert!(watcher.join().unwrap() <= 1, "the head is ahead of the tail");
        kernel.join().unwrap();
    });
}

/// Publishes an entry while an SQPOLL thread goes to sleep. `wakes` returns whether it wakes the
/// thread.
fn sleep_race(wakes: fn(&SubmissionQueue<'_, Entry>, Submitter<'_>) -> bool) {
    // The call on a descriptor that is not a ring fails, which shows that a system call was made.
    let no_ring: &OwnedFd = Box::leak(Box::new(File::open("/dev/null").unwrap().into()));
    let params: &Parameters = Box::leak(Box::new(Parameters(io_uring_params {
        flags: IORING_SETUP_SQPOLL,
        ..zeroed_params()
    })));
    loom::model(move || {
        let region = Region::new(0);
        let kernel = {
            let region = region.clone();
            thread::spawn(move || {
                if region.run() > 0 {
                    return true;
                }
                region.sq_flags.fetch_or(IORING_SQ_NEED_WAKEUP, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                region.run() > 0
            })
        };
        let (sq, cq) = region.queues();
        // SAFETY: this is the only view.
        let mut queue = unsafe { SubmissionQueue::<Entry>::new(&sq) };
        // SAFETY: nothing runs the entry.
        unsafe { queue.push(&numbered(1)) }.unwrap();
        queue.sync();
        let woken = wakes(&queue, Submitter { sq: &sq, cq: &cq, params, handle: no_ring });
        let taken = kernel.join().unwrap();
        assert!(woken || taken, "the thread sleeps, and nobody wakes it for the entry");
    });
}

#[test]
fn no_wakeup_is_lost() {
    sleep_race(|queue, _| queue.need_wakeup());
}

#[test]
fn no_wakeup_is_lost_by_submit() {
    sleep_race(|_, submitter| submitter.submit().is_err());
}

/// Without the fence, the test above finds the lost wake-up.
#[test]
#[should_panic(expected = "nobody wakes it")]
fn a_wakeup_is_lost_without_the_fence() {
    sleep_race(|queue, _| queue.need_wakeup_after_intermittent_seqcst());
}
