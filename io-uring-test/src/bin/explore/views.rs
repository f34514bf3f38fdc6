//! Views of a ring's queues that are held over several calls.

use rustix_uring::{Errno, Handle, IoUring};

use crate::completions::CKind;
use crate::model::views::{Glance, Part};
use crate::queue::Kind;
use crate::real::{Sized, push_one};

/// Runs the actions. Returns the result of each, and what the views then show.
///
/// # Safety
///
/// The contract of a pushed entry holds for each.
pub(crate) unsafe fn run<S: Kind, C: CKind, H: Handle>(
    ring: &mut IoUring<S, C, H>,
    parts: &[Part],
    entries: &[Sized],
) -> Vec<Glance> {
    let (submitter, mut queue, mut completions) = ring.split();
    let step = |(part, entry): (&Part, &Sized)| {
        let mut glance = Glance::default();
        match *part {
            // SAFETY: the caller's promise.
            Part::Push => glance.pushed = Some(unsafe { push_one(&mut queue, entry) }.is_ok()),
            Part::Sync => queue.sync(),
            Part::Submit => {
                glance.submitted = Some(submitter.submit().map_err(Errno::raw_os_error));
            }
            Part::Take(n) => {
                glance.taken = completions.by_ref().take(n).map(|cqe| cqe.cqe()).collect();
            }
            Part::SyncCompletions => completions.sync(),
        }
        (glance.queued, glance.full) = (queue.len(), queue.is_full());
        glance.ready = completions.len();
        glance.queued_by_status = queue.status().len();
        glance.ready_by_status = completions.status().ready();
        glance
    };
    parts.iter().zip(entries).map(step).collect()
}
