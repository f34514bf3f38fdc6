//! The outcome of a case.

/// The result of a case. An error is a failure, and so is a panic.
pub(crate) type Result<T = (), E = anyhow::Error> = std::result::Result<T, E>;

/// The combined outcome of all cases that need an operation: the greatest value counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Skipped { reason: String },
    Passed,
    Failed { cause: String },
}
