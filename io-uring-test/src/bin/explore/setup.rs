//! Ring setups: drawn from a few bytes, and written as Rust.

use std::fmt::Write as _;

use crate::model::cqueue::Size;
use crate::model::setup::{Attach, Entries, How, Setup, flag};

/// Every setter of the builder that sets a flag, and the call as Rust code.
pub(crate) const SETTERS: &[(u32, &str)] = &[
    (flag::IOPOLL, "setup_iopoll()"),
    (flag::SQPOLL, "setup_sqpoll(idle)"),
    (flag::SQ_AFF, "setup_sqpoll_cpu(0)"),
    (flag::CLAMP, "setup_clamp()"),
    (flag::R_DISABLED, "setup_r_disabled()"),
    (flag::SUBMIT_ALL, "setup_submit_all()"),
    (flag::COOP_TASKRUN, "setup_coop_taskrun()"),
    (flag::TASKRUN_FLAG, "setup_taskrun_flag()"),
    (flag::SINGLE_ISSUER, "setup_single_issuer()"),
    (flag::DEFER_TASKRUN, "setup_defer_taskrun()"),
    (flag::NO_SQARRAY, "setup_no_sqarray()"),
    (flag::HYBRID_IOPOLL, "setup_hybrid_iopoll()"),
];

/// Adds SQPOLL, and removes what a ring cannot have together with it.
pub(crate) fn sqpoll(flags: u32) -> u32 {
    let excluded = flag::COOP_TASKRUN | flag::TASKRUN_FLAG | flag::DEFER_TASKRUN;
    flags & !excluded | flag::SQPOLL
}

impl Setup {
    /// Draws a setup from bytes. Zeros make the simplest ring.
    pub(crate) fn of(raw: [u8; 8]) -> Self {
        let [kind, sizes, flags, rare, how, array, settings, cq] = raw;
        let mut set = 0;
        // These flags change the behavior most.
        if flags & 3 == 1 {
            set |= flag::SINGLE_ISSUER | flag::DEFER_TASKRUN;
        }
        if flags & 3 == 2 {
            set |= flag::COOP_TASKRUN;
        }
        if flags & 4 != 0 && flags & 3 != 0 {
            set |= flag::TASKRUN_FLAG;
        }
        if flags & 8 != 0 {
            set |= flag::SUBMIT_ALL;
        }
        if flags & 0x30 == 0x30 {
            set |= flag::SINGLE_ISSUER;
        }
        if flags & 0xc0 == 0xc0 {
            set |= flag::NO_SQARRAY;
        }
        match rare {
            0..176 => {}
            176..186 if flags & 3 == 3 => set = sqpoll(set) | flag::IOPOLL,
            176..186 => set |= flag::IOPOLL,
            186..192 => set = sqpoll(set),
            192..220 => set |= flag::R_DISABLED,
            220..230 => set |= flag::CLAMP,
            _ => set |= SETTERS[usize::from(rare) % SETTERS.len()].0,
        }
        if cq & 1 != 0 {
            set |= flag::CQSIZE;
        }
        let attach = (settings & 0x3c == 0x3c).then_some(match array & 3 {
            0 | 1 => Attach::Ring { sqpoll: false },
            2 => Attach::File,
            _ => Attach::Nothing,
        });
        if attach.is_some() && array & 4 != 0 {
            set = sqpoll(set);
        }
        let how = match how {
            0..130 => How::Build,
            130..180 => How::Local,
            180..210 => How::In,
            210..230 => How::RegisteredIn,
            _ => How::FromFd,
        };
        // The memory for the ring has a fixed number of pages.
        let in_memory = matches!(how, How::In | How::RegisteredIn);
        let entries = match sizes {
            253.. if in_memory => 8,
            255 => 0,
            254 => 32769,
            253 => u32::MAX,
            _ => 1 + u32::from(sizes % 8),
        };
        let kind = if kind & 0x80 == 0 { 0 } else { kind & 0x7f };
        Self {
            sq: [Entries::Sqe64, Entries::Sqe128, Entries::Both][usize::from(kind % 3)],
            rewound: kind / 3 % 3 == 1,
            cq: [Size::Small, Size::Big, Size::Mixed][usize::from(kind / 9 % 3)],
            how,
            entries,
            cq_entries: match cq {
                255 => 0,
                253 if !in_memory => u32::MAX,
                _ => 1 + u32::from(cq / 2 % 16),
            },
            flags: set,
            attach,
            joins: settings & 0x10 != 0,
            wq_fd: -1,
            sleeps: settings & 12 == 0,
            sqarray: array >= 192,
            dontfork: settings & 0xc0 == 0xc0,
            post_pad_cqes: settings & 3 == 3,
        }
    }

    /// The time in milliseconds after which the SQPOLL thread sleeps.
    pub(crate) fn idle(&self) -> u32 {
        if self.sleeps { 1 } else { 3_600_000 }
    }

    pub(crate) fn types(&self) -> (&'static str, &'static str) {
        let sq = match (self.sq, self.rewound) {
            (Entries::Sqe64, false) => "squeue::Entry",
            (Entries::Sqe128, false) => "squeue::Entry128",
            (Entries::Both, false) => "squeue::Mixed",
            (Entries::Sqe64, true) => "squeue::Rewind<squeue::Entry>",
            (Entries::Sqe128, true) => "squeue::Rewind<squeue::Entry128>",
            (Entries::Both, true) => "squeue::Rewind<squeue::Mixed>",
        };
        let cq = match self.cq {
            Size::Small => "cqueue::Entry",
            Size::Big => "cqueue::Entry32",
            Size::Mixed => "cqueue::Mixed",
        };
        (sq, cq)
    }

    /// The Rust statements that make the ring.
    pub(crate) fn code(&self, name: &str) -> String {
        let (sq, cq) = self.types();
        let mut code = format!("let mut builder = IoUring::<{sq}, {cq}>::builder();\n");
        for (flag, call) in SETTERS {
            if self.flags & flag != 0 {
                let _ = writeln!(code, "builder.{call};");
            }
        }
        if self.flags & flag::SQPOLL != 0 {
            code = format!("let idle = {};\n{code}", self.idle());
        }
        if let Some(attach) = self.attach {
            let fd = match attach {
                Attach::Ring { .. } if name == "ring" => "other.as_raw_fd()",
                Attach::Ring { .. } => "ring.as_raw_fd()",
                Attach::File => "pipes[0].0.as_raw_fd()",
                Attach::Nothing => "-1",
            };
            let _ = writeln!(code, "unsafe {{ builder.setup_attach_wq({fd}) }};");
        }
        if self.flags & flag::CQSIZE != 0 {
            let _ = writeln!(code, "builder.setup_cqsize({});", self.cq_entries);
        }
        for (set, call) in [
            (self.sqarray, "sqarray"),
            (self.dontfork, "dontfork"),
            (self.post_pad_cqes, "post_pad_cqes"),
        ] {
            if set {
                let _ = writeln!(code, "builder.{call}();");
            }
        }
        let entries = self.entries;
        let _ = match self.how {
            How::Build => writeln!(code, "let mut {name} = builder.build({entries});"),
            How::Local => writeln!(code, "let mut {name} = builder.build_local({entries});"),
            How::In => writeln!(
                code,
                "let mut {name} = unsafe {{ builder.build_in_memory({entries}, dirty_pages()) }};"
            ),
            How::RegisteredIn => {
                writeln!(
                    code,
                    "let mut {name} = unsafe {{ builder.build_registered_in_memory({entries}, dirty_pages()) }};"
                )
            }
            How::FromFd => writeln!(
                code,
                "let first = builder.build({entries});\n\
                 let mut {name} = first.and_then(|first| {{\n    let fd = first.as_fd().try_clone_to_owned().unwrap();\n    \
                 let params = *first.params();\n    drop(first);\n    unsafe {{ IoUring::<{sq}, {cq}>::from_fd(fd, params) }}\n}});"
            ),
        };
        code
    }
}
