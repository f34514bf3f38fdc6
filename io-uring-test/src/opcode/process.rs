//! Waiting for child processes.

use rustix::process::{Pid, PidfdFlags, Signal, getuid, kill_process, pidfd_open};
use rustix_uring::Errno;
use rustix_uring::opcode::WaitId;
use rustix_uring::types::{Cld, IdType, SigInfo, WaitIdOptions};
use std::os::fd::AsRawFd;

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("waitid_exited", &[Opcode(WaitId::CODE)], waitid_exited),
    Case::kinds("waitid_killed", &[Opcode(WaitId::CODE)], waitid_killed),
    Case::kinds("waitid_by_pidfd", &[Opcode(WaitId::CODE)], waitid_by_pidfd),
    Case::kinds("waitid_any_child", &[Opcode(WaitId::CODE)], waitid_any_child),
    Case::kinds("waitid_refused", &[Opcode(WaitId::CODE)], waitid_refused),
];

const EXITED: WaitIdOptions = WaitIdOptions::EXITED;

/// A child that exits with this status. Without a status, it waits until it is killed.
fn child(status: Option<i32>) -> Result<Pid> {
    // SAFETY: the child calls only functions that are allowed after a fork.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        match status {
            // SAFETY: `_exit` has no preconditions.
            Some(status) => unsafe { libc::_exit(status) },
            None => loop {
                // SAFETY: `pause` has no preconditions.
                unsafe { libc::pause() };
            },
        }
    }
    Pid::from_raw(pid).ok_or_else(|| std::io::Error::last_os_error().into())
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get() as u32
}

/// Waits for a child, and returns the result and the information about it.
fn wait(ring: &mut dyn Ring, wait: WaitId) -> Result<(Result<u32, Errno>, SigInfo)> {
    let mut info = SigInfo::new();
    // SAFETY: `info` outlives the operation, for which `run` waits.
    let done = unsafe { ring.run(wait.infop(&raw mut info).build()) }?;
    Ok((done.to_result(), info))
}

fn waitid_exited(ring: &mut dyn Ring) -> Result {
    let pid = child(Some(7))?;
    let wait_for = |options| WaitId::new(IdType::PID, number(pid), options);
    // The first wait leaves the child waitable, and the second reaps it.
    for options in [EXITED | WaitIdOptions::NOWAIT, EXITED] {
        let (result, info) = wait(ring, wait_for(options))?;
        assert_eq!(result, Ok(0));
        assert_eq!(info.signo(), libc::SIGCHLD);
        assert_eq!((info.code(), info.status()), (Cld::EXITED, 7));
        assert_eq!((info.pid() as u32, info.uid()), (number(pid), getuid().as_raw()));
        assert_eq!(info.errno(), 0);
    }
    assert_eq!(wait(ring, wait_for(EXITED))?.0, Err(Errno::CHILD));
    Ok(())
}

/// The child still runs when the wait begins.
fn waitid_killed(ring: &mut dyn Ring) -> Result {
    let pid = child(None)?;
    let wait_for = |options| WaitId::new(IdType::PID, number(pid), options);
    // There is nothing to report yet.
    let (result, info) = wait(ring, wait_for(EXITED | WaitIdOptions::NOHANG))?;
    assert_eq!((result, info.signo()), (Ok(0), 0));

    let mut info = SigInfo::new();
    // SAFETY: `info` outlives the operation, whose completion is awaited.
    unsafe { ring.push(&[wait_for(EXITED).infop(&raw mut info).build()]) }?;
    ring.submit()?;
    assert!(ring.reap().is_empty());
    kill_process(pid, Signal::KILL)?;
    assert_eq!(ring.complete(1)?[0].to_result(), Ok(0));
    assert_eq!((info.code(), info.status()), (Cld::KILLED, libc::SIGKILL));
    Ok(())
}

fn waitid_by_pidfd(ring: &mut dyn Ring) -> Result {
    let pid = child(Some(3))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let child = WaitId::new(IdType::PIDFD, pidfd.as_raw_fd() as u32, EXITED);
    let (result, info) = wait(ring, child)?;
    assert_eq!((result, info.pid() as u32, info.status()), (Ok(0), number(pid), 3));
    Ok(())
}

/// The wait has no place for the information.
fn waitid_any_child(ring: &mut dyn Ring) -> Result {
    child(Some(3))?;
    let any = WaitId::new(IdType::ALL, 0, EXITED).build();
    // SAFETY: the entry points to no memory.
    assert_eq!(unsafe { ring.run(any) }?.to_result(), Ok(0));
    Ok(())
}

fn waitid_refused(ring: &mut dyn Ring) -> Result {
    let refusals = [
        (WaitId::new(IdType::ALL, 0, EXITED), Errno::CHILD),
        (WaitId::new(IdType::PID, number(rustix::process::getpid()), EXITED), Errno::CHILD),
        (WaitId::new(IdType::ALL, 0, WaitIdOptions::empty()), Errno::INVAL),
        (WaitId::new(IdType(99), 0, EXITED), Errno::INVAL),
        (WaitId::new(IdType::PIDFD, u32::MAX, EXITED), Errno::INVAL),
    ];
    for (n, (refused, errno)) in refusals.into_iter().enumerate() {
        assert_eq!(wait(ring, refused)?.0, Err(errno), "{n}");
    }
    Ok(())
}
