//! The rules for combining setup flags, as `io_uring_setup(2)` checks them.

use crate::params::SetupFlags as Flags;

/// What one flag requires of the other flags.
struct Rule {
    flag: Flags,
    /// At least one of these must be set, unless this is empty.
    needs: Flags,
    /// None of these may be set.
    apart: Flags,
}

const fn needs(flag: Flags, needs: Flags) -> Rule {
    Rule { flag, needs, apart: Flags::empty() }
}

const fn apart(flag: Flags, apart: Flags) -> Rule {
    Rule { flag, needs: Flags::empty(), apart }
}

/// Every combination of known flags that a kernel rejects with EINVAL violates one of these rules.
/// The live case `setup_flags_as_the_mock` compares them with the kernel.
const RULES: &[Rule] = &[
    needs(Flags::SQ_AFF, Flags::SQPOLL),
    needs(Flags::HYBRID_IOPOLL, Flags::IOPOLL),
    needs(Flags::TASKRUN_FLAG, Flags::COOP_TASKRUN.union(Flags::DEFER_TASKRUN)),
    needs(Flags::DEFER_TASKRUN, Flags::SINGLE_ISSUER),
    needs(Flags::REGISTERED_FD_ONLY, Flags::NO_MMAP),
    needs(Flags::SQ_REWIND, Flags::NO_SQARRAY),
    apart(
        Flags::SQPOLL,
        Flags::COOP_TASKRUN
            .union(Flags::TASKRUN_FLAG)
            .union(Flags::DEFER_TASKRUN)
            .union(Flags::SQ_REWIND),
    ),
    apart(Flags::SQE_MIXED, Flags::SQE128),
    apart(Flags::CQE_MIXED, Flags::CQE32),
];

/// Returns whether a kernel that knows these flags rejects the combination.
pub(super) fn refused(flags: Flags) -> bool {
    RULES.iter().filter(|rule| flags.contains(rule.flag)).any(|rule| {
        flags.intersects(rule.apart) || !rule.needs.is_empty() && !flags.intersects(rule.needs)
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use rustix::io;

    use crate::mock::{Kernel, Script};
    use crate::squeue::{self, Rewind};
    use crate::{Builder, Errno, IoUring, cqueue};

    fn build<S: squeue::Kind, C: cqueue::Kind>(
        builder: &Builder<S, C>,
        entries: u32,
    ) -> io::Result<IoUring<S, C, Kernel>> {
        // SAFETY: the default script keeps the contract.
        unsafe { builder.build_mock(entries, Script::default()) }
    }

    /// Lists every set of these flags that the mock accepts.
    #[test]
    #[cfg_attr(miri, ignore = "256 rings are slow, and no ring is used")]
    fn accepts_the_same_flags_as_a_kernel() {
        type Set = fn(&mut Builder<S, C>) -> &mut Builder<S, C>;
        type S = squeue::Entry;
        type C = cqueue::Entry;
        let flags: [(char, Set); 8] = [
            ('p', |it| it.setup_sqpoll(0)),
            ('a', |it| it.setup_sqpoll_cpu(0)),
            ('c', Builder::setup_coop_taskrun),
            ('f', Builder::setup_taskrun_flag),
            ('s', Builder::setup_single_issuer),
            ('d', Builder::setup_defer_taskrun),
            ('i', Builder::setup_iopoll),
            ('h', Builder::setup_hybrid_iopoll),
        ];
        let mut accepted = Vec::new();
        for chosen in 0..1 << flags.len() {
            let mut builder = IoUring::builder();
            let mut name = std::string::String::new();
            for (_, (letter, set)) in
                flags.iter().enumerate().filter(|(bit, _)| chosen >> bit & 1 == 1)
            {
                set(&mut builder);
                name.push(*letter);
            }
            match build(&builder, 4) {
                Ok(_) => accepted.push(name),
                Err(errno) => assert_eq!(errno, Errno::INVAL, "{name}"),
            }
        }
        accepted.sort_unstable();
        let expected =
            ["", "c", "cf", "cfs", "cfsd", "cs", "csd", "fsd", "p", "pa", "pas", "ps", "s", "sd"];
        assert_eq!(accepted, expected);
    }

    #[test]
    fn rewound_queues_reject_sqpoll() {
        let mut builder = IoUring::<Rewind, cqueue::Entry>::builder();
        assert!(build(&builder, 4).is_ok());
        assert_eq!(build(builder.setup_sqpoll(0), 4).err(), Some(Errno::INVAL));
    }

    #[test]
    fn a_mixed_queue_needs_two_slots() {
        let submissions = IoUring::<squeue::Mixed, cqueue::Entry>::builder();
        assert_eq!(build(&submissions, 1).err(), Some(Errno::OVERFLOW));
        assert!(build(&submissions, 2).is_ok());
        let mut completions = IoUring::<squeue::Entry, cqueue::Mixed>::builder();
        assert!(build(&completions, 1).is_ok());
        assert_eq!(build(completions.setup_cqsize(1), 1).err(), Some(Errno::OVERFLOW));
    }
}
