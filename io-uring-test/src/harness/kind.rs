//! The kinds of ring, in one list.

use std::fmt;
use std::ptr::NonNull;

use anyhow::Context;
use rustix::io_uring::{IoringSetupFlags, io_uring_params, io_uring_ptr, io_uring_setup};
use rustix::param::page_size;
use rustix_uring::mock::Script;
use rustix_uring::squeue::{self, Rewind};
use rustix_uring::{Builder, Errno, IoUring, SetupFlags, cqueue};

use super::queue::QueueKind;
use super::ring::Kinded;
use super::{Completion, Pages, Result, Ring};

/// How a ring is set up, whatever its kind.
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

    fn builder<S: squeue::Kind, C: cqueue::Kind>(&self) -> Builder<S, C> {
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
                other => panic!("no case sets {other:?} up by its flag"),
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

/// Flags in words.
pub(super) fn with(flags: SetupFlags) -> String {
    let names: Vec<_> = flags.iter_names().map(|(name, _)| name).collect();
    if names.is_empty() { "without flags".into() } else { format!("with {}", names.join(" | ")) }
}

/// A kind of ring: which submission queue, which completion queue.
pub(crate) struct Kind {
    /// The sizes of the entries: `64x16` is the default kind.
    pub(crate) name: &'static str,
    /// Those that make it this kind.
    pub(crate) flags: SetupFlags,
    build: Build,
    build_in_memory: BuildIn,
    memory_size: fn(&Setup) -> Result<usize, Errno>,
    mock: fn(&Setup) -> Result<(), Errno>,
}

impl Kind {
    pub(crate) fn build(&'static self, setup: &Setup) -> Result<Box<dyn Ring>, Errno> {
        (self.build)(self, setup)
    }

    /// # Safety
    ///
    /// That of [`Builder::build_in_memory`].
    pub(crate) unsafe fn build_in_memory(
        &'static self,
        setup: &Setup,
        memory: NonNull<[u8]>,
    ) -> Result<Box<dyn Ring>, Errno> {
        // SAFETY: the caller's promise.
        unsafe { (self.build_in_memory)(self, setup, memory) }
    }

    pub(crate) fn memory_size(&self, setup: &Setup) -> Result<usize, Errno> {
        (self.memory_size)(setup)
    }

    /// Whether the mock kernel sets such a ring up.
    pub(crate) fn mock(&self, setup: &Setup) -> Result<(), Errno> {
        (self.mock)(setup)
    }
}

/// With what the kernel refuses a ring that has these flags, if it does. It is asked without the
/// crate, whose faults must not pass for the kernel's.
pub(crate) fn refusal(flags: SetupFlags) -> Result<Option<Errno>> {
    let rewinds = flags.contains(SetupFlags::SQ_REWIND);
    let flags = if rewinds { flags.union(SetupFlags::NO_SQARRAY) } else { flags };
    let pages = Pages::new(2 * page_size())?;
    let mut params = io_uring_params::default();
    params.flags = IoringSetupFlags::from_bits_retain(flags.bits());
    params.cq_entries = 16;
    if flags.contains(SetupFlags::NO_MMAP) {
        let page = |n: usize| pages.all().cast::<u8>().as_ptr().wrapping_add(n * page_size());
        params.cq_off.user_addr = io_uring_ptr::new(page(0).cast());
        params.sq_off.user_addr = io_uring_ptr::new(page(1).cast());
    }
    // SAFETY: a page is enough for each side of so small a ring, which is closed at once.
    match unsafe { io_uring_setup(8, &mut params) } {
        Ok(_) => Ok(None),
        Err(Errno::INVAL) => Ok(Some(Errno::INVAL)),
        // Before 5.11, a polling thread was a privilege.
        Err(Errno::PERM) if flags.contains(SetupFlags::SQPOLL) => Ok(Some(Errno::PERM)),
        Err(e) => Err(e).context(format!("setup {}", with(flags))),
    }
}

type Build = fn(&'static Kind, &Setup) -> Result<Box<dyn Ring>, Errno>;
type BuildIn = unsafe fn(&'static Kind, &Setup, NonNull<[u8]>) -> Result<Box<dyn Ring>, Errno>;

macro_rules! kinds {
    ($($sq:literal: $S:ty, $($flag:ident)|*;)*) => {
        &[$(
            kind!(concat!($sq, "x16"), $S, cqueue::Entry, $($flag)|*),
            kind!(concat!($sq, "x32"), $S, cqueue::Entry32, $($flag |)* CQE32),
            kind!(concat!($sq, "xmixed"), $S, cqueue::Mixed, $($flag |)* CQE_MIXED),
        )*]
    };
}
macro_rules! kind {
    ($name:expr, $S:ty, $C:ty, $($flag:ident)|*) => {
        Kind {
            name: $name,
            flags: SetupFlags::empty()$(.union(SetupFlags::$flag))*,
            build: build::<$S, $C>,
            build_in_memory: build_in_memory::<$S, $C>,
            memory_size: |setup| setup.builder::<$S, $C>().memory_size(setup.entries),
            mock: |setup| {
                let builder = setup.builder::<$S, $C>();
                // SAFETY: the default script keeps the contract.
                unsafe { builder.build_mock(setup.entries, Script::default()) }.map(drop)
            },
        }
    };
}

/// Every kind of ring that the crate has.
pub(crate) static KINDS: &[Kind] = kinds! {
    "64": squeue::Entry, ;
    "128": squeue::Entry128, SQE128;
    "mixed": squeue::Mixed, SQE_MIXED;
    "rewind64": Rewind<squeue::Entry>, SQ_REWIND;
    "rewind128": Rewind<squeue::Entry128>, SQE128 | SQ_REWIND;
    "rewindmixed": Rewind<squeue::Mixed>, SQE_MIXED | SQ_REWIND;
};

fn build<S: QueueKind, C>(kind: &'static Kind, setup: &Setup) -> Result<Box<dyn Ring>, Errno>
where
    C: cqueue::Kind + Into<Completion>,
{
    let ring = setup.builder::<S, C>().build(setup.entries)?;
    Ok(Box::new(Kinded { kind, ring }))
}

/// # Safety
///
/// That of [`Builder::build_in_memory`].
unsafe fn build_in_memory<S: QueueKind, C>(
    kind: &'static Kind,
    setup: &Setup,
    memory: NonNull<[u8]>,
) -> Result<Box<dyn Ring>, Errno>
where
    C: cqueue::Kind + Into<Completion>,
{
    // SAFETY: the caller's promise.
    let ring = unsafe { setup.builder::<S, C>().build_in_memory(setup.entries, memory) }?;
    Ok(Box::new(Kinded { kind, ring }))
}
