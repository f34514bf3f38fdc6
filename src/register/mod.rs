//! What the kernel keeps for a ring, or tells of it: `io_uring_register(2)`, one topic a file.

mod probe;
mod ring;

use core::ffi::c_void;

use rustix::io;

use crate::local::Handle;
use crate::submit::Submitter;
use crate::sys::io_uring_register_op;
use crate::syscall;

impl<H: Handle> Submitter<'_, H> {
    /// The one register call.
    ///
    /// # Safety
    ///
    /// `arg` and `nr_args` are what the kernel expects for `op`: everything it reads or writes is
    /// valid for the call, and what it keeps stays valid for as long as it keeps it.
    unsafe fn register(
        &self,
        op: io_uring_register_op,
        arg: *mut c_void,
        nr_args: u32,
    ) -> io::Result<u32> {
        // SAFETY: the caller vouches for `arg`.
        unsafe { syscall::register(self.handle.register_name(), op as u32, arg, nr_args) }
    }
}
