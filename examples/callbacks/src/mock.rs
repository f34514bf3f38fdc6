//! Rings without a kernel, for tests that are to be the same each time, also under Miri. With the
//! cargo feature `mock`.
//!
//! Without [replies](Mock::on), no-ops, timers, closes and cancellations work, and everything else fails with
//! EINVAL. Time passes only while a ring waits, and then at once.
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

/// What a mock kernel is asked for.
#[derive(Debug)]
pub struct Request<'a>(&'a Submission);

impl Request<'_> {
    /// Returns the number of the descriptor, for operations that have one.
    pub fn fd(&self) -> RawFd {
        self.0.fd()
    }

    /// Returns the length of the buffer, or whatever else the entry has in its place.
    pub fn len(&self) -> u32 {
        self.0.as_raw().len
    }

    /// Returns whether that is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the offset, or whatever else the entry has in its place.
    pub fn offset(&self) -> u64 {
        self.0.as_raw().off
    }

    /// Returns what the program writes or sends.
    pub fn data(&self) -> Option<Vec<u8>> {
        self.0.data()
    }
}

/// What a mock kernel does with a request.
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

    /// What happens without a reply.
    pub fn usual() -> Self {
        Self::new(What::Usual)
    }

    /// Nothing, until the operation is canceled.
    pub fn pending() -> Self {
        Self::new(What::Pending)
    }

    /// It fails.
    pub fn error(errno: Errno) -> Self {
        Self::new(What::Error(errno))
    }

    /// It succeeds, with this count; 0 for operations that count nothing. A write or send cannot have
    /// written more than it was given. Operations that fill a buffer or make a descriptor need one of
    /// the other replies, and fail with EINVAL.
    pub fn count(count: u32) -> Self {
        Self::new(What::Count(count))
    }

    /// A read or receive has got these bytes, or as many of them as its buffer holds.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(What::Bytes(bytes.into()))
    }

    /// An open, socket or accept has made this descriptor.
    pub fn fd(fd: impl Into<OwnedFd>) -> Self {
        Self::new(What::Fd(fd.into()))
    }

    /// Not before the ring has waited for this long. A close does not wait.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self { after: time, ..self }
    }

    /// The answer, which is true for this operation whatever the reply says.
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

/// A kernel that is a program.
#[derive(Default)]
pub struct Mock {
    /// By operation.
    replies: Vec<(u8, Replies)>,
}

impl Mock {
    /// Makes a kernel without replies.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers the function that replies to the operation with this code. The last one counts.
    ///
    /// A cancellation, [`opcode::AsyncCancel`], always does what it does usually.
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

    /// Makes a ring with this many tasks on this kernel.
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
        // SAFETY: results are true for the runtime's own operations, which see to the rest:
        // `Reply::answer` lets only operations that make a descriptor have one, which it gives up, and
        // none has more than it was given. Nobody can reach the ring's `Kernel` from outside.
        let uring = unsafe { IoUring::builder().build_mock(SLOTS, script) };
        Ring::on(uring.expect("there are rings of this size"), tasks)
    }
}

/// Fewer than most rings have tasks, so that tests see them wait.
const SLOTS: u32 = 8;

/// What becomes of a descriptor that is to be closed: only an operation that was canceled leaves it to
/// the program.
fn close(reply: Reply, it: &Submission) -> Answer {
    match reply.what {
        What::Pending | What::Error(Errno::CANCELED) => reply.answer(it),
        _ => {
            // SAFETY: `Op::Close` owns it, and gives it up when this completes, which nothing can
            // prevent any more.
            drop(unsafe { OwnedFd::from_raw_fd(it.fd()) });
            Reply { after: Duration::ZERO, ..reply }.answer(it).uncancellable()
        }
    }
}

impl Ring<(), Kernel> {
    /// Makes a ring on a [mock kernel](Mock) without replies.
    pub fn init_mock() -> Self {
        Mock::new().ring(16)
    }
}
