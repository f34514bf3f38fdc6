//! Ranges of files: syncing, allocating, truncating and advice. Also advice on memory.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt as _;

use rustix::pipe::pipe;
use rustix_uring::Errno;
use rustix_uring::opcode::{Fadvise, Fallocate, Fsync, Ftruncate, Madvise, SyncFileRange};
use rustix_uring::squeue::Flags;
use rustix_uring::types::{Fadv, FallocateFlags, Fd, FileSlot, Fixed, Madv, SyncFileRangeFlags};

use crate::harness::Need::*;
use crate::harness::*;
use crate::opcode::taken;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("fsync_range", &[Opcode(Fsync::CODE)], fsync_range),
    Case::kinds("sync_file_range", &[Opcode(SyncFileRange::CODE)], sync_file_range),
    Case::kinds("sync_file_range_refused", &[Opcode(SyncFileRange::CODE)], sync_refused),
    Case::kinds("fallocate", &[Opcode(Fallocate::CODE)], fallocate),
    Case::kinds("fallocate_refused", &[Opcode(Fallocate::CODE)], fallocate_refused),
    Case::kinds("ftruncate", &[Opcode(Ftruncate::CODE)], ftruncate),
    Case::kinds("ftruncate_refused", &[Opcode(Ftruncate::CODE)], ftruncate_refused),
    Case::kinds("fadvise", &[Opcode(Fadvise::CODE)], fadvise),
    Case::kinds("fadvise_far", &[Opcode(Fadvise::CODE), FAR], fadvise_far),
    Case::kinds("fadvise_refused", &[Opcode(Fadvise::CODE)], fadvise_refused),
    Case::kinds("madvise", &[Opcode(Madvise::CODE)], madvise),
    Case::kinds("madvise_refused", &[Opcode(Madvise::CODE)], madvise_refused),
];

/// The only visible effect of syncing is the result.
fn fsync_range(ring: &mut dyn Ring) -> Result {
    // SAFETY: the files and the memory outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello world")?;
    let sync = |offset, len| Fsync::new(file.as_fd()).offset(offset).len(len).build();
    assert_eq!(ring.result(sync(6, 5))?, Ok(0));
    // Syncing beyond the end of the file has no effect and succeeds.
    assert_eq!(ring.result(sync(1 << 40, u32::MAX))?, Ok(0));
    Ok(())
}

fn sync_file_range(ring: &mut dyn Ring) -> Result {
    // SAFETY: the files and the memory outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello world")?;
    ring.submitter().register_files(&[FileSlot::new(&file)])?;
    let all = SyncFileRangeFlags::all();
    for flags in [SyncFileRangeFlags::empty(), SyncFileRangeFlags::WRITE] {
        let sync = SyncFileRange::new(Fixed(0), 5).offset(6).flags(flags).build();
        assert_eq!(ring.result(sync)?, Ok(0));
    }
    let known = SyncFileRangeFlags::WAIT_BEFORE
        | SyncFileRangeFlags::WRITE
        | SyncFileRangeFlags::WAIT_AFTER;
    let sync = |flags| SyncFileRange::new(file.as_fd(), 0).flags(flags).build();
    assert_eq!(ring.result(sync(known))?, Ok(0));
    assert_eq!(ring.result(sync(all))?, Err(Errno::INVAL));
    Ok(())
}

fn sync_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the files and the memory outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (out, _to) = pipe()?;
    let file = file_with(b"hello")?;
    ring.refuses([
        (SyncFileRange::new(&out, 5).build(), Errno::SPIPE),
        (SyncFileRange::new(Fd(-1), 5).build(), Errno::BADF),
        (SyncFileRange::new(file.as_fd(), 5).offset(u64::MAX).build(), Errno::INVAL),
    ])
}

fn fallocate(ring: &mut dyn Ring) -> Result {
    // SAFETY: the files and the memory outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(&[7; 12288])?;
    ring.submitter().register_files(&[FileSlot::new(&file)])?;
    let allocate =
        |offset, len, mode| Fallocate::new(Fixed(0), len).offset(offset).mode(mode).build();
    // The file grows, filled with zeros.
    assert_eq!(ring.result(allocate(12288, 100, FallocateFlags::empty()))?, Ok(0));
    assert_eq!(file.metadata()?.len(), 12388);
    // The kernel allocates blocks, but the file does not grow.
    let keep = FallocateFlags::KEEP_SIZE;
    assert_eq!(ring.result(allocate(0, 1 << 20, keep))?, Ok(0));
    assert_eq!(file.metadata()?.len(), 12388);
    assert!(file.metadata()?.blocks() * 512 >= 1 << 20);
    // A hole reads as zeros.
    let hole = allocate(4096, 4096, FallocateFlags::PUNCH_HOLE | keep);
    assert_eq!(ring.result(hole.flags(Flags::ASYNC))?, Ok(0));
    let bytes = content(&file)?;
    let zero = |n: &usize| (4096..8192).contains(n) || *n >= 12288;
    assert!(bytes.iter().enumerate().all(|(n, byte)| *byte == if zero(&n) { 0 } else { 7 }));
    Ok(())
}

fn fallocate_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the files and the memory outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello")?;
    let (out, to) = pipe()?;
    let to_read = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    let fd = Fd(file.as_raw_fd());
    let refusals = [
        (Fallocate::new(fd, 0), Errno::INVAL),
        (Fallocate::new(fd, 1).mode(FallocateFlags::PUNCH_HOLE), Errno::OPNOTSUPP),
        (Fallocate::new(fd, 1).mode(FallocateFlags::from_bits_retain(1 << 30)), Errno::OPNOTSUPP),
        (Fallocate::new(fd, 1 << 62).offset(1 << 62), Errno::FBIG),
        (Fallocate::new(Fd(to.as_raw_fd()), 1), Errno::SPIPE),
        (Fallocate::new(Fd(to_read.as_raw_fd()), 1), Errno::BADF),
        (Fallocate::new(Fd(-1), 1), Errno::BADF),
    ];
    ring.refuses(refusals.map(|(allocate, errno)| (allocate.build(), errno)))?;
    drop(out);
    Ok(())
}

fn ftruncate(ring: &mut dyn Ring) -> Result {
    // SAFETY: the files and the memory outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello world")?;
    ring.submitter().register_files(&[FileSlot::new(&file)])?;
    assert_eq!(ring.result(Ftruncate::new(Fixed(0), 5).build())?, Ok(0));
    assert_eq!(content(&file)?, b"hello");
    assert_eq!(ring.result(Ftruncate::new(file.as_fd(), 7).build())?, Ok(0));
    assert_eq!(content(&file)?, b"hello\0\0");
    // The length exceeds 32 bits.
    assert_eq!(ring.result(Ftruncate::new(file.as_fd(), 5 << 32).build())?, Ok(0));
    assert_eq!(file.metadata()?.len(), 5 << 32);
    Ok(())
}

fn ftruncate_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the files and the memory outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (_out, to) = pipe()?;
    let file = file_with(b"hello")?;
    let to_read = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
    ring.refuses([
        (Ftruncate::new(&to, 5).build(), Errno::INVAL),
        (Ftruncate::new(to_read.as_fd(), 5).build(), Errno::INVAL),
        (Ftruncate::new(file.as_fd(), u64::MAX).build(), Errno::INVAL),
        (Ftruncate::new(Fd(-1), 5).build(), Errno::BADF),
    ])
}

/// The only visible effect of advice is the result.
fn fadvise(ring: &mut dyn Ring) -> Result {
    // SAFETY: the files and the memory outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello world")?;
    ring.submitter().register_files(&[FileSlot::new(&file)])?;
    for advice in [
        Fadv::NORMAL,
        Fadv::RANDOM,
        Fadv::SEQUENTIAL,
        Fadv::WILLNEED,
        Fadv::DONTNEED,
        Fadv::NOREUSE,
    ] {
        let advise = Fadvise::new(Fixed(0), 5, advice).offset(6).build();
        assert_eq!(ring.result(advise)?, Ok(0), "{advice:?}");
    }
    Ok(())
}

const FAR: Need = Trial {
    what: "file advice for 4 GiB or more",
    refusal: Errno::INVAL,
    call: || {
        let file = file_with(b"")?;
        // SAFETY: the entry points to no memory, and the file outlives the operation.
        unsafe { taken(Fadvise::new(file.as_fd(), 1 << 32, Fadv::NORMAL).build(), &[]) }
    },
};

/// The kernel uses all bits of the length: the range from this offset would exceed 63 bits.
fn fadvise_far(ring: &mut dyn Ring) -> Result {
    // SAFETY: the files and the memory outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello")?;
    let advise = |len| Fadvise::new(file.as_fd(), len, Fadv::WILLNEED).build();
    assert_eq!(ring.result(advise(1 << 62))?, Ok(0));
    assert_eq!(ring.result(advise(1 << 63))?, Err(Errno::INVAL));
    Ok(())
}

fn fadvise_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the files and the memory outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (out, _to) = pipe()?;
    let file = file_with(b"hello")?;
    let unknown = Fadvise::new(file.as_fd(), 5, Fadv(99)).build();
    ring.refuses([
        (unknown, Errno::INVAL),
        (Fadvise::new(&out, 5, Fadv::NORMAL).build(), Errno::SPIPE),
        (Fadvise::new(Fd(-1), 5, Fadv::NORMAL).build(), Errno::BADF),
    ])
}

/// After `MADV_DONTNEED`, memory reads as zero.
fn madvise(ring: &mut dyn Ring) -> Result {
    // SAFETY: the files and the memory outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let memory = Pages::new(8192)?;
    let start = memory.all().cast::<u8>();
    let (page, len) = (rustix::param::page_size(), memory.all().len());
    // SAFETY: the pointer stays within the memory, which nothing else uses.
    unsafe { start.write_bytes(7, len) };
    let first = start.as_ptr().cast_const().cast();
    let advise = Madvise::new(first, page as u64, Madv::DONTNEED).build();
    assert_eq!(ring.result(advise)?, Ok(0));
    // SAFETY: the memory is initialized, and the operation has completed.
    let bytes = unsafe { memory.all().as_ref() };
    assert!(bytes[..page].iter().all(|byte| *byte == 0));
    assert!(bytes[page..].iter().all(|byte| *byte == 7));
    Ok(())
}

fn madvise_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the files and the memory outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let memory = Pages::new(8192)?;
    let start = memory.all().cast::<u8>().as_ptr().cast_const();
    let advise = |at: *const u8, len, advice| Madvise::new(at.cast(), len, advice).build();
    let page = rustix::param::page_size() as u64;
    // Uses an address that is never mapped: one below the first page that may be.
    let nowhere = std::ptr::without_provenance(page as usize);
    ring.refuses([
        (advise(start, page, Madv(9999)), Errno::INVAL),
        (advise(start.wrapping_add(1), page, Madv::NORMAL), Errno::INVAL),
        (advise(nowhere, page, Madv::WILLNEED), Errno::NOMEM),
    ])
}
