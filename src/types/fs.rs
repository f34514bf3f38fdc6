//! Arguments of operations on paths.

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// The parameters of [`OpenAt2`](crate::opcode::OpenAt2): the `struct open_how` of [`openat2(2)`].
///
/// [`openat2(2)`]: https://man7.org/linux/man-pages/man2/openat2.2.html
///
/// On 32-bit targets, this adds `O_LARGEFILE`, as [`OpenAt::flags`](crate::opcode::OpenAt::flags)
/// does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

impl OpenHow {
    /// Creates parameters that open a file for reading.
    #[inline]
    pub const fn new() -> Self {
        Self { flags: large_file(OFlags::empty()).bits() as u64, mode: 0, resolve: 0 }
    }

    /// Creates parameters from these fields, unchecked and unchanged.
    #[inline]
    pub(crate) const fn from_raw(flags: u64, mode: u64, resolve: ResolveFlags) -> Self {
        Self { flags, mode, resolve: resolve.bits() }
    }

    /// Sets whether to read, write, create, truncate, and so on. Unknown flags fail with -EINVAL.
    /// With a destination slot, `O_CLOEXEC` fails, too.
    #[must_use]
    #[inline]
    pub const fn flags(mut self, flags: OFlags) -> Self {
        self.flags = large_file(flags).bits() as u64;
        self
    }

    /// Sets the permissions of a created file. If no file is created, a mode fails with -EINVAL.
    #[must_use]
    #[inline]
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode.bits() as u64;
        self
    }

    /// Restricts how the path is resolved.
    #[must_use]
    #[inline]
    pub const fn resolve(mut self, resolve: ResolveFlags) -> Self {
        self.resolve = resolve.bits();
        self
    }
}

impl Default for OpenHow {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

/// Adds the flag that a 32-bit kernel needs to open files of 2 GiB or more, or to let them grow to
/// that size. 64-bit kernels add it automatically. Together with `O_PATH`, it is an error.
#[inline(always)]
pub(crate) const fn large_file(flags: OFlags) -> OFlags {
    if cfg!(target_pointer_width = "32") && !flags.contains(OFlags::PATH) {
        flags.union(OFlags::from_bits_retain(linux_raw_sys::general::O_LARGEFILE))
    } else {
        flags
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_raw_sys::general::{O_LARGEFILE, open_how};

    #[test]
    fn large_files_open_on_every_target() {
        let large = if cfg!(target_pointer_width = "32") { O_LARGEFILE } else { 0 };
        assert_eq!(OpenHow::new().flags, large.into());
        assert_eq!(OpenHow::default(), OpenHow::new());
        assert_eq!(OpenHow::new().flags(OFlags::RDWR).flags, (large | 2).into());
        assert_eq!(large_file(OFlags::PATH), OFlags::PATH);
    }

    #[test]
    fn layout_is_that_of_the_kernel() {
        assert_eq!(size_of::<OpenHow>(), size_of::<open_how>());
        let how = OpenHow::new()
            .flags(OFlags::from_bits_retain(1))
            .mode(Mode::from_bits_retain(2))
            .resolve(ResolveFlags::from_bits_retain(4));
        assert_eq!(how, OpenHow { flags: how.flags, mode: 2, resolve: 4 });
        assert_eq!(how.flags & 0o777, 1);
        assert_eq!(core::mem::offset_of!(OpenHow, mode), core::mem::offset_of!(open_how, mode));
        assert_eq!(
            core::mem::offset_of!(OpenHow, resolve),
            core::mem::offset_of!(open_how, resolve)
        );
    }
}
