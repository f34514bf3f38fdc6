//! Restricting what a ring may do.

use std::os::fd::{AsFd, FromRawFd, OwnedFd};

use anyhow::{Context, ensure};
use rustix_uring::opcode::{Nop, OpenAt, Read};
use rustix_uring::squeue::{Entry, Flags};
use rustix_uring::sys::{IORING_REGISTER_BPF_FILTER, io_uring_register_op::*};
use rustix_uring::types::{Fd, FileSlot, Fixed, OFlags};
use rustix_uring::{
    BpfFilter, BpfFilterFlags, Errno, IoUring, Restriction, SetupFlags, SockFilter, filter_task,
    restrict_task,
};

use crate::harness::Need::*;
use crate::harness::*;

const RESTRICT: Need = Register(IORING_REGISTER_RESTRICTIONS as u32);
/// Came in the same release as task restrictions.
const FILTER: Need = Register(IORING_REGISTER_BPF_FILTER);
pub(crate) const CASES: &[Case] = &[
    Case::kinds("operations", &[RESTRICT, Opcode(Read::CODE)], operations).setup(DISABLED),
    Case::kinds("sqe_flags", &[RESTRICT, Opcode(Read::CODE)], sqe_flags).setup(DISABLED),
    Case::kinds("register_operations", &[RESTRICT], register_operations).setup(DISABLED),
    Case::kinds("one_kind_of_list", &[RESTRICT, Opcode(Read::CODE)], one_kind_of_list)
        .setup(DISABLED),
    Case::kinds("refused", &[RESTRICT], refused).setup(DISABLED),
    Case::kinds("bpf_filter", &[FILTER], bpf_filter),
    Case::kinds("bpf_filter_sees", &[FILTER, Opcode(OpenAt::CODE)], bpf_filter_sees),
    Case::kinds("bpf_filter_deny_rest", &[FILTER, Opcode(Read::CODE)], bpf_filter_deny_rest),
    Case::kinds("bpf_filter_refused", &[FILTER], bpf_filter_refused),
    Case::once("restrict_task", &[FILTER], task_restrictions),
    Case::once("filter_task", &[FILTER], task_filter),
];

const DISABLED: Setup = Setup::new(16).flags(SetupFlags::R_DISABLED);

/// Reads a byte of `/dev/zero`.
fn read(ring: &mut dyn Ring, build: impl FnOnce(Read) -> Entry) -> Result<Result<u32, Errno>> {
    let zeros = std::fs::File::open("/dev/zero")?;
    let mut byte = 0;
    // SAFETY: the file and the byte outlive the read, for which `run` waits.
    let done = unsafe { ring.run(build(Read::new(zeros.as_fd(), &mut byte, 1))) }?;
    Ok(done.to_result())
}

fn nop_with(ring: &mut dyn Ring, flags: Flags) -> Result<Result<u32, Errno>> {
    // SAFETY: a NOP uses no memory and no descriptor.
    Ok(unsafe { ring.run(nop(1).flags(flags)) }?.to_result())
}

fn operations(ring: &mut dyn Ring) -> Result {
    ring.submitter().register_restrictions(&[Restriction::sqe_op(Nop::CODE)])?;
    ring.submitter().register_enable_rings()?;
    assert_eq!(nop_with(ring, Flags::empty())?, Ok(0));
    assert_eq!(read(ring, |read| read.build())?, Err(Errno::ACCESS));
    // The list allows no flag.
    assert_eq!(nop_with(ring, Flags::ASYNC)?, Err(Errno::ACCESS));
    ring.works(20)
}

fn sqe_flags(ring: &mut dyn Ring) -> Result {
    let zeros = std::fs::File::open("/dev/zero")?;
    let submitter = ring.submitter();
    submitter.register_files(&[FileSlot::new(&zeros)])?;
    submitter.register_restrictions(&[
        Restriction::sqe_op(Read::CODE),
        Restriction::sqe_flags_required(Flags::FIXED_FILE),
        Restriction::sqe_flags_allowed(Flags::ASYNC),
    ])?;
    submitter.register_enable_rings()?;
    let mut byte = 1;
    let fixed = Read::new(Fixed(0), &mut byte, 1).build();
    // SAFETY: the byte outlives the reads, for which `run` waits.
    unsafe {
        assert_eq!(ring.run(fixed)?.to_result(), Ok(1));
        assert_eq!(ring.run(fixed.flags(Flags::ASYNC))?.to_result(), Ok(1));
        assert_eq!(ring.run(fixed.flags(Flags::IO_DRAIN))?.to_result(), Err(Errno::ACCESS));
    }
    assert_eq!(read(ring, |read| read.build())?, Err(Errno::ACCESS));
    Ok(())
}

fn register_operations(ring: &mut dyn Ring) -> Result {
    let submitter = ring.submitter();
    submitter.register_restrictions(&[
        Restriction::register_op(IORING_REGISTER_FILES as u8),
        Restriction::register_op(IORING_REGISTER_ENABLE_RINGS as u8),
        Restriction::sqe_op(Nop::CODE),
    ])?;
    submitter.register_enable_rings()?;
    submitter.register_files(&[FileSlot::EMPTY])?;
    assert_eq!(submitter.unregister_files(), Err(Errno::ACCESS));
    assert_eq!(submitter.register_personality(), Err(Errno::ACCESS));
    ring.works(20)
}

/// The effect of a list for one kind of call on the other kind: before Linux 7.0 nothing of it is
/// allowed, and since then everything is.
fn one_kind_of_list(ring: &mut dyn Ring) -> Result {
    ring.submitter().register_restrictions(&[Restriction::sqe_op(Nop::CODE)])?;
    ring.submitter().register_enable_rings()?;
    let registers = ring.submitter().register_files(&[FileSlot::EMPTY]);

    let mut other = ring.kind().build(&DISABLED)?;
    let enable = Restriction::register_op(IORING_REGISTER_ENABLE_RINGS as u8);
    other.submitter().register_restrictions(&[enable])?;
    other.submitter().register_enable_rings()?;
    let reads = read(&mut *other, |read| read.build())?;
    match registers {
        Ok(()) => assert_eq!(reads, Ok(1)),
        Err(e) => assert_eq!((e, reads), (Errno::ACCESS, Err(Errno::ACCESS))),
    }

    let mut empty = ring.kind().build(&DISABLED)?;
    empty.submitter().register_restrictions(&[])?;
    empty.submitter().register_enable_rings()?;
    assert_eq!(empty.submitter().register_files(&[FileSlot::EMPTY]), Err(Errno::ACCESS));
    assert_eq!(read(&mut *empty, |read| read.build())?, Err(Errno::ACCESS));
    Ok(())
}

fn refused(ring: &mut dyn Ring) -> Result {
    let enabled = IoUring::new(1)?;
    let one = [Restriction::sqe_op(Nop::CODE)];
    assert_eq!(enabled.submitter().register_restrictions(&one), Err(Errno::BADFD));
    let submitter = ring.submitter();
    for unknown in [Restriction::register_op(255), Restriction::sqe_op(255)] {
        assert_eq!(submitter.register_restrictions(&[unknown]), Err(Errno::INVAL));
    }
    assert_eq!(submitter.register_restrictions(&[one[0]; 200]), Err(Errno::INVAL));
    submitter.register_restrictions(&one)?;
    assert_eq!(submitter.register_restrictions(&one), Err(Errno::BUSY));
    Ok(())
}

/// Instructions of classic BPF: load a word, compare it with `k`, return.
const fn load(offset: u32) -> SockFilter {
    SockFilter { code: 0x20, jt: 0, jf: 0, k: offset }
}
const fn skip_unless(k: u32, jf: u8) -> SockFilter {
    SockFilter { code: 0x15, jt: 0, jf, k }
}
const fn answer(k: u32) -> SockFilter {
    SockFilter { code: 0x06, jt: 0, jf: 0, k }
}

fn bpf_filter(ring: &mut dyn Ring) -> Result {
    // The offset of the low half of the user data.
    let low = if cfg!(target_endian = "little") { 0 } else { 4 };
    let only_seven = [load(low), skip_unless(7, 1), answer(1), answer(0)];
    ring.submitter().register_bpf_filter(&BpfFilter::new(Nop::CODE, &only_seven))?;
    // SAFETY: NOPs use no memory and no descriptor.
    unsafe {
        assert_eq!(ring.run(nop(7))?.to_result(), Ok(0));
        assert_eq!(ring.run(nop(8))?.to_result(), Err(Errno::ACCESS));
    }
    assert_eq!(read(ring, |read| read.build())?, Ok(1));
    // A further filter applies in addition.
    ring.submitter().register_bpf_filter(&BpfFilter::new(Nop::CODE, &[answer(0)]))?;
    // SAFETY: a NOP uses no memory and no descriptor.
    assert_eq!(unsafe { ring.run(nop(7)) }?.to_result(), Err(Errno::ACCESS));
    Ok(())
}

/// The filter sees the arguments of the operation, here the flags of an open.
fn bpf_filter_sees(ring: &mut dyn Ring) -> Result {
    let flags = if cfg!(target_endian = "little") { 16 } else { 20 };
    let wanted = OFlags::RDONLY | OFlags::CLOEXEC;
    // Kernels where large files are the default add this flag.
    let large = OFlags::LARGEFILE.bits();
    let and = SockFilter { code: 0x54, jt: 0, jf: 0, k: !(large | 0o100000) };
    let program = [load(flags), and, skip_unless(wanted.bits(), 1), answer(1), answer(0)];
    let mut strict = BpfFilter::new(OpenAt::CODE, &program);
    (strict.pdu_size, strict.flags) = (24, BpfFilterFlags::SZ_STRICT);
    ring.submitter().register_bpf_filter(&strict)?;
    let open = |flags| OpenAt::new(Fd::CWD, c"/dev/null".as_ptr()).flags(flags).build();
    // SAFETY: the path is a constant. The descriptor is new, and nothing else owns it.
    unsafe {
        let fd = ring.run(open(wanted))?.to_result()?;
        drop(OwnedFd::from_raw_fd(fd as i32));
        let refused = ring.run(open(OFlags::RDWR | OFlags::CLOEXEC))?.to_result();
        assert_eq!(refused, Err(Errno::ACCESS));
    }
    Ok(())
}

fn bpf_filter_deny_rest(ring: &mut dyn Ring) -> Result {
    let all = [answer(1)];
    let mut deny = BpfFilter::new(Nop::CODE, &all);
    deny.flags = BpfFilterFlags::DENY_REST;
    ring.submitter().register_bpf_filter(&deny)?;
    ring.works(5)?;
    assert_eq!(read(ring, |read| read.build())?, Err(Errno::ACCESS));
    Ok(())
}

fn bpf_filter_refused(ring: &mut dyn Ring) -> Result {
    let submitter = ring.submitter();
    let all = [answer(1)];
    let register = |filter: BpfFilter<'_>| submitter.register_bpf_filter(&filter);
    let nops = BpfFilter::new(Nop::CODE, &all);
    // An empty program, one without a return, and one with a misaligned load.
    for program in [&[][..], &[load(0)], &[load(1), all[0]]] {
        assert_eq!(register(BpfFilter::new(Nop::CODE, program)), Err(Errno::INVAL), "{program:?}");
    }
    assert_eq!(register(BpfFilter::new(255, &all)), Err(Errno::INVAL));
    let unknown = BpfFilterFlags::from_bits_retain(1 << 30);
    assert_eq!(register(altered(nops, |it| it.flags = unknown)), Err(Errno::INVAL));
    // The filter expects more data than the operation has. If strict, less is an error too.
    assert_eq!(register(altered(nops, |it| it.pdu_size = 8)), Err(Errno::MSGSIZE));
    let strict = altered(nops, |it| {
        (it.opcode, it.pdu_size, it.flags) = (OpenAt::CODE, 8, BpfFilterFlags::SZ_STRICT);
    });
    assert_eq!(register(strict), Err(Errno::MSGSIZE));
    ring.works(5)
}

/// Runs steps in a child process, and names the first one with an unexpected outcome.
fn steps_in_child(steps: fn() -> Result<()>) -> Result {
    let (reader, writer) = rustix::pipe::pipe()?;
    let status = in_child(|| {
        let said = match std::panic::catch_unwind(steps) {
            Ok(Ok(())) => return Ok(0),
            Ok(Err(e)) => format!("{e:#}"),
            Err(_) => "panicked".to_owned(),
        };
        rustix::io::write(&writer, said.as_bytes())?;
        Ok(1)
    })?;
    drop(writer);
    let mut said = [0; 512];
    let n = rustix::io::read(&reader, &mut said)?;
    ensure!(status == 0, "{}", String::from_utf8_lossy(&said[..n]));
    Ok(())
}

/// Sets no-new-privileges, which an unprivileged process must do before it restricts itself.
fn no_new_privileges() -> Result {
    rustix::thread::set_no_new_privs(true).context("PR_SET_NO_NEW_PRIVS")
}

/// The results of a NOP and of a read on a new ring.
fn on_a_new_ring() -> Result<[Result<u32, Errno>; 2]> {
    let mut ring = KINDS[0].build(&Setup::USUAL)?;
    Ok([nop_with(&mut *ring, Flags::empty())?, read(&mut *ring, |read| read.build())?])
}

fn task_restrictions() -> Result {
    steps_in_child(|| {
        let many = [Restriction::sqe_op(Nop::CODE); 129];
        ensure!(restrict_task(&many) == Err(Errno::INVAL), "129");
        let unknown = restrict_task(&[Restriction::sqe_op(255)]);
        ensure!(unknown == Err(Errno::INVAL), "unknown: {unknown:?}");
        without_privilege()?;
        let forbidden = restrict_task(&[Restriction::sqe_op(Nop::CODE)]);
        ensure!(
            forbidden == Err(Errno::ACCESS),
            "unexpected result without no-new-privileges: {forbidden:?}"
        );
        no_new_privileges()?;
        let mut older = KINDS[0].build(&Setup::USUAL)?;
        restrict_task(&[Restriction::sqe_op(Nop::CODE)])?;
        let confined = on_a_new_ring()?;
        ensure!(confined == [Ok(0), Err(Errno::ACCESS)], "{confined:?}");
        ensure!(
            read(&mut *older, |read| read.build())? == Ok(1),
            "the restriction affects a ring that existed before"
        );
        let again = restrict_task(&[Restriction::sqe_op(Read::CODE)]);
        ensure!(again == Err(Errno::PERM), "again: {again:?}");
        // A child inherits the restriction.
        let child = in_child(|| Ok((on_a_new_ring()? == [Ok(0), Err(Errno::ACCESS)]) as i32))?;
        ensure!(child == 1, "the child does not inherit the restriction: {child}");
        Ok(())
    })
}

fn task_filter() -> Result {
    steps_in_child(|| {
        let none = [answer(0)];
        let reads = BpfFilter::new(Read::CODE, &none);
        let empty = filter_task(&BpfFilter::new(Read::CODE, &[]));
        ensure!(empty == Err(Errno::INVAL), "empty: {empty:?}");
        without_privilege()?;
        let forbidden = filter_task(&reads);
        ensure!(
            forbidden == Err(Errno::ACCESS),
            "unexpected result without no-new-privileges: {forbidden:?}"
        );
        no_new_privileges()?;
        filter_task(&reads)?;
        let confined = on_a_new_ring()?;
        ensure!(confined == [Ok(0), Err(Errno::ACCESS)], "{confined:?}");
        let child = in_child(|| Ok((on_a_new_ring()? == [Ok(0), Err(Errno::ACCESS)]) as i32))?;
        ensure!(child == 1, "the child does not inherit the filter: {child}");
        // Filters accumulate.
        filter_task(&BpfFilter::new(Nop::CODE, &none))?;
        let confined = on_a_new_ring()?;
        ensure!(confined == [Err(Errno::ACCESS), Err(Errno::ACCESS)], "{confined:?}");
        Ok(())
    })
}

/// Drops all capabilities of this thread.
fn without_privilege() -> Result {
    use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
    let none = CapabilitySet::empty();
    let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(set_capabilities(None, none)?)
}
