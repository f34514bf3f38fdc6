//! Memory whose first access blocks. A worker thread that reads into it cannot be interrupted.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::mm::{UserfaultfdFlags, userfaultfd};

use super::memory::Pages;
use super::need::Need;
use super::outcome::Result;

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

const API: u64 = 0xaa;
const MISSING: u64 = 1;

/// The ioctl number of a userfaultfd request that reads and writes a `T`.
const fn request<T>(number: u32) -> u32 {
    (3 << 30) | ((size_of::<T>() as u32) << 16) | ((API as u32) << 8) | number
}

/// Zeroed pages. The first access to each blocks until the descriptor is closed.
pub(crate) fn untouched() -> Result<(Pages, OwnedFd)> {
    let pages = Pages::new(1)?;
    // SAFETY: creating a userfaultfd affects no memory.
    let faults = unsafe { userfaultfd(UserfaultfdFlags::CLOEXEC) }?;
    let ioctl = |request: u32, arg: *mut libc::c_void| {
        // SAFETY: both requests only read and write the struct that they get.
        match unsafe { libc::ioctl(faults.as_raw_fd(), request as _, arg) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    };
    let mut api = Api { api: API, features: 0, ioctls: 0 };
    ioctl(request::<Api>(0x3f), (&raw mut api).cast())?;
    let all = pages.all();
    let start = all.cast::<u8>().as_ptr().expose_provenance() as u64;
    let mut register = Register { start, len: all.len() as u64, mode: MISSING, ioctls: 0 };
    ioctl(request::<Register>(0), (&raw mut register).cast())?;
    Ok((pages, faults))
}

pub(crate) const UNTOUCHED: Need =
    Need::Trial { what: "userfaultfd", refusal: Errno::PERM, call: || untouched().map(drop) };
