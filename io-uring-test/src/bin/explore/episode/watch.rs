//! Another thread observes the ring.

use super::{Lockstep, Same, same};
use crate::model::operation::{Entry, Op};
use crate::model::restrict::opcode;

/// How often NOPs are submitted and reaped while the other thread reads the number of ready
/// completions.
const ROUNDS: usize = 1000;

impl Lockstep<'_> {
    /// Another thread never sees more ready completions than the queue has slots.
    pub(super) fn watch(&mut self, r: usize) -> Same {
        let ring = self.model.ring(r);
        let busy = ring.outstanding() > 0 || ring.cq.len() > 0 || ring.cq.overflows();
        let odd = ring.workers || ring.taskrun() || ring.drain_active;
        let may = !ring.disabled && !ring.lost && ring.may_do(opcode::NOP, 0);
        let plain = !ring.built.accepts_sqe128 && !ring.built.local;
        if busy || odd || !may || !plain {
            return Ok(());
        }
        let at_once = ring.sq.capacity.min(8) as usize;
        let room = ring.cq.capacity as usize;
        let mut reaped = 0;
        for _ in 0..ROUNDS {
            let ring = self.model.ring(r);
            let nops = (0..at_once).map(|_| Entry::new(0, Op::NOP, 0)).collect();
            let _ = ring.sq.push(nops);
            ring.sq.publish();
            let _ = self.model.submit(r, None);
            while self.model.ring(r).cq.next().is_some() {
                reaped += 1;
            }
        }
        say!(
            self,
            "// Here, {reaped} NOPs run, {at_once} at a time, and another thread reads `status`."
        );
        let (real, most) = self
            .real(r)
            .watched(ROUNDS, at_once)
            .map_err(|e| format!("submitting NOPs failed with {e}"))?;
        same("the number of reaped NOPs is", &real, &reaped)?;
        match most <= room {
            true => Ok(()),
            false => Err(format!(
                "another thread saw {most} ready completions; the queue has {room} slots"
            )),
        }
    }
}
