//! Whether io_uring is available at all.

use std::thread;

use rustix::process::Resource;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use rustix_uring::{Availability, Errno, IoUring, availability};

use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::once("available", &[], available),
    Case::once("forbidden", &[], || filtered(libc::EPERM, Availability::Forbidden)),
    Case::once("access_forbidden", &[], || filtered(libc::EACCES, Availability::Forbidden)),
    Case::once("absent", &[], || filtered(libc::ENOSYS, Availability::Absent)),
    Case::once("out_of_memory", &[], || filtered(libc::ENOMEM, Availability::OutOfMemory)),
    Case::once("memlock", &[], memlock),
    Case::once("something_else", &[], || filtered(libc::EIO, Availability::Failed(Errno::IO))),
];

fn available() -> Result {
    assert_eq!(availability(), Availability::Available);
    Ok(())
}

/// Runs in a thread where a filter makes the setup fail with this errno, as containers do.
fn filtered(errno: i32, expected: Availability) -> Result {
    let inside = move || -> Result {
        seccomp::answer(libc::SYS_io_uring_setup, errno)?;
        assert_eq!(availability(), expected);
        let refused = IoUring::new(1).err().map(Errno::raw_os_error);
        assert_eq!(refused, Some(errno));
        Ok(())
    };
    thread::spawn(inside).join().expect("the thread panicked")?;
    // Other threads are not affected.
    available()
}

/// On kernels before 5.12, and on some later ones, rings count as locked memory, of which an
/// unprivileged process may have little. If the limit is the reason, `availability` reports it.
fn memlock() -> Result {
    let unprivileged = || -> Result<(Availability, Option<Errno>)> {
        let mut sets = capabilities(None)?;
        sets.effective.remove(CapabilitySet::IPC_LOCK);
        set_capabilities(None, sets)?;
        Ok((availability(), IoUring::new(1).err()))
    };
    let joined = limited(Resource::Memlock, 0, || thread::spawn(unprivileged).join())?;
    let (there, refusal) = joined.expect("the thread panicked")?;
    match there {
        Availability::OutOfMemory => assert_eq!(refusal, Some(Errno::NOMEM)),
        _ => {
            assert_eq!((there, refusal), (Availability::Available, None));
            assert!(IoUring::new(1)?.params().is_feature_native_workers());
        }
    }
    // Under the usual limit, there is room for a small ring.
    let usual = thread::spawn(unprivileged).join().expect("the thread panicked")?;
    assert_eq!(usual, (Availability::Available, None));
    Ok(())
}
