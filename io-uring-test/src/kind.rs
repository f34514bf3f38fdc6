//! One case for each kind of ring: entries and completions of every size that the kind has pass
//! through both queues, which wrap around many times.

use rustix_uring::squeue::{Entry128, Flags};
use rustix_uring::{SetupFlags, sys};

use crate::harness::*;

pub(crate) const CASES: &[Case] = &{
    let mut cases = [const { Case::kind(&KINDS[0], round_and_round) }; KINDS.len()];
    let mut i = 1;
    while i < cases.len() {
        cases[i] = Case::kind(&KINDS[i], round_and_round);
        i += 1;
    }
    cases
};

fn round_and_round(ring: &mut dyn Ring) -> Result {
    let kind = ring.params().setup_flags();
    let mut expected = 0..;
    let mut expect = |ring: &mut dyn Ring, n: usize| -> Result {
        let done = ring.complete(n)?;
        let seen: Vec<_> = done.iter().map(|cqe| (cqe.user_data(), cqe.to_result())).collect();
        let expected: Vec<_> = expected.by_ref().take(n).map(|n| (n, Ok(0))).collect();
        assert_eq!(seen, expected);
        Ok(())
    };
    let mut next = 0;
    for round in 0..200 {
        let small = 1 + round % 5;
        ring.push_nops(next..next + small, Flags::empty())?;
        next += small;
        if ring.queue().accepts_sqe128() {
            let mut big = nop(next).into_raw();
            if kind.contains(SetupFlags::SQE_MIXED) {
                big.opcode = sys::IORING_OP_NOP128;
            }
            // SAFETY: a NOP uses no memory and no descriptor.
            unsafe { ring.queue().push_128(&Entry128::from_raw(big, [0xff; 64])) }?;
            next += 1;
            expect(ring, small as usize + 1)?;
        } else {
            expect(ring, small as usize)?;
        }
    }
    Ok(())
}
