//! The ring itself: how to wait, what to cancel.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::ptr;

use bitflags::bitflags;
use rustix::io_uring::{KernelSigSet, io_uring_getevents_arg, io_uring_ptr};

use super::{Target, Timespec};
use crate::params::EnterFlags;
use crate::sys;

/// How long, and with which signals blocked, a
/// [`submit_with_args`](crate::Submitter::submit_with_args) waits.
///
/// It is `struct io_uring_getevents_arg`, and a few flags of the call. Everything it refers to is only
/// read during the call.
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

// SAFETY: the pointers inside stand for shared references to `Sync` types that live for 'a.
unsafe impl Send for SubmitArgs<'_> {}
// SAFETY: as above.
unsafe impl Sync for SubmitArgs<'_> {}

impl Default for SubmitArgs<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> SubmitArgs<'a> {
    /// Waits without end, signals as they are.
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

    /// Waits at most this long. Since Linux 5.11, and in the stable updates of 5.10
    /// ([`is_feature_ext_arg`](crate::Parameters::is_feature_ext_arg)).
    #[must_use]
    #[inline]
    pub fn timespec(mut self, timespec: &'a Timespec) -> Self {
        self.arg.ts = shared(timespec);
        self.flags.remove(EnterFlags::ABS_TIMER);
        self
    }

    /// Waits at most until this point of the ring's clock, which is `CLOCK_MONOTONIC` unless
    /// another was registered. Since Linux 6.12.
    #[must_use]
    #[inline]
    pub fn deadline(mut self, deadline: &'a Timespec) -> Self {
        self.arg.ts = shared(deadline);
        self.flags.insert(EnterFlags::ABS_TIMER);
        self
    }

    /// Blocks these signals, and no others, while it waits.
    #[must_use]
    #[inline]
    pub fn sigmask(mut self, sigmask: &'a KernelSigSet) -> Self {
        self.arg.sigmask = shared(sigmask);
        self.arg.sigmask_sz = size_of::<KernelSigSet>() as u32;
        self.sigmask = Some(sigmask);
        self
    }

    /// Waits this many microseconds for all that was wanted; after that, one completion is enough.
    ///
    /// Give a limit too, by [`timespec`](Self::timespec) or [`deadline`](Self::deadline): without
    /// one, the wait ends with ETIME after the minimum if nothing is there. A span of `i64::MAX`
    /// seconds is no limit to the kernel. A limit below the minimum does not end the wait earlier.
    ///
    /// Since Linux 6.12 ([`is_feature_min_timeout`](crate::Parameters::is_feature_min_timeout));
    /// EINVAL before.
    #[must_use]
    #[inline]
    pub const fn min_wait_usec(mut self, microseconds: u32) -> Self {
        self.arg.min_wait_usec = microseconds;
        self
    }

    /// Whether not to count the wait as the processor waiting for I/O, which otherwise shows in the
    /// system's `iowait` and keeps its frequency up. Since Linux 6.15
    /// ([`is_feature_no_iowait`](crate::Parameters::is_feature_no_iowait)); before, the kernel
    /// answers EINVAL.
    #[must_use]
    #[inline]
    pub fn no_iowait(mut self, no_iowait: bool) -> Self {
        self.flags.set(EnterFlags::NO_IOWAIT, no_iowait);
        self
    }

    /// The time, or the point in time.
    #[cfg(feature = "raw-syscall")]
    pub(crate) fn time(&self) -> Option<Timespec> {
        let time = self.arg.ts.ptr.cast::<Timespec>();
        // SAFETY: null, or a reference that lives as long as we do.
        unsafe { time.as_ref() }.copied()
    }

    /// Whether there is nothing in it but what every kernel takes: a signal mask, flags.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.arg.ts.ptr.is_null() && self.arg.min_wait_usec == 0
    }
}

/// The kernel reads through it, during one call.
#[inline(always)]
fn shared<T>(value: &T) -> io_uring_ptr {
    io_uring_ptr::new(ptr::from_ref(value).cast_mut().cast::<c_void>())
}

bitflags! {
    /// What a cancellation goes by: the `IORING_ASYNC_CANCEL_*` flags.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct AsyncCancelFlags: u32 {
        /// Cancel all that match, not the first only. Since Linux 5.19.
        const ALL = sys::IORING_ASYNC_CANCEL_ALL;
        /// Match by descriptor. Since Linux 5.19.
        const FD = sys::IORING_ASYNC_CANCEL_FD;
        /// Match everything. Since Linux 5.19.
        const ANY = sys::IORING_ASYNC_CANCEL_ANY;
        /// The descriptor is a registered slot. Since Linux 6.0.
        const FD_FIXED = sys::IORING_ASYNC_CANCEL_FD_FIXED;
        /// Match by user data as well as by what else is given. Since Linux 6.6.
        const USERDATA = sys::IORING_ASYNC_CANCEL_USERDATA;
        /// Match by operation. Since Linux 6.6.
        const OP = sys::IORING_ASYNC_CANCEL_OP;

        const _ = !0;
    }
}

/// Which of the requests in flight to cancel.
///
/// Made for [`AsyncCancel2`](crate::opcode::AsyncCancel2) and
/// [`register_sync_cancel`](crate::Submitter::register_sync_cancel).
///
/// Without [`all`](Self::all) it is the first that matches; with several criteria, all of them must.
///
/// # Before Linux 6.6
///
/// **Combined criteria cancel too much.** Kernels from 5.19 to 6.5 accept user data and operations
/// beside other criteria, and ignore them: `user_data(1).and_fd(fd).all()` cancels every request on
/// the file, `user_data(1).and_op(code)` whatever has the user data, and `op(code)` whatever has the
/// user data 0. [`register_sync_cancel`](crate::Submitter::register_sync_cancel) refuses these on
/// such kernels, with EINVAL. For entries, nothing tells the kernels apart.
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

    /// Every request of the ring. Since Linux 5.19.
    ///
    /// A criterion that follows narrows it: `any().and_fd(fd)` is `fd(fd).all()`. (The kernel has a
    /// flag for "everything", beside which it ignores criteria. It is not set then.)
    pub const fn any() -> Self {
        Self::matching(AsyncCancelFlags::ANY)
    }

    /// The first request with this user data.
    pub const fn user_data(user_data: u64) -> Self {
        Self { user_data, ..Self::matching(AsyncCancelFlags::empty()) }
    }

    /// The first request on this file. Since Linux 5.19, for a registered slot since 6.0.
    pub fn fd(fd: impl Target) -> Self {
        Self::matching(AsyncCancelFlags::empty()).with_fd(fd)
    }

    /// The first request with this operation, an opcode's `CODE`. Since Linux 6.6.
    ///
    /// Older kernels answer EINVAL, or [cancel what has the user data 0](Self#before-linux-66).
    pub const fn op(opcode: u8) -> Self {
        Self::matching(AsyncCancelFlags::empty()).with_op(opcode)
    }

    /// And with this user data. Since Linux 6.6; some older kernels
    /// [ignore it](Self#before-linux-66).
    #[must_use]
    pub const fn and_user_data(mut self, user_data: u64) -> Self {
        if self.is_any() {
            return Self::user_data(user_data).all();
        }
        self.user_data = user_data;
        self.flags = self.flags.union(AsyncCancelFlags::USERDATA);
        self
    }

    /// And on this file. Since Linux 6.6; some older kernels [ignore all criteria but the
    /// file](Self#before-linux-66).
    #[must_use]
    pub fn and_fd(self, fd: impl Target) -> Self {
        self.narrowed().with_fd(fd)
    }

    /// And with this operation, an opcode's `CODE`. Since Linux 6.6; some older kernels
    /// [ignore it](Self#before-linux-66).
    #[must_use]
    pub const fn and_op(self, opcode: u8) -> Self {
        self.narrowed().with_op(opcode)
    }

    /// All that match, not the first only. Since Linux 5.19.
    #[must_use]
    pub const fn all(mut self) -> Self {
        self.flags = self.flags.union(AsyncCancelFlags::ALL);
        self
    }

    /// Flags as the kernel has them, added to those of the other methods: for what is newer than this
    /// crate. Call it last. They are not checked; [`ANY`](AsyncCancelFlags::ANY) cancels everything,
    /// whatever the criteria say.
    #[must_use]
    pub const fn flags(mut self, flags: AsyncCancelFlags) -> Self {
        self.flags = self.flags.union(flags);
        self
    }

    const fn is_any(&self) -> bool {
        self.flags.contains(AsyncCancelFlags::ANY)
    }

    /// As it is with a file or an operation to follow. The user data counts by itself, but beside
    /// these only with a flag.
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
        /// The completion on the other ring gets the flags that are given. `user_flags` of
        /// [`MsgRingData`](crate::opcode::MsgRingData) sets it. Since Linux 6.3.
        const FLAGS_PASS = sys::IORING_MSG_RING_FLAGS_PASS;

        const _ = !0;
    }
}

bitflags! {
    /// What a [`Nop`](crate::opcode::Nop) does after all, for tests: the `IORING_NOP_*` flags. Its
    /// setters set them.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct NopFlags: u32 {
        /// Complete with a given result. Since Linux 6.10.
        const INJECT_RESULT = sys::IORING_NOP_INJECT_RESULT;
        /// Look a file up. Since Linux 6.13.
        const FILE = sys::IORING_NOP_FILE;
        /// The file is a registered slot. Since Linux 6.13.
        const FIXED_FILE = sys::IORING_NOP_FIXED_FILE;
        /// Look a registered buffer up. Since Linux 6.13.
        const FIXED_BUFFER = sys::IORING_NOP_FIXED_BUFFER;
        /// Complete by way of the task. Since Linux 6.17.
        const TW = sys::IORING_NOP_TW;
        /// Complete with 32 bytes. Since Linux 6.18.
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
        // user data given first counts as well
        let all_three = Flags::FD | Flags::OP | Flags::USERDATA;
        let criteria = CancelBuilder::user_data(4).and_op(6).and_fd(Fd(3));
        assert_eq!(parts(criteria), (all_three, 4, 3, 6));
        // what narrows "everything" leaves all that match
        let any = CancelBuilder::any();
        assert_eq!(any.and_user_data(4), CancelBuilder::user_data(4).all());
        assert_eq!(any.and_fd(Fd(3)), CancelBuilder::fd(Fd(3)).all());
        assert_eq!(any.and_op(6), CancelBuilder::op(6).all());
        let narrow = CancelBuilder::fd(Fd(3)).and_op(6).and_user_data(4).all();
        assert_eq!(any.and_op(6).and_user_data(4).and_fd(Fd(3)), narrow);
        assert_eq!(any.and_user_data(4).and_fd(Fd(3)).and_op(6), narrow);
        // the file named last counts, and alone
        assert_eq!(parts(CancelBuilder::fd(Fixed(3)).and_fd(Fd(5))), (Flags::FD, 0, 5, 0));
    }
}
