//! Fibers on io_uring: you write blocking code, and it blocks only its fiber. All fibers of a thread share
//! one ring, and a child never outlives its parent.
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
//! You can also use fibers without [`run`]. They run when the thread waits for an operation or a fiber, and
//! the thread ends after all of them have ended. `examples/document.rs` is such a program.
//!
//! # The promises
//!
//! - **Hierarchy.** A fiber ends after all fibers that it has spawned. So does a thread, and with its main
//!   thread the program.
//! - **Results and panics.** [`JoinHandle::join`] returns the result of a fiber, or its panic. If no fiber
//!   joins a fiber that has panicked, the parent panics as well.
//! - **Cancellation** applies to a fiber and to all fibers below it. It only makes operations fail: a
//!   cancelled fiber ends by returning, and its destructors run.
//! - **Borrowing.** A fiber of a [`scope`] may borrow what outlives the scope. No fiber need be
//!   `Send`, because all fibers of a thread stay on it.
//! - **Kernels.** Linux 6.1 or newer.
//!
//! # What differs from a runtime that is built into `main`
//!
//! Soundness requires that [`spawn`] takes only `'static` closures: you can forget a handle, and then nothing
//! makes the caller wait before its variables are dropped. In a [`scope`], closures may borrow, because the
//! call of `scope` returns only after its fibers have ended.
//!
//! Without [`run`], the fibers that remain when `main` returns run in the destructor of a thread-local
//! variable. Therefore a panic in one of them does not change the exit status, and `process::exit` also
//! waits for them. With musl or a statically linked glibc, such destructors do not run for the main
//! thread: use [`run`] there.
//!
//! # Reading order
//!
//! 1. `scheduler.rs` decides which fiber runs, `stacks.rs` provides the stacks, and `tree.rs` links parents
//!    and children.
//! 2. `ring.rs` submits operations and waits for them.
//! 3. [`fiber`] has scopes, results and cancellation.
//! 4. [`net`], [`fs`] and `print.rs` have the operations.
//! 5. `examples/fibers.rs` is an echo server with a fiber for each connection.
//!
//! ```sh
//! cargo run -p fibers --example fibers                          # a server and its clients
//! cargo run -p fibers --example fibers -- echo 127.0.0.1:7777   # a server, until ctrl-c
//! cargo bench -p figures --bench fibers                         # compared with other runtimes
//! ```

pub mod fiber;
pub mod fs;
pub mod net;
#[doc(hidden)]
pub mod print;
mod ring;
mod scheduler;
mod stacks;
#[cfg(test)]
mod tests;
mod tree;

pub use fiber::{
    Builder, JoinHandle, Scope, is_cancellation, is_cancelled, run, scope, sleep, spawn, yield_now,
};
