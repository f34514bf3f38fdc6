//! Receiving into provided buffers.
//!
//! - A stream delivers as much as fits in one buffer; for a bundle, see [`bundle`].
//! - A message is received once: what does not fit in the buffer is lost. With `MSG_TRUNC`, the result
//!   is the length of the whole message instead of the length received.
//! - A multishot request posts a completion for each buffer that it fills, and waits for more. It ends
//!   when the buffers or the data end. (A read completes once, and then checks whether there is more.)

use super::buffers::{F_BUF_MORE, F_BUFFER, Segment, Taken};
use super::errno::*;
use super::operation::{By, Receive};
use super::ring::Outcome;
use super::state::{Model, STREAM};

impl Model {
    pub(super) fn receive(&mut self, r: usize, user_data: u64, what: &mut Receive) -> Outcome {
        let (tells_rest, counts_read) = (self.kernel.tells_rest, self.kernel.counts_what_was_read);
        self.ring(r).reuses_messages |= what.by == By::Bundle;
        loop {
            let source = self.pipes[what.source].clone();
            let Some(group) = &mut self.ring(r).groups[usize::from(what.group)] else {
                let bundle = what.by == By::Bundle;
                return Outcome::done(if bundle { -ENOENT } else { -ENOBUFS });
            };
            let Some(room) = group.room() else { return Outcome::done(-ENOBUFS) };
            let room = match what.by {
                By::Bundle => {
                    let says = |read| match counts_read {
                        true => source.unread_writes(read),
                        false => source.bytes.len().saturating_sub(read),
                    };
                    let says = tells_rest.then_some(&says as &dyn Fn(usize) -> usize);
                    bundle(&group.lengths(), source.bytes.len(), what.len, says)
                }
                _ if what.len > 0 => room.min(what.len),
                _ => room,
            };
            let from = &mut self.pipes[what.source];
            let ended = from.is_empty();
            if ended && !from.hung_up {
                // The kernel has limited the request to the length of the buffer that was next.
                // That limit remains, whichever buffer the request takes later.
                what.len = if what.by == By::Read && what.multi { 0 } else { room };
                return Outcome::Waits;
            }
            if ended && (what.by != By::Read || what.multi) {
                return Outcome::done(0);
            }
            let (bytes, whole) = from.take(room as usize);
            if what.by == By::Read && !self.kernel.pipe_nowait {
                // A worker thread reads it.
                self.ring(r).in_its_own_time();
            }
            let result = if what.tells_length { whole } else { bytes.len() };
            // A read that gets fewer bytes than it asks for is a failure.
            let failed = what.by == By::Read && bytes.len() < room as usize;
            let flags = self.fill(r, user_data, what.group, bytes);
            let result = result as i32;
            if !what.multi {
                return Outcome::Done { result, failed, big: None, flags };
            }
            let ring = self.ring(r);
            // The request may need several rounds of the task's work.
            ring.restless += 1;
            ring.taskrun_is_open = true;
            if !self.post_one_of_several(r, user_data, result, flags) {
                return Outcome::Done { result, failed: false, big: None, flags };
            }
            what.len = 0;
            let from = &self.pipes[what.source];
            let (empty, hung_up) = (from.is_empty(), from.hung_up);
            // A read continues only when it is woken. So does a receive if the socket has reported
            // that nothing is left.
            let knows = tells_rest && what.source == STREAM && empty;
            if what.by == By::Read || knows {
                if empty && !hung_up {
                    return Outcome::Waits;
                }
                // In which round of the task's work the request continues is not specified.
                self.ring(r).unordered = true;
                return Outcome::WaitsWoken;
            }
        }
    }

    /// Puts bytes into as many buffers as they need, at least one. Returns the flags with which the
    /// completion reports this.
    fn fill(&mut self, r: usize, user_data: u64, group: u16, mut bytes: Vec<u8>) -> u32 {
        let Some(group) = &mut self.ring(r).groups[usize::from(group)] else { return 0 };
        let generation = group.generation;
        let mut segments: Vec<Segment> = Vec::new();
        while let Some(room) = group.room() {
            let behind = bytes.split_off(bytes.len().min(room as usize));
            let len = bytes.len() as u32;
            segments.extend(group.fill(bytes, len));
            if behind.is_empty() {
                break;
            }
            bytes = behind;
        }
        let flags = segments.first().map_or(0, |first| F_BUFFER | u32::from(first.bid) << 16);
        let more = segments.last().is_some_and(|last| !last.done);
        self.taken.entry(user_data).or_default().push_back(Taken { generation, segments });
        flags | if more { F_BUF_MORE } else { 0 }
    }
}

/// Returns how many of the available bytes a bundle receives. The bundle fills one buffer. If the
/// socket then reports how much is left, the bundle continues once: it uses as many buffers as that
/// amount fills completely, or a single buffer if that amount does not fill it.
fn bundle(lengths: &[u32], there: usize, limit: u32, says: Option<&dyn Fn(usize) -> usize>) -> u32 {
    let (Some(first), there) = (lengths.first().copied(), there as u32) else { return 0 };
    if limit > 0 && limit < first {
        // If the limit keeps the bundle from filling the first buffer, it does not continue.
        return limit;
    }
    let rest = there.saturating_sub(first);
    let said = says.map_or(0, |says| says(first as usize) as u32);
    let Some(second) = lengths.get(1).copied().filter(|_| rest > 0 && said > 1) else {
        return first;
    };
    if second > said {
        return first + rest;
    }
    let most = said.div_ceil(second) as usize;
    let mut taken = 0;
    for len in lengths.iter().skip(1).take(most) {
        if taken + len > said {
            break;
        }
        taken += len;
    }
    first + taken.min(rest)
}
