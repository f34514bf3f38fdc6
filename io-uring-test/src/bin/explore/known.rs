//! Known faults of kernels: which kernels have them, how the model accounts for them, and how they
//! were reproduced.
//!
//! Only this module uses the kernel's version. Everything else asks the kernel what it supports.

/// The known faults of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) version: (u32, u32),
}

/// A row of the table.
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// The first version with the fault, and the first version without it, if it was fixed.
    pub(crate) from: (u32, u32),
    pub(crate) until: Option<(u32, u32)>,
    /// How the model accounts for the fault.
    pub(crate) model: &'static str,
    /// A program that shows the fault.
    pub(crate) reproduction: &'static str,
}

pub(crate) static FAULTS: &[Fault] = &[
    Fault {
        name: "overtaken_drain",
        // Seen on 5.10, and not on 6.1.
        from: (5, 1),
        until: Some((6, 1)),
        model: "only NOPs that the kernel accepts are submitted after a drain",
        reproduction: "submit two NOPs, a NOP with IO_DRAIN, and an entry that is refused: the refusal is \
                       posted at once, and the drain, which waits until exactly two completions were \
                       posted, waits for ever",
    },
    Fault {
        name: "counted_refusal",
        // Seen on 6.1 and 6.12, and not on 6.16.
        from: (5, 1),
        until: Some((6, 16)),
        model: "no entry that the kernel rejects is submitted with or after a drain",
        reproduction: "submit a timeout and a NOP with IO_DRAIN, and then an entry with an unknown opcode: \
                       its completion is counted as that of the timeout, and the drain runs while that \
                       still waits; with two such entries, it never does, whatever becomes of the timeout",
    },
    Fault {
        name: "register_waits",
        from: (5, 1),
        until: Some((5, 18)),
        model: "rings are restricted and enabled only while nothing is in flight",
        reproduction: "submit a read of an empty pipe, then call register_enable_rings, or register \
                       anything but personalities, a probe, and updates of the table of files: the \
                       kernel waits for the end of everything that is in flight",
    },
    Fault {
        name: "uncounted",
        from: (5, 17),
        until: Some((6, 16)),
        model: "no entry with an unknown opcode is silent",
        reproduction: "submit an entry with an unknown opcode and SKIP_SUCCESS that is linked to another \
                       entry, then a NOP with IO_DRAIN: the opcode is refused before the flag is looked \
                       at, so that draining stays allowed; but the second entry posts nothing, and the \
                       drain, which counts completions, waits for it for ever",
    },
    Fault {
        name: "silent_big",
        from: (6, 18),
        until: None,
        model: "no silent entry has a completion of 32 bytes",
        reproduction: "on a ring with completions of 32 bytes, submit a silent NOP with 16 bytes more \
                       (`Nop::big_cqe`, SKIP_SUCCESS), then plain ones: one of them completes with these \
                       bytes, which stay in the request that is used again",
    },
    Fault {
        name: "message_32",
        from: (6, 18),
        until: None,
        model: "no message with the 32-byte flag goes to a ring whose completions have one size",
        reproduction: "send a message with user flags IORING_CQE_F_32 to a ring with completions of 16 \
                       bytes of which the last slot is the next: the kernel fills that slot with \
                       something to be skipped, as if the queue were mixed, and the program sees a \
                       completion that nobody sent",
    },
    Fault {
        name: "stale_big",
        from: (6, 18),
        until: None,
        model: "bytes beyond the first 16 are not compared in messages and in multishot completions but the last",
        reproduction: "on a ring with completions of 32 bytes in dirty memory, let a multishot poll \
                       complete: its last 16 bytes are what was in the slot before",
    },
    Fault {
        name: "mixed_wait",
        from: (6, 18),
        until: None,
        model: "no wait on a mixed completion queue is for all of its slots",
        reproduction: "let a mixed completion queue have one slot left, and a completion of 32 bytes wait \
                       in the kernel for two; then wait for as many as there are slots: the kernel goes \
                       round in io_cqring_wait for ever, and no signal ends it, SIGKILL included",
    },
    Fault {
        name: "mixed_overfull",
        from: (6, 18),
        until: None,
        model: "32-byte completions come to a mixed queue only if it has free slots for all possible completions",
        reproduction: "let a mixed completion queue have one slot left, which is the last one, and post a \
                       completion of 32 bytes: the kernel fills the slot with something to be skipped, and \
                       then uses the same slot once more: the tail is one more than the queue has slots \
                       ahead of the head, and the program reads an old completion again",
    },
    Fault {
        name: "stale_rest",
        // Seen on 6.18.15, and not on 6.18.44: the kernel is asked.
        from: (6, 17),
        until: Some((6, 19)),
        model: "a bundle continues according to the remaining bytes that the socket reports, which include the part of a write that was already read",
        reproduction: "write three bytes to a UNIX stream socket, read two, and ask the other end with \
                       FIONREAD how much is left: three. A bundle that fills its first buffer to the \
                       end goes on if there seems to be more than one byte",
    },
];

impl Known {
    /// The faults of the running kernel.
    pub(crate) fn here() -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut numbers = release.split(['.', '-']).map(|number| number.parse().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Self { version }
    }

    /// The faults that this kernel has, for the report.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &'static Fault> {
        FAULTS.iter().filter(|fault| self.has(fault.name))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        let fault = FAULTS.iter().find(|fault| fault.name == name).expect("a row of the table");
        fault.from <= self.version && fault.until.is_none_or(|until| self.version < until)
    }
}
