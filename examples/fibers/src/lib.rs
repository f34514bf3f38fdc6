//! Fibers: blocking code that blocks only its fiber. One thread, one ring, and children that never
//! outlive their parents.
//!
//! ```
//! use std::time::Duration;
//!
//! let sum = fibers::run(|| {
//!     fibers::scope(|scope| {
//!         let slow = scope.spawn(|| fibers::sleep(Duration::from_millis(10)).map(|()| 20));
//!         let quick = scope.spawn(|| 22);
//!         slow.join().unwrap().unwrap() + quick.join().unwrap()
//!     })
//! });
//! assert_eq!(sum.unwrap(), 42);
//! ```
//!
//! Read the source in this order: `scheduler.rs` runs fibers and waits for the kernel, `stacks.rs`
//! has the memory they run on, [`fiber`] has scopes, results and cancellation, [`net`] and [`fs`]
//! have the operations that a fiber waits for. Then read the program, an echo server with a fiber
//! for each connection:
//!
//! ```sh
//! cargo run -p fibers --example fibers                          # a server and its clients
//! cargo run -p fibers --example fibers -- echo 127.0.0.1:7777   # a server, until ctrl-c
//! cargo bench -p figures --bench fibers                             # beside threads and tokio
//! ```

pub mod fiber;
pub mod fs;
pub mod net;
mod scheduler;
mod stacks;
#[cfg(test)]
mod tests;

pub use fiber::{JoinHandle, Scope, is_cancellation, is_cancelled, run, scope, sleep, yield_now};
