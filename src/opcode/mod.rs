//! Operation builders, one for each kernel operation.
//!
//! [`new`](Read::new) takes the required arguments, in the order of the corresponding system call.
//! Chained methods set the optional ones. `build` returns the [`Entry`](crate::squeue::Entry).
//! Building an entry is safe. Pushing it is not: see [the contract](crate::squeue#the-contract).
//!
//! A builder's `CODE` is the number of the operation. To find out whether the running kernel
//! supports it, ask the kernel's [`Probe`](crate::Probe). The *since* versions on these pages are a
//! guide only, because distributions backport operations to older kernels. If the kernel does not
//! know an option, the operation fails with -EINVAL, unless the documentation of that option says
//! otherwise.
//!
//! # Results
//!
//! A negative result is an errno; see [`to_result`](crate::cqueue::Entry::to_result). Two errors
//! are possible for every operation, and the builders do not repeat them. -EINVAL means that the
//! kernel does not support the operation, an option, or the combination. -ECANCELED means that the
//! operation was canceled, or that an earlier operation of its chain of links failed.
//!
//! # Memory
//!
//! Each builder states how long the memory that it points to must stay valid:
//!
//! - *submit*: until the kernel has consumed the entry. That is when an enter call has counted it,
//!   or when the SQPOLL thread has moved the head past it. This also holds for entries that still
//!   wait behind a link. (Kernels without [`SUBMIT_STABLE`](crate::Features::SUBMIT_STABLE),
//!   which are those before 5.5, need the memory until the completion.)
//! - *completion*: until the last completion of the operation, which is the first one without
//!   [`more`](crate::cqueue::Entry::more).
//! - *notification*: until the completion that has [`notif`](crate::cqueue::Entry::notif). If the
//!   first completion does not have `more`, no notification follows, and you may reuse the memory
//!   then.
//!
//! If a builder takes an array of [`iovec`](crate::types::iovec), you can pass an array of
//! `std::io::IoSlice` or `IoSliceMut`. `std` guarantees that they have the same layout, so you can
//! cast the pointer.
//!
//! # Lengths
//!
//! The kernel's lengths have 32 bits. If a buffer is longer, `buf.len() as u32` keeps only the
//! lower half of the length: 4 GiB become 0, and the operation succeeds with 0 bytes, which looks
//! like the end of a file. Request as much as fits, and continue from there, as after any short
//! result:
//!
//! ```
//! # let buf = [0_u8; 8];
//! let len = u32::try_from(buf.len()).unwrap_or(u32::MAX);
//! # assert_eq!(len, 8);
//! ```
//!
//! A read or a write transfers at most 2 GiB minus one page (0x7fff_f000 bytes), whatever you
//! request.
//!
//! # Files
//!
//! A builder that takes a [`Target`](crate::types::Target) accepts a descriptor
//! ([`Fd`](crate::types::Fd), `BorrowedFd`, `&File`, `&TcpStream`, or a reference to any other
//! `AsFd` type) or a slot of the [registered file table](crate::Submitter::register_files)
//! ([`Fixed`](crate::types::Fixed)). A builder that takes a
//! [`Descriptor`](crate::types::Descriptor) accepts no slots, because the kernel rejects them
//! there. Operations that create a descriptor can put the file into a slot instead
//! ([`DestinationSlot`](crate::types::DestinationSlot)).
//!
//! Operations that read, write, accept, send or receive ignore whether the file was opened with
//! `O_NONBLOCK`: they wait until the file is ready. Each has its own flag to fail instead of
//! waiting.
//!
//! # Flags
//!
//! There are three kinds of flags. Each has its own type, so the compiler catches a mix-up:
//!
//! - Before `build`, `flags` are the flags of the system call, as in its man page: [`MsgFlags`] for
//!   a send, `OFlags` for an open.
//! - Before `build`, `recvsend_flags` and `accept_flags` control how the ring performs the
//!   operation. (The kernel stores them in `ioprio`, the word that holds the priority of reads and
//!   writes.)
//! - After `build`, [`flags`](crate::squeue::Entry::flags) are the flags of the entry: links,
//!   drains, suppressed completions. They are the same for all operations.
//!
//! Setters also accept the corresponding flag types of rustix (such as `rustix::net::SendFlags`),
//! and a plain number for a `Mode`.
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
//! Operations with a `buf_group` method can run without a buffer of their own. For [`Read`],
//! [`Recv`] and [`Send`], call `provided` instead of `new`. When the operation has data to
//! transfer, the kernel takes a buffer from a group that you have filled before
//! ([`BufRing`](crate::BufRing), [`ProvideBuffers`]). The completion tells which buffer it was
//! ([`buffer_select`](crate::cqueue::Entry::buffer_select)), and whether the kernel will use the
//! rest of that buffer for more data ([`buffer_more`](crate::cqueue::Entry::buffer_more)).
//!
//! # Multishot
//!
//! Operations whose names end in `Multi` post many completions, and so do some others with an
//! option. While a completion has [`more`](crate::cqueue::Entry::more), more completions will
//! follow. A completion without it is the last one, whether it is an error or not: the operation
//! has stopped, and you must submit it again to continue. This also happens when the completion
//! queue is full.
//!
//! # All operations
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

/// Returns the Linux release that brought the operation with this number, or `None` if the number
/// is newer than this crate.
///
/// Distributions carry operations to older kernels, and the [`Probe`](crate::Probe) tells what a
/// kernel has. This is for messages about what it lacks.
///
/// ```
/// use rustix_uring::opcode;
///
/// assert_eq!(opcode::since(opcode::FutexWait::CODE), Some("6.7"));
/// assert_eq!(opcode::since(255), None);
/// ```
pub fn since(code: u8) -> Option<&'static str> {
    let topics = [
        buffer::SINCE,
        cmd::SINCE,
        file::SINCE,
        fs::SINCE,
        futex::SINCE,
        net::SINCE,
        net::send::SINCE,
        net::recv::SINCE,
        pipe::SINCE,
        poll::SINCE,
        process::SINCE,
        ring::SINCE,
        rw::SINCE,
        slot::SINCE,
        timeout::SINCE,
    ];
    // Of the forms that an operation has, the oldest comes first. Behind the release there may be
    // more, as in "5.6, slots since 5.15".
    let (_, since) = topics.into_iter().flatten().find(|(number, _)| *number == code)?;
    since.split([',', ';']).next()
}

/// Declares the operations of a topic, one row each: the kernel's name, the first kernel that has
/// the operation, and the arguments for [`operation!`].
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

        /// The release that brought each operation.
        pub(in crate::opcode) const SINCE: &[(u8, &str)] = &[$(($Name::CODE, $since)),*];

        /// The rows, for the tests.
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

/// Declares one operation: its required arguments, its options, and for each the setter of
/// [`Sqe`](crate::squeue::Sqe) that stores it in the right field.
///
/// A builder is a partly filled entry, so nothing is stored twice. The form `struct` declares only
/// the type; its methods are written by hand.
macro_rules! operation {
    ([$($attribute:tt)*] $Name:ident = $kernel:literal, struct($($Field:ty),*)) => {
        $($attribute)*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[must_use = "an operation does nothing until its entry is pushed"]
        pub struct $Name($($Field),*);

        impl $Name {
            /// The number of this operation. Look it up in the kernel's
            /// [`Probe`](crate::Probe) to see whether the kernel supports it.
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
            /// Creates the operation with its required arguments.
            #[allow(clippy::new_without_default, reason = "only NOP has no arguments")]
            #[inline]
            pub fn new($($arg: $Arg),*) -> Self {
                #[allow(unused_mut, reason = "only NOP sets nothing")]
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

            /// Returns the entry, ready to be pushed.
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
