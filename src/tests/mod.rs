//! Tests of several modules: every parser with arbitrary bytes, and both queues with every order of stores.

#[cfg(not(rustix_uring_loom))]
pub mod fuzz;
#[cfg(rustix_uring_loom)]
mod model;
