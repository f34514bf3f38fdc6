//! Registered buffers, and messages that no ring sends.

use rustix_uring::types::CloneBuffersFlags;
use rustix_uring::{Errno, send_msg_ring};

use super::{Lockstep, Same, raw, returned};
use crate::model::cqueue::F_32;
use crate::model::operation::Op;
use crate::model::registered::{PIECE, PIECES, Registered};
use crate::op;

/// The Rust code for the slots that a program registers.
fn slots_code(slots: &[Option<Registered>]) -> String {
    let code = |slot: &Option<Registered>| match slot {
        Some(Registered { piece, .. }) => {
            format!("iovec {{ iov_base: pieces[{piece}].cast(), iov_len: {PIECE} }}")
        }
        None => "iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }".into(),
    };
    slots.iter().map(code).collect::<Vec<_>>().join(", ")
}

fn tags_of(slots: &[Option<Registered>]) -> Vec<u64> {
    slots.iter().map(|slot| slot.map_or(0, |slot| slot.tag)).collect()
}

impl Lockstep<'_> {
    /// Returns a tag, or 0 if none is wanted. Bit 32 distinguishes tags from the user data of
    /// entries, as it does for messages.
    pub(super) fn tag(&mut self, wanted: bool) -> u64 {
        self.next += u64::from(wanted);
        if wanted { (self.next - 1) | (1 << 32) } else { 0 }
    }

    pub(super) fn buffers(&mut self, r: usize, n: usize, first: usize, tags: bool) -> Same {
        if !self.model.kernel.buffers {
            return Ok(());
        }
        let slots: Vec<_> = (0..n)
            .map(|i| {
                let piece = (first + i) % (PIECES + 1);
                (piece < PIECES).then(|| Registered { piece, tag: self.tag(tags) })
            })
            .collect();
        let expected = self.model.ring(r).register_buffers(slots.clone());
        self.model.system_call();
        let (code, numbers) = (slots_code(&slots), tags_of(&slots));
        say!(
            self,
            "println!(\"{{:?}}\", unsafe {{ {}.submitter().register_buffers2(&[{code}], &{numbers:?}) }}); // the model: {expected:?}",
            op::name(r)
        );
        let (all, tags) = self.world.pieces(&slots);
        let mut real = Err(Errno::IO);
        // SAFETY: the memory is never freed, and only operations use it until they have ended.
        self.real(r).with_submitter(&mut |it| real = unsafe { it.buffers(&all, &tags) });
        returned("register_buffers2", &raw(real), &expected)
    }

    /// Whether a request may hold a buffer with a tag: its tag would be posted late.
    fn may_be_held(&self, r: usize) -> bool {
        let slots = self.model.rings[r].as_ref().and_then(|ring| ring.buffers.as_ref());
        slots.into_iter().flatten().flatten().any(|there| there.tag != 0)
            && op::all(&self.model, r).any(|op| matches!(op, Op::ReadFixed { .. }))
    }

    pub(super) fn buffer_update(&mut self, r: usize, slot: usize, piece: usize, tag: bool) -> Same {
        if !self.model.kernel.buffers || self.may_be_held(r) {
            return Ok(());
        }
        let new = (piece < PIECES).then(|| Registered { piece, tag: self.tag(tag) });
        let expected = self.model.ring(r).update_buffer(slot, new);
        self.model.system_call();
        let (code, numbers) = (slots_code(&[new]), tags_of(&[new]));
        say!(
            self,
            "println!(\"{{:?}}\", unsafe {{ {}.submitter().register_buffers_update({slot}, &[{code}], Some(&{numbers:?})) }}); // the model: {expected:?}",
            op::name(r)
        );
        let (all, tags) = self.world.pieces(&[new]);
        let mut real = Err(Errno::IO);
        self.real(r).with_submitter(&mut |it| {
            // SAFETY: the memory is never freed, and only operations use it until they have ended.
            real = unsafe { it.buffer_update(slot as u32, &all, &tags) };
        });
        returned("register_buffers_update", &raw(real), &expected)
    }

    pub(super) fn buffers_gone(&mut self, r: usize) -> Same {
        if !self.model.kernel.buffers || self.may_be_held(r) {
            return Ok(());
        }
        let expected = self.model.ring(r).unregister_buffers();
        self.register(r, "unregister_buffers()", expected, &mut |it| it.buffers_gone())
    }

    /// Clones registered buffers of the other ring.
    pub(super) fn clone_buffers(
        &mut self,
        r: usize,
        replaces: bool,
        from: usize,
        to: usize,
        n: usize,
    ) -> Same {
        let there = self.model.rings[1 - r].as_ref().is_some_and(|ring| !ring.lost);
        if !self.model.kernel.clones || !there || self.may_be_held(r) {
            return Ok(());
        }
        let source = self.model.ring(1 - r).buffers.clone();
        let ring = self.model.ring(r);
        let expected = ring.clone_buffers(source.as_deref(), from, to, n, replaces);
        self.model.system_call();
        let (name, other) = (op::name(r), op::name(1 - r));
        say!(
            self,
            "println!(\"{{:?}}\", {name}.submitter().register_buffers_clone_offset(&{other}.submitter(), {from}, {to}, {n}, CloneBuffersFlags::from_bits_retain({}))); // the model: {expected:?}",
            u32::from(replaces)
        );
        let flags =
            if replaces { CloneBuffersFlags::DST_REPLACE } else { CloneBuffersFlags::empty() };
        let [first, second] = &mut self.rings;
        let (ring, other) = if r == 0 { (first, second) } else { (second, first) };
        let (Some(ring), Some(other)) = (ring, other) else { return Ok(()) };
        let mut real = Ok(());
        other.with_handle(&mut |source| {
            ring.with_submitter(&mut |it| {
                real = raw(it.clone_buffers(&source, from as u32, to as u32, n as u32, flags));
            });
        });
        returned("register_buffers_clone_offset", &real, &expected)
    }

    /// Posts a completion on a ring by a register call without a ring.
    pub(super) fn send(&mut self, r: usize, arg: u8) -> Same {
        let user_data = self.next;
        self.next += 1;
        let Some(Op::Message { user_data, result, flags, .. }) =
            op::message_to(&self.model, r, arg, user_data)
        else {
            return Ok(());
        };
        if !self.model.kernel.sends_by_call {
            return Ok(());
        }
        let ring = self.model.ring(r);
        let room = (ring.cq.capacity as usize).saturating_sub(ring.cq.len());
        let tight = ring.cq.overflows() || room < 4 + 3 * ring.outstanding();
        if tight && flags.is_some_and(|flags| flags & F_32 != 0) {
            // The same applies to messages that a ring sends.
            return Ok(());
        }
        let expected = self.model.send(r, user_data, result, flags.unwrap_or(0));
        self.model.system_call();
        say!(
            self,
            "println!(\"{{:?}}\", send_msg_ring(&{}, {result}, {user_data}, {flags:?})); // the model: {expected:?}",
            op::name(r)
        );
        let Some(fd) = self.rings[r].as_ref().and_then(|ring| ring.descriptor()) else {
            return Ok(());
        };
        let real = raw(send_msg_ring(fd, result, user_data, flags));
        returned("send_msg_ring", &real, &expected)?;
        self.rest(r)
    }
}
