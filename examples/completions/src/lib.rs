//! Completions that cannot be misused, for threads and for async code.
//!
//! Operations borrow their buffers, in a scope that ends only when they have:
//!
//! ```no_run
//! # use completions::{Ring, read_at};
//! # fn main() -> std::io::Result<()> {
//! # let file = std::fs::File::open("README.md")?;
//! let ring = Ring::new(64)?;
//! let mut buf = [0; 4096];
//! ring.scope(|scope| {
//!     let reading = scope.start(read_at(&file, &mut buf, 0));
//!     // do something else; from any thread, or `await`
//!     let (read, buf) = reading.wait();
//!     println!("{:?}", &buf[..read?]);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! A read needs a buffer that can be written to and that outlives the scope. You cannot touch the
//! buffer meanwhile. A program that does otherwise does not compile. You never have to submit. If the
//! ring has no room for another operation, starting one blocks. Nothing of this depends on
//! destructors.
//!
//! - [`Ring`] is what threads and tasks share, [`Options`] are its kinds: with a thread of the kernel
//!   that submits, or with devices that are polled.
//! - [`Scope`] starts operations, alone or in chains; functions such as [`read_at`] make them.
//! - [`Completion`] is what comes of one, to wait for or to `await`.
//! - [`Scope::block_on`] and [`Scope::run_all`] run futures, as [`block_on`] and [`run_all`] do outside of
//!   a scope. Any other executor does as well.
//!
//! # Beside rio
//!
//! The promises are those of the `rio` crate, and its four programs are in `examples/`. Two things have
//! another shape here, for soundness:
//!
//! - rio's completions keep a borrow only until they are dropped, and a completion that is forgotten
//!   leaves the kernel with memory that is somebody else's. So operations start in a scope, and what
//!   they borrow is there before it; in a future, which can be forgotten as well, they own it.
//! - rio's reads take buffers by `&`, and several can fill the same one. Here a read takes `&mut`, or
//!   owns its buffer, and both come back with the result.
//!
//! An order is between operations that one call starts ([`Scope::link`], [`Scope::chain`]). rio's orders
//! an operation before whichever comes next, which can be another thread's.
//!
//! It needs Linux 5.18, and 5.19 to make a [`socket`].
//!
//! # Reading order
//!
//! 1. `scope.rs`: why a scope, and what it promises.
//! 2. `operation.rs`: what an operation uses, and what becomes of it; `shorthand.rs` has no more to say.
//! 3. `ring.rs`: the ring that is shared, and who drives it; `ring/driver.rs`: what that is.
//! 4. `executor.rs`: a few lines that run futures; `part.rs`: a part of a buffer.
//! 5. `tests.rs` and its folder: completions that are dropped, forgotten and cancelled at every point;
//!    and `tests/compile_fail.rs`: what must not compile.
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
