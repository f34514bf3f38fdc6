//! Checks that a step changes the descriptors and mappings of the process only as the model predicts.

use super::{Lockstep, Same};
use crate::footprint;
use crate::model::holds::Holds;
use crate::model::operation::Op;
use crate::op;
use crate::step::Step;

impl Lockstep<'_> {
    /// What the process holds besides its rings, if the step takes or releases descriptors or
    /// mappings, or is one of some that must not.
    pub(super) fn besides_rings_before(&self, step: &Step) -> Option<Holds> {
        let is_checked = matches!(
            step,
            Step::Make { .. }
                | Step::Resize { .. }
                | Step::Group { .. }
                | Step::GroupGone { .. }
                | Step::Buffers { .. }
                | Step::Clone { .. }
                | Step::IntoLocal { .. }
                | Step::IntoShared { .. }
                | Step::RegisterFd { .. }
                | Step::UnregisterFd { .. }
                | Step::CloseFd { .. }
                | Step::Fork { .. }
        );
        if !is_checked || self.makes_descriptors() {
            return None;
        }
        // A setup may attach to pipe 0, which is created when it is first used.
        let _ = self.world.reader(0);
        Some(self.besides_rings())
    }

    /// Whether an operation may make a descriptor during the step.
    fn makes_descriptors(&self) -> bool {
        let makes = |op| matches!(op, Op::Install { .. });
        let made = |user_data| self.installs.contains_key(&user_data);
        let rings = self.model.rings.iter().flatten();
        (0..2).any(|r| op::all(&self.model, r).any(makes))
            || rings.flat_map(|ring| ring.cq.all()).any(|cqe| made(cqe.user_data))
    }

    /// Compares what the process holds besides its rings with what it held before the step.
    pub(super) fn compare_besides_rings(&self, before: Option<Holds>) -> Same {
        let Some(before) = before else { return Ok(()) };
        let now = self.besides_rings();
        if now == before {
            return Ok(());
        }
        Err(format!("besides its rings, the process holds {now:?}; before the step {before:?}"))
    }

    fn besides_rings(&self) -> Holds {
        self.model.rings.iter().flatten().fold(footprint::look(), |all, ring| all - ring.holds())
    }
}
