//! A row of a table: the same work, done by each of the columns.

use crate::peer::Column;

/// Does the row's work once.
pub(crate) type Run = Box<dyn FnMut()>;

/// Or the reason why this column cannot.
pub(crate) type Made = Result<Run, String>;

pub(crate) struct Row {
    /// The part of the benchmark, and what is done, with slashes between.
    pub(crate) name: String,
    /// How many operations a run has.
    pub(crate) ops: u64,
    pub(crate) figures: Figures,
    /// The rings have threads that stay awake for [`IDLE`](crate::peer::IDLE).
    pub(crate) polled: bool,
    pub(crate) make: Box<dyn Fn() -> Vec<(Column, Made)>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figures {
    Times,
    /// And instructions, loads and stores.
    CountsAndTimes,
}
