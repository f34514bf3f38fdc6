//! What `check::freed` does for memory that is allocated: a write to the stack of a fiber that has
//! ended is seen.

use corosensei::stack::Stack as _;

use super::Stack;

const PATTERN: [u8; 4096] = [0xd6; 4096];
/// How much is looked at: the frames of tests, and of what they call.
const PAGES: usize = 8;

fn pages(stack: &Stack) -> impl Iterator<Item = *mut [u8; 4096]> {
    let base = stack.base().get() as *mut [u8; 4096];
    (1..=PAGES).map(move |page| base.wrapping_sub(page))
}

pub(super) fn fill(stack: &Stack) {
    for page in pages(stack) {
        // SAFETY: the pages are the stack's, on which nobody runs.
        unsafe { page.write(PATTERN) };
    }
}

pub(super) fn check(stack: &Stack) {
    for page in pages(stack) {
        // SAFETY: as above.
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
