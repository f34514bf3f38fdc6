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
//! It needs Linux 5.18.
//!
//! # Reading order
//!
//! 1. `scope.rs`: why a scope, and what it promises.
//! 2. `operation.rs`: what an operation uses, and what becomes of it.
//! 3. `ring.rs`: the ring, and the thread that it belongs to.
//! 4. `executor.rs`: a few lines that run futures; `part.rs`: a part of a buffer.
//! 5. `tests.rs`: completions that are dropped, forgotten and cancelled at every point; and
//!    `tests/compile_fail.rs`: what must not compile.
//! 6. `examples/completions.rs`: a program.

mod executor;
mod operation;
mod part;
mod ring;
mod scope;
#[cfg(test)]
mod tests;

pub use executor::{block_on, run_all};
pub use operation::{
    Counted, Operation, accept, read_at, read_vectored_at, recv, send, write_at, write_vectored_at,
};
pub use part::Part;
pub use ring::Ring;
pub use scope::{Completion, Scope};
