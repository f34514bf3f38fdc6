//! Setting up a ring: what the kernel rejects, and how it adjusts the rest.

use super::cqueue::Size;
use super::errno::*;
use super::kernel::Kernel;

/// The setup flags, with the kernel's values.
pub(crate) mod flag {
    pub(crate) const IOPOLL: u32 = 1 << 0;
    pub(crate) const SQPOLL: u32 = 1 << 1;
    pub(crate) const SQ_AFF: u32 = 1 << 2;
    pub(crate) const CQSIZE: u32 = 1 << 3;
    pub(crate) const CLAMP: u32 = 1 << 4;
    pub(crate) const ATTACH_WQ: u32 = 1 << 5;
    pub(crate) const R_DISABLED: u32 = 1 << 6;
    pub(crate) const SUBMIT_ALL: u32 = 1 << 7;
    pub(crate) const COOP_TASKRUN: u32 = 1 << 8;
    pub(crate) const TASKRUN_FLAG: u32 = 1 << 9;
    pub(crate) const SQE128: u32 = 1 << 10;
    pub(crate) const CQE32: u32 = 1 << 11;
    pub(crate) const SINGLE_ISSUER: u32 = 1 << 12;
    pub(crate) const DEFER_TASKRUN: u32 = 1 << 13;
    pub(crate) const NO_MMAP: u32 = 1 << 14;
    pub(crate) const REGISTERED_FD_ONLY: u32 = 1 << 15;
    pub(crate) const NO_SQARRAY: u32 = 1 << 16;
    pub(crate) const HYBRID_IOPOLL: u32 = 1 << 17;
    pub(crate) const CQE_MIXED: u32 = 1 << 18;
    pub(crate) const SQE_MIXED: u32 = 1 << 19;
    pub(crate) const SQ_REWIND: u32 = 1 << 20;
}
use flag::*;

/// The sizes of entries in the submission queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entries {
    Sqe64,
    Sqe128,
    Both,
}

/// The call that makes a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Build,
    /// `build_local`, which retries with fewer and fewer flags.
    Local,
    /// In the program's memory.
    In,
    /// In the program's memory, without a descriptor.
    RegisteredIn,
    /// The ring is built, and then made again from its descriptor and parameters.
    FromFd,
}

/// The file whose worker threads and SQPOLL thread the ring is to share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attach {
    /// The other ring.
    Ring { sqpoll: bool },
    /// A file that is no ring.
    File,
    /// The descriptor is not open.
    Nothing,
}

/// The ring that a program asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) sq: Entries,
    pub(crate) rewound: bool,
    pub(crate) cq: Size,
    pub(crate) how: How,
    pub(crate) entries: u32,
    pub(crate) cq_entries: u32,
    /// The flags that the setters of the builder have set.
    pub(crate) flags: u32,
    pub(crate) attach: Option<Attach>,
    /// If the other ring has an SQPOLL thread, the ring is to share it.
    pub(crate) joins: bool,
    /// The descriptor that this means.
    pub(crate) wq_fd: i32,
    /// The SQPOLL thread sleeps as soon as it is idle. Otherwise, it stays awake.
    pub(crate) sleeps: bool,
    pub(crate) sqarray: bool,
    pub(crate) dontfork: bool,
    pub(crate) post_pad_cqes: bool,
}

/// The ring that the program gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Built {
    pub(crate) sq_entries: u32,
    pub(crate) cq_entries: u32,
    pub(crate) flags: u32,
    pub(crate) mixed_sq: bool,
    pub(crate) accepts_sqe128: bool,
    pub(crate) rewound: bool,
    pub(crate) post_pad_cqes: bool,
    pub(crate) cqe: Size,
    pub(crate) submit_all: bool,
    pub(crate) taskrun_flag: bool,
    pub(crate) defers: bool,
    pub(crate) disabled: bool,
    /// The queues are in the program's memory.
    pub(crate) in_memory: bool,
    pub(crate) dontfork: bool,
    /// The type of the ring binds it to its task.
    pub(crate) local: bool,
    /// Calls name the ring by a registered index.
    pub(crate) registered: bool,
    pub(crate) descriptor: bool,
}

impl Setup {
    /// The flags that follow from the kinds of queue.
    fn kind(&self) -> u32 {
        let sq = match self.sq {
            Entries::Sqe64 => 0,
            Entries::Sqe128 => SQE128,
            Entries::Both => SQE_MIXED,
        };
        let cq = match self.cq {
            Size::Small => 0,
            Size::Big => CQE32,
            Size::Mixed => CQE_MIXED,
        };
        let attach = if self.attach.is_some() { ATTACH_WQ } else { 0 };
        sq | cq | attach | if self.rewound { SQ_REWIND | NO_SQARRAY } else { 0 }
    }
}

/// How the kernel answers a setup call with these flags and sizes.
fn ask(
    kernel: &Kernel,
    attach: Option<Attach>,
    flags: u32,
    entries: u32,
    cq_entries: u32,
) -> Result<(u32, u32), i32> {
    let has = |flag: u32| flags & flag != 0;
    let refused = flags & !(kernel.setup | ATTACH_WQ) != 0
        || has(HYBRID_IOPOLL) && !has(IOPOLL)
        || has(SQPOLL) && has(COOP_TASKRUN | TASKRUN_FLAG | DEFER_TASKRUN)
        || has(TASKRUN_FLAG) && !has(COOP_TASKRUN | DEFER_TASKRUN)
        || has(DEFER_TASKRUN) && !has(SINGLE_ISSUER)
        || has(REGISTERED_FD_ONLY) && !has(NO_MMAP)
        || has(SQ_REWIND) && (has(SQPOLL) || !has(NO_SQARRAY));
    if refused {
        return Err(EINVAL);
    }
    let (sq, cq) = sizes(entries, has(CQSIZE).then_some(cq_entries), has(CLAMP))?;
    // A mixed queue must have room for a big entry or completion.
    if has(SQE_MIXED) && sq < 2 || has(CQE_MIXED) && cq < 2 {
        return Err(EOVERFLOW);
    }
    // The kernel checks the rest last, when it would start the thread.
    match attach {
        Some(Attach::Nothing) => return Err(ENXIO),
        Some(Attach::File) => return Err(EINVAL),
        // There is no thread to share. Worker threads belong to the task, not to the ring, so that a
        // ring without a thread shares them anyway.
        Some(Attach::Ring { sqpoll: false }) if has(SQPOLL) => return Err(EINVAL),
        _ => {}
    }
    if has(SQ_AFF) && !has(SQPOLL) {
        return Err(EINVAL);
    }
    Ok((sq, cq))
}

/// Sizes are rounded up to a power of two. The completion queue has twice as many slots if not given,
/// and never fewer.
pub(crate) fn sizes(entries: u32, cq_entries: Option<u32>, clamp: bool) -> Result<(u32, u32), i32> {
    let size = |entries: u32, max: u32| match entries {
        0 => Err(EINVAL),
        _ if entries <= max => Ok(entries.next_power_of_two()),
        _ if clamp => Ok(max),
        _ => Err(EINVAL),
    };
    let sq = size(entries, 32768)?;
    let cq = cq_entries.map_or(Ok(2 * sq), |entries| size(entries, 65536))?;
    if cq < sq { Err(EINVAL) } else { Ok((sq, cq)) }
}

impl Setup {
    /// Predicts the ring that the program gets, or the error.
    pub(crate) fn predict(&self, kernel: &Kernel) -> Result<Built, i32> {
        if self.how == How::Local {
            return self.predict_local(kernel);
        }
        let memory = match self.how {
            How::In => NO_MMAP,
            How::RegisteredIn => NO_MMAP | REGISTERED_FD_ONLY,
            _ => 0,
        };
        if memory != 0 {
            // The library checks the sizes first, because it must know how much memory the ring
            // needs.
            sizes(
                self.entries,
                (self.flags & CQSIZE != 0).then_some(self.cq_entries),
                self.flags & CLAMP != 0,
            )?;
        }
        let flags = self.flags | self.kind() | memory;
        let asked = if self.sqarray { flags } else { flags | NO_SQARRAY };
        let answer = ask(kernel, self.attach, asked, self.entries, self.cq_entries);
        let (flags, sizes) = match answer {
            // The library retries with an index array, unless the program explicitly asked for an
            // array or for none.
            Err(EINVAL) if !self.sqarray && flags & NO_SQARRAY == 0 => {
                (flags, ask(kernel, self.attach, flags, self.entries, self.cq_entries)?)
            }
            answer => (asked, answer?),
        };
        Ok(self.built(flags, sizes))
    }

    fn predict_local(&self, kernel: &Kernel) -> Result<Built, i32> {
        let defer = SINGLE_ISSUER | DEFER_TASKRUN;
        for more in [defer | NO_SQARRAY, defer, COOP_TASKRUN | SINGLE_ISSUER, COOP_TASKRUN, 0] {
            let mut flags = self.flags | self.kind() | more;
            if flags & (DEFER_TASKRUN | COOP_TASKRUN) == 0 {
                flags &= !TASKRUN_FLAG;
            }
            match ask(kernel, self.attach, flags, self.entries, self.cq_entries) {
                Err(EINVAL) => {}
                answer => {
                    let mut built = self.built(flags, answer?);
                    (built.local, built.registered) = (true, kernel.ring_fds);
                    return Ok(built);
                }
            }
        }
        Err(EINVAL)
    }

    fn built(&self, flags: u32, (sq_entries, cq_entries): (u32, u32)) -> Built {
        let index_only = self.how == How::RegisteredIn;
        Built {
            sq_entries,
            cq_entries,
            flags,
            mixed_sq: self.sq == Entries::Both,
            accepts_sqe128: self.sq != Entries::Sqe64,
            rewound: self.rewound,
            // Neither setting is part of the parameters.
            post_pad_cqes: self.post_pad_cqes && self.how != How::FromFd,
            dontfork: self.dontfork && self.how != How::FromFd,
            cqe: self.cq,
            submit_all: flags & SUBMIT_ALL != 0,
            taskrun_flag: flags & TASKRUN_FLAG != 0,
            defers: flags & DEFER_TASKRUN != 0,
            disabled: flags & R_DISABLED != 0,
            in_memory: flags & NO_MMAP != 0,
            local: index_only,
            registered: index_only,
            descriptor: !index_only,
        }
    }
}
