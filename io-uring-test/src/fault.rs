//! Faults around a ring end in a plain error and leave nothing behind.

pub(crate) mod heir;
pub(crate) mod interrupt;
pub(crate) mod memory;
pub(crate) mod process;
