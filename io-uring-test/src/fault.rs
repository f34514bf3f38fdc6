//! What goes wrong around a ring ends in a plain error, and leaves nothing behind.

pub(crate) mod heir;
pub(crate) mod interrupt;
pub(crate) mod memory;
pub(crate) mod process;
