//! Submitting what a rewound queue holds.

use rustix::io;

use super::{Kind, Rewind, SubmissionQueue};
use crate::handle::Handle;
use crate::submit::Submitter;
use crate::types::SubmitArgs;

impl<S: Kind> SubmissionQueue<'_, S> {
    /// Submits what was pushed from the first slot on, and moves what is left to the front.
    pub(crate) fn submit_rewound<H: Handle>(
        &mut self,
        submitter: &Submitter<'_, H>,
        want: usize,
        args: Option<&SubmitArgs<'_>>,
    ) -> io::Result<usize> {
        if !core::ptr::eq(submitter.sq, self.sq) {
            // Another ring would run whatever is left in its own first slots.
            return Err(io::Errno::INVAL);
        }
        let n = self.local.tail as usize;
        let taken = submitter.enter_for(n, want, args)?.min(n);
        let left = n - taken;
        // SAFETY: entries up to `n` were written by us, and the kernel looks at none of them
        // outside an enter call, of which this view's is the only one that submits.
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

/// Submitting what a rewound queue holds.
impl<S: Kind> SubmissionQueue<'_, Rewind<S>> {
    /// Submits what was pushed, as [`Submitter::submit`] does for other queues. What the kernel
    /// leaves moves to the front and stays queued.
    ///
    /// # Errors
    ///
    /// Those of [`Submitter::submit`]; and EINVAL if the submitter is another ring's.
    pub fn submit<H: Handle>(&mut self, submitter: &Submitter<'_, H>) -> io::Result<usize> {
        self.submit_rewound(submitter, 0, None)
    }

    /// Submits what was pushed and waits, as [`Submitter::submit_and_wait`] does for other queues.
    ///
    /// # Errors
    ///
    /// Those of [`Submitter::submit_and_wait`]; and EINVAL if the submitter is another ring's.
    pub fn submit_and_wait<H: Handle>(
        &mut self,
        submitter: &Submitter<'_, H>,
        want: usize,
    ) -> io::Result<usize> {
        self.submit_rewound(submitter, want, None)
    }

    /// Submits what was pushed and waits, as [`Submitter::submit_with_args`] does for other queues.
    ///
    /// # Errors
    ///
    /// Those of [`Submitter::submit_with_args`]; and EINVAL if the submitter is another ring's.
    pub fn submit_with_args<H: Handle>(
        &mut self,
        submitter: &Submitter<'_, H>,
        want: usize,
        args: &SubmitArgs<'_>,
    ) -> io::Result<usize> {
        self.submit_rewound(submitter, want, Some(args))
    }
}
