//! The objects that operations use: pipes and memory.
//!
//! Every operation that waits here is ended by a step or a cancellation, or when its ring is
//! dropped.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

use anyhow::Result;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io_uring::iovec;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::pipe;

use crate::model::registered::{PIECE, PIECES, Registered};
use crate::model::regular::{FILES, Regular};
use crate::model::{PIPES, SOURCES};
use crate::op::Things;
use crate::real::Ring;

fn pair(kind: SocketType) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
}

/// The two ends of a pipe or a socket pair.
struct Pipe {
    reader: OwnedFd,
    writer: Option<OwnedFd>,
}

/// The objects that operations use.
pub(crate) struct World {
    pipes: [OnceCell<Pipe>; SOURCES],
    /// The buffers of operations, by user data.
    buffers: HashMap<u64, Box<[u8; 64]>>,
    vectors: HashMap<u64, Box<[iovec; 2]>>,
    files: [OnceCell<OwnedFd>; FILES],
    /// Memory that may be registered. Once registered, it is never freed.
    pieces: OnceCell<NonNull<[[u8; PIECE]; PIECES]>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            pipes: Default::default(),
            buffers: HashMap::new(),
            vectors: HashMap::new(),
            files: Default::default(),
            pieces: OnceCell::new(),
        }
    }

    fn ends(&self, k: usize) -> &Pipe {
        self.pipes[k].get_or_init(|| {
            let (reader, writer) = match k {
                0..PIPES => pipe(),
                PIPES => pair(SocketType::STREAM),
                _ => pair(SocketType::DGRAM),
            }
            .expect("cannot create a pipe");
            Pipe { reader, writer: Some(writer) }
        })
    }

    /// The reading end of a pipe or a socket pair, or a regular file.
    pub(crate) fn reader(&self, k: usize) -> BorrowedFd<'_> {
        let Some(k) = k.checked_sub(SOURCES) else { return self.ends(k).reader.as_fd() };
        let make = || {
            let file = memfd_create(format!("explore-{k}"), MemfdFlags::CLOEXEC)?;
            rustix::io::pwrite(&file, &Regular::new().bytes, 0).map(|_| file)
        };
        self.files[k].get_or_init(|| make().expect("cannot create a file")).as_fd()
    }

    /// The content of a regular file, if an operation has used the file.
    pub(crate) fn in_file(&self, k: usize) -> Option<Vec<u8>> {
        let file = self.files[k].get()?;
        let mut bytes = vec![0; 512];
        let n = rustix::io::pread(file, &mut bytes, 0).expect("cannot read a file");
        bytes.truncate(n);
        Some(bytes)
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
        // SAFETY: the index is less than the number of pieces.
        unsafe { all.cast::<[u8; PIECE]>().add(piece) }.cast()
    }

    /// The pieces of memory to register, and their tags.
    pub(crate) fn pieces(&self, slots: &[Option<Registered>]) -> (Vec<iovec>, Vec<u64>) {
        let of = |slot: &Option<Registered>| match slot {
            Some(Registered { piece, tag }) => {
                (iovec { iov_base: self.piece(*piece).as_ptr().cast(), iov_len: PIECE }, *tag)
            }
            None => (iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }, 0),
        };
        slots.iter().map(of).unzip()
    }

    /// The content of the pieces.
    pub(crate) fn in_pieces(&self) -> Option<[[u8; PIECE]; PIECES]> {
        // SAFETY: the pieces are never freed, and no running operation writes to them.
        self.pieces.get().map(|all| unsafe { all.read_volatile() })
    }

    /// The data that an operation has read.
    pub(crate) fn take(&mut self, user_data: u64) -> Option<Box<[u8; 64]>> {
        self.buffers.remove(&user_data)
    }

    /// Leaks the buffers of operations whose completion was not seen, so that they are never
    /// reused.
    pub(crate) fn leak(&mut self) {
        self.buffers.drain().for_each(|(_, buffer)| _ = Box::leak(buffer));
    }
}

/// The world, while entries are created that point to it.
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

    fn vector(&mut self, user_data: u64, ranges: [iovec; 2]) -> *const iovec {
        self.world.vectors.entry(user_data).or_insert(Box::new(ranges)).as_ptr()
    }

    fn piece(&self, piece: usize) -> NonNull<u8> {
        self.world.piece(piece)
    }

    fn buffer(&mut self, user_data: u64) -> NonNull<u8> {
        let buffer = self.world.buffers.entry(user_data).or_insert_with(|| Box::new([0; 64]));
        NonNull::from(&mut **buffer).cast()
    }
}
