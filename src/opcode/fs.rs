//! Paths: opening, asking; and closing.

use super::opcode;
use crate::sys::io_uring_op::*;
use crate::types::{
    AtFlags, Descriptor, DestinationSlot, Mode, OFlags, Statx as StatxBuf, StatxFlags, Target,
    c_char,
};

opcode! {
    /// Opens a file, like [`openat(2)`].
    ///
    /// [`openat(2)`]: https://man7.org/linux/man-pages/man2/open.2.html
    ///
    /// - **Since:** Linux 5.6
    /// - **Result:** the new descriptor, which is the program's to close even where it had asked
    ///   to cancel; with a slot, 0, and with a chosen slot its number
    /// - **Memory:** `pathname` until *submit*
    OpenAt = IORING_OP_OPENAT,
    new(dirfd: impl Descriptor => dirfd, pathname: *const c_char => addr)
    {
        /// Read or write, create, truncate and so on; `O_RDONLY` if not given. With a slot,
        /// `O_CLOEXEC` is -EINVAL: a slot has nothing to inherit.
        flags: OFlags => open_flags,
        /// The permissions of a file that is created.
        mode: Mode => mode,
        /// Open into the registered file table, without a descriptor. Since Linux 5.15.
        file_index: Option<DestinationSlot> => slot,
    }
}

opcode! {
    /// Closes a descriptor, like [`close(2)`], or empties a slot of the registered file table.
    ///
    /// [`close(2)`]: https://man7.org/linux/man-pages/man2/close.2.html
    ///
    /// - **Since:** Linux 5.6, slots since 5.15
    /// - **Result:** 0; -EBADF if there was nothing, or it is a ring's own descriptor
    Close = IORING_OP_CLOSE,
    new(fd: impl Target => close)
}

opcode! {
    /// Asks about a file, like [`statx(2)`].
    ///
    /// [`statx(2)`]: https://man7.org/linux/man-pages/man2/statx.2.html
    ///
    /// - **Since:** Linux 5.6
    /// - **Result:** 0, and `statxbuf` is filled
    /// - **Memory:** `pathname` until *submit*, `statxbuf` until *completion*
    Statx = IORING_OP_STATX,
    new(dirfd: impl Descriptor => dirfd, pathname: *const c_char => addr, statxbuf: *mut StatxBuf => addr2)
    {
        /// How to look the path up; [`AtFlags::EMPTY_PATH`] with an empty path asks about `dirfd`
        /// itself.
        flags: AtFlags => statx_flags,
        /// What to ask for; nothing in particular if not given.
        mask: StatxFlags => statx_mask,
    }
}
