//! The needs of cases. The harness finds out by asking or trying whether a need is met, never by
//! comparing kernel versions.

use std::fs::File;

use anyhow::Context;
use rustix::thread::{CapabilitySet, capabilities};
use rustix_uring::{Errno, Features, IoUring, SetupFlags};

use super::kernel::{RESTRICTED, last_register_op, opcode_name, probe, register_op_name};
use super::outcome::Result;
use super::setup::{refusal, with};

/// Something that the kernel or the machine may lack.
pub(crate) enum Need {
    /// An operation that the probe reports. The case must submit it.
    Opcode(u8),
    /// A register operation, by its `IORING_REGISTER_*` number, that a restricted ring knows.
    Register(u32),
    /// A feature that the setup of a ring reports.
    Feature(Features),
    /// Setup flags. The need is met if the kernel sets up a ring with exactly these flags.
    RingWith(SetupFlags),
    /// A privilege of the process.
    Capability(CapabilitySet),
    /// A device that can be opened.
    Device(&'static str),
    /// Something that a check function can detect.
    Found { what: &'static str, look: fn() -> Result<bool> },
    /// The absence of a bug that some kernels have. The check function detects the bug. The matrix
    /// recognizes the reason by its prefix.
    Sound { bug: &'static str, look: fn() -> Result<bool> },
    /// A call that fails with exactly this errno if something is missing.
    Trial { what: &'static str, refusal: Errno, call: fn() -> Result },
}

impl Need {
    /// The reason why the need is not met, if so. An error is one that a missing feature does not
    /// explain.
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
                (names.join(" "), (!missing.is_empty()).then_some("the setup"))
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
                (what.into(), (!look().context(what)?).then_some("a check"))
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
        Ok(missing.map(|by| format!("{what} is missing, according to {by}")))
    }
}
