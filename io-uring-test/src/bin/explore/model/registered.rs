//! Registered buffers: memory that the kernel has pinned, which operations name by a slot.
//!
//! - An operation looks its slot up when it is issued, fails with -EFAULT if nothing is there or what
//!   it is about lies outside, and holds what it has found until it ends.
//! - When a slot is given up that has a tag, a completion with that as its user data is posted.

use super::Model;
use super::cqueue::{Cqe, Size};
use super::errno::*;
use super::operation::Op;
use super::restrict::call;
use super::ring::Ring;
use super::run::Outcome;

/// How many pieces of memory there are to be registered, and how long each is.
pub(crate) const PIECES: usize = 4;
pub(crate) const PIECE: usize = 64;

/// What is in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) piece: usize,
    /// 0 is none.
    pub(crate) tag: u64,
}

impl Model {
    pub(super) fn read_fixed(&mut self, r: usize, op: &mut Op) -> Outcome {
        let Op::ReadFixed { pipe, slot, piece, at, len, held } = op else { return Outcome::Waits };
        let slots = self.ring(r).buffers.as_ref();
        let there = slots.and_then(|slots| *slots.get(usize::from(*slot))?);
        let found = *held || there.is_some_and(|there| there.piece == *piece);
        let (start, end) = (usize::from(*at), usize::from(*at) + usize::from(*len));
        if !found || end > PIECE {
            return Outcome::done(-EFAULT);
        }
        *held = true;
        let from = &mut self.pipes[*pipe];
        if from.bytes.is_empty() && !from.hung_up {
            return Outcome::Waits;
        }
        let n = from.bytes.len().min(end - start);
        for (slot, byte) in self.pieces[*piece][start..end].iter_mut().zip(from.bytes.drain(..n)) {
            *slot = byte;
        }
        Outcome::Done { result: n as i32, failed: n < end - start, big: None, flags: 0 }
    }
}

impl Ring {
    pub(crate) fn register_buffers(&mut self, new: Vec<Option<Registered>>) -> Result<(), i32> {
        self.may_call(call::BUFFERS2)?;
        if new.is_empty() {
            return Err(EINVAL);
        }
        if self.buffers.is_some() {
            return Err(EBUSY);
        }
        self.buffers = Some(new);
        Ok(())
    }

    pub(crate) fn update_buffer(
        &mut self,
        slot: usize,
        new: Option<Registered>,
    ) -> Result<usize, i32> {
        self.may_call(call::BUFFERS_UPDATE)?;
        let slot = self.buffers.as_mut().ok_or(ENXIO)?.get_mut(slot).ok_or(EINVAL)?;
        let old = std::mem::replace(slot, new);
        self.post_tag(old);
        Ok(1)
    }

    pub(crate) fn unregister_buffers(&mut self) -> Result<(), i32> {
        self.may_call(call::UNREGISTER_BUFFERS)?;
        let all = self.buffers.take().ok_or(ENXIO)?;
        // The last one first.
        all.into_iter().rev().for_each(|one| self.post_tag(one));
        Ok(())
    }

    fn post_tag(&mut self, given_up: Option<Registered>) {
        let Some(Registered { tag: user_data @ 1.., .. }) = given_up else { return };
        let big = (self.cq.size == Size::Big).then_some([0; 2]);
        self.cq.post(Cqe { user_data, result: 0, flags: 0, big });
    }
}
