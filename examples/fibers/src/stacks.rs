//! Stacks: mapped memory with a guard page below. One fiber after the other uses a stack.

use std::io;

use corosensei::stack::DefaultStack;

/// The size of a stack in bytes, unless [`Builder::stack_size`](crate::Builder::stack_size) says
/// otherwise. Only the pages that a fiber touches take memory.
const SIZE: usize = 256 << 10;
/// How many idle stacks to keep. Their touched pages stay allocated.
const IDLE: usize = 1024;

pub(crate) struct Pool {
    size: usize,
    idle: Vec<DefaultStack>,
    /// How many stacks were mapped.
    pub(crate) mapped: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Self::new(SIZE)
    }
}

impl Pool {
    /// An empty pool for stacks of `size` bytes, rounded up to pages.
    pub(crate) fn new(size: usize) -> Self {
        Self { size, idle: Vec::new(), mapped: 0 }
    }

    pub(crate) fn take(&mut self) -> io::Result<DefaultStack> {
        let Some(stack) = self.idle.pop() else {
            let stack = DefaultStack::new(self.size)?;
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
