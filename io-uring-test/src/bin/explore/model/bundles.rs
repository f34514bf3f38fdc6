//! A multishot bundle: what the kernel promises about each of its completions.
//!
//! - A completion has the next bytes of the stream, in the next buffers in the order in which they
//!   were published. It names the first of these buffers. Each buffer is full, except the last one,
//!   which the request does not use again.
//! - How the kernel divides the stream into completions is not specified: it depends on what earlier
//!   requests of the ring have left in its cache. (A fresh request fills one buffer, and then continues
//!   once, see [`super::receive`]. A request that reuses memory fills more buffers at once.)
//! - While the request goes on, its completions have F_MORE. If no buffer is left when data arrives,
//!   it ends with -ENOBUFS and without a buffer. If it has noticed before that it takes the last
//!   buffers, it already ends with a completion that has bytes. It looks at as many buffers as it
//!   has filled at once before, and also ends if these are the last. (A request that reuses memory
//!   may look at more.) At the end of the stream it ends with 0, without a buffer.
//! - It also ends with a completion that finds no room in the queue.
//! - A buffer that a bundle has used belongs to the program: F_BUF_MORE is never set.

use std::collections::VecDeque;

use super::buffers::{F_BUF_MORE, F_BUFFER, len_of};
use super::cqueue::{Cqe, F_MORE, F_SOCK_NONEMPTY};
use super::errno::{ECANCELED, ENOBUFS};
use super::state::Model;

/// A multishot bundle, its buffers and its stream.
pub(crate) struct Bundles {
    buffers: VecDeque<u16>,
    stream: VecDeque<u8>,
    next: u8,
    hung_up: bool,
    canceled: bool,
    /// The largest number of buffers that a completion has used.
    most: usize,
    /// The request may end at any completion.
    pub(crate) ends_early: bool,
    pub(crate) ended: bool,
}

/// The buffer ID, and the bytes in the buffer.
pub(crate) type Filled = (u16, Vec<u8>);

impl Bundles {
    pub(crate) fn new(buffers: u16, ends_early: bool) -> Self {
        let (stream, next) = (VecDeque::new(), 0);
        let (hung_up, canceled, most, ended) = (false, false, 1, false);
        let buffers = (0..buffers).collect();
        Self { buffers, stream, next, hung_up, canceled, most, ends_early, ended }
    }

    /// The program writes `n` bytes. Returns them.
    pub(crate) fn feed(&mut self, n: usize) -> Vec<u8> {
        let bytes: Vec<u8> = (0..n as u8).map(|i| self.next.wrapping_add(i)).collect();
        self.next = self.next.wrapping_add(n as u8);
        self.stream.extend(&bytes);
        bytes
    }

    pub(crate) fn hang_up(&mut self) {
        self.hung_up = true;
    }

    pub(crate) fn cancel(&mut self) {
        self.canceled = true;
    }

    /// Whether no completion must follow before the next step of the program.
    pub(crate) fn rests(&self) -> bool {
        self.ended || self.stream.is_empty() && !self.hung_up && !self.canceled
    }

    /// The number of buffers that the kernel may still use.
    pub(crate) fn left(&self) -> usize {
        self.buffers.len()
    }

    /// Checks a completion. Returns what the buffers must hold.
    pub(crate) fn complete(&mut self, cqe: &Cqe) -> Result<Vec<Filled>, String> {
        if self.ended {
            return Err("the request has ended".into());
        }
        self.ended = cqe.flags & F_MORE == 0;
        if cqe.flags & F_BUF_MORE != 0 {
            return Err("the buffer is to be used again".into());
        }
        if cqe.result <= 0 {
            let is_right = match -cqe.result {
                0 => self.hung_up && self.stream.is_empty(),
                ENOBUFS => self.buffers.is_empty(),
                ECANCELED => self.canceled,
                _ => false,
            };
            let plain = cqe.flags & !F_SOCK_NONEMPTY == 0;
            return if is_right && plain { Ok(Vec::new()) } else { Err("not now".into()) };
        }
        let mut left = cqe.result as usize;
        if left > self.stream.len() {
            return Err(format!("only {} bytes were written", self.stream.len()));
        }
        let first = (cqe.flags >> 16) as u16;
        if cqe.flags & F_BUFFER == 0 || self.buffers.front() != Some(&first) {
            return Err(format!("the next buffer is {:?}", self.buffers.front()));
        }
        let mut filled = Vec::new();
        while left > 0 {
            let Some(bid) = self.buffers.pop_front() else {
                return Err("there are not so many buffers".into());
            };
            let n = left.min(len_of(bid) as usize);
            filled.push((bid, self.stream.drain(..n).collect()));
            left -= n;
        }
        self.most = self.most.max(filled.len());
        if self.ended && !self.ends_early && self.buffers.len() >= self.most {
            return Err(format!("the request ends, and {} buffers are left", self.buffers.len()));
        }
        Ok(filled)
    }
}

impl Model {
    /// Whether the ring does nothing else, so that the test can run a multishot bundle on it.
    pub(crate) fn is_idle(&mut self, r: usize) -> bool {
        let ring = self.ring(r);
        let busy = ring.outstanding() > 0 || ring.cq.len() > 0 || ring.cq.overflows();
        let odd = ring.workers || ring.drain_active || ring.drain_next || ring.taskrun();
        let usable = !ring.disabled && !ring.lost && ring.restrictions.is_none();
        !busy && !odd && usable
    }

    /// The kernel has consumed an entry and posted these completions, which the program has read.
    pub(crate) fn ran(&mut self, r: usize, completions: &[Cqe]) {
        let ring = self.ring(r);
        ring.signals_are_open(false);
        ring.reuses_messages = true;
        for cqe in completions {
            ring.cq.post(*cqe);
            ring.commit();
            ring.cq.next();
        }
        ring.taskrun_is_open = true;
    }
}
