//! What the tests of the four runtimes have in common.

pub(crate) mod echo;
pub(crate) mod freed;
