//! Stacks: mapped memory with a guard page below, for one fiber after the other.

use std::io;

use corosensei::stack::DefaultStack;

/// How large a stack is, in bytes. Only the pages that a fiber touches take memory.
pub(crate) const SIZE: usize = 256 << 10;
/// How many idle stacks, whose pages were touched, to keep.
const IDLE: usize = 1024;

#[derive(Default)]
pub(crate) struct Pool {
    idle: Vec<DefaultStack>,
    /// How many were ever mapped.
    pub(crate) mapped: usize,
}

impl Pool {
    pub(crate) fn take(&mut self) -> io::Result<DefaultStack> {
        let Some(stack) = self.idle.pop() else {
            let stack = DefaultStack::new(SIZE)?;
            self.mapped += 1;
            return Ok(stack);
        };
        #[cfg(test)]
        pattern::check(&stack);
        Ok(stack)
    }

    pub(crate) fn give(&mut self, stack: DefaultStack) {
        #[cfg(test)]
        pattern::fill(&stack);
        if self.idle.len() < IDLE || cfg!(test) {
            self.idle.push(stack);
        }
    }
}

#[cfg(test)]
#[path = "tests/pattern.rs"]
mod pattern;
