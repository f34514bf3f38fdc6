//! IOPOLL rings, which poll devices for completions.
//!
//! - The kernel polls only reads and writes with O_DIRECT, on devices that support it. Others end with
//!   -EOPNOTSUPP. The test has only pipes, so its reads always do.
//! - The kernel rejects every other operation with EINVAL, except NOPs (and a few operations that the
//!   test does not use here). Kernels before 5.19 or so run NOPs too, but they end with -EINVAL.
//! - A wait polls while polled operations are in flight. If there are none, it returns at once, however
//!   many completions it asks for, and whatever its time limit.
//! - The library asks for events in every call, except if an SQPOLL thread polls.
//! - If a ring defers its work, an enter call does the work only while no completions are ready.
//! - If an SQPOLL thread polls, a wait is an ordinary one.

use super::errno::*;
use super::operation::{Entry, Op};
use super::ring::{Outcome, Ring};
use super::state::Model;

impl Ring {
    pub(super) fn polls_devices(&self) -> bool {
        self.built.flags & super::setup::flag::IOPOLL != 0
    }

    /// Whether the task itself polls, in each call that asks for events.
    pub(super) fn task_polls(&self) -> bool {
        self.polls_devices() && self.thread.is_none()
    }

    /// Whether the task does its work only while no completions are ready.
    pub(crate) fn defers_beside_polling(&self) -> bool {
        self.defers && self.task_polls()
    }

    /// The error with which the kernel rejects an entry because the ring polls.
    /// `at_once` is whether it looks up the file of a read at submission, and not when the read runs.
    pub(super) fn cannot_poll(&self, entry: &Entry, at_once: bool) -> Option<i32> {
        match entry.op {
            _ if !self.polls_devices() => None,
            Op::Nop { .. } | Op::Ioprio | Op::ReadNothing => None,
            Op::Read { .. } => at_once.then_some(EOPNOTSUPP),
            _ => Some(EINVAL),
        }
    }

    /// The outcome of a request that fails because the ring polls. `nops` is whether NOPs succeed.
    pub(super) fn fails_by_polling(&self, op: Op, nops: bool) -> Option<Outcome> {
        match op {
            _ if !self.polls_devices() => None,
            Op::Nop { .. } | Op::Ioprio if !nops => Some(Outcome::done(-EINVAL)),
            Op::Read { .. } => Some(Outcome::done(-EOPNOTSUPP)),
            _ => None,
        }
    }
}

impl Model {
    /// The task does its work in a call that asks for events. Returns false if the task does none,
    /// because completions are ready.
    pub(crate) fn run_for_events(&mut self, r: usize) -> bool {
        let ring = self.ring(r);
        if ring.defers_beside_polling() {
            ring.flush_overflow();
            if ring.cq.len() > 0 {
                return false;
            }
        }
        self.run(r);
        true
    }
}
