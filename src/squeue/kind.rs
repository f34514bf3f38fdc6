//! The kinds of submission queue.

use core::cell::Cell;
use core::fmt::Debug;
use core::marker::PhantomData;

use super::{Entry, Entry128};
use crate::params::SetupFlags;

/// A queue that takes entries of both sizes, each in its own (`IORING_SETUP_SQE_MIXED`). Since Linux
/// 6.19.
///
/// Slots have 64 bytes, and every count is in slots; an [`Entry128`] fills two. It must be an
/// operation that the kernel knows to have 128 bytes (NOP128, URING_CMD128): of any other, it would
/// take the second half for an entry of its own.
///
/// An entry of two slots never wraps around the end of the queue. Where only the last slot is
/// left before the end, the queue fills it with a NOP, the *pad*, of which the program sees nothing
/// but the slot that it takes, with two exceptions:
///
/// - A pad in a chain of links carries the link on. Where the chain breaks, the kernel completes
///   the pad with -ECANCELED, under the user data [`PAD_USER_DATA`](super::PAD_USER_DATA);
///   [`is_pad`](crate::cqueue::Entry::is_pad) tells it.
/// - A pad is silent by [`Flags::SKIP_SUCCESS`](super::Flags::SKIP_SUCCESS), and the first such
///   entry ends [`Flags::IO_DRAIN`](super::Flags::IO_DRAIN) on the ring. Programs that drain ask
///   for pads that complete as other entries do, with
///   [`Builder::post_pad_cqes`](crate::Builder::post_pad_cqes).
#[derive(Clone, Copy, Debug)]
pub enum Mixed {}

/// A queue of kind `S` in which every submission starts at the first slot
/// (`IORING_SETUP_SQ_REWIND`). Since Linux 7.0.
///
/// There is no head and no tail to share with the kernel: it is told how many entries there are,
/// and takes them from the first slot on. So the view itself submits
/// ([`submit`](super::SubmissionQueue::submit) and its kin), and moves to the front what the kernel
/// has left; [`IoUring::submit`](crate::IoUring::submit) and its kin do so too. A
/// [`Submitter`](crate::Submitter) only waits. If the view has published entries, its submit methods
/// fail with EINVAL instead of leaving them out.
///
/// The ring is `Send`, not `Sync`: of two submissions at once, both would run what lies in the
/// first slot.
///
/// ```compile_fail
/// # use rustix_uring::{IoUring, cqueue, squeue};
/// fn share<T: Sync>(_: T) {}
/// share(IoUring::<squeue::Rewind, cqueue::Entry>::builder().build(8).unwrap());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Rewind<S = Entry>(PhantomData<S>, core::convert::Infallible);

pub(crate) mod sealed {
    use super::SetupFlags;

    pub trait Sealed {
        /// `()`, or a type that is not `Sync`, for the ring to be as it is.
        type Sharing: Send;
        /// What asks the kernel for such a queue.
        const SETUP: SetupFlags;
        /// Entries may take two slots.
        const MIXED: bool = false;
        /// Every submission starts at the first slot.
        const REWIND: bool = false;
    }

    pub trait Fits<E> {
        /// How many slots an entry takes.
        const SLOTS: u32 = 1;
    }
}
use sealed::{Fits, Sealed};

/// A kind of submission queue: [`Entry`], [`Entry128`], [`Mixed`], or [`Rewind`] of one of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a kind of submission queue",
    label = "expected `squeue::Entry`, `Entry128`, `Mixed` or `Rewind` of one of them"
)]
pub trait Kind: Sealed + Accepts<Entry> + Accepts<Self::Slot> + 'static {
    /// What lies in one slot: an entry of the queue's own size, on [`Mixed`] queues an [`Entry`] or
    /// one half of an [`Entry128`].
    type Slot: Copy + Debug + From<Entry>;
}

/// A kind of submission queue whose entries all have one size: all but [`Mixed`].
#[diagnostic::on_unimplemented(
    message = "the entries of `{Self}` do not all have one size",
    label = "expected a kind of submission queue other than `Mixed`"
)]
pub trait FixedSize: Kind {}
impl FixedSize for Entry {}
impl FixedSize for Entry128 {}
impl<S: FixedSize> FixedSize for Rewind<S> {}

/// An entry, which is also the kind of a queue that holds nothing else: [`Entry`] or [`Entry128`].
///
/// Code that is generic over entries, as it is written for the `io-uring` crate, has this bound. The
/// wider idea, with [`Mixed`] and [`Rewind`], is [`Kind`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an entry of a submission queue",
    label = "expected `squeue::Entry` or `squeue::Entry128`",
    note = "code for `Mixed` and `Rewind` as well has the bound `squeue::Kind`"
)]
pub trait EntryMarker: FixedSize + Kind<Slot = Self> + Copy + Debug + From<Entry> {}
impl EntryMarker for Entry {}
impl EntryMarker for Entry128 {}

/// Queues of this kind take entries of type `E`. Every kind takes [`Entry`].
#[diagnostic::on_unimplemented(
    message = "a submission queue of kind `{Self}` takes no `{E}`",
    label = "this queue takes no `{E}`",
    note = "every queue takes `squeue::Entry`; an `Entry128` goes into queues of `Entry128` and `Mixed`",
    note = "a builder becomes an entry by `.build()`"
)]
pub trait Accepts<E>: Fits<E> {}
impl<S: Fits<E>, E> Accepts<E> for S {}

impl Sealed for Entry {
    type Sharing = ();
    const SETUP: SetupFlags = SetupFlags::empty();
}
impl Kind for Entry {
    type Slot = Entry;
}
impl Fits<Entry> for Entry {}

impl Sealed for Entry128 {
    type Sharing = ();
    const SETUP: SetupFlags = SetupFlags::SQE128;
}
impl Kind for Entry128 {
    type Slot = Entry128;
}
impl Fits<Entry> for Entry128 {}
impl Fits<Entry128> for Entry128 {}

impl Sealed for Mixed {
    type Sharing = ();
    const SETUP: SetupFlags = SetupFlags::SQE_MIXED;
    const MIXED: bool = true;
}
impl Kind for Mixed {
    type Slot = Entry;
}
impl Fits<Entry> for Mixed {}
impl Fits<Entry128> for Mixed {
    const SLOTS: u32 = 2;
}

impl<S: Sealed> Sealed for Rewind<S> {
    type Sharing = Cell<()>;
    const SETUP: SetupFlags = S::SETUP.union(SetupFlags::SQ_REWIND).union(SetupFlags::NO_SQARRAY);
    const MIXED: bool = S::MIXED;
    const REWIND: bool = true;
}
impl<S: Kind> Kind for Rewind<S> {
    type Slot = S::Slot;
}
impl<S: Fits<E>, E> Fits<E> for Rewind<S> {
    const SLOTS: u32 = S::SLOTS;
}
