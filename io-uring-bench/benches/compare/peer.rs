//! The compared crates, behind a common interface.

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

/// The name of a column.
pub(crate) type Column = &'static str;

pub(crate) const FLOOR: Column = "by hand";
pub(crate) const OURS: Column = "rustix-uring";
pub(crate) const OURS_IN_BULK: Column = "in bulk";
/// Plain `pread(2)`, without a ring.
pub(crate) const PREAD: Column = "pread";
pub(crate) const EPOLL: Column = "epoll";

/// Whether the column is another crate or liburing.
pub(crate) fn is_peer(column: Column) -> bool {
    ![FLOOR, OURS, OURS_IN_BULK, PREAD, EPOLL].contains(&column)
}

/// The note about the missing liburing column.
pub(crate) const NO_LIBURING: Option<&str> = if cfg!(feature = "liburing") {
    None
} else {
    Some(
        "liburing is not compared: `--features liburing` does, and needs libclang and make \
         (Debian: apt-get install libclang-dev make)",
    )
};

/// The setup of a ring.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    pub(crate) flags: SetupFlags,
    /// Whether the ring's descriptor is registered with the task.
    pub(crate) registered: bool,
}

impl Setup {
    /// The default setup of the crate.
    pub(crate) const PLAIN: Self = Self::flags("plain", SetupFlags::empty());
    pub(crate) const SQPOLL: Self = Self::flags("SQPOLL", SetupFlags::SQPOLL);
    /// Everything that suits a loop which stays in its task.
    pub(crate) const ALL: Self = Self {
        registered: true,
        ..Self::flags(
            "all of these",
            SetupFlags::SINGLE_ISSUER
                .union(SetupFlags::DEFER_TASKRUN)
                .union(SetupFlags::NO_SQARRAY),
        )
    };
    /// Each flag by itself, or with the flag that it requires.
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

/// A crate, or the floor without one, with rings of the default kinds.
///
/// Each method makes only one or two calls of the crate, and everything is inlined. So the measured
/// program is what you would write with this crate alone.
pub(crate) trait Peer: Sized + 'static {
    const COLUMN: Column;
    /// The same crate with a registered ring, which may have another type.
    type Registered: Everything;
    type Ring: 'static;
    /// The view through which entries are pushed.
    type Queue<'a>;

    /// Sets up a ring, or returns the reason why it cannot.
    fn ring(setup: &Setup, entries: u32) -> Result<Self::Ring, String>;

    fn queue(ring: &mut Self::Ring) -> Self::Queue<'_>;

    /// Submits the pushed entries, and returns their number.
    fn submit(ring: &mut Self::Ring) -> usize;

    fn submit_and_wait(ring: &mut Self::Ring, want: usize) -> usize;

    /// Consumes all available completions, with their user data and results.
    fn reap(ring: &mut Self::Ring, each: impl FnMut(u64, i32));

    /// Consumes one completion, which must be available.
    fn reap_one(ring: &mut Self::Ring) -> u64;

    /// Runs `rounds` single NOPs through long-lived views, if the crate has such.
    fn split_round_trips(_: &mut Self::Ring, _rounds: u64) -> Option<u64> {
        None
    }
}

/// A peer that exposes the descriptor of its ring.
pub(crate) trait Named: Peer {
    fn fd(ring: &Self::Ring) -> RawFd;
}

/// A peer that supports the operation.
///
/// Its methods are safe, because the memory of the operations is never freed: see [`Lasting`].
pub(crate) trait Push<O>: Peer {
    fn push(queue: &mut Self::Queue<'_>, op: O, user_data: u64);

    /// Pushes `n` entries, numbered from 0.
    #[inline(always)]
    fn push_each(queue: &mut Self::Queue<'_>, n: u64, op: impl Fn(u64) -> O) {
        for i in 0..n {
            Self::push(queue, op(i), i);
        }
    }

    /// Pushes an entry that a function builds which is not inlined.
    fn push_behind_call(queue: &mut Self::Queue<'_>, fd: RawFd, buf: Lasting, i: u64)
    where
        O: Sample;
}

/// A peer that supports all operations of the benchmark.
pub(crate) trait Everything:
    Peer + Push<Nop> + Push<Read> + Push<Send> + Push<Timeout> + Push<ReadFixed> + Push<Recv>
{
}
impl<P> Everything for P where
    P: Peer + Push<Nop> + Push<Read> + Push<Send> + Push<Timeout> + Push<ReadFixed> + Push<Recv>
{
}

/// Evaluates an expression for each peer, and pairs the results with the columns.
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
