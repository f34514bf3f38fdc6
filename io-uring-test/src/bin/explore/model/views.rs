//! Views of both queues that are held over several calls.
//!
//! - Entries that a view of the submission queue pushes are queued when it syncs. Before that, neither a
//!   submission nor the status sees them. The view sees what the kernel has consumed only when it syncs.
//! - The slots that a view of the completion queue has consumed are released at its next sync, or when
//!   it reaches the end of what it sees. Until then, the status counts them as ready. The view does not
//!   see completions posted in between; the status does.

use super::cqueue::Cqe;
use super::operation::Entry;
use super::state::Model;

/// An action of a program on its views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Push,
    Sync,
    Submit,
    Take(usize),
    SyncCompletions,
}

/// The result of an action, and what the views then show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Glance {
    pub(crate) pushed: Option<bool>,
    pub(crate) submitted: Option<Result<usize, i32>>,
    pub(crate) taken: Vec<Cqe>,
    pub(crate) queued: usize,
    pub(crate) full: bool,
    pub(crate) ready: usize,
    /// What the status of each queue shows meanwhile.
    pub(crate) queued_by_status: usize,
    pub(crate) ready_by_status: usize,
}

/// The views.
pub(crate) struct Views {
    /// How many slots the kernel has consumed since the last sync.
    gone: usize,
    /// How many completions were ready at the last sync, and how many of them the program has
    /// consumed.
    seen: usize,
    taken: usize,
}

impl Model {
    pub(crate) fn views(&mut self, r: usize) -> Views {
        Views { gone: 0, seen: self.ring(r).cq.len(), taken: 0 }
    }

    /// Runs one action of a program.
    pub(crate) fn view(
        &mut self,
        r: usize,
        views: &mut Views,
        part: Part,
        entry: &Entry,
    ) -> Glance {
        let mut glance = Glance::default();
        match part {
            Part::Push => {
                let sq = &mut self.ring(r).sq;
                let fits = sq.len() + views.gone < sq.capacity as usize;
                glance.pushed = Some(fits && sq.push(vec![entry.clone()]).is_ok());
            }
            Part::Sync => {
                self.ring(r).sq.publish();
                views.gone = 0;
            }
            Part::Submit => {
                let held = self.ring(r).sq.hold_back();
                let before = self.ring(r).sq.len();
                glance.submitted = Some(self.submit(r, None));
                views.gone += before - self.ring(r).sq.len();
                self.ring(r).sq.restore(held);
            }
            Part::Take(n) => {
                let there = self.ring(r).cq.visible().take(views.seen).skip(views.taken);
                glance.taken = there.take(n).copied().collect();
                views.taken += glance.taken.len();
                if glance.taken.len() < n {
                    self.release(r, views);
                }
            }
            Part::SyncCompletions => {
                self.release(r, views);
                views.seen = self.ring(r).cq.len();
            }
        }
        let sq = &self.ring(r).sq;
        glance.queued = sq.len() + views.gone;
        glance.full = glance.queued == sq.capacity as usize;
        glance.ready = views.seen - views.taken;
        glance.queued_by_status = sq.published();
        glance.ready_by_status = self.ring(r).cq.len();
        glance
    }

    /// The views are dropped.
    pub(crate) fn drop_views(&mut self, r: usize, mut views: Views) {
        self.ring(r).sq.publish();
        self.release(r, &mut views);
    }

    fn release(&mut self, r: usize, views: &mut Views) {
        for _ in 0..views.taken {
            self.ring(r).cq.next();
        }
        views.seen -= views.taken;
        views.taken = 0;
    }
}
