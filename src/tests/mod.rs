//! Tests of the whole: every parser under any bytes, both queues in every order of stores.

#[cfg(not(rustix_uring_loom))]
pub mod fuzz;
#[cfg(rustix_uring_loom)]
mod model;
