//! Registered files: descriptors that operations name by a slot.
//!
//! - The program may let the kernel choose a slot. The kernel takes the first empty slot of a range,
//!   starting at the slot that it used last, and wraps around at the end of the range once.
//! - When a slot with a tag is released, a completion with the tag as its user data is posted.

/// The content of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) pipe: usize,
    /// 0 means no tag.
    pub(crate) tag: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Files {
    slots: Vec<Option<File>>,
    /// The range in which the kernel may choose a slot, and the slot that it checks first.
    first: usize,
    end: usize,
    hint: usize,
}

impl Files {
    pub(crate) fn new(slots: Vec<Option<File>>) -> Self {
        Self { first: 0, end: slots.len(), hint: 0, slots }
    }

    pub(crate) fn has(&self, slot: u32) -> bool {
        (slot as usize) < self.slots.len()
    }

    pub(crate) fn get(&self, slot: u32) -> Option<File> {
        *self.slots.get(slot as usize)?
    }

    /// Fills or empties an existing slot. Returns its previous content.
    pub(crate) fn put(&mut self, slot: u32, new: Option<File>) -> Option<File> {
        let at = slot as usize;
        let old = std::mem::replace(&mut self.slots[at], new);
        if old.is_some() {
            self.hint = at;
        }
        if new.is_some() {
            self.hint = at + 1;
        }
        old
    }

    /// Returns the slot that the kernel chooses, if one is empty.
    pub(crate) fn choose(&mut self) -> Option<u32> {
        let empty = |from: usize, to: usize| {
            (from..to).find(|at| self.slots.get(*at).is_some_and(|slot| slot.is_none()))
        };
        let found = empty(self.hint, self.end).or_else(|| {
            let again = empty(self.first, self.hint);
            again.filter(|_| self.hint != self.first)
        });
        if found.is_none() || found.is_some_and(|at| at < self.hint) {
            self.hint = self.first;
        }
        found.map(|at| at as u32)
    }

    /// Sets the range in which the kernel may choose a slot. Returns whether it lies in the table.
    pub(crate) fn limit(&mut self, first: u32, len: u32) -> bool {
        let (first, end) = (first as usize, first as usize + len as usize);
        let fits = end <= self.slots.len();
        if fits {
            (self.first, self.end, self.hint) = (first, end, first);
        }
        fits
    }

    pub(crate) fn all(self) -> Vec<Option<File>> {
        self.slots
    }
}
