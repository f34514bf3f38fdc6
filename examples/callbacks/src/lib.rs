//! A callback loop on io_uring: operations from a fixed pool of tasks, and a function to call when
//! each of them is over.
//!
//! Read it in this order:
//!
//! 1. `op.rs`: what can be done, and what comes of it. An operation owns what the kernel works on.
//! 2. `pool.rs`: where operations are while they are under way.
//! 3. `event_loop.rs`: how they get to the kernel, and how their callbacks are called.
//!
//! Then the program, `examples/callbacks`: a state machine that goes through five operations a
//! hundred thousand times, and ping-pong between two threads.
//!
//! Once the tasks exist, nothing here allocates: operations, files and buffers move in and out. You
//! need not drop anything in a certain order, or at all. What the kernel uses is in the pool. A loop
//! that is dropped waits for the kernel, and a loop that is forgotten leaves the pool to it.
//!
//! It needs Linux 5.19, for sockets that a ring makes and for canceling everything at once.

mod event_loop;
mod op;
mod pool;

// The tests include the program, which uses this crate by its name.
#[cfg(test)]
extern crate self as callbacks;
#[cfg(test)]
mod tests;

pub use event_loop::{Callback, Context, Done, Loop, MessageCallback, Until};
pub use op::{Buffer, File, Mailbox, Message, Op, Outcome, StatBuffer, Vectored};
pub use pool::{TaskId, Work};
pub use rustix_uring::types::{
    AddressFamily, FsyncFlags, Mode, OFlags, PollFlags, SocketType, Statx, Timespec,
};
pub use rustix_uring::{Errno, Handle};
