//! What a submission queue tells without a view of it.

use core::fmt;

use crate::params::SetupFlags;
use crate::shared::{Sq, wakeup_fence};
use crate::sys;

/// How full a submission queue is, and what the kernel says in its flags, without a view of it.
///
/// [`IoUring::submission_status`](crate::IoUring::submission_status) and
/// [`SubmissionQueue::status`](super::SubmissionQueue::status) make one. You can ask from any thread.
/// The kernel and the thread that pushes go on meanwhile, so an answer may be out of date when you
/// have it.
///
/// ```
/// # use rustix_uring::{IoUring, opcode};
/// let mut ring = IoUring::new(8)?;
/// // SAFETY: a NOP uses no memory and no descriptor.
/// unsafe { ring.submission().push(&opcode::Nop::new().build())? };
/// assert_eq!(ring.submission_status().len(), 1);
/// ring.submit()?;
/// assert!(ring.submission_status().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Status<'a> {
    sq: &'a Sq,
}

impl<'a> Status<'a> {
    #[inline(always)]
    pub(crate) fn new(sq: &'a Sq) -> Self {
        Self { sq }
    }
}

impl Status<'_> {
    /// Returns how many slots hold entries that are published and that the kernel has not taken, at
    /// most the capacity.
    ///
    /// What a view has pushed counts once it is [published](super::SubmissionQueue::sync). On
    /// [`Mixed`](super::Mixed) queues, an entry of 128 bytes counts twice.
    ///
    /// On [rewound](super::Rewind) queues, whose entries the kernel sees only in a submit, it is what
    /// the last view has left: published, and not submitted.
    ///
    /// If entries are taken during the call, by the thread of an SQPOLL ring or by a submit in another
    /// thread, this may also count those. It never counts fewer than there were at some moment during
    /// the call.
    #[inline]
    pub fn len(&self) -> usize {
        let len = if self.sq.setup.contains(SetupFlags::SQ_REWIND) {
            self.sq.saved.tail()
        } else {
            self.sq.published()
        };
        len.min(self.sq.capacity) as usize
    }

    /// Returns whether no slot holds an entry that is published and not taken. If it says so, there
    /// was a moment during the call when none did.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many slots the queue has.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.sq.capacity as usize
    }

    /// Returns whether the SQPOLL thread sleeps, so that only an enter call gets it to take what is
    /// published. [`Submitter::submit`](crate::Submitter::submit) asks automatically.
    ///
    /// "No" says something about the entries that this thread has published before it asked, and
    /// about those that it knows of from another thread.
    #[inline]
    pub fn need_wakeup(&self) -> bool {
        wakeup_fence();
        self.has(sys::IORING_SQ_NEED_WAKEUP)
    }

    /// Returns whether completions wait in the kernel because the completion queue was full. They
    /// arrive when there is room and somebody enters.
    /// [`Submitter::submit`](crate::Submitter::submit) then does so even with nothing to submit.
    #[inline]
    pub fn cq_overflow(&self) -> bool {
        self.has(sys::IORING_SQ_CQ_OVERFLOW)
    }

    /// Returns whether completions wait for the ring's task to ask for them, on rings with
    /// [`setup_taskrun_flag`](crate::Builder::setup_taskrun_flag).
    #[inline]
    pub fn taskrun(&self) -> bool {
        self.has(sys::IORING_SQ_TASKRUN)
    }

    /// Returns how many entries the kernel has dropped because the index array named no slot. This
    /// crate writes the array, and names only slots that exist, so this stays 0.
    #[inline]
    pub fn dropped(&self) -> u32 {
        self.sq.dropped.relaxed()
    }

    #[inline(always)]
    pub(super) fn has(&self, flag: u32) -> bool {
        self.sq.flags.relaxed() & flag != 0
    }
}

impl fmt::Debug for Status<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status")
            .field("len", &self.len())
            .field("need_wakeup", &self.has(sys::IORING_SQ_NEED_WAKEUP))
            .field("cq_overflow", &self.cq_overflow())
            .field("taskrun", &self.taskrun())
            .field("dropped", &self.dropped())
            .finish()
    }
}

#[cfg(all(test, not(rustix_uring_loom)))]
mod tests {
    use super::*;
    use crate::cqueue;
    use crate::mock::bare::Mock;
    use crate::squeue::{Accepts, Entry, Entry128, Kind, Mixed, Rewind, Sqe, SubmissionQueue};

    fn push<S: Accepts<E> + Kind, E: Copy>(queue: &mut SubmissionQueue<'_, S>, entry: E) {
        // SAFETY: nobody runs the entry.
        unsafe { queue.push_any(&entry) }.unwrap();
    }

    #[test]
    fn what_is_published_counts() {
        for start in [0, u32::MAX] {
            let mut ring = Mock::new::<Mixed, cqueue::Entry>(8, start);
            let (mut queue, mut kernel) = ring.split_sq::<Mixed>();
            let status = queue.status();
            assert_eq!((status.len(), status.capacity()), (0, 8));
            push(&mut queue, Entry::from_raw(Sqe::ZERO));
            push(&mut queue, Entry::from_raw(Sqe::ZERO));
            push(&mut queue, Entry128::from_raw(Sqe::ZERO, [0; 64]));
            assert_eq!((status.len(), queue.len()), (0, 4));
            queue.sync();
            assert_eq!((status.len(), status.is_empty()), (4, false));
            kernel.take(|_| false).unwrap();
            // The view has not synced; nobody else has to.
            assert_eq!((status.len(), queue.len()), (3, 4));
        }
    }

    #[test]
    fn what_waits_on_a_rewound_queue_counts() {
        let mut ring = Mock::new::<Rewind<Entry>, cqueue::Entry>(8, 5);
        let mut queue = ring.submission::<Rewind<Entry>>();
        let status = queue.status();
        push(&mut queue, Entry::from_raw(Sqe::ZERO));
        assert_eq!(status.len(), 0);
        queue.sync();
        assert_eq!(status.len(), 1);
        // SAFETY: there is no kernel that takes anything.
        unsafe { queue.clear() };
        assert!(status.is_empty());
    }

    #[test]
    fn each_flag_is_its_own_question() {
        let mut ring = Mock::new::<Entry, cqueue::Entry>(8, 0);
        let (queue, kernel) = ring.split_sq::<Entry>();
        let status = queue.status();
        for (flag, answers) in [
            (0, [false; 3]),
            (sys::IORING_SQ_NEED_WAKEUP, [true, false, false]),
            (sys::IORING_SQ_CQ_OVERFLOW, [false, true, false]),
            (sys::IORING_SQ_TASKRUN, [false, false, true]),
        ] {
            kernel.set_sq_flags(flag);
            assert_eq!([status.need_wakeup(), status.cq_overflow(), status.taskrun()], answers);
        }
        assert_eq!(status.dropped(), 0);
    }
}
