//! The state of a submission queue, without a view of it.

use core::fmt;

use crate::params::SetupFlags;
use crate::shared::{Sq, wakeup_fence};
use crate::sys;

/// Reads the fill level and the flags of a submission queue without a view of it.
///
/// [`IoUring::submission_status`](crate::IoUring::submission_status) and
/// [`SubmissionQueue::status`](super::SubmissionQueue::status) return one. Any thread can use it.
/// The kernel and the pushing thread continue in the meantime, so a result may already be outdated
/// when you receive it.
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
    /// Returns the number of slots with published entries that the kernel has not consumed. It is
    /// at most the capacity.
    ///
    /// Entries of a view count once they are [published](super::SubmissionQueue::sync). On
    /// [`Mixed`](super::Mixed) queues, a 128-byte entry counts twice.
    ///
    /// On [rewound](super::Rewind) queues, the kernel sees entries only during a submit. There,
    /// this returns the number of slots that the last view has published and not submitted.
    ///
    /// If the thread of an SQPOLL ring, or a submit in another thread, consumes entries during this
    /// call, they may be counted. The result can therefore be too large, but it is never below the
    /// lowest number during the call.
    #[inline]
    pub fn len(&self) -> usize {
        let len = if self.sq.setup.contains(SetupFlags::SQ_REWIND) {
            self.sq.saved.tail()
        } else {
            self.sq.published()
        };
        len.min(self.sq.capacity) as usize
    }

    /// Returns whether the kernel has consumed all published entries. A result of `true` was
    /// correct at some moment during the call.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of slots of the queue.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.sq.capacity as usize
    }

    /// Returns whether the SQPOLL thread sleeps. It then consumes published entries only after an
    /// enter call. [`Submitter::submit`](crate::Submitter::submit) checks this automatically.
    ///
    /// If this returns `false`, the SQPOLL thread consumes all entries that your thread published
    /// before the call. It also consumes those of another thread, if that thread published them and
    /// then synchronized with yours (by a mutex, a channel, or a join).
    #[inline]
    pub fn need_wakeup(&self) -> bool {
        wakeup_fence();
        self.has(sys::IORING_SQ_NEED_WAKEUP)
    }

    /// Returns whether completions wait in the kernel because the completion queue was full. The
    /// kernel posts them when the queue has free slots and a task enters the kernel.
    /// [`Submitter::submit`](crate::Submitter::submit) then enters the kernel even with nothing to
    /// submit.
    #[inline]
    pub fn cq_overflow(&self) -> bool {
        self.has(sys::IORING_SQ_CQ_OVERFLOW)
    }

    /// Returns whether completions wait until the ring's task asks for them. Requires
    /// [`setup_taskrun_flag`](crate::Builder::setup_taskrun_flag).
    #[inline]
    pub fn taskrun(&self) -> bool {
        self.has(sys::IORING_SQ_TASKRUN)
    }

    /// Returns the number of entries that the kernel has dropped because the index array named a
    /// slot that does not exist. This crate writes the array and names only existing slots, so this
    /// is always 0.
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
        // SAFETY: nothing runs the entry.
        unsafe { queue.push_any(&entry) }.unwrap();
    }

    #[test]
    fn published_entries_count() {
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
            // The view has not synced, and the status does not need it.
            assert_eq!((status.len(), queue.len()), (3, 4));
        }
    }

    #[test]
    fn published_entries_of_a_rewound_queue_count() {
        let mut ring = Mock::new::<Rewind<Entry>, cqueue::Entry>(8, 5);
        let mut queue = ring.submission::<Rewind<Entry>>();
        let status = queue.status();
        push(&mut queue, Entry::from_raw(Sqe::ZERO));
        assert_eq!(status.len(), 0);
        queue.sync();
        assert_eq!(status.len(), 1);
        // SAFETY: no kernel consumes anything.
        unsafe { queue.clear() };
        assert!(status.is_empty());
    }

    #[test]
    fn each_method_reads_its_own_flag() {
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
