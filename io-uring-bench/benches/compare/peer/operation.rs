//! The operations of the benchmark.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::os::fd::RawFd;

use rustix_uring::types::Timespec;

/// One or several pages that are never freed, so that no operation can outlive them.
///
/// Nothing reads the memory while the kernel writes to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lasting {
    pub(crate) start: *mut u8,
    pub(crate) len: u32,
}

// SAFETY: the memory belongs to no thread, and is accessed only through raw pointers.
unsafe impl std::marker::Send for Lasting {}
// SAFETY: the memory belongs to no thread, and is accessed only through raw pointers.
unsafe impl Sync for Lasting {}

impl Lasting {
    pub(crate) const PAGE: u32 = 4096;

    pub(crate) fn page() -> Self {
        let layout = Layout::from_size_align(Self::PAGE as usize, Self::PAGE as usize).unwrap();
        // SAFETY: the size of the layout is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        Self { start, len: Self::PAGE }
    }

    /// The first `len` bytes of it.
    pub(crate) fn first(self, len: u32) -> Self {
        Self { len: self.len.min(len), ..self }
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Nop;

#[derive(Clone, Copy)]
pub(crate) struct Read {
    pub(crate) fd: RawFd,
    pub(crate) buf: Lasting,
    pub(crate) offset: u64,
}

/// A read into a registered buffer, from a registered file.
#[derive(Clone, Copy)]
pub(crate) struct ReadFixed {
    pub(crate) slot: u32,
    pub(crate) buf: Lasting,
    pub(crate) buf_index: u16,
    pub(crate) offset: u64,
}

#[derive(Clone, Copy)]
pub(crate) struct Send {
    pub(crate) fd: RawFd,
    pub(crate) buf: Lasting,
}

#[derive(Clone, Copy)]
pub(crate) struct Recv {
    pub(crate) fd: RawFd,
    pub(crate) buf: Lasting,
}

#[derive(Clone, Copy)]
pub(crate) struct Timeout {
    pub(crate) time: *const Timespec,
    pub(crate) count: u32,
}

/// An operation that is pushed for the measurement and never submitted. The compiler knows nothing
/// about its arguments.
pub(crate) trait Sample: Copy + 'static {
    const NAME: &'static str;

    fn sample(fd: RawFd, buf: Lasting, i: u64) -> Self;
}

impl Sample for Nop {
    const NAME: &'static str = "Nop";

    #[inline(always)]
    fn sample(_: RawFd, _: Lasting, _: u64) -> Self {
        Self
    }
}

impl Sample for Read {
    const NAME: &'static str = "Read";

    #[inline(always)]
    fn sample(fd: RawFd, buf: Lasting, i: u64) -> Self {
        Self { fd, buf, offset: i }
    }
}

impl Sample for Send {
    const NAME: &'static str = "Send";

    #[inline(always)]
    fn sample(fd: RawFd, buf: Lasting, _: u64) -> Self {
        Self { fd, buf }
    }
}

impl Sample for Timeout {
    const NAME: &'static str = "Timeout";

    #[inline(always)]
    fn sample(_: RawFd, buf: Lasting, i: u64) -> Self {
        Self { time: buf.start.cast(), count: i as u32 }
    }
}
