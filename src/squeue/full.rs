//! Why nothing was pushed.

use core::fmt;

/// Nothing was pushed: there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PushError {
    /// The submission queue is full.
    ///
    /// Submit, then [`sync`](super::SubmissionQueue::sync) the view if it is still the same one. On
    /// SQPOLL rings, [`squeue_wait`](crate::Submitter::squeue_wait) waits for room.
    Full,
    /// Not even an empty queue has room, so do not wait for it: push fewer at once.
    ///
    /// On [`Mixed`](super::Mixed) queues, the pad before the end counts. A queue of two entries
    /// whose next slot is the last has no room for an [`Entry128`](super::Entry128): push an
    /// [`Entry`](super::Entry) first.
    NeverFits,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "submission queue is full",
            Self::NeverFits => "more entries than the submission queue can hold",
        })
    }
}

impl core::error::Error for PushError {}
