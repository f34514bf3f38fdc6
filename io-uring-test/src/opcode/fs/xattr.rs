//! Extended attributes.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::ptr;

use anyhow::Context;
use rustix::fs::{self, XattrFlags as Flags};
use rustix_uring::Errno;
use rustix_uring::opcode::{FGetXattr, FSetXattr, GetXattr, SetXattr};
use rustix_uring::squeue::Entry;
use rustix_uring::types::{Fd, FileSlot, Fixed, XattrFlags};
use tempfile::NamedTempFile;

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("getxattr", &[Opcode(GetXattr::CODE), ATTRIBUTES], getxattr),
    Case::kinds("getxattr_refused", &[Opcode(GetXattr::CODE)], getxattr_refused),
    Case::kinds("setxattr", &[Opcode(SetXattr::CODE), ATTRIBUTES], setxattr),
    Case::kinds("setxattr_refused", &[Opcode(SetXattr::CODE)], setxattr_refused),
    Case::kinds("fgetxattr", &[Opcode(FGetXattr::CODE), ATTRIBUTES], fgetxattr),
    Case::kinds(
        "fgetxattr_of_slot",
        &[Opcode(FGetXattr::CODE), ATTRIBUTES, SLOTS],
        fgetxattr_of_slot,
    ),
    Case::kinds("fgetxattr_refused", &[Opcode(FGetXattr::CODE)], fgetxattr_refused),
    Case::kinds("fsetxattr", &[Opcode(FSetXattr::CODE), ATTRIBUTES], fsetxattr),
    Case::kinds(
        "fsetxattr_of_slot",
        &[Opcode(FSetXattr::CODE), ATTRIBUTES, SLOTS],
        fsetxattr_of_slot,
    ),
    Case::kinds("fsetxattr_refused", &[Opcode(FSetXattr::CODE)], fsetxattr_refused),
];

/// Not every file system supports extended attributes.
const ATTRIBUTES: Need = Trial {
    what: "extended attributes in the temporary directory",
    refusal: Errno::OPNOTSUPP,
    call: || file(b"value").map(drop),
};

const SLOTS: Need = Trial {
    what: "extended attributes of files in slots",
    refusal: Errno::BADF,
    call: || {
        let (file, _path) = file(b"value")?;
        let mut ring = KINDS[0].build(&Setup::USUAL)?;
        ring.submitter().register_files(&[FileSlot::new(&file.as_file())])?;
        let get = FGetXattr::new(Fixed(0), NAME.as_ptr(), ptr::null_mut(), 0).build();
        // SAFETY: the name is a constant, and with a size of 0 the kernel writes nothing.
        assert_eq!(unsafe { ring.run(get) }?.to_result()?, 5);
        Ok(())
    },
};

const NAME: &CStr = c"user.name";

/// A file and its path. The file has an attribute if the value is not empty.
fn file(value: &[u8]) -> Result<(NamedTempFile, CString)> {
    let file = NamedTempFile::new()?;
    if !value.is_empty() {
        fs::setxattr(file.path(), NAME, value, Flags::CREATE)?;
    }
    let path = CString::new(file.path().as_os_str().as_bytes())?;
    Ok((file, path))
}

/// The value of the attribute.
fn value(file: &NamedTempFile) -> Result<Vec<u8>> {
    let mut value = vec![0; 64];
    let len =
        fs::getxattr(file.path(), NAME, &mut value[..]).context("the file has no attribute")?;
    value.truncate(len);
    Ok(value)
}

/// Gets a value into a buffer of the right size, gets only its length, and gets it into a buffer
/// that is too small.
fn gets(ring: &mut Runner<'_>, get: impl Fn(*mut u8, u32) -> Entry) -> Result {
    let mut room = [0; 8];
    let start = room.as_mut_ptr();
    assert_eq!(ring.result(get(start, 0))?, Ok(5));
    assert_eq!(ring.result(get(start, 4))?, Err(Errno::RANGE));
    assert_eq!(room, [0; 8]);
    assert_eq!(ring.result(get(room.as_mut_ptr(), 8))?, Ok(5));
    assert_eq!(&room, b"value\0\0\0");
    assert_eq!(ring.result(get(ptr::null_mut(), 8))?, Err(Errno::FAULT));
    Ok(())
}

fn getxattr(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (_file, path) = file(b"value")?;
    let missing = GetXattr::new(c"user.none".as_ptr(), ptr::null_mut(), path.as_ptr(), 0).build();
    assert_eq!(ring.result(missing)?, Err(Errno::NODATA));
    gets(ring, |room, len| GetXattr::new(NAME.as_ptr(), room.cast(), path.as_ptr(), len).build())
}

fn getxattr_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (_file, path) = file(b"")?;
    let mut room = [0; 8];
    let room = room.as_mut_ptr().cast();
    let refusals = [
        (NAME.as_ptr(), c"/none/at/all".as_ptr(), Errno::NOENT),
        (c"nonsense".as_ptr(), path.as_ptr(), Errno::OPNOTSUPP),
        (c"".as_ptr(), path.as_ptr(), Errno::RANGE),
        (ptr::null(), path.as_ptr(), Errno::FAULT),
        (NAME.as_ptr(), ptr::null(), Errno::FAULT),
    ];
    let get = |name, path| GetXattr::new(name, room, path, 8).build();
    ring.refuses(refusals.map(|(name, path, errno)| (get(name, path), errno)))
}

/// Sets an attribute that does not exist, and then one that does.
fn sets(
    ring: &mut Runner<'_>,
    file: &NamedTempFile,
    set: impl Fn(&'static [u8], XattrFlags) -> Entry,
) -> Result {
    let (create, replace) = (XattrFlags::CREATE, XattrFlags::REPLACE);
    assert_eq!(ring.result(set(b"first", replace))?, Err(Errno::NODATA));
    assert_eq!(ring.result(set(b"first", create))?, Ok(0));
    assert_eq!(value(file)?, b"first");
    assert_eq!(ring.result(set(b"other", create))?, Err(Errno::EXIST));
    assert_eq!(ring.result(set(b"second", replace))?, Ok(0));
    assert_eq!(value(file)?, b"second");
    assert_eq!(ring.result(set(b"", XattrFlags::empty()))?, Ok(0));
    assert_eq!(value(file)?, b"");
    let unknown = XattrFlags::from_bits_retain(1 << 20);
    assert_eq!(ring.result(set(b"third", unknown))?, Err(Errno::INVAL));
    Ok(())
}

fn setxattr(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (file, path) = file(b"")?;
    sets(ring, &file, |value, flags| {
        let (value, len) = (value.as_ptr().cast(), value.len() as u32);
        SetXattr::new(NAME.as_ptr(), value, path.as_ptr(), len).flags(flags).build()
    })
}

fn setxattr_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (_file, path) = file(b"")?;
    let value = b"value".as_ptr().cast();
    let refusals = [
        (NAME.as_ptr(), value, c"/none/at/all".as_ptr(), 5, Errno::NOENT),
        (c"nonsense".as_ptr(), value, path.as_ptr(), 5, Errno::OPNOTSUPP),
        (NAME.as_ptr(), ptr::null(), path.as_ptr(), 5, Errno::FAULT),
        (NAME.as_ptr(), value, path.as_ptr(), 1 << 20, Errno::TOOBIG),
    ];
    ring.refuses(refusals.map(|(name, value, path, len, errno)| {
        (SetXattr::new(name, value, path, len).build(), errno)
    }))
}

fn fgetxattr(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (file, _path) = file(b"value")?;
    let fd = file.as_file().as_fd();
    gets(ring, |room, len| FGetXattr::new(fd, NAME.as_ptr(), room.cast(), len).build())
}

fn fgetxattr_of_slot(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (file, _path) = file(b"value")?;
    ring.submitter().register_files(&[FileSlot::new(&file.as_file())])?;
    gets(ring, |room, len| FGetXattr::new(Fixed(0), NAME.as_ptr(), room.cast(), len).build())
}

fn fgetxattr_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (file, _path) = file(b"")?;
    let mut room = [0; 8];
    let room = room.as_mut_ptr().cast();
    let fd = Fd(file.as_file().as_raw_fd());
    let get = |fd, name: &CStr| FGetXattr::new(fd, name.as_ptr(), room, 8).build();
    ring.refuses([
        (get(fd, c"nonsense"), Errno::OPNOTSUPP),
        (get(fd, c""), Errno::RANGE),
        (get(Fd(-1), NAME), Errno::BADF),
    ])
}

fn fsetxattr(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (file, _path) = file(b"")?;
    let fd = file.as_file().as_fd();
    sets(ring, &file, |value, flags| {
        let (value, len) = (value.as_ptr().cast(), value.len() as u32);
        FSetXattr::new(fd, NAME.as_ptr(), value, len).flags(flags).build()
    })
}

fn fsetxattr_of_slot(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (file, _path) = file(b"")?;
    ring.submitter().register_files(&[FileSlot::new(&file.as_file())])?;
    sets(ring, &file, |value, flags| {
        let (value, len) = (value.as_ptr().cast(), value.len() as u32);
        FSetXattr::new(Fixed(0), NAME.as_ptr(), value, len).flags(flags).build()
    })
}

fn fsetxattr_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (file, _path) = file(b"")?;
    let value = b"value".as_ptr().cast();
    let fd = Fd(file.as_file().as_raw_fd());
    let set = |fd, name: &CStr| FSetXattr::new(fd, name.as_ptr(), value, 5).build();
    ring.refuses([
        (set(fd, c"nonsense"), Errno::OPNOTSUPP),
        (set(fd, c""), Errno::RANGE),
        (set(Fd(-1), NAME), Errno::BADF),
    ])
}
