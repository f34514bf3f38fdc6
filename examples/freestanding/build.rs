//! Links without what the C compiler would add: start files, libraries, position independence.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        // Nothing is there that would relocate the program at its start.
        "-no-pie",
        // Sections need not begin pages of their own in the file.
        "-Wl,-z,noseparate-code",
        "-Wl,--build-id=none",
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
