//! The whole state: two rings, and the objects that their operations use.

use std::collections::{BTreeMap, VecDeque};

use super::buffers::Taken;
use super::kernel::Kernel;
use super::registered::{PIECE, PIECES};
use super::ring::Ring;

/// How many pipes there are.
pub(crate) const PIPES: usize = 3;
/// The source that is a socket, and a stream.
pub(crate) const STREAM: usize = PIPES;

/// The source that is a socket, and keeps messages apart.
pub(crate) const MESSAGES: usize = PIPES + 1;
/// The pipes, and the sockets.
pub(crate) const SOURCES: usize = PIPES + 2;

/// A pipe or a socket, as far as its reader sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub(crate) bytes: VecDeque<u8>,
    /// What is there of a socket that keeps messages apart.
    pub(crate) messages: VecDeque<Vec<u8>>,
    /// How much was written at a time, and not read to its end; and how much of the first was read.
    pub(crate) writes: VecDeque<usize>,
    pub(crate) read: usize,
    /// Nobody writes any more.
    pub(crate) hung_up: bool,
    /// The byte that is written next.
    pub(crate) next: u8,
}

impl Source {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.messages.is_empty()
    }

    /// Takes so many bytes at most, and says how many there would have been.
    pub(super) fn take(&mut self, most: usize) -> (Vec<u8>, usize) {
        if let Some(mut message) = self.messages.pop_front() {
            let whole = message.len();
            message.truncate(most);
            return (message, whole);
        }
        let n = self.bytes.len().min(most);
        self.read += n;
        while let Some(whole) = self.writes.front().copied().filter(|whole| *whole <= self.read) {
            self.read -= whole;
            self.writes.pop_front();
        }
        (self.bytes.drain(..n).collect(), n)
    }

    /// How long the writes are of which something is left once so much more is read.
    pub(crate) fn unread_writes(&self, more: usize) -> usize {
        let mut read = self.read + more;
        let left = self.writes.iter().skip_while(|whole| match read.checked_sub(**whole) {
            Some(behind) => {
                read = behind;
                true
            }
            None => false,
        });
        left.sum()
    }
}

/// Two rings, and what their operations are about.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) kernel: Kernel,
    pub(crate) rings: [Option<Ring>; 2],
    pub(crate) pipes: Vec<Source>,
    /// What completions have used of groups of buffers, by their user data, oldest first.
    pub(crate) taken: BTreeMap<u64, VecDeque<Taken>>,
    /// What a read has put into its buffer, by its user data.
    pub(crate) read: BTreeMap<u64, Vec<u8>>,
    /// Memory that rings may register.
    pub(crate) pieces: [[u8; PIECE]; PIECES],
    /// Pipes that operations of a dropped ring may still read.
    pub(crate) retired: Vec<usize>,
    /// The last wait has ended because its time ran out. (It has no limit otherwise.)
    pub(crate) ran_out: bool,
    /// A worker thread may have made something ready before that, or may not: then it is no error.
    pub(crate) ran_out_or_not: bool,
}

impl Model {
    pub(crate) fn new(kernel: Kernel, pipes: usize) -> Self {
        let pipes = vec![Source::default(); pipes];
        Self {
            kernel,
            rings: [None, None],
            pipes,
            taken: BTreeMap::new(),
            read: BTreeMap::new(),
            pieces: [[0; PIECE]; PIECES],
            retired: Vec::new(),
            ran_out: false,
            ran_out_or_not: false,
        }
    }

    pub(crate) fn ring(&mut self, ring: usize) -> &mut Ring {
        self.rings[ring].as_mut().expect("steps name rings that are there")
    }
}
