//! Descriptors and mappings: a step changes only those that the model knows of.

use super::{Lockstep, Same};
use crate::footprint;
use crate::model::holds::Holds;
use crate::step::Step;

impl Lockstep<'_> {
    /// What the process holds besides its rings, if the step may change what the rings hold.
    pub(super) fn others(&self, step: &Step) -> Option<Holds> {
        let may_change = matches!(
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
        // A setup may name a file, which is opened when it is first used.
        let _ = self.world.reader(0);
        // An operation that makes a descriptor may end in any step.
        (may_change && self.installs.is_empty()).then(|| self.besides_rings())
    }

    /// Compares what the process holds besides its rings with what it held before the step.
    pub(super) fn compare_others(&self, before: Option<Holds>) -> Same {
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
