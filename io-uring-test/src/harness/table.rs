//! What a ring has registered, for cases whose subject is an operation.

use std::os::fd::RawFd;

use rustix::io_uring::{IoringRegisterOp, io_uring_register};
use rustix_uring::types::iovec;

use super::{Result, Ring};

/// Registers these files; -1 is an empty slot.
pub(crate) fn register_files(ring: &dyn Ring, files: &[RawFd]) -> Result {
    let (op, len) = (IoringRegisterOp::RegisterFiles, files.len() as u32);
    // SAFETY: the kernel reads the list, and holds the files on its own.
    unsafe { io_uring_register(ring.as_fd(), op, files.as_ptr().cast(), len) }?;
    Ok(())
}

/// Registers these buffers.
///
/// # Safety
///
/// They are memory that outlives the ring's operations.
pub(crate) unsafe fn register_buffers(ring: &dyn Ring, buffers: &[iovec]) -> Result {
    let (op, len) = (IoringRegisterOp::RegisterBuffers, buffers.len() as u32);
    // SAFETY: the kernel reads the list, and holds the memory's pages on its own.
    unsafe { io_uring_register(ring.as_fd(), op, buffers.as_ptr().cast(), len) }?;
    Ok(())
}
