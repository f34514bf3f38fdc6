//! Timeouts.
//!
//! - An expired timeout ends with -ETIME, which is a failure unless the timeout has the flag for
//!   success. A timeout that may expire several times ends with the last one.
//! - A timeout linked to a request cancels the request when it expires, and ends with -ETIME. If the
//!   request ends first, the timeout ends with -ECANCELED. This is no failure: a silent timeout posts
//!   nothing then. If the timeout expires while its request is ending, it does not find the request,
//!   and may end with -ENOENT.
//! - A waiting timeout can be updated. For a linked timeout, the update must say that it is one.

use super::errno::*;
use super::operation::{Criteria, Op, Time};
use super::ring::{Chain, Work};
use super::state::Model;

impl Model {
    /// The timeouts that expire at once have expired.
    pub(crate) fn time_passes(&mut self, r: usize) {
        let soon =
            |op: &Op| matches!(op, Op::Timeout { .. } | Op::LinkTimeout { .. }) && op.runs_out();
        while let Some(i) =
            self.ring(r).waiting.iter().position(|waiting| soon(&waiting.chain[0].op))
        {
            let chain = self.ring(r).waiting.remove(i).chain;
            let Op::Timeout { repeats, success, .. } = chain[0].op else { continue };
            let times = repeats.unwrap_or(1);
            let counts = &mut self.ring(r).counts;
            counts.ended = counts.ended.wrapping_add(times.into());
            for _ in 1..times {
                if !self.post_one_of_several(r, chain[0].user_data, -ETIME, 0) {
                    break;
                }
            }
            let (result, failed) = (-ETIME, !success);
            let work = Work::Complete { chain, result, flags: 0, big: None, failed };
            self.ring(r).work.push_back(work);
        }
        let watches = |chain: &Chain| chain.get(1).is_some_and(|next| soon(&next.op));
        while let Some(i) = self.ring(r).waiting.iter().position(|it| watches(&it.chain)) {
            let waiting = &mut self.ring(r).waiting[i];
            let user_data = Some(waiting.chain[0].user_data);
            let ends = waiting.cancelled;
            let chain: Chain = waiting.chain.remove(1).into_iter().collect();
            if ends {
                // The request was canceled before, and its work may run before or after the expiry.
                self.ring(r).too_late.push(chain[0].user_data);
            } else {
                self.cancel_by(r, Criteria { user_data, pipe: None, all: false }, |_| true);
            }
            let result = if ends { -ECANCELED } else { -ETIME };
            let work = Work::Complete { chain, result, flags: 0, big: None, failed: false };
            self.ring(r).work.push_back(work);
        }
    }

    pub(super) fn update_timeout(&mut self, r: usize, wanted: u64, new: Time, linked: bool) -> i32 {
        let at = usize::from(linked);
        let ring = self.ring(r);
        // A linked timeout is active from the start of its request until the completion of the request
        // is posted, even if the request ends at once. A rejected chain never starts.
        let ending = ring.work.iter_mut().filter_map(|work| match work {
            Work::Complete { chain, .. } if linked => Some(chain),
            _ => None,
        });
        let started = |chain: &&mut Chain| chain.iter().all(|entry| entry.failed.is_none());
        let done = ring.done.iter_mut().map(|done| &mut done.chain).filter(started);
        let ending = ending.chain(done.filter(|_| linked));
        let waiting = ring.waiting.iter_mut().map(|waiting| &mut waiting.chain);
        let there = waiting.chain(ending).filter_map(|chain| chain.get_mut(at));
        for entry in there.filter(|entry| entry.user_data == wanted) {
            match &mut entry.op {
                Op::Timeout { time, count, .. } if !linked => (*time, *count) = (new, 0),
                Op::LinkTimeout { time } if linked => *time = new,
                _ => continue,
            }
            if new.is_soon {
                ring.in_its_own_time();
            }
            return 0;
        }
        -ENOENT
    }
}
