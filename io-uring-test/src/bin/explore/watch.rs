//! Another thread observes a ring while its completions are reaped.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix_uring::opcode::Nop;
use rustix_uring::{Errno, Handle, IoUring};

use crate::completions::CKind;
use crate::queue::Kind;

/// Submits and reaps NOPs. Returns how many were reaped, and the maximum that the other thread saw
/// ready.
pub(crate) fn reap<S: Kind, C: CKind, H: Handle>(
    ring: &mut IoUring<S, C, H>,
    rounds: usize,
    at_once: usize,
) -> Result<(usize, usize), Errno> {
    let (submitter, mut queue, mut completions) = ring.split();
    let status = completions.status();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                most = most.max(status.ready());
            }
            most
        });
        let mut reap = || {
            let mut reaped = 0;
            for _ in 0..rounds {
                // SAFETY: a NOP uses no memory.
                let _ = unsafe { queue.push_each(at_once, |_| Nop::new().build()) };
                S::submit_view(&mut queue, &submitter)?;
                // Makes the consumed slots available.
                queue.sync();
                completions.sync();
                reaped += completions.by_ref().count();
                completions.sync();
            }
            Ok(reaped)
        };
        let reaped = reap();
        over.store(true, Ordering::Relaxed);
        let most = watcher.join().expect("the observing thread panicked");
        reaped.map(|reaped| (reaped, most))
    })
}
