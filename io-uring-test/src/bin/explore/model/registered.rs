//! Registered buffers: memory that the kernel has pinned, which operations name by a slot.
//!
//! - An operation looks its slot up when it is issued, fails with -EFAULT if nothing is there or what
//!   it is about lies outside, and holds what it has found until it ends.
//! - When a slot is given up that has a tag, a completion with that as its user data is posted.

/// How many pieces of memory there are to be registered, and how long each is.
pub(crate) const PIECES: usize = 4;
pub(crate) const PIECE: usize = 64;

/// What is in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) piece: usize,
    /// 0 is none.
    pub(crate) tag: u64,
}
