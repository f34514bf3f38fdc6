//! Frequent signals during submits and waits.

use std::thread;
use std::time::Duration;

use anyhow::{bail, ensure};
use rustix::io::write;
use rustix::pipe::pipe;
use rustix_uring::opcode::{Read, Timeout};
use rustix_uring::squeue::Flags;
use rustix_uring::types::Timespec;
use rustix_uring::{Errno, SetupFlags};

use crate::harness::Need::*;
use crate::harness::*;

const DEFER: SetupFlags = SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN);
const SQPOLL: SetupFlags = SetupFlags::SQPOLL;

pub(crate) const CASES: &[Case] = &[
    Case::kinds("storm", &[], storm),
    Case::kinds("storm_defer", &[RingWith(DEFER)], storm).setup(Setup::USUAL.flags(DEFER)),
    Case::kinds("storm_sqpoll", &[RingWith(SQPOLL)], storm).setup(Setup::USUAL.flags(SQPOLL)),
    Case::kinds("storm_quiesce", &[], storm_quiesce),
];

/// Signals interrupt waits repeatedly. No completion is lost or seen twice.
fn storm(ring: &mut dyn Ring) -> Result {
    const SIGNALS: u32 = 10;
    let (reader, writer) = pipe()?;
    let mut buf = [0; 8];
    let buf = buf.as_mut_ptr();
    signal::handle();
    let (this, writer, mut interrupted) = (signal::Thread::this(), &writer, 0);
    for start in (0..25).step_by(5) {
        // The awaited data arrives after all signals.
        let signals = move || {
            for _ in 0..SIGNALS {
                thread::sleep(Duration::from_micros(100));
                let before = signal::handled();
                this.signal();
                while signal::handled() == before {
                    thread::yield_now();
                }
            }
            write(writer, b"go ahead")
        };
        ring.push_nops(start..start + 4, Flags::empty())?;
        let read = Read::new(&reader, buf, 8).build().user_data(start + 4);
        // SAFETY: the pipe and the memory outlive the read, whose completion is awaited.
        unsafe { ring.push(&[read]) }?;
        let done = thread::scope(|scope| -> Result<Vec<_>> {
            scope.spawn(signals);
            let mut done = Vec::new();
            while done.len() < 5 {
                match ring.submit_and_wait(5 - done.len()) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(errno) => bail!(errno),
                }
                done.extend(ring.reap().iter().map(|cqe| (cqe.user_data(), cqe.to_result())));
                // A call that submitted anything returns that number instead of EINTR.
                interrupted += u32::from(done.len() < 5);
            }
            Ok(done)
        })?;
        let expected = (start..start + 5).map(|n| (n, Ok(if n == start + 4 { 8 } else { 0 })));
        ensure!(done.iter().copied().eq(expected), "{done:?}");
    }
    ensure!(interrupted > SIGNALS, "only {interrupted} waits were interrupted");
    Ok(())
}

/// An interrupted `quiesce` continues.
fn storm_quiesce(ring: &mut dyn Ring) -> Result {
    static HOUR: Timespec = Timespec::new().sec(3600);
    let (reader, _writer) = pipe()?;
    let mut buf = [0; 8];
    let buf = buf.as_mut_ptr();
    signal::storm(|| -> Result {
        for _ in 0..5 {
            let hours = (0..6).map(|n| Timeout::new(&HOUR).build().user_data(n));
            let reads = (6..12).map(|n| Read::new(&reader, buf, 8).build().user_data(n));
            let all: Vec<_> = hours.chain(reads).collect();
            // SAFETY: everything that the operations use outlives them: `quiesce` ends them.
            unsafe { ring.push(&all) }?;
            ring.submit()?;
            let (mut in_flight, mut ends) = (12, Vec::new());
            let user_data: Vec<_> = (0..12).collect();
            ring.quiesce_with(&mut in_flight, LIMIT, &user_data, &mut |cqe| {
                ends.push((cqe.user_data(), cqe.to_result()));
                true
            })?;
            ends.sort_by_key(|(user_data, _)| *user_data);
            // The signal may also interrupt a waiting read itself.
            let over = |end| matches!(end, Err(Errno::CANCELED | Errno::INTR));
            ensure!(ends.iter().map(|end| end.0).eq(0..12), "{ends:?}");
            ensure!(ends.iter().all(|end| over(end.1)), "{ends:?}");
        }
        Ok(())
    })?;
    ring.works(20)
}
