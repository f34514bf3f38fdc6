//! The operations that can be submitted, and their properties.

/// The flags of an entry, by the kernel's numbers.
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

/// How provided buffers are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Read,
    Recv,
    /// Into several buffers.
    Bundle,
}

/// A request that receives into buffers of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receive {
    pub(crate) source: usize,
    pub(crate) group: u16,
    pub(crate) by: By,
    /// 0 is as much as the buffer takes.
    pub(crate) len: u32,
    pub(crate) multi: bool,
    pub(crate) tells_length: bool,
}

/// The result of what makes a descriptor: the kernel chooses the number.
pub(crate) const DESCRIPTOR: i32 = i32::MAX;

/// When a timeout runs out: at once, or never while anybody looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) is_soon: bool,
    /// A point on the clock, and not a duration.
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
    /// An opcode that no kernel has.
    NoSuchOpcode,
    /// Asks for an I/O priority where there is none.
    Ioprio,
    /// Reads a descriptor that is not open.
    ReadNothing,
    /// Waits until a pipe can be read; or, if not for input, until its other end is closed.
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
        /// It has found its buffer.
        held: bool,
    },
    /// Receives into provided buffers.
    Receive(Receive),
    Timeout {
        time: Time,
        /// How often it runs out, where that may be more than once.
        repeats: Option<u8>,
        /// To run out is no failure.
        success: bool,
    },
    /// Watches the request that it is linked behind.
    LinkTimeout {
        time: Time,
    },
    /// Gives a timeout another time.
    TimeoutUpdate {
        user_data: u64,
        time: Time,
        /// One that watches a request.
        linked: bool,
    },
    /// Cancels one request by its user data.
    Cancel {
        user_data: u64,
    },
    /// Cancels whatever matches.
    CancelAny {
        by: Criteria,
    },
    PollRemove {
        user_data: u64,
    },
    /// Changes what a poll waits for, or what it is called.
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
    /// Closes the descriptor that nobody has, or a slot of the table of registered files.
    CloseSlot {
        slot: u32,
    },
    /// Makes a descriptor of what is in a slot.
    Install {
        slot: u32,
        keeps_on_exec: bool,
    },
    /// Gives what is in a slot to another ring, and posts a completion there.
    SendFile {
        ring: usize,
        slot: u32,
        /// Where to; if not given, the kernel chooses.
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

/// What a cancellation goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Criteria {
    /// `None` is any.
    pub(crate) user_data: Option<u64>,
    pub(crate) pipe: Option<usize>,
    /// Everything that matches, and not the first.
    pub(crate) all: bool,
}

impl Op {
    pub(crate) const NOP: Self = Self::Nop { result: None, big: None, task_work: false };

    /// Whether it may wait for something, or (a cancellation, in a worker) finds itself.
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
    /// The pipe that it takes bytes out of.
    pub(crate) fn read_pipe(&self) -> Option<usize> {
        match self {
            Self::Read { pipe, .. } | Self::ReadFixed { pipe, .. } => Some(*pipe),
            Self::Receive(what) => Some(what.source),
            _ => None,
        }
    }

    /// What it waits for.
    pub(crate) fn source(&self) -> Option<usize> {
        match self {
            Self::Poll { pipe, .. } => Some(*pipe),
            _ => self.read_pipe(),
        }
    }

    /// Whether it reads a file. (It may be a socket, where that is.)
    pub(crate) fn reads(&self) -> bool {
        matches!(self, Self::Read { .. } | Self::ReadSlot { .. } | Self::Receive(_))
    }

    pub(crate) fn cancels(&self) -> bool {
        use Op::{Cancel, CancelAny, PollRemove, PollUpdate, TimeoutRemove, TimeoutUpdate};
        matches!(self, Cancel { .. } | CancelAny { .. } | PollRemove { .. } | TimeoutRemove { .. })
            || matches!(self, PollUpdate { .. } | TimeoutUpdate { .. })
    }

    /// Whether it may complete several times.
    pub(crate) fn is_multi(&self) -> bool {
        match self {
            Self::Poll { multi, .. } => *multi,
            Self::Receive(what) => what.multi,
            Self::Timeout { repeats, .. } => repeats.is_some(),
            _ => false,
        }
    }

    /// Whether a time runs out when it is started.
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
    /// It has 128 bytes.
    pub(crate) wide: bool,
    /// The kernel has refused it, or the entry is the first of a chain in which it has refused one.
    pub(crate) failed: Option<i32>,
}

impl Entry {
    pub(crate) fn new(user_data: u64, op: Op, flags: u8) -> Self {
        Self { user_data, op, flags, wide: false, failed: None }
    }

    pub(crate) fn is_linked(&self) -> bool {
        self.flags & LINKS != 0
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.flags & SKIP != 0
    }
}
