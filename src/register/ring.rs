//! The ring itself: enabling it, and its clock.

use rustix::io;

use crate::handle::Handle;
use crate::submit::Submitter;
use crate::sys::{io_uring_clock_register, io_uring_register_op::*};
use crate::types::ClockId;

/// # The ring
impl<H: Handle> Submitter<'_, H> {
    /// Enables a ring that [started disabled](crate::Builder::setup_r_disabled)
    /// (`IORING_REGISTER_ENABLE_RINGS`). Since Linux 5.10.
    ///
    /// On rings with [`setup_single_issuer`](crate::Builder::setup_single_issuer), only the calling
    /// task may submit from now on.
    ///
    /// # Errors
    ///
    /// EBADFD if the ring is not disabled.
    pub fn register_enable_rings(&self) -> io::Result<()> {
        self.register_nothing(IORING_REGISTER_ENABLE_RINGS).map(drop)
    }

    /// Sets the clock for waits with a timeout (`IORING_REGISTER_CLOCK`). Since Linux 6.12.
    ///
    /// `clock` is `CLOCK_MONOTONIC`, which is the default, or `CLOCK_BOOTTIME`.
    ///
    /// # Errors
    ///
    /// EINVAL for another clock, or on older kernels.
    pub fn register_clock(&self, clock: ClockId) -> io::Result<()> {
        let mut arg = io_uring_clock_register { clockid: clock as u32, __resv: [0; 3] };
        // SAFETY: the kernel reads the struct, which contains no addresses.
        unsafe { self.register_struct(IORING_REGISTER_CLOCK, &mut arg, 0) }.map(drop)
    }
}
