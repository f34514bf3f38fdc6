//! Declares the crate's own cfgs and refuses systems without io_uring.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Swaps the words shared with the kernel for a model checker's. Not plain `loom`: programs set
    // that for tests of their own, and it reaches every crate that they build.
    println!("cargo::rustc-check-cfg=cfg(rustix_uring_loom)");
    // As cargo-fuzz sets it: the parsers are there to be fed, in `fuzz`.
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");

    let system = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if system != "linux" {
        println!(
            "cargo::error=rustix-uring drives io_uring, which only Linux has: \
             the target system is `{system}`; build for a `*-linux-*` target."
        );
    }
}
