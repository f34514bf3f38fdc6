//! Coming to the end of what is in flight.

use rustix::io::{self, Errno};

use crate::local::Handle;
use crate::opcode::{AsyncCancel, AsyncCancel2};
use crate::types::{CancelBuilder, SubmitArgs, Timespec};
use crate::{IoUring, cqueue, squeue};

/// The user data of the cancellations that [`IoUring::drain`] submits.
const CANCEL: u64 = u64::from_be_bytes(*b"ring end");

/// After how long to cancel once more: what was being started when the last cancellation came
/// may have settled down to wait since.
const ONCE_MORE: Timespec = Timespec::new().nsec(20_000_000);

impl<S: squeue::EntryMarker, C: cqueue::EntryMarker, H: Handle> IoUring<S, C, H> {
    /// Cancels what can be cancelled, and reaps until nothing is in flight any more: after this,
    /// the memory of all operations may be freed.
    ///
    /// Dropping a ring is no such barrier. The kernel cancels what it can, at some later time, and
    /// goes on writing to the memory of what it cannot, a read from a disk for one. Nor is a
    /// cancellation that finds nothing: direct I/O is invisible to it. Only the completions tell.
    ///
    /// So the caller says how many are `outstanding`: the number of operations that were pushed,
    /// submitted or not, and whose last completion has not been reaped: the one without
    /// [`more`](cqueue::Entry::more). It is counted down. Entries with
    /// [`SKIP_SUCCESS`](squeue::Flags::SKIP_SUCCESS), which post none, are not among them, and must
    /// not have used memory.
    ///
    /// `each` gets every completion, of which some are successes: an accepted connection wants to
    /// be closed. It returns whether the completion is one of the outstanding operations', which
    /// it is unless other rings send messages here, or resources have tags.
    ///
    /// `user_data` is that of the outstanding operations, for kernels before 5.19, which cannot
    /// cancel but by that. It may be empty elsewhere, or where operations end by themselves.
    ///
    /// ```
    /// # use rustix_uring::{opcode, types::Timespec, IoUring};
    /// let mut ring = IoUring::new(8)?;
    /// let hour = Timespec::new().sec(3600);
    /// let timeout = opcode::Timeout::new(&hour).build().user_data(7);
    /// // SAFETY: `hour` outlives the submission.
    /// unsafe { ring.submission().push(&timeout)? };
    /// ring.submit()?;
    ///
    /// ring.drain(&mut 1, &[7], |_| true)?; // does not take an hour
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`submit`](Self::submit), except that what passes by itself is waited for. Then
    /// `outstanding` operations **are still in flight**, and their memory must not be freed: drain
    /// again, or leak it. No cancellation stays queued; one that the kernel has taken completes at
    /// some time, which the next drain takes no notice of.
    pub fn drain(
        &mut self,
        outstanding: &mut usize,
        user_data: &[u64],
        mut each: impl FnMut(C) -> bool,
    ) -> io::Result<()> {
        let a_while = SubmitArgs::new().timespec(&ONCE_MORE);
        // Where a wait knows no time, there is one round of cancellations, and no other.
        let a_while = self.params().is_feature_ext_arg().then_some(&a_while);
        let mut targets = Targets::Anything;
        let mut left = targets.count(user_data);
        let (mut in_flight, mut pushed): (usize, usize) = (0, 0);
        loop {
            for cqe in self.completion() {
                let entry: cqueue::Entry = cqe.into();
                if entry.user_data() == CANCEL {
                    // Not ours, if none is in flight: of a drain that failed.
                    in_flight = in_flight.saturating_sub(1);
                    if targets == Targets::Anything && entry.to_result() == Err(Errno::INVAL) {
                        targets = Targets::UserData;
                        left = targets.count(user_data);
                    }
                } else if each(cqe) && !entry.more() && !entry.is_pad() {
                    *outstanding = outstanding.saturating_sub(1);
                }
            }
            if *outstanding == 0 && in_flight == 0 {
                return Ok(());
            }
            while *outstanding > 0 && left > 0 && self.push_cancellation(targets, user_data, left) {
                left -= 1;
                in_flight += 1;
                pushed += 1;
            }
            let entered = match a_while {
                Some(a_while) => self.submit_with_args(1, a_while),
                None => self.submit_and_wait(1),
            };
            match entered {
                Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
                Err(Errno::TIME) if in_flight == 0 => left = targets.count(user_data),
                Err(Errno::TIME) => {}
                Err(errno) => {
                    // What is left would run with the next submit, on whatever is in flight then. An
                    // SQPOLL ring's thread takes it at any time.
                    if !self.params().is_setup_sqpoll() {
                        // SAFETY: the ring is borrowed mutably, so that no other thread enters; and
                        // nobody else has pushed since.
                        unsafe { self.submission().take_back(pushed) };
                    }
                    return Err(errno);
                }
            }
        }
    }

    /// Pushes one of the `left` last cancellations of a round, if there is room.
    fn push_cancellation(&mut self, targets: Targets, user_data: &[u64], left: usize) -> bool {
        let entry = match targets {
            Targets::Anything => AsyncCancel2::new(CancelBuilder::any().all()).build(),
            Targets::UserData => AsyncCancel::new(user_data[left - 1]).build(),
        };
        // SAFETY: a cancellation points to nothing.
        unsafe { self.submission().push(&entry.user_data(CANCEL)) }.is_ok()
    }
}

/// What a round of cancellations goes by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Targets {
    /// One that matches everything.
    Anything,
    /// One for each user data, for kernels that do not know the other, with EINVAL.
    UserData,
}

impl Targets {
    fn count(self, user_data: &[u64]) -> usize {
        match self {
            Self::Anything => 1,
            Self::UserData => user_data.len(),
        }
    }
}
