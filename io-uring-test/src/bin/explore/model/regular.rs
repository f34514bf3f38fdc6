//! Regular files.
//!
//! - A read gets the bytes from its offset on, and 0 bytes at or behind the end of the file. Fewer
//!   bytes than asked for are a failure.
//! - A write behind the end fills the gap with zeros.
//! - Without an offset, a transfer starts at the position of the file, and advances it.
//! - The kernel cannot wait for a regular file, so the request takes its provided buffer when it
//!   starts. In an incremental group, the request then uses as many bytes of the buffer as it asked
//!   for, however many it gets. A pipe or a socket uses as many as it gets.

use super::buffers::{F_BUF_MORE, F_BUFFER, Taken};
use super::errno::{EBADF, EFAULT, ENOBUFS};
use super::operation::{Fixed, Transfer, Way};
use super::registered::PIECE;
use super::ring::Outcome;
use super::state::{Model, SOURCES};

/// The number of regular files.
pub(crate) const FILES: usize = 2;

/// The content of a regular file, and its position.
#[derive(Clone, Debug)]
pub(crate) struct Regular {
    pub(crate) bytes: Vec<u8>,
    position: usize,
}

/// The bytes that a write with this user data writes.
pub(crate) fn pattern(user_data: u64, len: usize) -> Vec<u8> {
    (0..len as u8).map(|i| (user_data as u8).wrapping_mul(16).wrapping_add(i) | 1).collect()
}

impl Regular {
    /// A file as the test creates it.
    pub(crate) fn new() -> Self {
        Self { bytes: (100..140).collect(), position: 0 }
    }

    fn read(&self, at: usize, len: usize) -> Vec<u8> {
        self.bytes.iter().skip(at).take(len).copied().collect()
    }

    fn write(&mut self, at: usize, new: &[u8]) {
        let end = at + new.len();
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(new);
    }
}

impl Model {
    /// Starts a transfer from or to a regular file, which also ends it.
    pub(super) fn transfer(&mut self, r: usize, user_data: u64, what: Transfer) -> Outcome {
        if let Some(slot) = what.slot {
            let slots = self.ring(r).slots.as_ref();
            if slots.and_then(|slots| slots.get(slot)).is_none() {
                return Outcome::done(-EBADF);
            }
        }
        if !self.kernel.transfers_at_once(&what) {
            self.ring(r).in_its_own_time();
        }
        let file = what.file - SOURCES;
        let at = what.at.map_or(self.regular[file].position, usize::from);
        let mut len = usize::from(what.len);
        let mut flags = 0;
        let n = match what.way {
            Way::Read => {
                let bytes = self.regular[file].read(at, len);
                self.read.insert(user_data, bytes.clone());
                bytes.len()
            }
            Way::Write => {
                self.regular[file].write(at, &pattern(user_data, len));
                len
            }
            Way::Provided(group) => {
                let there = self.ring(r).groups[usize::from(group)].as_ref();
                let Some(room) = there.and_then(|group| group.room()) else {
                    return Outcome::done(-ENOBUFS);
                };
                len = if len == 0 { room as usize } else { len.min(room as usize) };
                let bytes = self.regular[file].read(at, len);
                let n = bytes.len();
                flags = self.fill_at_once(r, user_data, group, bytes, len);
                n
            }
            Way::Fixed(fixed) => match self.transfer_fixed(r, file, at, fixed) {
                Some(n) => n,
                None => return Outcome::done(-EFAULT),
            },
        };
        if what.at.is_none() {
            self.regular[file].position += n;
        }
        Outcome::Done { result: n as i32, failed: n < len, big: None, flags }
    }

    /// Transfers between a file and parts of a registered buffer, one after the other. Returns the
    /// number of bytes, or `None` if a part is outside of the buffer.
    fn transfer_fixed(&mut self, r: usize, file: usize, at: usize, what: Fixed) -> Option<usize> {
        let slots = self.ring(r).buffers.as_ref();
        let there = slots.and_then(|slots| *slots.get(usize::from(what.slot))?);
        if there.is_none_or(|there| there.piece != what.piece) {
            return None;
        }
        let ranges = what.parts.map(|(start, len)| {
            let start = usize::from(start);
            start..start + usize::from(len)
        });
        if ranges.iter().any(|range| range.end > PIECE) {
            return None;
        }
        let mut n = 0;
        for range in ranges {
            if what.writes {
                let bytes = self.pieces[what.piece][range].to_vec();
                self.regular[file].write(at + n, &bytes);
                n += bytes.len();
            } else {
                let bytes = self.regular[file].read(at + n, range.len());
                self.pieces[what.piece][range.start..][..bytes.len()].copy_from_slice(&bytes);
                n += bytes.len();
            }
        }
        Some(n)
    }

    /// Puts bytes into the next buffer of a group, of which the request uses `len` bytes. Returns
    /// the flags of the completion.
    fn fill_at_once(&mut self, r: usize, id: u64, group: u16, bytes: Vec<u8>, len: usize) -> u32 {
        let Some(group) = &mut self.ring(r).groups[usize::from(group)] else { return 0 };
        let generation = group.generation;
        let Some(segment) = group.fill(bytes, len as u32) else { return 0 };
        let flags = F_BUFFER | u32::from(segment.bid) << 16;
        let more = if segment.done { 0 } else { F_BUF_MORE };
        let segments = vec![segment];
        self.taken.entry(id).or_default().push_back(Taken { generation, segments });
        flags | more
    }
}
