//! The register operations, in files named like those of the crate.

pub(crate) mod probe;
pub(crate) mod ring;
