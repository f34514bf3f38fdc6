//! io_uring in plain Rust: what every call returns, and what is visible after it.
//!
//! Nothing here calls the library or the kernel. Read it to learn the rules: begin with the two queues
//! ([`squeue`], [`cqueue`]), continue with submission ([`submit`]), how requests run and chains
//! continue ([`run`]), and how requests are canceled ([`cancel`]).
//!
//! The files build on each other: operations and queues, then a ring ([`ring`]), then both rings
//! ([`state`]), then what happens to them.

pub(crate) mod buffers;
pub(crate) mod bundles;
pub(crate) mod cancel;
mod count;
pub(crate) mod cqueue;
pub(crate) mod errno;
pub(crate) mod eventfd;
pub(crate) mod files;
mod fixed;
pub(crate) mod fork;
pub(crate) mod holds;
mod iopoll;
mod kernel;
pub(crate) mod operation;
mod receive;
mod register;
pub(crate) mod registered;
pub(crate) mod regular;
mod resize;
pub(crate) mod restrict;
pub(crate) mod ring;
mod run;
pub(crate) mod setup;
pub(crate) mod sqpoll;
pub(crate) mod squeue;
mod state;
mod submit;
mod time;
pub(crate) mod views;

pub(crate) use kernel::Kernel;
pub(crate) use state::{MESSAGES, Model, PIPES, SOURCES, STREAM};
