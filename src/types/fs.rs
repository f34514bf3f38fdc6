//! Paths: how to open.

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// How [`OpenAt2`](crate::opcode::OpenAt2) opens: the `struct open_how` of [`openat2(2)`].
///
/// [`openat2(2)`]: https://man7.org/linux/man-pages/man2/openat2.2.html
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

impl OpenHow {
    /// For reading.
    #[inline]
    pub const fn new() -> Self {
        Self { flags: 0, mode: 0, resolve: 0 }
    }

    /// Sets whether to read or write, create, truncate and so on. Unknown flags are -EINVAL, with a
    /// slot `O_CLOEXEC` too.
    #[must_use]
    #[inline]
    pub const fn flags(mut self, flags: OFlags) -> Self {
        self.flags = flags.bits() as u64;
        self
    }

    /// Sets the permissions of a file that is created; -EINVAL where none is.
    #[must_use]
    #[inline]
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode.bits() as u64;
        self
    }

    /// Sets what the path may lead through.
    #[must_use]
    #[inline]
    pub const fn resolve(mut self, resolve: ResolveFlags) -> Self {
        self.resolve = resolve.bits();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_raw_sys::general::open_how;

    #[test]
    fn layout_is_the_kernels() {
        assert_eq!(size_of::<OpenHow>(), size_of::<open_how>());
        let how = OpenHow::new()
            .flags(OFlags::from_bits_retain(1))
            .mode(Mode::from_bits_retain(2))
            .resolve(ResolveFlags::from_bits_retain(4));
        assert_eq!(how, OpenHow { flags: 1, mode: 2, resolve: 4 });
        assert_eq!(core::mem::offset_of!(OpenHow, mode), core::mem::offset_of!(open_how, mode));
        assert_eq!(
            core::mem::offset_of!(OpenHow, resolve),
            core::mem::offset_of!(open_how, resolve)
        );
    }
}
