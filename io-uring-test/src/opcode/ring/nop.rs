//! The options of NOP, which exist for tests.

use std::os::fd::AsRawFd;

use rustix_uring::opcode::{Nop, Nop128};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::types::{Fd, FileSlot, Fixed, iovec};
use rustix_uring::{Errno, SetupFlags};

use crate::harness::Need::*;
use crate::harness::*;
use crate::opcode::taken;

const NOP: Need = Opcode(Nop::CODE);

pub(crate) const CASES: &[Case] = &[
    Case::kinds("nop_result", &[NOP, RESULT], injected_result),
    Case::kinds("nop_file", &[NOP, FILE], nop_file),
    Case::kinds("nop_buffer", &[NOP, FILE], nop_buffer),
    Case::kinds("nop_task_work", &[NOP, TASK_WORK], nop_task_work),
    Case::kinds("nop_big_cqe", &[NOP, BIG_CQE], nop_big_cqe),
    Case::kinds("nop_flags_refused", &[NOP], nop_flags_refused),
    Case::kinds("nop128", &[Opcode(Nop128::CODE)], nop128),
];

const RESULT: Need = Trial {
    what: "NOP with an injected result",
    refusal: Errno::INVAL,
    // SAFETY: the entry points to no memory.
    call: || unsafe { taken(Nop::new().result(7).build(), &[]) },
};
const FILE: Need = Trial {
    what: "NOP with a file",
    refusal: Errno::INVAL,
    // SAFETY: the entry points to no memory.
    call: || unsafe { taken(Nop::new().file(Fd(-1)).build(), &[Errno::BADF]) },
};
const TASK_WORK: Need = Trial {
    what: "NOP that completes through task work",
    refusal: Errno::INVAL,
    // SAFETY: the entry points to no memory.
    call: || unsafe { taken(Nop::new().task_work(true).build(), &[]) },
};
pub(crate) const BIG_CQE: Need = Trial {
    what: "NOP with a 32-byte completion",
    refusal: Errno::INVAL,
    call: || {
        let kind = KINDS.iter().find(|kind| kind.flags == SetupFlags::CQE32);
        let mut ring = kind.expect("no kind of ring has CQE32").build(&Setup::USUAL)?;
        // SAFETY: the entry points to no memory.
        unsafe { ring.run(Nop::new().big_cqe([1, 2]).build()) }?.to_result()?;
        Ok(())
    },
};

/// Any value is possible, even one that is no errno.
fn injected_result(ring: &mut dyn Ring) -> Result {
    // SAFETY: a NOP uses no memory; the files and buffers outlive each call.
    let ring = &mut unsafe { ring.runner() };
    for result in [1, -1, -4095, -4096, i32::MAX, i32::MIN] {
        let done = ring.completion(Nop::new().result(result).build())?;
        assert_eq!(done.result(), result);
        let errno = done.to_result().err().map(|errno| -errno.raw_os_error());
        assert_eq!(errno, (-4095..0).contains(&result).then_some(result));
    }
    Ok(())
}

/// Whether the NOP finds what it refers to. If not, the entry linked after it does not run. Some
/// kernels do not also return the errno as the result.
fn finds(ring: &mut dyn Ring, nop: Nop, errno: Errno) -> Result<bool> {
    let first = nop.build().user_data(1).flags(Flags::IO_LINK);
    // SAFETY: NOPs use no memory; the caller's files and buffers outlive the call.
    let mut done = unsafe { ring.run_all(&[first, crate::harness::nop(2)]) }?;
    done.sort_by_key(|cqe| cqe.user_data());
    let [first, second] = [done[0].to_result(), done[1].to_result()];
    match second {
        Ok(0) => assert_eq!(first, Ok(0)),
        Err(Errno::CANCELED) => assert!(first == Err(errno) || first == Ok(0), "{first:?}"),
        _ => anyhow::bail!("{done:?}"),
    }
    Ok(second.is_ok())
}

fn nop_file(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"")?;
    ring.submitter().register_files(&[FileSlot::new(&file), FileSlot::EMPTY])?;
    let mut finds = |nop| finds(ring, nop, Errno::BADF);
    assert!(finds(Nop::new().file(Fd(file.as_raw_fd())))?);
    assert!(finds(Nop::new().file(Fixed(0)))?);
    assert!(!finds(Nop::new().file(Fixed(1)))?);
    assert!(!finds(Nop::new().file(Fixed(2)))?);
    assert!(!finds(Nop::new().file(Fd(-1)))?);
    Ok(())
}

fn nop_buffer(ring: &mut dyn Ring) -> Result {
    let memory = Pages::new(4096)?;
    let all = iovec { iov_base: memory.all().as_ptr().cast(), iov_len: 4096 };
    // SAFETY: the memory outlives the ring's operations.
    unsafe { ring.submitter().register_buffers(&[all]) }?;
    assert!(finds(ring, Nop::new().buf_index(0), Errno::FAULT)?);
    assert!(!finds(ring, Nop::new().buf_index(1), Errno::FAULT)?);
    Ok(())
}

fn nop_task_work(ring: &mut dyn Ring) -> Result {
    // SAFETY: a NOP uses no memory; the files and buffers outlive each call.
    let ring = &mut unsafe { ring.runner() };
    for task_work in [true, false] {
        let nop = Nop::new().task_work(true).task_work(task_work).build();
        assert_eq!(ring.result(nop)?, Ok(0));
    }
    Ok(())
}

/// Supported on rings with big completions.
fn nop_big_cqe(ring: &mut dyn Ring) -> Result {
    // SAFETY: a NOP uses no memory; the files and buffers outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let roomy = SetupFlags::CQE32 | SetupFlags::CQE_MIXED;
    let done = ring.completion(Nop::new().big_cqe([5, 6]).build())?;
    if ring.params().setup_flags().intersects(roomy) {
        assert_eq!((done.to_result(), done.big), (Ok(0), Some([5, 6])));
    } else {
        assert_eq!((done.to_result(), done.big), (Err(Errno::INVAL), None));
    }
    Ok(())
}

fn nop_flags_refused(ring: &mut dyn Ring) -> Result {
    // SAFETY: a NOP uses no memory; the files and buffers outlive each call.
    let ring = &mut unsafe { ring.runner() };
    let mut unknown = Nop::new().build();
    unknown.as_raw_mut().op_flags = 1 << 30;
    assert_eq!(ring.result(unknown)?, Err(Errno::INVAL));
    Ok(())
}

/// Works in a 128-byte entry, and fails in a smaller one.
fn nop128(ring: &mut dyn Ring) -> Result {
    let nop = Nop128::from(Nop::new().result(7)).build();
    if ring.queue().accepts_sqe128() {
        // SAFETY: a NOP uses no memory.
        unsafe { ring.queue().push_128(&nop.user_data(1)) }?;
        let done = ring.complete(1)?;
        assert_eq!((done[0].user_data(), done[0].to_result()), (1, Ok(7)));
        // SAFETY: a NOP uses no memory.
        unsafe { ring.queue().push_128(&Nop128::new().build()) }?;
        assert_eq!(ring.complete(1)?[0].to_result(), Ok(0));
    } else {
        let sqe64 = Entry::from_raw(nop.into_raw().0);
        // SAFETY: a NOP uses no memory.
        assert_eq!(unsafe { ring.run(sqe64) }?.to_result(), Err(Errno::INVAL));
    }
    Ok(())
}
