//! Compares the kernel's answers to queries with its actual behavior.

use rustix_uring::sys::IORING_REGISTER_QUERY;
use rustix_uring::{Errno, IoUring, Probe, Query, SetupFlags};

use crate::harness::Need::*;
use crate::harness::*;

const QUERY: Need = Register(IORING_REGISTER_QUERY);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("opcodes", &[QUERY], opcodes),
    Case::once("setup_flags", &[QUERY], setup_flags),
    Case::kinds("headers", &[QUERY], headers),
    Case::once("without_ring", &[QUERY], without_ring),
    Case::once("without_query", &[], without_query),
];

/// Numbers and flags equal those that the probe and the ring's own setup report.
fn opcodes(ring: &mut dyn Ring) -> Result {
    let query = ring.submitter().register_query()?;
    let opcodes = query.opcodes().expect("the kernel does not answer the first query");
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    assert_eq!(opcodes.opcodes(), u32::from(probe.last_op()) + 1);
    assert!(opcodes.register_opcodes() > IORING_REGISTER_QUERY);
    let last = Register(opcodes.register_opcodes() - 1).missing()?;
    let next = Register(opcodes.register_opcodes()).missing()?;
    assert_eq!((last.is_none(), next.is_none()), (true, false));
    assert_eq!(opcodes.features(), ring.params().features());
    assert!(opcodes.setup_flags().contains(ring.params().setup_flags()));
    assert!(opcodes.sqe_flags().contains(rustix_uring::squeue::Flags::SKIP_SUCCESS));
    assert!(opcodes.enter_flags().contains(rustix_uring::EnterFlags::EXT_ARG_REG));
    // The number of queries that were answered.
    let answered = [query.zcrx().is_some(), query.scq().is_some(), query.zcrx_event().is_some()];
    let answered = 1 + answered.iter().filter(|it| **it).count() as u32;
    assert_eq!(opcodes.query_opcodes(), answered, "{query:?}");
    Ok(())
}

/// The kernel supports a kind of ring exactly if it reports the flags of that kind.
fn setup_flags() -> Result {
    let known = IoUring::new(1)?.submitter().register_query()?;
    let known = known.opcodes().expect("the kernel does not answer the first query").setup_flags();
    for kind in KINDS {
        let built = kind.build(&Setup::USUAL);
        match (known.contains(kind.flags), built) {
            (true, Ok(_)) => {}
            (false, Err(e)) => assert_eq!(e, Errno::INVAL, "{}", kind.name),
            (known, built) => panic!("{}: known {known}, {:?}", kind.name, built.err()),
        }
    }
    let unknown = SetupFlags::from_bits_retain(1 << 31);
    assert!(!known.intersects(unknown));
    Ok(())
}

/// The headers at the start of the ring memory are as the setup of the ring reports.
fn headers(ring: &mut dyn Ring) -> Result {
    let query = ring.submitter().register_query()?;
    if let Some(scq) = query.scq() {
        let cqes = raw(ring.params()).cq_off.cqes;
        assert_eq!(scq.header_size(), u64::from(cqes));
        assert_eq!(scq.header_size() % scq.header_alignment(), 0);
    }
    if let Some(zcrx) = query.zcrx() {
        assert!(zcrx.refill_header_alignment().is_power_of_two(), "{zcrx:?}");
        assert!(zcrx.refill_header_size() >= 8, "{zcrx:?}");
        assert_ne!(zcrx.control_opcodes(), 0);
    }
    if let Some(events) = query.zcrx_event() {
        assert_eq!(events.stats_size() as usize, size_of::<rustix_uring::zcrx::Stats>());
        assert!(events.stats_alignment() <= 64, "{events:?}");
    }
    Ok(())
}

fn without_ring() -> Result {
    let (with, without) = (IoUring::new(1)?.submitter().register_query()?, Query::without_ring()?);
    assert_eq!(format!("{with:?}"), format!("{without:?}"));
    Ok(())
}

/// Kernels without queries reject them.
fn without_query() -> Result {
    let (asked, alone) = (IoUring::new(1)?.submitter().register_query(), Query::without_ring());
    if QUERY.missing()?.is_none() {
        assert!(asked.is_ok() && alone.is_ok());
    } else {
        assert_eq!(asked.err(), Some(Errno::INVAL));
        let refusal = alone.err();
        assert!(matches!(refusal, Some(Errno::INVAL | Errno::BADF)), "{refusal:?}");
    }
    Ok(())
}
