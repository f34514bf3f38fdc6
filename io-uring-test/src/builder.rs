//! Setting up rings: sizes, flags, and what remains after a failure.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::dup;
use rustix::io_uring::io_uring_setup;
use rustix::param::page_size;
use rustix::process::Resource;
use rustix_uring::squeue::Entry128;
use rustix_uring::{Errno, IoUring, SetupFlags, cqueue, squeue};

use crate::harness::Need::*;
use crate::harness::*;

pub(crate) const CASES: &[Case] = &[
    Case::once("sizes", &[LARGEST], sizes),
    Case::once("cqsize", &[RingWith(SetupFlags::CQSIZE), LARGEST], cqsize),
    Case::once("clamped_sizes", &[RingWith(SetupFlags::CLAMP), LARGEST], clamped_sizes),
    Case::once("no_such_sizes", &[], no_such_sizes),
    Case::once("index_array", &[], index_array),
    granted::<{ SetupFlags::IOPOLL.bits() }>("setup_iopoll"),
    granted::<{ SetupFlags::IOPOLL.union(SetupFlags::HYBRID_IOPOLL).bits() }>(
        "setup_hybrid_iopoll",
    ),
    granted::<{ SetupFlags::SQPOLL.bits() }>("setup_sqpoll"),
    granted::<{ SetupFlags::SQPOLL.union(SetupFlags::SQ_AFF).bits() }>("setup_sqpoll_cpu"),
    granted::<{ SetupFlags::CLAMP.bits() }>("setup_clamp"),
    granted::<{ SetupFlags::R_DISABLED.bits() }>("setup_r_disabled"),
    granted::<{ SetupFlags::SUBMIT_ALL.bits() }>("setup_submit_all"),
    granted::<{ SetupFlags::COOP_TASKRUN.bits() }>("setup_coop_taskrun"),
    granted::<{ SetupFlags::COOP_TASKRUN.union(SetupFlags::TASKRUN_FLAG).bits() }>(
        "setup_taskrun_flag",
    ),
    granted::<{ SetupFlags::SINGLE_ISSUER.bits() }>("setup_single_issuer"),
    granted::<{ SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN).bits() }>(
        "setup_defer_taskrun",
    ),
    granted::<{ SetupFlags::NO_SQARRAY.bits() }>("setup_no_sqarray"),
    Case::once("flags_apart", &[], flags_apart),
    Case::once("setup_flags", &[RingWith(SetupFlags::SUBMIT_ALL)], setup_flags),
    Case::once("setup_flags_as_the_mock", &[], setup_flags_as_the_mock),
    Case::once("attach_wq", &[RingWith(SetupFlags::SQPOLL)], attach_wq),
    Case::once("attach_wq_refused", &[], attach_wq_refused),
    Case::once("dontfork", &[], dontfork),
    Case::once("from_fd_64x16", &[], from_fd::<squeue::Entry, cqueue::Entry>),
    Case::once(
        "from_fd_128x32",
        &[RingWith(SetupFlags::SQE128.union(SetupFlags::CQE32))],
        from_fd::<Entry128, cqueue::Entry32>,
    ),
    Case::once(
        "from_fd_mixedxmixed",
        &[RingWith(SetupFlags::SQE_MIXED.union(SetupFlags::CQE_MIXED))],
        from_fd::<squeue::Mixed, cqueue::Mixed>,
    ),
    Case::once("from_fd_refused", &[], from_fd_refused),
    Case::once("failures_leave_nothing", &[], failures_leave_nothing),
    Case::kinds("thousand_rings_leave_nothing", &[], thousand_rings_leave_nothing),
];

/// Memory for the largest ring. The kernel allocates the 2 MiB of its entries in one piece, and
/// fails with ENOMEM while free memory is too fragmented. The check does not use the library.
const LARGEST: Need = Trial {
    what: "a ring of 32768 entries, by a bare system call",
    refusal: Errno::NOMEM,
    call: || {
        // SAFETY: the kernel allocates the memory; nothing is mapped, and the ring is closed at once.
        let set_up = || unsafe { io_uring_setup(32768, &mut Default::default()) };
        defragmented(set_up)?;
        Ok(())
    },
};

/// Sets up a ring. While that fails with ENOMEM, makes the kernel compact its memory and retries.
fn defragmented<T>(mut set_up: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 0..20 {
        match set_up() {
            Err(Errno::NOMEM) => {}
            done => return done,
        }
        // Only root may request it. Others wait until the kernel compacts memory by itself.
        let _ = fs::write("/proc/sys/vm/compact_memory", "1");
        thread::sleep(Duration::from_millis(100));
    }
    set_up()
}

fn sizes() -> Result {
    for (asked, sq) in [(1, 1), (2, 2), (3, 4), (5, 8), (1000, 1024), (32768, 32768)] {
        let mut ring = defragmented(|| IoUring::new(asked))?;
        assert_eq!((ring.params().sq_entries(), ring.params().cq_entries()), (sq, 2 * sq));
        assert_eq!(ring.submission().capacity(), sq as usize);
        assert_eq!(ring.completion().capacity(), 2 * sq as usize);
    }
    Ok(())
}

fn cqsize() -> Result {
    for (sq, asked, cq) in [(4, 4, 4), (4, 5, 8), (1, 1000, 1024), (8, 65536, 65536)] {
        let mut ring = defragmented(|| <IoUring>::builder().setup_cqsize(asked).build(sq))?;
        assert_eq!((ring.params().sq_entries(), ring.params().cq_entries()), (sq, cq));
        assert_eq!(ring.completion().capacity(), cq as usize);
    }
    Ok(())
}

fn clamped_sizes() -> Result {
    let mut builder = <IoUring>::builder();
    let ring = defragmented(|| builder.setup_clamp().build(40_000))?;
    assert_eq!((ring.params().sq_entries(), ring.params().cq_entries()), (32768, 65536));
    let ring = defragmented(|| builder.setup_cqsize(1 << 30).build(2))?;
    assert_eq!((ring.params().sq_entries(), ring.params().cq_entries()), (2, 65536));
    assert_eq!(builder.build(0).err(), Some(Errno::INVAL));
    Ok(())
}

fn no_such_sizes() -> Result {
    for (sq, cq) in [(0, None), (32769, None), (8, Some(0)), (8, Some(4)), (8, Some(65537))] {
        let mut builder = <IoUring>::builder();
        if let Some(cq) = cq {
            builder.setup_cqsize(cq);
        }
        assert_eq!(builder.build(sq).err(), Some(Errno::INVAL), "{sq} {cq:?}");
        assert_eq!(builder.memory_size(sq), Err(Errno::INVAL), "{sq} {cq:?}");
    }
    Ok(())
}

/// A ring has no index array if the kernel supports that, and has one on other kernels or if the
/// program requests it.
fn index_array() -> Result {
    let has_none = |ring: &IoUring| ring.params().setup_flags().contains(SetupFlags::NO_SQARRAY);
    let insisted = match <IoUring>::builder().setup_no_sqarray().build(4) {
        Err(Errno::INVAL) => None,
        ring => Some(ring?),
    };
    let mut usual = IoUring::new(4)?;
    assert_eq!(has_none(&usual), insisted.as_ref().is_some_and(has_none));
    assert_eq!(has_none(&usual), insisted.is_some());
    works(&mut usual, 50)?;

    let mut with_one = <IoUring>::builder().sqarray().build(4)?;
    assert!(!has_none(&with_one));
    works(&mut with_one, 50)?;
    assert_eq!(with_one.submission().dropped(), 0);
    Ok(())
}

/// A case: rings of all kinds accept these flags, and work with them as far as NOPs can show.
const fn granted<const FLAGS: u32>(name: &'static str) -> Case {
    let run = |ring: &mut dyn Ring| {
        let flags = ring.params().setup_flags();
        assert!(flags.contains(SetupFlags::from_bits_retain(FLAGS)), "{flags:?}");
        assert!(flags.contains(ring.kind().flags), "{flags:?}");
        if flags.contains(SetupFlags::R_DISABLED) {
            ring.submitter().register_enable_rings()?;
        }
        // Older kernels cannot run NOPs on an IOPOLL ring.
        if flags.contains(SetupFlags::IOPOLL) { Ok(()) } else { ring.works(50) }
    };
    let needs = const { &[RingWith(SetupFlags::from_bits_retain(FLAGS))] };
    Case::kinds(name, needs, run).setup(Setup::USUAL.flags(SetupFlags::from_bits_retain(FLAGS)))
}

/// The builder rejects flags that require another flag, even on kernels that know neither.
fn flags_apart() -> Result {
    let refused = [
        SetupFlags::SQ_AFF,
        SetupFlags::HYBRID_IOPOLL,
        SetupFlags::TASKRUN_FLAG,
        SetupFlags::DEFER_TASKRUN,
        SetupFlags::COOP_TASKRUN.union(SetupFlags::SQPOLL),
        SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN).union(SetupFlags::SQPOLL),
    ];
    for flags in refused {
        let ring = KINDS[0].build(&Setup::USUAL.flags(flags));
        assert_eq!(ring.err(), Some(Errno::INVAL), "{flags:?}");
    }
    Ok(())
}

/// The mock kernel rejects the same setups as the kernel: all pairs of flags that the kernel knows,
/// on every kind of ring, and all triples on the default kind.
fn setup_flags_as_the_mock() -> Result {
    type Flags = SetupFlags;
    // Each flag comes with the flags that it requires, so that only a kernel that does not know it
    // rejects it.
    let known = [
        (Flags::IOPOLL, Flags::empty()),
        (Flags::HYBRID_IOPOLL, Flags::IOPOLL),
        (Flags::SQPOLL, Flags::empty()),
        (Flags::SQ_AFF, Flags::SQPOLL),
        (Flags::CQSIZE, Flags::empty()),
        (Flags::CLAMP, Flags::empty()),
        (Flags::R_DISABLED, Flags::empty()),
        (Flags::SUBMIT_ALL, Flags::empty()),
        (Flags::COOP_TASKRUN, Flags::empty()),
        (Flags::TASKRUN_FLAG, Flags::COOP_TASKRUN),
        (Flags::SINGLE_ISSUER, Flags::empty()),
        (Flags::DEFER_TASKRUN, Flags::SINGLE_ISSUER),
        (Flags::NO_SQARRAY, Flags::empty()),
    ];
    let mut flags = Vec::new();
    for (flag, needs) in known {
        if refusal(flag | needs)?.is_none() {
            flags.push(flag);
        }
    }
    let mut compared = 0;
    for kind in KINDS {
        if refusal(kind.flags)?.is_some() {
            continue;
        }
        for (i, &first) in flags.iter().enumerate() {
            for (j, &second) in flags.iter().enumerate().skip(i) {
                let triples = if kind.flags.is_empty() { flags.len() } else { j + 1 };
                for &third in &flags[j..triples] {
                    let flags = first | second | third;
                    let setup = Setup::USUAL.flags(flags);
                    let (kernel, mock) = (kind.build(&setup).err(), kind.mock(&setup).err());
                    // The mock kernel itself rejects what it cannot imitate.
                    let imitates =
                        !flags.intersects(Flags::IOPOLL | Flags::HYBRID_IOPOLL | Flags::R_DISABLED);
                    if imitates || kernel.is_some() {
                        assert_eq!(mock, kernel, "{} {flags:?}", kind.name);
                        compared += 1;
                    }
                }
            }
        }
    }
    ensure!(compared > 0, "the kernel and the mock kernel have no setup in common");
    Ok(())
}

/// The number of SQPOLL threads that the process has.
fn sqpoll_threads() -> Result<usize> {
    let mut n = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let name = fs::read_to_string(task?.path().join("comm"));
        n += usize::from(name.is_ok_and(|name| name.starts_with("iou-sqp")));
    }
    Ok(n)
}

/// Waits until there are `n` SQPOLL threads. They start and end some time after their rings.
fn await_sqpoll_threads(n: usize) -> Result {
    while sqpoll_threads()? != n {
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn attach_wq() -> Result {
    await_sqpoll_threads(0)?;
    let mut first = <IoUring>::builder().setup_sqpoll(1000).build(4)?;
    // Before 5.12, the SQPOLL thread is a kernel thread, and does not belong to the process.
    let one = usize::from(first.params().is_feature_native_workers());
    await_sqpoll_threads(one)?;
    let mut builder = <IoUring>::builder();
    // SAFETY: the other ring is open, and belongs to this process.
    unsafe { builder.setup_sqpoll(1000).setup_attach_wq(first.as_raw_fd()) };
    let mut attached = builder.build(4)?;
    assert!(attached.params().setup_flags().contains(SetupFlags::ATTACH_WQ));
    works(&mut first, 10)?;
    works(&mut attached, 10)?;
    // A worker that the SQPOLL thread starts has that thread's name for a moment.
    await_sqpoll_threads(one)?;
    drop(first);
    works(&mut attached, 10)
}

fn attach_wq_refused() -> Result {
    let no_ring = open("/dev/null", OFlags::RDONLY, Mode::empty())?;
    let number = no_ring.as_raw_fd();
    let mut builder = <IoUring>::builder();
    // SAFETY: the kernel rejects a descriptor that is closed or not a ring.
    unsafe { builder.setup_attach_wq(number) };
    let attach = || builder.build(4).err();
    assert_eq!(attach(), Some(Errno::INVAL));
    drop(no_ring);
    let refusal = attach().context("the ring attached to a closed descriptor")?;
    // The errno depends on the kernel.
    assert!(matches!(refusal, Errno::BADF | Errno::NXIO), "{refusal}");
    Ok(())
}

/// Whether a child that is forked now has mappings of rings.
fn forked_child_has_rings() -> Result<bool> {
    const HAS: i32 = libc::EMLINK;
    let mut maps = vec![0; 1 << 20];
    let look = move || {
        let file = open("/proc/self/maps", OFlags::RDONLY, Mode::empty())?;
        let mut len = 0;
        while let n @ 1.. = rustix::io::read(&file, &mut maps[len..])? {
            len += n;
        }
        let has = maps[..len].windows(10).any(|name| name == b"[io_uring]");
        if has { Err(io::Error::from_raw_os_error(HAS)) } else { Ok(()) }
    };
    let mut child = Command::new("/proc/self/exe");
    child.arg("--list").stdout(Stdio::null());
    // SAFETY: the child only opens a file and reads it into memory that it already has.
    unsafe { child.pre_exec(look) };
    match child.status() {
        Ok(status) => ensure!(status.success(), "the child ended with {status}"),
        Err(e) if e.raw_os_error() == Some(HAS) => return Ok(true),
        Err(e) => return Err(e.into()),
    }
    Ok(false)
}

/// Setup flags by number: flags on which the crate does not rely, and one that no kernel knows.
fn setup_flags() -> Result {
    let flags = SetupFlags::SUBMIT_ALL | SetupFlags::CLAMP;
    let mut builder = <IoUring>::builder();
    // SAFETY: the flags are those of two builder methods.
    let mut ring = unsafe { builder.setup_flags(flags) }.build(4)?;
    assert!(ring.params().setup_flags().contains(flags));
    works(&mut ring, 10)?;
    // SAFETY: the kernel rejects the flag.
    let refused = unsafe { builder.setup_flags(SetupFlags::from_bits_retain(1 << 31)) }.build(4);
    assert_eq!(refused.err(), Some(Errno::INVAL));
    Ok(())
}

fn dontfork() -> Result {
    assert!(!forked_child_has_rings()?);
    let ring = IoUring::new(4)?;
    assert!(forked_child_has_rings()?);
    drop(ring);
    let mut ring = <IoUring>::builder().dontfork().build(4)?;
    assert!(!forked_child_has_rings()?);
    works(&mut ring, 10)
}

/// Two rings over one descriptor take turns.
fn from_fd<S: squeue::Kind, C: cqueue::Kind>() -> Result {
    let mut maker = IoUring::<S, C>::builder().build(4)?;
    works(&mut maker, 3)?;
    let params = *maker.params();
    let fd = dup(&maker)?;
    // SAFETY: the descriptor and the parameters belong to a ring that is not used meanwhile.
    let mut other = unsafe { IoUring::<S, C>::from_fd(fd, params) }?;
    works(&mut other, 10)?;
    drop(other);
    works(&mut maker, 10)
}

fn from_fd_refused() -> Result {
    let maker = IoUring::new(4)?;
    let params = *maker.params();
    let in_makers_memory = altered_params(&params, |raw| raw.flags |= SetupFlags::NO_MMAP.bits());
    let no_ring = altered_params(&params, |raw| raw.sq_entries = 0);
    // A descriptor left open makes the case fail.
    // SAFETY: the descriptor is a ring's. The parameters are rejected, or the ring is not used.
    unsafe {
        let refusal = IoUring::<Entry128>::from_fd(dup(&maker)?, params).err();
        assert_eq!(refusal, Some(Errno::INVAL));
        let refusal = IoUring::<squeue::Entry, cqueue::Mixed>::from_fd(dup(&maker)?, params).err();
        assert_eq!(refusal, Some(Errno::INVAL));
        for params in [in_makers_memory, no_ring] {
            let refusal = IoUring::<squeue::Entry>::from_fd(dup(&maker)?, params);
            assert_eq!(refusal.err(), Some(Errno::INVAL));
        }
        let no_ring = open("/dev/null", OFlags::RDWR, Mode::empty())?;
        assert!(IoUring::<squeue::Entry>::from_fd(no_ring, params).is_err());
    }
    Ok(())
}

/// A setup that fails leaves nothing behind, whichever step fails.
fn failures_leave_nothing() -> Result {
    let mut incomplete = <IoUring>::builder();
    incomplete.setup_hybrid_iopoll();
    let mut attached = <IoUring>::builder();
    // SAFETY: the kernel rejects a number that no descriptor can have.
    unsafe { attached.setup_attach_wq(RawFd::MAX) };

    let before = footprint()?;
    assert!(incomplete.build(4).is_err());
    assert!(attached.build(4).is_err());
    assert_eq!(footprint()?, before);

    let next_descriptor = open("/dev/null", OFlags::RDONLY, Mode::empty())?.as_raw_fd() as u64;
    let refusal = limited(Resource::Nofile, next_descriptor, || IoUring::new(4).err())?;
    assert_eq!(refusal, Some(Errno::MFILE));
    assert_eq!(footprint()?, before);

    // The mappings are made one after the other: the limit stops each of them once.
    let address_space = address_space()?;
    let mut refused = 0;
    loop {
        let limit = (address_space + refused) * page_size();
        match limited(Resource::As, limit as u64, || IoUring::new(64).map(drop))? {
            Ok(()) => break,
            Err(errno) => assert_eq!(errno, Errno::NOMEM, "with {refused} pages"),
        }
        assert_eq!(footprint()?, before, "with {refused} pages");
        refused += 1;
    }
    assert!(refused >= 2, "only {refused} setups failed");
    assert_eq!(footprint()?, before);
    Ok(())
}

fn thousand_rings_leave_nothing(ring: &mut dyn Ring) -> Result {
    let kind = ring.kind();
    let before = footprint()?;
    // A thousand rings of all kinds together.
    for _ in 0..1000_usize.div_ceil(KINDS.len()) {
        drop(kind.build(&Setup::USUAL)?);
    }
    assert_eq!(footprint()?, before);
    Ok(())
}
