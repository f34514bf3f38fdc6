//! Probes, and other ways to query the kernel.

use rustix_uring::sys::{IORING_REGISTER_QUERY, io_uring_register_op::*};
use rustix_uring::{Errno, Probe, opcode, sys};

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("probe", &[Register(IORING_REGISTER_PROBE as u32)], probe),
    Case::kinds("probe_refused", &[Register(IORING_REGISTER_PROBE as u32)], probe_refused),
    Case::kinds("query_refused", &[Register(IORING_REGISTER_QUERY)], query_refused),
];

/// The probe agrees with the actual behavior of the kernel.
fn probe(ring: &mut dyn Ring) -> Result {
    let mut probe = Probe::new();
    assert!(!probe.is_supported(opcode::Nop::CODE));
    ring.submitter().register_probe(&mut probe)?;
    // Probes again, into a probe that is already filled.
    ring.submitter().register_probe(&mut probe)?;
    assert!(probe.is_supported(opcode::Nop::CODE) && probe.is_supported(opcode::Read::CODE));
    assert!(!probe.is_supported(probe.last_op() + 1));
    let absent = (0..=255).filter(|&op| !probe.is_supported(op));
    for op in absent {
        // SAFETY: the kernel rejects the operation because of its number.
        let done = unsafe { ring.run(nop_with_opcode(op)) }?;
        assert!(matches!(done.to_result(), Err(Errno::INVAL | Errno::OPNOTSUPP)), "{op}: {done:?}");
    }
    Ok(())
}

fn nop_with_opcode(op: u8) -> rustix_uring::squeue::Entry {
    let mut nop = nop(0);
    nop.as_raw_mut().opcode = op;
    nop
}

fn probe_refused(ring: &mut dyn Ring) -> Result {
    let op = IORING_REGISTER_PROBE as u32;
    let mut memory = [0_u64; 300];
    let arg = memory.as_mut_ptr().cast();
    // SAFETY: the kernel rejects these calls, and their output would fit the memory.
    unsafe {
        assert_eq!(register(ring.as_fd(), op, arg, 257), Err(Errno::INVAL));
        assert_eq!(register(ring.as_fd(), op, std::ptr::null_mut(), 1), Err(Errno::INVAL));
        arg.cast::<u64>().write(1);
        assert_eq!(register(ring.as_fd(), op, arg, 256), Err(Errno::INVAL));
    }
    Ok(())
}

fn query_refused(ring: &mut dyn Ring) -> Result {
    let mut hdr = sys::io_uring_query_hdr { query_op: 1 << 20, ..Default::default() };
    let arg = (&raw mut hdr).cast();
    // SAFETY: the kernel reads and writes one header, which contains no addresses.
    unsafe {
        assert_eq!(register(ring.as_fd(), IORING_REGISTER_QUERY, arg, 1), Err(Errno::INVAL));
        assert_eq!(register(ring.as_fd(), IORING_REGISTER_QUERY, arg, 0), Ok(0));
    }
    // An unknown query is answered in the header.
    assert_eq!(hdr.result, -Errno::OPNOTSUPP.raw_os_error());
    Ok(())
}
