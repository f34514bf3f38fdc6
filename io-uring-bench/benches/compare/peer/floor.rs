//! The hand-written floor: a ring for a single program, without a crate.
//!
//! It tracks what it submitted, so it reads only the kernel's submission head and completion tail,
//! the former once per batch.

use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::atomic::{AtomicU32, Ordering, fence};

use rustix::io_uring::{
    IORING_OFF_SQ_RING, IORING_OFF_SQES, IoringEnterFlags, IoringRegisterOp, IoringSetupFlags,
    io_uring_enter, io_uring_params, io_uring_ptr, io_uring_register, io_uring_rsrc_update,
    io_uring_setup,
};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix_uring::SetupFlags;
use rustix_uring::sys::IORING_SQ_NEED_WAKEUP;
use rustix_uring::sys::io_uring_op::*;

use super::{
    Column, FLOOR, IDLE, Lasting, Named, Nop, Peer, Push, Read, ReadFixed, Recv, Sample, Send,
    Setup, Timeout,
};

pub(crate) enum Floor {}

pub(crate) struct Ring {
    sq_head: *const AtomicU32,
    sq_tail: *const AtomicU32,
    sqes: *mut Sqe,
    cq_head: *const AtomicU32,
    cq_tail: *const AtomicU32,
    cqes: *const Cqe,
    flags: *const AtomicU32,
    capacity: u32,
    cq_mask: u32,
    /// The completion head: we have reaped up to this position.
    head: u32,
    /// The submission tail at the last submit.
    submitted: u32,
    /// The descriptor or the registered index.
    number: RawFd,
    enter: IoringEnterFlags,
    mappings: [(*mut c_void, usize); 2],
    fd: OwnedFd,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Sqe {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    off: u64,
    addr: u64,
    len: u32,
    op_flags: u32,
    user_data: u64,
    buf_index: u16,
    personality: u16,
    file_index: u32,
    addr3: u64,
    pad: u64,
}

#[repr(C)]
struct Cqe {
    user_data: u64,
    res: i32,
    flags: u32,
}

/// Requests a ring from the kernel.
pub(crate) fn setup(flags: SetupFlags, entries: u32) -> io::Result<(OwnedFd, io_uring_params)> {
    let mut params = io_uring_params::default();
    params.flags = IoringSetupFlags::from_bits_retain(flags.bits());
    params.sq_thread_idle = IDLE;
    // SAFETY: the parameters contain no addresses.
    let fd = unsafe { io_uring_setup(entries, &mut params) }?;
    Ok((fd, params))
}

/// Maps both parts of the ring memory: the queues and the entries.
pub(crate) fn map(
    fd: BorrowedFd<'_>,
    params: &io_uring_params,
) -> io::Result<[(*mut c_void, usize); 2]> {
    let array = if params.flags.contains(IoringSetupFlags::NO_SQARRAY) { 0 } else { 4 };
    let queues = (params.cq_off.cqes + params.cq_entries * size_of::<Cqe>() as u32)
        .max(params.sq_off.array + params.sq_entries * array) as usize;
    let entries = params.sq_entries as usize * size_of::<Sqe>();
    let map = |len, offset| {
        let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: this is a new mapping at an address that the kernel chooses.
        unsafe { mmap(null_mut(), len, prot, flags, fd, offset) }.map(|start| (start, len))
    };
    Ok([map(queues, IORING_OFF_SQ_RING)?, map(entries, IORING_OFF_SQES)?])
}

/// Registers or unregisters the descriptor of a ring.
fn ring_fd(fd: BorrowedFd<'_>, op: IoringRegisterOp, index: u32) -> io::Result<u32> {
    let mut update = io_uring_rsrc_update::default();
    update.offset = index;
    if op == IoringRegisterOp::RegisterRingFds {
        update.data = io_uring_ptr::new(without_provenance_mut(fd.as_raw_fd() as usize));
    }
    // SAFETY: the kernel reads one update, and writes the index to it.
    unsafe { io_uring_register(fd, op, (&raw mut update).cast::<c_void>(), 1) }?;
    Ok(update.offset)
}

impl Ring {
    fn new(setup_: &Setup, entries: u32) -> io::Result<Self> {
        let flags = setup_.flags | SetupFlags::NO_SQARRAY;
        let (fd, params) = setup(flags, entries)?;
        let mappings = map(fd.as_fd(), &params)?;
        let [queues, sqes] = mappings.map(|(start, _)| start.cast::<u8>());
        let word =
            |offset: u32| queues.wrapping_add(offset as usize).cast::<AtomicU32>().cast_const();
        let mut ring = Self {
            sq_head: word(params.sq_off.head),
            sq_tail: word(params.sq_off.tail),
            sqes: sqes.cast(),
            cq_head: word(params.cq_off.head),
            cq_tail: word(params.cq_off.tail),
            cqes: word(params.cq_off.cqes).cast(),
            flags: word(params.sq_off.flags),
            capacity: params.sq_entries,
            cq_mask: params.cq_entries - 1,
            head: 0,
            submitted: 0,
            number: fd.as_raw_fd(),
            enter: IoringEnterFlags::empty(),
            mappings,
            fd,
        };
        if setup_.registered {
            let index = ring_fd(ring.fd.as_fd(), IoringRegisterOp::RegisterRingFds, u32::MAX)?;
            ring.number = index as RawFd;
            ring.enter = IoringEnterFlags::REGISTERED_RING;
        }
        Ok(ring)
    }

    #[inline(always)]
    fn enter(&mut self, submit: u32, want: u32, flags: IoringEnterFlags) -> usize {
        // SAFETY: this ring keeps the descriptor or index, and the memory of the entries is never
        // freed.
        unsafe {
            let number = BorrowedFd::borrow_raw(self.number);
            io_uring_enter(number, submit, want, self.enter | flags)
        }
        .expect("cannot enter the kernel") as usize
    }

    #[inline(always)]
    fn unsubmitted(&mut self) -> u32 {
        // SAFETY: the ring keeps the mapping that the word lies in.
        let tail = unsafe { &*self.sq_tail }.load(Ordering::Relaxed);
        let n = tail.wrapping_sub(self.submitted);
        self.submitted = tail;
        n
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.enter.contains(IoringEnterFlags::REGISTERED_RING) {
            let index = self.number as u32;
            ring_fd(self.fd.as_fd(), IoringRegisterOp::UnregisterRingFds, index)
                .expect("cannot unregister the index");
        }
        for (start, len) in self.mappings {
            // SAFETY: these are our own mappings, which nothing uses any more.
            unsafe { munmap(start, len) }.expect("cannot unmap the ring");
        }
    }
}

/// The positions of the submission queue, kept in registers.
pub(crate) struct Queue<'a> {
    sqes: *mut Sqe,
    mask: u32,
    tail: u32,
    limit: u32,
    published: &'a AtomicU32,
}

impl Queue<'_> {
    /// Returns the next slot.
    #[inline(always)]
    fn slot(&mut self) -> *mut Sqe {
        let index = (self.tail & self.mask) as usize;
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the mask keeps the index within the queue.
        unsafe { self.sqes.add(index) }
    }
}

impl Drop for Queue<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.published.store(self.tail, Ordering::Release);
    }
}

impl Peer for Floor {
    const COLUMN: Column = FLOOR;
    type Registered = Self;
    type Ring = Ring;
    type Queue<'a> = Queue<'a>;

    fn ring(setup: &Setup, entries: u32) -> Result<Ring, String> {
        Ring::new(setup, entries).map_err(|error| error.to_string())
    }

    #[inline(always)]
    fn queue(ring: &mut Ring) -> Queue<'_> {
        // SAFETY: the ring keeps the mapping that the words lie in.
        let (head, published) = unsafe { (&*ring.sq_head, &*ring.sq_tail) };
        Queue {
            sqes: ring.sqes,
            mask: ring.capacity - 1,
            tail: published.load(Ordering::Relaxed),
            limit: head.load(Ordering::Acquire).wrapping_add(ring.capacity),
            published,
        }
    }

    #[inline(always)]
    fn submit(ring: &mut Ring) -> usize {
        let n = ring.unsubmitted();
        fence(Ordering::SeqCst);
        // SAFETY: the ring keeps the mapping that the word lies in.
        let flags = unsafe { &*ring.flags }.load(Ordering::Relaxed);
        if flags & IORING_SQ_NEED_WAKEUP != 0 {
            ring.enter(n, 0, IoringEnterFlags::SQ_WAKEUP);
        }
        n as usize
    }

    #[inline(always)]
    fn submit_and_wait(ring: &mut Ring, want: usize) -> usize {
        let n = ring.unsubmitted();
        ring.enter(n, want as u32, IoringEnterFlags::GETEVENTS)
    }

    #[inline(always)]
    fn reap(ring: &mut Ring, mut each: impl FnMut(u64, i32)) {
        // SAFETY: the ring keeps the mapping that the words lie in.
        let (head, tail) = unsafe { (&*ring.cq_head, &*ring.cq_tail) };
        let (cqes, mask, mut at) = (ring.cqes, ring.cq_mask, ring.head);
        let end = tail.load(Ordering::Acquire);
        while at != end {
            // SAFETY: the mask keeps the index within the queue, and the completion is published.
            let cqe = unsafe { &*cqes.add((at & mask) as usize) };
            each(cqe.user_data, cqe.res);
            at = at.wrapping_add(1);
        }
        ring.head = at;
        head.store(at, Ordering::Release);
    }

    #[inline(always)]
    fn reap_one(ring: &mut Ring) -> u64 {
        // SAFETY: the ring keeps the mapping that the words lie in.
        let (head, tail) = unsafe { (&*ring.cq_head, &*ring.cq_tail) };
        assert!(tail.load(Ordering::Acquire) != ring.head);
        // SAFETY: the mask keeps the index within the queue, and the completion is published.
        let cqe = unsafe { &*ring.cqes.add((ring.head & ring.cq_mask) as usize) };
        let user_data = cqe.user_data;
        ring.head = ring.head.wrapping_add(1);
        head.store(ring.head, Ordering::Release);
        user_data
    }
}

impl Named for Floor {
    fn fd(ring: &Ring) -> RawFd {
        ring.fd.as_raw_fd()
    }
}

/// An operation that can be expressed as the kernel's struct.
trait Write {
    fn sqe(self, user_data: u64) -> Sqe;
}

/// Builds an entry in place, in a function that is not inlined.
#[inline(never)]
fn write_behind_call<O: Sample + Write>(slot: *mut Sqe, fd: RawFd, buf: *mut u8, len: u32, i: u64) {
    // SAFETY: the caller passes a free slot.
    unsafe { slot.write(O::sample(fd, Lasting { start: buf, len }, i).sqe(i)) };
}

impl<O: Write> Push<O> for Floor {
    #[inline(always)]
    fn push(queue: &mut Queue<'_>, op: O, user_data: u64) {
        assert!(queue.tail != queue.limit);
        // SAFETY: the queue has a free slot, so this one is free.
        unsafe { queue.slot().write(op.sqe(user_data)) };
    }

    #[inline(always)]
    fn push_each(queue: &mut Queue<'_>, n: u64, op: impl Fn(u64) -> O) {
        assert!(n <= u64::from(queue.limit.wrapping_sub(queue.tail)));
        for i in 0..n {
            // SAFETY: the queue has enough free slots for all, so this one is free.
            unsafe { queue.slot().write(op(i).sqe(i)) };
        }
    }

    #[inline(always)]
    fn push_behind_call(queue: &mut Queue<'_>, fd: RawFd, buf: Lasting, i: u64)
    where
        O: Sample,
    {
        assert!(queue.tail != queue.limit);
        write_behind_call::<O>(queue.slot(), fd, buf.start, buf.len, i);
    }
}

macro_rules! write {
    ($($Op:ty: $op:pat, $code:ident => { $($field:ident: $value:expr),* };)*) => { $(
        impl Write for $Op {
            #[inline(always)]
            fn sqe(self, user_data: u64) -> Sqe {
                let $op = self;
                Sqe { opcode: $code as u8, user_data, $($field: $value,)* ..Sqe::default() }
            }
        }
    )* };
}
write! {
    Nop: Nop, IORING_OP_NOP => { fd: -1 };
    Read: Read { fd, buf, offset }, IORING_OP_READ => {
        fd: fd, addr: buf.start as u64, len: buf.len, off: offset
    };
    ReadFixed: ReadFixed { slot, buf, buf_index, offset }, IORING_OP_READ_FIXED => {
        flags: 1, fd: slot as i32, addr: buf.start as u64, len: buf.len, off: offset, buf_index: buf_index
    };
    Send: Send { fd, buf }, IORING_OP_SEND => { fd: fd, addr: buf.start as u64, len: buf.len };
    Recv: Recv { fd, buf }, IORING_OP_RECV => { fd: fd, addr: buf.start as u64, len: buf.len };
    Timeout: Timeout { time, count }, IORING_OP_TIMEOUT => {
        fd: -1, addr: time as u64, len: 1, off: u64::from(count)
    };
}
