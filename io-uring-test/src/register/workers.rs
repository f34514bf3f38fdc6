//! The kernel's worker threads.

use std::fs;
use std::ptr;
use std::thread;
use std::time::Duration;

use anyhow::{anyhow, ensure};
use rustix::thread::sched_getaffinity;
use rustix_uring::squeue::Flags;
use rustix_uring::sys::io_uring_register_op::*;
use rustix_uring::types::CpuSet;
use rustix_uring::{Errno, IoUring};

use crate::harness::Need::*;
use crate::harness::*;

const AFFINITY: Need = Register(IORING_REGISTER_IOWQ_AFF as u32);
const NO_AFFINITY: Need = Register(IORING_UNREGISTER_IOWQ_AFF as u32);
const MAX_WORKERS: Need = Register(IORING_REGISTER_IOWQ_MAX_WORKERS as u32);

pub(crate) const CASES: &[Case] = &[
    Case::once("affinity", &[AFFINITY, NO_AFFINITY], affinity),
    Case::kinds("affinity_refused", &[AFFINITY, NO_AFFINITY], affinity_refused),
    Case::kinds("max_workers", &[MAX_WORKERS], max_workers),
];

/// The CPUs on which each worker of this thread may run, in the notation of the kernel.
fn workers_run_on() -> Result<Vec<String>> {
    let mut lists = Vec::new();
    let name = format!("iou-wrk-{}", rustix::thread::gettid().as_raw_nonzero());
    for task in fs::read_dir("/proc/self/task")? {
        let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        if status.starts_with(&format!("Name:\t{name}\n")) {
            let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t"));
            lists.extend(list.map(str::to_owned));
        }
    }
    Ok(lists)
}

/// Waits until the workers run on the expected CPUs. An idle worker takes some time to move.
fn await_workers_on(ring: &mut IoUring, expected: &str) -> Result {
    let mut seen = Vec::new();
    for _ in 0..1000 {
        // SAFETY: a NOP uses no memory and no descriptor.
        unsafe { ring.submission().push(&nop(0).flags(Flags::ASYNC)) }?;
        ring.submit_and_wait(1)?;
        ensure!(ring.completion().count() == 1);
        seen = workers_run_on()?;
        if !seen.is_empty() && seen.iter().all(|list| list == expected) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
    anyhow::bail!("workers run on {seen:?}, expected {expected}")
}

/// Only workers that start afterwards are affected, so each check uses a task without workers.
fn affinity() -> Result {
    let own = sched_getaffinity(None)?;
    let first = (0..CpuSet::MAX_CPU).find(|&cpu| own.is_set(cpu)).unwrap_or(0);
    let mut one = CpuSet::new();
    one.set(first);
    let confined = move |again| {
        thread::spawn(move || -> Result {
            let mut ring = IoUring::new(4)?;
            ring.submitter().register_iowq_aff(&one)?;
            if again {
                let status = fs::read_to_string("/proc/thread-self/status")?;
                let all = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t"));
                ring.submitter().unregister_iowq_aff()?;
                return await_workers_on(&mut ring, all.unwrap_or_default());
            }
            await_workers_on(&mut ring, &first.to_string())
        })
    };
    confined(false).join().map_err(|_| anyhow!("panicked"))??;
    confined(true).join().map_err(|_| anyhow!("panicked"))?
}

fn affinity_refused(ring: &mut dyn Ring) -> Result {
    let submitter = ring.submitter();
    submitter.unregister_iowq_aff()?;
    // SAFETY: the call passes no valid address.
    unsafe {
        let op = IORING_REGISTER_IOWQ_AFF as u32;
        assert_eq!(register(ring.as_fd(), op, ptr::null_mut(), 8), Err(Errno::INVAL));
        assert_eq!(register(ring.as_fd(), op, ptr::dangling_mut(), 8), Err(Errno::FAULT));
        let op = IORING_UNREGISTER_IOWQ_AFF as u32;
        assert_eq!(register(ring.as_fd(), op, ptr::null_mut(), 1), Err(Errno::INVAL));
    }
    Ok(())
}

/// The limits belong to the task. The case restores them; the call returns the limits in force.
fn max_workers(ring: &mut dyn Ring) -> Result {
    let limits =
        |mut max: [u32; 2]| ring.submitter().register_iowq_max_workers(&mut max).map(|()| max);
    let before = limits([0, 0])?;
    ensure!(before[0] > 0 && before[1] > 0, "{before:?}");
    assert_eq!(limits([3, 5])?, before);
    assert_eq!(limits([0, 4])?, [3, 5]);
    assert_eq!(limits([0, 0])?, [3, 4]);
    assert_eq!(limits([1 << 31, 0]), Err(Errno::INVAL));
    limits(before)?;
    Ok(())
}
