//! The steps of an episode.
//!
//! Every number in a step is small, and taken modulo what exists when the step runs: the k-th
//! operation in flight, the k-th pipe. So if steps are removed from an episode, the rest is still a
//! valid episode. A step that makes no sense at its position does nothing.

use crate::model::views::Part;

/// How entries are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Push {
    /// All or none (`push_multiple`, `push_each`), or one by one (`push`, `reserve`).
    pub(crate) at_once: bool,
    /// Written directly into their slots (`push_each`, `reserve`).
    pub(crate) in_place: bool,
    /// What happens to a reserved slot: 0 drops it, 1 writes and drops it, any other value commits
    /// it.
    pub(crate) reserved: u8,
    /// The index of the entry after which the view is synced.
    pub(crate) sync_after: Option<usize>,
    /// The view is forgotten (`mem::forget`), not dropped.
    pub(crate) forget: bool,
}

impl Push {
    /// All at once with `push_multiple`.
    pub(crate) const AT_ONCE: Self =
        Self { at_once: true, in_place: false, reserved: 2, sync_after: None, forget: false };
}

/// How completions are consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reap {
    All,
    Some,
    Fill,
    Slices,
    /// The view is forgotten.
    Forget,
}

/// How long quiescing may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// So long that a quiesce that takes longer has hung.
    Hung,
    /// No time at first, and then as long as `Hung`.
    NoneFirst,
    /// A short time, which runs out: the count is one more than the operations in flight.
    TooMany,
}

/// The kind of an operation, and a number for each of its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) op: u8,
    pub(crate) arg: u8,
    pub(crate) flags: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Pushes `n` entries of one kind.
    Push {
        ring: usize,
        n: usize,
        how: Push,
        raw: Raw,
    },
    Submit {
        ring: usize,
        by_view: bool,
    },
    SubmitAndWait {
        ring: usize,
        want: u8,
    },
    SubmitWithArgs {
        ring: usize,
        want: u8,
        min_wait: bool,
    },
    Wait {
        ring: usize,
        want: u8,
        args: bool,
    },
    GetEvents {
        ring: usize,
    },
    /// Waits for free slots of the submission queue.
    SqueueWait {
        ring: usize,
    },
    Truncate {
        ring: usize,
        len: usize,
    },
    Clear {
        ring: usize,
    },
    Reap {
        ring: usize,
        how: Reap,
        n: usize,
    },
    /// Writes bytes to a pipe.
    Feed {
        pipe: usize,
        n: usize,
    },
    /// Closes the pipe's writing end.
    HangUp {
        pipe: usize,
    },
    /// Enables the ring. If the ring is disabled and there is a list, registers restrictions first.
    Enable {
        ring: usize,
        list: Option<u8>,
    },
    /// Registers restrictions.
    Restrict {
        ring: usize,
        list: u8,
    },
    Resize {
        ring: usize,
        entries: u32,
        cq_entries: Option<u32>,
    },
    /// A forked child runs the whole episode, and loses its ring at this step.
    Lose,
    /// Registers a group of provided buffers.
    Group {
        ring: usize,
        group: usize,
        entries: u16,
        kernels: bool,
    },
    /// Adds buffers to a group.
    Provide {
        ring: usize,
        group: usize,
        n: usize,
        publish: bool,
    },
    GroupGone {
        ring: usize,
        group: usize,
        by_other: bool,
    },
    Available {
        ring: usize,
        group: usize,
    },
    Buffers {
        ring: usize,
        n: usize,
        first: usize,
        tags: bool,
    },
    BufferUpdate {
        ring: usize,
        slot: usize,
        piece: usize,
        tag: bool,
    },
    BuffersGone {
        ring: usize,
    },
    /// Posts a completion by a call without a ring.
    Send {
        ring: usize,
        arg: u8,
    },
    /// Holds views of both queues over several calls.
    Split {
        ring: usize,
        parts: [Part; 8],
    },
    /// Another thread reads the number of ready completions while they are reaped.
    Watch {
        ring: usize,
    },
    SyncCancel {
        ring: usize,
        by: u8,
    },
    /// Clones registered buffers of the other ring.
    Clone {
        ring: usize,
        replaces: bool,
        from: usize,
        to: usize,
        n: usize,
    },
    Files {
        ring: usize,
        n: u32,
        tags: bool,
    },
    /// Sets the range of slots in which the kernel may choose.
    FileRange {
        ring: usize,
        first: u32,
        len: u32,
    },
    FileUpdate {
        ring: usize,
        slot: u32,
        pipe: Option<usize>,
        tag: bool,
    },
    FilesGone {
        ring: usize,
    },
    IntoLocal {
        ring: usize,
    },
    IntoShared {
        ring: usize,
    },
    RegisterFd {
        ring: usize,
    },
    UnregisterFd {
        ring: usize,
    },
    CloseFd {
        ring: usize,
    },
    Elsewhere {
        ring: usize,
    },
    Fork {
        ring: usize,
        child: u8,
    },
    Eventfd {
        ring: usize,
        disable: bool,
    },
    /// Runs a multishot bundle with `n` buffers.
    Bundles {
        ring: usize,
        n: u16,
        feeds: [u8; 6],
        cancels: bool,
    },
    /// Registers an eventfd.
    RegisterEventfd {
        ring: usize,
        only_async: bool,
    },
    EventfdGone {
        ring: usize,
    },
    /// Cancels everything, and waits until it has ended.
    Quiesce {
        ring: usize,
        limit: Limit,
    },
    /// Drops a ring, whatever is in flight.
    Drop {
        ring: usize,
    },
    /// Makes a ring if there is none.
    Make {
        ring: usize,
        raw: [u8; 4],
    },
}

/// The weight of each kind: how many of a thousand steps are of this kind.
const WEIGHTS: &[(u16, Kind)] = &[
    (330, Kind::Push),
    (130, Kind::Submit),
    (60, Kind::SubmitAndWait),
    (30, Kind::SubmitWithArgs),
    (45, Kind::Wait),
    (45, Kind::GetEvents),
    (6, Kind::SqueueWait),
    (15, Kind::Truncate),
    (6, Kind::Clear),
    (180, Kind::Reap),
    (70, Kind::Feed),
    (8, Kind::HangUp),
    (10, Kind::Enable),
    (4, Kind::Restrict),
    (25, Kind::Resize),
    (1, Kind::Lose),
    (2, Kind::Watch),
    (20, Kind::Split),
    (14, Kind::Group),
    (20, Kind::Provide),
    (3, Kind::GroupGone),
    (4, Kind::Available),
    (16, Kind::Buffers),
    (8, Kind::BufferUpdate),
    (3, Kind::BuffersGone),
    (6, Kind::Send),
    (12, Kind::SyncCancel),
    (12, Kind::Clone),
    (16, Kind::Files),
    (8, Kind::FileRange),
    (20, Kind::FileUpdate),
    (3, Kind::FilesGone),
    (5, Kind::IntoLocal),
    (4, Kind::IntoShared),
    (4, Kind::RegisterFd),
    (3, Kind::UnregisterFd),
    (2, Kind::CloseFd),
    (1, Kind::Elsewhere),
    (3, Kind::Fork),
    (6, Kind::Eventfd),
    (12, Kind::RegisterEventfd),
    (2, Kind::EventfdGone),
    (30, Kind::Bundles),
    (10, Kind::Quiesce),
    (2, Kind::Drop),
    (20, Kind::Make),
];

/// The kinds of steps. The weights and the report use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Push,
    Submit,
    SubmitAndWait,
    SubmitWithArgs,
    Wait,
    GetEvents,
    SqueueWait,
    Truncate,
    Clear,
    Reap,
    Feed,
    HangUp,
    Enable,
    Restrict,
    Resize,
    Lose,
    Watch,
    Split,
    Group,
    Provide,
    GroupGone,
    Available,
    Buffers,
    BufferUpdate,
    BuffersGone,
    Send,
    SyncCancel,
    Clone,
    Files,
    FileRange,
    FileUpdate,
    FilesGone,
    IntoLocal,
    IntoShared,
    RegisterFd,
    UnregisterFd,
    CloseFd,
    Elsewhere,
    Fork,
    Eventfd,
    RegisterEventfd,
    EventfdGone,
    Bundles,
    Quiesce,
    Drop,
    Make,
}

/// The number of kinds of steps.
pub(crate) const KINDS: usize = WEIGHTS.len();

/// The kind of a step is drawn from a number below this.
pub(crate) const TOTAL: u16 = {
    let (mut total, mut i) = (0, 0);
    while i < WEIGHTS.len() {
        total += WEIGHTS[i].0;
        i += 1;
    }
    total
};

/// The name of a kind of step.
pub(crate) fn name(kind: usize) -> String {
    format!("{:?}", WEIGHTS[kind].1)
}

impl Step {
    /// Returns the index of the kind that `draw` selects.
    pub(crate) fn kind(draw: u16) -> usize {
        let mut left = draw;
        for (i, (weight, _)) in WEIGHTS.iter().enumerate() {
            if left < *weight {
                return i;
            }
            left -= weight;
        }
        0
    }

    /// Makes a step from numbers. Zeros make the simplest step of a kind.
    pub(crate) fn of(draw: u16, [a, b, c, d]: [u8; 4]) -> Self {
        let ring = usize::from(a >= 208);
        let small = |byte: u8| usize::from(byte % 8);
        match WEIGHTS[Self::kind(draw)].1 {
            Kind::Push => {
                let n = match a % 16 {
                    0..9 => 1,
                    9..12 => 2,
                    12..14 => 3,
                    14 => 5,
                    _ => 0,
                };
                let how = Push {
                    at_once: b & 1 != 0,
                    in_place: b & 2 != 0,
                    reserved: match b >> 2 & 7 {
                        7 => 0,
                        6 => 1,
                        _ => 2,
                    },
                    sync_after: (b & 0x60 == 0x60).then_some(usize::from(b >> 2 & 1)),
                    forget: b >= 0xe0 && b & 4 == 0,
                };
                Self::Push {
                    ring,
                    n,
                    how,
                    raw: Raw { op: c, arg: a.wrapping_mul(31) ^ b ^ d, flags: d },
                }
            }
            Kind::Submit => Self::Submit { ring, by_view: b & 1 != 0 },
            Kind::SubmitAndWait => Self::SubmitAndWait { ring, want: b },
            Kind::SubmitWithArgs => Self::SubmitWithArgs { ring, want: b, min_wait: c & 3 == 3 },
            Kind::Wait => Self::Wait { ring, want: b, args: c & 1 != 0 },
            Kind::GetEvents => Self::GetEvents { ring },
            Kind::SqueueWait => Self::SqueueWait { ring },
            Kind::Truncate => Self::Truncate { ring, len: small(b) },
            Kind::Clear => Self::Clear { ring },
            Kind::Reap => {
                let how = match b % 8 {
                    0..3 => Reap::All,
                    3 | 4 => Reap::Some,
                    5 => Reap::Fill,
                    6 => Reap::Slices,
                    _ => Reap::Forget,
                };
                Self::Reap { ring, how, n: small(c) }
            }
            Kind::Feed => Self::Feed { pipe: usize::from(b), n: 1 + usize::from(c % 24) },
            Kind::HangUp => Self::HangUp { pipe: usize::from(b) },
            Kind::Enable => Self::Enable { ring, list: (c & 1 != 0).then_some(b) },
            Kind::Restrict => Self::Restrict { ring, list: b },
            Kind::Resize => Self::Resize {
                ring,
                entries: if b == 255 { 0 } else { 1 + u32::from(b % 12) },
                cq_entries: (c & 1 != 0).then_some(u32::from(c / 2 % 24)),
            },
            Kind::Lose => Self::Lose,
            Kind::Watch => Self::Watch { ring },
            Kind::Split => {
                let all = u32::from_le_bytes([b, c, d, 0]);
                let part = |i: usize| match all >> (3 * i) & 7 {
                    0..3 => Part::Push,
                    3 => Part::Sync,
                    4 => Part::Submit,
                    5 => Part::Take(1),
                    6 => Part::Take(3),
                    _ => Part::SyncCompletions,
                };
                Self::Split { ring, parts: std::array::from_fn(part) }
            }
            Kind::Group => Self::Group {
                ring,
                group: usize::from(b & 1),
                entries: [4, 8, 4, 2, 8, 4, 1, 3][usize::from(b >> 5)],
                kernels: b & 2 != 0,
            },
            Kind::Provide => Self::Provide {
                ring,
                group: usize::from(b & 1),
                n: 1 + usize::from(c % 8),
                publish: d < 220,
            },
            Kind::GroupGone => {
                Self::GroupGone { ring, group: usize::from(b & 1), by_other: b & 4 != 0 }
            }
            Kind::Buffers => Self::Buffers {
                ring,
                n: usize::from(b % 5),
                first: usize::from(c % 5),
                tags: d & 1 != 0,
            },
            Kind::BufferUpdate => Self::BufferUpdate {
                ring,
                slot: usize::from(b % 5),
                piece: usize::from(c % 5),
                tag: d & 1 != 0,
            },
            Kind::BuffersGone => Self::BuffersGone { ring },
            Kind::Send => Self::Send { ring, arg: b & 0x7f },
            Kind::Available => Self::Available { ring, group: usize::from(b & 1) },
            Kind::SyncCancel => Self::SyncCancel { ring, by: b },
            Kind::Clone => {
                let some = d & 3 == 3;
                let [from, to, n] =
                    [b, b >> 2, c].map(|byte| usize::from(some) * usize::from(byte % 4));
                Self::Clone { ring, replaces: c & 0x40 != 0, from, to, n }
            }
            Kind::Files => Self::Files { ring, n: u32::from(b % 6), tags: c & 1 != 0 },
            Kind::FileRange => {
                Self::FileRange { ring, first: u32::from(b % 4), len: u32::from(c % 5) }
            }
            Kind::FileUpdate => Self::FileUpdate {
                ring,
                slot: u32::from(b % 6),
                pipe: (c & 3 != 3).then_some(usize::from(c / 4)),
                tag: d & 1 != 0,
            },
            Kind::FilesGone => Self::FilesGone { ring },
            Kind::IntoLocal => Self::IntoLocal { ring },
            Kind::IntoShared => Self::IntoShared { ring },
            Kind::RegisterFd => Self::RegisterFd { ring },
            Kind::UnregisterFd => Self::UnregisterFd { ring },
            Kind::CloseFd => Self::CloseFd { ring },
            Kind::Elsewhere => Self::Elsewhere { ring },
            Kind::Fork => Self::Fork { ring, child: b },
            Kind::Eventfd => Self::Eventfd { ring, disable: b & 3 == 3 },
            Kind::RegisterEventfd => Self::RegisterEventfd { ring, only_async: b & 3 == 3 },
            Kind::EventfdGone => Self::EventfdGone { ring },
            Kind::Bundles => Self::Bundles {
                ring,
                n: 1 + u16::from(a % 8),
                feeds: [b % 32, b >> 5, c % 64, c >> 4, d % 24, d >> 3],
                cancels: a & 16 != 0,
            },
            Kind::Quiesce => {
                let limit = match b {
                    0..150 => Limit::Hung,
                    150..230 => Limit::NoneFirst,
                    _ => Limit::TooMany,
                };
                Self::Quiesce { ring, limit }
            }
            Kind::Drop => Self::Drop { ring },
            Kind::Make => Self::Make { ring: usize::from(a < 230), raw: [a, b, c, d] },
        }
    }
}

/// The number of completions that a wait asks for.
pub(crate) fn want(byte: u8, capacity: u32) -> u64 {
    match byte {
        0..160 => u64::from(byte % 4),
        160..220 => u64::from(byte % 12),
        220..225 => u64::from(capacity),
        225..230 => u64::from(capacity) + 1,
        230..235 => (1 << 31) - 1,
        235..240 => 1 << 31,
        240..245 => u64::from(u32::MAX),
        // The maximum of `usize`, whatever its size.
        _ => usize::MAX as u64,
    }
}
