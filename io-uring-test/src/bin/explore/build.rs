//! Sets up rings of every kind from a description.

use std::ptr::{self, NonNull};

use anyhow::{Context, Result};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix_uring::squeue::{self, Rewind};
use rustix_uring::{Builder, Errno, IoUring, cqueue};

use crate::completions::CKind;
use crate::model::cqueue::Size;
use crate::model::setup::{Entries, How, Setup, flag};
use crate::queue::Kind;
use crate::real::{self, Ring};

/// Pages for a ring. They were used for something else before.
pub(crate) struct Pages(NonNull<[u8]>);

impl Pages {
    const LEN: usize = 16 * 4096;

    pub(crate) fn new() -> Result<Self> {
        // SAFETY: without an address hint, the kernel chooses unused addresses.
        let start = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                Self::LEN,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let start =
            NonNull::new(start.cast::<u8>()).context("the kernel mapped memory at address 0")?;
        // SAFETY: the pages are ours, and have this length.
        unsafe { start.write_bytes(0xa5, 4 * 4096) };
        Ok(Self(NonNull::slice_from_raw_parts(start, Self::LEN)))
    }

    /// All of the pages.
    pub(crate) fn all(&self) -> NonNull<[u8]> {
        self.0
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours. At most a ring used it, and its memory may be unmapped at
        // any time.
        let _ = unsafe { munmap(self.0.cast().as_ptr(), Self::LEN) };
    }
}

/// Whether rings can use pages of the usual size.
pub(crate) fn takes_small_pages() -> Result<bool> {
    let pages = Pages::new()?;
    // SAFETY: the memory is ours, and is unmapped after the ring is dropped.
    Ok(unsafe { <IoUring>::builder().build_in_memory(4, pages.0) }.is_ok())
}

/// A ring or an errno, and the memory of the ring.
pub(crate) type Built = (Result<Box<dyn Ring>, Errno>, Option<Pages>);

pub(crate) fn build(setup: &Setup) -> Result<Built> {
    let memory = matches!(setup.how, How::In | How::RegisteredIn).then(Pages::new).transpose()?;
    let pages = memory.as_ref().map(|pages| pages.0);
    let ring = match (setup.sq, setup.rewound) {
        (Entries::Sqe64, false) => by_completion::<squeue::Entry>(setup, pages),
        (Entries::Sqe128, false) => by_completion::<squeue::Entry128>(setup, pages),
        (Entries::Both, false) => by_completion::<squeue::Mixed>(setup, pages),
        (Entries::Sqe64, true) => by_completion::<Rewind<squeue::Entry>>(setup, pages),
        (Entries::Sqe128, true) => by_completion::<Rewind<squeue::Entry128>>(setup, pages),
        (Entries::Both, true) => by_completion::<Rewind<squeue::Mixed>>(setup, pages),
    };
    Ok((ring, memory))
}

fn by_completion<S: Kind>(
    setup: &Setup,
    pages: Option<NonNull<[u8]>>,
) -> Result<Box<dyn Ring>, Errno> {
    match setup.cq {
        Size::Small => of_kind::<S, cqueue::Entry>(setup, pages),
        Size::Big => of_kind::<S, cqueue::Entry32>(setup, pages),
        Size::Mixed => of_kind::<S, cqueue::Mixed>(setup, pages),
    }
}

fn of_kind<S: Kind, C: CKind>(
    setup: &Setup,
    pages: Option<NonNull<[u8]>>,
) -> Result<Box<dyn Ring>, Errno> {
    let builder = builder::<S, C>(setup);
    let entries = setup.entries;
    match (setup.how, pages) {
        (How::Local, _) => builder.build_local(entries).map(real::local),
        (How::FromFd, _) => real::anew(&builder, entries),
        (how, Some(memory)) => {
            // SAFETY: the memory is ours, and outlives the ring. It is unmapped afterwards.
            unsafe { real::in_memory(&builder, entries, memory, how == How::RegisteredIn) }
        }
        _ => builder.build(entries).map(real::shared),
    }
}

fn builder<S: Kind, C: CKind>(setup: &Setup) -> Builder<S, C> {
    let mut builder = IoUring::<S, C>::builder();
    for bit in (0..32).map(|bit| 1 << bit).filter(|bit| setup.flags & bit != 0) {
        match bit {
            flag::IOPOLL => builder.setup_iopoll(),
            flag::SQPOLL => builder.setup_sqpoll(setup.idle()),
            flag::SQ_AFF => builder.setup_sqpoll_cpu(0),
            flag::CQSIZE => builder.setup_cqsize(setup.cq_entries),
            flag::CLAMP => builder.setup_clamp(),
            flag::R_DISABLED => builder.setup_r_disabled(),
            flag::SUBMIT_ALL => builder.setup_submit_all(),
            flag::COOP_TASKRUN => builder.setup_coop_taskrun(),
            flag::TASKRUN_FLAG => builder.setup_taskrun_flag(),
            flag::SINGLE_ISSUER => builder.setup_single_issuer(),
            flag::DEFER_TASKRUN => builder.setup_defer_taskrun(),
            flag::NO_SQARRAY => builder.setup_no_sqarray(),
            flag::HYBRID_IOPOLL => builder.setup_hybrid_iopoll(),
            _ => unreachable!("no setter sets bit {bit:#x}"),
        };
    }
    if setup.attach.is_some() {
        // SAFETY: the descriptor is that of the other ring, or the kernel rejects it.
        unsafe { builder.setup_attach_wq(setup.wq_fd) };
    }
    if setup.sqarray {
        builder.sqarray();
    }
    if setup.dontfork {
        builder.dontfork();
    }
    if setup.post_pad_cqes {
        builder.post_pad_cqes();
    }
    builder
}
