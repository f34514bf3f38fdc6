//! Registered credentials.

use core::ptr;

use rustix::io::{self, Errno};

use crate::handle::Handle;
use crate::submit::Submitter;
use crate::sys::io_uring_register_op::*;

/// # Credentials
impl<H: Handle> Submitter<'_, H> {
    /// Registers the credentials that this task has now, for entries to act with
    /// ([`personality`](crate::squeue::Entry::personality)) whatever the task's then are
    /// (`IORING_REGISTER_PERSONALITY`). Since Linux 5.6.
    ///
    /// # Result
    ///
    /// Their number, never 0.
    ///
    /// # Errors
    ///
    /// EBUSY when there are 65535; ENOMEM if memory is short.
    pub fn register_personality(&self) -> io::Result<u16> {
        let id = self.register_nothing(IORING_REGISTER_PERSONALITY)?;
        u16::try_from(id).map_err(|_| Errno::OVERFLOW)
    }

    /// Forgets registered credentials (`IORING_UNREGISTER_PERSONALITY`). Since Linux 5.6.
    ///
    /// # Errors
    ///
    /// EINVAL if the number is none's.
    pub fn unregister_personality(&self, personality: u16) -> io::Result<()> {
        // SAFETY: the kernel gets no address: the number stands where others have a count.
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
