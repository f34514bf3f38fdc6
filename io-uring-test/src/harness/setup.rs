//! The setup of a ring, independent of its kind.

use std::fmt;

use anyhow::Context;
use rustix::io_uring::{IoringSetupFlags, io_uring_ptr, io_uring_setup};
use rustix::param::page_size;
use rustix_uring::sys::io_uring_params;
use rustix_uring::{Builder, Errno, IoUring, Parameters, SetupFlags, cqueue, squeue};

use super::memory::Pages;
use super::outcome::Result;

/// The queue sizes and the setup flags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) entries: u32,
    cq_entries: u32,
    pub(super) flags: SetupFlags,
}

impl Setup {
    pub(crate) const USUAL: Self = Self::new(16);

    pub(crate) const fn new(entries: u32) -> Self {
        Self { entries, cq_entries: 2 * entries, flags: SetupFlags::empty() }
    }

    pub(crate) const fn flags(mut self, flags: SetupFlags) -> Self {
        self.flags = self.flags.union(flags);
        self
    }

    pub(crate) const fn cq_entries(mut self, entries: u32) -> Self {
        self.cq_entries = entries;
        self.flags(SetupFlags::CQSIZE)
    }

    pub(super) fn builder<S: squeue::Kind, C: cqueue::Kind>(&self) -> Builder<S, C> {
        let mut builder = IoUring::<S, C>::builder();
        for flag in self.flags {
            match flag {
                SetupFlags::IOPOLL => builder.setup_iopoll(),
                SetupFlags::HYBRID_IOPOLL => builder.setup_hybrid_iopoll(),
                SetupFlags::SQPOLL => builder.setup_sqpoll(0),
                SetupFlags::SQ_AFF => builder.setup_sqpoll_cpu(0),
                SetupFlags::CQSIZE => builder.setup_cqsize(self.cq_entries),
                SetupFlags::CLAMP => builder.setup_clamp(),
                SetupFlags::R_DISABLED => builder.setup_r_disabled(),
                SetupFlags::SUBMIT_ALL => builder.setup_submit_all(),
                SetupFlags::COOP_TASKRUN => builder.setup_coop_taskrun(),
                SetupFlags::TASKRUN_FLAG => builder.setup_taskrun_flag(),
                SetupFlags::SINGLE_ISSUER => builder.setup_single_issuer(),
                SetupFlags::DEFER_TASKRUN => builder.setup_defer_taskrun(),
                SetupFlags::NO_SQARRAY => builder.setup_no_sqarray(),
                other => panic!("cannot set up a ring with {other:?} by its flag"),
            };
        }
        builder
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with(self.flags))
    }
}

/// Describes flags in words.
pub(super) fn with(flags: SetupFlags) -> String {
    let names: Vec<_> = flags.iter_names().map(|(name, _)| name).collect();
    if names.is_empty() { "without flags".into() } else { format!("with {}", names.join(" | ")) }
}

/// The errno with which the kernel rejects a ring that has these flags, if it does. The function
/// does not use the crate, so that a fault of the crate is not taken for a rejection by the kernel.
pub(crate) fn refusal(flags: SetupFlags) -> Result<Option<Errno>> {
    let rewinds = flags.contains(SetupFlags::SQ_REWIND);
    let flags = if rewinds { flags.union(SetupFlags::NO_SQARRAY) } else { flags };
    let pages = Pages::new(2 * page_size())?;
    let mut params = rustix::io_uring::io_uring_params::default();
    params.flags = IoringSetupFlags::from_bits_retain(flags.bits());
    params.cq_entries = 16;
    if flags.contains(SetupFlags::NO_MMAP) {
        let page = |n: usize| pages.all().cast::<u8>().as_ptr().wrapping_add(n * page_size());
        params.cq_off.user_addr = io_uring_ptr::new(page(0).cast());
        params.sq_off.user_addr = io_uring_ptr::new(page(1).cast());
    }
    // SAFETY: one page is enough for each region of such a small ring, and the ring is closed at
    // once.
    match unsafe { io_uring_setup(8, &mut params) } {
        Ok(_) => Ok(None),
        Err(Errno::INVAL) => Ok(Some(Errno::INVAL)),
        // Before 5.11, SQPOLL required a privilege.
        Err(Errno::PERM) if flags.contains(SetupFlags::SQPOLL) => Ok(Some(Errno::PERM)),
        Err(e) => Err(e).context(format!("setup {}", with(flags))),
    }
}

/// The parameters as the kernel's struct.
pub(crate) fn raw(params: &Parameters) -> io_uring_params {
    // SAFETY: both types have the same size, and every bit pattern is a valid `io_uring_params`.
    unsafe { std::mem::transmute(params.to_bytes()) }
}

/// Returns the value after a change.
pub(crate) fn altered<T>(mut it: T, alter: impl FnOnce(&mut T)) -> T {
    alter(&mut it);
    it
}

/// Returns a copy of a ring's parameters with a change, as another process might pass them.
pub(crate) fn altered_params(
    params: &Parameters,
    alter: impl FnOnce(&mut io_uring_params),
) -> Parameters {
    let raw = altered(raw(params), alter);
    // SAFETY: the struct has the same size and no padding.
    Parameters::from_bytes(unsafe { std::mem::transmute::<io_uring_params, [u8; 120]>(raw) })
}
