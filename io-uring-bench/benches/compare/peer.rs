//! What is compared, behind one face.

mod crates;
mod floor;
#[cfg(feature = "liburing")]
mod liburing;
mod operation;

use std::os::fd::RawFd;

use rustix_uring::SetupFlags;

pub(crate) use crates::{IDLE, IoUring, Ours, OursInBulk, Published};
pub(crate) use floor::{Floor, map, setup};
#[cfg(feature = "liburing")]
pub(crate) use liburing::Liburing;
pub(crate) use operation::{Lasting, Nop, Read, ReadFixed, Recv, Sample, Send, Timeout};

/// What a column of a table is called.
pub(crate) type Column = &'static str;

pub(crate) const FLOOR: Column = "by hand";
pub(crate) const OURS: Column = "rustix-uring";
pub(crate) const OURS_IN_BULK: Column = "in bulk";
/// What is there without a ring.
pub(crate) const PREAD: Column = "pread";
pub(crate) const EPOLL: Column = "epoll";

/// Whether a column is another crate, or liburing.
pub(crate) fn is_peer(column: Column) -> bool {
    ![FLOOR, OURS, OURS_IN_BULK, PREAD, EPOLL].contains(&column)
}

/// What is said about a column that is not there.
pub(crate) const NO_LIBURING: Option<&str> = if cfg!(feature = "liburing") {
    None
} else {
    Some(
        "liburing is not compared: `--features liburing` does, and needs libclang and make \
         (Debian: apt-get install libclang-dev make)",
    )
};

/// How a ring is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    pub(crate) flags: SetupFlags,
    /// The ring's descriptor is registered with the task.
    pub(crate) registered: bool,
}

impl Setup {
    /// Whatever the crate does unasked.
    pub(crate) const PLAIN: Self = Self::flags("plain", SetupFlags::empty());
    pub(crate) const SQPOLL: Self = Self::flags("SQPOLL", SetupFlags::SQPOLL);
    /// What a loop that stays in its task can have.
    pub(crate) const ALL: Self = Self {
        registered: true,
        ..Self::flags(
            "all of these",
            SetupFlags::SINGLE_ISSUER
                .union(SetupFlags::DEFER_TASKRUN)
                .union(SetupFlags::NO_SQARRAY),
        )
    };
    /// Each flag by itself, or with the one that it needs.
    pub(crate) const EACH: [Self; 5] = [
        Self::flags("NO_SQARRAY", SetupFlags::NO_SQARRAY),
        Self::flags("COOP_TASKRUN", SetupFlags::COOP_TASKRUN),
        Self::flags("SINGLE_ISSUER", SetupFlags::SINGLE_ISSUER),
        Self::flags("DEFER_TASKRUN", SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN)),
        Self { registered: true, ..Self::flags("registered ring", SetupFlags::empty()) },
    ];

    const fn flags(name: &'static str, flags: SetupFlags) -> Self {
        Self { name, flags, registered: false }
    }
}

/// A crate, or none, with rings of the plain kinds.
///
/// Nothing of it is more than a call or two of the crate's own, and everything is inlined into the
/// measured program, which so is what somebody would write who uses only this crate.
pub(crate) trait Peer: Sized + 'static {
    const COLUMN: Column;
    /// The same crate with a registered ring, which may have another type.
    type Registered: Everything;
    type Ring: 'static;
    /// What entries are pushed into.
    type Queue<'a>;

    /// Sets a ring up, or says why there is none.
    fn ring(setup: &Setup, entries: u32) -> Result<Self::Ring, String>;

    fn queue(ring: &mut Self::Ring) -> Self::Queue<'_>;

    /// Submits what was pushed, and says how much that was.
    fn submit(ring: &mut Self::Ring) -> usize;

    fn submit_and_wait(ring: &mut Self::Ring, want: usize) -> usize;

    /// Goes past everything that is ready: user data and result.
    fn reap(ring: &mut Self::Ring, each: impl FnMut(u64, i32));

    /// Goes past one completion, which is there.
    fn reap_one(ring: &mut Self::Ring) -> u64;

    /// `rounds` lone NOPs through views that are kept, where the crate has such.
    fn split_round_trips(_: &mut Self::Ring, _rounds: u64) -> Option<u64> {
        None
    }
}

/// A peer whose ring has a descriptor that can be asked for.
pub(crate) trait Named: Peer {
    fn fd(ring: &Self::Ring) -> RawFd;
}

/// A peer that knows the operation.
///
/// Safe, because of what operations are made of here: see [`Lasting`].
pub(crate) trait Push<O>: Peer {
    fn push(queue: &mut Self::Queue<'_>, op: O, user_data: u64);

    /// Pushes `n` entries, numbered from 0.
    #[inline(always)]
    fn push_each(queue: &mut Self::Queue<'_>, n: u64, op: impl Fn(u64) -> O) {
        for i in 0..n {
            Self::push(queue, op(i), i);
        }
    }

    /// Pushes an entry that a function has built which is not inlined.
    fn push_behind_call(queue: &mut Self::Queue<'_>, fd: RawFd, buf: Lasting, i: u64)
    where
        O: Sample;
}

/// A peer that knows all operations of the benchmark.
pub(crate) trait Everything:
    Peer + Push<Nop> + Push<Read> + Push<Send> + Push<Timeout> + Push<ReadFixed> + Push<Recv>
{
}
impl<P> Everything for P where
    P: Peer + Push<Nop> + Push<Read> + Push<Send> + Push<Timeout> + Push<ReadFixed> + Push<Recv>
{
}

/// What an expression gives for each of the peers, with their columns.
macro_rules! each_peer {
    ($P:ident => $made:expr) => {
        vec![
            each_peer!($P = Floor => $made),
            each_peer!($P = Ours => $made),
            each_peer!($P = IoUring => $made),
            each_peer!($P = Published => $made),
            #[cfg(feature = "liburing")]
            each_peer!($P = Liburing => $made),
        ]
    };
    ($P:ident = $Peer:ident => $made:expr) => {{
        type $P = $crate::peer::$Peer;
        (<$P as $crate::peer::Peer>::COLUMN, $made)
    }};
}
pub(crate) use each_peer;
