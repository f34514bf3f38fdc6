//! Arguments of timeouts.

use core::ops::Add;
use core::time::Duration;

use bitflags::bitflags;

use crate::sys;

/// A time with 64-bit seconds and 64-bit nanoseconds on every architecture.
///
/// This is the kernel's `struct __kernel_timespec`, not the `struct timespec` of C.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Timespec {
    sec: i64,
    nsec: i64,
}

impl Timespec {
    /// Creates a time of zero.
    #[inline]
    pub const fn new() -> Self {
        Self { sec: 0, nsec: 0 }
    }

    pub(crate) const fn into_parts(self) -> (i64, i64) {
        (self.sec, self.nsec)
    }

    /// Sets the seconds. The kernel's number is signed and must not be negative, so more than
    /// `i64::MAX` seconds are reduced to `i64::MAX`.
    #[must_use]
    #[inline]
    pub const fn sec(mut self, sec: u64) -> Self {
        self.sec = if sec > i64::MAX as u64 { i64::MAX } else { sec as i64 };
        self
    }

    /// Sets the nanoseconds. The kernel also accepts one second or more, and adds it to the
    /// seconds.
    #[must_use]
    #[inline]
    pub const fn nsec(mut self, nsec: u32) -> Self {
        self.nsec = nsec as i64;
        self
    }

    /// Returns the seconds.
    #[inline]
    pub const fn seconds(&self) -> i64 {
        self.sec
    }

    /// Returns the nanoseconds.
    #[inline]
    pub const fn nanoseconds(&self) -> i64 {
        self.nsec
    }

    /// Creates a time from two numbers of the kernel.
    #[inline]
    pub(crate) const fn from_raw(sec: u64, nsec: u64) -> Self {
        Self { sec: sec as i64, nsec: nsec as i64 }
    }
}

impl Add<Duration> for Timespec {
    type Output = Self;

    /// Returns the time that is later by this duration, on the same clock. Use it for
    /// [absolute](TimeoutFlags::ABS) timeouts. Saturates at the latest possible time.
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
    /// Converts the time, and carries whole seconds of the nanoseconds over to the seconds.
    #[inline]
    fn from(time: Timespec) -> Self {
        let Timespec { sec, nsec } = time + Duration::ZERO;
        // The rest is less than a second, which fits everywhere.
        Self { tv_sec: sec, tv_nsec: nsec as _ }
    }
}

bitflags! {
    /// Flags of timeouts: the `IORING_TIMEOUT_*` flags and `IORING_LINK_TIMEOUT_UPDATE`.
    ///
    /// Set at most one of the two clock flags. Without one, the clock is `CLOCK_MONOTONIC`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct TimeoutFlags: u32 {
        /// The time is absolute, instead of relative to now.
        const ABS = sys::IORING_TIMEOUT_ABS;
        /// Use `CLOCK_BOOTTIME`, which continues while the machine is suspended. Since Linux 5.15.
        const BOOTTIME = sys::IORING_TIMEOUT_BOOTTIME;
        /// Use `CLOCK_REALTIME`, the wall clock. Since Linux 5.15.
        const REALTIME = sys::IORING_TIMEOUT_REALTIME;
        /// An expired timeout does not break its chain of links. Its result is still -ETIME. Since
        /// Linux 5.16.
        const ETIME_SUCCESS = sys::IORING_TIMEOUT_ETIME_SUCCESS;
        /// Expire repeatedly, with one completion each time. Since Linux 6.4.
        const MULTISHOT = sys::IORING_TIMEOUT_MULTISHOT;
        /// The timeout to update is a [`LinkTimeout`](crate::opcode::LinkTimeout). For
        /// [`TimeoutUpdate`](crate::opcode::TimeoutUpdate). Since Linux 5.15.
        const LINK_TIMEOUT_UPDATE = sys::IORING_LINK_TIMEOUT_UPDATE;
        /// Update a timeout. [`TimeoutUpdate`](crate::opcode::TimeoutUpdate) sets this flag. Since
        /// Linux 5.11.
        const UPDATE = sys::IORING_TIMEOUT_UPDATE;
        /// The field holds the time in nanoseconds instead of a pointer. `immediate` sets this
        /// flag. Since Linux 7.1.
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
        // The nanoseconds exceed a second, which the kernel accepts.
        assert_eq!(time(1, 1_500_000_000) + later, time(5, 100_000_000));
        assert_eq!(time(-1, 0) + later, time(1, 600_000_000));
        assert_eq!(time(1, 0) + Duration::MAX, time(i64::MAX, 999_999_999));
    }

    #[test]
    fn times_convert_to_rustix_and_back() {
        let time = Timespec::new().sec(5).nsec(6);
        assert_eq!(Timespec::from(rustix::fs::Timespec::from(time)), time);
        let carried = rustix::fs::Timespec::from(Timespec::new().sec(5).nsec(3_000_000_007));
        assert_eq!((carried.tv_sec, carried.tv_nsec), (8, 7));
    }

    /// Too many seconds do not become a negative number.
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
