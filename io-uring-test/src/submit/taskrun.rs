//! Completions that wait until the task requests them, and tasks that are not allowed to.

use std::thread;

use rustix_uring::{Errno, IoUring, SetupFlags};

use super::{A_WHILE, Waiting};
use crate::harness::Need::*;
use crate::harness::*;

const DEFER: SetupFlags = SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN);
const DEFER_FLAG: SetupFlags = DEFER.union(SetupFlags::TASKRUN_FLAG);
const COOP_FLAG: SetupFlags = SetupFlags::COOP_TASKRUN.union(SetupFlags::TASKRUN_FLAG);
const SINGLE: SetupFlags = SetupFlags::SINGLE_ISSUER;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("defer_with_flag", &[RingWith(DEFER_FLAG)], submit_surfaces)
        .setup(Setup::USUAL.flags(DEFER_FLAG)),
    Case::kinds("coop_with_flag", &[RingWith(COOP_FLAG)], submit_surfaces)
        .setup(Setup::USUAL.flags(COOP_FLAG)),
    Case::kinds("defer_without_flag", &[RingWith(DEFER)], get_events_surfaces)
        .setup(Setup::USUAL.flags(DEFER)),
    Case::kinds("defer_wait", &[RingWith(DEFER)], wait_surfaces).setup(Setup::USUAL.flags(DEFER)),
    Case::once("single_issuer_elsewhere", &[RingWith(SINGLE)], single_issuer_elsewhere),
    Case::once("single_issuer_enables", &[RingWith(SINGLE)], single_issuer_enables),
];

/// Submits a read that waits, and makes another thread complete it.
fn completes_elsewhere(ring: &mut dyn Ring, waiting: &mut Waiting) -> Result {
    // SAFETY: the callers keep `waiting` until the read has completed.
    unsafe { ring.push(&[waiting.read(7)]) }?;
    assert_eq!(ring.submit(), Ok(1));
    let waiting = &*waiting;
    thread::scope(|scope| scope.spawn(|| waiting.release()).join().expect("the thread panicked"))
}

/// A loop that only submits, and never waits, sees its completions.
fn submit_surfaces(ring: &mut dyn Ring) -> Result {
    let mut waiting = Waiting::new()?;
    completes_elsewhere(ring, &mut waiting)?;
    let mut done = Vec::new();
    while done.is_empty() {
        assert_eq!(ring.submit(), Ok(0));
        done = ring.reap();
    }
    assert_eq!((done.len(), done[0].user_data(), done[0].to_result()), (1, 7, Ok(8)));
    assert!(!ring.queue().taskrun() && !ring.status().taskrun());
    Ok(())
}

/// Without the flag, `submit` cannot know of pending completions. `get_events` delivers them.
fn get_events_surfaces(ring: &mut dyn Ring) -> Result {
    let mut waiting = Waiting::new()?;
    completes_elsewhere(ring, &mut waiting)?;
    thread::sleep(A_WHILE);
    for _ in 0..10 {
        assert_eq!(ring.submit(), Ok(0));
        assert_eq!(ring.reap(), []);
        assert!(!ring.queue().taskrun());
    }
    let mut done = Vec::new();
    while done.is_empty() {
        ring.submitter().get_events()?;
        done = ring.reap();
    }
    assert_eq!((done.len(), done[0].user_data(), done[0].to_result()), (1, 7, Ok(8)));
    Ok(())
}

fn wait_surfaces(ring: &mut dyn Ring) -> Result {
    let mut waiting = Waiting::new()?;
    completes_elsewhere(ring, &mut waiting)?;
    assert_eq!(ring.complete(1)?[0].user_data(), 7);
    Ok(())
}

fn single_issuer_elsewhere() -> Result {
    let mut ring = <IoUring>::builder().setup_single_issuer().build(8)?;
    works(&mut ring, 5)?;
    let mut ring = thread::spawn(move || -> Result<IoUring> {
        // SAFETY: NOPs use no memory and no descriptor.
        unsafe { ring.submission().push(&nop(1)) }?;
        assert_eq!(ring.submit(), Err(Errno::EXIST));
        assert_eq!(ring.submit_and_wait(1), Err(Errno::EXIST));
        assert_eq!(ring.submission().len(), 1);
        Ok(ring)
    })
    .join()
    .expect("the thread panicked")?;
    // The entry stayed queued.
    assert_eq!(ring.submit_and_wait(1), Ok(1));
    assert_eq!(ring.completion().count(), 1);
    Ok(())
}

/// The ring belongs to the task that enables it, not to the one that created it.
fn single_issuer_enables() -> Result {
    let ring = <IoUring>::builder().setup_single_issuer().setup_r_disabled().build(8)?;
    let mut ring = thread::spawn(move || -> Result<IoUring> {
        let mut ring = ring;
        ring.submitter().register_enable_rings()?;
        works(&mut ring, 5)?;
        Ok(ring)
    })
    .join()
    .expect("the thread panicked")?;
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe { ring.submission().push(&nop(1)) }?;
    assert_eq!(ring.submit(), Err(Errno::EXIST));
    Ok(())
}
