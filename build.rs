//! Declares the crate's own cfgs and rejects target systems without io_uring.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Replaces the atomics shared with the kernel by those of the loom model checker. The cfg is not
    // simply `loom`: programs set that for their own tests, and it applies to every crate in the build.
    println!("cargo::rustc-check-cfg=cfg(rustix_uring_loom)");
    // cargo-fuzz sets this cfg. It exposes the parsers in the module `fuzz`.
    println!("cargo::rustc-check-cfg=cfg(fuzzing)");

    let system = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if system != "linux" {
        println!(
            "cargo::error=rustix-uring requires io_uring, which only Linux has, but the target \
             system is `{system}`; build for a `*-linux-*` target."
        );
    }
}
