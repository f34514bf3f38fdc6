//! Creating, renaming, linking and removing directory entries.

use std::ffi::{CStr, CString};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix_uring::Errno;
use rustix_uring::opcode::{LinkAt, MkDirAt, RenameAt, SymlinkAt, UnlinkAt};
use rustix_uring::squeue::Flags;
use rustix_uring::types::{AtFlags, Fd, Mode, RenameFlags};
use tempfile::TempDir;

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("mkdirat", &[Opcode(MkDirAt::CODE)], mkdirat),
    Case::kinds("mkdirat_refused", &[Opcode(MkDirAt::CODE)], mkdirat_refused),
    Case::kinds("renameat", &[Opcode(RenameAt::CODE)], renameat),
    Case::kinds("renameat_refused", &[Opcode(RenameAt::CODE)], renameat_refused),
    Case::kinds("unlinkat", &[Opcode(UnlinkAt::CODE)], unlinkat),
    Case::kinds("unlinkat_refused", &[Opcode(UnlinkAt::CODE)], unlinkat_refused),
    Case::kinds("symlinkat", &[Opcode(SymlinkAt::CODE)], symlinkat),
    Case::kinds("symlinkat_refused", &[Opcode(SymlinkAt::CODE)], symlinkat_refused),
    Case::kinds("linkat", &[Opcode(LinkAt::CODE)], linkat),
    Case::kinds("linkat_refused", &[Opcode(LinkAt::CODE)], linkat_refused),
];

/// A temporary directory and a descriptor of it.
struct Directory {
    path: TempDir,
    fd: OwnedFd,
}

impl Directory {
    fn new() -> Result<Self> {
        let path = TempDir::new()?;
        let fd = fs::File::open(path.path())?.into();
        Ok(Self { path, fd })
    }

    fn path(&self, name: &str) -> impl AsRef<Path> + use<> {
        self.path.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result {
        Ok(fs::write(self.path(name), text)?)
    }

    fn read(&self, name: &str) -> Result<String, std::io::ErrorKind> {
        fs::read_to_string(self.path(name)).map_err(|e| e.kind())
    }

    fn has(&self, name: &str) -> bool {
        fs::symlink_metadata(self.path(name)).is_ok()
    }

    /// The absolute path of a name.
    fn absolute(&self, name: &str) -> Result<CString> {
        Ok(CString::new(self.path(name).as_ref().as_os_str().as_bytes())?)
    }
}

const A: &CStr = c"a";
const B: &CStr = c"b";

fn mkdirat(ring: &mut dyn Ring) -> Result {
    // SAFETY: the paths are constants or on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let directory = Directory::new()?;
    let make = MkDirAt::new(&directory.fd, A.as_ptr()).mode(Mode::RWXU).build();
    assert_eq!(ring.result(make)?, Ok(0));
    let made = fs::metadata(directory.path("a"))?;
    assert!(made.is_dir() && made.permissions().mode() & 0o777 == 0o700);
    let whole = directory.absolute("b")?;
    let make = MkDirAt::new(Fd::CWD, whole.as_ptr()).build().flags(Flags::ASYNC);
    assert_eq!(ring.result(make)?, Ok(0));
    assert_eq!(fs::metadata(directory.path("b"))?.permissions().mode() & 0o777, 0);
    Ok(())
}

fn mkdirat_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the paths are constants or on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let directory = Directory::new()?;
    directory.write("a", "file")?;
    let fd = Fd(directory.fd.as_raw_fd());
    let make = |fd, path| MkDirAt::new(fd, path).build();
    ring.refuses([
        (make(fd, A.as_ptr()), Errno::EXIST),
        (make(fd, c"a/b".as_ptr()), Errno::NOTDIR),
        (make(fd, c"none/b".as_ptr()), Errno::NOENT),
        (make(Fd(-1), B.as_ptr()), Errno::BADF),
        (make(fd, std::ptr::null()), Errno::FAULT),
        // None of these operations accepts a file slot as the directory.
        (make(fd, B.as_ptr()).flags(Flags::FIXED_FILE), Errno::BADF),
    ])
}

fn renameat(ring: &mut dyn Ring) -> Result {
    // SAFETY: the paths are constants or on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, other) = (Directory::new()?, Directory::new()?);
    one.write("a", "first")?;
    other.write("b", "second")?;
    let rename =
        |flags| RenameAt::new(&one.fd, A.as_ptr(), &other.fd, B.as_ptr()).flags(flags).build();
    assert_eq!(ring.result(rename(RenameFlags::NOREPLACE))?, Err(Errno::EXIST));
    assert_eq!(ring.result(rename(RenameFlags::EXCHANGE))?, Ok(0));
    assert_eq!((one.read("a"), other.read("b")), (Ok("second".into()), Ok("first".into())));
    assert_eq!(ring.result(rename(RenameFlags::empty()))?, Ok(0));
    assert_eq!((one.has("a"), other.read("b")), (false, Ok("second".into())));
    // Renames to an absolute path. The kernel ignores the target directory.
    let whole = one.absolute("c")?;
    let back = RenameAt::new(&other.fd, B.as_ptr(), Fd::CWD, whole.as_ptr()).build();
    assert_eq!(ring.result(back)?, Ok(0));
    assert_eq!((one.read("c"), other.has("b")), (Ok("second".into()), false));
    Ok(())
}

fn renameat_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the paths are constants or on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let directory = Directory::new()?;
    directory.write("a", "file")?;
    let fd = Fd(directory.fd.as_raw_fd());
    let unknown = RenameFlags::from_bits_retain(1 << 30);
    let refusals = [
        (RenameAt::new(fd, B.as_ptr(), fd, A.as_ptr()), Errno::NOENT),
        (RenameAt::new(fd, A.as_ptr(), fd, c"a/b".as_ptr()), Errno::NOTDIR),
        (RenameAt::new(fd, A.as_ptr(), Fd(-1), B.as_ptr()), Errno::BADF),
        (RenameAt::new(Fd(-1), A.as_ptr(), fd, B.as_ptr()), Errno::BADF),
        (RenameAt::new(fd, A.as_ptr(), fd, B.as_ptr()).flags(unknown), Errno::INVAL),
        (RenameAt::new(fd, A.as_ptr(), fd, std::ptr::null()), Errno::FAULT),
    ];
    ring.refuses(refusals.map(|(rename, errno)| (rename.build(), errno)))?;
    assert!(directory.has("a"));
    Ok(())
}

fn unlinkat(ring: &mut dyn Ring) -> Result {
    // SAFETY: the paths are constants or on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let directory = Directory::new()?;
    directory.write("a", "file")?;
    fs::create_dir(directory.path("b"))?;
    assert_eq!(ring.result(UnlinkAt::new(&directory.fd, A.as_ptr()).build())?, Ok(0));
    let empty = UnlinkAt::new(&directory.fd, B.as_ptr()).flags(AtFlags::REMOVEDIR).build();
    assert_eq!(ring.result(empty)?, Ok(0));
    assert!(!directory.has("a") && !directory.has("b"));
    Ok(())
}

fn unlinkat_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the paths are constants or on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let directory = Directory::new()?;
    directory.write("a", "file")?;
    fs::create_dir_all(directory.path("b/c"))?;
    let fd = Fd(directory.fd.as_raw_fd());
    let remove = |path: &'static CStr, flags| UnlinkAt::new(fd, path.as_ptr()).flags(flags);
    let refusals = [
        (remove(c"none", AtFlags::empty()), Errno::NOENT),
        (remove(B, AtFlags::empty()), Errno::ISDIR),
        (remove(B, AtFlags::REMOVEDIR), Errno::NOTEMPTY),
        (remove(A, AtFlags::REMOVEDIR), Errno::NOTDIR),
        (remove(A, AtFlags::from_bits_retain(1 << 30)), Errno::INVAL),
        (UnlinkAt::new(Fd(-1), A.as_ptr()), Errno::BADF),
    ];
    ring.refuses(refusals.map(|(remove, errno)| (remove.build(), errno)))?;
    assert!(directory.has("a") && directory.has("b/c"));
    Ok(())
}

fn symlinkat(ring: &mut dyn Ring) -> Result {
    // SAFETY: the paths are constants or on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let directory = Directory::new()?;
    directory.write("a", "file")?;
    let link = SymlinkAt::new(&directory.fd, A.as_ptr(), B.as_ptr()).build();
    assert_eq!(ring.result(link)?, Ok(0));
    assert_eq!(fs::read_link(directory.path("b"))?, Path::new("a"));
    assert_eq!(directory.read("b"), Ok("file".into()));
    Ok(())
}

fn symlinkat_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the paths are constants or on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let directory = Directory::new()?;
    directory.write("b", "file")?;
    let fd = Fd(directory.fd.as_raw_fd());
    let refusals = [
        (SymlinkAt::new(fd, A.as_ptr(), B.as_ptr()), Errno::EXIST),
        (SymlinkAt::new(fd, c"".as_ptr(), A.as_ptr()), Errno::NOENT),
        (SymlinkAt::new(fd, A.as_ptr(), c"none/a".as_ptr()), Errno::NOENT),
        (SymlinkAt::new(Fd(-1), A.as_ptr(), A.as_ptr()), Errno::BADF),
        (SymlinkAt::new(fd, A.as_ptr(), std::ptr::null()), Errno::FAULT),
    ];
    ring.refuses(refusals.map(|(link, errno)| (link.build(), errno)))
}

fn linkat(ring: &mut dyn Ring) -> Result {
    // SAFETY: the paths are constants or on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (one, other) = (Directory::new()?, Directory::new()?);
    one.write("a", "file")?;
    let link = LinkAt::new(&one.fd, A.as_ptr(), &other.fd, B.as_ptr()).build();
    assert_eq!(ring.result(link)?, Ok(0));
    assert_eq!(other.read("b"), Ok("file".into()));
    assert_eq!(fs::metadata(one.path("a"))?.nlink(), 2);
    // Links either the symbolic link itself or its target.
    std::os::unix::fs::symlink("a", one.path("link"))?;
    for (name, flags, is_link) in
        [(c"c", AtFlags::empty(), true), (c"d", AtFlags::SYMLINK_FOLLOW, false)]
    {
        let link = LinkAt::new(&one.fd, c"link".as_ptr(), &one.fd, name.as_ptr()).flags(flags);
        assert_eq!(ring.result(link.build())?, Ok(0));
        let made = fs::symlink_metadata(one.path(name.to_str()?))?;
        assert_eq!(made.is_symlink(), is_link, "{name:?}");
    }
    Ok(())
}

fn linkat_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the paths are constants or on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let directory = Directory::new()?;
    directory.write("a", "file")?;
    let fd = Fd(directory.fd.as_fd().as_raw_fd());
    let unknown = AtFlags::from_bits_retain(1 << 30);
    let refusals = [
        (LinkAt::new(fd, A.as_ptr(), fd, A.as_ptr()), Errno::EXIST),
        (LinkAt::new(fd, B.as_ptr(), fd, A.as_ptr()), Errno::NOENT),
        (LinkAt::new(fd, A.as_ptr(), Fd(-1), B.as_ptr()), Errno::BADF),
        (LinkAt::new(fd, A.as_ptr(), fd, B.as_ptr()).flags(unknown), Errno::INVAL),
        (LinkAt::new(fd, std::ptr::null(), fd, B.as_ptr()), Errno::FAULT),
    ];
    ring.refuses(refusals.map(|(link, errno)| (link.build(), errno)))
}
