//! Operations on registered buffers.

use super::errno::EFAULT;
use super::operation::Op;
use super::registered::PIECE;
use super::ring::Outcome;
use super::state::Model;

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
