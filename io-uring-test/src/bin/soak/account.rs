//! What is in flight, and what is expected of it.

use std::cell::UnsafeCell;

use anyhow::{Result, bail, ensure};
use rustix_uring::Errno;
use rustix_uring::cqueue::Entry;

/// How an operation is to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expect {
    /// With this result.
    Result(i32),
    /// With this errno.
    Errno(Errno),
    /// With either errno or with 0, for what comes too late now and then.
    Settled(Errno),
    /// With eight bytes, which are these in its buffer.
    Word(u64),
    /// With any number of completions that announce more, and a last one.
    Multishot,
}

/// An operation, or a place for one.
struct Slot {
    /// The operation's number; 0 where there is none.
    number: u64,
    expects: Expect,
}

/// What is in flight. Its user data is the number of the operation, and the slot in the lowest bits.
pub(crate) struct Account {
    slots: Vec<Slot>,
    free: Vec<u16>,
    /// A word of memory for each slot, that the kernel may read and write.
    words: Box<[UnsafeCell<u64>]>,
    next: u64,
    /// How many of those in flight are multishot.
    pub(crate) multishot: usize,
}

const SLOT_BITS: u32 = 12;

impl Account {
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

    /// How many operations there have been.
    pub(crate) fn operations(&self) -> u64 {
        self.next - 1
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// How many will end by themselves.
    pub(crate) fn ending(&self) -> usize {
        self.in_flight() - self.multishot
    }

    /// Whether there is room for a turn's operations.
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

    /// An operation begins, under the user data that is returned. `word` is what its memory holds.
    pub(crate) fn begin(&mut self, expects: Expect, word: u64) -> u64 {
        let slot = self.free.pop().expect("a turn begins with room");
        let number = self.next;
        self.next += 1;
        self.slots[usize::from(slot)] = Slot { number, expects };
        if matches!(expects, Expect::Multishot) {
            self.multishot += 1;
        }
        // SAFETY: the slot was free, so that no operation uses its memory.
        unsafe { self.words[usize::from(slot)].get().write(word) };
        number << SLOT_BITS | u64::from(slot)
    }

    /// A completion has arrived. Every one is to be of an operation in flight, and what it expects.
    pub(crate) fn settle(&mut self, cqe: &Entry) -> Result<()> {
        let at = slot(cqe.user_data());
        let Slot { number, expects } = self.slots[at];
        ensure!(
            number != 0 && number == cqe.user_data() >> SLOT_BITS,
            "a completion of what is not in flight, or not any more: {cqe:?}"
        );
        let done = cqe.to_result();
        let as_expected = match expects {
            Expect::Result(result) => cqe.result() == result,
            Expect::Errno(errno) => done == Err(errno),
            Expect::Settled(errno) => done == Ok(0) || done == Err(errno),
            // SAFETY: the operation is over, so that the word is ours.
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
            ensure!(!cqe.more(), "operation {number} announces more: {cqe:?}");
        }
        self.slots[at].number = 0;
        self.free.push(at as u16);
        Ok(())
    }

    /// Whether the operation is still in flight.
    pub(crate) fn is_in_flight(&self, user_data: u64) -> bool {
        self.slots[slot(user_data)].number == user_data >> SLOT_BITS
    }

    /// An error that names what has not come.
    pub(crate) fn lost(&self) -> Result<()> {
        let lost = self.slots.iter().filter(|slot| slot.number != 0);
        let mut lost: Vec<_> = lost.map(|slot| (slot.number, slot.expects)).collect();
        lost.sort_by_key(|(number, _)| *number);
        lost.truncate(5);
        bail!("{} operations do not complete, the oldest of them {lost:?}", self.in_flight())
    }
}

const MULTISHOT_ENDS: [Result<u32, Errno>; 2] = [Err(Errno::CANCELED), Err(Errno::NOBUFS)];

fn slot(user_data: u64) -> usize {
    user_data as usize & ((1 << SLOT_BITS) - 1)
}
