//! Asking which operations there are.

use rustix_uring::squeue::{Entry, Sqe};
use rustix_uring::sys::io_uring_register_op::IORING_REGISTER_PROBE;
use rustix_uring::{Errno, Probe, opcode};

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] =
    &[Case::kinds("register_probe", &[Register(IORING_REGISTER_PROBE as u32)], register_probe)];

/// What it says is there, is there, and the number behind the last is not.
fn register_probe(ring: &mut dyn Ring) -> Result {
    let mut probe = Probe::new();
    assert!(!probe.is_supported(opcode::Nop::CODE));
    // What is in there already makes no difference.
    for _ in 0..2 {
        ring.submitter().register_probe(&mut probe)?;
    }
    assert!(probe.is_supported(opcode::Nop::CODE));
    assert!(probe.last_op() >= opcode::Statx::CODE);
    for code in probe.last_op() + 1..=u8::MAX {
        assert!(!probe.is_supported(code), "{code}");
        let entry = Entry::from_raw(Sqe { opcode: code, ..Sqe::ZERO });
        // SAFETY: what is no operation uses no memory and no descriptor.
        let done = unsafe { ring.run(entry) }?;
        assert_eq!(done.to_result(), Err(Errno::INVAL), "{code}");
    }
    Ok(())
}
