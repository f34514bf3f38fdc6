//! io_uring operations as futures in a tokio runtime, with owned buffers.
//!
//! tokio's reactor waits for descriptors. The descriptor of a ring becomes readable when an operation has
//! completed, so the reactor can wait for a ring as it waits for a socket:
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
//! - [`start`] runs a program, and [`spawn`] starts another task of it. You can use all of tokio inside.
//! - [`fs`] has files. [`net`] has listeners, streams and datagram sockets.
//! - [`buf`] has parts of buffers, and buffers that are registered with the kernel.
//!
//! The API is that of the `tokio-uring` crate. Programs that use only what both crates have run unchanged.
//! A buffer can be any value that provides bytes and borrows nothing.
//!
//! # What soundness forbids
//!
//! A future cannot lend a buffer to the kernel, because you can drop or forget a future while the kernel
//! still writes to the buffer. Therefore an operation owns its buffer and descriptor, keeps them until the
//! completion even if the future is gone, and returns the buffer with the result.
//!
//! # Requirements
//!
//! Linux 5.6, Linux 5.13 for [registered buffers](buf::FixedBufs), and Linux 5.19 to
//! [connect](net::TcpStream::connect).
//!
//! # Reading order
//!
//! 1. `runtime.rs`: how a program runs.
//! 2. `ring.rs`: the ring in tokio's reactor, and the life of an operation.
//! 3. `fd.rs`: operations that every kind of descriptor has.
//! 4. `fs.rs`, `net.rs`, `buf.rs`: files, sockets and buffers.
//! 5. `tests.rs` and its folder: tests that drop, forget and abort futures, or panic, at every point.
//! 6. `examples/`: two programs from tokio-uring's announcement, and a larger one.

pub mod buf;
mod fd;
pub mod fs;
pub mod net;
mod ring;
mod runtime;
#[cfg(test)]
mod tests;

pub use runtime::{spawn, start, try_start};
