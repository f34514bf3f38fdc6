//! A client that was written for the `io-uring` crate, generic over entries and completions,
//! compiles and runs with either crate. `client.rs` is included twice, and only the meaning of
//! `io_uring` differs. In a program, that is one line of the manifest:
//!
//! ```toml
//! io-uring = { package = "rustix-uring", version = "0.7" }
//! ```
#![allow(clippy::duplicate_mod, reason = "the test includes the same file for two crates")]

#[path = "."]
mod before {
    extern crate io_uring;
    #[path = "client.rs"]
    pub(crate) mod client;
}

#[path = "."]
mod after {
    extern crate rustix_uring as io_uring;
    #[path = "client.rs"]
    pub(crate) mod client;
}

/// The result of the same program with one of the two crates.
macro_rules! run {
    ($side:ident, $uring:ident) => {{
        use $side::client::Driver;
        use $uring::{cqueue, squeue};
        let all = [
            Driver::<squeue::Entry, cqueue::Entry>::new(8).and_then(Driver::run),
            Driver::<squeue::Entry128, cqueue::Entry>::new(8).and_then(Driver::run),
            Driver::<squeue::Entry, cqueue::Entry32>::new(8).and_then(Driver::run),
            Driver::<squeue::Entry128, cqueue::Entry32>::new(8).and_then(Driver::run),
        ];
        all.map(|ran| ran.map_err(|error| error.raw_os_error()))
    }};
}

#[test]
fn either_crate_runs_it() {
    let before = run!(before, io_uring);
    let after = run!(after, rustix_uring);
    assert_eq!(before, after);
    // 128-byte entries are new in Linux 5.19. The default kind works on every kernel.
    assert_eq!(after[0].as_deref(), Ok(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100, 101][..]));
}
