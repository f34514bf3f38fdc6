//! Timeouts that end after a number of completions.
//!
//! - The kernel counts the slots of the completion queue that it has filled since it issued the
//!   timeout, whichever request or message they are for. A silent request counts for nothing, and a
//!   completion that overflows counts when it moves to the queue. In a mixed queue, a 32-byte
//!   completion counts as two, and filler as one.
//! - A timeout that ends by its time or its count is not counted, but a canceled one is. The kernel
//!   subtracts the former when it ends, which is before it posts the completion.
//! - The kernel compares the counts after it has posted a batch of completions. A timeout that has
//!   reached its count ends with 0, by work of its task.
//! - An update of its time takes the count off a timeout.

use super::operation::Op;
use super::ring::{Ring, Work};

/// What the kernel remembers about counts. Its numbers wrap around.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// The timeouts with a count by the identifier of their request, and the number at which each
    /// ends. The first to end is the first here.
    targets: Vec<(u64, u32)>,
    /// How many timeouts have ended by their time or their count.
    pub(super) ended: u32,
    /// The number at the last comparison.
    compared: u32,
    /// How many slots had been filled then.
    filled: u32,
}

impl Ring {
    fn counted(&self) -> u32 {
        self.cq.filled().wrapping_sub(self.counts.ended)
    }

    /// The request that starts to wait next is a timeout with a count.
    pub(super) fn start_to_count(&mut self, count: u8) {
        let now = self.counted();
        self.counts.compared = now;
        let count = u32::from(count);
        let later = |(_, target): &(u64, u32)| count < target.wrapping_sub(now);
        let at =
            self.counts.targets.iter().rposition(|target| !later(target)).map_or(0, |at| at + 1);
        self.counts.targets.insert(at, (self.next_id, now.wrapping_add(count)));
    }

    /// Whether the kernel has filled a slot since the last comparison.
    pub(super) fn has_posted(&self) -> bool {
        self.counts.filled != self.cq.filled()
    }

    /// The kernel has processed a batch of completions: timeouts whose count is reached end.
    pub(super) fn compare_counts(&mut self) {
        let has_count = |id: u64| {
            let counts = |op: &Op| matches!(op, Op::Timeout { count: 1.., .. });
            self.waiting.iter().any(|waiting| waiting.id == id && counts(&waiting.chain[0].op))
        };
        let mut targets = std::mem::take(&mut self.counts.targets);
        targets.retain(|(id, _)| has_count(*id));
        let (now, compared) = (self.counted(), self.counts.compared);
        // If a timeout has ended and nothing else was posted since the last comparison, this is
        // negative, and the kernel takes it for a large number.
        let got = now.wrapping_sub(compared);
        let n =
            targets.iter().take_while(|(_, target)| target.wrapping_sub(compared) <= got).count();
        for (id, _) in targets.drain(..n) {
            self.counts.ended = self.counts.ended.wrapping_add(1);
            let Some(i) = self.waiting.iter().position(|waiting| waiting.id == id) else {
                continue;
            };
            let chain = self.waiting.remove(i).chain;
            self.work.push_back(Work::Complete {
                chain,
                result: 0,
                flags: 0,
                big: None,
                failed: false,
            });
        }
        self.counts.targets = targets;
        (self.counts.compared, self.counts.filled) = (now, self.cq.filled());
    }

    /// Completions that overflowed move to the queue while there is room.
    pub(crate) fn flush_overflow(&mut self) {
        let commits = self.cq.overflows() && !self.cq.is_full();
        if self.cq.flush() > 1 {
            self.batches_are_open();
        }
        if commits {
            self.commit();
        }
    }
}
