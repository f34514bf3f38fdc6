//! Cancellation.
//!
//! - A cancellation finds waiting requests: by user data, by file, or any. It does not find the
//!   entries linked after them.
//! - Until its completion is posted, another cancellation can find a request again. This does not
//!   apply to timeouts.
//! - A request that was found completes with -ECANCELED, by work of its task, and its chain is severed.
//!   The cancellation itself completes before that. (Older kernels complete a poll at once, before
//!   the removal that found it.)
//! - A cancellation of one request results in 0 or -ENOENT, and one of all requests in their number.

use super::errno::*;
use super::operation::{Criteria, Entry, Op};
use super::ring::{Done, Work};
use super::state::Model;

impl Model {
    /// Runs a cancellation, and returns its result.
    pub(super) fn cancel(&mut self, r: usize, op: &Op) -> i32 {
        match *op {
            Op::Cancel { user_data } => {
                let by = Criteria { user_data: Some(user_data), pipe: None, all: false };
                self.cancel_by(r, by, |_| true)
            }
            Op::CancelAny { by } => self.cancel_by(r, by, |_| true),
            Op::PollRemove { user_data } => self.remove_poll(r, user_data),
            Op::TimeoutRemove { user_data } => {
                let by = Criteria { user_data: Some(user_data), pipe: None, all: false };
                self.cancel_by(r, by, |op| matches!(op, Op::Timeout { .. }))
            }
            Op::PollUpdate { user_data, input, new_user_data } => {
                self.update_poll(r, user_data, input, new_user_data)
            }
            Op::TimeoutUpdate { user_data, time, linked } => {
                self.update_timeout(r, user_data, time, linked)
            }
            _ => unreachable!("this operation does not cancel"),
        }
    }

    /// Removes a poll, which no cancellation finds afterwards. If the event that the poll waits for
    /// has just happened, the removal fails.
    fn remove_poll(&mut self, r: usize, user_data: u64) -> i32 {
        let at_once = self.kernel.poll_removed_at_once;
        let ring = self.ring(r);
        let is_it =
            |entry: &Entry| entry.user_data == user_data && matches!(entry.op, Op::Poll { .. });
        let Some(i) = ring.waiting.iter().position(|waiting| is_it(&waiting.chain[0])) else {
            return -ENOENT;
        };
        let waiting = &mut ring.waiting[i];
        if waiting.woken {
            // The removal counts as one more wake-up: the poll checks the readiness again when it
            // runs.
            waiting.mask = 0;
            return -EALREADY;
        }
        let chain = ring.waiting.remove(i).chain;
        let (result, flags, big, failed) = (-ECANCELED, 0, None, true);
        match at_once {
            true => ring.done.push(Done { chain, result, flags, big, failed }),
            false => ring.work.push_back(Work::Complete { chain, result, flags, big, failed }),
        }
        0
    }

    /// Changes what a poll waits for, and starts the poll anew: data that is already there counts
    /// again.
    fn update_poll(
        &mut self,
        r: usize,
        user_data: u64,
        new_input: Option<bool>,
        new_user_data: Option<u64>,
    ) -> i32 {
        let ring = self.ring(r);
        let is_it =
            |entry: &Entry| entry.user_data == user_data && matches!(entry.op, Op::Poll { .. });
        let Some(i) = ring.waiting.iter().position(|waiting| is_it(&waiting.chain[0])) else {
            return -ENOENT;
        };
        if ring.waiting[i].woken {
            ring.waiting[i].mask = 0;
            return -EALREADY;
        }
        let mut waiting = ring.waiting.remove(i);
        let entry = &mut waiting.chain[0];
        entry.user_data = new_user_data.unwrap_or(user_data);
        let Op::Poll { pipe, multi, input } = &mut entry.op else { return -ENOENT };
        *input = new_input.unwrap_or(*input);
        let (pipe, multi, input) = (*pipe, *multi, *input);
        let ready = self.readiness(pipe, input);
        let ring = self.ring(r);
        if ready != 0 && !multi {
            let (chain, result) = (waiting.chain, ready);
            let work = Work::Complete { chain, result, flags: 0, big: None, failed: false };
            ring.work.push_back(work);
            return 0;
        }
        if ready != 0 {
            waiting.woken = true;
            ring.work.push_back(Work::Look(waiting.id));
        }
        ring.waiting.push(waiting);
        0
    }

    /// Cancels the matching requests. Returns their number if all were to be canceled, else 0 or
    /// -ENOENT.
    pub(crate) fn cancel_by(&mut self, r: usize, by: Criteria, kind: impl Fn(&Op) -> bool) -> i32 {
        let several = by.all;
        let mut found = 0;
        let ring = self.ring(r);
        let mut i = 0;
        while i < ring.waiting.len() {
            let waiting = &mut ring.waiting[i];
            let entry = &waiting.chain[0];
            let matches = kind(&entry.op)
                && by.user_data.is_none_or(|user_data| user_data == entry.user_data)
                && by.pipe.is_none_or(|pipe| entry.op.source() == Some(pipe));
            if !matches {
                i += 1;
                continue;
            }
            found += 1;
            if let Op::Timeout { .. } = entry.op {
                // The kernel takes a timeout off its list at once, so that nothing finds it again.
                let chain = ring.waiting.remove(i).chain;
                let work =
                    Work::Complete { chain, result: -ECANCELED, flags: 0, big: None, failed: true };
                ring.work.push_back(work);
            } else {
                waiting.cancelled = true;
                if !waiting.woken {
                    waiting.woken = true;
                    let id = waiting.id;
                    ring.work.push_back(Work::Look(id));
                }
                i += 1;
            }
            if !several {
                return 0;
            }
        }
        // The order of their completions is not specified.
        self.ring(r).unordered |= found > 1;
        if several { found } else { -ENOENT }
    }
}
