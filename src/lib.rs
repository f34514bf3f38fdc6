#![doc = include_str!("docs/crate.md")]
#![no_std]

#[cfg(any(test, fuzzing, feature = "mock-kernel", feature = "std"))]
extern crate std;

// The order is from the kernel's names to the ring: each module uses only modules above it.
pub mod sys;

mod params;
mod shared;

mod memory;
mod sqe;

mod handle;
pub mod types;

pub mod cqueue;
mod submit;

pub mod squeue;

pub mod opcode;
mod register;

mod ring;

pub mod guide;
#[cfg(all(any(test, feature = "mock-kernel"), not(rustix_uring_loom)))]
pub mod mock;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod tests;

pub use cqueue::CompletionQueue;
pub use handle::{Handle, Local};
pub use params::{EnterFlags, Features, Parameters, SetupFlags};
pub use register::zcrx;
pub use register::{
    BpfFilter, BpfFilterFlags, BufRing, BufRingFlags, BufRingOptions, BufSegment, BufSegments,
    BufTracker, MemRegion, Probe, Query, QueryOpcodes, QueryScq, QueryZcrx, QueryZcrxEvent,
    Restriction, SockFilter, UnregisterError,
};
#[cfg(feature = "raw-syscall")]
pub use register::{WaitRegion, filter_task, restrict_task, send_msg_ring};
pub use ring::{Availability, Builder, IoUring, QuiesceError, availability};
pub use rustix::io::Errno;
pub use squeue::SubmissionQueue;
pub use submit::Submitter;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
