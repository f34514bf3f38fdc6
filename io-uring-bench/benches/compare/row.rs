//! A row of a table: the same work, done by each column.

use crate::peer::Column;

/// A function that does the work of the row once.
pub(crate) type Run = Box<dyn FnMut()>;

/// The function, or the reason why this column cannot do the work.
pub(crate) type Made = Result<Run, String>;

pub(crate) struct Row {
    /// The part of the benchmark and the work, separated by slashes.
    pub(crate) name: String,
    /// The number of operations in a run.
    pub(crate) ops: u64,
    pub(crate) figures: Figures,
    /// Whether the rings have threads that stay awake for [`IDLE`](crate::peer::IDLE).
    pub(crate) polled: bool,
    pub(crate) make: Box<dyn Fn() -> Vec<(Column, Made)>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figures {
    Times,
    /// Also instructions, loads and stores.
    CountsAndTimes,
}
