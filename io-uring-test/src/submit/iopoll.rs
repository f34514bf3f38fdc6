//! IOPOLL rings, whose completions must be polled for.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::pipe::pipe;
use rustix_uring::opcode::{AsyncCancel, PollAdd, Read, Timeout};
use rustix_uring::squeue::Entry;
use rustix_uring::types::{PollFlags, SubmitArgs, Timespec};
use rustix_uring::{Errno, Features, SetupFlags};

use crate::harness::Need::*;
use crate::harness::*;

const IOPOLL: SetupFlags = SetupFlags::IOPOLL;
const HYBRID: SetupFlags = IOPOLL.union(SetupFlags::HYBRID_IOPOLL);
const DRIVE: &str = "/dev/nvme0n1";

pub(crate) const CASES: &[Case] = &[
    Case::kinds("file_that_does_not_poll", &[RingWith(IOPOLL)], file_that_does_not_poll)
        .setup(Setup::USUAL.flags(IOPOLL)),
    Case::kinds("other_operations", &[RingWith(IOPOLL)], other_operations)
        .setup(Setup::USUAL.flags(IOPOLL)),
    Case::kinds(
        "nothing_in_flight",
        &[RingWith(IOPOLL), Feature(Features::EXT_ARG)],
        nothing_in_flight,
    )
    .setup(Setup::USUAL.flags(IOPOLL)),
    Case::kinds("drive", &[RingWith(IOPOLL), Device(DRIVE), POLLS], drive)
        .setup(Setup::USUAL.flags(IOPOLL)),
    Case::kinds("drive_without_waiting", &[RingWith(IOPOLL), Device(DRIVE), POLLS], submits_only)
        .setup(Setup::USUAL.flags(IOPOLL)),
    Case::kinds("drive_hybrid", &[RingWith(HYBRID), Device(DRIVE), POLLS], drive)
        .setup(Setup::USUAL.flags(HYBRID)),
];

fn file_that_does_not_poll(ring: &mut dyn Ring) -> Result {
    let file = file_with(b"hello")?;
    let mut buf = [0; 8];
    let read = Read::new(file.as_fd(), buf.as_mut_ptr(), 8).build();
    for _ in 0..20 {
        // SAFETY: `file` and `buf` outlive the read, for which `run` waits.
        assert_eq!(unsafe { ring.run(read) }?.to_result(), Err(Errno::OPNOTSUPP));
    }
    Ok(())
}

/// No kernel so far runs operations that wait for something else. Older kernels do not run NOPs.
fn other_operations(ring: &mut dyn Ring) -> Result {
    static HOUR: Timespec = Timespec::new().sec(3600);
    let (reader, _writer) = pipe()?;
    let refused = [
        PollAdd::new(&reader, PollFlags::IN).build(),
        Timeout::new(&HOUR).build(),
        AsyncCancel::new(1).build(),
    ];
    for entry in refused {
        // SAFETY: the pipe outlives the operation, for which `run` waits.
        assert_eq!(unsafe { ring.run(entry) }?.to_result(), Err(Errno::INVAL), "{entry:?}");
    }
    // SAFETY: a NOP uses no memory.
    let nop = unsafe { ring.run(nop(1)) }?.to_result();
    assert!(matches!(nop, Ok(0) | Err(Errno::INVAL)), "{nop:?}");
    Ok(())
}

/// There is nothing to poll: waits end at once, without a completion or an error, whatever their
/// time limit. (liburing's `io_uring_wait_cqe` retries forever.)
fn nothing_in_flight(ring: &mut dyn Ring) -> Result {
    let hour = Timespec::new().sec(3600);
    let args = SubmitArgs::new().timespec(&hour);
    assert_eq!(ring.submitter().wait(1), Ok(()));
    assert_eq!(ring.submitter().wait_with_args(1, &args), Ok(()));
    assert_eq!(ring.submit_and_wait(1), Ok(0));
    assert!(ring.reap().is_empty());
    Ok(())
}

const POLLS: Need = Trial {
    what: "polling on the drive (requires nvme.poll_queues)",
    refusal: Errno::OPNOTSUPP,
    call: || drive(&mut *KINDS[0].build(&Setup::USUAL.flags(IOPOLL))?),
};

fn drive(ring: &mut dyn Ring) -> Result {
    // SAFETY: `read_drive` keeps what the reads use until all have completed.
    read_drive(ring, |ring, reads| unsafe { ring.run_all(reads) })
}

/// A loop that only submits sees its completions, although nothing else polls for them.
fn submits_only(ring: &mut dyn Ring) -> Result {
    read_drive(ring, |ring, reads| {
        // SAFETY: `read_drive` keeps what the reads use until all have completed.
        unsafe { ring.push(reads) }?;
        let mut done = Vec::new();
        while done.len() < reads.len() {
            ring.submit()?;
            done.extend(ring.reap());
        }
        Ok(done)
    })
}

/// Reads several pages at once, and compares them with the result of an ordinary read. `run`
/// returns once all reads have completed.
fn read_drive(
    ring: &mut dyn Ring,
    run: impl FnOnce(&mut dyn Ring, &[Entry]) -> Result<Vec<Completion>>,
) -> Result {
    const PAGE: usize = 4096;
    let direct =
        OpenOptions::new().read(true).custom_flags(OFlags::DIRECT.bits() as i32).open(DRIVE)?;
    let memory = Pages::new(8 * PAGE)?;
    let start = memory.all().cast::<u8>();
    // SAFETY: the pointer stays within the memory, which nothing else uses yet.
    unsafe { start.write_bytes(0xff, 8 * PAGE) };
    let page = |i: usize| {
        // SAFETY: the pointer stays within the memory.
        let buf = unsafe { start.add(i * PAGE) }.as_ptr();
        let read = Read::new(direct.as_fd(), buf, PAGE as u32).offset((i * PAGE) as u64);
        read.build().user_data(i as u64)
    };
    let reads: Vec<_> = (0..8).map(page).collect();
    for done in run(ring, &reads)? {
        assert_eq!(done.to_result()? as usize, PAGE);
    }
    let mut expected = vec![0; 8 * PAGE];
    File::open(DRIVE)?.read_exact(&mut expected)?;
    // SAFETY: the memory is initialized, and the reads have completed.
    assert!(unsafe { memory.all().as_ref() } == expected);
    Ok(())
}
