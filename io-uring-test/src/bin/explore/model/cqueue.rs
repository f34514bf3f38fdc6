//! The completion queue: a ring of 16-byte slots (32-byte slots if all completions are big).
//!
//! - The kernel advances the tail. The program advances the head when it releases what it has read.
//! - A completion that finds no free slot waits in the kernel (it *overflows*), and so do all later
//!   ones, so that they stay in order. They move to the queue when a task enters and asks for events.
//!   (On older kernels, later ones go to the queue if there is room, and overtake those that wait.)
//! - In a mixed queue, a big completion takes two slots and never straddles the end: if only the last
//!   slot before the end is left, the kernel fills it with a CQE that is skipped. It does so even if
//!   there is no room for the completion itself afterwards.

use std::collections::VecDeque;

/// Marks a filler CQE of a mixed queue. The program never sees it.
pub(crate) const F_SKIP: u32 = 1 << 5;
/// In a mixed queue, marks a completion of 32 bytes.
pub(crate) const F_32: u32 = 1 << 15;
pub(crate) const F_MORE: u32 = 1 << 1;
pub(crate) const F_SOCK_NONEMPTY: u32 = 1 << 2;

/// A completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cqe {
    pub(crate) user_data: u64,
    pub(crate) result: i32,
    pub(crate) flags: u32,
    pub(crate) big: Option<[u64; 2]>,
}

/// The size of the completions of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Big,
    Mixed,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    Cqe(Cqe),
    /// The second slot of a big completion in a mixed queue.
    Half,
    Filler,
}

#[derive(Clone, Debug)]
pub(crate) struct Cq {
    pub(crate) capacity: u32,
    pub(crate) size: Size,
    tail: u32,
    slots: VecDeque<Slot>,
    overflow: VecDeque<Cqe>,
    /// The kernel posts a completion if there is room, even if others overflowed before it.
    pub(crate) overtakes: bool,
    /// This has happened.
    pub(crate) overtaken: bool,
}

impl Cq {
    pub(crate) fn new(capacity: u32, size: Size) -> Self {
        let (slots, overflow) = (VecDeque::new(), VecDeque::new());
        Self { capacity, size, tail: 0, slots, overflow, overtakes: false, overtaken: false }
    }

    /// The number of slots that ready completions and filler occupy.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many slots the kernel has filled since the queue was made. Wraps around.
    pub(super) fn filled(&self) -> u32 {
        self.tail
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.capacity as usize
    }

    pub(crate) fn overflows(&self) -> bool {
        !self.overflow.is_empty()
    }

    fn slots_for(&self, cqe: &Cqe) -> usize {
        if self.size == Size::Mixed && cqe.flags & F_32 != 0 { 2 } else { 1 }
    }

    fn add(&mut self, slot: Slot) {
        self.slots.push_back(slot);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Puts a completion into the queue if there is room. Returns whether there was.
    fn fits(&mut self, cqe: Cqe) -> bool {
        let slots = self.slots_for(&cqe);
        let before_the_end = (self.capacity - self.tail % self.capacity) as usize;
        if slots == 2 && before_the_end == 1 {
            if self.is_full() {
                return false;
            }
            self.add(Slot::Filler);
        }
        if self.len() + slots > self.capacity as usize {
            return false;
        }
        // A completion with the skip flag occupies its slots, but the program never sees it.
        let skipped = self.size == Size::Mixed && cqe.flags & F_SKIP != 0;
        self.add(if skipped { Slot::Filler } else { Slot::Cqe(cqe) });
        if slots == 2 {
            self.add(if skipped { Slot::Filler } else { Slot::Half });
        }
        true
    }

    /// The kernel posts a completion.
    pub(crate) fn post(&mut self, cqe: Cqe) {
        if !self.post_one_of_several(cqe) {
            self.overflow.push_back(cqe);
        }
    }

    /// The kernel posts one of several completions of a request. Returns whether there was room.
    pub(crate) fn post_one_of_several(&mut self, cqe: Cqe) -> bool {
        let overflows = self.overflows();
        let fits = (!overflows || self.overtakes) && self.fits(cqe);
        self.overtaken |= fits && overflows;
        fits
    }

    /// A task asks for events: completions that overflowed move to the queue while there is room.
    /// Returns how many have moved.
    pub(crate) fn flush(&mut self) -> usize {
        let before = self.overflow.len();
        if !self.is_full() {
            while let Some(cqe) = self.overflow.front().copied() {
                if !self.fits(cqe) {
                    break;
                }
                self.overflow.pop_front();
            }
        }
        before - self.overflow.len()
    }

    /// The program consumes the next completion and the filler before it. If no completion is left,
    /// the program consumes the remaining filler.
    pub(crate) fn next(&mut self) -> Option<Cqe> {
        loop {
            match self.slots.pop_front()? {
                Slot::Filler => {}
                Slot::Half => {
                    unreachable!("the second half of a completion without its first half")
                }
                Slot::Cqe(cqe) => {
                    if let Some(Slot::Half) = self.slots.front() {
                        self.slots.pop_front();
                    }
                    return Some(cqe);
                }
            }
        }
    }

    /// The completions in the queue, and those that overflowed.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Cqe> {
        self.visible().chain(&self.overflow)
    }

    /// The completions that the program sees, oldest first.
    pub(crate) fn visible(&self) -> impl Iterator<Item = &Cqe> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Cqe(cqe) => Some(cqe),
            _ => None,
        })
    }

    /// Moves a completion before the others that are ready.
    pub(crate) fn swap_to_front(&mut self, wanted: &Cqe) {
        let is_it = |slot: &Slot| matches!(slot, Slot::Cqe(cqe) if cqe == wanted);
        if !self.slots.iter().any(is_it) {
            self.swap_with_the_newest(wanted);
        }
        let Some(at) = self.slots.iter().position(is_it) else { return };
        let first = self.slots.iter().position(|slot| matches!(slot, Slot::Cqe(_))).unwrap_or(at);
        let slots = 1 + usize::from(matches!(self.slots.get(at + 1), Some(Slot::Half)));
        for i in 0..slots {
            if let Some(slot) = self.slots.remove(at + i) {
                self.slots.insert(first + i, slot);
            }
        }
    }

    /// Exchanges a completion that overflowed with the newest one in the queue.
    fn swap_with_the_newest(&mut self, wanted: &Cqe) {
        let Some(Slot::Cqe(newest)) = self.slots.back().copied() else { return };
        let Some(at) = self.overflow.iter().position(|cqe| cqe == wanted) else { return };
        if self.slots_for(wanted) == 1 {
            self.overflow.remove(at);
            self.overflow.push_front(newest);
            self.slots.pop_back();
            self.slots.push_back(Slot::Cqe(*wanted));
        }
    }

    /// The program can no longer see the queue.
    pub(crate) fn lose(&mut self) {
        self.capacity = 0;
        self.slots.clear();
        self.overflow.clear();
    }

    /// The ready completions move to the same positions of a queue with `capacity` slots.
    pub(crate) fn resize(&mut self, capacity: u32) {
        self.capacity = capacity;
    }
}
