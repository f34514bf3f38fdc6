//! What a case may need, and how that is found out: by asking or trying, never by a version.

use std::fs::File;
use std::sync::OnceLock;

use anyhow::{Context, bail};
use rustix::thread::{CapabilitySet, capabilities};
use rustix_uring::{Errno, Features, IoUring, Probe, SetupFlags};

use super::coverage::{RESTRICTED, last_register_op, opcode_name, register_op_name};
use super::kind::{OF_KIND, with};
use super::{KINDS, Result, Setup};

/// Something that the kernel or the machine may lack.
pub(crate) enum Need {
    /// An operation, as the probe tells. The case is to submit it.
    Opcode(u8),
    /// A register operation, an `IORING_REGISTER_*` number, as a restricted ring tells.
    Register(u32),
    /// A feature, as the setup of a ring tells.
    Feature(Features),
    /// Setup flags, as the setup of a ring tells that has nothing else. Those of a kind of ring
    /// ask for the kind.
    RingWith(SetupFlags),
    /// A privilege of the process.
    Capability(CapabilitySet),
    /// A device that can be opened.
    Device(&'static str),
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
                let features = IoUring::new(1)?.params().features();
                (format!("{feature:?}"), (!features.contains(feature)).then_some("its setup"))
            }
            Self::RingWith(flags) => return setup(flags),
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

/// Tries to set up a ring with these flags.
fn setup(flags: SetupFlags) -> Result<Option<String>> {
    let of_kind = flags.intersection(OF_KIND);
    let Some(kind) = KINDS.iter().find(|kind| kind.flags == of_kind) else {
        bail!("no kind of ring has {of_kind:?}");
    };
    let setup = Setup::new(8).flags(flags.difference(of_kind));
    let Err(e) = kind.build(&setup) else { return Ok(None) };
    match e {
        Errno::INVAL => {}
        // Before 5.11, a polling thread was a privilege.
        Errno::PERM if flags.contains(SetupFlags::SQPOLL) => {}
        _ => return Err(e).context(format!("setup {}", with(flags))),
    }
    Ok(Some(format!("setup {}: {e}", with(flags))))
}

/// What the kernel says of its operations.
pub(crate) fn probe() -> Result<&'static Probe> {
    static PROBE: OnceLock<Probe> = OnceLock::new();
    if let Some(probe) = PROBE.get() {
        return Ok(probe);
    }
    let mut probe = Probe::new();
    IoUring::new(1)?.submitter().register_probe(&mut probe).context("IORING_REGISTER_PROBE")?;
    Ok(PROBE.get_or_init(|| probe))
}
