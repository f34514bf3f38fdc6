//! Memory shared with the kernel: every word, every entry, and every memory ordering.
//!
//! Each word of a ring has one writer, except the flag words, which both sides write. A publisher
//! writes the entry and then stores the position with release. A consumer loads the position with
//! acquire and then reads the entry. The names in the kernel's column are functions of its
//! `io_uring.c`, whose first comment asks for exactly these orderings.
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
//! The SQ tail and the flag of a sleeping SQPOLL thread need a stronger ordering: see
//! [`wakeup_fence`].
//!
//! Under `cfg(rustix_uring_loom)`, words and slots are types of the model checker. It runs the same
//! queues against a mock kernel in every possible order.

mod queue;
mod ring_id;
mod word;

pub(crate) use queue::{Cq, Saved, Settings, Sq, most_wanted};
pub(crate) use ring_id::RingId;
pub(crate) use word::*;
