//! Reaps completions, and compares what operations have written.

use super::{Lockstep, Same, same};
use crate::model::buffers::F_BUFFER;
use crate::model::cqueue::{Cqe, F_MORE, F_SOCK_NONEMPTY, Size};
use crate::model::errno::{EALREADY, ECANCELED, ENOENT, ETIME};
use crate::op;
use crate::step::Reap;

impl Lockstep<'_> {
    pub(super) fn reap(&mut self, r: usize, how: Reap, n: usize) -> Same {
        let name = op::name(r);
        let mixed = self.model.ring(r).cq.size == Size::Mixed;
        let peeked = self.real(r).peek();
        let mut taken = Vec::new();
        self.real(r).reap(how, n, &mut taken);
        say!(
            self,
            "{}",
            match how {
                Reap::All =>
                    format!("println!(\"{{:?}}\", {name}.completion().collect::<Vec<_>>());"),
                Reap::Some => format!(
                    "println!(\"{{:?}}\", {name}.completion().take({n}).collect::<Vec<_>>());"
                ),
                Reap::Fill => format!(
                    "println!(\"{{:?}}\", {name}.completion().fill(&mut [const {{ std::mem::MaybeUninit::uninit() }}; 8][..{n}]));"
                ),
                Reap::Slices if mixed => format!(
                    "println!(\"{{:?}}\", {name}.completion().take({n}).collect::<Vec<_>>());"
                ),
                Reap::Slices => format!(
                    "let mut queue = {name}.completion();\nprintln!(\"{{:?}}\", queue.as_slices());\nqueue.consume({n});\ndrop(queue);"
                ),
                Reap::Forget => format!(
                    "let mut queue = {name}.completion();\nprintln!(\"{{:?}}\", queue.by_ref().take({n}).collect::<Vec<_>>());\nstd::mem::forget(queue);"
                ),
            }
        );
        let all = how == Reap::All;
        let mut peeked = peeked;
        // A completion may have made a descriptor. The test checks and closes the descriptor when
        // the completion cannot be seen again.
        let mut made = taken.clone();
        for cqe in taken.iter_mut().chain(&mut peeked) {
            self.name_installed(cqe);
        }
        // The flag for more data in a socket is only a hint.
        for cqe in taken.iter_mut().chain(&mut peeked) {
            self.without_hints(r, cqe);
        }
        let most = if all { usize::MAX } else { n };
        let ring = self.model.ring(r);
        let unordered = ring.unordered || ring.workers || ring.cq.overtaken;
        let cq = &mut self.model.ring(r).cq;
        let before = (how == Reap::Forget).then(|| cq.clone());
        let mut expected = Vec::new();
        if unordered {
            if let Some(peeked) = &peeked {
                cq.swap_to_front(peeked);
            }
        }
        same("the first ready completion is", &peeked, &cq.visible().next().copied())?;
        while expected.len() < most {
            if let (true, Some(real)) = (unordered, taken.get(expected.len())) {
                cq.swap_to_front(real);
            }
            let Some(cqe) = cq.next() else { break };
            expected.push(cqe);
        }
        // A forgotten view has released no slots, unless it had reached the end.
        let at_the_end = expected.len() < most;
        if let Some(before) = before {
            if !at_the_end {
                self.model.ring(r).cq = before;
            }
        }
        let differ = taken.iter().zip(&expected).position(|(real, model)| real != model);
        if let Some(i) = differ {
            same(&format!("reaped completion {i} is"), &taken[i], &expected[i])?;
        }
        same("the number of reaped completions is", &taken.len(), &expected.len())?;
        let ring = self.model.ring(r);
        if ring.cq.len() == 0 && !ring.cq.overflows() && ring.restless == 0 && ring.work.is_empty()
        {
            (ring.unordered, ring.cq.overtaken) = (false, false);
        }
        if how != Reap::Forget || at_the_end {
            for cqe in &taken {
                self.check_memory(r, cqe)?;
            }
            for cqe in &mut made {
                self.close_installed(cqe)?;
            }
        }
        Ok(())
    }

    /// Removes the parts of a completion that the kernel does not guarantee.
    pub(super) fn without_hints(&mut self, r: usize, cqe: &mut Cqe) {
        cqe.flags &= !F_SOCK_NONEMPTY;
        self.whichever_came_first(r, cqe);
        let stale = self.model.kernel.known.has("stale_big");
        let again = cqe.flags & F_MORE != 0 || cqe.user_data >> 32 == 1;
        if stale && again && self.model.ring(r).cq.size == Size::Big {
            cqe.big = Some([0; 2]);
        }
    }

    /// A linked timeout may or may not have expired just before its request ended. Replaces either
    /// result by -ECANCELED.
    pub(super) fn whichever_came_first(&mut self, r: usize, cqe: &mut Cqe) {
        let either = [-ETIME, -ENOENT, -EALREADY].contains(&cqe.result);
        if either && self.model.ring(r).too_late.contains(&cqe.user_data) {
            cqe.result = -ECANCELED;
        }
    }

    /// Checks that an operation has written what the model predicts.
    pub(super) fn check_memory(&mut self, r: usize, cqe: &Cqe) -> Same {
        if cqe.flags & F_BUFFER != 0 {
            return self.check_segments(r, cqe);
        }
        let Some(buffer) = self.world.take(cqe.user_data) else { return Ok(()) };
        let Some(bytes) = self.model.read.remove(&cqe.user_data) else { return Ok(()) };
        same("the kernel read", &&buffer[..bytes.len()], &&bytes[..])
    }
}
