//! The table of registered files, and operations on its slots.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::ptr;

use rustix::io::{FdFlags, fcntl_getfd};
use rustix_uring::Errno;
use rustix_uring::opcode::{FilesUpdate, FilesUpdateAlloc, FixedFdInstall, Nop, Read};
use rustix_uring::types::{FileSlot, Fixed, FixedFdFlags, SKIP_FILE};

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("files_update", &[Opcode(FilesUpdate::CODE)], files_update),
    Case::kinds("files_update_anywhere", &[Opcode(FilesUpdate::CODE), ANYWHERE], anywhere),
    Case::kinds("files_update_last", &[Opcode(FilesUpdate::CODE)], files_update_last),
    Case::kinds("files_update_refused", &[Opcode(FilesUpdate::CODE)], update_refused),
    Case::kinds("fixed_fd_install", &[Opcode(FixedFdInstall::CODE)], install),
    Case::kinds("fixed_fd_install_refused", &[Opcode(FixedFdInstall::CODE)], install_refused),
];

const ANYWHERE: Need = Trial {
    what: "file updates with automatic slot allocation",
    // For other kernels, the number that requests automatic allocation is out of range.
    refusal: Errno::OVERFLOW,
    call: || {
        let mut ring = KINDS[0].build(&Setup::USUAL)?;
        ring.submitter().register_files(&[FileSlot::EMPTY])?;
        let mut fds = [std::io::stdout().as_raw_fd()];
        let update = FilesUpdateAlloc::new(fds.as_mut_ptr(), 1).build();
        // SAFETY: `fds` outlives the operation, for which `run` waits.
        unsafe { ring.run(update) }?.to_result()?;
        Ok(())
    },
};

/// Runs an update of the table.
fn update(ring: &mut dyn Ring, update: FilesUpdate) -> Result<Result<u32, Errno>> {
    // SAFETY: the list belongs to the caller and outlives the operation, for which `run` waits.
    Ok(unsafe { ring.run(update.build()) }?.to_result())
}

/// The content of the files in these slots, at most five bytes of each.
fn contents<const N: usize>(
    ring: &mut dyn Ring,
    slots: [u32; N],
) -> Result<[Result<Vec<u8>, Errno>; N]> {
    let mut contents = [const { Ok(Vec::new()) }; N];
    for (slot, content) in slots.into_iter().zip(&mut contents) {
        let mut buf = [0; 5];
        // SAFETY: `buf` outlives the read, for which `run` waits.
        let read = unsafe { ring.run(Read::new(Fixed(slot), buf.as_mut_ptr(), 5).build()) }?;
        *content = read.to_result().map(|n| buf[..n as usize].to_vec());
    }
    Ok(contents)
}

/// The last slot number is invalid. For the kernel, it requests automatic allocation, and makes it
/// write to the list.
fn files_update_last(ring: &mut dyn Ring) -> Result {
    ring.submitter().register_files(&[FileSlot::EMPTY; 4])?;
    let fds = [std::io::stdout().as_raw_fd(); 2];
    for slot in [u32::MAX, u32::MAX - 1] {
        let done = update(ring, FilesUpdate::new(fds.as_ptr(), 2).offset(slot))?;
        assert!(matches!(done, Err(Errno::INVAL | Errno::OVERFLOW)), "{done:?}");
        let done = ring.submitter().register_files_update(slot, &[FileSlot::EMPTY; 2]);
        assert!(matches!(done, Err(Errno::INVAL | Errno::OVERFLOW)), "{done:?}");
    }
    assert_eq!(fds, [std::io::stdout().as_raw_fd(); 2]);
    assert_eq!(contents(ring, [0, 1, 2, 3])?, [const { Err(Errno::BADF) }; 4]);
    Ok(())
}

fn files_update(ring: &mut dyn Ring) -> Result {
    let (one, two) = (file_with(b"one")?, file_with(b"two")?);
    ring.submitter().register_files(&[FileSlot::EMPTY; 4])?;
    let both = [one.as_raw_fd(), two.as_raw_fd()];
    assert_eq!(update(ring, FilesUpdate::new(both.as_ptr(), 2).offset(1))?, Ok(2));
    drop((one, two));
    let (one, two) = (Ok(b"one".to_vec()), Ok(b"two".to_vec()));
    let nothing = Err(Errno::BADF);
    let now = contents(ring, [0, 1, 2, 3])?;
    assert_eq!(now, [nothing.clone(), one, two.clone(), nothing.clone()]);

    let change = [-1, SKIP_FILE];
    assert_eq!(update(ring, FilesUpdate::new(change.as_ptr(), 2).offset(1))?, Ok(2));
    assert_eq!(contents(ring, [1, 2])?, [nothing, two]);
    Ok(())
}

/// Fills any free slots. The kernel reports their numbers.
fn anywhere(ring: &mut dyn Ring) -> Result {
    let (one, two) = (file_with(b"one")?, file_with(b"two")?);
    ring.submitter().register_files(&[
        FileSlot::new(&one),
        FileSlot::EMPTY,
        FileSlot::new(&two),
        FileSlot::EMPTY,
    ])?;
    let mut fds: [RawFd; 2] = [two.as_raw_fd(), one.as_raw_fd()];
    let anywhere = FilesUpdateAlloc::new(fds.as_mut_ptr(), 2).build();
    // SAFETY: `fds` outlives the operation, for which `run` waits.
    assert_eq!(unsafe { ring.run(anywhere) }?.to_result(), Ok(2));
    let mut slots = fds;
    slots.sort_unstable();
    assert_eq!(slots, [1, 3]);
    let now = contents(ring, fds.map(|slot| slot as u32))?;
    assert_eq!(now, [Ok(b"two".to_vec()), Ok(b"one".to_vec())]);

    let mut fds: [RawFd; 1] = [two.as_raw_fd()];
    let full = FilesUpdateAlloc::new(fds.as_mut_ptr(), 1).build();
    // SAFETY: `fds` outlives the operation, for which `run` waits.
    assert_eq!(unsafe { ring.run(full) }?.to_result(), Err(Errno::NFILE));
    Ok(())
}

fn update_refused(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"one")?;
    let fds: [RawFd; 2] = [file.as_raw_fd(), -7];
    let list = fds.as_ptr();
    assert_eq!(update(ring, FilesUpdate::new(list, 1))?, Err(Errno::NXIO));
    ring.submitter().register_files(&[FileSlot::EMPTY; 2])?;
    assert_eq!(update(ring, FilesUpdate::new(list, 1).offset(2))?, Err(Errno::INVAL));
    assert_eq!(update(ring, FilesUpdate::new(ptr::null(), 1))?, Err(Errno::FAULT));
    assert_eq!(update(ring, FilesUpdate::new(list, 0))?, Err(Errno::INVAL));
    // The update stops at the invalid descriptor.
    assert_eq!(update(ring, FilesUpdate::new(list, 2))?, Ok(1));
    assert_eq!(contents(ring, [0, 1])?, [Ok(b"one".to_vec()), Err(Errno::BADF)]);
    // A ring cannot be registered as a file.
    let itself = [ring.as_fd().as_raw_fd()];
    assert_eq!(update(ring, FilesUpdate::new(itself.as_ptr(), 1))?, Err(Errno::BADF));
    Ok(())
}

fn install(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory. The kernel checks whether slots are registered.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello")?;
    ring.submitter().register_files(&[FileSlot::EMPTY, FileSlot::new(&file)])?;
    for (flags, closes) in
        [(FixedFdFlags::empty(), FdFlags::CLOEXEC), (FixedFdFlags::NO_CLOEXEC, FdFlags::empty())]
    {
        let done = ring.completion(FixedFdInstall::new(Fixed(1), flags).build())?;
        // SAFETY: the operation's result is a descriptor, and this is its only owner.
        let installed = std::fs::File::from(unsafe { done.to_fd() }?);
        assert_eq!(content(&installed)?, b"hello");
        assert_eq!(fcntl_getfd(installed.as_fd())?, closes);
    }
    assert_eq!(ring.result(Nop::new().build())?, Ok(0));
    Ok(())
}

fn install_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory. The kernel checks whether slots are registered.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello")?;
    ring.submitter().register_files(&[FileSlot::EMPTY, FileSlot::new(&file)])?;
    let empty = FixedFdInstall::new(Fixed(0), FixedFdFlags::empty()).build();
    assert_eq!(ring.result(empty)?, Err(Errno::BADF));
    let unknown = FixedFdInstall::new(Fixed(1), FixedFdFlags::from_bits_retain(1 << 30));
    assert_eq!(ring.result(unknown.build())?, Err(Errno::INVAL));
    Ok(())
}
