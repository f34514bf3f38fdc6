//! Stacks: mapped memory with a guard page below. Fibers use a stack one after the other.
//!
//! The pool cuts stacks from large mappings, because mapping each stack would cost as much as everything else
//! that a fiber needs. The kernel allocates a page when a fiber first touches it.

use std::rc::Rc;
use std::{io, ptr};

use corosensei::stack::{MIN_STACK_SIZE, Stack as StackMemory, StackPointer};

/// The default size of a stack in bytes. [`Builder::stack_size`](crate::Builder::stack_size) overrides it.
const SIZE: usize = 256 << 10;
/// Available since Linux 6.13. The libc crate does not have this constant yet.
const MADV_GUARD_INSTALL: i32 = 102;
/// The maximum number of stacks in a mapping. The first mappings have fewer.
const CUT: usize = 64;
/// The maximum number of idle stacks that keep their touched pages.
const IDLE: usize = 16 << 10;

pub(crate) struct Pool {
    /// The size of a stack, without its guard.
    size: usize,
    /// The size of the guard below each stack: one page, as the compiler expects. If a fiber runs over
    /// the end of its stack, it gets SIGSEGV.
    guard: usize,
    idle: Vec<Stack>,
    /// The mapping from which the pool cuts new stacks, and the offset of the next one.
    mapping: Option<(Rc<Mapping>, usize)>,
    /// The number of stacks that the pool has created.
    pub(crate) mapped: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Self::new(SIZE)
    }
}

impl Pool {
    /// Returns an empty pool for stacks of at least `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        // SAFETY: `sysconf` only returns a number, and every system defines this one.
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

    /// Cuts a new stack from a mapping.
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

/// A part of a mapping, on which one fiber at a time runs.
pub(crate) struct Stack {
    /// The lowest address. The stack grows down to here.
    limit: usize,
    /// The highest address, where the stack begins.
    base: usize,
    /// Keeps the memory mapped.
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
        // SAFETY: the range is that of the stack above its guard, and no fiber runs on it. The next fiber on
        // this stack does not read the old contents.
        unsafe {
            libc::madvise(
                ptr::with_exposed_provenance_mut(lowest),
                self.base - lowest,
                libc::MADV_DONTNEED,
            )
        };
    }
}

/// An anonymous memory mapping.
struct Mapping {
    address: usize,
    len: usize,
}

impl Mapping {
    fn new(len: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK;
        // SAFETY: without an address, the kernel chooses a free range.
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
            // `mprotect` splits the mapping, and a process can have only 65530 mappings by default. The guard
            // of `madvise` does not split it.
            libc::madvise(part, len, MADV_GUARD_INSTALL) == 0
                || libc::mprotect(part, len, libc::PROT_NONE) == 0
        };
        if protected { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `self` owns the mapping. Each stack in it holds a reference to `self`, so none is left.
        unsafe { libc::munmap(ptr::with_exposed_provenance_mut(self.address), self.len) };
    }
}

#[cfg(test)]
#[path = "tests/pattern.rs"]
mod pattern;
