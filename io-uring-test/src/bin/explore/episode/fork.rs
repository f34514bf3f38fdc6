//! A forked child uses what it has inherited, and drops it.

use super::{Lockstep, Same};
use crate::forked::{self, Use};
use crate::model::operation::{Entry, Op};
use crate::op;
use crate::real::Sized;
use crate::world::Borrowed;

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
        let built = &self.model.ring(r).built;
        let only_sqe128 = built.accepts_sqe128 && !built.mixed_sq;
        let (mut entries, mut real) = (Vec::new(), Vec::new());
        for _ in 0..n {
            let mut entry = Entry::new(self.next, Op::NOP, 0);
            self.next += 1;
            entry.sqe128 = only_sqe128;
            let mut things = Borrowed { world: &mut self.world, rings: &self.rings };
            let sqe64 = op::entry(entry.op, 0, entry.user_data, &mut things);
            real.push(if only_sqe128 { Sized::Sqe128(sqe64.into()) } else { Sized::Sqe64(sqe64) });
            entries.push(entry);
        }
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
