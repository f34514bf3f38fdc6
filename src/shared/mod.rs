//! Memory shared with the kernel: every word, every entry, every memory ordering.
//!
//! Each word of a ring has one writer, except the flag words, which both sides write. Publishing is
//! a release store after the entry is written; consuming is an acquire load before it is read. The
//! names on the right are those of the kernel's `io_uring.c`, whose first comment asks for exactly
//! these orderings.
//!
//! | word | written by | we | the kernel | so that |
//! |---|---|---|---|---|
//! | SQ tail | us | store-release | load-acquire (`io_sqring_entries`) | the kernel reads whole entries |
//! | SQ head | the kernel | load-acquire | store-release (`io_commit_sqring`) | we overwrite a slot only after the kernel has read it |
//! | CQ tail | the kernel | load-acquire | store-release (`io_commit_cqring`) | we read whole completions |
//! | CQ head | us | store-release | a load that the next store depends on (`io_get_cqe`) | the kernel overwrites a slot only after we have read it |
//! | SQ and CQ flags | both | relaxed load; release read-modify-write | the same | a bit that we change is not seen before what we did earlier; a bit that we see announces no other memory |
//! | dropped, overflow | the kernel | relaxed load | `WRITE_ONCE` | counters announce no other memory |
//! | buffer ring tail | us | store-release | load-acquire (`io_ring_buffer_select`) | the kernel reads whole buffer descriptions |
//!
//! One pair of words needs more than that, the SQ tail and the flag of a sleeping SQPOLL thread: see
//! [`wakeup_fence`].
//!
//! Under `cfg(rustix_uring_loom)` the words and slots are the model checker's, so that it runs the
//! same queues against a mock kernel in every order.

mod queue;
mod ring_id;
mod word;

pub(crate) use queue::{Cq, Saved, Settings, Sq, most_wanted};
pub(crate) use ring_id::RingId;
pub(crate) use word::*;
