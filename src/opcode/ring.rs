//! Operations on rings: no-ops, cancellation, messages to other rings.

use super::operations;
use crate::squeue::Entry128;
use crate::sys::io_uring_msg_ring_flags::{IORING_MSG_DATA, IORING_MSG_SEND_FD};
use crate::types::{CancelBuilder, Descriptor, DestinationSlot, Fixed, MsgRingFlags, Target};

operations! {
    /// Does nothing except a full round trip, to measure the ring or to wake a waiter.
    ///
    /// The options are for tests: they make the operation fail as other operations would.
    ///
    /// - **Result:** 0, or the requested result
    Nop = "IORING_OP_NOP" since "5.1",
    new(; no_fd(()))
    {
        /// Sets the result. Since Linux 6.10.
        result: i32 => nop_result,
        /// Looks up this file, and fails with -EBADF if there is none. On some kernels,
        /// the result is 0 even so, and only operations linked behind it are canceled. Since Linux
        /// 6.13.
        file: impl Target => nop_file,
        /// Looks up this registered buffer, and fails with -EFAULT if there is none. Some kernels
        /// return 0, as with [`file`](Self::file). Since Linux 6.13.
        buf_index: u16 => nop_buffer,
        /// Sets whether to complete through task work, as operations do that had to wait. Since
        /// Linux 6.17.
        task_work: bool => nop_task_work,
        /// Sets the extra 16 bytes of the completion, on rings with 32-byte completions; -EINVAL on
        /// other rings. Since Linux 6.18.
        big_cqe: [u64; 2] => nop_big_cqe,
    }

    /// Does nothing, in a 128-byte entry.
    ///
    /// To set options, convert a [`Nop`] with `Nop128::from`.
    ///
    /// - **Result:** 0, or the requested result
    /// - **Needs:** a ring with 128-byte or [mixed](crate::squeue::Mixed) submissions
    Nop128 = "IORING_OP_NOP128" since "6.19",
    struct(Nop)

    /// Cancels the request with this user data.
    ///
    /// The request still posts its own completion: -ECANCELED if the cancellation was in time, or
    /// its ordinary result if not. A canceled operation that creates a descriptor may have created
    /// it anyway.
    ///
    /// - **Result:** 0 if the request was found and canceled; -ENOENT if there is none; -EALREADY
    ///   if the request is already running: it may end on its own, or keep waiting until its event
    ///   occurs. The kernel does not find direct I/O in the block layer, whatever the criteria, so
    ///   -ENOENT does not mean that the memory of such a request is free
    AsyncCancel = "IORING_OP_ASYNC_CANCEL" since "5.5",
    new(user_data: u64 => target_user_data; no_fd(()))

    /// Cancels the requests that the [`CancelBuilder`] matches.
    ///
    /// Each canceled request still posts its own completion, as with [`AsyncCancel`].
    ///
    /// - **Result:** as with [`AsyncCancel`]; with [`CancelBuilder::all`] or
    ///   [`CancelBuilder::any`], the number of requests found, where 0 is not an error
    AsyncCancel2 = "IORING_OP_ASYNC_CANCEL" since "5.19; -EINVAL before, except for [`CancelBuilder::user_data`]",
    new(builder: CancelBuilder => cancel)

    /// Posts a completion on another ring.
    ///
    /// That completion has `result` and `user_data`, and the flags `user_flags` if you pass them.
    ///
    /// - **Result:** 0; -EBADFD if `ring_fd` is not a ring or its ring is disabled. If the other
    ///   completion queue is full, the kernel keeps the message, as it keeps other completions
    ///   ([`cq_overflow`](crate::SubmissionQueue::cq_overflow)), and the result is 0. -EOVERFLOW if
    ///   the kernel has no memory for that
    #[doc(alias = "IORING_MSG_DATA")]
    MsgRingData = "IORING_OP_MSG_RING" since "5.18",
    new(
        ring_fd: impl Descriptor => dirfd, result: i32 => result,
        user_data: u64 => off, user_flags: Option<u32> => user_flags;
        msg_ring_command(IORING_MSG_DATA)
    )
    {
        /// Sets the flags of this message. `user_flags` requires Linux 6.3.
        opcode_flags: impl Into<MsgRingFlags> => msg_ring_flags,
    }

    /// Puts the file of a registered slot into a slot of another ring, and posts a completion
    /// there.
    ///
    /// - **Result:** 0, or the chosen slot if the kernel was to choose one; the completion on the
    ///   other ring has the same result; -EBADF if `fixed_slot_src` is empty; -EOVERFLOW and
    ///   -EBADFD as with [`MsgRingData`]
    /// - **Needs:** a [registered file table](crate::Submitter::register_files) on both rings
    #[doc(alias = "IORING_MSG_SEND_FD")]
    MsgRingSendFd = "IORING_OP_MSG_RING" since "6.0",
    new(
        ring_fd: impl Descriptor => dirfd, fixed_slot_src: Fixed => source_slot,
        dest_slot_index: DestinationSlot => dest_slot, user_data: u64 => off;
        msg_ring_command(IORING_MSG_SEND_FD)
    )
    {
        /// Sets the flags of this message.
        opcode_flags: impl Into<MsgRingFlags> => msg_ring_flags,
    }
}

impl Nop128 {
    /// Creates the operation.
    #[allow(clippy::new_without_default, reason = "consistent with the other operations")]
    #[inline]
    pub fn new() -> Self {
        Self::from(Nop::new())
    }

    /// Returns the entry, ready to be pushed.
    #[inline]
    pub fn build(self) -> Entry128 {
        self.0.build().into()
    }
}

impl From<Nop> for Nop128 {
    #[inline]
    fn from(mut nop: Nop) -> Self {
        nop.0.as_raw_mut().opcode = Self::CODE;
        Self(nop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::tests::entries;
    use crate::squeue::Sqe;
    use crate::types::{AsyncCancelFlags, Fd};

    entries! {
        nop: Nop::new() => { opcode: 0, fd: -1 };
        nop_that_does_something: Nop::new().result(-5).file(Fixed(3)).buf_index(7).task_work(true)
            => { opcode: 0, fd: 3, len: -5i32 as u32, buf_index: 7, op_flags: 0b1_1111 };
        nop_with_a_file: Nop::new().file(Fd(3)).big_cqe([5, 6])
            => { opcode: 0, fd: 3, off: 5, addr: 6, op_flags: 1 << 5 | 1 << 1 };
        async_cancel: AsyncCancel::new(5) => { opcode: 14, fd: -1, addr: 5 };
        msg_ring_data: MsgRingData::new(Fd(3), -5, 6, None)
            => { opcode: 40, fd: 3, len: -5i32 as u32, off: 6 };
        msg_ring_data_with_flags: MsgRingData::new(Fd(3), 5, 6, Some(7))
            .opcode_flags(MsgRingFlags::CQE_SKIP)
            => { opcode: 40, fd: 3, len: 5, off: 6, file_index: 7, op_flags: 3 };
        msg_ring_send_fd: MsgRingSendFd::new(Fd(3), Fixed(4), DestinationSlot::auto_target(), 6)
            .opcode_flags(MsgRingFlags::CQE_SKIP)
            => { opcode: 40, fd: 3, addr: 1, addr3: 4, off: 6, file_index: u32::MAX, op_flags: 1 };
    }

    #[test]
    fn nop128() {
        let entry = Nop128::from(Nop::new().result(5)).build();
        let sqe = Sqe { opcode: 63, fd: -1, len: 5, op_flags: 1, ..Sqe::ZERO };
        assert_eq!(entry.into_raw(), (sqe, [0; 64]));
        let plain = Sqe { opcode: 63, fd: -1, ..Sqe::ZERO };
        assert_eq!(Nop128::new().build().into_raw(), (plain, [0; 64]));
    }

    #[test]
    fn async_cancel2() {
        let entry =
            AsyncCancel2::new(CancelBuilder::fd(Fixed(3)).and_user_data(5).and_op(6).all()).build();
        assert_eq!(
            entry.into_raw(),
            Sqe { opcode: 14, fd: 3, addr: 5, len: 6, op_flags: 1 | 2 | 8 | 16 | 32, ..Sqe::ZERO }
        );
        let newer = AsyncCancelFlags::from_bits_retain(1 << 9);
        let entry = AsyncCancel2::new(CancelBuilder::user_data(5).all().flags(newer)).build();
        let sqe = Sqe { opcode: 14, fd: -1, addr: 5, op_flags: 1 << 9 | 1, ..Sqe::ZERO };
        assert_eq!(entry.into_raw(), sqe);
    }
}
