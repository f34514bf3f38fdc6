//! The operations that can be submitted, and their properties.

use super::kernel::Kernel;

/// The flags of an entry, with the kernel's values.
pub(crate) const FIXED_FILE: u8 = 1 << 0;
pub(crate) const DRAIN: u8 = 1 << 1;
pub(crate) const LINK: u8 = 1 << 2;
pub(crate) const HARDLINK: u8 = 1 << 3;
pub(crate) const ASYNC: u8 = 1 << 4;
pub(crate) const BUFFER_SELECT: u8 = 1 << 5;
pub(crate) const SKIP: u8 = 1 << 6;
pub(crate) const UNKNOWN: u8 = 1 << 7;
/// Either kind of link.
pub(crate) const LINKS: u8 = LINK | HARDLINK;

/// How an operation fills provided buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Read,
    Recv,
    /// A receive that fills several buffers.
    Bundle,
}

/// A request that receives into buffers of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receive {
    pub(crate) source: usize,
    pub(crate) group: u16,
    pub(crate) by: By,
    /// The maximum length. 0 means as much as fits in the buffer.
    pub(crate) len: u32,
    pub(crate) multi: bool,
    pub(crate) tells_length: bool,
}

/// A transfer from or to a regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// The index of the file, which follows those of the pipes and sockets.
    pub(crate) file: usize,
    /// The slot that names the file, instead of its descriptor.
    pub(crate) slot: Option<u32>,
    /// The offset in the file. `None` means its own position.
    pub(crate) at: Option<u8>,
    /// The length. With a provided buffer, 0 means as much as fits in it.
    pub(crate) len: u8,
    pub(crate) way: Way,
}

/// The memory of a transfer, and its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Read,
    Write,
    /// Reads into a provided buffer of a group.
    Provided(u16),
    Fixed(Fixed),
}

/// A transfer from or to parts of a registered buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub(crate) writes: bool,
    /// The operation takes a vector of parts. Otherwise, the second part has no bytes.
    pub(crate) vector: bool,
    pub(crate) slot: u16,
    pub(crate) piece: usize,
    /// The start and the length of each part.
    pub(crate) parts: [(u8, u8); 2],
}

impl Transfer {
    pub(crate) fn writes(&self) -> bool {
        matches!(self.way, Way::Write | Way::Fixed(Fixed { writes: true, .. }))
    }

    /// The registered memory that the transfer uses.
    pub(crate) fn piece(&self) -> Option<usize> {
        match self.way {
            Way::Fixed(fixed) => Some(fixed.piece),
            _ => None,
        }
    }

    /// The group whose buffers the transfer uses.
    pub(crate) fn group(&self) -> Option<u16> {
        match self.way {
            Way::Provided(group) => Some(group),
            _ => None,
        }
    }
}

/// The result of an operation that makes a descriptor: the kernel chooses the number.
pub(crate) const DESCRIPTOR: i32 = i32::MAX;

/// When a timeout expires: at once, or not during the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) is_soon: bool,
    /// The time is a point on the clock, not a duration.
    pub(crate) is_absolute: bool,
    pub(crate) clock: Clock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    Monotonic,
    Boot,
    Real,
}

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// Completes at once with the result, 0 if not given.
    Nop {
        result: Option<i32>,
        big: Option<[u64; 2]>,
        task_work: bool,
    },
    /// An opcode that no kernel knows.
    NoSuchOpcode,
    /// Asks for an I/O priority, which the operation does not support.
    Ioprio,
    /// Reads a descriptor that is not open.
    ReadNothing,
    /// Waits until a pipe is readable or, without `input`, until its other end is closed.
    Poll {
        pipe: usize,
        multi: bool,
        input: bool,
    },
    /// Reads a pipe.
    Read {
        pipe: usize,
        len: u32,
    },
    /// Reads a pipe into part of a registered buffer.
    ReadFixed {
        pipe: usize,
        slot: u16,
        piece: usize,
        at: u8,
        len: u8,
        /// The request has looked up its buffer.
        held: bool,
    },
    /// Receives into provided buffers.
    Receive(Receive),
    /// Reads or writes a regular file.
    Transfer(Transfer),
    Timeout {
        time: Time,
        /// How often the timeout expires, if that may be more than once.
        repeats: Option<u8>,
        /// Expiry is no failure.
        success: bool,
        /// After how many completions the timeout ends, if not 0.
        count: u8,
    },
    /// Cancels the request that it is linked to when its time expires.
    LinkTimeout {
        time: Time,
    },
    /// Updates the time of a timeout.
    TimeoutUpdate {
        user_data: u64,
        time: Time,
        /// The timeout is linked to a request.
        linked: bool,
    },
    /// Cancels one request by its user data.
    Cancel {
        user_data: u64,
    },
    /// Cancels the requests that match.
    CancelAny {
        by: Criteria,
    },
    PollRemove {
        user_data: u64,
    },
    /// Changes what a poll waits for, or its user data.
    PollUpdate {
        user_data: u64,
        input: Option<bool>,
        new_user_data: Option<u64>,
    },
    TimeoutRemove {
        user_data: u64,
    },
    /// Posts a completion on a ring.
    Message {
        ring: usize,
        user_data: u64,
        result: i32,
        flags: Option<u32>,
        skip: bool,
    },
    /// Closes a slot of the table of registered files. The slot may be empty, or the table missing.
    CloseSlot {
        slot: u32,
    },
    /// Makes a descriptor for the file in a slot.
    Install {
        slot: u32,
        keeps_on_exec: bool,
    },
    /// Sends the file in a slot to another ring, and posts a completion there.
    SendFile {
        ring: usize,
        slot: u32,
        /// The slot of the other ring. If `None`, the kernel chooses.
        to: Option<u32>,
        user_data: u64,
        skip: bool,
    },
    /// Reads the pipe in a slot.
    ReadSlot {
        slot: u32,
        len: u32,
    },
}

/// The criteria of a cancellation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Criteria {
    /// `None` matches any.
    pub(crate) user_data: Option<u64>,
    pub(crate) pipe: Option<usize>,
    /// Cancels every matching request, not only the first.
    pub(crate) all: bool,
}

impl Op {
    pub(crate) const NOP: Self = Self::Nop { result: None, big: None, task_work: false };

    /// Whether the operation may wait for something. A cancellation counts too: in a worker thread,
    /// it can find itself.
    pub(crate) fn may_wait(&self) -> bool {
        matches!(
            self,
            Self::Poll { .. }
                | Self::Read { .. }
                | Self::ReadSlot { .. }
                | Self::ReadFixed { .. }
                | Self::Receive(_)
                | Self::Timeout { .. }
                | Self::LinkTimeout { .. }
                | Self::CancelAny { .. }
        )
    }
}

impl Op {
    /// The pipe, socket or file that the operation reads or writes.
    pub(crate) fn read_pipe(&self) -> Option<usize> {
        match self {
            Self::Read { pipe, .. } | Self::ReadFixed { pipe, .. } => Some(*pipe),
            Self::Receive(what) => Some(what.source),
            Self::Transfer(what) => Some(what.file),
            _ => None,
        }
    }

    /// The pipe or socket that the operation waits for.
    pub(crate) fn source(&self) -> Option<usize> {
        match self {
            Self::Poll { pipe, .. } => Some(*pipe),
            _ => self.read_pipe(),
        }
    }

    /// Whether the operation reads a file, which may be a socket.
    pub(crate) fn reads(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::ReadSlot { .. } | Self::Receive(_))
    }

    pub(crate) fn cancels(&self) -> bool {
        use Op::{Cancel, CancelAny, PollRemove, PollUpdate, TimeoutRemove, TimeoutUpdate};
        matches!(self, Cancel { .. } | CancelAny { .. } | PollRemove { .. } | TimeoutRemove { .. })
            || matches!(self, PollUpdate { .. } | TimeoutUpdate { .. })
    }

    /// Whether the request may complete several times.
    pub(crate) fn is_multi(&self) -> bool {
        match self {
            Self::Poll { multi, .. } => *multi,
            Self::Receive(what) => what.multi,
            Self::Timeout { repeats, .. } => repeats.is_some(),
            _ => false,
        }
    }

    /// Whether the operation sets a time that expires at once.
    pub(crate) fn runs_out(&self) -> bool {
        use Op::{LinkTimeout, Timeout, TimeoutUpdate};
        matches!(
            self,
            Timeout { time, .. } | LinkTimeout { time } | TimeoutUpdate { time, .. }
                if time.is_soon
        )
    }
}

/// An entry of the submission queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) user_data: u64,
    pub(crate) op: Op,
    pub(crate) flags: u8,
    /// The entry has 128 bytes.
    pub(crate) sqe128: bool,
    /// The kernel has rejected this entry, or another entry of the chain that this entry heads.
    pub(crate) failed: Option<i32>,
}

impl Entry {
    pub(crate) fn new(user_data: u64, op: Op, flags: u8) -> Self {
        Self { user_data, op, flags, sqe128: false, failed: None }
    }

    pub(crate) fn is_linked(&self) -> bool {
        self.flags & LINKS != 0
    }

    /// Whether a worker thread runs the request.
    pub(crate) fn is_for_worker(&self, kernel: &Kernel) -> bool {
        let transfers = match &self.op {
            Op::Transfer(what) => !kernel.transfers_at_once(what),
            op => op.reads() && !kernel.pipe_nowait,
        };
        transfers || self.flags & ASYNC != 0
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.flags & SKIP != 0
    }
}
