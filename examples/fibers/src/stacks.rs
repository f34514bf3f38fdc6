//! Stacks: mapped memory with a guard below. One fiber after the other uses a stack.
//!
//! Stacks are cut from large mappings, because to map each of them costs as much as everything else
//! that a fiber needs. The kernel allocates a page when a fiber first touches it.

use std::rc::Rc;
use std::{io, ptr};

use corosensei::stack::{MIN_STACK_SIZE, Stack as StackMemory, StackPointer};

/// The size of a stack in bytes, unless [`Builder::stack_size`](crate::Builder::stack_size) says
/// otherwise.
const SIZE: usize = 256 << 10;
/// Not in the libc crate yet. Since Linux 6.13.
const MADV_GUARD_INSTALL: i32 = 102;
/// How many stacks to cut from a mapping, at most. The first mappings are for fewer.
const CUT: usize = 64;
/// How many idle stacks keep the pages that were touched.
const IDLE: usize = 16 << 10;

pub(crate) struct Pool {
    /// The size of a stack, and that of the guard below it: one page, as the compiler expects. A
    /// fiber that runs over the end of its stack gets SIGSEGV.
    size: usize,
    guard: usize,
    idle: Vec<Stack>,
    /// The mapping that new stacks are cut from, and where the next one is in it.
    mapping: Option<(Rc<Mapping>, usize)>,
    /// How many stacks there are.
    pub(crate) mapped: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Self::new(SIZE)
    }
}

impl Pool {
    /// An empty pool for stacks of at least `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        // SAFETY: a question, which has an answer everywhere.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let size = size.max(MIN_STACK_SIZE).checked_next_multiple_of(page);
        let size = size.expect("a stack fits into memory");
        Self { size, guard: page, idle: Vec::new(), mapping: None, mapped: 0 }
    }

    pub(crate) fn take(&mut self) -> io::Result<Stack> {
        let Some(stack) = self.idle.pop() else {
            return self.cut();
        };
        #[cfg(test)]
        pattern::check(&stack);
        Ok(stack)
    }

    pub(crate) fn give(&mut self, stack: Stack) {
        #[cfg(test)]
        pattern::fill(&stack);
        if self.idle.len() >= IDLE {
            stack.release_pages(self.guard);
        }
        self.idle.push(stack);
    }

    /// Makes a new stack.
    #[cold]
    fn cut(&mut self) -> io::Result<Stack> {
        let len = self.guard.saturating_add(self.size);
        let (mapping, guard) = match self.mapping.take() {
            Some((mapping, next)) if next < mapping.len => (mapping, next),
            _ => (Rc::new(Mapping::new(len.saturating_mul(self.mapped.clamp(1, CUT)))?), 0),
        };
        mapping.protect(guard, self.guard)?;
        let limit = mapping.address + guard;
        let stack = Stack { limit, base: limit + len, _mapping: mapping.clone() };
        self.mapping = Some((mapping, guard + len));
        self.mapped += 1;
        Ok(stack)
    }
}

/// A part of a mapping that one fiber at a time runs on.
pub(crate) struct Stack {
    /// Where it ends. It grows downwards, to here.
    limit: usize,
    /// Where it begins.
    base: usize,
    /// Keeps the memory.
    _mapping: Rc<Mapping>,
}

// SAFETY: `cut` has protected the lowest page, and no two stacks overlap. The pool leaves at least
// `MIN_STACK_SIZE` bytes above it. The stack keeps its mapping.
unsafe impl StackMemory for Stack {
    fn base(&self) -> StackPointer {
        StackPointer::new(self.base).expect("a mapping is not at 0")
    }

    fn limit(&self) -> StackPointer {
        StackPointer::new(self.limit).expect("a mapping is not at 0")
    }
}

impl Stack {
    /// Returns the pages to the kernel. The guard stays.
    fn release_pages(&self, guard: usize) {
        let lowest = self.limit + guard;
        // SAFETY: the range is that of the stack above its guard, and nobody runs on it. Whoever runs
        // on it next does not read what is there.
        unsafe {
            libc::madvise(
                ptr::with_exposed_provenance_mut(lowest),
                self.base - lowest,
                libc::MADV_DONTNEED,
            )
        };
    }
}

/// Memory of the kernel's.
struct Mapping {
    address: usize,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
        // SAFETY: the kernel chooses an address at which nothing else is.
        let address = unsafe { libc::mmap(ptr::null_mut(), len, protection, flags, -1, 0) };
        match address {
            libc::MAP_FAILED => Err(io::Error::last_os_error()),
            address => Ok(Self { address: address.expose_provenance(), len }),
        }
    }

    /// Makes a part of the mapping inaccessible.
    fn protect(&self, offset: usize, len: usize) -> io::Result<()> {
        let part = ptr::with_exposed_provenance_mut(self.address + offset);
        // SAFETY: the part belongs to the mapping, and no stack uses it yet.
        let protected = unsafe {
            // A guard of the first kind is no mapping of its own, of which there can be only 65530.
            libc::madvise(part, len, MADV_GUARD_INSTALL) == 0
                || libc::mprotect(part, len, libc::PROT_NONE) == 0
        };
        if protected { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no stack is left in it.
        unsafe { libc::munmap(ptr::with_exposed_provenance_mut(self.address), self.len) };
    }
}

#[cfg(test)]
#[path = "tests/pattern.rs"]
mod pattern;
