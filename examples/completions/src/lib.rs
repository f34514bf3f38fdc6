//! Completions that safe code cannot misuse, for threads and for async code.
//!
//! Operations borrow their buffers. You start them in a scope, which returns only after all of them have
//! ended:
//!
//! ```no_run
//! # use completions::{Ring, read_at};
//! # fn main() -> std::io::Result<()> {
//! # let file = std::fs::File::open("README.md")?;
//! let ring = Ring::new(64)?;
//! let mut buf = [0; 4096];
//! ring.scope(|scope| {
//!     let reading = scope.start(read_at(&file, &mut buf, 0));
//!     // Do something else. You can also wait on another thread, or `await`.
//!     let (read, buf) = reading.wait();
//!     println!("{:?}", &buf[..read?]);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! The compiler enforces the rules: a read requires a mutable buffer that outlives the scope, and you
//! cannot access the buffer while the read is in flight. You never submit explicitly. If the ring is full,
//! starting an operation blocks. None of these promises depends on a destructor.
//!
//! - [`Ring`] is a ring that threads and tasks share. [`Options`] selects other kinds of ring: one whose
//!   queue a kernel thread reads, and one that polls devices.
//! - [`Scope`] starts operations, alone or in chains. Functions such as [`read_at`] create the operations.
//! - [`Completion`] is a handle to an operation that you have started: wait for it, or `await` it.
//! - [`Scope::block_on`] and [`Scope::run_all`] run futures, as [`block_on`] and [`run_all`] do outside of
//!   a scope. You can also use any other executor.
//!
//! # Compared with rio
//!
//! The `rio` crate makes the same promises, and its four programs are in `examples/`. Soundness forbids two
//! parts of its API, which differ here:
//!
//! - rio's completions keep a borrow alive until they are dropped. If you forget one, the borrow ends while
//!   the kernel still writes to the memory. Therefore you start operations in a scope, and what they
//!   borrow must exist before the scope. In a future, which can also be forgotten, they own their buffers.
//! - rio's reads take buffers by `&`, so several reads can fill the same buffer. Here a read takes `&mut`,
//!   or owns its buffer. Either way, you get the buffer back with the result.
//!
//! You can order only operations that one call starts ([`Scope::link`], [`Scope::chain`]). rio orders an
//! operation before the next one on the ring, which can come from another thread.
//!
//! This crate requires Linux 5.18, and Linux 5.19 to create a [`socket`].
//!
//! # Reading order
//!
//! 1. `scope.rs`: scopes, why they are needed, and what they promise.
//! 2. `operation.rs`: operations, the memory that they own or borrow, and their results. `shorthand.rs` only
//!    adds methods that create and start an operation in one call.
//! 3. `ring.rs`: the shared ring, and which thread enters the kernel. `ring/driver.rs`: the code that
//!    this thread runs.
//! 4. `executor.rs`: a small executor for futures. `part.rs`: a part of a buffer.
//! 5. `tests.rs` and its folder: tests that drop, forget and cancel completions at every point.
//!    `tests/compile_fail.rs`: programs that must not compile.
//! 6. `examples/`: rio's programs, and a larger one.

mod executor;
mod operation;
mod part;
mod ring;
mod scope;
mod shorthand;
#[cfg(test)]
mod tests;

pub use executor::{block_on, run_all};
pub use operation::{
    Counted, Operation, accept, connect, fdatasync, fsync, read_at, read_vectored_at, recv, send,
    socket, write_at, write_vectored_at,
};
pub use part::Part;
pub use ring::{Options, Ring};
pub use scope::{Completion, Scope};
