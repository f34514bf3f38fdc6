//! Completion futures in a tokio runtime, with buffers that are owned.
//!
//! tokio's reactor waits for descriptors. A ring has a descriptor, which is readable when something
//! has completed, so a ring can be in tokio's reactor as a socket is. A future cannot lend a buffer to
//! the kernel, because you can drop or forget a future at any time. So the operations here own what
//! they use, and give it back with the result:
//!
//! ```
//! use futures::fs::File;
//!
//! # fn main() -> std::io::Result<()> {
//! futures::start(async {
//!     let file = File::open("Cargo.toml").await?;
//!     let (read, buf) = file.read_at(vec![0; 4096], 0).await;
//!     println!("{}", String::from_utf8_lossy(&buf[..read?]));
//!     file.close().await
//! })
//! # }
//! ```
//!
//! - [`start`] runs a program, [`spawn`] a task beside it. Everything of tokio works inside.
//! - [`fs`] has files; [`net`] has listeners, streams and datagrams.
//! - [`buf`] has parts of buffers, and buffers that are registered with the kernel.
//!
//! This is the shape of the `tokio-uring` crate, and programs that use both crates' common part run
//! unchanged. A buffer here can be anything that gives out bytes and borrows nothing.
//!
//! It needs Linux 5.6, 5.13 for [registered buffers](buf::FixedBufs), and 5.19 to
//! [connect](net::TcpStream::connect).
//!
//! # Reading order
//!
//! 1. `runtime.rs`: how a program runs.
//! 2. `ring.rs`: the ring in tokio's reactor, and the life of an operation.
//! 3. `fd.rs`: what operations on any descriptor have in common.
//! 4. `fs.rs`, `net.rs`, `buf.rs`: what is done with each kind of descriptor and buffer.
//! 5. `tests.rs` and its folder: futures that are dropped, forgotten, aborted and panicked over at
//!    every point.
//! 6. `examples/`: two programs of tokio-uring's announcement, and a larger one.

pub mod buf;
mod fd;
pub mod fs;
pub mod net;
mod ring;
mod runtime;
#[cfg(test)]
mod tests;

pub use runtime::{spawn, start, try_start};
