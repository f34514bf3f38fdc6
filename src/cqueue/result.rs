//! Results that are more than a count.

use rustix::fd::{FromRawFd, OwnedFd};
use rustix::io::Errno;

use super::{Entry, Entry32, Mixed, notif};
use crate::sys;
use crate::types::{Fixed, PollFlags, Timespec};

impl Entry {
    /// Returns the descriptor that an operation such as [`OpenAt`](crate::opcode::OpenAt) or
    /// [`Accept`](crate::opcode::Accept) has created. The operation must not have a destination
    /// slot.
    ///
    /// ```
    /// use rustix_uring::{IoUring, opcode, types};
    ///
    /// let mut ring = IoUring::new(2)?;
    /// let open_e = opcode::OpenAt::new(types::Fd::CWD, c"README.md".as_ptr()).build();
    /// // SAFETY: the path is static.
    /// unsafe { ring.submission().push(&open_e)? };
    /// while ring.completion().is_empty() {
    ///     ring.submit_and_wait(1)?; // a signal can end a wait early
    /// }
    ///
    /// let cqe = ring.completion().next().expect("the queue is not empty");
    /// // SAFETY: this is the completion of the only operation, which opens a file.
    /// let file = std::fs::File::from(unsafe { cqe.to_fd() }?);
    /// assert!(file.metadata()?.is_file());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the operation.
    ///
    /// # Safety
    ///
    /// This is the completion of an operation whose result is a new descriptor, and nothing else
    /// owns that descriptor.
    #[inline]
    pub unsafe fn to_fd(&self) -> Result<OwnedFd, Errno> {
        let number = self.to_result()? as i32;
        // SAFETY: the caller promises that this is a descriptor that nothing else owns. It is not
        // -1, because the result is not an error.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    }

    /// Returns the slot that the kernel has chosen for the operation's new file
    /// ([`DestinationSlot::auto_target`](crate::types::DestinationSlot::auto_target)).
    ///
    /// # Errors
    ///
    /// Returns the error of the operation, which is ENFILE if no slot is free.
    #[inline]
    pub fn to_fixed(&self) -> Result<Fixed, Errno> {
        self.to_result().map(Fixed)
    }

    /// Returns the events for which the file of a [`PollAdd`](crate::opcode::PollAdd) is ready.
    ///
    /// # Errors
    ///
    /// Returns the error of the operation.
    #[inline]
    pub fn to_poll_flags(&self) -> Result<PollFlags, Errno> {
        self.to_result().map(PollFlags::from_bits_retain)
    }

    /// Returns whether this is the [notification](Self::notif) of a zero-copy send whose data the
    /// kernel has copied. Requires
    /// [`ZC_REPORT_USAGE`](crate::types::RecvSendFlags::ZC_REPORT_USAGE). Since Linux 6.2.
    ///
    /// Over the loopback device, the kernel always copies.
    #[inline]
    pub const fn zc_copied(&self) -> bool {
        notif(self.flags) && self.res as u32 & sys::IORING_NOTIF_USAGE_ZC_COPIED != 0
    }
}

/// A transmit timestamp, as reported by [`TxTimestamp`](crate::opcode::TxTimestamp).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TxTimestamp {
    /// The key of the sent data, which the socket has assigned.
    pub key: u32,
    /// The stage that the data has reached.
    pub kind: TimestampKind,
    /// Whether `time` is from the clock of the network device. Otherwise it is from
    /// `CLOCK_REALTIME`.
    pub hardware: bool,
    /// The time at which the data reached the stage.
    pub time: Timespec,
}

/// A stage of sending, which is one of the `SCM_TSTAMP_*` numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct TimestampKind(pub u32);

impl TimestampKind {
    /// The driver has received the data.
    pub const SND: Self = Self(sys::SCM_TSTAMP_SND);
    /// The data has entered the packet scheduler.
    pub const SCHED: Self = Self(sys::SCM_TSTAMP_SCHED);
    /// The peer has acknowledged all of the data.
    pub const ACK: Self = Self(sys::SCM_TSTAMP_ACK);
    /// The device has finished sending the data. Since Linux 6.15.
    pub const COMPLETION: Self = Self(sys::SCM_TSTAMP_COMPLETION);
}

impl TxTimestamp {
    fn read(entry: &Entry, big: &[u64; 2]) -> Result<Self, Errno> {
        let [sec, nsec] = *big;
        Ok(Self {
            key: entry.to_result()?,
            kind: TimestampKind(entry.flags >> sys::IORING_TIMESTAMP_TYPE_SHIFT),
            hardware: entry.flags & sys::IORING_CQE_F_TSTAMP_HW != 0,
            time: Timespec::from_raw(sec, nsec),
        })
    }
}

impl Entry32 {
    /// Returns the timestamp that this completion of a [`TxTimestamp`](crate::opcode::TxTimestamp)
    /// operation reports. Only completions with [`more`](Entry::more) have one: the last completion
    /// has no timestamp.
    ///
    /// # Errors
    ///
    /// Returns the error of the operation.
    #[inline]
    pub fn tx_timestamp(&self) -> Result<TxTimestamp, Errno> {
        TxTimestamp::read(self, &self.big)
    }
}

impl Mixed {
    /// Returns the timestamp that this completion of a [`TxTimestamp`](crate::opcode::TxTimestamp)
    /// operation reports, or `None` if the completion does not have 32 bytes.
    ///
    /// # Errors
    ///
    /// Returns the error of the operation.
    #[inline]
    pub fn tx_timestamp(&self) -> Result<Option<TxTimestamp>, Errno> {
        self.big_cqe().map(|big| TxTimestamp::read(self, big)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completion(res: i32, flags: u32) -> Entry {
        Entry { res, flags, ..Entry::default() }
    }

    #[test]
    fn only_notifications_report_usage() {
        let copied = sys::IORING_NOTIF_USAGE_ZC_COPIED as i32;
        assert!(completion(copied, sys::IORING_CQE_F_NOTIF).zc_copied());
        assert!(!completion(0, sys::IORING_CQE_F_NOTIF).zc_copied());
        assert!(!completion(-1, sys::IORING_CQE_F_MORE).zc_copied());
        assert_eq!(completion(copied, sys::IORING_CQE_F_NOTIF).to_result(), Ok(1 << 31));
    }

    #[test]
    fn errors_stay_errors() {
        let failed = completion(-Errno::NFILE.raw_os_error(), 0);
        assert_eq!(failed.to_fixed(), Err(Errno::NFILE));
        assert_eq!(failed.to_poll_flags(), Err(Errno::NFILE));
        // SAFETY: there is no descriptor.
        assert_eq!(unsafe { failed.to_fd() }.map(drop), Err(Errno::NFILE));
        assert_eq!(completion(5, 0).to_fixed(), Ok(Fixed(5)));
        let ready = completion(5, 0).to_poll_flags().unwrap();
        assert_eq!(ready, PollFlags::IN | PollFlags::OUT);
    }

    #[test]
    fn timestamps_are_in_flags_and_second_half() {
        let more = sys::IORING_CQE_F_MORE;
        let software = Entry32 { entry: completion(7, more | 2 << 17), big: [3, 4] };
        assert_eq!(
            software.tx_timestamp(),
            Ok(TxTimestamp {
                key: 7,
                kind: TimestampKind::ACK,
                hardware: false,
                time: Timespec::new().sec(3).nsec(4),
            })
        );
        let hardware = Entry32 { entry: completion(7, more | 1 << 16), big: [3, 4] };
        let stamp = hardware.tx_timestamp().unwrap();
        assert!(stamp.hardware && stamp.kind == TimestampKind::SND);
        let small = Mixed(hardware);
        assert_eq!(small.tx_timestamp(), Ok(None));
        let big = Entry32 { entry: completion(7, sys::IORING_CQE_F_32 | more), big: [3, 4] };
        assert!(Mixed(big).tx_timestamp().unwrap().is_some());
    }
}
