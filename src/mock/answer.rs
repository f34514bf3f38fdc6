//! Submissions, which a script gets, and answers, which it returns.

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::vec::Vec;

use rustix::io::Errno;

use super::Kernel;
use crate::cqueue;
use crate::squeue::{Flags, Sqe};
use crate::sys::{self, io_uring_op::*};
use crate::types::{RecvSendFlags, iovec};

/// An entry that the program has submitted.
pub struct Submission {
    pub(super) sqe: Sqe,
    pub(super) rest: Option<[u8; 64]>,
    pub(super) kernel: Kernel,
}

impl Submission {
    /// Returns the kernel that the entry was submitted to. (A script that stores a clone of its own
    /// kernel keeps the memory of the ring alive forever.)
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Returns the fields of the entry.
    pub fn as_raw(&self) -> &Sqe {
        &self.sqe
    }

    /// Returns the bytes that follow the fields in a 128-byte entry.
    pub fn rest(&self) -> Option<&[u8; 64]> {
        self.rest.as_ref()
    }

    /// Returns the number of the operation: the `CODE` of a builder in [`opcode`](crate::opcode).
    pub fn opcode(&self) -> u8 {
        self.sqe.opcode
    }

    /// Returns the user data, which the completion contains too.
    pub fn user_data(&self) -> u64 {
        self.sqe.user_data
    }

    /// Returns the descriptor or the slot that the operation uses.
    pub fn fd(&self) -> i32 {
        self.sqe.fd
    }

    /// Returns the bytes that the entry writes or sends, if it is a write, a vectored write or a
    /// send with memory of its own.
    ///
    /// Returns `None` if a kernel would fail with EFAULT or EINVAL because of the addresses and
    /// lengths. Like a kernel, this stops at a null address that is not the first.
    pub fn data(&self) -> Option<Vec<u8>> {
        let codes = [IORING_OP_WRITE, IORING_OP_WRITEV, IORING_OP_SEND, IORING_OP_SEND_ZC];
        if !codes.iter().any(|&code| code as u8 == self.sqe.opcode) {
            return None;
        }
        let mut data = Vec::new();
        for Span { start, len } in spans(&self.sqe).ok()? {
            // SAFETY: by the contract of a pushed entry, the memory of a write stays valid until it
            // completes. The script runs before that, and must not complete the write meanwhile.
            data.extend_from_slice(unsafe { core::slice::from_raw_parts(start, len) });
        }
        Some(data)
    }
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sqe.fmt(f)
    }
}

/// The limit for one transfer: the kernel's `MAX_RW_COUNT`, for pages of 4 KiB.
const MOST: usize = 0x7fff_f000;

/// The limit for the elements of an `iovec` array: `UIO_MAXIOV`.
const MOST_VECTORS: u32 = 1024;

/// Memory that an entry refers to. It is not null, and has at most [`MOST`] bytes.
#[derive(Debug)]
pub(super) struct Span {
    start: *mut u8,
    len: usize,
}

// SAFETY: this is only an address. The program has promised the memory to the kernel, which is the
// mock.
unsafe impl Send for Span {}

/// Returns the memory that contains or receives the data of an operation, at most [`MOST`] bytes in
/// total.
///
/// # Errors
///
/// The errors of the operation: EFAULT or EINVAL. Also EFAULT if the operation has no such memory,
/// or if the mock does not know it.
fn spans(sqe: &Sqe) -> Result<Vec<Span>, Errno> {
    let is = |codes: &[sys::io_uring_op]| codes.iter().any(|&code| code as u8 == sqe.opcode);
    if Flags::from_bits_retain(sqe.flags).contains(Flags::BUFFER_SELECT) {
        return Err(Errno::FAULT);
    }
    let addr = core::ptr::with_exposed_provenance_mut::<u8>(sqe.addr as usize);
    let sends = is(&[IORING_OP_SEND, IORING_OP_SEND_ZC]);
    let vectorized =
        RecvSendFlags::from_bits_retain(sqe.ioprio).contains(RecvSendFlags::VECTORIZED);
    let vectors = if is(&[IORING_OP_READV, IORING_OP_WRITEV]) || sends && vectorized {
        vectors(addr, sqe.len)?
    } else if is(&[IORING_OP_READ, IORING_OP_RECV, IORING_OP_WRITE]) || sends {
        Vec::from([Span { start: addr, len: sqe.len as usize }])
    } else {
        return Err(Errno::FAULT);
    };
    let mut spans = Vec::new();
    let mut room = MOST;
    for Span { start, len } in vectors {
        let len = len.min(room);
        match (len, start.is_null()) {
            (0, _) => {}
            (_, false) => spans.push(Span { start, len }),
            (_, true) if spans.is_empty() => return Err(Errno::FAULT),
            // The kernel transfers the spans before this one, and returns their length.
            (_, true) => break,
        }
        room -= len;
    }
    Ok(spans)
}

/// Reads an array of `iovec`, which need not be aligned.
fn vectors(array: *const u8, count: u32) -> Result<Vec<Span>, Errno> {
    if count > MOST_VECTORS {
        return Err(Errno::INVAL);
    }
    if array.is_null() && count > 0 {
        return Err(Errno::FAULT);
    }
    (0..count as usize)
        .map(|i| {
            // SAFETY: by the contract of a pushed entry, the array is valid during submission,
            // which is when this runs.
            let iovec = unsafe { array.cast::<iovec>().add(i).read_unaligned() };
            let len = isize::try_from(iovec.iov_len).map_err(|_| Errno::INVAL)?;
            Ok(Span { start: iovec.iov_base.cast(), len: len.unsigned_abs() })
        })
        .collect()
}

/// What happens to a submission.
///
/// ```
/// use std::time::Duration;
/// use rustix_uring::{Errno, mock::Answer};
///
/// Answer::result(5); // it completes at once, with 5
/// Answer::error(Errno::CONNRESET); // or with an error
/// Answer::bytes("hello"); // a read: "hello" in its buffer
/// Answer::result(5).after(Duration::from_secs(1)); // after one second of simulated time
/// Answer::result(5).then(Answer::result(6)); // multishot: two completions, the first with `more`
/// Answer::pending(); // in flight until it is canceled, or `Kernel::complete` completes it
/// Answer::leave_queued(Errno::BUSY); // it is not consumed, and stays queued
/// ```
#[derive(Debug)]
#[must_use]
pub struct Answer {
    pub(super) special: Option<Special>,
    pub(super) pieces: VecDeque<Piece>,
    /// Whether completions that are not in `pieces` will follow.
    pub(super) open: bool,
    pub(super) uncancellable: bool,
}

/// Answers that do more than post completions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Special {
    Usual,
    LeaveQueued(Errno),
    /// The entry completes, and the call consumes nothing behind it.
    FailAtSubmit,
}

/// One completion.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) outcome: Outcome,
    pub(super) flags: u32,
    pub(super) big: Option<[u64; 2]>,
    /// The delay after the previous completion.
    pub(super) after: Duration,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Result(i32),
    Bytes(Vec<u8>),
}

impl Answer {
    fn new(special: Option<Special>, open: bool) -> Self {
        Self { special, pieces: VecDeque::new(), open, uncancellable: false }
    }

    fn one(outcome: Outcome) -> Self {
        let mut answer = Self::new(None, false);
        answer.pieces.push_back(Piece { outcome, flags: 0, big: None, after: Duration::ZERO });
        answer
    }

    /// Answers as every kernel would, for the operations that need only the ring.
    ///
    /// A NOP completes with 0. A [`Timeout`](crate::opcode::Timeout) completes with -ETIME after
    /// its time, if it has no count and no flags except [`ABS`](crate::types::TimeoutFlags::ABS).
    /// Cancellations, and removals of timeouts and polls, apply to the operations in flight.
    /// Everything else completes with -EINVAL, like operations that a kernel does not know.
    pub fn usual() -> Self {
        Self::new(Some(Special::Usual), false)
    }

    /// Completes the entry with this result.
    pub fn result(result: i32) -> Self {
        Self::one(Outcome::Result(result))
    }

    /// Completes the entry with this error.
    pub fn error(errno: Errno) -> Self {
        Self::result(-errno.raw_os_error())
    }

    /// Reads or receives these bytes, or as many as fit into the buffers, and completes the entry
    /// with their number.
    ///
    /// The mock writes the memory only when the operation completes. If the program frees the
    /// memory too early, Miri or a checking allocator detects it.
    ///
    /// This works for `Read`, `Readv` and `Recv` with their own buffers. Other operations, and null
    /// buffers, complete with -EFAULT.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::one(Outcome::Bytes(bytes.into()))
    }

    /// Leaves the entry in flight until it is canceled or [completed by
    /// hand](super::Kernel::complete).
    pub fn pending() -> Self {
        Self::new(None, true)
    }

    /// Finishes the entry without a completion.
    pub fn no_cqe() -> Self {
        Self::new(None, false)
    }

    /// Does not consume the entry, which stays queued. If it is the first entry of the enter call,
    /// the call fails with this errno. Otherwise the call returns the number of entries consumed
    /// before. The next call tries the entry again.
    pub fn leave_queued(errno: Errno) -> Self {
        Self::new(Some(Special::LeaveQueued(errno)), false)
    }

    /// Completes the entry with this error, like an entry that the kernel rejects at submission:
    /// the call consumes no entry behind it, unless the ring has
    /// [`setup_submit_all`](crate::Builder::setup_submit_all).
    pub fn fail_at_submit(errno: Errno) -> Self {
        Self { special: Some(Special::FailAtSubmit), ..Self::error(errno) }
    }

    fn last(&mut self, change: impl FnOnce(&mut Piece)) {
        if let Some(piece) = self.pieces.back_mut() {
            change(piece);
        }
    }

    /// Adds flags to the completion. The mock itself sets `IORING_CQE_F_MORE` if another completion
    /// follows.
    pub fn flags(mut self, flags: u32) -> Self {
        self.last(|piece| piece.flags |= flags);
        self
    }

    /// Makes the completion report that this provided buffer was used.
    pub fn buffer(self, bid: u16) -> Self {
        self.flags(sys::IORING_CQE_F_BUFFER | u32::from(bid) << sys::IORING_CQE_BUFFER_SHIFT)
    }

    /// Sets the extra 16 bytes of the completion, on rings whose completions have them.
    pub fn big_cqe(mut self, big: [u64; 2]) -> Self {
        self.last(|piece| piece.big = Some(big));
        self
    }

    /// Delays the completion by this time after the previous completion, or after the submission.
    /// Time passes only during waits; see [the module](super).
    pub fn after(mut self, after: Duration) -> Self {
        self.last(|piece| piece.after = piece.after.saturating_add(after));
        self
    }

    /// Appends the completions of `next`.
    pub fn then(mut self, mut next: Self) -> Self {
        self.pieces.append(&mut next.pieces);
        self.open |= next.open;
        self.uncancellable |= next.uncancellable;
        self
    }

    /// Makes cancellations miss the operation: they do not find it, and it completes as the script
    /// says. The kernel treats direct I/O in this way.
    pub fn uncancellable(mut self) -> Self {
        self.uncancellable = true;
        self
    }
}

/// A completion on its way to the queue.
pub(super) struct Posted {
    pub(super) entry: cqueue::Entry,
    pub(super) big: Option<[u64; 2]>,
}

/// A submission that was consumed and has not posted its last completion.
pub(super) struct InFlight {
    pub(super) sqe: Sqe,
    /// The spans at submission. The program may change an array of `iovec` after that.
    spans: Result<Vec<Span>, Errno>,
    /// The time of the last of `pieces`.
    end: Duration,
    pieces: VecDeque<(Duration, Piece)>,
    open: bool,
    uncancellable: bool,
}

impl InFlight {
    pub(super) fn new(sqe: Sqe, answer: Answer, now: Duration) -> Self {
        let mut new = Self {
            spans: spans(&sqe),
            sqe,
            end: now,
            pieces: VecDeque::new(),
            open: false,
            uncancellable: false,
        };
        new.go_on(answer, now);
        new
    }

    /// Adds the completions of `answer`.
    pub(super) fn go_on(&mut self, answer: Answer, now: Duration) {
        self.end = self.end.max(now);
        for piece in answer.pieces {
            self.end = self.end.saturating_add(piece.after);
            self.pieces.push_back((self.end, piece));
        }
        (self.open, self.uncancellable) = (answer.open, answer.uncancellable);
    }

    /// Cancels the operation, and returns whether that was possible.
    pub(super) fn cancel(&mut self, now: Duration) -> bool {
        if self.uncancellable {
            return false;
        }
        self.pieces.clear();
        self.end = now;
        self.go_on(Answer::error(Errno::CANCELED), now);
        true
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    pub(super) fn is_over(&self) -> bool {
        self.pieces.is_empty() && !self.open
    }

    /// Returns the time of the next completion.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.pieces.front().map(|(at, _)| *at)
    }

    /// Performs the effect of the next completion, and returns it unless it is skipped.
    pub(super) fn complete(&mut self) -> Option<Posted> {
        let (_, Piece { outcome, mut flags, big, .. }) = self.pieces.pop_front()?;
        let res = match outcome {
            Outcome::Result(result) => result,
            Outcome::Bytes(bytes) => match self.write(&bytes) {
                Ok(written) => written,
                Err(errno) => -errno.raw_os_error(),
            },
        };
        if !self.is_over() {
            flags |= sys::IORING_CQE_F_MORE;
        }
        let skipped = Flags::from_bits_retain(self.sqe.flags).contains(Flags::SKIP_SUCCESS);
        let entry = cqueue::Entry { user_data: self.sqe.user_data, res, flags };
        (res < 0 || !skipped).then_some(Posted { entry, big })
    }

    fn write(&self, bytes: &[u8]) -> Result<i32, Errno> {
        let codes = [IORING_OP_READ, IORING_OP_READV, IORING_OP_RECV];
        if !codes.iter().any(|&code| code as u8 == self.sqe.opcode) {
            return Err(Errno::FAULT);
        }
        let mut rest = bytes;
        for span in self.spans.as_ref().map_err(|&errno| errno)? {
            let (now, later) = rest.split_at(rest.len().min(span.len));
            // SAFETY: by the contract of a pushed entry, the kernel may write to its memory until
            // the last completion, which the program has not seen yet.
            unsafe { span.start.copy_from_nonoverlapping(now.as_ptr(), now.len()) };
            rest = later;
        }
        // The number is at most `MOST`, so it is positive.
        Ok((bytes.len() - rest.len()) as i32)
    }
}
