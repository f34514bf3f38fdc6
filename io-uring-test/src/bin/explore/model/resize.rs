//! Resizing, and the calls that cancel.
//!
//! - Only rings with DEFER_TASKRUN and queues in kernel memory can be resized.
//! - The kernel moves first. If the program cannot follow, the ring is lost: its queues have no slots,
//!   and every call fails. Requests in flight continue, and queued entries never run.
//! - Queued entries and ready completions move to the same positions in the new queues, if they fit.

use super::cqueue::Size;
use super::errno::*;
use super::operation::Criteria;
use super::restrict::call;
use super::setup;
use super::setup::flag::{NO_SQARRAY, SQE_MIXED};
use super::state::Model;

impl Model {
    pub(crate) fn resize(
        &mut self,
        r: usize,
        entries: u32,
        cq_entries: Option<u32>,
    ) -> Result<(), i32> {
        let (can, shows) = (self.kernel.resize, self.kernel.resize_shows_taskrun);
        let ring = self.ring(r);
        let (sq, cq) = setup::sizes(entries, cq_entries, false)?;
        if ring.built.in_memory || !ring.built.descriptor || ring.built.flags & NO_SQARRAY == 0 {
            return Err(EINVAL);
        }
        let queued = ring.sq.len();
        if ring.sq.rewound && queued > sq as usize {
            return Err(EOVERFLOW);
        }
        // In a smaller queue, an entry of two slots could straddle the end.
        if ring.sq.mixed && queued > 0 && sq < ring.sq.capacity {
            return Err(EBUSY);
        }
        // If the kernel does not know the call, it fails before the kernel checks the restrictions.
        if !can {
            return Err(EINVAL);
        }
        ring.may_call(call::RESIZE_RINGS)?;
        if !ring.defers {
            return Err(EINVAL);
        }
        if ring.built.flags & SQE_MIXED != 0 && sq < 2 || ring.cq.size == Size::Mixed && cq < 2 {
            return Err(EOVERFLOW);
        }
        if queued > sq as usize || ring.cq.len() > cq as usize {
            return Err(EOVERFLOW);
        }
        ring.sq.resize(sq);
        ring.cq.resize(cq);
        // The flags move to the new queue too.
        ring.taskrun_for_nothing |= shows;
        Ok(())
    }

    /// The kernel has resized the ring, and the program cannot map the new queues.
    pub(crate) fn lose(&mut self, r: usize) {
        let ring = self.ring(r);
        let reads: Vec<_> = ring.in_flight().filter_map(|entry| entry.op.read_pipe()).collect();
        ring.lost = true;
        ring.sq.truncate(0);
        ring.sq.resize(0);
        ring.cq.lose();
        ring.waiting.clear();
        ring.drained.clear();
        ring.work.clear();
        (ring.alive, ring.restless) = (0, 0);
        self.retired.extend(reads);
    }

    /// `register_sync_cancel`: the call waits until the requests that it has found have ended.
    pub(crate) fn sync_cancel(&mut self, r: usize, by: Criteria) -> Result<usize, i32> {
        // A kernel that runs work in register calls does so even if the call is not allowed.
        self.register_call(r);
        self.ring(r).may_call(call::SYNC_CANCEL)?;
        let several = by.all;
        let found = self.cancel_by(r, by, |_| true);
        self.system_call();
        match found {
            n if n < 0 => Err(-n),
            _ if !several => Ok(0),
            n => Ok(n as usize),
        }
    }
}
