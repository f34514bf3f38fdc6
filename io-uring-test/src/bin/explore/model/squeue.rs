//! The submission queue: a ring of 64-byte slots (128-byte slots if all entries are big).
//!
//! - The program advances the tail, and the kernel advances the head. The entries between are queued.
//! - A mixed queue has entries of one slot and of two. An entry of two slots never straddles the end:
//!   if only the last slot before the end is left, a NOP fills it (the *pad*). The pad takes over the
//!   link of the entry before it, if the kernel has not consumed that entry yet.
//! - A rewound queue has no head: every submission starts at the first slot, and remaining entries
//!   move there.
//! - The entries that a view has pushed are queued when the view is synced or dropped. A forgotten
//!   view queues nothing more.

use std::collections::VecDeque;

use super::operation::{Entry, LINKS, Op, SKIP};

/// The user data of pads.
pub(crate) const PAD_USER_DATA: u64 = u64::from_be_bytes(*b"ring pad");

/// The content of one slot.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    Entry(Entry),
    /// The second slot of an entry of two slots.
    Half,
}

impl Slot {
    pub(crate) fn user_data(&self) -> u64 {
        match self {
            Self::Entry(entry) => entry.user_data,
            Self::Half => 0,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Sq {
    pub(crate) capacity: u32,
    pub(crate) mixed: bool,
    pub(crate) rewound: bool,
    pub(crate) post_pad_cqes: bool,
    /// The position of the oldest slot. It is always 0 in a rewound queue.
    head: u32,
    slots: VecDeque<Slot>,
    /// How many of the newest slots the view has not published yet.
    unpublished: usize,
}

/// The queue has no room, and nothing was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Sq {
    pub(crate) fn new(capacity: u32, mixed: bool, rewound: bool, post_pad_cqes: bool) -> Self {
        let (head, unpublished) = (0, 0);
        Self { capacity, mixed, rewound, post_pad_cqes, head, slots: VecDeque::new(), unpublished }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.capacity as usize
    }

    pub(crate) fn left(&self) -> impl Iterator<Item = u64> {
        self.slots.iter().map(Slot::user_data)
    }

    /// Pushes all entries or none.
    pub(crate) fn push(&mut self, entries: Vec<Entry>) -> Result<(), Full> {
        let mut len = self.len();
        for entry in &entries {
            len += self.room_for(entry, len);
        }
        if len > self.capacity as usize {
            return Err(Full);
        }
        entries.into_iter().for_each(|entry| self.push_one(entry));
        Ok(())
    }

    /// Checks whether there is room for an entry, without pushing it.
    pub(crate) fn try_push(&self, entry: &Entry) -> Result<(), Full> {
        let len = self.len() + self.room_for(entry, self.len());
        if len > self.capacity as usize { Err(Full) } else { Ok(()) }
    }

    /// The number of slots that an entry needs, including its pad, if `len` slots are queued before
    /// it.
    fn room_for(&self, entry: &Entry, len: usize) -> usize {
        match self.mixed && entry.sqe128 {
            true => 2 + usize::from(self.is_the_last_slot(len)),
            false => 1,
        }
    }

    fn is_the_last_slot(&self, len: usize) -> bool {
        let next = self.head.wrapping_add(len as u32).wrapping_add(1);
        self.capacity != 0 && next % self.capacity == 0
    }

    fn push_one(&mut self, entry: Entry) {
        let room = self.room_for(&entry, self.len());
        if room == 3 {
            let links = self.newest().map_or(0, |entry| entry.flags & LINKS);
            let silent = if self.post_pad_cqes { 0 } else { SKIP };
            self.slots.push_back(Slot::Entry(Entry::new(PAD_USER_DATA, Op::NOP, links | silent)));
        }
        self.slots.push_back(Slot::Entry(entry));
        if room > 1 {
            self.slots.push_back(Slot::Half);
        }
        self.unpublished += room;
    }

    /// The newest entry that the kernel has not consumed.
    fn newest(&self) -> Option<&Entry> {
        self.slots.iter().rev().find_map(|slot| match slot {
            Slot::Entry(entry) => Some(entry),
            Slot::Half => None,
        })
    }

    /// The number of slots that the kernel sees.
    pub(super) fn published(&self) -> usize {
        self.len() - self.unpublished
    }

    /// The view is synced or dropped.
    pub(crate) fn publish(&mut self) {
        self.unpublished = 0;
    }

    /// The view is forgotten.
    pub(crate) fn forget(&mut self) {
        self.truncate(self.published());
    }

    /// Removes the unpublished slots, which the kernel does not see, and returns them.
    pub(super) fn hold_back(&mut self) -> VecDeque<Slot> {
        self.slots.split_off(self.published())
    }

    pub(super) fn restore(&mut self, held: VecDeque<Slot>) {
        self.slots.extend(held);
    }

    /// Removes the newest slots until `len` are left.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.slots.truncate(len);
        self.unpublished = 0;
    }

    /// The kernel consumes the oldest entry. Returns the entry and the number of its slots.
    pub(crate) fn take(&mut self) -> Option<(Entry, usize)> {
        let Some(Slot::Entry(entry)) = self.slots.pop_front() else { return None };
        let mut slots = 1;
        if let Some(Slot::Half) = self.slots.front() {
            self.slots.pop_front();
            slots = 2;
        }
        if !self.rewound {
            self.head = self.head.wrapping_add(slots as u32);
        }
        Some((entry, slots))
    }

    /// The queued entries move to the same positions of a queue with `capacity` slots.
    pub(crate) fn resize(&mut self, capacity: u32) {
        self.capacity = capacity;
    }

    /// The entries that are queued.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Entry(entry) => Some(entry),
            Slot::Half => None,
        })
    }
}
