//! Links without what a C compiler adds: start files, libraries, and position independence.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        // Nothing would relocate the program at its start.
        "-no-pie",
        // In the file, sections need not begin on pages of their own.
        "-Wl,-z,noseparate-code",
        "-Wl,--build-id=none",
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
