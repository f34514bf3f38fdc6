//! The ring itself: doing nothing, cancelling.

use super::opcode;
use crate::sys::io_uring_op::*;
use crate::types::CancelBuilder;

opcode! {
    /// Does nothing: a full round trip, for measuring and for waking a waiter.
    ///
    /// - **Since:** Linux 5.1
    /// - **Result:** 0
    Nop = IORING_OP_NOP,
    new(; no_fd(()))
}

opcode! {
    /// Cancels the request with this user data.
    ///
    /// The request still posts its own completion: -ECANCELED if the cancellation was in time, its
    /// ordinary result if not. An operation that makes a descriptor may have made it all the same.
    ///
    /// - **Since:** Linux 5.5
    /// - **Result:** 0 if the request was found and cancelled; -ENOENT if there is none; -EALREADY
    ///   if it is under way, and may end on its own or not at all until what it waits for comes.
    ///   Direct I/O in the block layer is not found, whatever the criteria: -ENOENT does not mean
    ///   that its memory is free
    AsyncCancel = IORING_OP_ASYNC_CANCEL,
    new(user_data: u64 => target_user_data; no_fd(()))
}

opcode! {
    /// Cancels what the [`CancelBuilder`] matches.
    ///
    /// Each request that it cancels still posts its own completion, as with [`AsyncCancel`].
    ///
    /// - **Since:** Linux 5.19; -EINVAL before, except for [`CancelBuilder::user_data`]
    /// - **Result:** with [`CancelBuilder::all`] or [`CancelBuilder::any`], how many were found
    ///   (0 is not an error), and otherwise as [`AsyncCancel`]
    AsyncCancel2 = IORING_OP_ASYNC_CANCEL,
    new(criteria: CancelBuilder => cancel)
}
