//! The operations in flight, and their expected completions.

use std::cell::UnsafeCell;

use anyhow::{Result, bail, ensure};
use rustix_uring::Errno;
use rustix_uring::cqueue::Entry;

/// The expected end of an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    /// It ends with this result.
    Result(i32),
    /// It ends with this errno.
    Errno(Errno),
    /// It ends with this errno or with 0: the operation may sometimes come too late.
    Settled(Errno),
    /// It transfers eight bytes, and its buffer contains this word.
    Word(u64),
    /// It posts any number of completions with the flag `more`, and a last one without it.
    Multishot,
}

/// An operation in flight, or a free slot.
struct Slot {
    /// The number of the operation, or 0 if the slot is free.
    number: u64,
    expects: Expect,
}

/// The operations in flight. The user data is the number of the operation, with its slot in the
/// lowest bits.
pub(crate) struct Tracker {
    slots: Vec<Slot>,
    free: Vec<u16>,
    /// One word of memory for each slot, which the kernel may read and write.
    words: Box<[UnsafeCell<u64>]>,
    next: u64,
    /// The number of multishot operations in flight.
    pub(crate) multishot: usize,
}

const SLOT_BITS: u32 = 12;

impl Tracker {
    pub(crate) fn new() -> Self {
        let slots = 1 << SLOT_BITS;
        let empty = || Slot { number: 0, expects: Expect::Result(0) };
        Self {
            slots: (0..slots).map(|_| empty()).collect(),
            free: (0..slots as u16).collect(),
            words: (0..slots).map(|_| UnsafeCell::new(0)).collect(),
            next: 1,
            multishot: 0,
        }
    }

    /// The number of operations so far.
    pub(crate) fn operations(&self) -> u64 {
        self.next - 1
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The number of operations that will end without being canceled.
    pub(crate) fn ending(&self) -> usize {
        self.in_flight() - self.multishot
    }

    /// Whether there are enough free slots for the operations of one turn.
    pub(crate) fn has_room(&self) -> bool {
        self.free.len() > self.slots.len() / 2
    }

    /// The memory of all slots.
    pub(crate) fn words(&self) -> &[UnsafeCell<u64>] {
        &self.words
    }

    /// The memory of an operation in flight.
    pub(crate) fn word(&self, user_data: u64) -> *mut u64 {
        self.words[slot(user_data)].get()
    }

    /// Begins an operation and returns its user data. Its memory is set to `word`.
    pub(crate) fn begin(&mut self, expects: Expect, word: u64) -> u64 {
        let slot = self.free.pop().expect("there is no free slot");
        let number = self.next;
        self.next += 1;
        self.slots[usize::from(slot)] = Slot { number, expects };
        if matches!(expects, Expect::Multishot) {
            self.multishot += 1;
        }
        // SAFETY: the slot was free, so no operation uses its memory.
        unsafe { self.words[usize::from(slot)].get().write(word) };
        number << SLOT_BITS | u64::from(slot)
    }

    /// Handles a completion, which must belong to an operation in flight and match its expectation.
    pub(crate) fn settle(&mut self, cqe: &Entry) -> Result<()> {
        let at = slot(cqe.user_data());
        let Slot { number, expects } = self.slots[at];
        ensure!(
            number != 0 && number == cqe.user_data() >> SLOT_BITS,
            "this completion belongs to no operation in flight: {cqe:?}"
        );
        let done = cqe.to_result();
        let as_expected = match expects {
            Expect::Result(result) => cqe.result() == result,
            Expect::Errno(errno) => done == Err(errno),
            Expect::Settled(errno) => done == Ok(0) || done == Err(errno),
            // SAFETY: the operation has completed, so the kernel no longer uses the word.
            Expect::Word(word) => done == Ok(8) && unsafe { *self.words[at].get() } == word,
            Expect::Multishot => cqe.more() || done.is_ok() || MULTISHOT_ENDS.contains(&done),
        };
        ensure!(as_expected, "operation {number} expects {expects:?}: {cqe:?}");
        if matches!(expects, Expect::Multishot) {
            if cqe.more() {
                return Ok(());
            }
            self.multishot -= 1;
        } else {
            ensure!(!cqe.more(), "operation {number} has the unexpected flag `more`: {cqe:?}");
        }
        self.slots[at].number = 0;
        self.free.push(at as u16);
        Ok(())
    }

    /// Whether the operation is still in flight.
    pub(crate) fn is_in_flight(&self, user_data: u64) -> bool {
        self.slots[slot(user_data)].number == user_data >> SLOT_BITS
    }

    /// Returns an error that names the operations whose completions are missing.
    pub(crate) fn lost(&self) -> Result<()> {
        let lost = self.slots.iter().filter(|slot| slot.number != 0);
        let mut lost: Vec<_> = lost.map(|slot| (slot.number, slot.expects)).collect();
        lost.sort_by_key(|(number, _)| *number);
        lost.truncate(5);
        bail!("{} operations did not complete; the oldest are {lost:?}", self.in_flight())
    }
}

const MULTISHOT_ENDS: [Result<u32, Errno>; 2] = [Err(Errno::CANCELED), Err(Errno::NOBUFS)];

fn slot(user_data: u64) -> usize {
    user_data as usize & ((1 << SLOT_BITS) - 1)
}
