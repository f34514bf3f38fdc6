//! Restrictions: what a ring may do, permanently.
//!
//! - They are registered once, while the ring is disabled, and apply from when it is enabled.
//! - An entry completes with -EACCES if its operation is not listed, if it has a flag that is not
//!   listed, or if it lacks a required flag. A register call that is not listed fails with EACCES,
//!   before the kernel checks anything else.
//! - Entering is always allowed.

use super::operation::{By, Fixed, HARDLINK, LINK, Op, Receive, SKIP, Way};

/// Register calls, with the kernel's numbers.
pub(crate) mod call {
    pub(crate) const UNREGISTER_FILES: u8 = 3;
    pub(crate) const UNREGISTER_BUFFERS: u8 = 1;
    pub(crate) const BUFFERS2: u8 = 15;
    pub(crate) const BUFFERS_UPDATE: u8 = 16;
    pub(crate) const EVENTFD: u8 = 4;
    pub(crate) const UNREGISTER_EVENTFD: u8 = 5;
    pub(crate) const EVENTFD_ASYNC: u8 = 7;
    pub(crate) const FILES_UPDATE: u8 = 6;
    pub(crate) const RESTRICTIONS: u8 = 11;
    pub(crate) const ENABLE_RINGS: u8 = 12;
    pub(crate) const FILES2: u8 = 13;
    pub(crate) const FILES_UPDATE2: u8 = 14;
    pub(crate) const RING_FDS: u8 = 20;
    pub(crate) const UNREGISTER_RING_FDS: u8 = 21;
    pub(crate) const PBUF_RING: u8 = 22;
    pub(crate) const UNREGISTER_PBUF_RING: u8 = 23;
    pub(crate) const SYNC_CANCEL: u8 = 24;
    pub(crate) const FILE_ALLOC_RANGE: u8 = 25;
    pub(crate) const PBUF_STATUS: u8 = 26;
    pub(crate) const CLONE_BUFFERS: u8 = 30;
    pub(crate) const RESIZE_RINGS: u8 = 33;
}

/// Operations, with the kernel's numbers.
pub(crate) mod opcode {
    pub(crate) const NOP: u8 = 0;
    pub(crate) const READ_FIXED: u8 = 4;
    pub(crate) const POLL_ADD: u8 = 6;
    pub(crate) const POLL_REMOVE: u8 = 7;
    pub(crate) const TIMEOUT: u8 = 11;
    pub(crate) const TIMEOUT_REMOVE: u8 = 12;
    pub(crate) const ASYNC_CANCEL: u8 = 14;
    pub(crate) const LINK_TIMEOUT: u8 = 15;
    pub(crate) const CLOSE: u8 = 19;
    pub(crate) const READ: u8 = 22;
    pub(crate) const WRITE_FIXED: u8 = 5;
    pub(crate) const WRITE: u8 = 23;
    pub(crate) const READV_FIXED: u8 = 60;
    pub(crate) const WRITEV_FIXED: u8 = 61;
    pub(crate) const RECV: u8 = 27;
    pub(crate) const MSG_RING: u8 = 40;
    pub(crate) const READ_MULTISHOT: u8 = 49;
    pub(crate) const FIXED_FD_INSTALL: u8 = 54;
    pub(crate) const NOP128: u8 = 63;
}

/// The lists of a restriction: operations, flags and register calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Restrictions {
    pub(crate) operations: Vec<u8>,
    pub(crate) allowed: u8,
    pub(crate) required: u8,
    pub(crate) calls: Vec<u8>,
}

impl Restrictions {
    /// Makes a list from a number. 0 is the simplest list. (Every list allows unregistering a
    /// ring's index: otherwise the index would stay registered until the task exits.)
    pub(crate) fn of(raw: u8) -> Self {
        use self::{call::*, opcode::*};
        let mut list = Self {
            operations: vec![NOP, POLL_ADD, READ],
            calls: vec![UNREGISTER_RING_FDS],
            ..Self::default()
        };
        if raw & 1 != 0 {
            list.operations.push(ASYNC_CANCEL);
        }
        if raw & 2 != 0 {
            list.operations.extend([POLL_REMOVE, TIMEOUT, TIMEOUT_REMOVE, LINK_TIMEOUT]);
            list.operations.extend([CLOSE, MSG_RING, FIXED_FD_INSTALL]);
        }
        if raw & 4 != 0 {
            list.calls.push(SYNC_CANCEL);
        }
        if raw & 8 != 0 {
            list.calls.extend([UNREGISTER_FILES, FILES_UPDATE, FILES2]);
            list.calls.extend([EVENTFD, UNREGISTER_EVENTFD, EVENTFD_ASYNC]);
            list.calls.extend([FILES_UPDATE2, FILE_ALLOC_RANGE, CLONE_BUFFERS]);
            list.calls.extend([UNREGISTER_BUFFERS, BUFFERS_UPDATE, BUFFERS2]);
        }
        if raw & 0x10 != 0 {
            list.operations.extend([RECV, READ_MULTISHOT, READ_FIXED]);
            list.operations.extend([WRITE, WRITE_FIXED, READV_FIXED, WRITEV_FIXED]);
            list.calls.extend([ENABLE_RINGS, RING_FDS, RESIZE_RINGS]);
            list.calls.extend([PBUF_RING, UNREGISTER_PBUF_RING, PBUF_STATUS]);
        }
        (list.allowed, list.required) = match raw >> 5 {
            0..3 => (LINK | HARDLINK | SKIP, 0),
            3 | 4 => (!0, 0),
            5 | 6 => (0, 0),
            _ => (0, LINK),
        };
        list
    }
}

impl Op {
    pub(crate) fn opcode(&self, sqe128: bool) -> u8 {
        use self::opcode::*;
        match self {
            Self::Nop { .. } if sqe128 => NOP128,
            Self::Nop { .. } | Self::NoSuchOpcode | Self::Ioprio => NOP,
            Self::ReadNothing | Self::Read { .. } | Self::ReadSlot { .. } => READ,
            Self::Poll { .. } => POLL_ADD,
            Self::Receive(Receive { by: By::Read, multi: true, .. }) => READ_MULTISHOT,
            Self::Receive(Receive { by: By::Read, .. }) => READ,
            Self::Receive(_) => RECV,
            Self::ReadFixed { .. } => READ_FIXED,
            Self::Transfer(what) => match what.way {
                Way::Read | Way::Provided(_) => READ,
                Way::Write => WRITE,
                Way::Fixed(Fixed { writes: false, vector: false, .. }) => READ_FIXED,
                Way::Fixed(Fixed { writes: true, vector: false, .. }) => WRITE_FIXED,
                Way::Fixed(Fixed { writes: false, .. }) => READV_FIXED,
                Way::Fixed(_) => WRITEV_FIXED,
            },
            Self::Timeout { .. } => TIMEOUT,
            Self::LinkTimeout { .. } => LINK_TIMEOUT,
            Self::Cancel { .. } | Self::CancelAny { .. } => ASYNC_CANCEL,
            Self::PollRemove { .. } | Self::PollUpdate { .. } => POLL_REMOVE,
            Self::TimeoutRemove { .. } | Self::TimeoutUpdate { .. } => TIMEOUT_REMOVE,
            Self::Message { .. } | Self::SendFile { .. } => MSG_RING,
            Self::Install { .. } => FIXED_FD_INSTALL,
            Self::CloseSlot { .. } => CLOSE,
        }
    }
}
