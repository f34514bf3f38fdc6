//! Registered credentials.

use core::ptr;

use rustix::io::{self, Errno};

use crate::handle::Handle;
use crate::submit::Submitter;
use crate::sys::io_uring_register_op::*;

/// # Credentials
impl<H: Handle> Submitter<'_, H> {
    /// Registers the current credentials of this task (`IORING_REGISTER_PERSONALITY`). Since Linux
    /// 5.6.
    ///
    /// Entries can run with them ([`personality`](crate::squeue::Entry::personality)), whatever
    /// credentials the task has at that time.
    ///
    /// # Result
    ///
    /// Returns the ID of the credentials, which is never 0.
    ///
    /// # Errors
    ///
    /// EBUSY if the ring has 65535 of them already; ENOMEM if memory is short.
    pub fn register_personality(&self) -> io::Result<u16> {
        let id = self.register_nothing(IORING_REGISTER_PERSONALITY)?;
        u16::try_from(id).map_err(|_| Errno::OVERFLOW)
    }

    /// Unregisters credentials (`IORING_UNREGISTER_PERSONALITY`). Since Linux 5.6.
    ///
    /// # Errors
    ///
    /// EINVAL if the ID is not registered.
    pub fn unregister_personality(&self, personality: u16) -> io::Result<()> {
        // SAFETY: the kernel gets no address. This operation takes the ID in place of the count.
        unsafe {
            self.register(
                IORING_UNREGISTER_PERSONALITY as u32,
                ptr::null_mut(),
                u32::from(personality),
            )
        }
        .map(drop)
    }
}
