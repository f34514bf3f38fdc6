//! Submitting the entries of a rewound queue.

use rustix::io;

use super::{Kind, Rewind, SubmissionQueue};
use crate::handle::Handle;
use crate::submit::Submitter;
use crate::types::SubmitArgs;

impl<S: Kind> SubmissionQueue<'_, S> {
    /// Submits the entries from the first slot on, and moves the remaining entries to the front.
    pub(crate) fn submit_rewound<H: Handle>(
        &mut self,
        submitter: &Submitter<'_, H>,
        want: usize,
        args: Option<&SubmitArgs<'_>>,
    ) -> io::Result<usize> {
        if !core::ptr::eq(submitter.sq, self.sq) {
            // Another ring would run the entries that are left in its own first slots.
            return Err(io::Errno::INVAL);
        }
        let n = self.local.tail as usize;
        let taken = submitter.enter_for(n, want, args)?.min(n);
        let left = n - taken;
        // SAFETY: we have written the entries up to `n`. The kernel reads entries only during an
        // enter call that submits, and only this view makes such calls.
        unsafe {
            let first = self.slots.as_ptr();
            first.copy_from(first.add(taken), left);
        }
        self.local.tail = left as u32;
        self.local.big_end = self.local.big_end.wrapping_sub(taken as u32);
        self.publish();
        Ok(taken)
    }
}

/// Submitting the entries of a rewound queue.
impl<S: Kind> SubmissionQueue<'_, Rewind<S>> {
    /// Submits the entries of this [rewound](Rewind) queue, as [`Submitter::submit`] does for other
    /// queues. Entries that the kernel does not consume move to the front and stay queued.
    ///
    /// # Errors
    ///
    /// Same errors as [`Submitter::submit`]. In addition, EINVAL if the submitter belongs to
    /// another ring.
    pub fn submit<H: Handle>(&mut self, submitter: &Submitter<'_, H>) -> io::Result<usize> {
        self.submit_rewound(submitter, 0, None)
    }

    /// Submits the entries of this [rewound](Rewind) queue and waits, as
    /// [`Submitter::submit_and_wait`] does for other queues.
    ///
    /// # Errors
    ///
    /// Same errors as [`Submitter::submit_and_wait`]. In addition, EINVAL if the submitter belongs
    /// to another ring.
    pub fn submit_and_wait<H: Handle>(
        &mut self,
        submitter: &Submitter<'_, H>,
        want: usize,
    ) -> io::Result<usize> {
        self.submit_rewound(submitter, want, None)
    }

    /// Submits the entries of this [rewound](Rewind) queue and waits, as
    /// [`Submitter::submit_with_args`] does for other queues.
    ///
    /// # Errors
    ///
    /// Same errors as [`Submitter::submit_with_args`]. In addition, EINVAL if the submitter belongs
    /// to another ring.
    pub fn submit_with_args<H: Handle>(
        &mut self,
        submitter: &Submitter<'_, H>,
        want: usize,
        args: &SubmitArgs<'_>,
    ) -> io::Result<usize> {
        self.submit_rewound(submitter, want, Some(args))
    }
}
