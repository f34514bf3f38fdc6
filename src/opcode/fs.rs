//! Paths: opening, closing, querying and renaming files; extended attributes.

use super::operations;
use crate::types::{
    AtFlags, Descriptor, DestinationSlot, Mode, OFlags, OpenHow, RenameFlags, Statx as StatxBuf,
    StatxFlags, Target, XattrFlags, c_char, c_void,
};

operations! {
    /// Opens a file, like [`openat(2)`].
    ///
    /// [`openat(2)`]: https://man7.org/linux/man-pages/man2/open.2.html
    ///
    /// - **Result:** the new descriptor ([`to_fd`](crate::cqueue::Entry::to_fd)), which you must
    ///   close even if you have asked to cancel the operation; with a slot, see [`DestinationSlot`]
    /// - **Memory:** `pathname` until *submit*
    OpenAt = "IORING_OP_OPENAT" since "5.6",
    new(dirfd: impl Descriptor => dirfd, pathname: *const c_char => addr; read_only(()))
    {
        /// Sets the flags of the open: read or write, create, truncate and so on. The default is
        /// `O_RDONLY`. With a slot, `O_CLOEXEC` fails with -EINVAL, because no process inherits a
        /// slot.
        ///
        /// On 32-bit targets, this method adds `O_LARGEFILE` unless `O_PATH` is set. Without
        /// `O_LARGEFILE`, 32-bit kernels fail writes at offsets of 2 GiB and more with -EFBIG, and
        /// many file systems refuse to open files of that size (-EOVERFLOW).
        flags: OFlags => open_flags,
        /// Sets the permissions of the file, if the operation creates it.
        mode: impl Into<Mode> => mode,
        /// Opens the file into a slot of the registered file table, without a descriptor. Since
        /// Linux 5.15.
        file_index: Option<DestinationSlot> => slot,
    }

    /// Opens a file with restrictions on how its path is resolved, like [`openat2(2)`].
    ///
    /// [`openat2(2)`]: https://man7.org/linux/man-pages/man2/openat2.2.html
    ///
    /// - **Result:** the new descriptor, or the slot, as with [`OpenAt`]
    /// - **Memory:** `pathname` and `how` until *submit*
    OpenAt2 = "IORING_OP_OPENAT2" since "5.6",
    new(dirfd: impl Descriptor => dirfd, pathname: *const c_char => addr, how: *const OpenHow => open_how)
    {
        /// Opens the file into a slot of the registered file table, without a descriptor. Since
        /// Linux 5.15.
        file_index: Option<DestinationSlot> => slot,
    }

    /// Closes a descriptor, like [`close(2)`], or empties a slot of the registered file table.
    ///
    /// [`close(2)`]: https://man7.org/linux/man-pages/man2/close.2.html
    ///
    /// - **Result:** 0; -EBADF if the descriptor or slot is not in use, or if it is the descriptor
    ///   of a ring; -EINVAL if the slot is beyond the table, or if the kernel cannot empty slots;
    ///   -ENXIO if there is no table
    Close = "IORING_OP_CLOSE" since "5.6, slots since 5.15",
    new(fd: impl Target => close)

    /// Returns information about a file, like [`statx(2)`].
    ///
    /// [`statx(2)`]: https://man7.org/linux/man-pages/man2/statx.2.html
    ///
    /// - **Result:** 0, and `statxbuf` is filled
    /// - **Memory:** `pathname` until *submit*, `statxbuf` until *completion*
    Statx = "IORING_OP_STATX" since "5.6",
    new(dirfd: impl Descriptor => dirfd, pathname: *const c_char => addr, statxbuf: *mut StatxBuf => addr2)
    {
        /// Sets how the kernel resolves the path. With [`AtFlags::EMPTY_PATH`] and an empty path,
        /// the operation returns information about `dirfd` itself.
        flags: AtFlags => statx_flags,
        /// Sets which fields to request. By default, no particular fields are requested.
        mask: StatxFlags => statx_mask,
    }

    /// Renames a file, like [`renameat2(2)`].
    ///
    /// [`renameat2(2)`]: https://man7.org/linux/man-pages/man2/rename.2.html
    ///
    /// - **Result:** 0
    /// - **Memory:** `oldpath` and `newpath` until *submit*
    RenameAt = "IORING_OP_RENAMEAT" since "5.11",
    new(
        olddirfd: impl Descriptor => dirfd, oldpath: *const c_char => addr,
        newdirfd: impl Descriptor => newdirfd, newpath: *const c_char => addr2
    )
    {
        /// Sets flags, such as to exchange the two files or to fail if the new name exists.
        flags: RenameFlags => rename_flags,
    }

    /// Removes a name of a file, or an empty directory, like [`unlinkat(2)`].
    ///
    /// [`unlinkat(2)`]: https://man7.org/linux/man-pages/man2/unlink.2.html
    ///
    /// - **Result:** 0
    /// - **Memory:** `pathname` until *submit*
    UnlinkAt = "IORING_OP_UNLINKAT" since "5.11",
    new(dirfd: impl Descriptor => dirfd, pathname: *const c_char => addr)
    {
        /// Sets flags. For a directory, use [`AtFlags::REMOVEDIR`]; no other flag is valid.
        flags: AtFlags => unlink_flags,
    }

    /// Creates a directory, like [`mkdirat(2)`].
    ///
    /// [`mkdirat(2)`]: https://man7.org/linux/man-pages/man2/mkdir.2.html
    ///
    /// - **Result:** 0
    /// - **Memory:** `pathname` until *submit*
    MkDirAt = "IORING_OP_MKDIRAT" since "5.15",
    new(dirfd: impl Descriptor => dirfd, pathname: *const c_char => addr)
    {
        /// Sets the permissions of the directory. By default it has none.
        mode: impl Into<Mode> => mode,
    }

    /// Creates a symbolic link, like [`symlinkat(2)`].
    ///
    /// [`symlinkat(2)`]: https://man7.org/linux/man-pages/man2/symlink.2.html
    ///
    /// - **Result:** 0
    /// - **Memory:** `target` and `linkpath` until *submit*
    SymlinkAt = "IORING_OP_SYMLINKAT" since "5.15",
    new(newdirfd: impl Descriptor => dirfd, target: *const c_char => addr, linkpath: *const c_char => addr2)

    /// Creates another name for a file, a hard link, like [`linkat(2)`].
    ///
    /// [`linkat(2)`]: https://man7.org/linux/man-pages/man2/link.2.html
    ///
    /// - **Result:** 0
    /// - **Memory:** `oldpath` and `newpath` until *submit*
    LinkAt = "IORING_OP_LINKAT" since "5.15",
    new(
        olddirfd: impl Descriptor => dirfd, oldpath: *const c_char => addr,
        newdirfd: impl Descriptor => newdirfd, newpath: *const c_char => addr2
    )
    {
        /// Sets flags: [`AtFlags::SYMLINK_FOLLOW`] or [`AtFlags::EMPTY_PATH`].
        flags: AtFlags => hardlink_flags,
    }

    /// Reads an extended attribute of a file, like [`getxattr(2)`].
    ///
    /// [`getxattr(2)`]: https://man7.org/linux/man-pages/man2/getxattr.2.html
    ///
    /// - **Result:** the length of the value in bytes; with `len` 0, only the length is returned;
    ///   -ERANGE if `len` is too small; -ENODATA if there is no such attribute
    /// - **Memory:** `name` and `path` until *submit*, `value` until *completion*
    GetXattr = "IORING_OP_GETXATTR" since "5.19",
    new(
        name: *const c_char => addr, value: *mut c_void => addr2,
        path: *const c_char => addr3, len: u32 => len
    )

    /// Writes an extended attribute of a file, like [`setxattr(2)`].
    ///
    /// [`setxattr(2)`]: https://man7.org/linux/man-pages/man2/setxattr.2.html
    ///
    /// - **Result:** 0
    /// - **Memory:** `name`, `value` and `path` until *submit*
    SetXattr = "IORING_OP_SETXATTR" since "5.19",
    new(
        name: *const c_char => addr, value: *const c_void => addr2,
        path: *const c_char => addr3, len: u32 => len
    )
    {
        /// Sets whether the attribute must, or must not, exist already.
        flags: XattrFlags => xattr_flags,
    }

    /// Reads an extended attribute of an open file, like [`fgetxattr(2)`].
    ///
    /// [`fgetxattr(2)`]: https://man7.org/linux/man-pages/man2/getxattr.2.html
    ///
    /// - **Result:** the length of the value in bytes, as with [`GetXattr`]
    /// - **Memory:** `name` until *submit*, `value` until *completion*
    FGetXattr = "IORING_OP_FGETXATTR" since "5.19; slots since 6.13, -EBADF before",
    new(fd: impl Target => fd, name: *const c_char => addr, value: *mut c_void => addr2, len: u32 => len)

    /// Writes an extended attribute of an open file, like [`fsetxattr(2)`].
    ///
    /// [`fsetxattr(2)`]: https://man7.org/linux/man-pages/man2/setxattr.2.html
    ///
    /// - **Result:** 0
    /// - **Memory:** `name` and `value` until *submit*
    FSetXattr = "IORING_OP_FSETXATTR" since "5.19; slots since 6.13, -EBADF before",
    new(fd: impl Target => fd, name: *const c_char => addr, value: *const c_void => addr2, len: u32 => len)
    {
        /// Sets whether the attribute must, or must not, exist already.
        flags: XattrFlags => xattr_flags,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::tests::{at, entries};
    use crate::squeue::Sqe;
    use crate::types::{Fd, Fixed};

    const LARGE: u32 =
        if cfg!(target_pointer_width = "32") { linux_raw_sys::general::O_LARGEFILE } else { 0 };

    #[test]
    fn open_at() {
        let entry = OpenAt::new(Fd::CWD, at(0x1000))
            .flags(OFlags::RDWR)
            .mode(Mode::RUSR)
            .file_index(Some(DestinationSlot::auto_target()))
            .build();
        assert_eq!(
            entry.into_raw(),
            Sqe {
                opcode: 18,
                fd: -100,
                addr: 0x1000,
                len: 0o400,
                op_flags: 2 | LARGE,
                file_index: u32::MAX,
                ..Sqe::ZERO
            }
        );
        let plain = OpenAt::new(Fd::CWD, at(0x1000)).build().into_raw();
        assert_eq!(plain, Sqe { opcode: 18, fd: -100, addr: 0x1000, op_flags: LARGE, ..Sqe::ZERO });
    }

    entries! {
        open_at2: OpenAt2::new(Fd(3), at(0x1000), at(0x2000))
            .file_index(DestinationSlot::try_from_slot_target(6).ok())
            => { opcode: 28, fd: 3, addr: 0x1000, off: 0x2000, len: 24, file_index: 7 };
        close: Close::new(Fd(3)) => { opcode: 19, fd: 3 };
        close_of_a_slot: Close::new(Fixed(3)) => { opcode: 19, file_index: 4 };
        statx: Statx::new(Fd(3), at(0x1000), at(0x2000)).flags(AtFlags::EMPTY_PATH)
            .mask(StatxFlags::SIZE)
            => { opcode: 21, fd: 3, addr: 0x1000, off: 0x2000, len: 0x200, op_flags: 0x1000 };
        rename_at: RenameAt::new(Fd(3), at(0x1000), Fd::CWD, at(0x2000))
            .flags(RenameFlags::EXCHANGE)
            => { opcode: 35, fd: 3, addr: 0x1000, len: -100i32 as u32, off: 0x2000, op_flags: 2 };
        unlink_at: UnlinkAt::new(Fd(3), at(0x1000)).flags(AtFlags::REMOVEDIR)
            => { opcode: 36, fd: 3, addr: 0x1000, op_flags: 0x200 };
        mk_dir_at: MkDirAt::new(Fd(3), at(0x1000)).mode(Mode::RWXU)
            => { opcode: 37, fd: 3, addr: 0x1000, len: 0o700 };
        symlink_at: SymlinkAt::new(Fd(3), at(0x1000), at(0x2000))
            => { opcode: 38, fd: 3, addr: 0x1000, off: 0x2000 };
        link_at: LinkAt::new(Fd(3), at(0x1000), Fd(4), at(0x2000)).flags(AtFlags::SYMLINK_FOLLOW)
            => { opcode: 39, fd: 3, addr: 0x1000, len: 4, off: 0x2000, op_flags: 0x400 };
        get_xattr: GetXattr::new(at(0x1000), at(0x2000), at(0x3000), 16)
            => { opcode: 44, addr: 0x1000, off: 0x2000, addr3: 0x3000, len: 16 };
        set_xattr: SetXattr::new(at(0x1000), at(0x2000), at(0x3000), 16).flags(XattrFlags::REPLACE)
            => { opcode: 42, addr: 0x1000, off: 0x2000, addr3: 0x3000, len: 16, op_flags: 2 };
        f_get_xattr: FGetXattr::new(Fd(3), at(0x1000), at(0x2000), 16)
            => { opcode: 43, fd: 3, addr: 0x1000, off: 0x2000, len: 16 };
        f_set_xattr: FSetXattr::new(Fd(3), at(0x1000), at(0x2000), 16).flags(XattrFlags::CREATE)
            => { opcode: 41, fd: 3, addr: 0x1000, off: 0x2000, len: 16, op_flags: 1 };
    }
}
