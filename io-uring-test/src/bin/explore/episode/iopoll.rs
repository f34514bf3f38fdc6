//! IOPOLL rings: what may run on them.

use crate::model::operation::{ASYNC, BUFFER_SELECT, DRAIN, Entry, LINKS, Op};

/// Replaces what the model does not know on an IOPOLL ring. `ends` is whether the entry must end its
/// chain.
pub(super) fn adapt(entry: &mut Entry, ends: bool) {
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
    entry.flags &= !(DRAIN | ASYNC | BUFFER_SELECT | if ends { LINKS } else { 0 });
}
