//! Operations, before they start: what they use, and what they make of it.
//!
//! A buffer is whatever gives out bytes, borrowed or owned: a `&mut [u8]`, a `Vec<u8>`, an array. A
//! descriptor is whatever has one: a `&File`, an `Arc<TcpStream>`. An operation has them until it has
//! ended, and then gives the buffer back, so that it can be used again in the same scope. Where nobody
//! waits for it any more, it goes on the ring's thread, which is no place to block.

use std::any::Any;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::types::{
    FsyncFlags, MsgFlags, SocketAddrAny, SocketAddrBuf, SocketFlags, SocketType, iovec,
};
use rustix_uring::{Errno, cqueue, opcode};

use crate::executor::lock;

/// An operation that has not started. What it uses lives for `'a` at least.
#[must_use = "an operation does nothing until a scope starts it"]
pub struct Operation<'a, T> {
    pub(crate) entry: Entry,
    pub(crate) outcome: Arc<dyn Outcome<T> + 'a>,
}

/// How many bytes, and the buffer.
pub type Counted<B> = (io::Result<usize>, B);

impl<'a, T: Send + 'a> Operation<'a, T> {
    /// An operation: `entry` makes it of what is `held` for it, and `done` makes the output of that
    /// and of the completion, or of the error.
    ///
    /// # Safety
    ///
    /// [The contract](rustix_uring::squeue#the-contract) holds for the entry as long as `held` is
    /// neither dropped, nor moved, nor touched.
    pub(crate) unsafe fn new<H: Send + 'a>(
        held: H,
        entry: impl FnOnce(&mut H) -> Entry,
        done: impl FnOnce(H, io::Result<cqueue::Entry>) -> T + Send + 'a,
    ) -> Self {
        let (held, stage) = (Mutex::new(Some((held, done))), Mutex::new(Stage::InFlight(None)));
        let mut state = Arc::new(State { held, stage });
        // What is held is in its place, and stays there: now an entry may point to it.
        let new = Arc::get_mut(&mut state).and_then(|state| state.held.get_mut().ok()?.as_mut());
        let (held, _) = new.expect("it is new");
        Self { entry: entry(held), outcome: state }
    }

    /// The same, once everything that the ring was given before has ended; and what it is given later
    /// starts when this has ended. An accept that waits for a connection holds all of it up.
    pub fn drained(self) -> Self {
        Self { entry: self.entry.flags(Flags::IO_DRAIN), ..self }
    }
}

/// Reads at an offset, as much as the buffer is long or less; 0 is the end of the file.
pub fn read_at<'a, F, B>(file: F, buf: B, offset: u64) -> Operation<'a, Counted<B>>
where
    F: AsFd + Send + 'a,
    B: AsMut<[u8]> + Send + 'a,
{
    let entry = move |(file, buf): &mut (F, B)| {
        let bytes = buf.as_mut();
        let read = opcode::Read::new(file.as_fd(), bytes.as_mut_ptr(), length(bytes));
        read.offset(offset).build()
    };
    // SAFETY: descriptor and buffer are held. What a buffer gives out stays its own until it is
    // touched again.
    unsafe { Operation::new((file, buf), entry, |(_, buf), result| (result.map(count), buf)) }
}

/// Writes at an offset, as much as the buffer is long or less.
pub fn write_at<'a, F, B>(file: F, buf: B, offset: u64) -> Operation<'a, Counted<B>>
where
    F: AsFd + Send + 'a,
    B: AsRef<[u8]> + Send + 'a,
{
    let entry = move |(file, buf): &mut (F, B)| {
        let bytes = B::as_ref(buf);
        let write = opcode::Write::new(file.as_fd(), bytes.as_ptr(), length(bytes));
        write.offset(offset).build()
    };
    // SAFETY: as in `read_at`.
    unsafe { Operation::new((file, buf), entry, |(_, buf), result| (result.map(count), buf)) }
}

/// Reads into several buffers at an offset, which is 0 for sockets.
pub fn read_vectored_at<'a, 'b: 'a, F, B>(
    file: F,
    bufs: B,
    offset: u64,
) -> Operation<'a, Counted<B>>
where
    F: AsFd + Send + 'a,
    B: AsMut<[IoSliceMut<'b>]> + Send + 'a,
{
    let entry = move |(file, bufs): &mut (F, B)| {
        let bufs = bufs.as_mut();
        let len = u32::try_from(bufs.len()).unwrap_or(u32::MAX);
        // `std` promises that its slices are laid out as the system's.
        let read = opcode::Readv::new(file.as_fd(), bufs.as_mut_ptr().cast::<iovec>(), len);
        read.offset(offset).build()
    };
    // SAFETY: as in `read_at`. The buffers live as long as the slices, which outlive the operation.
    unsafe { Operation::new((file, bufs), entry, |(_, bufs), result| (result.map(count), bufs)) }
}

/// Writes several buffers at an offset, which is 0 for sockets.
pub fn write_vectored_at<'a, 'b: 'a, F, B>(
    file: F,
    bufs: B,
    offset: u64,
) -> Operation<'a, Counted<B>>
where
    F: AsFd + Send + 'a,
    B: AsRef<[IoSlice<'b>]> + Send + 'a,
{
    let entry = move |(file, bufs): &mut (F, B)| {
        let bufs = B::as_ref(bufs);
        let len = u32::try_from(bufs.len()).unwrap_or(u32::MAX);
        let write = opcode::Writev::new(file.as_fd(), bufs.as_ptr().cast::<iovec>(), len);
        write.offset(offset).build()
    };
    // SAFETY: as in `read_vectored_at`.
    unsafe { Operation::new((file, bufs), entry, |(_, bufs), result| (result.map(count), bufs)) }
}

/// Receives, as much as the buffer is long or less; 0 is the end.
pub fn recv<'a, F, B>(socket: F, buf: B) -> Operation<'a, Counted<B>>
where
    F: AsFd + Send + 'a,
    B: AsMut<[u8]> + Send + 'a,
{
    let entry = |(socket, buf): &mut (F, B)| {
        let bytes = buf.as_mut();
        opcode::Recv::new(socket.as_fd(), bytes.as_mut_ptr(), length(bytes)).build()
    };
    // SAFETY: as in `read_at`.
    unsafe { Operation::new((socket, buf), entry, |(_, buf), result| (result.map(count), buf)) }
}

/// Sends all of a buffer, unless the connection breaks.
pub fn send<'a, F, B>(socket: F, buf: B) -> Operation<'a, Counted<B>>
where
    F: AsFd + Send + 'a,
    B: AsRef<[u8]> + Send + 'a,
{
    let entry = |(socket, buf): &mut (F, B)| {
        let bytes = B::as_ref(buf);
        let send = opcode::Send::new(socket.as_fd(), bytes.as_ptr(), length(bytes));
        send.flags(MsgFlags::WAITALL | MsgFlags::NOSIGNAL).build()
    };
    // SAFETY: as in `read_at`.
    unsafe { Operation::new((socket, buf), entry, |(_, buf), result| (result.map(count), buf)) }
}

/// Accepts a connection.
pub fn accept<'a, F>(listener: F) -> Operation<'a, io::Result<(TcpStream, SocketAddr)>>
where
    F: AsFd + Send + 'a,
{
    let entry = |(listener, peer): &mut (F, SocketAddrBuf)| {
        let (addr, addrlen) = peer.as_mut_ptrs();
        let accept = opcode::Accept::new(listener.as_fd(), addr, addrlen);
        accept.flags(SocketFlags::CLOEXEC).build()
    };
    let done = |(_, peer): (F, SocketAddrBuf), result: io::Result<cqueue::Entry>| {
        // SAFETY: accepting makes a descriptor, and this is the only look at its completion.
        let stream = TcpStream::from(unsafe { result?.to_fd() }?);
        Ok((stream, peer.to_socket_addr().ok_or(Errno::AFNOSUPPORT)?))
    };
    // SAFETY: the descriptor is held, and the room for the address.
    unsafe { Operation::new((listener, SocketAddrBuf::new()), entry, done) }
}

/// Makes a socket that can [connect] to an address. Needs Linux 5.19.
pub fn socket<'a>(address: SocketAddr) -> Operation<'a, io::Result<TcpStream>> {
    let family = SocketAddrAny::from(address).address_family();
    let socket = opcode::Socket::new(family, SocketType::STREAM, None);
    let entry = socket.flags(SocketFlags::CLOEXEC).build();
    let done = |(), result: io::Result<cqueue::Entry>| {
        // SAFETY: this makes a descriptor, and it is the only look at its completion.
        Ok(TcpStream::from(unsafe { result?.to_fd() }?))
    };
    // SAFETY: it points to nothing.
    unsafe { Operation::new((), move |()| entry, done) }
}

/// Connects a socket to an address, and gives it back.
pub fn connect<'a, F>(socket: F, address: SocketAddr) -> Operation<'a, (io::Result<()>, F)>
where
    F: AsFd + Send + 'a,
{
    let entry = |(socket, address): &mut (F, SocketAddrAny)| {
        opcode::Connect::new(socket.as_fd(), address.as_ptr(), address.addr_len()).build()
    };
    let held = (socket, SocketAddrAny::from(address));
    // SAFETY: descriptor and address are held.
    unsafe { Operation::new(held, entry, |(socket, _), result| (result.map(drop), socket)) }
}

/// Writes data and metadata of a file to the device. It waits for no write that is in flight: link it
/// behind the writes, or wait for them.
pub fn fsync<'a, F: AsFd + Send + 'a>(file: F) -> Operation<'a, io::Result<()>> {
    sync(file, FsyncFlags::empty())
}

/// The same, without the metadata that a read does not need.
pub fn fdatasync<'a, F: AsFd + Send + 'a>(file: F) -> Operation<'a, io::Result<()>> {
    sync(file, FsyncFlags::DATASYNC)
}

fn sync<'a, F>(file: F, flags: FsyncFlags) -> Operation<'a, io::Result<()>>
where
    F: AsFd + Send + 'a,
{
    let entry = move |file: &mut F| opcode::Fsync::new(file.as_fd()).flags(flags).build();
    // SAFETY: the descriptor is held.
    unsafe { Operation::new(file, entry, |_, result| result.map(drop)) }
}

/// The kernel does at most 2 GiB at a time.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn count(cqe: cqueue::Entry) -> usize {
    cqe.result() as usize
}

/// What an operation uses, and what comes of it. It has a place of its own on the heap.
struct State<H, D, T> {
    /// Until the operation has ended. Nobody locks it before.
    held: Mutex<Option<(H, D)>>,
    stage: Mutex<Stage<T>>,
}

enum Stage<T> {
    InFlight(Option<Waker>),
    Ended(T),
    /// Something that was held did, when it went.
    Panicked(Box<dyn Any + Send>),
    Taken,
}

/// A state, of which only the output's type is known.
pub(crate) trait Outcome<T>: Send + Sync {
    /// Takes the output, if it is there.
    ///
    /// # Panics
    ///
    /// If it was taken before, or with what something that was held has panicked with.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<T>;

    /// The reference by which the ring keeps the state.
    ///
    /// # Safety
    ///
    /// It is completed before anything ends that the state borrows, or never.
    unsafe fn keep(self: Arc<Self>) -> Kept;
}

impl<H, D, T> Outcome<T> for State<H, D, T>
where
    H: Send,
    D: FnOnce(H, io::Result<cqueue::Entry>) -> T + Send,
    T: Send,
{
    fn poll(&self, cx: &mut Context<'_>) -> Poll<T> {
        let mut stage = lock(&self.stage);
        match mem::replace(&mut *stage, Stage::Taken) {
            Stage::InFlight(_) => {
                *stage = Stage::InFlight(Some(cx.waker().clone()));
                Poll::Pending
            }
            Stage::Ended(output) => Poll::Ready(output),
            Stage::Panicked(payload) => panic::resume_unwind(payload),
            Stage::Taken => panic!("a completion was polled after it was ready"),
        }
    }

    unsafe fn keep(self: Arc<Self>) -> Kept {
        Kept { state: Arc::into_raw(self).cast(), complete: complete::<H, D, T> }
    }
}

/// A reference to a state of any type. Dropping it drops nothing.
pub(crate) struct Kept {
    state: *const (),
    complete: unsafe fn(*const (), io::Result<cqueue::Entry>),
}

// SAFETY: states are `Send` and `Sync`.
unsafe impl Send for Kept {}

impl Kept {
    /// Gives up what was held for the operation, and the reference.
    pub(crate) fn complete(self, result: io::Result<cqueue::Entry>) {
        // SAFETY: both come from one `keep`, and the reference is given up once, in time.
        unsafe { (self.complete)(self.state, result) }
    }
}

/// # Safety
///
/// `state` is a reference of an `Arc` of this type, which is given up.
unsafe fn complete<H, D, T>(state: *const (), result: io::Result<cqueue::Entry>)
where
    D: FnOnce(H, io::Result<cqueue::Entry>) -> T,
{
    // SAFETY: as our caller promises.
    let state = unsafe { Arc::from_raw(state.cast::<State<H, D, T>>()) };
    let held = lock(&state.held).take();
    let Some((held, done)) = held else { return };
    let ended = match panic::catch_unwind(AssertUnwindSafe(|| done(held, result))) {
        Ok(output) => Stage::Ended(output),
        Err(payload) => Stage::Panicked(payload),
    };
    let before = mem::replace(&mut *lock(&state.stage), ended);
    if let Stage::InFlight(Some(waker)) = before {
        waker.wake();
    }
}
