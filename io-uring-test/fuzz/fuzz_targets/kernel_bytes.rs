//! Parses arbitrary bytes in place of what the kernel writes. The parsers must not panic or access
//! memory out of bounds.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustix_uring::tests::fuzz::parse(bytes));
