//! Networking: busy polling.

use rustix::io;

use crate::handle::Handle;
use crate::submit::Submitter;
use crate::sys::io_uring_napi_op::{self, *};
use crate::sys::io_uring_register_op::*;
use crate::types::Napi;

/// # Busy polling
impl<H: Handle> Submitter<'_, H> {
    /// Polls network devices instead of waiting for their interrupts (`IORING_REGISTER_NAPI`), as
    /// `napi` says. The setting that held before stands there afterwards. Since Linux 6.9.
    ///
    /// # Errors
    ///
    /// EINVAL on older kernels, on kernels built without busy polling, on rings with
    /// [`setup_iopoll`](crate::Builder::setup_iopoll), or for a setting that the kernel does not
    /// know; [`NapiTracking::INACTIVE`](crate::types::NapiTracking::INACTIVE) is none to ask for.
    pub fn register_napi(&self, napi: &mut Napi) -> io::Result<()> {
        napi.set_operation(IO_URING_NAPI_REGISTER_OP, None);
        // SAFETY: the kernel reads and writes the struct, in which there are no addresses.
        unsafe { self.register_struct(IORING_REGISTER_NAPI, napi, 1) }.map(drop)
    }

    /// Stops polling (`IORING_UNREGISTER_NAPI`). The times that held before stand in `napi`
    /// afterwards, but not the tracking. Since Linux 6.9.
    ///
    /// # Errors
    ///
    /// As of [`register_napi`](Self::register_napi).
    pub fn unregister_napi(&self, napi: &mut Napi) -> io::Result<()> {
        // SAFETY: the kernel writes the struct.
        unsafe { self.register_struct(IORING_UNREGISTER_NAPI, napi, 1) }.map(drop)
    }

    /// Adds a device queue, by its NAPI id (`SO_INCOMING_NAPI_ID` of a socket), to those that are
    /// polled with [`NapiTracking::STATIC`](crate::types::NapiTracking::STATIC). Since Linux 6.13.
    ///
    /// # Errors
    ///
    /// EEXIST if it is there already; EINVAL if it is no id, the tracking is not static, or on
    /// older kernels.
    pub fn register_napi_add_id(&self, napi_id: u32) -> io::Result<()> {
        self.napi_id(IO_URING_NAPI_STATIC_ADD_ID, napi_id)
    }

    /// Takes a device queue out again. Since Linux 6.13.
    ///
    /// # Errors
    ///
    /// ENOENT if it is not there; else as of
    /// [`register_napi_add_id`](Self::register_napi_add_id).
    pub fn register_napi_del_id(&self, napi_id: u32) -> io::Result<()> {
        self.napi_id(IO_URING_NAPI_STATIC_DEL_ID, napi_id)
    }

    fn napi_id(&self, operation: io_uring_napi_op, napi_id: u32) -> io::Result<()> {
        let mut napi = Napi::new();
        napi.set_operation(operation, Some(napi_id));
        // SAFETY: the kernel reads the struct, in which there are no addresses.
        unsafe { self.register_struct(IORING_REGISTER_NAPI, &mut napi, 1) }.map(drop)
    }
}
