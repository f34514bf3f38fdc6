//! The completion queue: a ring of places of 16 bytes (32 on rings that have only such completions).
//!
//! - The kernel moves the tail, the program moves the head when it gives back what it has read.
//! - A completion that finds no room waits in the kernel (it *overflows*), and all after it do, so
//!   that they stay in order. They move to the queue when somebody enters and asks for events.
//! - In a mixed queue a completion of 32 bytes lies in two places, never on both sides of the end:
//!   where only the last place is left, the kernel fills it with something that is skipped. It does so
//!   even where there is no room for the completion itself then.

use std::collections::VecDeque;

/// What lies in the places of a mixed queue that the program never sees.
pub(crate) const F_SKIP: u32 = 1 << 5;
/// In a mixed queue, a completion of 32 bytes.
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

/// How large the completions of a queue are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Big,
    Mixed,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Cqe(Cqe),
    /// The second place of a completion of two.
    Half,
    Filler,
}

#[derive(Clone, Debug)]
pub(crate) struct Cq {
    pub(crate) capacity: u32,
    pub(crate) size: Size,
    tail: u32,
    places: VecDeque<Place>,
    overflow: VecDeque<Cqe>,
}

impl Cq {
    pub(crate) fn new(capacity: u32, size: Size) -> Self {
        Self { capacity, size, tail: 0, places: VecDeque::new(), overflow: VecDeque::new() }
    }

    /// How many places are taken by what is ready.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.capacity as usize
    }

    pub(crate) fn overflows(&self) -> bool {
        !self.overflow.is_empty()
    }

    fn places_for(&self, cqe: &Cqe) -> usize {
        if self.size == Size::Mixed && cqe.flags & F_32 != 0 { 2 } else { 1 }
    }

    fn add(&mut self, place: Place) {
        self.places.push_back(place);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Puts a completion into the queue, if there is room.
    fn fits(&mut self, cqe: Cqe) -> bool {
        let places = self.places_for(&cqe);
        let before_the_end = (self.capacity - self.tail % self.capacity) as usize;
        if places == 2 && before_the_end == 1 {
            if self.is_full() {
                return false;
            }
            self.add(Place::Filler);
        }
        if self.len() + places > self.capacity as usize {
            return false;
        }
        // What is to be skipped takes its places, and nobody sees it.
        let skipped = self.size == Size::Mixed && cqe.flags & F_SKIP != 0;
        self.add(if skipped { Place::Filler } else { Place::Cqe(cqe) });
        if places == 2 {
            self.add(if skipped { Place::Filler } else { Place::Half });
        }
        true
    }

    /// The kernel posts a completion.
    pub(crate) fn post(&mut self, cqe: Cqe) {
        if self.overflows() || !self.fits(cqe) {
            self.overflow.push_back(cqe);
        }
    }

    /// The kernel posts one of several completions of a request; says whether there was room.
    pub(crate) fn post_one_of_several(&mut self, cqe: Cqe) -> bool {
        !self.overflows() && self.fits(cqe)
    }

    /// Somebody asks for events.
    pub(crate) fn flush(&mut self) {
        if self.is_full() {
            return;
        }
        while let Some(cqe) = self.overflow.front().copied() {
            if !self.fits(cqe) {
                break;
            }
            self.overflow.pop_front();
        }
    }

    /// The program takes the next completion. Filler before it goes with it; at the end, what is left
    /// of filler goes.
    pub(crate) fn next(&mut self) -> Option<Cqe> {
        loop {
            match self.places.pop_front()? {
                Place::Filler => {}
                Place::Half => unreachable!("halves go with what is before them"),
                Place::Cqe(cqe) => {
                    if let Some(Place::Half) = self.places.front() {
                        self.places.pop_front();
                    }
                    return Some(cqe);
                }
            }
        }
    }

    /// What is ready, and what waits for room.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Cqe> {
        self.visible().chain(&self.overflow)
    }

    /// What the program sees, oldest first.
    pub(crate) fn visible(&self) -> impl Iterator<Item = &Cqe> {
        self.places.iter().filter_map(|place| match place {
            Place::Cqe(cqe) => Some(cqe),
            _ => None,
        })
    }

    /// A completion comes before others that are ready.
    pub(crate) fn swap_to_front(&mut self, wanted: &Cqe) {
        let is_it = |place: &Place| matches!(place, Place::Cqe(cqe) if cqe == wanted);
        if !self.places.iter().any(is_it) {
            self.swap_with_the_newest(wanted);
        }
        let Some(at) = self.places.iter().position(is_it) else { return };
        let first =
            self.places.iter().position(|place| matches!(place, Place::Cqe(_))).unwrap_or(at);
        let places = 1 + usize::from(matches!(self.places.get(at + 1), Some(Place::Half)));
        for i in 0..places {
            if let Some(place) = self.places.remove(at + i) {
                self.places.insert(first + i, place);
            }
        }
    }

    /// A completion has found room, and the newest one that is ready has not.
    fn swap_with_the_newest(&mut self, wanted: &Cqe) {
        let Some(Place::Cqe(newest)) = self.places.back().copied() else { return };
        let Some(at) = self.overflow.iter().position(|cqe| cqe == wanted) else { return };
        if self.places_for(wanted) == 1 {
            self.overflow.remove(at);
            self.overflow.push_front(newest);
            self.places.pop_back();
            self.places.push_back(Place::Cqe(*wanted));
        }
    }

    /// The program has lost sight of it.
    pub(crate) fn lose(&mut self) {
        self.capacity = 0;
        self.places.clear();
        self.overflow.clear();
    }

    /// What is ready moves to the same positions of a queue with so many places.
    pub(crate) fn resize(&mut self, capacity: u32) {
        self.capacity = capacity;
    }
}
