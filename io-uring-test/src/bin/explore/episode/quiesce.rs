//! Quiescing: after it, nothing of the ring is in flight.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Lockstep, Same, raw, same};
use crate::model::cqueue::{Cqe, F_MORE, Size};
use crate::model::errno::{ECANCELED, EOVERFLOW};
use crate::model::operation::{Criteria, Entry, Op};
use crate::op;

/// How long it takes at most: hung.
const HUNG: Duration = Duration::from_secs(5);

impl Lockstep<'_> {
    pub(super) fn quiesce(&mut self, r: usize) -> Same {
        let Some((counted, silent)) = self.in_flight(r) else { return Ok(()) };
        if counted.is_empty() || !self.may_submit(r) || !self.model.kernel.sync_cancel {
            return Ok(());
        }
        let mut in_flight = counted.len();
        say!(
            self,
            "println!(\"{{:?}}\", {}.quiesce_with(&mut {in_flight}, Duration::from_secs(5), &[], |cqe| !{silent:?}.contains(&cqe.user_data())));",
            op::name(r)
        );
        let mut real: Vec<Cqe> = Vec::new();
        let result = self.real(r).quiesce(&mut in_flight, HUNG, &mut |cqe| {
            real.push(cqe);
            !silent.contains(&cqe.user_data)
        });
        // A mixed queue that was full may repeat completions, and quiesce says that it cannot count.
        let mixed = self.model.ring(r).cq.size == Size::Mixed;
        let in_doubt = mixed && raw(result) == Err(EOVERFLOW);
        if !in_doubt {
            same("quiesce", &(raw(result), in_flight), &(Ok(()), 0))?;
        }
        let expected = self.end_of_all(r);
        self.same_ends(r, &counted, &real, &expected)?;
        // What is silent may post when it is cancelled, and nobody has waited for that.
        for _ in 0..2 + 2 * silent.len() {
            raw(self.real(r).get_events()).map_err(|e| format!("get_events: errno {e}"))?;
        }
        let mut late = Vec::new();
        self.real(r).reap(crate::step::Reap::All, 0, &mut late);
        say!(
            self,
            "{0}.submitter().get_events().unwrap(); {0}.completion().for_each(drop);",
            op::name(r)
        );
        match late.iter().find(|cqe| !silent.contains(&cqe.user_data)) {
            Some(cqe) => Err(format!("after quiesce: {cqe:?}")),
            None => Ok(()),
        }
    }

    /// The user data of what is in flight and counts, and of what is silent; nothing where it is not
    /// clear what counts, or what comes beside it.
    fn in_flight(&mut self, r: usize) -> Option<(Vec<u64>, Vec<u64>)> {
        let ring = self.model.ring(r);
        let chains = ring.waiting.iter().map(|waiting| &waiting.chain);
        let chains = chains.chain(ring.drained.iter().map(|drained| &drained.chain));
        let mut all: Vec<&Entry> = chains.flatten().collect();
        all.extend(ring.work.iter().flat_map(|work| work.chain()));
        let chained = all.iter().any(|entry| entry.is_linked() && entry.is_silent());
        all.extend(ring.sq.entries());
        let links = all.iter().any(|entry| entry.is_linked());
        let is_silent = all.iter().any(|entry| entry.is_silent());
        let message = |user_data: u64| user_data >> 32 == 1;
        let messages = all.iter().any(|entry| matches!(entry.op, Op::Message { .. }))
            || ring.work.iter().any(|work| matches!(work, crate::model::ring::Work::Message(_)))
            || ring.cq.all().any(|cqe| message(cqe.user_data));
        let full = ring.cq.size == Size::Mixed
            && ring.cq.len() + 3 * ring.outstanding() >= ring.cq.capacity as usize;
        let queued = ring.sq.entries().any(|entry| entry.is_silent());
        // What a chain cancels may be cancelled already when its turn comes.
        let cancels = links && all.iter().any(|entry| entry.op.cancels());
        // What has happened and what is cancelled meet: either may come first.
        let woken = ring.waiting.iter().any(|waiting| waiting.woken);
        if ring.disabled
            || woken
            || cancels
            || chained
            || queued
            || (links && is_silent)
            || messages
            || full
            || ring.workers
        {
            return None;
        }
        let (silent, loud): (Vec<&Entry>, Vec<&Entry>) =
            all.into_iter().partition(|entry| entry.is_silent());
        if loud.is_empty() && !silent.is_empty() {
            // What counts is there already: nothing is cancelled.
            return None;
        }
        let mut counted: Vec<u64> = loud.iter().map(|entry| entry.user_data).collect();
        let silent: Vec<u64> = silent.iter().map(|entry| entry.user_data).collect();
        let done = ring.cq.all().filter(|cqe| cqe.flags & F_MORE == 0).map(|cqe| cqe.user_data);
        counted.extend(
            done.filter(|user_data| !silent.contains(user_data) && *user_data != super::PAD),
        );
        // Completions of what was silent and has failed are there already, and are not told apart.
        Some((counted, silent))
    }

    /// The model's end of all: everything is submitted and cancelled.
    fn end_of_all(&mut self, r: usize) -> Vec<Cqe> {
        let mut all = Vec::new();
        let everything = Criteria { user_data: None, pipe: None, all: true };
        for _ in 0..1000 {
            while let Some(cqe) = self.model.ring(r).cq.next() {
                all.push(cqe);
            }
            let ring = self.model.ring(r);
            if ring.outstanding() == 0 && ring.cq.all().next().is_none() {
                break;
            }
            if ring.sq.len() > 0 {
                let _ = self.model.submit(r, None);
            } else {
                self.model.cancel_by(r, everything, |_| true);
            }
            self.model.run(r);
            self.model.ring(r).cq.flush();
            self.model.system_call();
        }
        let ring = self.model.ring(r);
        (ring.restless, ring.workers, ring.unordered) =
            (0, ring.workers || ring.drain_active, false);
        all
    }

    /// Each operation has ended once, and as the model says, or cancelled.
    fn same_ends(&mut self, r: usize, counted: &[u64], real: &[Cqe], expected: &[Cqe]) -> Same {
        let ends = |all: &[Cqe]| -> BTreeMap<u64, i32> {
            all.iter()
                .filter(|cqe| cqe.flags & F_MORE == 0)
                .map(|cqe| (cqe.user_data, cqe.result))
                .collect()
        };
        let (real_ends, model_ends) = (ends(real), ends(expected));
        let exact = !self.model.ring(r).workers;
        for user_data in counted {
            let (real, model) = (real_ends.get(user_data), model_ends.get(user_data));
            let cancelled = !exact && real == Some(&-ECANCELED);
            if real != model && !cancelled {
                return Err(format!(
                    "quiesce: {user_data} ends with {real:?}, and the model says {model:?}"
                ));
            }
        }
        for cqe in real {
            self.check_memory(cqe)?;
        }
        Ok(())
    }
}
