//! Enabling and resizing a ring.

use rustix::io::dup;
use rustix::param::page_size;
use rustix::process::Resource;
use rustix_uring::opcode::{Nop, Nop128};
use rustix_uring::squeue::{self, Flags};
use rustix_uring::sys::io_uring_register_op::*;
use rustix_uring::{Errno, IoUring, SetupFlags, cqueue};

use crate::harness::Need::*;
use crate::harness::*;
use crate::opcode::ring::nop::BIG_CQE;

const DISABLED: SetupFlags = SetupFlags::R_DISABLED;
const DEFER: SetupFlags = SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN);
const RESIZABLE: Setup = Setup::new(8).flags(DEFER);
const RESIZE_RINGS: Need = Register(IORING_REGISTER_RESIZE_RINGS as u32);
const RESIZE: &[Need] = &[RingWith(DEFER), RESIZE_RINGS];
const RESIZE_BIG: &[Need] = &[RingWith(DEFER), RESIZE_RINGS, BIG_CQE];
const RESIZE_MIXED: &[Need] = &[RingWith(DEFER.union(SetupFlags::SQE_MIXED)), RESIZE_RINGS];

pub(crate) const CASES: &[Case] = &[
    Case::kinds(
        "register_enable_rings",
        &[RingWith(DISABLED), Register(IORING_REGISTER_ENABLE_RINGS as u32)],
        register_enable_rings,
    )
    .setup(Setup::USUAL.flags(DISABLED)),
    Case::kinds("resize", RESIZE, resize).setup(RESIZABLE),
    Case::kinds("resize_with_entries", RESIZE, resize_with_entries).setup(RESIZABLE),
    Case::once("resize_with_big_entries", RESIZE_MIXED, resize_with_big_entries),
    Case::kinds("resize_with_completions", RESIZE, resize_with_completions).setup(RESIZABLE),
    Case::kinds("resize_with_big_completions", RESIZE_BIG, resize_with_big_completions)
        .setup(RESIZABLE),
    Case::kinds("resize_with_overflow", RESIZE, resize_with_overflow).setup(RESIZABLE),
    Case::kinds("resize_refused", RESIZE, resize_refused).setup(RESIZABLE),
    Case::kinds("resize_elsewhere", &[], resize_elsewhere),
    Case::kinds("resize_without_room", RESIZE, resize_without_room).setup(RESIZABLE),
    Case::kinds("resize_leaves_nothing", RESIZE, resize_leaves_nothing).setup(RESIZABLE),
    Case::kinds("resize_shows_no_work", RESIZE, resize_shows_no_work).setup(RESIZABLE),
    Case::once("resize_index_array", RESIZE, resize_index_array),
    Case::kinds("resize_in_memory", RESIZE, resize_in_memory).setup(RESIZABLE),
];

fn register_enable_rings(ring: &mut dyn Ring) -> Result {
    ring.push_nops([1], Flags::empty())?;
    assert_eq!(ring.submit(), Err(Errno::BADFD));
    assert_eq!(ring.submit_and_wait(1), Err(Errno::BADFD));
    ring.submitter().register_enable_rings()?;
    assert_eq!(ring.complete(1)?[0].user_data(), 1);
    assert_eq!(ring.submitter().register_enable_rings(), Err(Errno::BADFD));
    ring.works(20)
}

/// The kernel sets flags in the new queue without a reason. On rings that cannot have the
/// corresponding work, nothing would ever clear the flags, and each `submit` would enter the kernel
/// because of them.
fn resize_shows_no_work(ring: &mut dyn Ring) -> Result {
    ring.resize(16, None)?;
    assert!(!ring.queue().taskrun());
    ring.works(3)?;
    ring.resize(8, None)?;
    assert!(!ring.queue().taskrun());
    ring.works(3)
}

fn sizes(ring: &mut dyn Ring) -> (u32, u32) {
    (ring.params().sq_entries(), ring.params().cq_entries())
}

/// The user data of these completions.
fn seen(done: &[Completion]) -> Vec<u64> {
    done.iter().map(|cqe| cqe.user_data()).collect()
}

fn resize(ring: &mut dyn Ring) -> Result {
    let flags = ring.params().setup_flags();
    for (asked, cq, expected) in [
        (16, None, (16, 32)),
        (100, None, (128, 256)),
        (2, None, (2, 4)),
        (4, Some(4), (4, 4)),
        (2, Some(1000), (2, 1024)),
        (1024, Some(32768), (1024, 32768)),
        (8, None, (8, 16)),
    ] {
        ring.works(5)?;
        ring.resize(asked, cq)?;
        assert_eq!(sizes(ring), expected);
        assert_eq!(ring.params().setup_flags(), flags);
        let capacity = ring.queue().capacity();
        assert_eq!(capacity as u32, expected.0);
        // Every slot of the new queue works.
        ring.push_nops(0..capacity as u64, Flags::empty())?;
        assert!(ring.queue().is_full());
        assert!(seen(&ring.complete(capacity)?).into_iter().eq(0..capacity as u64));
        ring.works(20)?;
    }
    Ok(())
}

/// Queued entries of every kind move to the new queue. The exception are mixed entries: in a
/// smaller queue, one of them might straddle the end.
fn resize_with_entries(ring: &mut dyn Ring) -> Result {
    let mixed = ring.kind().flags.contains(SetupFlags::SQE_MIXED);
    for (slot, size) in [(0, 16), (5, 4), (7, 32), (3, 8), (6, 4)] {
        ring.works(slot)?;
        ring.push_nops(10..13, Flags::empty())?;
        let resized = ring.resize(size, None);
        if mixed && size < 8 {
            assert_eq!((resized, sizes(ring).0), (Err(Errno::BUSY), 8));
        } else {
            assert_eq!((resized, sizes(ring).0), (Ok(()), size));
        }
        assert_eq!(ring.queue().len(), 3);
        assert_eq!(seen(&ring.complete(3)?), [10, 11, 12]);
        ring.works(20)?;
        ring.resize(8, None)?;
    }
    Ok(())
}

/// Entries of two slots move too.
fn resize_with_big_entries() -> Result {
    let mut builder = IoUring::<squeue::Mixed, cqueue::Entry>::builder();
    let mut ring = builder.setup_single_issuer().setup_defer_taskrun().build(8)?;
    for (before, size) in [(0, 16), (3, 8), (5, 64)] {
        for n in 0..before {
            // SAFETY: a NOP uses no memory and no descriptor.
            unsafe { ring.submission().push(&nop(n)) }?;
        }
        ring.submit_and_wait(before as usize)?;
        ring.completion().for_each(drop);
        let big = |n| Nop128::new().build().user_data(n);
        // SAFETY: NOPs use no memory and no descriptor.
        unsafe {
            ring.submission().push_each(2, |i| big(10 + i as u64))?;
            ring.submission().push(&nop(12))?;
        }
        ring.resize(size, None)?;
        ring.submit_and_wait(3)?;
        let done: Vec<_> = ring.completion().map(|cqe| (cqe.user_data(), cqe.result())).collect();
        assert_eq!(done, [(10, 0), (11, 0), (12, 0)]);
        ring.resize(8, None)?;
    }
    Ok(())
}

/// Unread completions move to the new queue.
fn resize_with_completions(ring: &mut dyn Ring) -> Result {
    for (slot, size) in [(0, 16), (5, 4), (7, 32), (14, 2)] {
        ring.works(slot)?;
        ring.push_nops(10..13, Flags::empty())?;
        assert_eq!(ring.submit(), Ok(3));
        ring.resize(size, None)?;
        assert_eq!(sizes(ring).0, size);
        assert_eq!(seen(&ring.reap()), [10, 11, 12]);
        ring.works(20)?;
        ring.resize(8, None)?;
    }
    Ok(())
}

/// Big completions move with all of their bytes, also if the end of the queue is between their
/// halves.
fn resize_with_big_completions(ring: &mut dyn Ring) -> Result {
    let big_ones = ring.kind().flags.intersects(SetupFlags::CQE32 | SetupFlags::CQE_MIXED);
    let nop = |n| {
        let nop = Nop::new();
        let nop = if big_ones { nop.big_cqe([n, !n]) } else { nop };
        nop.build().user_data(n)
    };
    for (slot, size) in [(0, 16), (5, 4), (7, 32), (14, 4)] {
        ring.works(slot)?;
        // SAFETY: a NOP uses no memory and no descriptor.
        unsafe { ring.push(&[nop(10), nop(11), nop(12)]) }?;
        assert_eq!(ring.submit(), Ok(3));
        ring.resize(size, None)?;
        let done: Vec<_> = ring.reap().iter().map(|cqe| (cqe.user_data(), cqe.big)).collect();
        assert!(done.into_iter().eq((10..13).map(|n| (n, big_ones.then_some([n, !n])))));
        ring.works(20)?;
        ring.resize(8, None)?;
    }
    Ok(())
}

/// Completions that overflowed arrive in a larger queue.
fn resize_with_overflow(ring: &mut dyn Ring) -> Result {
    for start in [0, 8, 16, 24] {
        ring.push_nops(start..start + 8, Flags::empty())?;
        assert_eq!(ring.submit(), Ok(8));
    }
    assert!(ring.queue().cq_overflow());
    ring.resize(8, Some(64))?;
    assert_eq!(seen(&ring.complete(32)?), (0..32).collect::<Vec<_>>());
    Ok(())
}

/// If the resize fails, the ring is unchanged.
fn resize_refused(ring: &mut dyn Ring) -> Result {
    for (sq, cq) in [(0, None), (32769, None), (8, Some(4)), (8, Some(65537))] {
        assert_eq!(ring.resize(sq, cq), Err(Errno::INVAL), "{sq} {cq:?}");
        ring.works(5)?;
    }
    // More entries than fit in the new size.
    ring.push_nops(0..5, Flags::empty())?;
    let refusal =
        ring.resize(4, None).expect_err("the resize succeeds with five entries in four slots");
    let mixed = ring.kind().flags.contains(SetupFlags::SQE_MIXED);
    assert!(refusal == Errno::OVERFLOW || mixed && refusal == Errno::BUSY, "{refusal}");
    assert_eq!(ring.submit(), Ok(5));
    assert_eq!(ring.resize(2, None), Err(Errno::OVERFLOW));
    assert_eq!(sizes(ring), (8, 16));
    assert_eq!(seen(&ring.reap()), [0, 1, 2, 3, 4]);
    ring.works(50)
}

/// A ring with an index array is rejected before anything changes, however it got the array.
fn resize_index_array() -> Result {
    let mut builder = <IoUring>::builder();
    builder.setup_single_issuer().setup_defer_taskrun().sqarray();
    let mut maker = builder.build(8)?;
    let (fd, params) = (dup(&maker)?, *maker.params());
    for n in 0..3 {
        // SAFETY: a NOP uses no memory and no descriptor.
        unsafe { maker.submission().push(&nop(n)) }?;
    }
    assert_eq!(maker.resize(32, None), Err(Errno::INVAL));
    assert_eq!(maker.submission().len(), 3);
    assert_eq!(maker.params().sq_entries(), 8);
    assert_eq!(maker.submit_and_wait(3)?, 3);
    assert!(maker.completion().map(|cqe| cqe.user_data()).eq(0..3));
    works(&mut maker, 20)?;
    // SAFETY: the descriptor and the parameters belong to a ring that is not used meanwhile.
    let mut other = unsafe { <IoUring>::from_fd(fd, params) }?;
    assert_eq!(other.resize(32, None), Err(Errno::INVAL));
    works(&mut other, 20)
}

/// Rings without DEFER_TASKRUN cannot be resized.
fn resize_elsewhere(ring: &mut dyn Ring) -> Result {
    assert_eq!(ring.resize(32, None), Err(Errno::INVAL));
    assert_eq!(sizes(ring), (16, 32));
    ring.works(50)
}

/// Without enough address space, the call fails before the kernel changes anything.
fn resize_without_room(ring: &mut dyn Ring) -> Result {
    let before = footprint()?;
    let address_space = address_space()?;
    let mut refused = 0;
    loop {
        let limit = ((address_space + refused) * page_size()) as u64;
        match limited(Resource::As, limit, || ring.resize(64, None))? {
            Ok(()) => break,
            Err(errno) => assert_eq!(errno, Errno::NOMEM, "with {refused} pages"),
        }
        assert_eq!(footprint()?, before, "with {refused} pages");
        assert_eq!(sizes(ring), (8, 16));
        ring.works(5)?;
        refused += 1;
    }
    assert!(refused >= 2, "only {refused} resizes failed");
    ring.works(50)
}

fn resize_leaves_nothing(ring: &mut dyn Ring) -> Result {
    let before = footprint()?;
    for _ in 0..100 {
        ring.resize(1024, None)?;
        ring.resize(0, None).unwrap_err();
        ring.resize(8, None)?;
        ring.push_nops(0..5, Flags::empty())?;
        ring.resize(4, None).unwrap_err();
        ring.complete(5)?;
    }
    assert_eq!(footprint()?, before);
    Ok(())
}

/// In application-provided memory, the queues move from one area to the other.
fn resize_in_memory(ring: &mut dyn Ring) -> Result {
    let kind = ring.kind();
    let (small, large) = (RESIZABLE, Setup::new(64).cq_entries(1024).flags(DEFER));
    let small_size = kind.memory_size(&small)?;
    let (first, second) = (Pages::new(small_size)?, Pages::new(kind.memory_size(&large)?)?);
    // SAFETY: a ring in kernel memory does not use the given memory.
    let refused = unsafe { ring.resize_in_memory(8, None, first.all()) };
    assert_eq!(refused, Err(Errno::INVAL));

    // SAFETY: the pages outlive the ring and its operations, all of which are reaped.
    let mut ring = unsafe { kind.build_in_memory(&small, first.all()) }?;
    ring.works(5)?;
    assert_eq!(ring.resize(16, None), Err(Errno::INVAL));
    // SAFETY: both areas outlive the ring, and nothing else uses the area that the ring is in.
    unsafe {
        assert_eq!(ring.resize_in_memory(64, Some(1024), first.all()), Err(Errno::INVAL));
        ring.works(5)?;
        ring.resize_in_memory(64, Some(1024), second.all())?;
        assert_eq!(sizes(&mut *ring), (64, 1024));
        // The kernel no longer uses the old memory.
        first.all().cast::<u8>().write_bytes(0xff, first.all().len());
        ring.works(1100)?;
        assert!(first.all().as_ref().iter().all(|&byte| byte == 0xff));
        ring.resize_in_memory(8, None, first.all())?;
        assert_eq!(sizes(&mut *ring), (8, 16));
        second.all().cast::<u8>().write_bytes(0xff, second.all().len());
    }
    ring.works(50)
}
