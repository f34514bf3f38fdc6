//! What operations are about: pipes, and memory.
//!
//! Whatever waits here is fed by a step, cancelled, or ends when its ring is gone.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use anyhow::Result;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::pipe;

use crate::op::Things;
use crate::real::Ring;

/// How many pipes an episode has.
pub(crate) const PIPES: usize = 3;
/// The pipes, a socket that is a stream, and one that keeps messages apart.
pub(crate) const SOURCES: usize = PIPES + 2;

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
}

impl World {
    pub(crate) fn new() -> Self {
        Self { pipes: Default::default(), buffers: HashMap::new() }
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

    fn buffer(&mut self, user_data: u64) -> NonNull<u8> {
        let buffer = self.world.buffers.entry(user_data).or_insert_with(|| Box::new([0; 64]));
        NonNull::from(&mut **buffer).cast()
    }
}
