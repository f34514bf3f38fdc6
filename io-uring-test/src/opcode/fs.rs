//! Paths: opening files, querying their metadata, and closing descriptors.

pub(crate) mod names;
pub(crate) mod slots;
pub(crate) mod xattr;

use std::ffi::CString;
use std::fs;
use std::io::Read as _;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::ptr;

use anyhow::Context;
use rustix::io::{FdFlags, fcntl_getfd};
use rustix_uring::Errno;
use rustix_uring::opcode::{Close, OpenAt, Statx};
use rustix_uring::squeue::Flags;
use rustix_uring::types::{
    AtFlags, DestinationSlot, Fd, Fixed, Mode, OFlags, Statx as StatxBuf, StatxFlags,
};
use tempfile::TempDir;

use crate::harness::Need::*;
use crate::harness::*;

const OPENAT: &[Need] = &[Opcode(OpenAt::CODE)];
const CLOSE: &[Need] = &[Opcode(Close::CODE)];
const STATX: &[Need] = &[Opcode(Statx::CODE)];

pub(crate) const CASES: &[Case] = &[
    Case::kinds("openat", OPENAT, openat),
    Case::kinds("openat_creates", OPENAT, openat_creates),
    Case::kinds("openat_takes_path_at_submit", OPENAT, openat_takes_path_at_submit),
    Case::kinds("openat_refused", OPENAT, openat_refused),
    Case::kinds("openat_without_table", &[Opcode(OpenAt::CODE), SLOTS], openat_without_table),
    Case::kinds("close", CLOSE, close),
    Case::kinds("close_refused", CLOSE, close_refused),
    Case::kinds("close_without_table", &[Opcode(Close::CODE), SLOTS], close_without_table),
    Case::kinds("statx", STATX, statx),
    Case::kinds("statx_of_descriptor", STATX, statx_of_descriptor),
    Case::kinds("statx_refused", STATX, statx_refused),
];

/// A directory with a file and a symbolic link to it.
fn directory() -> Result<(TempDir, OwnedFd)> {
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("file"), "hello world")?;
    symlink("file", directory.path().join("link"))?;
    let fd = fs::File::open(directory.path())?.into();
    Ok((directory, fd))
}

/// Runs an open operation and returns the opened descriptor.
fn open(ring: &mut dyn Ring, open: OpenAt) -> Result<Result<OwnedFd, Errno>> {
    // SAFETY: the callers' paths outlive the operation, for which `run` waits.
    let done = unsafe { ring.run(open.build()) }?.to_result();
    // SAFETY: the descriptor is new, and nothing else owns it.
    Ok(done.map(|fd| unsafe { OwnedFd::from_raw_fd(fd as i32) }))
}

fn openat(ring: &mut dyn Ring) -> Result {
    let (directory, dirfd) = directory()?;
    let absolute = c_path(directory.path().join("link"))?;
    for opening in [
        OpenAt::new(&dirfd, c"file".as_ptr()),
        OpenAt::new(&dirfd, c"link".as_ptr()).flags(OFlags::CLOEXEC),
        OpenAt::new(Fd::CWD, absolute.as_ptr()),
        // The kernel ignores the directory if the path is absolute.
        OpenAt::new(Fd(-1), absolute.as_ptr()).flags(OFlags::RDWR),
    ] {
        let fd = open(ring, opening)??;
        let cloexec = opening.build().as_raw().op_flags & OFlags::CLOEXEC.bits() != 0;
        assert_eq!(fcntl_getfd(&fd)?.contains(FdFlags::CLOEXEC), cloexec);
        let mut content = String::new();
        fs::File::from(fd).read_to_string(&mut content)?;
        assert_eq!(content, "hello world");
    }
    Ok(())
}

fn openat_creates(ring: &mut dyn Ring) -> Result {
    let (directory, dirfd) = directory()?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let opening = OpenAt::new(&dirfd, c"new".as_ptr()).flags(flags).mode(Mode::from(0o604));
    rustix::io::write(open(ring, opening)??, b"written")?;
    let new = directory.path().join("new");
    assert_eq!(fs::read(&new)?, b"written");
    // The usual umask does not affect this mode.
    assert_eq!(fs::metadata(&new)?.permissions().mode() & 0o7777, 0o604);
    assert_eq!(open(ring, opening)?.err(), Some(Errno::EXIST));

    let truncating = OpenAt::new(&dirfd, c"new".as_ptr()).flags(OFlags::TRUNC | OFlags::WRONLY);
    open(ring, truncating)??;
    assert_eq!(fs::metadata(&new)?.len(), 0);
    Ok(())
}

fn openat_takes_path_at_submit(ring: &mut dyn Ring) -> Result {
    let (_directory, dirfd) = directory()?;
    let mut path = *b"file\0";
    let opening = OpenAt::new(&dirfd, path.as_ptr().cast()).build().flags(Flags::ASYNC);
    // SAFETY: `path` lives until the kernel has consumed the entry, and `dirfd` lives longer.
    unsafe { ring.push(&[opening]) }?;
    assert_eq!(ring.submit(), Ok(1));
    path.fill(b'x');
    let fd = ring.complete(1)?[0].to_result()?;
    // SAFETY: the descriptor is new, and nothing else owns it.
    drop(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    Ok(())
}

fn openat_refused(ring: &mut dyn Ring) -> Result {
    let (_directory, dirfd) = directory()?;
    let file: OwnedFd = open(ring, OpenAt::new(&dirfd, c"file".as_ptr()))??;
    let long = CString::new(vec![b'x'; 5000])?;
    for (opening, errno) in [
        (OpenAt::new(&dirfd, c"missing".as_ptr()), Errno::NOENT),
        (OpenAt::new(&dirfd, c"".as_ptr()), Errno::NOENT),
        (OpenAt::new(&dirfd, c"file/file".as_ptr()), Errno::NOTDIR),
        (OpenAt::new(&file, c"file".as_ptr()), Errno::NOTDIR),
        (OpenAt::new(&dirfd, c"link".as_ptr()).flags(OFlags::NOFOLLOW), Errno::LOOP),
        (OpenAt::new(&dirfd, c".".as_ptr()).flags(OFlags::WRONLY), Errno::ISDIR),
        (OpenAt::new(&dirfd, long.as_ptr()), Errno::NAMETOOLONG),
        (OpenAt::new(&dirfd, ptr::null()), Errno::FAULT),
        (OpenAt::new(Fd(-1), c"file".as_ptr()), Errno::BADF),
    ] {
        assert_eq!(open(ring, opening)?.err(), Some(errno), "{opening:?}");
    }
    Ok(())
}

const SLOTS: Need = Trial {
    what: "closing a file slot",
    // A kernel without support for slots sees a descriptor and a field that must be zero.
    refusal: Errno::INVAL,
    call: || {
        let mut ring = KINDS[0].build(&Setup::USUAL)?;
        // SAFETY: there is no table in which the kernel could close anything.
        match unsafe { ring.run(Close::new(Fixed(0)).build()) }?.to_result() {
            Ok(_) | Err(Errno::NXIO) => Ok(()),
            Err(refusal) => Err(refusal.into()),
        }
    },
};

fn openat_without_table(ring: &mut dyn Ring) -> Result {
    let (_directory, dirfd) = directory()?;
    let slot = |slot| OpenAt::new(&dirfd, c"file".as_ptr()).file_index(Some(slot));
    let first =
        DestinationSlot::try_from_slot_target(0).ok().context("the slot number is too large")?;
    for (opening, errno) in
        [(slot(first), Errno::NXIO), (slot(first).flags(OFlags::CLOEXEC), Errno::INVAL)]
    {
        assert_eq!(open(ring, opening)?.err(), Some(errno), "{opening:?}");
    }
    let any = open(ring, slot(DestinationSlot::auto_target()))?.err();
    // Kernels without automatic slot allocation see a slot number that is out of range.
    assert!(matches!(any, Some(Errno::NFILE | Errno::NXIO)), "{any:?}");
    Ok(())
}

/// Runs a close operation and returns its result.
fn closed(ring: &mut dyn Ring, close: Close) -> Result<Result<u32, Errno>> {
    // SAFETY: the callers own what they close.
    Ok(unsafe { ring.run(close.build()) }?.to_result())
}

fn close(ring: &mut dyn Ring) -> Result {
    let (_directory, dirfd) = directory()?;
    let number = dirfd.into_raw_fd();
    assert_eq!(closed(ring, Close::new(Fd(number)))?, Ok(0));
    assert!(fs::read_link(format!("/proc/self/fd/{number}")).is_err());
    assert_eq!(closed(ring, Close::new(Fd(number)))?, Err(Errno::BADF));
    Ok(())
}

fn close_refused(ring: &mut dyn Ring) -> Result {
    assert_eq!(closed(ring, Close::new(Fd(-1)))?, Err(Errno::BADF));
    let own = ring.as_fd().as_raw_fd();
    assert_eq!(closed(ring, Close::new(Fd(own)))?, Err(Errno::BADF));
    ring.works(5)
}

fn close_without_table(ring: &mut dyn Ring) -> Result {
    assert_eq!(closed(ring, Close::new(Fixed(0)))?, Err(Errno::NXIO));
    Ok(())
}

/// Queries metadata and returns the answer.
fn ask(
    ring: &mut dyn Ring,
    build: impl FnOnce(*mut StatxBuf) -> Statx,
) -> Result<Result<StatxBuf, Errno>> {
    let mut buf = MaybeUninit::<StatxBuf>::zeroed();
    let statx = build(buf.as_mut_ptr()).build();
    // SAFETY: `buf` and the callers' paths outlive the operation, for which `run` waits.
    let done = unsafe { ring.run(statx) }?.to_result();
    // SAFETY: the buffer holds zeros or the kernel's answer, both of which are valid.
    Ok(done.map(|_| unsafe { buf.assume_init() }))
}

fn statx(ring: &mut dyn Ring) -> Result {
    let (_directory, dirfd) = directory()?;
    let all = StatxFlags::BASIC_STATS;
    let follows = ask(ring, |buf| Statx::new(&dirfd, c"link".as_ptr(), buf).mask(all))??;
    assert_eq!((follows.stx_size, follows.stx_mode & 0o170000), (11, 0o100000));
    let link = ask(ring, |buf| {
        Statx::new(&dirfd, c"link".as_ptr(), buf).mask(all).flags(AtFlags::SYMLINK_NOFOLLOW)
    })??;
    assert_eq!((link.stx_size, link.stx_mode & 0o170000), (4, 0o120000));
    assert!(StatxFlags::from_bits_retain(follows.stx_mask).contains(all));
    Ok(())
}

fn statx_of_descriptor(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"hello")?;
    let answer = ask(ring, |buf| {
        let itself = Statx::new(file.as_fd(), c"".as_ptr(), buf).flags(AtFlags::EMPTY_PATH);
        itself.mask(StatxFlags::SIZE)
    })??;
    assert_eq!(answer.stx_size, 5);
    Ok(())
}

fn statx_refused(ring: &mut dyn Ring) -> Result {
    let (_directory, dirfd) = directory()?;
    let mut refused = |build: &dyn Fn(*mut StatxBuf) -> Statx| -> Result<Errno> {
        ask(ring, build)?.err().context("the query succeeded")
    };
    let file = c"file".as_ptr();
    assert_eq!(refused(&|buf| Statx::new(&dirfd, c"missing".as_ptr(), buf))?, Errno::NOENT);
    assert_eq!(refused(&|buf| Statx::new(&dirfd, c"".as_ptr(), buf))?, Errno::NOENT);
    assert_eq!(refused(&|buf| Statx::new(Fd(-1), file, buf))?, Errno::BADF);
    assert_eq!(refused(&|_| Statx::new(&dirfd, file, ptr::null_mut()))?, Errno::FAULT);
    let reserved = StatxFlags::from_bits_retain(1 << 31);
    assert_eq!(refused(&|buf| Statx::new(&dirfd, file, buf).mask(reserved))?, Errno::INVAL);
    let no_such_flag = AtFlags::from_bits_retain(1 << 30);
    assert_eq!(refused(&|buf| Statx::new(&dirfd, file, buf).flags(no_such_flag))?, Errno::INVAL);
    Ok(())
}
