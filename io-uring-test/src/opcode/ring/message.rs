//! Messages to other rings.

use std::os::fd::{AsFd, AsRawFd};

use rustix_uring::opcode::{MsgRingData, MsgRingSendFd, Read};
use rustix_uring::types::{DestinationSlot, Fd, FileSlot, Fixed, MsgRingFlags};
use rustix_uring::{Errno, IoUring, cqueue};

use crate::harness::Need::*;
use crate::harness::*;
use crate::opcode::taken;

const MESSAGE: Need = Opcode(MsgRingData::CODE);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("msg_ring_data", &[MESSAGE], msg_ring_data),
    Case::kinds("msg_ring_data_with_flags", &[MESSAGE, FLAGS], msg_ring_data_with_flags),
    Case::kinds("msg_ring_data_refused", &[MESSAGE], msg_ring_data_refused),
    Case::kinds("msg_ring_send_fd", &[MESSAGE, SEND_FD], msg_ring_send_fd),
    Case::kinds("msg_ring_send_fd_refused", &[MESSAGE, SEND_FD], msg_ring_send_fd_refused),
];

const FLAGS: Need = Trial {
    what: "messages with flags",
    refusal: Errno::INVAL,
    call: || {
        let other: IoUring = IoUring::new(2)?;
        let message = MsgRingData::new(other.as_fd(), 1, 2, Some(0)).build();
        // SAFETY: the entry points to no memory, and the other ring outlives it.
        unsafe { taken(message, &[]) }
    },
};
const SEND_FD: Need = Trial {
    what: "files in messages",
    refusal: Errno::INVAL,
    call: || {
        let other: IoUring = IoUring::new(2)?;
        let any = DestinationSlot::auto_target();
        let message = MsgRingSendFd::new(other.as_fd(), Fixed(0), any, 2).build();
        // SAFETY: the entry points to no memory, and the other ring outlives it.
        unsafe { taken(message, &[Errno::BADF, Errno::NXIO]) }
    },
};

/// The completions in the other ring: user data, result and flags.
fn came(other: &mut IoUring) -> Vec<(u64, i32, u32)> {
    let parts = |cqe: cqueue::Entry| (cqe.user_data(), cqe.result(), cqe.flags());
    other.completion().map(parts).collect()
}

fn msg_ring_data(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory, and the files outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let mut other: IoUring = IoUring::new(2)?;
    for (message, user_data) in [(0, 1), (i32::MAX, u64::MAX), (-5, 3)] {
        let send = MsgRingData::new(other.as_fd(), message, user_data, None).build();
        assert_eq!(ring.result(send)?, Ok(0));
        other.submitter().wait(1)?;
        assert_eq!(came(&mut other), [(user_data, message, 0)]);
    }
    Ok(())
}

fn msg_ring_data_with_flags(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory, and the files outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let mut other: IoUring = IoUring::new(2)?;
    let send = MsgRingData::new(other.as_fd(), 7, 8, Some(0x1234_0001)).build();
    assert_eq!(ring.result(send)?, Ok(0));
    other.submitter().wait(1)?;
    assert_eq!(came(&mut other), [(8, 7, 0x1234_0001)]);
    Ok(())
}

fn msg_ring_data_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory, and the files outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let mut other: IoUring = IoUring::new(2)?;
    let disabled: IoUring = IoUring::builder().setup_r_disabled().build(2)?;
    let file = file_with(b"")?;
    let send = |fd: Fd| MsgRingData::new(fd, 7, 8, None);
    let unknown = MsgRingFlags::from_bits_retain(1 << 30);
    let to_other = send(Fd(other.as_raw_fd()));
    let refusals = [
        (send(Fd(file.as_raw_fd())), Errno::BADFD),
        (send(Fd(disabled.as_raw_fd())), Errno::BADFD),
        (send(Fd(-1)), Errno::BADF),
        (to_other.opcode_flags(unknown), Errno::INVAL),
    ];
    ring.refuses(refusals.map(|(message, errno)| (message.build(), errno)))?;
    // A slot cannot name the target ring.
    let mut slot = MsgRingData::new(Fd(0), 7, 8, None).build();
    slot = slot.flags(rustix_uring::squeue::Flags::FIXED_FILE);
    assert_eq!(ring.result(slot)?, Err(Errno::BADF));
    assert_eq!(came(&mut other), []);
    Ok(())
}

/// Sends into a given slot and into any free slot, with and without a completion in the target
/// ring.
fn msg_ring_send_fd(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory, and the files outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let mut other: IoUring = IoUring::new(2)?;
    let file = file_with(b"hello")?;
    ring.submitter().register_files(&[FileSlot::EMPTY, FileSlot::new(&file)])?;
    other.submitter().register_files(&[FileSlot::EMPTY; 2])?;
    drop(file);
    let chosen = DestinationSlot::try_from_slot_target(1).expect("the slot number is too large");
    let send = |fd, to, n| MsgRingSendFd::new(fd, Fixed(1), to, n);
    let fd = Fd(other.as_raw_fd());
    let to_chosen = send(fd, chosen, 7).opcode_flags(MsgRingFlags::CQE_SKIP).build();
    assert_eq!(ring.result(to_chosen)?, Ok(0));
    assert_eq!(came(&mut other), []);
    let to_any = send(fd, DestinationSlot::auto_target(), 8).build();
    assert_eq!(ring.result(to_any)?, Ok(0));
    other.submitter().wait(1)?;
    assert_eq!(came(&mut other), [(8, 0, 0)]);

    for slot in [0, 1] {
        let mut buf = [0; 5];
        // SAFETY: `buf` outlives the read, which is awaited.
        unsafe {
            other.submission().push(&Read::new(Fixed(slot), buf.as_mut_ptr(), 5).build())?;
        }
        other.submit_and_wait(1)?;
        assert_eq!(came(&mut other), [(0, 5, 0)]);
        assert_eq!(&buf, b"hello");
    }
    let full = send(fd, DestinationSlot::auto_target(), 8).build();
    assert_eq!(ring.result(full)?, Err(Errno::NFILE));
    Ok(())
}

fn msg_ring_send_fd_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the entries use no memory, and the files outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let other: IoUring = IoUring::new(2)?;
    let file = file_with(b"hello")?;
    ring.submitter().register_files(&[FileSlot::EMPTY, FileSlot::new(&file)])?;
    let any = DestinationSlot::auto_target();
    let send = |to: Fd, slot| MsgRingSendFd::new(to, Fixed(slot), any, 7).build();
    let itself = Fd(ring.as_fd().as_raw_fd());
    assert_eq!(ring.result(send(itself, 1))?, Err(Errno::INVAL));
    let to = Fd(other.as_raw_fd());
    ring.refuses([
        (send(to, 0), Errno::BADF),
        (send(to, 2), Errno::BADF),
        // The other ring has no file table.
        (send(to, 1), Errno::NFILE),
    ])?;
    let chosen = DestinationSlot::try_from_slot_target(0).expect("the slot number is too large");
    let chosen = MsgRingSendFd::new(to, Fixed(1), chosen, 7).build();
    ring.refuses([(chosen, Errno::NXIO), (send(Fd(file.as_raw_fd()), 1), Errno::BADFD)])
}
