//! The foundation of every case: what a case is, what it may need, and the rings that it runs on.
//!
//! A file of cases exports one list, `CASES`, which `main` gathers:
//!
//! ```text
//! pub(crate) const CASES: &[Case] = &[
//!     Case::kinds("read", &[Opcode(Read::CODE)], read),
//!     Case::once("too_short", &[RingWith(SetupFlags::NO_MMAP)], too_short),
//! ];
//!
//! fn read(ring: &mut dyn Ring) -> Result {
//!     let file = file_with(b"hello world")?;
//!     let mut buf = [0; 5];
//!     let read = Read::new(file.as_fd(), buf.as_mut_ptr(), 5).offset(6).build();
//!     // SAFETY: `file` and `buf` outlive the read, for whose completion `run` waits.
//!     let done = unsafe { ring.run(read) }?;
//!     assert_eq!(done.to_result(), Ok(5));
//!     assert_eq!(&buf, b"world");
//!     Ok(())
//! }
//! ```
//!
//! A case fails if it returns an error or panics. It also fails if it leaves completions, entries
//! or descriptors behind, or if it needs an operation but does not submit it.

mod case;
mod child;
mod coverage;
mod files;
mod kernel;
mod kind;
mod memory;
mod need;
mod outcome;
mod queue;
mod ring;
mod run;
pub(crate) mod seccomp;
mod setup;
pub(crate) mod signal;
mod submitted;
mod untouched;

pub(crate) use case::Case;
pub(crate) use child::in_child;
pub(crate) use coverage::unnamed;
pub(crate) use files::*;
pub(crate) use kernel::{about, kernel_is_32_bit, register};
pub(crate) use kind::KINDS;
pub(crate) use memory::*;
pub(crate) use need::Need;
pub(crate) use outcome::Result;
pub(crate) use queue::{Queue, Reserve};
pub(crate) use ring::{Completion, Ring, Runner, nop, works};
pub(crate) use run::run;
pub(crate) use setup::{Setup, altered, altered_params, raw, refusal};
pub(crate) use untouched::{UNTOUCHED, untouched};

/// The time limit for calls that take one. A call that takes longer hangs.
pub(crate) const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);
