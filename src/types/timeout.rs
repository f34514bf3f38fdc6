//! Time.

use core::ops::Add;
use core::time::Duration;

use bitflags::bitflags;

use crate::sys;

/// A time: seconds and nanoseconds, 64 bits each on every architecture.
///
/// This is the kernel's `struct __kernel_timespec`, not C's `struct timespec`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Timespec {
    sec: i64,
    nsec: i64,
}

impl Timespec {
    /// Zero.
    #[inline]
    pub const fn new() -> Self {
        Self { sec: 0, nsec: 0 }
    }

    pub(crate) const fn into_parts(self) -> (i64, i64) {
        (self.sec, self.nsec)
    }

    /// Sets the seconds, at most `i64::MAX`: the kernel's number is signed, and refuses less than 0.
    #[must_use]
    #[inline]
    pub const fn sec(mut self, sec: u64) -> Self {
        self.sec = if sec > i64::MAX as u64 { i64::MAX } else { sec as i64 };
        self
    }

    /// Sets the nanoseconds. (The kernel takes a second and more of them, and adds it up.)
    #[must_use]
    #[inline]
    pub const fn nsec(mut self, nsec: u32) -> Self {
        self.nsec = nsec as i64;
        self
    }

    /// The seconds.
    #[inline]
    pub const fn seconds(&self) -> i64 {
        self.sec
    }

    /// The nanoseconds.
    #[inline]
    pub const fn nanoseconds(&self) -> i64 {
        self.nsec
    }

    /// From two numbers of the kernel's.
    #[inline]
    pub(crate) const fn from_raw(sec: u64, nsec: u64) -> Self {
        Self { sec: sec as i64, nsec: nsec as i64 }
    }
}

impl Add<Duration> for Timespec {
    type Output = Self;

    /// The time so much later: a point on the same clock, for timeouts that are
    /// [absolute](TimeoutFlags::ABS). At most the latest that there is.
    #[inline]
    fn add(self, later: Duration) -> Self {
        const SECOND: i64 = 1_000_000_000;
        let nsec = self.nsec.saturating_add(later.subsec_nanos().into());
        let sec = i64::try_from(later.as_secs()).unwrap_or(i64::MAX);
        let sec = self.sec.saturating_add(sec).saturating_add(nsec.div_euclid(SECOND));
        Self { sec, nsec: nsec.rem_euclid(SECOND) }
    }
}

impl From<Duration> for Timespec {
    #[inline]
    fn from(duration: Duration) -> Self {
        Self::new().sec(duration.as_secs()).nsec(duration.subsec_nanos())
    }
}

impl From<rustix::fs::Timespec> for Timespec {
    #[inline]
    fn from(time: rustix::fs::Timespec) -> Self {
        #[allow(clippy::unnecessary_cast, reason = "some targets have 32-bit nanoseconds")]
        Self { sec: time.tv_sec, nsec: time.tv_nsec as i64 }
    }
}

impl From<Timespec> for rustix::fs::Timespec {
    /// The same time; whole seconds of the nanoseconds are carried.
    #[inline]
    fn from(time: Timespec) -> Self {
        let Timespec { sec, nsec } = time + Duration::ZERO;
        // Less than a second, which fits everywhere.
        Self { tv_sec: sec, tv_nsec: nsec as _ }
    }
}

bitflags! {
    /// Flags of the timeouts: the `IORING_TIMEOUT_*`, and `IORING_LINK_TIMEOUT_UPDATE`.
    ///
    /// Without a clock flag the clock is `CLOCK_MONOTONIC`; of the two, at most one may be given.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct TimeoutFlags: u32 {
        /// The time is a point on the clock, not a span from now.
        const ABS = sys::IORING_TIMEOUT_ABS;
        /// Use `CLOCK_BOOTTIME`, which goes on while the machine is suspended. Since Linux 5.15.
        const BOOTTIME = sys::IORING_TIMEOUT_BOOTTIME;
        /// Use `CLOCK_REALTIME`, the wall clock. Since Linux 5.15.
        const REALTIME = sys::IORING_TIMEOUT_REALTIME;
        /// Running out is success as far as links are concerned: the chain goes on, although the
        /// result is still -ETIME. Since Linux 5.16.
        const ETIME_SUCCESS = sys::IORING_TIMEOUT_ETIME_SUCCESS;
        /// Run out again and again, each time with a completion. Since Linux 6.4.
        const MULTISHOT = sys::IORING_TIMEOUT_MULTISHOT;
        /// The timeout to update is a [`LinkTimeout`](crate::opcode::LinkTimeout). For
        /// [`TimeoutUpdate`](crate::opcode::TimeoutUpdate). Since Linux 5.15.
        const LINK_TIMEOUT_UPDATE = sys::IORING_LINK_TIMEOUT_UPDATE;
        /// Change a timeout. [`TimeoutUpdate`](crate::opcode::TimeoutUpdate) sets it. Since Linux
        /// 5.11.
        const UPDATE = sys::IORING_TIMEOUT_UPDATE;
        /// The time is a number of nanoseconds, not a pointer. `immediate` sets it. Since Linux
        /// 7.1.
        const IMMEDIATE_ARG = sys::IORING_TIMEOUT_IMMEDIATE_ARG;

        const _ = !0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_times_carry_and_saturate() {
        let time = |sec, nsec| Timespec { sec, nsec };
        let later = Duration::new(2, 600_000_000);
        assert_eq!(time(1, 300_000_000) + later, time(3, 900_000_000));
        assert_eq!(time(1, 400_000_000) + later, time(4, 0));
        // More than a second of nanoseconds, which the kernel takes.
        assert_eq!(time(1, 1_500_000_000) + later, time(5, 100_000_000));
        assert_eq!(time(-1, 0) + later, time(1, 600_000_000));
        assert_eq!(time(1, 0) + Duration::MAX, time(i64::MAX, 999_999_999));
    }

    #[test]
    fn rustix_has_the_same_times() {
        let time = Timespec::new().sec(5).nsec(6);
        assert_eq!(Timespec::from(rustix::fs::Timespec::from(time)), time);
        let carried = rustix::fs::Timespec::from(Timespec::new().sec(5).nsec(3_000_000_007));
        assert_eq!((carried.tv_sec, carried.tv_nsec), (8, 7));
    }

    /// More seconds than there are are not fewer than none.
    #[test]
    fn seconds_do_not_wrap() {
        let most = Timespec { sec: i64::MAX, nsec: 0 };
        for sec in [i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
            assert_eq!(Timespec::new().sec(sec), most);
        }
        assert_eq!(Timespec::from(Duration::new(u64::MAX, 0)), most);
        assert_eq!(most + Duration::from_secs(1), most);
        assert_eq!(Timespec::new().nsec(u32::MAX).nanoseconds(), u32::MAX.into());
    }
}
