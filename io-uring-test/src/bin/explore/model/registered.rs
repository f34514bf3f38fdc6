//! Registered buffers: memory that the kernel has pinned, which operations name by a slot.
//!
//! - An operation looks up its slot when it is issued. It fails with -EFAULT if the slot is empty or
//!   its range lies outside the buffer. Otherwise it holds the buffer until it ends.
//! - When a slot with a tag is released, a completion with the tag as its user data is posted.

/// The number of pieces of memory that can be registered, and the length of each.
pub(crate) const PIECES: usize = 4;
pub(crate) const PIECE: usize = 64;

/// The content of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) piece: usize,
    /// 0 means no tag.
    pub(crate) tag: u64,
}
