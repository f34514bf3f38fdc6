//! The operations: one builder each.
//!
//! `new` takes what an operation cannot do without, in the order of the system call; what is
//! optional is set by chained methods; `build` hands over the [`Entry`](crate::squeue::Entry).
//! Building one is safe. Pushing it is not: see [the contract](crate::squeue#the-contract).
//!
//! Each builder says how long the memory that it points to must live:
//!
//! - *submit*: until the kernel has taken the entry, which is when an enter call has counted it,
//!   or the SQPOLL thread has moved the head past it. Entries later in a chain of links count from
//!   the same moment. (On kernels without
//!   [`SUBMIT_STABLE`](crate::Features::SUBMIT_STABLE), before 5.5: until the completion.)
//! - *completion*: until the operation's last completion, the first without
//!   [`more`](crate::cqueue::Entry::more).
//! - *notification*: until the completion that has [`notif`](crate::cqueue::Entry::notif).
//!
//! A result below zero is an errno, see [`to_result`](crate::cqueue::Entry::to_result).
#![forbid(unsafe_code)]

mod file;
mod fs;
mod ring;
mod rw;
mod timeout;

pub use file::*;
pub use fs::*;
pub use ring::*;
pub use rw::*;
pub use timeout::*;

/// One row: the operation, what it needs, what it may have, and for each the setter of
/// [`Sqe`](crate::squeue::Sqe) that knows where it goes.
///
/// A builder is its half-filled entry, so that nothing is stored twice.
macro_rules! opcode {
    (
        $(#[$doc:meta])*
        $Name:ident = $code:expr,
        new($($arg:ident: $Arg:ty => $put:ident),* $(; $($fix:ident($value:expr)),*)?)
        $({ $($(#[$opt_doc:meta])* $opt:ident: $Opt:ty => $opt_put:ident,)* })?
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        #[must_use = "an operation does nothing until its entry is pushed"]
        pub struct $Name($crate::squeue::Entry);

        impl $Name {
            /// The operation's number, to look for in the kernel's
            /// [`Probe`]($crate::Probe).
            pub const CODE: u8 = $code as u8;

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
            pub fn build(self) -> $crate::squeue::Entry {
                self.0
            }
        }
    };
}
use opcode;
