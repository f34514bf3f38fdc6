//! What the kernel writes, whatever it is, is read without a fault.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rustix_uring::tests::fuzz::parse(bytes));
