//! Test tools that the four runtimes share: [`echo`] puts load on an echo server and checks the
//! replies, [`freed`] finds writes to freed memory.

pub mod echo;
pub mod freed;
