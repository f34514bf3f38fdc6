//! The register operations, in files named like those of the crate. For each operation, the cases
//! test its effect and what it rejects.

pub(crate) mod buf_ring;
pub(crate) mod buffers;
pub(crate) mod eventfd;
pub(crate) mod files;
pub(crate) mod net;
pub(crate) mod personality;
pub(crate) mod probe;
pub(crate) mod region;
pub(crate) mod resize;
pub(crate) mod restrict;
pub(crate) mod ring;
pub(crate) mod sync;
pub(crate) mod workers;
