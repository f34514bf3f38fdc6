//! How a case ends.

/// How a case ends: an error is a failure, as a panic is.
pub(crate) type Result<T = (), E = anyhow::Error> = std::result::Result<T, E>;

/// How cases have ended that need an operation: the greatest counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Skipped { reason: String },
    Passed,
    Failed { cause: String },
}
