//! What a script is asked, and what it answers.

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
    /// The kernel that it was submitted to. (A script that has a clone of its own kernel keeps the
    /// ring's memory for ever.)
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The entry's fields.
    pub fn as_raw(&self) -> &Sqe {
        &self.sqe
    }

    /// What follows the fields in an entry of 128 bytes.
    pub fn rest(&self) -> Option<&[u8; 64]> {
        self.rest.as_ref()
    }

    /// Which operation it is: the `CODE` of one of [`opcode`](crate::opcode).
    pub fn opcode(&self) -> u8 {
        self.sqe.opcode
    }

    /// The number that comes back in the completion.
    pub fn user_data(&self) -> u64 {
        self.sqe.user_data
    }

    /// The descriptor, or the slot, that it is about.
    pub fn fd(&self) -> i32 {
        self.sqe.fd
    }

    /// Returns what it writes or sends, if it is a plain or vectored write, or a send, with memory
    /// of its own.
    ///
    /// Where a kernel would fail with EFAULT or EINVAL because of the addresses and lengths, there is
    /// no data either. As a kernel does, this stops at a null address that is not the first.
    pub fn data(&self) -> Option<Vec<u8>> {
        let codes = [IORING_OP_WRITE, IORING_OP_WRITEV, IORING_OP_SEND, IORING_OP_SEND_ZC];
        if !codes.iter().any(|&code| code as u8 == self.sqe.opcode) {
            return None;
        }
        let mut data = Vec::new();
        for Span { start, len } in spans(&self.sqe).ok()? {
            // SAFETY: the contract of a pushed entry: what a write reads is there until it completes.
            // A script is asked before that, and must not complete it meanwhile by other means.
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

/// How much one operation transfers at most: the kernel's `MAX_RW_COUNT`, for pages of 4 KiB.
const MOST: usize = 0x7fff_f000;

/// How many elements an `iovec` array has at most: `UIO_MAXIOV`.
const MOST_VECTORS: u32 = 1024;

/// Memory that an entry names: not null, and of at most [`MOST`] bytes.
#[derive(Debug)]
pub(super) struct Span {
    start: *mut u8,
    len: usize,
}

// SAFETY: an address; the program has promised the memory to the kernel, which is us.
unsafe impl Send for Span {}

/// The memory that the data of an operation is in, or goes to; together at most [`MOST`] bytes.
///
/// # Errors
///
/// Those that the operation would have: EFAULT, EINVAL. EFAULT as well for an operation that has no
/// such memory, or whose memory we do not know.
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
            // The kernel transfers what comes before, and says how much that is.
            (_, true) => break,
        }
        room -= len;
    }
    Ok(spans)
}

/// An array of `iovec`, which need not be aligned.
fn vectors(array: *const u8, count: u32) -> Result<Vec<Span>, Errno> {
    if count > MOST_VECTORS {
        return Err(Errno::INVAL);
    }
    if array.is_null() && count > 0 {
        return Err(Errno::FAULT);
    }
    (0..count as usize)
        .map(|i| {
            // SAFETY: the contract of a pushed entry: the array is there while it is submitted, which
            // is when we are called.
            let iovec = unsafe { array.cast::<iovec>().add(i).read_unaligned() };
            let len = isize::try_from(iovec.iov_len).map_err(|_| Errno::INVAL)?;
            Ok(Span { start: iovec.iov_base.cast(), len: len.unsigned_abs() })
        })
        .collect()
}

/// What becomes of a submission.
///
/// ```
/// use std::time::Duration;
/// use rustix_uring::{Errno, mock::Answer};
///
/// Answer::result(5); // it completes at once, with 5
/// Answer::error(Errno::CONNRESET); // or with an error
/// Answer::bytes("hello"); // a read: "hello" in its buffer
/// Answer::result(5).after(Duration::from_secs(1)); // not before somebody has waited for a second
/// Answer::result(5).then(Answer::result(6)); // multishot: two completions, the first with `more`
/// Answer::pending(); // it is in flight until it is cancelled, or `Kernel::complete` completes it
/// Answer::leave_queued(Errno::BUSY); // it is not taken, and stays queued
/// ```
#[derive(Debug)]
#[must_use]
pub struct Answer {
    pub(super) special: Option<Special>,
    pub(super) pieces: VecDeque<Piece>,
    /// More is to come that is not in `pieces`.
    pub(super) open: bool,
    pub(super) uncancellable: bool,
}

/// Answers that are more than completions.
#[derive(Clone, Copy, Debug)]
pub(super) enum Special {
    Usual,
    LeaveQueued(Errno),
    /// It completes, and nothing behind it is taken.
    FailAtSubmit,
}

/// One completion.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) outcome: Outcome,
    pub(super) flags: u32,
    pub(super) big: Option<[u64; 2]>,
    /// How long after the one before.
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

    /// What every kernel would do, as far as it needs nothing but the ring: a NOP completes with 0; a
    /// [`Timeout`](crate::opcode::Timeout) with -ETIME after its time, where its flags say nothing
    /// but [`ABS`](crate::types::TimeoutFlags::ABS) and there is no count; cancellations, and removals
    /// of timeouts and polls, are carried out on what is in flight. Everything else completes with
    /// -EINVAL, as what the kernel does not know.
    pub fn usual() -> Self {
        Self::new(Some(Special::Usual), false)
    }

    /// It completes with this result.
    pub fn result(result: i32) -> Self {
        Self::one(Outcome::Result(result))
    }

    /// It completes with this error.
    pub fn error(errno: Errno) -> Self {
        Self::result(-errno.raw_os_error())
    }

    /// It reads or receives this, or as much of it as it has room for, and completes with the
    /// length. The memory is written when it completes, and not before: a program that frees it too
    /// early is found out by Miri, or by an allocator that looks.
    ///
    /// For `Read`, `Readv` and `Recv` with buffers of their own. Other operations complete with
    /// -EFAULT, and so does a null buffer.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::one(Outcome::Bytes(bytes.into()))
    }

    /// It is in flight, until it is cancelled or [completed by hand](super::Kernel::complete).
    pub fn pending() -> Self {
        Self::new(None, true)
    }

    /// It is done, and no completion says so.
    pub fn no_cqe() -> Self {
        Self::new(None, false)
    }

    /// It is not taken. If it is the first of its enter call, that fails with this errno; else the
    /// call returns how many were taken before. The next one comes to it again.
    pub fn leave_queued(errno: Errno) -> Self {
        Self::new(Some(Special::LeaveQueued(errno)), false)
    }

    /// It completes with this error, as an entry does that the kernel refuses to start: the call
    /// takes none behind it, unless the ring has
    /// [`setup_submit_all`](crate::Builder::setup_submit_all).
    pub fn fail_at_submit(errno: Errno) -> Self {
        Self { special: Some(Special::FailAtSubmit), ..Self::error(errno) }
    }

    fn last(&mut self, change: impl FnOnce(&mut Piece)) {
        if let Some(piece) = self.pieces.back_mut() {
            change(piece);
        }
    }

    /// The completion has these flags, beside those that it has of itself
    /// (`IORING_CQE_F_MORE` where another one follows).
    pub fn flags(mut self, flags: u32) -> Self {
        self.last(|piece| piece.flags |= flags);
        self
    }

    /// The completion says that this provided buffer was used.
    pub fn buffer(self, bid: u16) -> Self {
        self.flags(sys::IORING_CQE_F_BUFFER | u32::from(bid) << sys::IORING_CQE_BUFFER_SHIFT)
    }

    /// The completion has these 16 bytes more, on rings that have room for them.
    pub fn big_cqe(mut self, big: [u64; 2]) -> Self {
        self.last(|piece| piece.big = Some(big));
        self
    }

    /// The completion comes this much later than the one before it, or than the submission. Time
    /// passes when somebody waits; see [the module](super).
    pub fn after(mut self, after: Duration) -> Self {
        self.last(|piece| piece.after = piece.after.saturating_add(after));
        self
    }

    /// The completions of `next` follow.
    pub fn then(mut self, mut next: Self) -> Self {
        self.pieces.append(&mut next.pieces);
        self.open |= next.open;
        self.uncancellable |= next.uncancellable;
        self
    }

    /// No cancellation finds it, as direct I/O.
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

/// A submission that was taken and has not posted its last completion.
pub(super) struct InFlight {
    pub(super) sqe: Sqe,
    /// As they were when it was submitted: the program may change an array of `iovec` after that.
    spans: Result<Vec<Span>, Errno>,
    /// When the last of `pieces` comes.
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

    /// What `answer` says is to come as well.
    pub(super) fn go_on(&mut self, answer: Answer, now: Duration) {
        self.end = self.end.max(now);
        for piece in answer.pieces {
            self.end = self.end.saturating_add(piece.after);
            self.pieces.push_back((self.end, piece));
        }
        (self.open, self.uncancellable) = (answer.open, answer.uncancellable);
    }

    /// Ends it, if that is possible.
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

    /// When the next completion comes.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.pieces.front().map(|(at, _)| *at)
    }

    /// Carries out what the next completion says, and hands it over, unless it is to be left out.
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
            // SAFETY: the contract of a pushed entry: its memory is there, and ours to write, until
            // its last completion, which the program has not seen yet.
            unsafe { span.start.copy_from_nonoverlapping(now.as_ptr(), now.len()) };
            rest = later;
        }
        // At most `MOST`, which is positive.
        Ok((bytes.len() - rest.len()) as i32)
    }
}
