//! Opening with restrictions, opening into file slots, and closing those slots.

use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use rustix::io::{FdFlags, fcntl_getfd};
use rustix_uring::Errno;
use rustix_uring::opcode::{Close, OpenAt, OpenAt2, Read, Write};
use rustix_uring::squeue::Flags;
use rustix_uring::types::{
    DestinationSlot, Fd, FileSlot, Fixed, Mode, OFlags, OpenHow, ResolveFlags,
};
use tempfile::TempDir;

use crate::harness::Need::*;
use crate::harness::*;

const OPENAT2: Need = Opcode(OpenAt2::CODE);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("openat2", &[OPENAT2], openat2),
    Case::kinds("openat2_refused", &[OPENAT2], openat2_refused),
    Case::kinds("openat_into_slot", &[Opcode(OpenAt::CODE), SLOTS], openat_into_slot),
    Case::kinds(
        "openat_into_any_slot",
        &[Opcode(OpenAt::CODE), OPENAT2, ANY],
        openat_into_any_slot,
    ),
    Case::kinds("openat_into_slot_refused", &[OPENAT2, SLOTS], openat_into_slot_refused),
    Case::kinds("close_slot", &[Opcode(Close::CODE), SLOTS], close_slot),
    Case::kinds("close_last_slot", &[Opcode(Close::CODE), SLOTS], close_last_slot),
    Case::kinds("openat_large", &[Opcode(OpenAt::CODE), OPENAT2], openat_large),
];

/// Opens a directory into the only slot of a new ring.
fn opens(target: DestinationSlot) -> Result {
    let mut ring = KINDS[0].build(&Setup::USUAL)?;
    ring.submitter().register_files(&[FileSlot::EMPTY])?;
    let open = OpenAt::new(Fd::CWD, c"/".as_ptr()).file_index(Some(target)).build();
    // SAFETY: the path is a constant.
    unsafe { ring.run(open) }?.to_result()?;
    Ok(())
}

const SLOTS: Need = Trial {
    what: "opening into a file slot",
    refusal: Errno::INVAL,
    call: || opens(DestinationSlot::try_from_slot_target(0).expect("the slot number is too large")),
};
const ANY: Need = Trial {
    what: "opening into an automatically chosen slot",
    refusal: Errno::INVAL,
    call: || opens(DestinationSlot::auto_target()),
};

/// A directory with a file and a symbolic link to it.
fn directory() -> Result<(TempDir, OwnedFd)> {
    let directory = TempDir::new()?;
    fs::write(directory.path().join("file"), b"hello")?;
    std::os::unix::fs::symlink("file", directory.path().join("link"))?;
    let fd = fs::File::open(directory.path())?.into();
    Ok((directory, fd))
}

fn openat2(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (directory, fd) = directory()?;
    let beneath = OpenHow::new().flags(OFlags::CLOEXEC).resolve(ResolveFlags::BENEATH);
    let open = OpenAt2::new(&fd, c"link".as_ptr(), &beneath).build();
    for flags in [Flags::empty(), Flags::ASYNC] {
        let done = ring.completion(open.flags(flags))?;
        // SAFETY: the operation's result is a descriptor, and this is its only owner.
        let file = fs::File::from(unsafe { done.to_fd() }?);
        assert_eq!(content(&file)?, b"hello");
        assert_eq!(fcntl_getfd(&file)?, FdFlags::CLOEXEC);
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let make = OpenHow::new().flags(flags).mode(Mode::RUSR);
    let done = ring.completion(OpenAt2::new(&fd, c"new".as_ptr(), &make).build())?;
    // SAFETY: the operation's result is a descriptor, and this is its only owner.
    drop(unsafe { done.to_fd() }?);
    let made = fs::metadata(directory.path().join("new"))?;
    assert!(made.permissions().readonly() && made.is_file());
    Ok(())
}

fn openat2_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (_directory, fd) = directory()?;
    let (plain, no_links) = (OpenHow::new(), OpenHow::new().resolve(ResolveFlags::NO_SYMLINKS));
    let beneath = OpenHow::new().resolve(ResolveFlags::BENEATH);
    let unknown = OpenHow::new().flags(OFlags::from_bits_retain(1 << 31));
    let needless = OpenHow::new().mode(Mode::RUSR);
    let fd = Fd(fd.as_raw_fd());
    let refusals = [
        (OpenAt2::new(fd, c"none".as_ptr(), &plain), Errno::NOENT),
        (OpenAt2::new(fd, c"link".as_ptr(), &no_links), Errno::LOOP),
        (OpenAt2::new(fd, c"../x".as_ptr(), &beneath), Errno::XDEV),
        (OpenAt2::new(fd, c"file".as_ptr(), &unknown), Errno::INVAL),
        (OpenAt2::new(fd, c"file".as_ptr(), &needless), Errno::INVAL),
        (OpenAt2::new(Fd(-1), c"file".as_ptr(), &plain), Errno::BADF),
        (OpenAt2::new(fd, ptr::null(), &plain), Errno::FAULT),
        (OpenAt2::new(fd, c"file".as_ptr(), ptr::null()), Errno::FAULT),
    ];
    ring.refuses(refusals.map(|(open, errno)| (open.build(), errno)))?;
    let slot = OpenAt2::new(fd, c"file".as_ptr(), &plain).build().flags(Flags::FIXED_FILE);
    assert_eq!(ring.result(slot)?, Err(Errno::BADF));
    Ok(())
}

/// Reads the content of the file in a slot.
fn read(ring: &mut dyn Ring, slot: Fixed) -> Result<Result<Vec<u8>, Errno>> {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let mut buf = [0; 8];
    let done = ring.completion(Read::new(slot, buf.as_mut_ptr(), 8).build())?;
    Ok(done.to_result().map(|n| buf[..n as usize].to_vec()))
}

fn hello() -> Result<Vec<u8>, Errno> {
    Ok(b"hello".to_vec())
}

/// The kernel closes the previous file in the slot.
fn openat_into_slot(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (_directory, fd) = directory()?;
    let before = file_with(b"before")?;
    ring.submitter().register_files(&[FileSlot::EMPTY, FileSlot::new(&before)])?;
    assert_eq!(read(&mut **ring, Fixed(1))?, Ok(b"before".to_vec()));
    for slot in [0, 1] {
        let target = DestinationSlot::try_from_slot_target(slot).ok();
        let open = OpenAt::new(&fd, c"file".as_ptr()).file_index(target).build();
        assert_eq!(ring.result(open)?, Ok(0));
        assert_eq!(read(&mut **ring, Fixed(slot))?, hello());
    }
    Ok(())
}

fn openat_into_any_slot(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (_directory, fd) = directory()?;
    ring.submitter().register_files(&[FileSlot::EMPTY, FileSlot::new(&fd), FileSlot::EMPTY])?;
    let any = Some(DestinationSlot::auto_target());
    let how = OpenHow::new();
    let opens = [
        OpenAt::new(&fd, c"file".as_ptr()).file_index(any).build(),
        OpenAt2::new(&fd, c"file".as_ptr(), &how).file_index(any).build(),
    ];
    let mut slots = Vec::new();
    for open in opens {
        let slot = ring.completion(open)?.to_fixed()?;
        assert_eq!(read(&mut **ring, slot)?, hello());
        slots.push(slot.0);
    }
    slots.sort_unstable();
    assert_eq!(slots, [0, 2]);
    assert_eq!(ring.completion(opens[0])?.to_fixed(), Err(Errno::NFILE));
    Ok(())
}

fn openat_into_slot_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (_directory, fd) = directory()?;
    let slot = |slot| DestinationSlot::try_from_slot_target(slot).ok();
    let open = |target| OpenAt::new(&fd, c"file".as_ptr()).file_index(target);
    assert_eq!(ring.result(open(slot(0)).build())?, Err(Errno::NXIO));
    ring.submitter().register_files(&[FileSlot::EMPTY])?;
    assert_eq!(ring.result(open(slot(1)).build())?, Err(Errno::INVAL));
    let closes = open(slot(0)).flags(OFlags::CLOEXEC).build();
    assert_eq!(ring.result(closes)?, Err(Errno::INVAL));
    let how = OpenHow::new().flags(OFlags::CLOEXEC);
    let closes = OpenAt2::new(&fd, c"file".as_ptr(), &how).file_index(slot(0)).build();
    assert_eq!(ring.result(closes)?, Err(Errno::INVAL));
    assert_eq!(read(&mut **ring, Fixed(0))?, Err(Errno::BADF));
    Ok(())
}

fn close_slot(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello")?;
    let close = |slot| Close::new(Fixed(slot)).build();
    assert_eq!(ring.result(close(0))?, Err(Errno::NXIO));
    ring.submitter().register_files(&[FileSlot::new(&file), FileSlot::new(&file)])?;
    assert_eq!(ring.result(close(1))?, Ok(0));
    assert_eq!(
        (read(&mut **ring, Fixed(0))?, read(&mut **ring, Fixed(1))?),
        (hello(), Err(Errno::BADF))
    );
    assert_eq!(ring.result(close(1))?, Err(Errno::BADF));
    assert_eq!(ring.result(close(2))?, Err(Errno::INVAL));
    // The descriptor stays open.
    assert_eq!(content(&file)?, b"hello");
    Ok(())
}

/// There is no slot with this number. The number plus one overflows to 0, which means the
/// descriptor in the entry, which is also 0.
fn close_last_slot(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    ring.submitter().register_files(&[FileSlot::EMPTY; 4])?;
    // SAFETY: the call only checks whether the descriptor is open.
    let zero = || fcntl_getfd(unsafe { BorrowedFd::borrow_raw(0) });
    let before = zero();
    for slot in [u32::MAX, u32::MAX - 1] {
        let done = ring.result(Close::new(Fixed(slot)).build())?;
        assert_eq!(done, Err(Errno::INVAL));
    }
    assert_eq!(zero(), before);
    Ok(())
}

/// Files whose size exceeds a signed 32-bit number can be opened and written like others.
fn openat_large(ring: &mut dyn Ring) -> Result {
    // SAFETY: entries point only to constants and to this stack, which outlive each call.
    let ring = &mut unsafe { ring.runner() };
    const LARGE: u64 = 5 << 30;
    let directory = TempDir::new()?;
    let path = directory.path().join("large");
    fs::File::create(&path)?.set_len(LARGE)?;
    let path = c_path(path)?;
    let read_write = OpenHow::new().flags(OFlags::RDWR);
    for entry in [
        OpenAt::new(Fd::CWD, path.as_ptr()).build(),
        OpenAt::new(Fd::CWD, path.as_ptr()).flags(OFlags::RDWR).build(),
        OpenAt2::new(Fd::CWD, path.as_ptr(), &OpenHow::new()).build(),
        OpenAt2::new(Fd::CWD, path.as_ptr(), &OpenHow::default()).build(),
        OpenAt2::new(Fd::CWD, path.as_ptr(), &read_write).build(),
        // `O_PATH` allows hardly any other flag.
        OpenAt2::new(Fd::CWD, path.as_ptr(), &OpenHow::new().flags(OFlags::PATH)).build(),
    ] {
        let done = ring.completion(entry)?;
        // SAFETY: the descriptor is new, and nothing else owns it.
        let file = fs::File::from(unsafe { done.to_fd() }?);
        assert_eq!(file.metadata()?.len(), LARGE);
    }
    // Writes at an offset that does not fit in 31 bits.
    let open = OpenAt2::new(Fd::CWD, path.as_ptr(), &read_write).build();
    // SAFETY: the descriptor is new, and nothing else owns it.
    let file = unsafe { ring.completion(open)?.to_fd() }?;
    let write = Write::new(&file, b"end".as_ptr(), 3).offset(LARGE).build();
    assert_eq!(ring.result(write)?, Ok(3));
    let mut buf = [0; 8];
    let read = Read::new(&file, buf.as_mut_ptr(), 8).offset(LARGE).build();
    assert_eq!((ring.result(read)?, &buf[..3]), (Ok(3), &b"end"[..]));
    Ok(())
}
