//! Busy polling of network devices.

use rustix::io;

use crate::handle::Handle;
use crate::submit::Submitter;
use crate::sys::io_uring_napi_op::{self, *};
use crate::sys::io_uring_register_op::*;
use crate::types::Napi;

/// # Busy polling
impl<H: Handle> Submitter<'_, H> {
    /// Makes waits poll network devices instead of waiting for their interrupts
    /// (`IORING_REGISTER_NAPI`). Since Linux 6.9.
    ///
    /// `napi` has the new setting. On return, it has the previous one.
    ///
    /// # Errors
    ///
    /// EINVAL on older kernels, on kernels built without busy polling, on rings with
    /// [`setup_iopoll`](crate::Builder::setup_iopoll), for a setting that the kernel does not know,
    /// or for [`NapiTracking::INACTIVE`](crate::types::NapiTracking::INACTIVE), which you cannot
    /// request.
    pub fn register_napi(&self, napi: &mut Napi) -> io::Result<()> {
        napi.set_operation(IO_URING_NAPI_REGISTER_OP, None);
        // SAFETY: the kernel reads and writes the struct, which contains no addresses.
        unsafe { self.register_struct(IORING_REGISTER_NAPI, napi, 1) }.map(drop)
    }

    /// Stops busy polling (`IORING_UNREGISTER_NAPI`). Since Linux 6.9.
    ///
    /// On return, `napi` has the previous busy poll time and preference. Its tracking is not the
    /// previous one.
    ///
    /// # Errors
    ///
    /// Same errors as [`register_napi`](Self::register_napi).
    pub fn unregister_napi(&self, napi: &mut Napi) -> io::Result<()> {
        // SAFETY: the kernel writes the struct.
        unsafe { self.register_struct(IORING_UNREGISTER_NAPI, napi, 1) }.map(drop)
    }

    /// Adds a device queue to those that are polled with
    /// [`NapiTracking::STATIC`](crate::types::NapiTracking::STATIC). Since Linux 6.13.
    ///
    /// `napi_id` is the NAPI ID of the queue, which a socket reports as `SO_INCOMING_NAPI_ID`.
    ///
    /// # Errors
    ///
    /// EEXIST if the queue was added already; EINVAL if `napi_id` is not a valid ID, if the
    /// tracking is not static, or on older kernels.
    pub fn register_napi_add_id(&self, napi_id: u32) -> io::Result<()> {
        self.napi_id(IO_URING_NAPI_STATIC_ADD_ID, napi_id)
    }

    /// Removes a device queue from those that are polled. Since Linux 6.13.
    ///
    /// # Errors
    ///
    /// ENOENT if the queue was not added; EINVAL as with
    /// [`register_napi_add_id`](Self::register_napi_add_id).
    pub fn register_napi_del_id(&self, napi_id: u32) -> io::Result<()> {
        self.napi_id(IO_URING_NAPI_STATIC_DEL_ID, napi_id)
    }

    fn napi_id(&self, operation: io_uring_napi_op, napi_id: u32) -> io::Result<()> {
        let mut napi = Napi::new();
        napi.set_operation(operation, Some(napi_id));
        // SAFETY: the kernel reads the struct, which contains no addresses.
        unsafe { self.register_struct(IORING_REGISTER_NAPI, &mut napi, 1) }.map(drop)
    }
}
