//! An io_uring event loop with callbacks. Operations run in a fixed pool of tasks, and the loop calls
//! your function when an operation completes.
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
//! ends [`Ring::run`]. Each task carries three values for you: the function to call, a small number for
//! the state of a state machine, and `userdata` of a type that you choose.
//!
//! After [`Ring::init`] has allocated the tasks, running operations allocates nothing: files and buffers
//! move into a task and out again. You can drop or forget anything, in any order, because all memory
//! that the kernel uses is in the pool. If you drop a ring, it cancels its operations and waits for
//! their completions. If you forget a ring, it leaks the pool, so the kernel can still write to it.
//!
//! # What soundness forbids
//!
//! - *An operation cannot borrow its buffer, and you cannot get a pointer to its task.* The kernel
//!   writes to the buffer until the completion, and safe code can end a borrow before that.
//!   Therefore an operation owns its files and buffers, its callback gets all of them by value in a
//!   [`Task`], and you cancel an operation by its [`TaskId`].
//! - *`userdata` is not an untyped pointer, and a message carries no address.* Safe code could not know
//!   whether such a pointer is still valid. Therefore `userdata` is a type parameter, and a [`Message`]
//!   is two numbers, which the receiving ring passes to a function of yours: [`Ring::listen`].
//!
//! # Requirements
//!
//! Linux 5.19, because the ring creates sockets and can cancel all operations at once.
//!
//! # Reading order
//!
//! 1. `owned.rs`: files, buffers and messages.
//! 2. `op.rs`: the operations and their results. An operation owns the memory that the kernel uses.
//! 3. `pool.rs`: the tasks, which hold operations while they are queued or in flight.
//! 4. `ring.rs`: the loop, which submits operations and calls callbacks.
//! 5. `start.rs`: a method for each operation.
//! 6. `thread.rs`: a ring on its own thread, which shares the kernel's worker threads with its parent.
//! 7. `mock.rs`: rings on a mock kernel.
//!
//! The programs are in `examples`. Small ones are `noop`, `timer`, `read_write`, `open_close`, `cancel`,
//! `thread` and `mock`. The larger one, `callbacks`, runs a state machine of five operations a hundred
//! thousand times, then plays ping-pong between two threads.

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
