//! The error of a push.

use core::fmt;

/// The error of a push that does not fit into the queue. Nothing was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PushError {
    /// The submission queue is full.
    ///
    /// Submit, and call [`sync`](super::SubmissionQueue::sync) if you use the same view afterwards.
    /// On SQPOLL rings, [`squeue_wait`](crate::Submitter::squeue_wait) waits for free slots.
    Full,
    /// The entries do not fit even into an empty queue. Push fewer entries at once.
    ///
    /// On [`Mixed`](super::Mixed) queues, the pad before the end counts. If a queue has two slots
    /// and the next one is the last, an [`Entry128`](super::Entry128) does not fit: push an
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
