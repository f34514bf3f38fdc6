//! The kinds of submission queue.

use core::cell::Cell;
use core::fmt::Debug;
use core::marker::PhantomData;

use super::{Entry, Entry128};
use crate::params::SetupFlags;

/// A queue of entries of both sizes (`IORING_SETUP_SQE_MIXED`). Since Linux 6.19.
///
/// Slots have 64 bytes, and all counts are in slots. An [`Entry128`] takes two slots. Its operation
/// must be one for which the kernel expects 128 bytes (NOP128, URING_CMD128). With any other
/// operation, the kernel would read the second half as a separate entry.
///
/// An entry of two slots never wraps around the end of the queue. If only the last slot before the
/// end is free, the queue fills it with a NOP, the *pad*. You do not notice a pad, except that it
/// takes a slot, and in two cases:
///
/// - A pad in a chain of links continues the chain. If the chain breaks, the kernel completes the
///   pad with -ECANCELED and the user data [`PAD_USER_DATA`](super::PAD_USER_DATA). Use
///   [`is_pad`](crate::cqueue::Entry::is_pad) to recognize it.
/// - A pad is silent: it has [`Flags::SKIP_SUCCESS`](super::Flags::SKIP_SUCCESS), and the first
///   entry with this flag disables [`Flags::IO_DRAIN`](super::Flags::IO_DRAIN) on the ring. If you
///   use `IO_DRAIN`, call [`Builder::post_pad_cqes`](crate::Builder::post_pad_cqes), so that pads
///   post completions like other entries.
#[derive(Clone, Copy, Debug)]
pub enum Mixed {}

/// A queue of kind `S` in which every submission starts at the first slot
/// (`IORING_SETUP_SQ_REWIND`). Since Linux 7.0.
///
/// Head and tail are not shared with the kernel. A submit passes the number of entries, and the
/// kernel consumes them from the first slot on. Therefore the view itself submits
/// ([`submit`](super::SubmissionQueue::submit) and its variants), and then moves the entries that
/// the kernel has not consumed to the front. [`IoUring::submit`](crate::IoUring::submit) and its
/// variants do the same. A [`Submitter`](crate::Submitter) can only wait: if the view has published
/// entries, its submit methods fail with EINVAL instead of ignoring them.
///
/// The ring is `Send` but not `Sync`, because two submissions at the same time would both run the
/// entry in the first slot.
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
        /// `()`, or a type that is not `Sync` if the ring must not be `Sync`.
        type Sharing: Send;
        /// The setup flags of such a queue.
        const SETUP: SetupFlags;
        /// True if entries may take two slots.
        const MIXED: bool = false;
        /// True if every submission starts at the first slot.
        const REWIND: bool = false;
    }

    pub trait Fits<E> {
        /// The number of slots that an entry takes.
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
    /// The content of one slot: an entry of the queue's own size. On [`Mixed`] queues, it is an
    /// [`Entry`] or one half of an [`Entry128`].
    type Slot: Copy + Debug + From<Entry>;
}

/// A kind of submission queue in which all entries have the same size: all kinds except [`Mixed`].
#[diagnostic::on_unimplemented(
    message = "the entries of `{Self}` do not all have the same size",
    label = "expected a kind of submission queue other than `Mixed`"
)]
pub trait FixedSize: Kind {}
impl FixedSize for Entry {}
impl FixedSize for Entry128 {}
impl<S: FixedSize> FixedSize for Rewind<S> {}

/// An entry type that is also the kind of a queue of such entries: [`Entry`] or [`Entry128`].
///
/// Use this bound for code that is generic over entries and was written for the `io-uring` crate.
/// The more general bound is [`Kind`], which includes [`Mixed`] and [`Rewind`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an entry of a submission queue",
    label = "expected `squeue::Entry` or `squeue::Entry128`",
    note = "to include `Mixed` and `Rewind`, use the bound `squeue::Kind`"
)]
pub trait EntryMarker: FixedSize + Kind<Slot = Self> + Copy + Debug + From<Entry> {
    /// Returns the user data.
    fn get_user_data(&self) -> u64;

    /// Replaces the user data.
    fn set_user_data(&mut self, user_data: u64);
}

macro_rules! entry_markers {
    ($($Entry:ident)*) => {$(
        impl EntryMarker for $Entry {
            #[inline]
            fn get_user_data(&self) -> u64 {
                $Entry::get_user_data(self)
            }

            #[inline]
            fn set_user_data(&mut self, user_data: u64) {
                $Entry::set_user_data(self, user_data);
            }
        }
    )*};
}
entry_markers! { Entry Entry128 }

/// A kind of queue that accepts entries of type `E`. Every kind accepts [`Entry`].
#[diagnostic::on_unimplemented(
    message = "a submission queue of kind `{Self}` does not accept `{E}`",
    label = "this queue does not accept `{E}`",
    note = "every queue accepts `squeue::Entry`; only queues of `Entry128` and `Mixed` accept `Entry128`",
    note = "call `.build()` to turn a builder into an entry"
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
