//! The operations, in files named like those of the crate: for each its effect, its options, and
//! what it refuses.

pub(crate) mod file;
pub(crate) mod fs;
pub(crate) mod ring;
pub(crate) mod rw;
pub(crate) mod timeout;
