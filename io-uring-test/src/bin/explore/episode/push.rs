//! Pushes the entries of a step on both sides.

use super::{Lockstep, Same, iopoll, same, sqpoll};
use crate::model::operation::{BUFFER_SELECT, By, Entry, LINKS, Op, Receive, Transfer, Way};
use crate::model::setup::flag;
use crate::op;
use crate::real::Sized;
use crate::step::{Push, Raw};
use crate::world::Borrowed;

impl Lockstep<'_> {
    /// A plain NOP of the size that the queue accepts, for both sides.
    pub(super) fn nop(&mut self, r: usize) -> (Entry, Sized) {
        let built = &self.model.ring(r).built;
        let mut entry = Entry::new(self.next, Op::NOP, 0);
        self.next += 1;
        entry.sqe128 = built.accepts_sqe128 && !built.mixed_sq;
        let mut things = Borrowed { world: &mut self.world, rings: &self.rings };
        let sqe64 = op::entry(entry.op, entry.flags, entry.user_data, &mut things);
        let real = if entry.sqe128 { Sized::Sqe128(sqe64.into()) } else { Sized::Sqe64(sqe64) };
        (entry, real)
    }

    pub(super) fn push(&mut self, r: usize, n: usize, mut how: Push, draw: Raw) -> Same {
        let accepts_sqe128 = self.model.ring(r).built.accepts_sqe128;
        let only_sqe128 = accepts_sqe128 && !self.model.ring(r).built.mixed_sq;
        let mut entries = Vec::new();
        let mut real = Vec::new();
        let mut sqe128 = None;
        for i in 0..n {
            let user_data = self.next;
            self.next += 1;
            let draw = Raw {
                arg: draw.arg.wrapping_add(37 * i as u8),
                flags: draw.flags.wrapping_add(53 * i as u8),
                ..draw
            };
            let (mut op, mut flags) = op::draw(&self.model, r, draw, user_data);
            // Of several entries, only the first may have one of these operations.
            if i > 0
                && matches!(
                    op,
                    Op::Read { .. }
                        | Op::ReadFixed { .. }
                        | Op::ReadSlot { .. }
                        | Op::Poll { .. }
                        | Op::LinkTimeout { .. }
                        | Op::TimeoutUpdate { .. }
                        | Op::Timeout { count: 1.., .. }
                        | Op::Receive(_)
                        | Op::Transfer(_)
                )
            {
                flags &= !BUFFER_SELECT;
                op = Op::NOP;
            }
            let mut entry = Entry::new(user_data, op, flags);
            let is_sqe128 = *sqe128.get_or_insert(accepts_sqe128 && draw.arg & 1 != 0);
            // On a mixed queue, the opcode makes an entry a big one.
            entry.sqe128 = is_sqe128 && (only_sqe128 || self.model.kernel.nop128);
            if entry.sqe128 && !only_sqe128 && !matches!(entry.op, Op::Nop { .. }) {
                entry.op = Op::NOP;
                entry.flags &= !BUFFER_SELECT;
            }
            if self.model.ring(r).thread_stays_awake() {
                let queued = self.model.ring(r).sq.entries().last();
                sqpoll::adapt_awake(&mut entry, entries.last().or(queued));
                if i + 1 == n {
                    entry.flags &= !LINKS;
                }
            }
            if self.model.ring(r).built.flags & flag::IOPOLL != 0 {
                // Worker threads would run a chain that ends with the submission. How many rounds of
                // deferred work the kernel does for a longer chain depends on the call.
                let linked = entries.last().is_some_and(Entry::is_linked);
                let ends = i + 1 == n || linked && self.model.ring(r).defers_beside_polling();
                iopoll::adapt(&mut entry, ends);
            }
            let mut things = Borrowed { world: &mut self.world, rings: &self.rings };
            let sqe64 = op::entry(entry.op, entry.flags, user_data, &mut things);
            real.push(match (entry.sqe128, only_sqe128) {
                (true, true) => Sized::Sqe128(sqe64.into()),
                (true, false) => Sized::Sqe128(op::nop128(entry.op, entry.flags, user_data)),
                _ => Sized::Sqe64(sqe64),
            });
            if let Op::Install { slot, keeps_on_exec } = entry.op {
                self.installs.insert(user_data, (slot, keeps_on_exec));
            }
            if let Op::Receive(what) = entry.op {
                self.receives.insert(user_data, what);
            }
            if let Op::Transfer(Transfer { file: source, len, way: Way::Provided(group), .. }) =
                entry.op
            {
                let (by, len, multi, tells_length) = (By::Read, len.into(), false, false);
                let what = Receive { source, group, by, len, multi, tells_length };
                self.receives.insert(user_data, what);
            }
            if entry.is_silent() {
                self.silent.insert(user_data, entry.is_linked());
            }
            entries.push(entry);
        }
        if self.model.ring(r).thread.is_some() {
            // The thread would consume some of the entries before the others.
            how.sync_after = None;
            if !self.may_publish(r, &entries) {
                return Ok(());
            }
        }
        self.say_push(r, how, &entries, only_sqe128);
        // SAFETY: the world owns the objects that the entries use. It outlives the operations, or
        // leaks the objects.
        let results = unsafe { self.real(r).push(&real, &how) };
        let sq = &mut self.model.ring(r).sq;
        let mut expected = Vec::new();
        if how.at_once {
            expected.push(sq.push(entries));
        } else {
            for (i, entry) in entries.into_iter().enumerate() {
                let committed = !how.in_place || how.reserved > 1;
                expected.push(match committed {
                    true => sq.push(vec![entry]),
                    // Reserving only checks whether there is room. Nothing is pushed.
                    false => sq.try_push(&entry),
                });
                if how.sync_after == Some(i) {
                    sq.publish();
                }
            }
        }
        match how.forget {
            true => sq.forget(),
            false => sq.publish(),
        }
        let results: Vec<bool> = results.iter().map(Result::is_ok).collect();
        let expected: Vec<bool> = expected.iter().map(Result::is_ok).collect();
        same("the pushes succeeded:", &results, &expected)
    }

    pub(super) fn say_push(&mut self, r: usize, how: Push, entries: &[Entry], only_sqe128: bool) {
        self.watch.say(&|| {
            let all: Vec<_> = entries
                .iter()
                .map(|entry| match (entry.sqe128, only_sqe128) {
                    (_, true) => format!("Entry128::from({})", op::code(entry.op, entry.flags, entry.user_data)),
                    (true, false) => op::code(entry.op, entry.flags, entry.user_data).replacen("opcode::Nop::new()", "opcode::Nop128::new()", 1),
                    _ => op::code(entry.op, entry.flags, entry.user_data),
                })
                .collect();
            // While a view of the queue exists, its ring is borrowed.
            let mut code = String::new();
            for to in [0, 1] {
                let to_it = |entry: &Entry| matches!(entry.op, Op::Message { ring, .. } | Op::SendFile { ring, .. } if ring == to);
                if entries.iter().any(to_it) {
                    code += &format!("let {0}_fd = {0}.as_raw_fd();\n", op::name(to));
                }
            }
            code += &format!("let mut queue = {}.submission();\n", op::name(r));
            if how.at_once {
                let all = all.join(", ");
                code += &match how.in_place {
                    // The compiler could not tell the type of an empty array.
                    true if entries.is_empty() => format!(
                        "let _ = unsafe {{ queue.push_each(0, |_| -> {} {{ unreachable!() }}) }};\n",
                        if only_sqe128 { "Entry128" } else { "Entry" }
                    ),
                    true => format!("let _ = unsafe {{ queue.push_each({}, |i| [{all}][i]) }};\n", entries.len()),
                    false => format!("let _ = unsafe {{ queue.push_multiple(&[{all}]) }};\n"),
                };
            } else {
                for (i, one) in all.iter().enumerate() {
                    code += &match (how.in_place, how.reserved) {
                        (false, _) => format!("let _ = unsafe {{ queue.push(&{one}) }};\n"),
                        (true, 0) => "drop(queue.reserve::<Entry>());\n".to_string(),
                        (true, 1) => format!("drop(queue.reserve().map(|vacant| vacant.write({one})));\n"),
                        (true, _) => format!("let _ = queue.reserve().map(|vacant| unsafe {{ vacant.write({one}).commit() }});\n"),
                    };
                    if how.sync_after == Some(i) {
                        code += "queue.sync();\n";
                    }
                }
            }
            code + if how.forget { "std::mem::forget(queue);" } else { "drop(queue);" }
        });
    }
}
