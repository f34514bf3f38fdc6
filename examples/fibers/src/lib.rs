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
//! A thread can use fibers without [`run`], too. They run whenever the thread waits, and the thread
//! ends when all of them have ended. `examples/document.rs` is such a program.
//!
//! # The promises
//!
//! - **Hierarchy.** A fiber ends after all fibers that it has spawned. So does a thread, and a
//!   program with its main thread.
//! - **Results and panics.** [`JoinHandle::join`] returns the result of a fiber, or its panic. A panic
//!   that nobody joins ends the parent as well.
//! - **Cancellation** travels down the tree. It makes operations fail and does nothing else: a
//!   canceled fiber ends by returning, and its destructors run.
//! - **Borrowing.** A fiber of a [`scope`] may borrow what outlives the scope. No fiber need be
//!   `Send`, because all fibers of a thread stay on it.
//! - **Kernels.** Linux 6.1 or newer.
//!
//! # What differs from a runtime that is built into `main`
//!
//! [`spawn`] takes only `'static` closures, because a handle can be forgotten and then nothing makes
//! the caller wait before its variables go. With a [`scope`], the closure may borrow: the scope is
//! a call that returns only after its fibers have ended.
//!
//! Without [`run`], the fibers that remain when `main` returns run in the destructor of a
//! thread-local variable. Therefore a panic of theirs does not change the exit status, and
//! `process::exit` waits for them as well. With musl or a statically linked glibc, such destructors
//! do not run for the main thread: use [`run`] there.
//!
//! # Reading order
//!
//! 1. `scheduler.rs` decides who runs, `stacks.rs` has the memory to run on, and `tree.rs` knows
//!    parents and children.
//! 2. `ring.rs` submits operations and waits for them.
//! 3. [`fiber`] has scopes, results and cancellation.
//! 4. [`net`], [`fs`] and `print.rs` have the operations.
//! 5. `examples/fibers.rs` is an echo server with a fiber for each connection.
//!
//! ```sh
//! cargo run -p fibers --example fibers                          # a server and its clients
//! cargo run -p fibers --example fibers -- echo 127.0.0.1:7777   # a server, until ctrl-c
//! cargo bench -p figures --bench fibers                         # beside other runtimes
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
