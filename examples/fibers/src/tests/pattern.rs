//! Detects writes to the stack of a fiber that has ended, as `check::freed` does for freed allocations.

use corosensei::stack::Stack as _;

use super::Stack;

const PATTERN: [u8; 4096] = [0xd6; 4096];
/// How many pages to check: enough for the frames of the tests and of the functions that they call.
const PAGES: usize = 8;

fn pages(stack: &Stack) -> impl Iterator<Item = *mut [u8; 4096]> {
    let base = stack.base().get() as *mut [u8; 4096];
    (1..=PAGES).map(move |page| base.wrapping_sub(page))
}

pub(super) fn fill(stack: &Stack) {
    for page in pages(stack) {
        // SAFETY: the pages belong to the stack, and no fiber runs on it.
        unsafe { page.write(PATTERN) };
    }
}

pub(super) fn check(stack: &Stack) {
    for page in pages(stack) {
        // SAFETY: the pages belong to the stack, and no fiber runs on it.
        let intact = unsafe { *page } == PATTERN;
        assert!(intact, "the stack of a fiber that had ended was written to");
    }
}

impl Drop for super::Pool {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.idle.iter().for_each(check);
        }
    }
}
