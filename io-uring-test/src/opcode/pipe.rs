//! Pipes.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::fs::{SeekFrom, seek};
use rustix::io::{FdFlags, fcntl_getfd, ioctl_fionread, read, write};
use rustix::pipe::pipe;
use rustix_uring::Errno;
use rustix_uring::opcode::{Pipe, Read, Splice, Tee, Write};
use rustix_uring::squeue::Flags;
use rustix_uring::types::{DestinationSlot, Fd, FileSlot, Fixed, PipeFlags, SpliceFlags};

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("splice", &[Opcode(Splice::CODE)], splice),
    Case::kinds("splice_of_slots", &[Opcode(Splice::CODE)], splice_of_slots),
    Case::kinds("splice_refused", &[Opcode(Splice::CODE)], splice_refused),
    Case::kinds("tee", &[Opcode(Tee::CODE)], tee),
    Case::kinds("tee_refused", &[Opcode(Tee::CODE)], tee_refused),
    Case::kinds("pipe", &[Opcode(Pipe::CODE)], makes_pipes),
    Case::kinds("pipe_into_slots", &[Opcode(Pipe::CODE)], into_slots),
    Case::kinds("pipe_refused", &[Opcode(Pipe::CODE)], pipe_refused),
];

/// Reads everything that is in the pipe.
fn drained(from: &OwnedFd) -> Result<Vec<u8>> {
    let mut bytes = vec![0; ioctl_fionread(from)? as usize];
    let n = if bytes.is_empty() { 0 } else { read(from, &mut *bytes)? };
    assert_eq!(n, bytes.len());
    Ok(bytes)
}

fn splice(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory, and the files outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (out, to) = pipe()?;
    let file = file_with(b"hello world")?;
    for flags in [Flags::empty(), Flags::ASYNC] {
        // Splices from an offset of the file into the pipe, and back to another offset.
        let there = Splice::new(file.as_fd(), 6, &to, -1, 5).flags(SpliceFlags::MOVE);
        assert_eq!(ring.result(there.build().flags(flags))?, Ok(5));
        let back = Splice::new(&out, -1, file.as_fd(), 0, 100).build();
        assert_eq!(ring.result(back.flags(flags))?, Ok(5));
        assert_eq!(content(&file)?, b"world world");
    }
    // Splices from the current position of the file, which advances.
    seek(&file, SeekFrom::Start(8))?;
    let here = |len| Splice::new(file.as_fd(), -1, &to, -1, len).build();
    assert_eq!(ring.result(here(2))?, Ok(2));
    assert_eq!(ring.result(here(100))?, Ok(1));
    assert_eq!(ring.result(here(100))?, Ok(0));
    assert_eq!(drained(&out)?, b"rld");
    let now = Splice::new(&out, -1, file.as_fd(), 0, 1).flags(SpliceFlags::NONBLOCK).build();
    assert_eq!(ring.result(now)?, Err(Errno::AGAIN));
    Ok(())
}

fn splice_of_slots(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory, and the files outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (out, to) = pipe()?;
    let file = file_with(b"hello world")?;
    ring.submitter().register_files(&[FileSlot::new(&file), FileSlot::new(&to)])?;
    assert_eq!(ring.result(Splice::new(Fixed(0), 6, Fixed(1), -1, 5).build())?, Ok(5));
    assert_eq!(drained(&out)?, b"world");
    let empty = Splice::new(Fixed(2), 6, Fixed(1), -1, 5).build();
    assert_eq!(ring.result(empty)?, Err(Errno::BADF));
    Ok(())
}

fn splice_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory, and the files outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (out, to) = pipe()?;
    let file = file_with(b"hello")?;
    let (file, nowhere) = (Fd(file.as_raw_fd()), Fd(-1));
    let refusals = [
        // Neither end is a pipe.
        (Splice::new(file, 0, file, 0, 1), Errno::INVAL),
        // A pipe does not support offsets.
        (Splice::new(file, 0, Fd(to.as_raw_fd()), 0, 1), Errno::SPIPE),
        (Splice::new(Fd(out.as_raw_fd()), 0, file, 0, 1), Errno::SPIPE),
        (Splice::new(nowhere, -1, Fd(to.as_raw_fd()), -1, 1), Errno::BADF),
        (Splice::new(file, 0, nowhere, -1, 1), Errno::BADF),
        (
            Splice::new(file, 0, Fd(to.as_raw_fd()), -1, 1)
                .flags(SpliceFlags::from_bits_retain(1 << 20)),
            Errno::INVAL,
        ),
    ];
    ring.refuses(refusals.map(|(splice, errno)| (splice.build(), errno)))
}

fn tee(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory, and the files outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (first, to_first) = pipe()?;
    let (second, to_second) = pipe()?;
    ring.submitter().register_files(&[FileSlot::new(&first), FileSlot::new(&to_second)])?;
    write(&to_first, b"hello")?;
    assert_eq!(ring.result(Tee::new(&first, &to_second, 4).build())?, Ok(4));
    assert_eq!(ring.result(Tee::new(Fixed(0), Fixed(1), 100).build())?, Ok(5));
    assert_eq!(drained(&first)?, b"hello");
    assert_eq!(drained(&second)?, b"hellhello");
    let now = Tee::new(&first, &to_second, 1).flags(SpliceFlags::NONBLOCK).build();
    assert_eq!(ring.result(now)?, Err(Errno::AGAIN));
    drop(to_first);
    assert_eq!(ring.result(Tee::new(&first, &to_second, 1).build())?, Ok(0));
    Ok(())
}

fn tee_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory, and the files outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (out, to) = pipe()?;
    let file = file_with(b"hello")?;
    ring.refuses([
        (Tee::new(&out, &to, 1).build(), Errno::INVAL),
        (Tee::new(file.as_fd(), &to, 1).build(), Errno::INVAL),
        (Tee::new(Fd(-1), &to, 1).build(), Errno::BADF),
        (Tee::new(&out, Fd(-1), 1).build(), Errno::BADF),
    ])
}

fn makes_pipes(ring: &mut dyn Ring) -> Result {
    for (flags, closes) in [
        (PipeFlags::empty(), FdFlags::empty()),
        (PipeFlags::CLOEXEC | PipeFlags::NONBLOCK, FdFlags::CLOEXEC),
    ] {
        let mut fds: [RawFd; 2] = [-1; 2];
        let pipe = Pipe::new(fds.as_mut_ptr()).flags(flags).build();
        // SAFETY: `fds` outlives the operation, for which `run` waits.
        assert_eq!(unsafe { ring.run(pipe) }?.to_result(), Ok(0));
        // SAFETY: the descriptors are new, and nothing else owns them.
        let [out, to] = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        assert_eq!((fcntl_getfd(&out)?, fcntl_getfd(&to)?), (closes, closes));
        if flags.contains(PipeFlags::NONBLOCK) {
            assert_eq!(read(&out, &mut [0]), Err(Errno::AGAIN));
        }
        std::fs::File::from(to).write_all(b"hello")?;
        let mut said = String::new();
        std::fs::File::from(out).read_to_string(&mut said)?;
        assert_eq!(said, "hello");
    }
    Ok(())
}

/// Creates a pipe in a given slot and the next one, and in any two free slots.
fn into_slots(ring: &mut dyn Ring) -> Result {
    ring.submitter().register_files(&[FileSlot::EMPTY; 5])?;
    let third = DestinationSlot::try_from_slot_target(3).expect("the slot number is too large");
    let (mut chosen, mut any): ([RawFd; 2], [RawFd; 2]) = ([-1; 2], [-1; 2]);
    let pipes = [(&mut chosen, third), (&mut any, DestinationSlot::auto_target())];
    for (slots, target) in pipes {
        let pipe = Pipe::new(slots.as_mut_ptr()).file_index(Some(target)).build();
        // SAFETY: `slots` outlives the operation, for which `run` waits.
        assert_eq!(unsafe { ring.run(pipe) }?.to_result(), Ok(0));
        if target == third {
            // Some kernels do not report the chosen slots.
            assert!(*slots == [3, 4] || *slots == [0, 0], "{slots:?}");
            *slots = [3, 4];
        }
        let [out, to] = slots.map(|slot| Fixed(slot as u32));
        let mut buf = [0; 5];
        let write = Write::new(to, b"hello".as_ptr(), 5).build().flags(Flags::IO_LINK);
        let read = Read::new(out, buf.as_mut_ptr(), 5).build();
        // SAFETY: `buf` outlives the read, for which `run_all` waits.
        let done = unsafe { ring.run_all(&[write, read]) }?;
        assert!(done.iter().all(|cqe| cqe.to_result() == Ok(5)), "{done:?}");
        assert_eq!(&buf, b"hello");
    }
    assert!(any.iter().all(|slot| (0..3).contains(slot)), "{any:?}");

    // Only one slot is free.
    let mut slots: [RawFd; 2] = [-1; 2];
    let pipe = Pipe::new(slots.as_mut_ptr());
    let targets = [
        (pipe.file_index(Some(DestinationSlot::auto_target())), Errno::NFILE),
        (pipe.file_index(DestinationSlot::try_from_slot_target(4).ok()), Errno::INVAL),
        (pipe.flags(PipeFlags::CLOEXEC).file_index(Some(third)), Errno::INVAL),
    ];
    for (pipe, errno) in targets {
        // SAFETY: `slots` outlives the operation, for which `run` waits.
        assert_eq!(unsafe { ring.run(pipe.build()) }?.to_result(), Err(errno));
    }
    Ok(())
}

fn pipe_refused(ring: &mut dyn Ring) -> Result {
    let mut fds: [RawFd; 2] = [-1; 2];
    let nothing = Pipe::new(ptr::null_mut()).build();
    let unknown = Pipe::new(fds.as_mut_ptr()).flags(PipeFlags::from_bits_retain(1)).build();
    // SAFETY: `fds` outlives the operation. The kernel detects the null pointer and does not write
    // to it.
    let done = unsafe { [ring.run(nothing)?, ring.run(unknown)?] };
    assert_eq!(done.map(|cqe| cqe.to_result()), [Err(Errno::FAULT), Err(Errno::INVAL)]);
    assert_eq!(fds, [-1; 2]);
    Ok(())
}
