//! IOPOLL rings: what may run on them.

use crate::model::operation::{ASYNC, BUFFER_SELECT, DRAIN, Entry, LINKS, Op};

/// Replaces what the model does not know on an IOPOLL ring. `last` is whether it is the last entry of
/// a push.
pub(super) fn adapt(entry: &mut Entry, last: bool) {
    match &mut entry.op {
        Op::Nop { task_work, .. } => *task_work = false,
        Op::NoSuchOpcode
        | Op::Ioprio
        | Op::ReadNothing
        | Op::Poll { .. }
        | Op::Read { .. }
        | Op::Timeout { .. }
        | Op::Cancel { .. }
        | Op::CancelAny { .. }
        | Op::PollRemove { .. }
        | Op::TimeoutRemove { .. } => {}
        _ => entry.op = Op::NOP,
    }
    // Worker threads would run a chain that ends with the submission.
    entry.flags &= !(DRAIN | ASYNC | BUFFER_SELECT | if last { LINKS } else { 0 });
}
