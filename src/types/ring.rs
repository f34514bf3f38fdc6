//! Arguments of operations on rings: waiting, canceling, messages.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr;

use bitflags::bitflags;
use rustix::io_uring::{KernelSigSet, io_uring_getevents_arg, io_uring_ptr};

use super::{Target, Timespec};
use crate::params::EnterFlags;
use crate::sys;

/// The timeouts and the signal mask of a wait, for
/// [`submit_with_args`](crate::Submitter::submit_with_args).
///
/// This is `struct io_uring_getevents_arg` with some flags of the call. The kernel only reads the
/// referenced values, and only during the call.
///
/// ```
/// use rustix_uring::types::{SubmitArgs, Timespec};
///
/// let half_a_second = Timespec::new().nsec(500_000_000);
/// let args = SubmitArgs::new().timespec(&half_a_second);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SubmitArgs<'a> {
    pub(crate) arg: io_uring_getevents_arg,
    pub(crate) flags: EnterFlags,
    pub(crate) sigmask: Option<&'a KernelSigSet>,
    timespec: PhantomData<&'a Timespec>,
}

// SAFETY: the pointers stand for shared references to `Sync` types that live for `'a`.
unsafe impl Send for SubmitArgs<'_> {}
// SAFETY: the pointers stand for shared references to `Sync` types that live for `'a`.
unsafe impl Sync for SubmitArgs<'_> {}

impl Default for SubmitArgs<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> SubmitArgs<'a> {
    /// Creates arguments without a timeout and without a signal mask.
    #[inline]
    pub const fn new() -> Self {
        Self {
            arg: io_uring_getevents_arg {
                sigmask: io_uring_ptr::null(),
                sigmask_sz: 0,
                min_wait_usec: 0,
                ts: io_uring_ptr::null(),
            },
            flags: EnterFlags::empty(),
            sigmask: None,
            timespec: PhantomData,
        }
    }

    /// Limits the wait to this duration. Since Linux 5.11, and in stable updates of 5.10
    /// ([`is_feature_ext_arg`](crate::Parameters::is_feature_ext_arg)).
    #[must_use]
    #[inline]
    pub fn timespec(mut self, timespec: &'a Timespec) -> Self {
        self.arg.ts = shared(timespec);
        self.flags.remove(EnterFlags::ABS_TIMER);
        self
    }

    /// Limits the wait to this absolute time on the ring's clock, which is `CLOCK_MONOTONIC` unless
    /// you have registered another. Since Linux 6.12.
    #[must_use]
    #[inline]
    pub fn deadline(mut self, deadline: &'a Timespec) -> Self {
        self.arg.ts = shared(deadline);
        self.flags.insert(EnterFlags::ABS_TIMER);
        self
    }

    /// Blocks exactly these signals during the wait.
    #[must_use]
    #[inline]
    pub fn sigmask(mut self, sigmask: &'a KernelSigSet) -> Self {
        self.arg.sigmask = shared(sigmask);
        self.arg.sigmask_sz = size_of::<KernelSigSet>() as u32;
        self.sigmask = Some(sigmask);
        self
    }

    /// Waits up to this many microseconds for all wanted completions. After that, one completion is
    /// enough.
    ///
    /// Set a limit, too, with [`timespec`](Self::timespec) or [`deadline`](Self::deadline). Without
    /// a limit, the wait fails with ETIME after the minimum if there is no completion. A duration
    /// of `i64::MAX` seconds does not count as a limit. A limit below the minimum does not end the
    /// wait earlier.
    ///
    /// Since Linux 6.12 ([`is_feature_min_timeout`](crate::Parameters::is_feature_min_timeout)).
    /// Older kernels fail with EINVAL.
    #[must_use]
    #[inline]
    pub const fn min_wait_usec(mut self, microseconds: u32) -> Self {
        self.arg.min_wait_usec = microseconds;
        self
    }

    /// Excludes the wait from the accounting of I/O wait time if `no_iowait` is true. Otherwise the
    /// wait appears in the system's `iowait`, and keeps the CPU frequency up. Since Linux 6.15
    /// ([`is_feature_no_iowait`](crate::Parameters::is_feature_no_iowait)). Older kernels fail with
    /// EINVAL.
    #[must_use]
    #[inline]
    pub fn no_iowait(mut self, no_iowait: bool) -> Self {
        self.flags.set(EnterFlags::NO_IOWAIT, no_iowait);
        self
    }

    /// Returns the duration or the absolute time.
    #[cfg(feature = "raw-syscall")]
    pub(crate) fn time(&self) -> Option<Timespec> {
        let time = self.arg.ts.ptr.cast::<Timespec>();
        // SAFETY: the pointer is null, or a reference that lives as long as `self`.
        unsafe { time.as_ref() }.copied()
    }

    /// Returns whether the arguments contain only what every kernel accepts: a signal mask and
    /// flags.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.arg.ts.ptr.is_null() && self.arg.min_wait_usec == 0
    }
}

/// Returns a pointer that the kernel reads during one call.
#[inline(always)]
fn shared<T>(value: &T) -> io_uring_ptr {
    io_uring_ptr::new(ptr::from_ref(value).cast_mut().cast::<c_void>())
}

bitflags! {
    /// The criteria of a cancellation: the `IORING_ASYNC_CANCEL_*` flags.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct AsyncCancelFlags: u32 {
        /// Cancel all requests that match, instead of only the first. Since Linux 5.19.
        const ALL = sys::IORING_ASYNC_CANCEL_ALL;
        /// Match by descriptor. Since Linux 5.19.
        const FD = sys::IORING_ASYNC_CANCEL_FD;
        /// Match all requests. Since Linux 5.19.
        const ANY = sys::IORING_ASYNC_CANCEL_ANY;
        /// The descriptor is a slot of the registered file table. Since Linux 6.0.
        const FD_FIXED = sys::IORING_ASYNC_CANCEL_FD_FIXED;
        /// Match by user data in addition to other criteria. Since Linux 6.6.
        const USERDATA = sys::IORING_ASYNC_CANCEL_USERDATA;
        /// Match by operation. Since Linux 6.6.
        const OP = sys::IORING_ASYNC_CANCEL_OP;

        const _ = !0;
    }
}

/// Selects the requests in flight to cancel.
///
/// Pass it to [`AsyncCancel2`](crate::opcode::AsyncCancel2) or
/// [`register_sync_cancel`](crate::Submitter::register_sync_cancel).
///
/// Without [`all`](Self::all), the kernel cancels the first request that matches. With several
/// criteria, a request must match all of them.
///
/// # Before Linux 6.6
///
/// **Combined criteria cancel too much.** Kernels from 5.19 to 6.5 accept user data and operations
/// together with other criteria, but ignore some of them:
///
/// - `user_data(1).and_fd(fd).all()` cancels every request on the file.
/// - `user_data(1).and_op(code)` cancels requests with the user data, whatever their operation.
/// - `op(code)` cancels requests with the user data 0.
///
/// On such kernels, [`register_sync_cancel`](crate::Submitter::register_sync_cancel) rejects these
/// combinations with EINVAL. Entries are not checked, because a builder does not know which kernel
/// they are for.
///
/// ```
/// use rustix_uring::opcode;
/// use rustix_uring::types::{CancelBuilder, Fd, Fixed};
///
/// CancelBuilder::user_data(42); // the first with this user data
/// CancelBuilder::user_data(42).all(); // all of them
/// CancelBuilder::fd(Fd(3)).all(); // all on this descriptor
/// CancelBuilder::fd(Fixed(3)); // the first on this registered slot
/// CancelBuilder::op(opcode::Read::CODE); // the first read
/// CancelBuilder::fd(Fd(3)).and_op(opcode::PollAdd::CODE).all(); // all polls of this descriptor
/// CancelBuilder::any(); // whatever is in flight
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CancelBuilder {
    pub(crate) flags: AsyncCancelFlags,
    pub(crate) user_data: u64,
    pub(crate) fd: i32,
    pub(crate) opcode: u8,
}

impl CancelBuilder {
    const fn matching(flags: AsyncCancelFlags) -> Self {
        Self { flags, user_data: 0, fd: -1, opcode: 0 }
    }

    /// Selects every request of the ring. Since Linux 5.19.
    ///
    /// A criterion that follows narrows the selection: `any().and_fd(fd)` is the same as
    /// `fd(fd).all()`. (The kernel has a flag for "all requests", with which it ignores criteria.
    /// This builder then does not set it.)
    pub const fn any() -> Self {
        Self::matching(AsyncCancelFlags::ANY)
    }

    /// Selects the first request with this user data.
    pub const fn user_data(user_data: u64) -> Self {
        Self { user_data, ..Self::matching(AsyncCancelFlags::empty()) }
    }

    /// Selects the first request on this file. Since Linux 5.19, for a registered slot since 6.0.
    pub fn fd(fd: impl Target) -> Self {
        Self::matching(AsyncCancelFlags::empty()).with_fd(fd)
    }

    /// Selects the first request with this operation, which is the `CODE` of an opcode. Since Linux
    /// 6.6.
    ///
    /// Older kernels fail with EINVAL, or [cancel requests with the user data
    /// 0](Self#before-linux-66).
    pub const fn op(opcode: u8) -> Self {
        Self::matching(AsyncCancelFlags::empty()).with_op(opcode)
    }

    /// Also requires this user data. Since Linux 6.6. Some older kernels [ignore
    /// it](Self#before-linux-66).
    #[must_use]
    pub const fn and_user_data(mut self, user_data: u64) -> Self {
        if self.is_any() {
            return Self::user_data(user_data).all();
        }
        self.user_data = user_data;
        self.flags = self.flags.union(AsyncCancelFlags::USERDATA);
        self
    }

    /// Also requires this file. Since Linux 6.6. Some older kernels [ignore all criteria except the
    /// file](Self#before-linux-66).
    #[must_use]
    pub fn and_fd(self, fd: impl Target) -> Self {
        self.narrowed().with_fd(fd)
    }

    /// Also requires this operation, which is the `CODE` of an opcode. Since Linux 6.6. Some older
    /// kernels [ignore it](Self#before-linux-66).
    #[must_use]
    pub const fn and_op(self, opcode: u8) -> Self {
        self.narrowed().with_op(opcode)
    }

    /// Selects all requests that match, instead of only the first. Since Linux 5.19.
    #[must_use]
    pub const fn all(mut self) -> Self {
        self.flags = self.flags.union(AsyncCancelFlags::ALL);
        self
    }

    /// Adds flags unchanged to those of the other methods. Use this for flags that are newer than
    /// this crate, and call it last. The flags are not checked: [`ANY`](AsyncCancelFlags::ANY)
    /// cancels all requests, whatever the criteria are.
    #[must_use]
    pub const fn flags(mut self, flags: AsyncCancelFlags) -> Self {
        self.flags = self.flags.union(flags);
        self
    }

    const fn is_any(&self) -> bool {
        self.flags.contains(AsyncCancelFlags::ANY)
    }

    /// Prepares for a file or an operation to follow. User data alone needs no flag, but together
    /// with these criteria it does.
    const fn narrowed(mut self) -> Self {
        use AsyncCancelFlags as By;
        if self.is_any() {
            return Self::matching(By::ALL);
        }
        if !self.flags.intersects(By::FD.union(By::OP)) {
            self.flags = self.flags.union(By::USERDATA);
        }
        self
    }

    fn with_fd(mut self, fd: impl Target) -> Self {
        let (number, slot) = fd.number_and_flag(super::sealed::SEAL);
        self.fd = number;
        self.flags.insert(AsyncCancelFlags::FD);
        self.flags.set(AsyncCancelFlags::FD_FIXED, slot != 0);
        self
    }

    const fn with_op(mut self, opcode: u8) -> Self {
        self.opcode = opcode;
        self.flags = self.flags.union(AsyncCancelFlags::OP);
        self
    }
}

bitflags! {
    /// Flags of a message to another ring: the `IORING_MSG_RING_*` flags.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct MsgRingFlags: u32 {
        /// Post no completion on the other ring. For
        /// [`MsgRingSendFd`](crate::opcode::MsgRingSendFd). Since Linux 6.0.
        const CQE_SKIP = sys::IORING_MSG_RING_CQE_SKIP;
        /// The completion on the other ring has the given flags. `user_flags` of
        /// [`MsgRingData`](crate::opcode::MsgRingData) sets this flag. Since Linux 6.3.
        const FLAGS_PASS = sys::IORING_MSG_RING_FLAGS_PASS;

        const _ = !0;
    }
}

bitflags! {
    /// What a [`Nop`](crate::opcode::Nop) does besides completing, for tests: the `IORING_NOP_*`
    /// flags. The methods of `Nop` set most of them.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct NopFlags: u32 {
        /// Complete with a given result. Since Linux 6.10.
        const INJECT_RESULT = sys::IORING_NOP_INJECT_RESULT;
        /// Look up a file. Since Linux 6.13.
        const FILE = sys::IORING_NOP_FILE;
        /// The file is a slot of the registered file table. Since Linux 6.13.
        const FIXED_FILE = sys::IORING_NOP_FIXED_FILE;
        /// Look up a registered buffer. Since Linux 6.13.
        const FIXED_BUFFER = sys::IORING_NOP_FIXED_BUFFER;
        /// Complete through task work. Since Linux 6.17.
        const TW = sys::IORING_NOP_TW;
        /// Complete with a 32-byte CQE. Since Linux 6.18.
        const CQE32 = sys::IORING_NOP_CQE32;

        const _ = !0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Fd, Fixed};

    type Flags = AsyncCancelFlags;

    fn parts(criteria: CancelBuilder) -> (Flags, u64, i32, u8) {
        (criteria.flags, criteria.user_data, criteria.fd, criteria.opcode)
    }

    #[test]
    fn criteria_become_flags_and_fields() {
        assert_eq!(parts(CancelBuilder::any()), (Flags::ANY, 0, -1, 0));
        assert_eq!(parts(CancelBuilder::user_data(4)), (Flags::empty(), 4, -1, 0));
        assert_eq!(parts(CancelBuilder::user_data(4).all()), (Flags::ALL, 4, -1, 0));
        assert_eq!(parts(CancelBuilder::fd(Fd(3))), (Flags::FD, 0, 3, 0));
        assert_eq!(parts(CancelBuilder::fd(Fixed(3))), (Flags::FD | Flags::FD_FIXED, 0, 3, 0));
        assert_eq!(parts(CancelBuilder::op(6)), (Flags::OP, 0, -1, 6));
        assert_eq!(
            parts(CancelBuilder::fd(Fd(0)).and_op(6).and_user_data(4).all()),
            (Flags::FD | Flags::OP | Flags::USERDATA | Flags::ALL, 4, 0, 6)
        );
        let newer = Flags::from_bits_retain(1 << 9);
        assert_eq!(
            parts(CancelBuilder::user_data(4).all().flags(newer)),
            (Flags::ALL | newer, 4, -1, 0)
        );
        // user data that comes first counts, too
        let all_three = Flags::FD | Flags::OP | Flags::USERDATA;
        let criteria = CancelBuilder::user_data(4).and_op(6).and_fd(Fd(3));
        assert_eq!(parts(criteria), (all_three, 4, 3, 6));
        // criteria after `any` select all requests that match
        let any = CancelBuilder::any();
        assert_eq!(any.and_user_data(4), CancelBuilder::user_data(4).all());
        assert_eq!(any.and_fd(Fd(3)), CancelBuilder::fd(Fd(3)).all());
        assert_eq!(any.and_op(6), CancelBuilder::op(6).all());
        let narrow = CancelBuilder::fd(Fd(3)).and_op(6).and_user_data(4).all();
        assert_eq!(any.and_op(6).and_user_data(4).and_fd(Fd(3)), narrow);
        assert_eq!(any.and_user_data(4).and_fd(Fd(3)).and_op(6), narrow);
        // only the last file counts
        assert_eq!(parts(CancelBuilder::fd(Fixed(3)).and_fd(Fd(5))), (Flags::FD, 0, 5, 0));
    }
}
