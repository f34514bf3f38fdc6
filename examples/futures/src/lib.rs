//! Completion futures in a tokio runtime, with buffers that are owned.
//!
//! tokio's reactor waits for descriptors. A ring has a descriptor, which is readable when something
//! has completed, so a ring can be in tokio's reactor as a socket is. A future cannot lend a buffer to
//! the kernel, because you can drop or forget a future at any time. So the operations here own what
//! they use, and give it back with the result:
//!
//! ```no_run
//! # use futures::File;
//! # fn main() -> std::io::Result<()> {
//! futures::run(|ring| async move {
//!     let file = File::open(&ring, "README.md").await?;
//!     let (read, buf) = file.read_at(vec![0; 4096], 0).await;
//!     println!("{:?}", &buf[..read?]);
//!     file.close().await
//! })?
//! # }
//! ```
//!
//! It needs Linux 5.6, and 5.19 to [connect](TcpStream::connect).
//!
//! # Reading order
//!
//! 1. `ring.rs`: the ring in tokio's reactor, and the life of an operation.
//! 2. `fd.rs`: descriptors, and what is done with each kind.
//! 3. `part.rs`: a part of a buffer.
//! 4. `tests.rs`: futures that are dropped, forgotten, aborted and panicked over at every point.
//! 5. `examples/futures.rs`: a program.

mod fd;
mod part;
mod ring;
#[cfg(test)]
mod tests;

pub use fd::{File, TcpListener, TcpStream};
pub use part::Part;
pub use ring::{Ring, run};
