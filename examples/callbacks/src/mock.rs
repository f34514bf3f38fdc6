//! Rings on a mock kernel, for deterministic tests, which also run under Miri. Enable the Cargo feature
//! `mock` to use them.
//!
//! Without [replies](Mock::on), no-ops, timers, closes and cancellations work, and every other operation
//! fails with EINVAL. Time advances only while a ring waits, and then without delay.
//!
//! ```
//! use callbacks::mock::{Mock, Reply, opcode};
//! use callbacks::{Buffer, Context, Offset, OpResult, Ring, RingError, RunCondition, Task};
//!
//! fn on_read<H: callbacks::Handle>(_: &mut Ring<(), H>, task: Task) -> Result<(), RingError> {
//!     let OpResult::Read(Ok(5), _, buffer) = task.result else { panic!("{task:?}") };
//!     assert_eq!(&buffer.bytes[..5], b"hello");
//!     Ok(())
//! }
//!
//! let mock = Mock::new().on(opcode::Read::CODE, |_| Reply::bytes("hello"));
//! let mut ring = mock.ring::<()>(4);
//! let file = std::fs::File::open("/dev/null")?;
//! ring.read(file, [0; 16], Offset::File, Context { cb: on_read, ..Context::default() })?;
//! ring.run(RunCondition::UntilDone)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix_uring::mock::{Answer, Script, Submission};
use rustix_uring::{Errno, IoUring};

pub use rustix_uring::mock::Kernel;
pub use rustix_uring::opcode;

use crate::ring::Ring;

/// An operation that a mock kernel has received.
#[derive(Debug)]
pub struct Request<'a>(&'a Submission);

impl Request<'_> {
    /// Returns the file descriptor, for operations that have one.
    pub fn fd(&self) -> RawFd {
        self.0.fd()
    }

    /// Returns the `len` field of the entry, which is the length of the buffer for most operations.
    pub fn len(&self) -> u32 {
        self.0.as_raw().len
    }

    /// Returns whether [`len`](Self::len) is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the `off` field of the entry, which is the file offset for most operations.
    pub fn offset(&self) -> u64 {
        self.0.as_raw().off
    }

    /// Returns the bytes that the program writes or sends.
    pub fn data(&self) -> Option<Vec<u8>> {
        self.0.data()
    }
}

/// How a mock kernel completes an operation.
#[derive(Debug)]
pub struct Reply {
    what: What,
    after: Duration,
}

#[derive(Debug)]
enum What {
    Usual,
    Pending,
    Error(Errno),
    Count(u32),
    Bytes(Vec<u8>),
    Fd(OwnedFd),
}

impl Reply {
    fn new(what: What) -> Self {
        Self { what, after: Duration::ZERO }
    }

    /// Completes the operation as a mock kernel without replies does.
    pub fn usual() -> Self {
        Self::new(What::Usual)
    }

    /// Leaves the operation in flight until it is canceled.
    pub fn pending() -> Self {
        Self::new(What::Pending)
    }

    /// Fails the operation with this error.
    pub fn error(errno: Errno) -> Self {
        Self::new(What::Error(errno))
    }

    /// Completes the operation with this count. Use 0 for operations that have no count. A write, send or
    /// splice reports at most the length that the program requested.
    ///
    /// Operations that fill a buffer or create a descriptor fail with EINVAL: use [`bytes`](Self::bytes)
    /// or [`fd`](Self::fd) for them.
    pub fn count(count: u32) -> Self {
        Self::new(What::Count(count))
    }

    /// Completes a read or receive with these bytes, or with as many of them as fit in its buffer. Any
    /// other operation fails with EINVAL.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(What::Bytes(bytes.into()))
    }

    /// Completes an open, socket or accept with this descriptor. Any other operation fails with EINVAL.
    pub fn fd(fd: impl Into<OwnedFd>) -> Self {
        Self::new(What::Fd(fd.into()))
    }

    /// Delays the completion until the ring has waited for this long. A close is not delayed.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self { after: time, ..self }
    }

    /// Converts the reply to an answer that is sound for this operation, whatever the reply is.
    fn answer(self, it: &Submission) -> Answer {
        let code = it.opcode();
        let is = |codes: &[u8]| codes.contains(&code);
        let makes_fd = is(&[opcode::OpenAt::CODE, opcode::Socket::CODE, opcode::Accept::CODE]);
        let fills = is(&[opcode::Read::CODE, opcode::Readv::CODE, opcode::Recv::CODE]);
        let answer = match self.what {
            What::Usual => Answer::usual(),
            What::Pending => Answer::pending(),
            What::Error(errno) => Answer::error(errno),
            What::Bytes(bytes) if fills => Answer::bytes(bytes),
            What::Fd(fd) if makes_fd => Answer::result(fd.into_raw_fd()).uncancellable(),
            What::Count(count) if !fills && !makes_fd => {
                let splice = it.opcode() == opcode::Splice::CODE;
                let len = splice.then_some(it.as_raw().len as usize);
                let most = it.data().map(|data| data.len()).or(len).unwrap_or(i32::MAX as usize);
                Answer::result((count as usize).min(most) as i32)
            }
            What::Bytes(_) | What::Fd(_) | What::Count(_) => Answer::error(Errno::INVAL),
        };
        answer.after(self.after)
    }
}

type Replies = Box<dyn FnMut(&Request<'_>) -> Reply + Send>;

/// A mock kernel: you choose how it completes each operation.
#[derive(Default)]
pub struct Mock {
    /// The opcode of an operation, and the function that replies to it.
    replies: Vec<(u8, Replies)>,
}

impl Mock {
    /// Returns a mock kernel without replies.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers the function that replies to the operation with this code. It replaces an earlier
    /// function for the same code.
    ///
    /// The mock kernel ignores replies to [`opcode::AsyncCancel`]: cancellations always work.
    #[must_use]
    pub fn on(
        mut self,
        code: u8,
        reply: impl FnMut(&Request<'_>) -> Reply + Send + 'static,
    ) -> Self {
        self.replies.retain(|(other, _)| *other != code);
        self.replies.push((code, Box::new(reply)));
        self
    }

    /// Creates a ring with this many tasks on this mock kernel.
    pub fn ring<U>(mut self, tasks: u32) -> Ring<U, Kernel> {
        let script = Script::new(move |it| {
            let reply = self.replies.iter_mut().find(|(code, _)| *code == it.opcode());
            match (it.opcode(), reply) {
                (opcode::Close::CODE, Some((_, reply))) => close(reply(&Request(it)), it),
                (opcode::Close::CODE, None) => close(Reply::count(0), it),
                (opcode::AsyncCancel::CODE, _) | (_, None) => Answer::usual(),
                (_, Some((_, reply))) => reply(&Request(it)).answer(it),
            }
        });
        // SAFETY: `Reply::answer` allows only results that are sound for the operations of this crate. Only
        // operations that create a descriptor get one, and the reply gives up its ownership. No count
        // exceeds the length of the operation. Code outside of this crate cannot reach the `Kernel`.
        let uring = unsafe { IoUring::builder().build_mock(SLOTS, script) };
        Ring::on(uring.expect("the mock kernel accepts this size"), tasks)
    }
}

/// The number of submission slots. Most rings have more tasks than this, so tests also cover tasks that
/// wait for a slot.
const SLOTS: u32 = 8;

/// Completes a close, and closes the descriptor. Only if the close was canceled does the program still own
/// the descriptor.
fn close(reply: Reply, it: &Submission) -> Answer {
    match reply.what {
        What::Pending | What::Error(Errno::CANCELED) => reply.answer(it),
        _ => {
            // SAFETY: `Op::Close` owns the descriptor, and gives up its ownership at the completion. The
            // answer is uncancellable, so the completion is certain.
            drop(unsafe { OwnedFd::from_raw_fd(it.fd()) });
            Reply { after: Duration::ZERO, ..reply }.answer(it).uncancellable()
        }
    }
}

impl Ring<(), Kernel> {
    /// Creates a ring on a [mock kernel](Mock) without replies.
    pub fn init_mock() -> Self {
        Mock::new().ring(16)
    }
}
