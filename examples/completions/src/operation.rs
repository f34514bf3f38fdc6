//! Operations: the buffers and descriptors that they hold, and how they produce their output.
//!
//! A buffer is any value that provides bytes, borrowed or owned: a `&mut [u8]`, a `Vec<u8>`, an array. A
//! descriptor is any value that has one: a `&File`, an `Arc<TcpStream>`. An operation holds both until it
//! has ended. Then it returns the buffer, so you can use it again in the same scope. If you have dropped
//! the completion, the ring's thread may drop the buffer. Destructors of buffers should not block there.

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

/// An operation that has not started. Everything that it holds outlives `'a`.
#[must_use = "an operation does nothing until a scope starts it"]
pub struct Operation<'a, T> {
    pub(crate) entry: Entry,
    pub(crate) outcome: Arc<dyn Outcome<T> + 'a>,
}

/// The number of bytes that were transferred, and the buffer.
pub type Counted<B> = (io::Result<usize>, B);

impl<'a, T: Send + 'a> Operation<'a, T> {
    /// Creates an operation that owns `held`. `entry` builds the entry, which may point into `held`. `done`
    /// computes the output from `held` and the completion, or the error.
    ///
    /// # Safety
    ///
    /// [The contract](rustix_uring::squeue#the-contract) holds for the entry as long as `held` is not
    /// dropped, moved or accessed.
    pub(crate) unsafe fn new<H: Send + 'a>(
        held: H,
        entry: impl FnOnce(&mut H) -> Entry,
        done: impl FnOnce(H, io::Result<cqueue::Entry>) -> T + Send + 'a,
    ) -> Self {
        let (held, stage) = (Mutex::new(Some((held, done))), Mutex::new(Stage::InFlight(None)));
        let mut state = Arc::new(State { held, stage });
        // `held` does not move any more until the completion, so the entry may point into it.
        let new = Arc::get_mut(&mut state).and_then(|state| state.held.get_mut().ok()?.as_mut());
        let (held, _) = new.expect("a new state is not shared");
        Self { entry: entry(held), outcome: state }
    }

    /// Makes the operation a barrier. It starts after all operations that were submitted to the ring before
    /// it have ended, and later operations start after it has ended. An accept that waits for a
    /// connection therefore holds up the barrier, and everything after it.
    pub fn drained(self) -> Self {
        Self { entry: self.entry.flags(Flags::IO_DRAIN), ..self }
    }
}

/// Reads at an offset, at most the length of the buffer. A count of 0 means the end of the file.
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
    // SAFETY: the operation holds the descriptor and the buffer. The bytes that a buffer provides stay valid
    // until it is accessed again, and `State` does not access it before the completion.
    unsafe { Operation::new((file, buf), entry, |(_, buf), result| (result.map(count), buf)) }
}

/// Writes at an offset, at most the length of the buffer.
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
    // SAFETY: the operation holds the descriptor and the buffer. Nothing accesses them before the
    // completion.
    unsafe { Operation::new((file, buf), entry, |(_, buf), result| (result.map(count), buf)) }
}

/// Reads into several buffers at an offset. For sockets, use offset 0.
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
        // `std` guarantees that `IoSliceMut` has the same layout as `iovec`.
        let read = opcode::Readv::new(file.as_fd(), bufs.as_mut_ptr().cast::<iovec>(), len);
        read.offset(offset).build()
    };
    // SAFETY: the operation holds the descriptor and the slices. The slices borrow the buffers for 'b, which
    // outlives the operation.
    unsafe { Operation::new((file, bufs), entry, |(_, bufs), result| (result.map(count), bufs)) }
}

/// Writes several buffers at an offset. For sockets, use offset 0.
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
    // SAFETY: the operation holds the descriptor and the slices. The slices borrow the buffers for 'b, which
    // outlives the operation.
    unsafe { Operation::new((file, bufs), entry, |(_, bufs), result| (result.map(count), bufs)) }
}

/// Receives at most the length of the buffer. A count of 0 means the end of the stream.
pub fn recv<'a, F, B>(socket: F, buf: B) -> Operation<'a, Counted<B>>
where
    F: AsFd + Send + 'a,
    B: AsMut<[u8]> + Send + 'a,
{
    let entry = |(socket, buf): &mut (F, B)| {
        let bytes = buf.as_mut();
        opcode::Recv::new(socket.as_fd(), bytes.as_mut_ptr(), length(bytes)).build()
    };
    // SAFETY: the operation holds the descriptor and the buffer. Nothing accesses them before the
    // completion.
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
    // SAFETY: the operation holds the descriptor and the buffer. Nothing accesses them before the
    // completion.
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
        // SAFETY: an accept creates a descriptor, and no other code takes it from the completion.
        let stream = TcpStream::from(unsafe { result?.to_fd() }?);
        Ok((stream, peer.to_socket_addr().ok_or(Errno::AFNOSUPPORT)?))
    };
    // SAFETY: the operation holds the descriptor and the buffer for the address.
    unsafe { Operation::new((listener, SocketAddrBuf::new()), entry, done) }
}

/// Creates a socket that can [connect] to an address. Requires Linux 5.19.
pub fn socket<'a>(address: SocketAddr) -> Operation<'a, io::Result<TcpStream>> {
    let family = SocketAddrAny::from(address).address_family();
    let socket = opcode::Socket::new(family, SocketType::STREAM, None);
    let entry = socket.flags(SocketFlags::CLOEXEC).build();
    let done = |(), result: io::Result<cqueue::Entry>| {
        // SAFETY: this operation creates a descriptor, and no other code takes it from the completion.
        Ok(TcpStream::from(unsafe { result?.to_fd() }?))
    };
    // SAFETY: the entry points to no memory.
    unsafe { Operation::new((), move |()| entry, done) }
}

/// Connects a socket to an address, and returns the socket with the result.
pub fn connect<'a, F>(socket: F, address: SocketAddr) -> Operation<'a, (io::Result<()>, F)>
where
    F: AsFd + Send + 'a,
{
    let entry = |(socket, address): &mut (F, SocketAddrAny)| {
        opcode::Connect::new(socket.as_fd(), address.as_ptr(), address.addr_len()).build()
    };
    let held = (socket, SocketAddrAny::from(address));
    // SAFETY: the operation holds the descriptor and the address.
    unsafe { Operation::new(held, entry, |(socket, _), result| (result.map(drop), socket)) }
}

/// Flushes written data and metadata of a file to the device. This does not wait for writes that are in
/// flight: link it behind them, or wait for them first.
pub fn fsync<'a, F: AsFd + Send + 'a>(file: F) -> Operation<'a, io::Result<()>> {
    sync(file, FsyncFlags::empty())
}

/// Flushes like [`fsync`], except for metadata that is not needed to read the data.
pub fn fdatasync<'a, F: AsFd + Send + 'a>(file: F) -> Operation<'a, io::Result<()>> {
    sync(file, FsyncFlags::DATASYNC)
}

fn sync<'a, F>(file: F, flags: FsyncFlags) -> Operation<'a, io::Result<()>>
where
    F: AsFd + Send + 'a,
{
    let entry = move |file: &mut F| opcode::Fsync::new(file.as_fd()).flags(flags).build();
    // SAFETY: the operation holds the descriptor.
    unsafe { Operation::new(file, entry, |_, result| result.map(drop)) }
}

/// Returns the length of a buffer for the kernel, which transfers at most 2 GiB in one operation.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

fn count(cqe: cqueue::Entry) -> usize {
    cqe.result() as usize
}

/// The state of an operation: what it holds, and its output. It is on the heap and does not move.
struct State<H, D, T> {
    /// `Some` until the operation has ended. No thread locks it before that.
    held: Mutex<Option<(H, D)>>,
    stage: Mutex<Stage<T>>,
}

enum Stage<T> {
    InFlight(Option<Waker>),
    Ended(T),
    /// Code of the held values has panicked, for example their destructors.
    Panicked(Box<dyn Any + Send>),
    Taken,
}

/// A state whose other types are erased: only the type of its output is known.
pub(crate) trait Outcome<T>: Send + Sync {
    /// Takes the output, if the operation has ended.
    ///
    /// # Panics
    ///
    /// If the output was already taken. If a held value has panicked, resumes its panic.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<T>;

    /// Returns a reference by which the ring keeps the state alive.
    ///
    /// # Safety
    ///
    /// The caller completes the reference before anything that the state borrows ends, or never.
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

/// A counted reference to a state of any type. If you drop it, the reference leaks.
pub(crate) struct Kept {
    state: *const (),
    complete: unsafe fn(*const (), io::Result<cqueue::Entry>),
}

// SAFETY: it stands for an `Arc<State>`, and `Outcome` requires states to be `Send` and `Sync`.
unsafe impl Send for Kept {}

impl Kept {
    /// Computes the output from what the operation holds, wakes its waiter, and releases the reference.
    pub(crate) fn complete(self, result: io::Result<cqueue::Entry>) {
        // SAFETY: `keep` has created the pointer and the function together. `self` is consumed, so this
        // happens once, and the caller of `keep` has promised that it happens in time.
        unsafe { (self.complete)(self.state, result) }
    }
}

/// # Safety
///
/// `state` comes from `Arc::into_raw` of this type, and the caller does not use it again.
unsafe fn complete<H, D, T>(state: *const (), result: io::Result<cqueue::Entry>)
where
    D: FnOnce(H, io::Result<cqueue::Entry>) -> T,
{
    // SAFETY: the caller promises that this pointer comes from `Arc::into_raw` of this type.
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
