//! An event loop of callbacks on io_uring: operations from a fixed pool of tasks, and a function that
//! is called when each of them is over.
//!
//! ```
//! use callbacks::{Context, OpResult, Ring, RingError, RunCondition, Task};
//!
//! fn on_noop(_ring: &mut Ring, task: Task) -> Result<(), RingError> {
//!     assert!(matches!(task.result, OpResult::Noop(Ok(()))));
//!     Ok(())
//! }
//!
//! let mut ring = Ring::init(16)?;
//! ring.noop(Context { cb: on_noop, ..Context::default() })?;
//! ring.run(RunCondition::UntilDone)?;
//! # Ok::<(), RingError>(())
//! ```
//!
//! A callback gets the ring, so it can start the next operation. It returns a `Result`, and an error
//! ends [`Ring::run`]. Each task carries three things for you: the function, a small number for the
//! state of a state machine, and whatever you choose as `userdata`.
//!
//! Once the tasks exist, nothing here allocates: operations, files and buffers move in and out. You
//! need not drop anything in a certain order, or at all. What the kernel uses is in the pool. A ring
//! that is dropped waits for the kernel, and a ring that is forgotten leaves its pool to it.
//!
//! # What soundness forbids
//!
//! - *An operation cannot borrow its buffer, and you cannot get a pointer to its task.* The kernel
//!   writes until the completion, and safe code can end a borrow before that, so an operation owns its
//!   files and buffers, its callback gets the [`Task`] by value with all of them, and you cancel by
//!   [`TaskId`].
//! - *`userdata` is not a pointer without a type, and a message carries no address.* Safe code could
//!   not know that these are still valid, so `userdata` is a type parameter, and a [`Message`] is two
//!   numbers, for which the receiving ring has a function: [`Ring::listen`].
//!
//! # Needs
//!
//! Linux 5.19, for sockets that a ring makes and for canceling everything at once.
//!
//! # Reading order
//!
//! 1. `owned.rs`: files, buffers and messages.
//! 2. `op.rs`: what can be done, and what comes of it. An operation owns what the kernel works on.
//! 3. `pool.rs`: where operations are while they are under way.
//! 4. `ring.rs`: how they get to the kernel, and how their callbacks are called.
//! 5. `start.rs`: a method for each operation.
//! 6. `thread.rs`: a ring on a thread of its own, which shares the worker threads.
//! 7. `mock.rs`: rings without a kernel.
//!
//! The programs are in `examples`: small ones (`noop`, `timer`, `read_write`, `open_close`, `cancel`,
//! `thread`, `mock`), and `callbacks`, a state machine that goes through five operations a hundred
//! thousand times, with ping-pong between two threads. `benches/beside` measures
//! reads and an echo beside loops that are written by hand on the bare crate.

#[cfg(feature = "mock")]
pub mod mock;
mod op;
mod owned;
mod pool;
mod ring;
mod start;
mod thread;

// The tests include the programs, which use this crate by its name.
#[cfg(test)]
extern crate self as callbacks;
#[cfg(test)]
mod tests;

pub use op::{Offset, Op, OpResult, Path};
pub use owned::{Buffer, File, Mailbox, Message, StatBuffer, Vectored};
pub use pool::TaskId;
pub use ring::{Callback, Context, MessageCallback, Refused, Ring, RingError, RunCondition, Task};
pub use rustix_uring::types::{
    AddressFamily, FsyncFlags, Mode, OFlags, PollFlags, SocketType, Statx, Timespec,
};
pub use rustix_uring::{Errno, Handle};
pub use thread::Thread;
