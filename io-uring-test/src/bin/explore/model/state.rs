//! The whole state: two rings, and the objects that their operations use.

use std::collections::{BTreeMap, VecDeque};

use super::buffers::Taken;
use super::kernel::Kernel;
use super::registered::{PIECE, PIECES};
use super::regular::{FILES, Regular};
use super::ring::Ring;

/// The number of pipes.
pub(crate) const PIPES: usize = 3;
/// The index of the source that is a stream socket.
pub(crate) const STREAM: usize = PIPES;

/// The index of the source that is a socket with message boundaries.
pub(crate) const MESSAGES: usize = PIPES + 1;
/// The number of sources: the pipes and the sockets.
pub(crate) const SOURCES: usize = PIPES + 2;

/// A pipe or a socket, as its reader sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub(crate) bytes: VecDeque<u8>,
    /// The messages in a socket with message boundaries.
    pub(crate) messages: VecDeque<Vec<u8>>,
    /// The lengths of the writes that were not read completely, and (`read`) how much of the first
    /// of them was read.
    pub(crate) writes: VecDeque<usize>,
    pub(crate) read: usize,
    /// The writing end is closed.
    pub(crate) hung_up: bool,
    /// The next byte to write.
    pub(crate) next: u8,
}

impl Source {
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.messages.is_empty()
    }

    /// Takes at most `most` bytes. Returns them, and how many there were to take: of a message, its
    /// whole length.
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

    /// The total length of the writes that are not read completely after `more` bytes are read.
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

/// Two rings, and the objects that their operations use.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) kernel: Kernel,
    pub(crate) rings: [Option<Ring>; 2],
    pub(crate) pipes: Vec<Source>,
    /// What completions have used of provided buffer groups, by user data, oldest first.
    pub(crate) taken: BTreeMap<u64, VecDeque<Taken>>,
    /// The bytes that a read has put into its buffer, by user data.
    pub(crate) read: BTreeMap<u64, Vec<u8>>,
    /// Memory that rings may register.
    pub(crate) pieces: [[u8; PIECE]; PIECES],
    pub(crate) regular: [Regular; FILES],
    /// Pipes and files that operations of a dropped ring may still read or write.
    pub(crate) retired: Vec<usize>,
    /// The last wait ended because its time ran out. (The test gives only such a wait a short time
    /// limit.)
    pub(crate) ran_out: bool,
    /// A worker thread may or may not post a completion before the time runs out. If it does, the
    /// wait returns no error.
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
            regular: std::array::from_fn(|_| Regular::new()),
            retired: Vec::new(),
            ran_out: false,
            ran_out_or_not: false,
        }
    }

    pub(crate) fn ring(&mut self, ring: usize) -> &mut Ring {
        self.rings[ring].as_mut().expect("the ring of this step does not exist")
    }
}
