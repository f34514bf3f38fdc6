//! Reads into provided buffers, single and multishot. Also write streams and protection
//! information.

use std::fs::File;
use std::os::fd::AsFd;
use std::ptr;

use rustix::io::write;
use rustix::pipe::pipe;
use rustix_uring::Errno;
use rustix_uring::opcode::{AsyncCancel, ProvideBuffers, Read, ReadMulti, Readv, Write};
use rustix_uring::squeue::Flags;
use rustix_uring::types::{AttrPi, FileSlot, Fixed, PiFlags, iovec};

use crate::harness::Need::*;
use crate::harness::*;
use crate::opcode::reap;

const MULTI: Need = Opcode(ReadMulti::CODE);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("read_into_group", &[Opcode(Read::CODE), Opcode(Readv::CODE)], read_into_group),
    Case::kinds("read_multishot", &[MULTI], read_multishot),
    Case::kinds("read_multishot_refused", &[MULTI], read_multishot_refused),
    Case::kinds("write_stream", &[Opcode(Write::CODE)], write_stream),
    Case::kinds("read_attr_pi_refused", &[Opcode(Read::CODE), ATTR], read_attr_pi_refused),
];

const GROUP: u16 = 5;
const SIZE: usize = 8;

/// Provides buffers with IDs from 0.
fn provide(ring: &mut dyn Ring, buffers: &mut [[u8; SIZE]]) -> Result {
    // SAFETY: the buffers are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (start, n) = (buffers.as_mut_ptr().cast(), buffers.len() as u16);
    let provide = ProvideBuffers::new(start, SIZE as u32, n.into(), GROUP, 0).build();
    assert_eq!(ring.result(provide)?, Ok(0));
    Ok(())
}

fn read_into_group(ring: &mut dyn Ring) -> Result {
    // SAFETY: the buffers are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello world")?;
    let mut buffers = [[0; SIZE]; 2];
    provide(&mut **ring, &mut buffers)?;
    let part = [iovec { iov_base: ptr::null_mut(), iov_len: 3 }];
    let read = Read::new(file.as_fd(), ptr::null_mut(), 100).offset(2).buf_group(GROUP).build();
    let readv = Readv::new(file.as_fd(), part.as_ptr(), 1).offset(6).buf_group(GROUP).build();
    for (read, expected) in [(read, &b"llo worl"[..]), (readv, b"wor")] {
        let done = ring.completion(read.flags(Flags::BUFFER_SELECT))?;
        assert_eq!(done.to_result(), Ok(expected.len() as u32));
        let bid = done.buffer_select().expect("the completion names no buffer");
        assert_eq!(&buffers[usize::from(bid)][..expected.len()], expected);
    }
    let done = ring.completion(read.flags(Flags::BUFFER_SELECT))?;
    assert_eq!((done.to_result(), done.buffer_select()), (Err(Errno::NOBUFS), None));
    Ok(())
}

fn read_multishot(ring: &mut dyn Ring) -> Result {
    let (out, to) = pipe()?;
    ring.submitter().register_files(&[FileSlot::new(&out)])?;
    let mut buffers = [[0; SIZE]; 3];
    provide(ring, &mut buffers)?;
    let read = ReadMulti::new(Fixed(0), 0, GROUP).build().user_data(1);
    // SAFETY: the buffers outlive the operation, whose completion is awaited.
    unsafe { ring.push(&[read]) }?;
    ring.submit()?;
    for word in [b"one", b"two"] {
        write(&to, word)?;
        let done = reap(ring, 1)?;
        assert_eq!((done[0].to_result(), done[0].more()), (Ok(3), true));
        let bid = done[0].buffer_select().expect("the completion names no buffer");
        assert_eq!(&buffers[usize::from(bid)][..3], word);
    }
    // SAFETY: a cancellation uses no memory.
    unsafe { ring.push(&[AsyncCancel::new(1).build().user_data(2)]) }?;
    let done = reap(ring, 2)?;
    assert_eq!((done[0].to_result(), done[0].more()), (Err(Errno::CANCELED), false));
    assert_eq!(done[1].to_result(), Ok(0));
    Ok(())
}

fn read_multishot_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the buffers are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let (out, _to) = pipe()?;
    let file = file_with(b"hello")?;
    let mut buffers = [[0; SIZE]; 1];
    provide(&mut **ring, &mut buffers)?;
    let read = ReadMulti::new(&out, 0, GROUP).build();
    let refusals = [
        // A regular file cannot be polled.
        (ReadMulti::new(file.as_fd(), 0, GROUP).build(), Errno::BADFD),
        (read.clear_flags(), Errno::INVAL),
        (ReadMulti::new(&out, 5, GROUP).build(), Errno::INVAL),
    ];
    ring.refuses(refusals)
}

/// A regular file has no write streams, and the kernel ignores the setting.
fn write_stream(ring: &mut dyn Ring) -> Result {
    // SAFETY: the buffers are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let file = file_with(b"hello")?;
    let write = Write::new(file.as_fd(), b"HE".as_ptr(), 2).write_stream(3).build();
    assert_eq!(ring.result(write)?, Ok(2));
    assert_eq!(content(&file)?, b"HEllo");
    Ok(())
}

const ATTR: Need = Trial {
    what: "protection information",
    // A kernel without support ignores the field and performs the read.
    refusal: Errno::NOTSUP,
    call: || {
        let mut ring = KINDS[0].build(&Setup::USUAL)?;
        // SAFETY: the kernel detects that the address is null.
        match with_attr(&mut unsafe { ring.runner() }, ptr::null())? {
            Err(Errno::FAULT) => Ok(()),
            Ok(_) => Err(Errno::NOTSUP.into()),
            Err(errno) => Err(errno.into()),
        }
    },
};

/// Reads from a file that has no protection information.
fn with_attr(ring: &mut Runner<'_>, attr: *const AttrPi) -> Result<Result<u32, Errno>> {
    let zero = File::open("/dev/zero")?;
    let mut buf = [0; 8];
    let read = Read::new(zero.as_fd(), buf.as_mut_ptr(), 8).attr_pi(attr).build();
    ring.result(read)
}

fn read_attr_pi_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the buffers are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let mut pi = [0; 8];
    let attr = AttrPi::new(pi.as_mut_ptr(), 8).flags(PiFlags::CHK_GUARD);
    assert_eq!(with_attr(ring, &attr)?, Err(Errno::INVAL));
    assert_eq!(with_attr(ring, ptr::null())?, Err(Errno::FAULT));
    Ok(())
}
