//! The ring itself: enabling, resizing.

use rustix::param::page_size;
use rustix::process::Resource;
use rustix_uring::squeue::Flags;
use rustix_uring::sys::io_uring_register_op::*;
use rustix_uring::{Errno, SetupFlags};

use crate::harness::Need::*;
use crate::harness::*;

const DISABLED: SetupFlags = SetupFlags::R_DISABLED;
const DEFER: SetupFlags = SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN);
const RESIZABLE: Setup = Setup::new(8).flags(DEFER);
const RESIZE: &[Need] = &[RingWith(DEFER), Register(IORING_REGISTER_RESIZE_RINGS as u32)];

pub(crate) const CASES: &[Case] = &[
    Case::kinds(
        "register_enable_rings",
        &[RingWith(DISABLED), Register(IORING_REGISTER_ENABLE_RINGS as u32)],
        register_enable_rings,
    )
    .setup(Setup::USUAL.flags(DISABLED)),
    Case::kinds("resize", RESIZE, resize).setup(RESIZABLE),
    Case::kinds("resize_with_entries", RESIZE, resize_with_entries).setup(RESIZABLE),
    Case::kinds("resize_with_completions", RESIZE, resize_with_completions).setup(RESIZABLE),
    Case::kinds("resize_with_overflow", RESIZE, resize_with_overflow).setup(RESIZABLE),
    Case::kinds("resize_refused", RESIZE, resize_refused).setup(RESIZABLE),
    Case::kinds("resize_elsewhere", &[], resize_elsewhere),
    Case::kinds("resize_without_room", RESIZE, resize_without_room).setup(RESIZABLE),
    Case::kinds("resize_leaves_nothing", RESIZE, resize_leaves_nothing).setup(RESIZABLE),
    Case::kinds("resize_in", RESIZE, resize_in).setup(RESIZABLE),
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

fn sizes(ring: &mut dyn Ring) -> (u32, u32) {
    (ring.params().sq_entries(), ring.params().cq_entries())
}

/// The user data of what has completed.
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
        // Every place is there.
        ring.push_nops(0..capacity as u64, Flags::empty())?;
        assert!(ring.queue().is_full());
        assert!(seen(&ring.complete(capacity)?).into_iter().eq(0..capacity as u64));
        ring.works(20)?;
    }
    Ok(())
}

/// Entries that are queued move along, where they are of the one kind that the kernel moves.
fn resize_with_entries(ring: &mut dyn Ring) -> Result {
    for (place, size) in [(0, 16), (5, 4), (7, 32), (3, 8), (6, 4)] {
        ring.works(place)?;
        ring.push_nops(10..13, Flags::empty())?;
        let resized = ring.resize(size, None);
        if ring.kind().flags.difference(SetupFlags::CQE32 | SetupFlags::CQE_MIXED).is_empty() {
            assert_eq!((resized, sizes(ring).0), (Ok(()), size));
        } else {
            assert_eq!((resized, sizes(ring).0), (Err(Errno::BUSY), 8));
        }
        assert_eq!(ring.queue().len(), 3);
        assert_eq!(seen(&ring.complete(3)?), [10, 11, 12]);
        ring.resize(8, None)?;
    }
    Ok(())
}

/// So do completions that nobody has looked at.
fn resize_with_completions(ring: &mut dyn Ring) -> Result {
    for (place, size) in [(0, 16), (5, 4), (7, 32), (14, 2)] {
        ring.works(place)?;
        ring.push_nops(10..13, Flags::empty())?;
        assert_eq!(ring.submit(), Ok(3));
        let resized = ring.resize(size, None);
        if ring.kind().flags.intersects(SetupFlags::CQE32 | SetupFlags::CQE_MIXED) {
            assert_eq!((resized, sizes(ring).0), (Err(Errno::BUSY), 8));
        } else {
            assert_eq!((resized, sizes(ring).0), (Ok(()), size));
        }
        assert_eq!(seen(&ring.reap()), [10, 11, 12]);
        ring.works(20)?;
        ring.resize(8, None)?;
    }
    Ok(())
}

/// What has found no room finds it in a larger queue.
fn resize_with_overflow(ring: &mut dyn Ring) -> Result {
    for start in [0, 8, 16, 24] {
        ring.push_nops(start..start + 8, Flags::empty())?;
        assert_eq!(ring.submit(), Ok(8));
    }
    assert!(ring.queue().cq_overflow());
    let resized = ring.resize(8, Some(64));
    let moves = !ring.kind().flags.intersects(SetupFlags::CQE32 | SetupFlags::CQE_MIXED);
    assert_eq!(resized, if moves { Ok(()) } else { Err(Errno::BUSY) });
    assert_eq!(seen(&ring.complete(32)?), (0..32).collect::<Vec<_>>());
    Ok(())
}

/// Where it fails, the ring is as it was.
fn resize_refused(ring: &mut dyn Ring) -> Result {
    for (sq, cq) in [(0, None), (32769, None), (8, Some(4)), (8, Some(65537))] {
        assert_eq!(ring.resize(sq, cq), Err(Errno::INVAL), "{sq} {cq:?}");
        ring.works(5)?;
    }
    // More than fits the new size.
    let overflow = [Errno::OVERFLOW, Errno::BUSY];
    ring.push_nops(0..5, Flags::empty())?;
    let refusal = ring.resize(4, None).expect_err("five entries in four places");
    assert!(overflow.contains(&refusal), "{refusal}");
    assert_eq!(ring.submit(), Ok(5));
    let refusal = ring.resize(2, None).expect_err("five completions in four places");
    assert!(overflow.contains(&refusal), "{refusal}");
    assert_eq!(sizes(ring), (8, 16));
    assert_eq!(seen(&ring.reap()), [0, 1, 2, 3, 4]);
    ring.works(50)
}

/// Rings without deferred task work have the size that they have.
fn resize_elsewhere(ring: &mut dyn Ring) -> Result {
    assert_eq!(ring.resize(32, None), Err(Errno::INVAL));
    assert_eq!(sizes(ring), (16, 32));
    ring.works(50)
}

/// Short of address space, it fails before the kernel has done anything.
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
    assert!(refused >= 2, "one page was enough");
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

/// In the program's memory, queues move from one place to another.
fn resize_in(ring: &mut dyn Ring) -> Result {
    let kind = ring.kind();
    let (small, large) = (RESIZABLE, Setup::new(64).cq_entries(1024).flags(DEFER));
    let small_size = kind.memory_size(&small)?;
    let (first, second) = (Pages::new(small_size)?, Pages::new(kind.memory_size(&large)?)?);
    // SAFETY: a ring of the kernel's memory takes none of ours.
    let refused = unsafe { ring.resize_in(8, None, first.all()) };
    assert_eq!(refused, Err(Errno::INVAL));

    // SAFETY: the pages outlive the ring, and its operations, which are reaped.
    let mut ring = unsafe { kind.build_in(&small, first.all()) }?;
    ring.works(5)?;
    assert_eq!(ring.resize(16, None), Err(Errno::INVAL));
    // SAFETY: as above; what a ring leaves is used only for what it comes back to.
    unsafe {
        assert_eq!(ring.resize_in(64, Some(1024), first.all()), Err(Errno::INVAL));
        ring.works(5)?;
        ring.resize_in(64, Some(1024), second.all())?;
        assert_eq!(sizes(&mut *ring), (64, 1024));
        first.all().cast::<u8>().write_bytes(0xff, first.all().len());
        ring.works(1100)?;
        ring.resize_in(8, None, first.all())?;
        assert_eq!(sizes(&mut *ring), (8, 16));
        second.all().cast::<u8>().write_bytes(0xff, second.all().len());
    }
    ring.works(50)
}
