//! What a case may need, and how that is found out: by asking or trying, never by a version.

use std::fs::File;

use anyhow::Context;
use rustix::thread::{CapabilitySet, capabilities};
use rustix_uring::{Errno, Features, IoUring, SetupFlags};

use super::kernel::{RESTRICTED, last_register_op, opcode_name, probe, register_op_name};
use super::outcome::Result;
use super::setup::{refusal, with};

/// Something that the kernel or the machine may lack.
pub(crate) enum Need {
    /// An operation, as the probe tells. The case is to submit it.
    Opcode(u8),
    /// A register operation, an `IORING_REGISTER_*` number, as a restricted ring tells.
    Register(u32),
    /// A feature, as the setup of a ring tells.
    Feature(Features),
    /// Setup flags, as the setup of a ring tells that has no others.
    RingWith(SetupFlags),
    /// A privilege of the process.
    Capability(CapabilitySet),
    /// A device that can be opened.
    Device(&'static str),
    /// Something that a look tells.
    Found { what: &'static str, look: fn() -> Result<bool> },
    /// That a bug of some kernels, for which a look tells, is not there. The matrix knows these
    /// reasons by how they begin.
    Sound { bug: &'static str, look: fn() -> Result<bool> },
    /// A call that fails with just this errno where something is missing.
    Trial { what: &'static str, refusal: Errno, call: fn() -> Result },
}

impl Need {
    /// Why it is not there, if it is not. An error is one that absence does not explain.
    pub(crate) fn missing(&self) -> Result<Option<String>> {
        let (what, missing) = match *self {
            Self::Opcode(code) => {
                (opcode_name(code), (!probe()?.is_supported(code)).then_some("the probe"))
            }
            Self::Register(op) => {
                let absent = last_register_op()?.is_some_and(|last| op > last);
                (register_op_name(op), absent.then_some(RESTRICTED))
            }
            Self::Feature(feature) => {
                let missing = feature.difference(IoUring::new(1)?.params().features());
                let names: Vec<_> = missing.iter_names().map(|(name, _)| name).collect();
                (names.join(" "), (!missing.is_empty()).then_some("the setup of a ring"))
            }
            Self::RingWith(flags) => {
                let refusal = refusal(flags)?;
                return Ok(refusal.map(|e| format!("setup {}: {e}", with(flags))));
            }
            Self::Capability(capability) => {
                let effective = capabilities(None)?.effective;
                (format!("{capability:?}"), (!effective.contains(capability)).then_some("capget"))
            }
            Self::Device(path) => {
                let opened = File::open(path);
                return match opened {
                    Ok(_) => Ok(None),
                    Err(e) => Ok(Some(format!("{path}: {e}"))),
                };
            }
            Self::Found { what, look } => {
                (what.into(), (!look().context(what)?).then_some("a look"))
            }
            Self::Sound { bug, look } => {
                return Ok(look().context(bug)?.then(|| format!("a bug of this kernel: {bug}")));
            }
            Self::Trial { what, refusal, call } => {
                return match call() {
                    Ok(()) => Ok(None),
                    Err(e) if e.downcast_ref() == Some(&refusal) => {
                        Ok(Some(format!("{what}: {e}")))
                    }
                    Err(e) => Err(e).context(what),
                };
            }
        };
        Ok(missing.map(|by| format!("{what} is not there, says {by}")))
    }
}
