//! Views of both queues that are held over several calls.

use super::{Lockstep, Same, same};
use crate::model::cqueue::Size;
use crate::model::operation::{Entry, Op};
use crate::model::restrict::opcode;
use crate::model::views::Part;
use crate::op;

/// The Rust code that does the same.
fn code(name: &str, parts: &[Part], entries: &[Entry]) -> String {
    let mut code = format!("{{\nlet (submitter, mut queue, mut completions) = {name}.split();\n");
    for (part, entry) in parts.iter().zip(entries) {
        code += &match part {
            Part::Push => {
                let nop = op::code(entry.op, 0, entry.user_data);
                let nop = if entry.sqe128 { format!("Entry128::from({nop})") } else { nop };
                format!("let _ = unsafe {{ queue.push(&{nop}) }};\n")
            }
            Part::Sync => "queue.sync();\n".into(),
            Part::Submit => "println!(\"{:?}\", submitter.submit());\n".into(),
            Part::Take(n) => {
                format!(
                    "println!(\"{{:?}}\", completions.by_ref().take({n}).collect::<Vec<_>>());\n"
                )
            }
            Part::SyncCompletions => "completions.sync();\n".into(),
        };
    }
    code + "}"
}

impl Lockstep<'_> {
    /// Uses only NOPs, so that the model knows what happens between the actions.
    pub(super) fn split(&mut self, r: usize, parts: &[Part]) -> Same {
        let overflow_in_order = self.model.kernel.overflow_in_order;
        let ring = self.model.ring(r);
        let odd = ring.workers || ring.unordered || ring.drain_active || !ring.work.is_empty();
        let may = !ring.disabled && !ring.lost && ring.may_do(opcode::NOP, 0);
        let plain = ring.sq.entries().all(|entry| entry.op == Op::NOP && entry.flags == 0);
        // In a mixed queue, the number of slots is not the number of completions. A rewound queue
        // is submitted in another way.
        let counts = ring.cq.size != Size::Mixed && !ring.sq.rewound && !ring.cq.overflows();
        // On kernels where a completion can overtake those that wait for room, none may have to wait.
        let pushed = parts.iter().filter(|part| **part == Part::Push).count();
        let coming = ring.cq.len() + ring.sq.len() + pushed;
        let in_order = overflow_in_order || coming <= ring.cq.capacity as usize;
        // This step closes no descriptors that earlier operations have made.
        let made = ring.cq.all().any(|cqe| self.installs.contains_key(&cqe.user_data));
        let ring = self.model.ring(r);
        if odd || !may || !plain || !counts || !in_order || made || !ring.waiting.is_empty() {
            return Ok(());
        }
        let (entries, real): (Vec<_>, Vec<_>) = parts.iter().map(|_| self.nop(r)).unzip();
        say!(self, "{}", code(op::name(r), parts, &entries));
        let mut views = self.model.views(r);
        let mut expected = Vec::new();
        for (part, entry) in parts.iter().zip(&entries) {
            expected.push(self.model.view(r, &mut views, *part, entry));
        }
        self.model.drop_views(r, views);
        // SAFETY: NOPs use no memory.
        let mut seen = unsafe { self.real(r).split(parts, &real) };
        for cqe in seen.iter_mut().flat_map(|glance| &mut glance.taken) {
            self.without_hints(r, cqe);
        }
        for ((part, real), model) in parts.iter().zip(&seen).zip(&expected) {
            same(&format!("after {part:?}, the views show"), real, model)?;
        }
        let taken: Vec<_> = seen.into_iter().flat_map(|glance| glance.taken).collect();
        for cqe in &taken {
            self.check_memory(r, cqe)?;
        }
        self.rest(r)
    }
}
