//! The operations in which the kinds of submission queue differ.

use rustix_uring::squeue::{Entry, Entry128, Mixed, PushError, Rewind};
use rustix_uring::{Errno, Handle, IoUring, SubmissionQueue, Submitter, cqueue, squeue};

pub(crate) trait Slot {
    fn user_data(&self) -> u64;
}

impl Slot for Entry {
    fn user_data(&self) -> u64 {
        self.get_user_data()
    }
}

impl Slot for Entry128 {
    fn user_data(&self) -> u64 {
        self.get_user_data()
    }
}

/// Operations that not every kind supports. 128-byte entries are used if the kind has them.
///
/// # Safety
///
/// Each `unsafe fn` has the contract of the method of [`SubmissionQueue`] that it calls.
pub(crate) trait Kind: squeue::Kind<Slot: Slot> + Sized {
    unsafe fn push_128(
        queue: &mut SubmissionQueue<'_, Self>,
        entry: &Entry128,
    ) -> Result<(), PushError>;
    unsafe fn push_all_128(
        queue: &mut SubmissionQueue<'_, Self>,
        entries: &[Entry128],
    ) -> Result<(), PushError>;
    unsafe fn push_each_128(
        queue: &mut SubmissionQueue<'_, Self>,
        n: usize,
        entry: &mut dyn FnMut(usize) -> Entry128,
    ) -> Result<(), PushError>;
    unsafe fn reserve_128(
        queue: &mut SubmissionQueue<'_, Self>,
        entry: &Entry128,
        how_far: u8,
    ) -> Result<(), PushError>;
    /// Returns `false` if the kind has no such method.
    unsafe fn truncate(queue: &mut SubmissionQueue<'_, Self>, len: usize) -> bool;
    /// Removes entries without `unsafe`: until `len` are left, or all of them if the kind cannot
    /// keep some.
    fn truncate_safely<C: cqueue::Kind, H: Handle>(
        ring: &mut IoUring<Self, C, H>,
        len: usize,
    ) -> Result<(), Errno>;
    /// Submits the entries of the view with the view's own method.
    fn submit_view<H: Handle>(
        queue: &mut SubmissionQueue<'_, Self>,
        submitter: &Submitter<'_, H>,
    ) -> Result<usize, Errno>;
}

macro_rules! sqe128 {
    (yes) => {
        unsafe fn push_128(
            queue: &mut SubmissionQueue<'_, Self>,
            entry: &Entry128,
        ) -> Result<(), PushError> {
            // SAFETY: the caller's promise.
            unsafe { queue.push_any(entry) }
        }

        unsafe fn push_all_128(
            queue: &mut SubmissionQueue<'_, Self>,
            entries: &[Entry128],
        ) -> Result<(), PushError> {
            // SAFETY: the caller's promise.
            unsafe { queue.push_each(entries.len(), |i| entries[i]) }
        }

        unsafe fn push_each_128(
            queue: &mut SubmissionQueue<'_, Self>,
            n: usize,
            entry: &mut dyn FnMut(usize) -> Entry128,
        ) -> Result<(), PushError> {
            // SAFETY: the caller's promise.
            unsafe { queue.push_each(n, entry) }
        }

        unsafe fn reserve_128(
            queue: &mut SubmissionQueue<'_, Self>,
            entry: &Entry128,
            how_far: u8,
        ) -> Result<(), PushError> {
            let vacant = queue.reserve::<Entry128>()?;
            match how_far {
                0 => drop(vacant),
                1 => drop(vacant.write(*entry)),
                // SAFETY: the caller's promise.
                _ => unsafe { vacant.write(*entry).commit() },
            }
            Ok(())
        }
    };
    (no) => {
        unsafe fn push_128(
            _: &mut SubmissionQueue<'_, Self>,
            _: &Entry128,
        ) -> Result<(), PushError> {
            unreachable!("this ring has no 128-byte entries")
        }

        unsafe fn push_all_128(
            _: &mut SubmissionQueue<'_, Self>,
            _: &[Entry128],
        ) -> Result<(), PushError> {
            unreachable!("this ring has no 128-byte entries")
        }

        unsafe fn push_each_128(
            _: &mut SubmissionQueue<'_, Self>,
            _: usize,
            _: &mut dyn FnMut(usize) -> Entry128,
        ) -> Result<(), PushError> {
            unreachable!("this ring has no 128-byte entries")
        }

        unsafe fn reserve_128(
            _: &mut SubmissionQueue<'_, Self>,
            _: &Entry128,
            _: u8,
        ) -> Result<(), PushError> {
            unreachable!("this ring has no 128-byte entries")
        }
    };
}

macro_rules! truncate {
    (yes) => {
        unsafe fn truncate(queue: &mut SubmissionQueue<'_, Self>, len: usize) -> bool {
            // SAFETY: the caller's promise.
            unsafe { queue.truncate(len) };
            true
        }

        fn truncate_safely<C: cqueue::Kind, H: Handle>(
            ring: &mut IoUring<Self, C, H>,
            len: usize,
        ) -> Result<(), Errno> {
            ring.truncate(len)
        }
    };
    (no) => {
        unsafe fn truncate(_: &mut SubmissionQueue<'_, Self>, _: usize) -> bool {
            false
        }

        fn truncate_safely<C: cqueue::Kind, H: Handle>(
            ring: &mut IoUring<Self, C, H>,
            _: usize,
        ) -> Result<(), Errno> {
            ring.clear()
        }
    };
}

macro_rules! submit_view {
    (rewound) => {
        fn submit_view<H: Handle>(
            queue: &mut SubmissionQueue<'_, Self>,
            submitter: &Submitter<'_, H>,
        ) -> Result<usize, Errno> {
            queue.submit(submitter)
        }
    };
    (plain) => {
        fn submit_view<H: Handle>(
            queue: &mut SubmissionQueue<'_, Self>,
            submitter: &Submitter<'_, H>,
        ) -> Result<usize, Errno> {
            queue.sync();
            submitter.submit()
        }
    };
}

macro_rules! kinds {
    ($($S:ty: $sqe128:ident $truncate:ident $view:ident;)*) => { $(
        impl Kind for $S {
            sqe128! { $sqe128 }
            truncate! { $truncate }
            submit_view! { $view }
        }
    )* };
}
kinds! {
    Entry: no yes plain;
    Entry128: yes yes plain;
    Mixed: yes no plain;
    Rewind<Entry>: no yes rewound;
    Rewind<Entry128>: yes yes rewound;
    Rewind<Mixed>: yes no rewound;
}
