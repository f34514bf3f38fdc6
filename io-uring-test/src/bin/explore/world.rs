//! What operations are about: pipes, and memory.
//!
//! Whatever waits here is fed by a step, cancelled, or ends when its ring is gone.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use anyhow::Result;
use rustix::io_uring::iovec;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::pipe;

use crate::model::registered::{PIECE, PIECES, Registered};
use crate::model::{PIPES, SOURCES};
use crate::op::Things;
use crate::real::Ring;

fn pair(kind: SocketType) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
}

/// The ends of a pipe.
struct Pipe {
    reader: OwnedFd,
    writer: Option<OwnedFd>,
}

/// What is there to be operated on.
pub(crate) struct World {
    pipes: [OnceCell<Pipe>; SOURCES],
    /// Memory that operations write to, by their user data.
    buffers: HashMap<u64, Box<[u8; 64]>>,
    /// Memory that may be registered, and stays for good once it was.
    pieces: OnceCell<NonNull<[[u8; PIECE]; PIECES]>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { pipes: Default::default(), buffers: HashMap::new(), pieces: OnceCell::new() }
    }

    fn ends(&self, k: usize) -> &Pipe {
        self.pipes[k].get_or_init(|| {
            let (reader, writer) = match k {
                0..PIPES => pipe(),
                PIPES => pair(SocketType::STREAM),
                _ => pair(SocketType::DGRAM),
            }
            .expect("there is room for a pipe");
            Pipe { reader, writer: Some(writer) }
        })
    }

    /// The reading end.
    pub(crate) fn reader(&self, k: usize) -> BorrowedFd<'_> {
        self.ends(k).reader.as_fd()
    }

    pub(crate) fn feed(&self, k: usize, bytes: &[u8]) -> Result<()> {
        if let Some(writer) = &self.ends(k).writer {
            rustix::io::write(writer, bytes)?;
        }
        Ok(())
    }

    pub(crate) fn hang_up(&mut self, k: usize) {
        self.ends(k);
        if let Some(ends) = self.pipes[k].get_mut() {
            ends.writer = None;
        }
    }

    fn piece(&self, piece: usize) -> NonNull<u8> {
        let all =
            self.pieces.get_or_init(|| NonNull::from(Box::leak(Box::new([[0; PIECE]; PIECES]))));
        // SAFETY: there are as many.
        unsafe { all.cast::<[u8; PIECE]>().add(piece) }.cast()
    }

    /// Pieces of memory as they are registered, with their tags.
    pub(crate) fn pieces(&self, slots: &[Option<Registered>]) -> (Vec<iovec>, Vec<u64>) {
        let of = |slot: &Option<Registered>| match slot {
            Some(Registered { piece, tag }) => {
                (iovec { iov_base: self.piece(*piece).as_ptr().cast(), iov_len: PIECE }, *tag)
            }
            None => (iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }, 0),
        };
        slots.iter().map(of).unzip()
    }

    /// What lies in these pieces.
    pub(crate) fn in_pieces(&self) -> Option<[[u8; PIECE]; PIECES]> {
        // SAFETY: they are there for good, and nothing that runs now writes to them.
        self.pieces.get().map(|all| unsafe { all.read_volatile() })
    }

    /// What an operation has read.
    pub(crate) fn take(&mut self, user_data: u64) -> Option<Box<[u8; 64]>> {
        self.buffers.remove(&user_data)
    }

    /// Memory of operations whose end nobody has seen is never used again.
    pub(crate) fn leak(&mut self) {
        self.buffers.drain().for_each(|(_, buffer)| _ = Box::leak(buffer));
    }
}

/// The world, while entries are made that point into it.
pub(crate) struct Borrowed<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) rings: &'a [Option<Box<dyn Ring>>; 2],
}

impl Things for Borrowed<'_> {
    fn pipe(&self, pipe: usize) -> i32 {
        self.world.reader(pipe).as_raw_fd()
    }

    fn ring(&self, ring: usize) -> i32 {
        let descriptor = self.rings[ring].as_ref().and_then(|ring| ring.descriptor());
        descriptor.map_or(-1, crate::real::number)
    }

    fn piece(&self, piece: usize) -> NonNull<u8> {
        self.world.piece(piece)
    }

    fn buffer(&mut self, user_data: u64) -> NonNull<u8> {
        let buffer = self.world.buffers.entry(user_data).or_insert_with(|| Box::new([0; 64]));
        NonNull::from(&mut **buffer).cast()
    }
}
