//! Faults around a ring end in a plain error and leave nothing behind.

pub(crate) mod fork;
pub(crate) mod interrupt;
pub(crate) mod memory;
pub(crate) mod process;
