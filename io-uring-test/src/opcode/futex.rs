//! Futexes.

use std::ptr;

use rustix_uring::Errno;
use rustix_uring::opcode::{FutexWait, FutexWaitV, FutexWake};
use rustix_uring::squeue::Entry;
use rustix_uring::types::{FUTEX_BITSET_MATCH_ANY, FutexFlags, FutexWaitV as Waiter};

use crate::harness::Need::*;
use crate::harness::*;

const BOTH: &[Need] = &[Opcode(FutexWait::CODE), Opcode(FutexWake::CODE)];
const ALL: &[Need] = &[Opcode(FutexWaitV::CODE), Opcode(FutexWake::CODE)];

pub(crate) const CASES: &[Case] = &[
    Case::kinds("futex_wait_and_wake", BOTH, futex_wait_and_wake),
    Case::kinds("futex_masks", BOTH, futex_masks),
    Case::kinds("futex_wait_refused", &[Opcode(FutexWait::CODE)], futex_wait_refused),
    Case::kinds("futex_wake_refused", &[Opcode(FutexWake::CODE)], futex_wake_refused),
    Case::kinds("futex_waitv", ALL, futex_waitv),
    Case::kinds("futex_waitv_refused", &[Opcode(FutexWaitV::CODE)], futex_waitv_refused),
];

const PRIVATE: FutexFlags = FutexFlags::SIZE_U32.union(FutexFlags::PRIVATE);
const SHARED: FutexFlags = FutexFlags::SIZE_U32;

/// Queues and submits waits, and checks that they do wait.
fn start(ring: &mut dyn Ring, entries: &[Entry]) -> Result {
    // SAFETY: the futexes belong to the caller, who wakes all waiters before freeing them.
    unsafe { ring.push(entries) }?;
    ring.submit()?;
    assert!(ring.reap().is_empty());
    Ok(())
}

/// The result of a wake, and the user data and results of the waits that it ended.
type Woken = (Result<u32, Errno>, Vec<(u64, u32)>);

/// Runs a wake that ends `n` waits.
fn wake(ring: &mut dyn Ring, wake: FutexWake, n: usize) -> Result<Woken> {
    // SAFETY: the futexes belong to the caller.
    unsafe { ring.push(&[wake.build().user_data(99)]) }?;
    let mut done = ring.complete(n + 1)?;
    done.sort_by_key(|cqe| cqe.user_data());
    let (woke, woken) = done.split_last().expect("there is no completion");
    assert_eq!(woke.user_data(), 99);
    let woken = woken.iter().map(|cqe| Ok((cqe.user_data(), cqe.to_result()?)));
    Ok((woke.to_result(), woken.collect::<Result<_>>()?))
}

fn futex_wait_and_wake(ring: &mut dyn Ring) -> Result {
    let futex = 7;
    for flags in [PRIVATE, SHARED] {
        let wait = FutexWait::new(&futex, 7, FUTEX_BITSET_MATCH_ANY, flags).build();
        start(ring, &[wait.user_data(1), wait.user_data(2), wait.user_data(3)])?;
        let two = FutexWake::new(&futex, 2, FUTEX_BITSET_MATCH_ANY, flags);
        let (woke, woken) = wake(ring, two, 2)?;
        assert_eq!((woke, woken), (Ok(2), vec![(1, 0), (2, 0)]));
        assert_eq!(wake(ring, two, 1)?, (Ok(1), vec![(3, 0)]));
        assert_eq!(wake(ring, two, 0)?, (Ok(0), vec![]));
    }
    Ok(())
}

/// A wake ends only waits whose mask has a bit in common with its own.
fn futex_masks(ring: &mut dyn Ring) -> Result {
    let futex = 7;
    let wait = |mask: u64| FutexWait::new(&futex, 7, mask, PRIVATE).build().user_data(mask);
    start(ring, &[wait(1), wait(2), wait(6)])?;
    let wakes = |mask| FutexWake::new(&futex, 10, mask, PRIVATE);
    assert_eq!(wake(ring, wakes(8), 0)?, (Ok(0), vec![]));
    assert_eq!(wake(ring, wakes(4), 1)?, (Ok(1), vec![(6, 0)]));
    assert_eq!(wake(ring, wakes(3), 2)?, (Ok(2), vec![(1, 0), (2, 0)]));
    Ok(())
}

fn futex_wait_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the futexes and their list are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let futex = 7;
    let any = FUTEX_BITSET_MATCH_ANY;
    let unknown = FutexFlags::SIZE_U32 | FutexFlags::from_bits_retain(1 << 6);
    let refusals = [
        (FutexWait::new(&futex, 8, any, PRIVATE), Errno::AGAIN),
        (FutexWait::new(&futex, 7, 0, PRIVATE), Errno::INVAL),
        // The value does not fit in the futex. A 32-bit kernel uses only its lower half.
        (
            FutexWait::new(&futex, 1 << 32, any, PRIVATE),
            if kernel_is_32_bit() { Errno::AGAIN } else { Errno::INVAL },
        ),
        (FutexWait::new(&futex, 7, any, FutexFlags::SIZE_U64), Errno::INVAL),
        (FutexWait::new(&futex, 7, any, unknown), Errno::INVAL),
        (FutexWait::new(ptr::null(), 7, any, PRIVATE), Errno::FAULT),
    ];
    ring.refuses(refusals.map(|(wait, errno)| (wait.build(), errno)))
}

fn futex_wake_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the futexes and their list are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let futex = 7;
    let refusals = [
        (FutexWake::new(&futex, 1, 0, PRIVATE), Errno::INVAL),
        (FutexWake::new(&futex, 1, 1, FutexFlags::SIZE_U16), Errno::INVAL),
        (FutexWake::new(ptr::null(), 1, 1, SHARED), Errno::FAULT),
    ];
    ring.refuses(refusals.map(|(wake, errno)| (wake.build(), errno)))
}

/// The result is the index of the futex that was woken.
fn futex_waitv(ring: &mut dyn Ring) -> Result {
    let futexes: [u32; 3] = [7, 8, 9];
    let waiter = |futex: &u32| Waiter::new().val((*futex).into()).uaddr(futex).flags(PRIVATE);
    let waiters: [_; 3] = std::array::from_fn(|n| waiter(&futexes[n]));
    for n in [0, 2, 1] {
        start(ring, &[FutexWaitV::new(waiters.as_ptr(), 3).build().user_data(1)])?;
        let one = FutexWake::new(&futexes[n], 1, FUTEX_BITSET_MATCH_ANY, PRIVATE);
        assert_eq!(wake(ring, one, 1)?, (Ok(1), vec![(1, n as u32)]));
    }
    Ok(())
}

fn futex_waitv_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: the futexes and their list are on this stack, and outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let futex = 7;
    let waiter = Waiter::new().val(7).uaddr(&futex).flags(PRIVATE);
    let other_value = [waiter, waiter.val(8)];
    let no_size = [waiter.flags(FutexFlags::PRIVATE)];
    let many = [waiter; 129];
    let refusals = [
        (FutexWaitV::new(other_value.as_ptr(), 2), Errno::AGAIN),
        (FutexWaitV::new(no_size.as_ptr(), 1), Errno::INVAL),
        (FutexWaitV::new(many.as_ptr(), 129), Errno::INVAL),
        (FutexWaitV::new(many.as_ptr(), 0), Errno::INVAL),
        (FutexWaitV::new(ptr::null(), 1), Errno::FAULT),
    ];
    ring.refuses(refusals.map(|(wait, errno)| (wait.build(), errno)))
}
