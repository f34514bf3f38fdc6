//! What a result means, where it is more than a count.

use rustix::fd::{FromRawFd, OwnedFd};
use rustix::io::Errno;

use super::{Entry, Entry32, Mixed, notif};
use crate::sys;
use crate::types::{Fixed, PollFlags, Timespec};

impl Entry {
    /// The descriptor that the operation has made: [`OpenAt`](crate::opcode::OpenAt),
    /// [`Accept`](crate::opcode::Accept) and their kin, without a slot.
    ///
    /// ```
    /// use rustix_uring::{IoUring, opcode, types};
    ///
    /// let mut ring = IoUring::new(2)?;
    /// let open_e = opcode::OpenAt::new(types::Fd::CWD, c"README.md".as_ptr()).build();
    /// // SAFETY: the path lives for ever.
    /// unsafe { ring.submission().push(&open_e)? };
    /// while ring.completion().is_empty() {
    ///     ring.submit_and_wait(1)?; // a signal can end a wait early
    /// }
    ///
    /// let cqe = ring.completion().next().expect("it is not empty");
    /// // SAFETY: this is the completion of the one operation, which opens.
    /// let file = std::fs::File::from(unsafe { cqe.to_fd() }?);
    /// assert!(file.metadata()?.is_file());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The operation's.
    ///
    /// # Safety
    ///
    /// This is the completion of an operation whose result is a new descriptor, and nobody else has
    /// made an owner of it.
    #[inline]
    pub unsafe fn to_fd(&self) -> Result<OwnedFd, Errno> {
        let number = self.to_result()? as i32;
        // SAFETY: the caller promises that it is a descriptor, and nobody else's; as it is no
        // error, it is not -1.
        Ok(unsafe { OwnedFd::from_raw_fd(number) })
    }

    /// The slot that the operation's new file has gone to, where any would do
    /// ([`DestinationSlot::auto_target`](crate::types::DestinationSlot::auto_target)).
    ///
    /// # Errors
    ///
    /// The operation's; ENFILE where no slot is free.
    #[inline]
    pub fn to_fixed(&self) -> Result<Fixed, Errno> {
        self.to_result().map(Fixed)
    }

    /// What the file of a [`PollAdd`](crate::opcode::PollAdd) is ready for.
    ///
    /// # Errors
    ///
    /// The operation's.
    #[inline]
    pub fn to_poll_flags(&self) -> Result<PollFlags, Errno> {
        self.to_result().map(PollFlags::from_bits_retain)
    }

    /// Whether this is the [notification](Self::notif) of a zero-copy send that was copied after
    /// all, with [`ZC_REPORT_USAGE`](crate::types::RecvSendFlags::ZC_REPORT_USAGE).
    ///
    /// Over the loopback device everything is. Since Linux 6.2.
    #[inline]
    pub const fn zc_copied(&self) -> bool {
        notif(self.flags) && self.res as u32 & sys::IORING_NOTIF_USAGE_ZC_COPIED != 0
    }
}

/// When something was sent, as [`TxTimestamp`](crate::opcode::TxTimestamp) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TxTimestamp {
    /// What was sent: the number that the socket has given it.
    pub key: u32,
    /// Which stage it had reached.
    pub kind: TimestampKind,
    /// Whether `time` is the network device's clock's; otherwise it is `CLOCK_REALTIME`.
    pub hardware: bool,
    /// When.
    pub time: Timespec,
}

/// A stage of sending: the `SCM_TSTAMP_*` numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct TimestampKind(pub u32);

impl TimestampKind {
    /// The driver has it.
    pub const SND: Self = Self(sys::SCM_TSTAMP_SND);
    /// It has entered the packet scheduler.
    pub const SCHED: Self = Self(sys::SCM_TSTAMP_SCHED);
    /// The other end has acknowledged all of it.
    pub const ACK: Self = Self(sys::SCM_TSTAMP_ACK);
    /// The device is done with it. Since Linux 6.15.
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
    /// The timestamp of a [`TxTimestamp`](crate::opcode::TxTimestamp), of a completion that has
    /// [`more`](Entry::more); its last one has none.
    ///
    /// # Errors
    ///
    /// The operation's.
    #[inline]
    pub fn tx_timestamp(&self) -> Result<TxTimestamp, Errno> {
        TxTimestamp::read(self, &self.big)
    }
}

impl Mixed {
    /// The timestamp of a [`TxTimestamp`](crate::opcode::TxTimestamp), if this completion has
    /// 32 bytes.
    ///
    /// # Errors
    ///
    /// The operation's.
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
    fn usage_is_told_by_notifications_only() {
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
