//! Registered credentials.

use std::ffi::CString;
use std::fs::{Permissions, set_permissions};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::thread;

use anyhow::{anyhow, ensure};
use rustix::thread::CapabilitySet;
use rustix_uring::opcode::OpenAt;
use rustix_uring::sys::io_uring_register_op::*;
use rustix_uring::types::Fd;
use rustix_uring::{Errno, IoUring};

use crate::harness::Need::*;
use crate::harness::*;

const REGISTER: Need = Register(IORING_REGISTER_PERSONALITY as u32);
const UNREGISTER: Need = Register(IORING_UNREGISTER_PERSONALITY as u32);

pub(crate) const CASES: &[Case] = &[
    Case::once(
        "others_credentials",
        &[REGISTER, UNREGISTER, Capability(CapabilitySet::SETUID)],
        others_credentials,
    ),
    Case::once("as_many_as_there_can_be", &[REGISTER], as_many_as_there_can_be),
    Case::kinds("refused", &[REGISTER, UNREGISTER], refused),
];

/// Only root can open the file, so an entry can open it depending on its credentials.
fn others_credentials() -> Result {
    let opened = thread::spawn(|| -> Result<_> {
        let file = tempfile::NamedTempFile::new()?;
        set_permissions(file.path(), Permissions::from_mode(0o600))?;
        let path = CString::new(file.path().as_os_str().as_bytes())?;
        let mut ring = IoUring::new(4)?;
        let root = ring.submitter().register_personality()?;
        as_user(1000)?;
        let user = ring.submitter().register_personality()?;
        ensure!(root != 0 && user != 0 && root != user, "{root} {user}");
        let mut open = |personality| -> Result<_> {
            let open = OpenAt::new(Fd::CWD, path.as_ptr()).build().personality(personality);
            // SAFETY: the path outlives the operation, whose completion is awaited.
            unsafe { ring.submission().push(&open) }?;
            ring.submit_and_wait(1)?;
            let done = ring.completion().next().ok_or(anyhow!("no completion"))?;
            // SAFETY: the descriptor was just created, and nothing else owns it.
            Ok(done.to_result().map(|fd| drop(unsafe { OwnedFd::from_raw_fd(fd as i32) })))
        };
        let as_the_user = [open(0)?, open(root)?, open(user)?];
        as_user(0)?;
        let as_root = [open(0)?, open(root)?, open(user)?];
        ring.submitter().unregister_personality(user)?;
        let forgotten = ring.submitter().unregister_personality(user);
        Ok((as_the_user, as_root, forgotten))
    });
    let (as_the_user, as_root, forgotten) = opened.join().map_err(|_| anyhow!("panicked"))??;
    let denied = Err(Errno::ACCESS);
    assert_eq!(as_the_user, [denied, Ok(()), denied]);
    assert_eq!(as_root, [Ok(()), Ok(()), denied]);
    assert_eq!(forgotten, Err(Errno::INVAL));
    Ok(())
}

/// Changes the effective user of only this thread. The function in libc would change all threads.
fn as_user(uid: libc::uid_t) -> Result {
    // SAFETY: the arguments are three numbers, without any memory.
    let done = unsafe { libc::syscall(libc::SYS_setresuid, -1, uid, -1) };
    ensure!(done == 0, "setresuid: {}", std::io::Error::last_os_error());
    Ok(())
}

fn as_many_as_there_can_be() -> Result {
    let ring = IoUring::new(1)?;
    for id in 1..=u16::MAX {
        assert_eq!(ring.submitter().register_personality()?, id);
    }
    assert_eq!(ring.submitter().register_personality(), Err(Errno::BUSY));
    ring.submitter().unregister_personality(77)?;
    assert_eq!(ring.submitter().register_personality()?, 77);
    Ok(())
}

fn refused(ring: &mut dyn Ring) -> Result {
    assert_eq!(ring.submitter().unregister_personality(1), Err(Errno::INVAL));
    let personality = ring.submitter().register_personality()?;
    let run = |ring: &mut dyn Ring, personality| {
        // SAFETY: a NOP uses no memory and no descriptor.
        unsafe { ring.run(nop(0).personality(personality)) }.map(|done| done.to_result())
    };
    assert_eq!(run(ring, personality)?, Ok(0));
    assert_eq!(run(ring, personality + 1)?, Err(Errno::INVAL));
    ring.submitter().unregister_personality(personality)?;
    assert_eq!(run(ring, personality)?, Err(Errno::INVAL));
    Ok(())
}
