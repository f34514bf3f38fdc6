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
        model: "while a drain is queued or active, only NOPs that the kernel accepts are submitted",
        reproduction: "submit two NOPs, then a NOP with IO_DRAIN, and then an entry that the kernel \
                       rejects. The kernel posts the error of the rejected entry at once. The drain \
                       waits until exactly two completions were posted, so it never runs",
    },
    Fault {
        name: "counted_refusal",
        // Seen on 6.1 and 6.12, and not on 6.16.
        from: (5, 1),
        until: Some((6, 16)),
        model: "no entry that the kernel rejects is submitted with or after a drain",
        reproduction: "submit a timeout and a NOP with IO_DRAIN, and then an entry with an unknown \
                       opcode. The kernel counts the completion of that entry as the completion of \
                       the timeout. The drain then runs while the timeout still waits. With two \
                       such entries, the drain never runs, even if the timeout ends",
    },
    Fault {
        name: "register_waits",
        from: (5, 1),
        until: Some((5, 18)),
        model: "rings are restricted and enabled only while nothing is in flight",
        reproduction: "submit a read of an empty pipe, and then call register_enable_rings, or \
                       register anything except personalities, a probe, or updates of the file \
                       table. The kernel waits until every request in flight has ended",
    },
    Fault {
        name: "uncounted_chain",
        from: (5, 17),
        until: Some((6, 16)),
        model: "no silent entry follows a drain in its chain",
        reproduction: "submit a chain of a NOP, a NOP with IO_DRAIN and a silent NOP, and then \
                       another NOP. A chain with a drain behind its head also makes the next chain \
                       drain. That one counts completions, so it waits forever for that of the \
                       silent NOP",
    },
    Fault {
        name: "uncounted",
        from: (5, 17),
        until: Some((6, 16)),
        model: "no entry with an unknown opcode is silent",
        reproduction: "submit an entry with an unknown opcode and SKIP_SUCCESS that is linked to \
                       another entry, and then a NOP with IO_DRAIN. The kernel rejects the opcode \
                       before it checks the flag, so it still allows drains. But the second entry \
                       posts nothing. The drain counts completions and waits for it forever",
    },
    Fault {
        name: "silent_big",
        from: (6, 18),
        until: None,
        model: "no silent entry has a 32-byte completion",
        reproduction: "on a ring with 32-byte completions, submit a silent NOP with 16 extra bytes \
                       (`Nop::big_cqe`, SKIP_SUCCESS), and then plain NOPs. The kernel keeps the \
                       extra bytes in the request, which it reuses, so one of the plain NOPs \
                       completes with them",
    },
    Fault {
        name: "message_32",
        from: (6, 18),
        until: None,
        model: "no message with the 32-byte flag goes to a ring whose completions have one size",
        reproduction: "send a message with the user flags IORING_CQE_F_32 to a ring with 16-byte \
                       completions whose next slot is the last one before the end. The kernel fills \
                       that slot with a filler CQE, as if the queue were mixed. The program sees a \
                       completion that nobody sent",
    },
    Fault {
        name: "stale_big",
        from: (6, 18),
        until: None,
        model: "the last 16 bytes of a 32-byte completion are not compared for messages, nor for \
                completions of multishot requests other than the final one",
        reproduction: "on a ring with 32-byte completions in memory with old content, let a \
                       multishot poll post a completion. The last 16 bytes of the completion are \
                       the old content of the slot",
    },
    Fault {
        name: "mixed_wait",
        from: (6, 18),
        until: None,
        model: "every wait on a mixed completion queue asks for fewer completions than the queue \
                has slots",
        reproduction: "let a mixed completion queue have one free slot, and let a 32-byte \
                       completion overflow because it needs two. Then wait for as many completions \
                       as the queue has slots. The kernel loops forever in io_cqring_wait, and no \
                       signal ends the loop, not even SIGKILL",
    },
    Fault {
        name: "mixed_overfull",
        from: (6, 18),
        until: None,
        model: "a 32-byte completion comes to a mixed queue only if the queue has free slots for \
                all possible completions",
        reproduction: "let a mixed completion queue have one free slot, which is the last one \
                       before the end, and post a 32-byte completion. The kernel fills the slot \
                       with a filler CQE, and then uses the slot again. The tail is then ahead of \
                       the head by one more than the queue has slots, and the program reads an old \
                       completion again",
    },
    Fault {
        name: "stale_rest",
        // Seen on 6.18.15, and not on 6.18.44: the kernel is asked.
        from: (6, 17),
        until: Some((6, 19)),
        model: "a bundle continues according to the remaining bytes that the socket reports, which \
                include the part of a write that was already read",
        reproduction: "write three bytes to a UNIX stream socket, read two at the other end, and \
                       ask that end with FIONREAD how much is left. It reports three. A bundle that \
                       fills its first buffer completely continues if more than one byte seems to \
                       be left",
    },
    Fault {
        name: "counts_backwards",
        // Seen on 6.1, 6.18 and 7.3. (Kernels before 5.17 have no silent entries.)
        from: (5, 17),
        until: None,
        model: "no silent entry runs beside two timeouts with a count, and at most one timeout \
                expires beside one of them",
        reproduction: "submit a silent timeout with a count of 1, a timeout with a count of 100, and \
                       a NOP. The first timeout reaches its count. The kernel subtracts it from \
                       the number of completions, for which it posts none. When the kernel \
                       compares the counts again, the difference is -1, which it takes for a large \
                       number. So the second timeout ends with 0 after one completion",
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
        let fault = FAULTS.iter().find(|fault| fault.name == name).expect("no such name in FAULTS");
        fault.from <= self.version && fault.until.is_none_or(|until| self.version < until)
    }
}
