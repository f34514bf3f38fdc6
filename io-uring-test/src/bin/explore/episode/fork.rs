//! A forked child uses what it has inherited, and drops it.

use super::{Lockstep, Same};
use crate::forked::{self, Use};
use crate::op;

impl Lockstep<'_> {
    pub(super) fn fork(&mut self, r: usize, child: u8) -> Same {
        let name = op::name(r);
        let own = child & 1 != 0;
        // If the child had a ring, an inherited index could refer to it.
        let registered = self.model.ring(r).built.registered;
        let (n, submits) = (usize::from(child >> 2 & 3), child & 16 != 0);
        if child & 2 == 0 || own && registered || !self.model.child_may_use(r, n) {
            say!(self, "// A forked child drops its copies of the rings here.");
            return forked::run(&mut self.rings, own, None);
        }
        let (entries, real): (Vec<_>, Vec<_>) = (0..n).map(|_| self.nop(r)).unzip();
        let observed = self.model.child_uses(r, &entries, submits);
        say!(
            self,
            "// A forked child uses {name} here, and then drops its copies of the rings: it pushes {n} \
             NOPs, and submits: {submits}. The model: {observed:?}"
        );
        let uses = Use { ring: r, entries: &real, observed: &observed };
        forked::run(&mut self.rings, own, Some(&uses))?;
        self.model.system_call();
        self.rest(r)
    }
}
