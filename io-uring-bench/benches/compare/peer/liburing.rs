//! liburing: its C functions, and the inline functions of its header as translated by the
//! `axboe-liburing` crate.

use std::os::fd::RawFd;
use std::ptr::null_mut;

use liburing_rs as uring;
use rustix::io::Errno;

use super::{
    Column, IDLE, Lasting, Named, Nop, Peer, Push, Read, ReadFixed, Recv, Sample, Send, Setup,
    Timeout,
};

pub(crate) enum Liburing {}

pub(crate) struct Ring(uring::io_uring);

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the ring was set up, and is no longer used. The call also releases its registered
        // index, if it has one.
        unsafe { uring::io_uring_queue_exit(&mut self.0) };
    }
}

/// Converts liburing's negated errnos into results.
#[inline(always)]
fn checked(result: i32) -> Result<usize, Errno> {
    if result < 0 { Err(Errno::from_raw_os_error(-result)) } else { Ok(result as usize) }
}

impl Peer for Liburing {
    const COLUMN: Column = "liburing";
    type Registered = Self;
    type Ring = Ring;
    type Queue<'a> = &'a mut uring::io_uring;

    fn ring(setup: &Setup, entries: u32) -> Result<Ring, String> {
        let mut params = uring::io_uring_params {
            flags: setup.flags.bits(),
            sq_thread_idle: IDLE,
            ..Default::default()
        };
        let mut ring = uring::io_uring::default();
        // SAFETY: both structs are valid, and the parameters contain no addresses.
        let made =
            checked(unsafe { uring::io_uring_queue_init_params(entries, &mut ring, &mut params) });
        made.map_err(|error| error.to_string())?;
        let mut ring = Ring(ring);
        if setup.registered {
            // SAFETY: the ring was set up.
            checked(unsafe { uring::io_uring_register_ring_fd(&mut ring.0) })
                .map_err(|error| error.to_string())?;
        }
        Ok(ring)
    }

    #[inline(always)]
    fn queue(ring: &mut Ring) -> Self::Queue<'_> {
        &mut ring.0
    }

    #[inline(always)]
    fn submit(ring: &mut Ring) -> usize {
        // SAFETY: the ring was set up, and the memory of its entries is never freed.
        checked(unsafe { uring::io_uring_submit(&mut ring.0) }).expect("cannot submit")
    }

    #[inline(always)]
    fn submit_and_wait(ring: &mut Ring, want: usize) -> usize {
        // SAFETY: the ring was set up, and the memory of its entries is never freed.
        checked(unsafe { uring::io_uring_submit_and_wait(&mut ring.0, want as u32) })
            .expect("cannot submit and wait")
    }

    #[inline(always)]
    fn reap(ring: &mut Ring, mut each: impl FnMut(u64, i32)) {
        let mut n = 0;
        // SAFETY: the ring was set up. Completions are read before their slots are released.
        unsafe {
            uring::io_uring_for_each_cqe(&mut ring.0, |cqe| {
                each(uring::io_uring_cqe_get_data64(cqe), (*cqe).res);
                n += 1;
            });
            uring::io_uring_cq_advance(&mut ring.0, n);
        }
    }

    #[inline(always)]
    fn reap_one(ring: &mut Ring) -> u64 {
        let mut cqe = null_mut();
        // SAFETY: the ring was set up. The completion is read before its slot is released.
        unsafe {
            checked(uring::io_uring_peek_cqe(&mut ring.0, &mut cqe))
                .expect("there is no completion");
            let user_data = uring::io_uring_cqe_get_data64(cqe);
            uring::io_uring_cqe_seen(&mut ring.0, cqe);
            user_data
        }
    }
}

impl Named for Liburing {
    fn fd(ring: &Ring) -> RawFd {
        ring.0.ring_fd
    }
}

/// An operation that can be expressed by its `io_uring_prep` function.
trait Prep {
    /// # Safety
    ///
    /// The slot was returned by `io_uring_get_sqe`.
    unsafe fn prep(self, sqe: *mut uring::io_uring_sqe);
}

/// Builds an entry in place, in a function that is not inlined.
#[inline(never)]
fn prep_behind_call<O: Sample + Prep>(
    sqe: *mut uring::io_uring_sqe,
    fd: RawFd,
    buf: *mut u8,
    len: u32,
    i: u64,
) {
    // SAFETY: the caller passes a free slot.
    unsafe {
        O::sample(fd, Lasting { start: buf, len }, i).prep(sqe);
        uring::io_uring_sqe_set_data64(sqe, i);
    }
}

impl<O: Prep> Push<O> for Liburing {
    #[inline(always)]
    fn push(queue: &mut Self::Queue<'_>, op: O, user_data: u64) {
        // SAFETY: the ring was set up, and a slot that is returned is free.
        unsafe {
            let sqe = uring::io_uring_get_sqe(*queue);
            assert!(!sqe.is_null());
            op.prep(sqe);
            uring::io_uring_sqe_set_data64(sqe, user_data);
        }
    }

    #[inline(always)]
    fn push_behind_call(queue: &mut Self::Queue<'_>, fd: RawFd, buf: Lasting, i: u64)
    where
        O: Sample,
    {
        // SAFETY: the ring was set up.
        let sqe = unsafe { uring::io_uring_get_sqe(*queue) };
        assert!(!sqe.is_null());
        prep_behind_call::<O>(sqe, fd, buf.start, buf.len, i);
    }
}

macro_rules! prep {
    ($($Op:ty: |$op:ident, $sqe:ident| $prep:expr;)*) => { $(
        impl Prep for $Op {
            #[inline(always)]
            unsafe fn prep(self, $sqe: *mut uring::io_uring_sqe) {
                let $op = self;
                // SAFETY: the caller guarantees that the slot is free.
                unsafe { $prep };
            }
        }
    )* };
}
prep! {
    Nop: |_op, sqe| uring::io_uring_prep_nop(sqe);
    Read: |op, sqe|
        uring::io_uring_prep_read(sqe, op.fd, op.buf.start.cast(), op.buf.len, op.offset);
    ReadFixed: |op, sqe| {
        let buf = op.buf;
        let index = i32::from(op.buf_index);
        uring::io_uring_prep_read_fixed(sqe, op.slot as i32, buf.start.cast(), buf.len, op.offset, index);
        uring::io_uring_sqe_set_flags(sqe, uring::IOSQE_FIXED_FILE);
    };
    Send: |op, sqe| uring::io_uring_prep_send(sqe, op.fd, op.buf.start.cast(), op.buf.len as usize, 0);
    Recv: |op, sqe| uring::io_uring_prep_recv(sqe, op.fd, op.buf.start.cast(), op.buf.len as usize, 0);
    Timeout: |op, sqe| uring::io_uring_prep_timeout(sqe, op.time.cast(), op.count, 0);
}
