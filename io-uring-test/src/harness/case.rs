//! The definition of a case.

use super::need::Need;
use super::outcome::Result;
use super::ring::{Kind, Ring};
use super::setup::Setup;

/// A test of one behavior of the crate against the live kernel.
pub(crate) struct Case {
    /// The name within its file.
    pub(crate) name: &'static str,
    /// What the kernel or the machine may lack: the only reason to skip the case.
    pub(crate) needs: &'static [Need],
    pub(crate) run: Run,
}

/// How often a case runs, and on what.
pub(crate) enum Run {
    Once(fn() -> Result),
    /// On a ring of this kind.
    Kind(&'static Kind, fn(&mut dyn Ring) -> Result),
    /// On a fresh ring of every kind that the kernel sets up this way.
    Kinds(Setup, fn(&mut dyn Ring) -> Result),
}

impl Case {
    /// A case that creates its own rings.
    pub(crate) const fn once(
        name: &'static str,
        needs: &'static [Need],
        run: fn() -> Result,
    ) -> Self {
        Self { name, needs, run: Run::Once(run) }
    }

    /// A case for one kind of ring. It has the name of the kind.
    pub(crate) const fn kind(kind: &'static Kind, run: fn(&mut dyn Ring) -> Result) -> Self {
        Self { name: kind.name, needs: &[], run: Run::Kind(kind, run) }
    }

    /// A case for every kind of ring.
    pub(crate) const fn kinds(
        name: &'static str,
        needs: &'static [Need],
        run: fn(&mut dyn Ring) -> Result,
    ) -> Self {
        Self { name, needs, run: Run::Kinds(Setup::USUAL, run) }
    }

    /// Runs the case on rings with this setup instead of the usual one.
    pub(crate) const fn setup(mut self, setup: Setup) -> Self {
        if let Run::Kinds(its, _) = &mut self.run {
            *its = setup;
        }
        self
    }
}
