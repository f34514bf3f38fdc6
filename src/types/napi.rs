//! Busy polling of network devices.

use core::fmt;

use crate::sys::{io_uring_napi, io_uring_napi_op, io_uring_napi_tracking_strategy::*};

/// Which device queues a ring busy-polls: the `IO_URING_NAPI_TRACKING_*` numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct NapiTracking(u32);

impl NapiTracking {
    /// The ring polls the queues of the sockets that its requests have polled. Since Linux 6.9.
    pub const DYNAMIC: Self = Self(IO_URING_NAPI_TRACKING_DYNAMIC as u32);
    /// The ring polls only the queues that were [added](crate::Submitter::register_napi_add_id).
    /// Since Linux 6.13.
    pub const STATIC: Self = Self(IO_URING_NAPI_TRACKING_STATIC as u32);
    /// The ring polls no queues. This is the default if nothing is registered.
    pub const INACTIVE: Self = Self(IO_URING_NAPI_TRACKING_INACTIVE as u32);

    /// Creates a value from the kernel's number.
    pub const fn from_raw(number: u32) -> Self {
        Self(number)
    }

    /// Returns the kernel's number.
    pub const fn into_raw(self) -> u32 {
        self.0
    }
}

/// The busy polling of a ring: `struct io_uring_napi`. Since Linux 6.9.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Napi(io_uring_napi);

impl Default for Napi {
    fn default() -> Self {
        Self::new()
    }
}

impl Napi {
    /// Creates a value that disables polling.
    pub const fn new() -> Self {
        Self(io_uring_napi {
            busy_poll_to: 0,
            prefer_busy_poll: 0,
            opcode: 0,
            pad: [0; 2],
            op_param: 0,
            resv: 0,
        })
    }

    /// Sets the number of microseconds to poll before a wait sleeps.
    #[must_use]
    pub const fn set_busy_poll_timeout(mut self, microseconds: u32) -> Self {
        self.0.busy_poll_to = microseconds;
        self
    }

    /// Sets whether interrupts are suppressed while polling continues (`SO_PREFER_BUSY_POLL`).
    #[must_use]
    pub const fn set_prefer_busy_poll(mut self, prefer: bool) -> Self {
        self.0.prefer_busy_poll = prefer as u8;
        self
    }

    /// Sets the device queues to poll.
    #[must_use]
    pub const fn set_tracking(mut self, tracking: NapiTracking) -> Self {
        self.0.op_param = tracking.0;
        self
    }

    /// Returns the number of microseconds to poll.
    pub const fn busy_poll_timeout(&self) -> u32 {
        self.0.busy_poll_to
    }

    /// Returns whether interrupts are suppressed.
    pub const fn prefer_busy_poll(&self) -> bool {
        self.0.prefer_busy_poll != 0
    }

    /// Returns the device queues to poll.
    pub const fn tracking(&self) -> NapiTracking {
        NapiTracking(self.0.op_param)
    }

    /// Sets the operation, and its parameter if that is not the tracking.
    pub(crate) const fn set_operation(
        &mut self,
        operation: io_uring_napi_op,
        parameter: Option<u32>,
    ) {
        self.0.opcode = operation as u8;
        if let Some(parameter) = parameter {
            self.0.op_param = parameter;
        }
    }
}

impl fmt::Debug for Napi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Napi")
            .field("busy_poll_timeout", &self.busy_poll_timeout())
            .field("prefer_busy_poll", &self.prefer_busy_poll())
            .field("tracking", &self.tracking())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::transmute;
    use std::format;

    #[test]
    fn unknown_numbers_print() {
        // SAFETY: the struct consists only of integers, for which every byte is valid.
        let ones: Napi = unsafe { transmute([0xff_u8; size_of::<Napi>()]) };
        assert!(format!("{ones:?}").contains("4294967295"));
        assert_eq!(ones.tracking().into_raw(), u32::MAX);
        assert!(ones.prefer_busy_poll());
    }

    #[test]
    fn set_operation_keeps_the_other_fields() {
        let mut napi = Napi::new().set_busy_poll_timeout(5).set_tracking(NapiTracking::STATIC);
        napi.set_operation(io_uring_napi_op::IO_URING_NAPI_REGISTER_OP, None);
        assert_eq!((napi.0.opcode, napi.0.op_param, napi.0.busy_poll_to), (0, 1, 5));
        napi.set_operation(io_uring_napi_op::IO_URING_NAPI_STATIC_ADD_ID, Some(8));
        assert_eq!((napi.0.opcode, napi.0.op_param), (1, 8));
    }
}
