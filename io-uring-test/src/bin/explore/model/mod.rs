//! io_uring in plain Rust: what every call returns, and what is visible after it.
//!
//! Nothing in here calls the library, or the kernel. To read it is to learn the rules: begin with
//! the two queues ([`squeue`], [`cqueue`]), go on with what a submission does ([`submit`]), how
//! requests run and chains go on ([`run`]), and how they are cancelled ([`cancel`]).
//!
//! What a file is about is below it: operations and queues, then a ring ([`ring`]), then both rings
//! ([`state`]), then what happens to them.

pub(crate) mod buffers;
pub(crate) mod cancel;
pub(crate) mod cqueue;
pub(crate) mod errno;
pub(crate) mod files;
mod fixed;
mod kernel;
pub(crate) mod operation;
mod receive;
mod register;
pub(crate) mod registered;
mod resize;
pub(crate) mod restrict;
pub(crate) mod ring;
mod run;
pub(crate) mod setup;
pub(crate) mod squeue;
mod state;
mod submit;
mod time;
pub(crate) mod views;

pub(crate) use kernel::Kernel;
pub(crate) use state::{MESSAGES, Model, PIPES, SOURCES, STREAM};
