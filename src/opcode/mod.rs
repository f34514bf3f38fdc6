//! The operations: one builder each.
//!
//! `new` takes what an operation cannot do without, in the order of the system call; what is
//! optional is set by chained methods; `build` hands over the [`Entry`](crate::squeue::Entry).
//! Building one is safe. Pushing it is not: see [the contract](crate::squeue#the-contract).
//!
//! A builder's `CODE` is the operation's number. Whether the kernel has it, the kernel's
//! [`Probe`](crate::Probe) says; the kernel's name and *since* here are for orientation, as distributions carry things to
//! older kernels. An option that a kernel does not know is -EINVAL there, unless its documentation
//! says otherwise.
//!
//! # Results
//!
//! A result below zero is an errno, see [`to_result`](crate::cqueue::Entry::to_result). -EINVAL is
//! the answer to an operation, an option or a combination that the kernel does not know; -ECANCELED
//! to what was cancelled, or was linked behind what failed. Both go without saying here.
//!
//! # Memory
//!
//! Each builder says how long the memory that it points to must live:
//!
//! - *submit*: until the kernel has taken the entry, which is when an enter call has counted it,
//!   or the SQPOLL thread has moved the head past it. Entries later in a chain of links count from
//!   the same moment. (On kernels without
//!   [`SUBMIT_STABLE`](crate::Features::SUBMIT_STABLE), before 5.5: until the completion.)
//! - *completion*: until the operation's last completion, the first without
//!   [`more`](crate::cqueue::Entry::more).
//! - *notification*: until the completion that has [`notif`](crate::cqueue::Entry::notif), or until
//!   the first if that does not have `more`.
//!
//! Where an array of [`iovec`](crate::types::iovec) is wanted, one of `std::io::IoSlice` or
//! `IoSliceMut` will do: `std` promises that they are laid out like it, so that the pointer can be
//! cast.
//!
//! # Lengths
//!
//! The kernel's lengths have 32 bits. `buf.len() as u32` keeps the lower half of what is longer:
//! 4 GiB become 0, and the operation succeeds with 0 bytes, which looks like the end of a file. Ask
//! for what fits, and go on from there, as after any short result:
//!
//! ```
//! # let buf = [0_u8; 8];
//! let len = u32::try_from(buf.len()).unwrap_or(u32::MAX);
//! # assert_eq!(len, 8);
//! ```
//!
//! A read or a write transfers at most 2 GiB less a page (0x7fff_f000 bytes), whatever you ask for.
//!
//! # Files
//!
//! A file is a descriptor ([`Fd`](crate::types::Fd), `BorrowedFd`, `&File`, `&TcpStream`, a reference to
//! whatever is `AsFd`), or a slot of the
//! [registered file table](crate::Submitter::register_files) ([`Fixed`](crate::types::Fixed)) where the builder takes a
//! [`Target`](crate::types::Target); where it takes a [`Descriptor`](crate::types::Descriptor), the
//! kernel refuses slots. Operations that make a descriptor can put the file into a slot instead
//! ([`DestinationSlot`](crate::types::DestinationSlot)).
//!
//! Whether a file was opened with `O_NONBLOCK` makes no difference to the operations that read,
//! write, accept, send or receive: they wait until it is ready. Each has a flag of its own that says
//! otherwise.
//!
//! # Flags
//!
//! There are three kinds, and each has a type, so that one is not taken for the other:
//!
//! - Before `build`, `flags` are the call's, as they are in the man page: [`MsgFlags`] of a send,
//!   `OFlags` of an open.
//! - Before `build`, `recvsend_flags` and `accept_flags` say how the ring goes about it. (The kernel has
//!   them in the word that is the priority, `ioprio`, of reads and writes.)
//! - After `build`, [`flags`](crate::squeue::Entry::flags) are the entry's, whatever the operation:
//!   links, drains, silence.
//!
//! Setters also take what rustix calls the same flags (`rustix::net::SendFlags`), and a number for a
//! `Mode`.
//!
//! ```
//! use rustix_uring::{opcode, squeue, types};
//!
//! let text = b"hello";
//! opcode::Send::new(types::Fd(3), text.as_ptr(), 5)
//!     .flags(types::MsgFlags::MORE)
//!     .recvsend_flags(types::RecvSendFlags::POLL_FIRST)
//!     .build()
//!     .flags(squeue::Flags::IO_LINK);
//! ```
//!
//! ```compile_fail,E0277
//! # use rustix_uring::{opcode, squeue, types};
//! opcode::Send::new(types::Fd(3), b"hello".as_ptr(), 5).flags(squeue::Flags::IO_LINK);
//! ```
//!
//! [`MsgFlags`]: crate::types::MsgFlags
//!
//! # Provided buffers
//!
//! Operations with a `buf_group` can do without a buffer of their own: [`Read`], [`Recv`] and [`Send`]
//! begin with `provided` then instead of `new`. The kernel takes a buffer out of a group that was
//! provided beforehand ([`BufRing`](crate::BufRing), [`ProvideBuffers`]), when there is something to
//! put into it. The completion says which
//! ([`buffer_select`](crate::cqueue::Entry::buffer_select)), and whether the kernel goes on filling it ([`buffer_more`](crate::cqueue::Entry::buffer_more)).
//!
//! # Multishot
//!
//! Operations that end in `Multi` complete again and again, and so do others with an option. As
//! long as a completion has [`more`](crate::cqueue::Entry::more), the next one is to come. One
//! without is the last, be it an error or not: the operation has stopped, and wants to be submitted
//! again. That also happens when the completion queue is full.
//!
//! # All of them
//!
#![doc = include_str!("table.md")]
#![forbid(unsafe_code)]

mod buffer;
mod cmd;
mod file;
mod fs;
mod futex;
mod net;
mod pipe;
mod poll;
mod process;
mod ring;
mod rw;
mod setters;
mod slot;
mod timeout;

pub use buffer::*;
pub use cmd::*;
pub use file::*;
pub use fs::*;
pub use futex::*;
pub use net::*;
pub use pipe::*;
pub use poll::*;
pub use process::*;
pub use ring::*;
pub use rw::*;
pub use slot::*;
pub use timeout::*;

/// The operations of a topic, a row each: the kernel's name, since when it has the operation, and how
/// an [`operation!`] is built.
macro_rules! operations {
    ($(
        $(#[doc = $doc:literal])*
        $(#[doc(alias = $alias:literal)])*
        $Name:ident = $kernel:literal since $since:literal,
        $form:ident $needed:tt $({ $($options:tt)* })?
    )*) => {
        $($crate::opcode::operation! {
            [
                $(#[doc = $doc])*
                #[doc = concat!("- **Kernel:** `", $kernel, "`, since Linux ", $since)]
                $(#[doc(alias = $alias)])*
                #[doc(alias = $kernel)]
            ]
            $Name = $kernel,
            $form $needed $({ $($options)* })?
        })*

        /// What the tests go through.
        #[cfg(test)]
        pub(in crate::opcode) const ROWS: &[$crate::opcode::tests::Row] =
            &[$($crate::opcode::tests::Row {
                name: stringify!($Name),
                code: $Name::CODE,
                kernel: $kernel,
                since: $since,
                doc: &[$($doc),*],
            }),*];
    };
}
use operations;

/// One operation: what it needs, what it may have, and for each the setter of
/// [`Sqe`](crate::squeue::Sqe) that knows where it goes.
///
/// A builder is its half-filled entry, so that nothing is stored twice. With `struct`, it is only
/// the type, and its methods are written by hand.
macro_rules! operation {
    ([$($attribute:tt)*] $Name:ident = $kernel:literal, struct($($Field:ty),*)) => {
        $($attribute)*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[must_use = "an operation does nothing until its entry is pushed"]
        pub struct $Name($($Field),*);

        impl $Name {
            /// The operation's number, to look for in the kernel's
            /// [`Probe`]($crate::Probe).
            pub const CODE: u8 = $crate::sys::op_code($kernel);
        }
    };

    (
        [$($attribute:tt)*] $Name:ident = $kernel:literal,
        new($($arg:ident: $Arg:ty => $put:ident),* $(; $($fix:ident($value:expr)),*)?)
        $({ $($(#[$opt_doc:meta])* $opt:ident: $Opt:ty => $opt_put:ident,)* })?
    ) => {
        $crate::opcode::operation! {
            [$($attribute)*] $Name = $kernel, struct($crate::squeue::Entry)
        }

        impl $Name {
            /// The operation with what it cannot do without.
            #[allow(clippy::new_without_default, reason = "NOP alone needs nothing")]
            #[inline]
            pub fn new($($arg: $Arg),*) -> Self {
                #[allow(unused_mut, reason = "NOP alone sets nothing")]
                let mut sqe = $crate::squeue::Sqe {
                    opcode: Self::CODE,
                    ..$crate::squeue::Sqe::ZERO
                };
                $(sqe.$put($arg);)*
                $($(sqe.$fix($value);)*)?
                Self($crate::squeue::Entry::from_raw(sqe))
            }

            $($(
                $(#[$opt_doc])*
                #[inline]
                pub fn $opt(mut self, $opt: $Opt) -> Self {
                    self.0.as_raw_mut().$opt_put($opt);
                    self
                }
            )*)?

            /// The entry, ready to be pushed.
            #[inline]
            pub const fn build(self) -> $crate::squeue::Entry {
                self.0
            }
        }
    };
}
use operation;

#[cfg(test)]
mod tests;
