//! Provided buffers: memory that the kernel fills when data arrives.
//!
//! - A group is a ring of buffers. The program adds buffers and publishes them. The kernel takes them
//!   in that order, and a completion names the one that was filled, which then belongs to the program.
//! - In an *incremental* group, the kernel continues to fill a buffer where the last completion
//!   stopped. Until the buffer is full, completions announce more (`BUF_MORE`).
//! - If a request needs a buffer and the group is empty or gone, it ends with -ENOBUFS (a bundle
//!   without a group ends with -ENOENT). A request that waits for data has not taken a buffer yet.

use std::collections::VecDeque;

/// The completion names a buffer: its buffer ID is in the upper half of the flags.
pub(crate) const F_BUFFER: u32 = 1 << 0;
/// The kernel continues to fill that buffer.
pub(crate) const F_BUF_MORE: u32 = 1 << 4;

/// The number of groups that a ring may have. The second one is incremental.
pub(crate) const GROUPS: usize = 2;

/// The length of a buffer.
pub(crate) const fn len_of(bid: u16) -> u32 {
    8 + 4 * (bid as u32 % 3)
}

#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    pub(crate) bid: u16,
    pub(crate) used: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Distinguishes this group from earlier ones with the same number.
    pub(crate) generation: u64,
    pub(crate) incremental: bool,
    /// The buffer ring is in kernel memory, which the program has mapped.
    pub(crate) is_mapped: bool,
    /// The buffers that the kernel may take, in this order.
    pub(crate) published: VecDeque<Buffer>,
    /// The buffers that the program has added, but not published.
    pub(crate) added: Vec<u16>,
    /// The buffers that belong to the program.
    pub(crate) free: VecDeque<u16>,
}

/// Bytes that the kernel put into a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) bid: u16,
    pub(crate) offset: u32,
    pub(crate) bytes: Vec<u8>,
    /// The buffer belongs to the program again.
    pub(crate) done: bool,
}

/// What one completion used of a group.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) generation: u64,
    pub(crate) segments: Vec<Segment>,
}

impl Group {
    pub(crate) fn new(generation: u64, incremental: bool, is_mapped: bool, entries: u16) -> Self {
        let (published, added) = (VecDeque::new(), Vec::new());
        let free = (0..entries).collect();
        Self { generation, incremental, is_mapped, published, added, free }
    }

    /// How many bytes fit in the next buffer, if there is one.
    pub(crate) fn room(&self) -> Option<u32> {
        self.published.front().map(|buffer| len_of(buffer.bid) - buffer.used)
    }

    /// The lengths of the buffers that the kernel may take.
    pub(crate) fn lengths(&self) -> Vec<u32> {
        self.published.iter().map(|buffer| len_of(buffer.bid)).collect()
    }

    /// The kernel puts bytes into the next buffer, and uses `len` bytes of that buffer.
    pub(crate) fn fill(&mut self, bytes: Vec<u8>, len: u32) -> Option<Segment> {
        let buffer = self.published.front_mut()?;
        let (bid, offset) = (buffer.bid, buffer.used);
        buffer.used += len;
        let done = !self.incremental || buffer.used == len_of(bid);
        if done {
            self.published.pop_front();
        }
        Some(Segment { bid, offset, bytes, done })
    }

    /// The program adds one of its buffers.
    pub(crate) fn add(&mut self) -> Option<u16> {
        let bid = self.free.pop_front()?;
        self.added.push(bid);
        Some(bid)
    }

    pub(crate) fn publish(&mut self) {
        let added = self.added.drain(..).map(|bid| Buffer { bid, used: 0 });
        self.published.extend(added);
    }
}
