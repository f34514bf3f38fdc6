//! Queries what the kernel supports: by its features, by setting up rings, and by trying operations.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};

use anyhow::{Context, Result};
use rustix::io_uring::{IoringSetupFlags, io_uring_params, io_uring_setup};
use rustix_uring::squeue::{self, Entry, Flags};
use rustix_uring::types::{CancelBuilder, Fd, PollFlags, Timespec};
use rustix_uring::{BufRingFlags, Features, IoUring, Restriction, cqueue, opcode};

use crate::known::Known;
use crate::model::Kernel;
use crate::model::errno::{EBADF, ENOENT, ETIME};
use crate::model::restrict::Restrictions;
use crate::model::setup::flag;

/// Whether the kernel sets up a ring with these flags. (This does not use the library: a fault of
/// the library must not be taken for one of the kernel.)
fn sets_up(flags: u32) -> bool {
    let mut params = io_uring_params::default();
    params.flags = IoringSetupFlags::from_bits_retain(flags);
    params.cq_entries = 16;
    // SAFETY: there are no addresses in the parameters.
    unsafe { io_uring_setup(8, &mut params) }.is_ok()
}

/// Runs an operation, and returns its result.
fn run(entry: Entry) -> Result<i32> {
    let mut ring = IoUring::new(4)?;
    // SAFETY: the entries below use no memory.
    unsafe { ring.submission().push(&entry) }?;
    ring.submit_and_wait(1)?;
    Ok(ring.completion().next().context("the operation returned no completion")?.result())
}

/// Whether a NOP succeeds on an IOPOLL ring.
fn nop_iopoll() -> Result<bool> {
    let mut ring = <IoUring>::builder().setup_iopoll().build(1)?;
    // SAFETY: a NOP uses no memory.
    unsafe { ring.submission().push(&opcode::Nop::new().build()) }?;
    ring.submit()?;
    Ok(ring.completion().next().is_some_and(|cqe| cqe.result() == 0))
}

/// Whether a NOP completes before a rejected entry that was submitted after it.
fn refusals_in_order() -> Result<bool> {
    let mut ring = IoUring::new(4)?;
    let refused =
        Entry::from_raw(squeue::Sqe { opcode: 200, ..opcode::Nop::new().build().into_raw() });
    // SAFETY: neither entry uses memory.
    unsafe { ring.submission().push_multiple(&[opcode::Nop::new().build(), refused]) }?;
    ring.submit_and_wait(2)?;
    Ok(ring.completion().next().is_some_and(|cqe| cqe.result() == 0))
}

/// Whether a cancellation completes in order, and not before the entries submitted with it.
fn cancels_in_order() -> Result<bool> {
    let mut ring = IoUring::new(4)?;
    let nop = opcode::Nop::new().build();
    let cancel = opcode::AsyncCancel::new(7).build().user_data(1);
    // SAFETY: neither uses memory.
    unsafe { ring.submission().push_multiple(&[nop, cancel]) }?;
    ring.submit_and_wait(2)?;
    Ok(ring.completion().next().is_some_and(|cqe| cqe.user_data() == 0))
}

/// Whether a completion stays behind one that waits for room, even if there is room by then.
fn overflow_in_order() -> Result<bool> {
    let mut ring = IoUring::new(1)?;
    let nop = |user_data| opcode::Nop::new().build().user_data(user_data);
    for user_data in 1..=3 {
        // SAFETY: NOPs use no memory.
        unsafe { ring.submission().push(&nop(user_data)) }?;
        ring.submit()?;
    }
    anyhow::ensure!(
        ring.completion().count() == 2,
        "the queue of 2 slots does not hold 2 completions"
    );
    // SAFETY: a NOP uses no memory.
    unsafe { ring.submission().push(&nop(4)) }?;
    ring.submit_and_wait(2)?;
    Ok(ring.completion().next().is_some_and(|cqe| cqe.user_data() == 3))
}

/// Whether an entry submitted after a waiting drain waits for the drain.
fn drain_holds() -> Result<bool> {
    let (reader, _writer) = rustix::pipe::pipe()?;
    let mut ring = IoUring::new(4)?;
    let poll = opcode::PollAdd::new(&reader, PollFlags::IN).build().flags(Flags::IO_DRAIN);
    // SAFETY: no entry uses memory, and the pipe outlives the ring.
    unsafe { ring.submission().push(&poll) }?;
    ring.submit()?;
    // SAFETY: a NOP uses no memory.
    unsafe { ring.submission().push(&opcode::Nop::new().build()) }?;
    ring.submit()?;
    let held = ring.completion().next().is_none();
    Ok(held)
}

/// Whether a removed poll completes before its removal does.
fn poll_removed_at_once() -> Result<bool> {
    let (reader, _writer) = rustix::pipe::pipe()?;
    let mut ring = IoUring::new(4)?;
    let poll = opcode::PollAdd::new(&reader, PollFlags::IN).build().user_data(1);
    // SAFETY: no entry uses memory, and the pipe outlives the ring.
    unsafe { ring.submission().push_multiple(&[poll, opcode::PollRemove::new(1).build()]) }?;
    ring.submit_and_wait(2)?;
    Ok(ring.completion().next().is_some_and(|cqe| cqe.user_data() == 1))
}

/// Makes a ring with two chains of two NOPs. The first NOP of each chain has completed.
fn two_chains(defers: bool) -> Result<IoUring> {
    let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
    if defers {
        builder.setup_single_issuer().setup_defer_taskrun();
    }
    let mut ring = builder.build(4)?;
    let nop = |user_data| opcode::Nop::new().build().user_data(user_data);
    let linked = |user_data| nop(user_data).flags(Flags::IO_LINK);
    // SAFETY: NOPs use no memory.
    unsafe { ring.submission().push_multiple(&[linked(1), nop(2), linked(3), nop(4)]) }?;
    ring.submit()?;
    if defers {
        anyhow::ensure!(
            ring.completion().count() == 2,
            "other than 2 NOPs have completed: the kernel must defer the second of each chain"
        );
    }
    Ok(ring)
}

/// Queries which operations and calls restrictions may list.
fn listable() -> Restrictions {
    let knows = |restriction| {
        let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
        builder.setup_r_disabled();
        let ring = builder.build(1);
        ring.is_ok_and(|ring| ring.submitter().register_restrictions(&[restriction]).is_ok())
    };
    let mut all = Restrictions::of(0x1f);
    all.operations.retain(|op| knows(Restriction::sqe_op(*op)));
    all.calls.retain(|call| knows(Restriction::register_op(*call)));
    all
}

/// Whether the kernel applies restrictions before it checks whether the operation supports the
/// flags of the entry.
fn restricts_first() -> Result<bool> {
    let mut ring = <IoUring>::builder().setup_r_disabled().build(1)?;
    ring.submitter().register_restrictions(&[Restriction::sqe_op(opcode::Nop::CODE)])?;
    ring.submitter().register_enable_rings()?;
    let nop = opcode::Nop::new().build().flags(Flags::BUFFER_SELECT);
    // SAFETY: a NOP uses no memory.
    unsafe { ring.submission().push(&nop) }?;
    ring.submit_and_wait(1)?;
    Ok(ring.completion().next().is_some_and(|cqe| cqe.result() == -crate::model::errno::EACCES))
}

/// Whether a message to a ring with DEFER_TASKRUN waits until that ring's task asks for events.
fn messages_deferred() -> Result<bool> {
    let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
    builder.setup_single_issuer().setup_defer_taskrun();
    let mut ring = builder.build(4)?;
    let message = opcode::MsgRingData::new(Fd(ring.as_raw_fd()), 0, 1, None).build();
    // SAFETY: a message uses no memory.
    unsafe { ring.submission().push(&message) }?;
    ring.submit()?;
    Ok(ring.completion().count() < 2)
}

/// Whether a register call of the task does its deferred work.
fn register_runs_work() -> Result<bool> {
    let mut ring = two_chains(true)?;
    // The call fails because nothing is registered. That does not matter here.
    let _ = ring.submitter().unregister_files();
    Ok(ring.completion().count() > 0)
}

/// Whether a task does its newest work first.
fn newest_first(deferred: bool) -> Result<bool> {
    let mut ring = two_chains(deferred)?;
    ring.submitter().get_events()?;
    let order: Vec<_> = ring.completion().map(|cqe| cqe.user_data()).collect();
    Ok(order.ends_with(&[4, 2]))
}

/// Whether the completions of a multishot request come after those of requests that ended earlier
/// in the same round of work.
fn multishot_in_order(newest_first: bool) -> Result<bool> {
    let (reader, writer) = rustix::pipe::pipe()?;
    let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
    builder.setup_single_issuer().setup_defer_taskrun();
    let mut ring = builder.build(4)?;
    let poll = opcode::PollAdd::new(&reader, PollFlags::IN).multi(true).build().user_data(1);
    // SAFETY: a poll uses no memory, and the pipe outlives the ring.
    unsafe { ring.submission().push(&poll) }?;
    ring.submit()?;
    // The linked NOP must run first, and then the poll. If the kernel does the newest work first,
    // the work of the poll must therefore be queued first.
    let link = opcode::Nop::new().build().flags(Flags::IO_LINK);
    // SAFETY: NOPs use no memory.
    unsafe { ring.submission().push_multiple(&[link, opcode::Nop::new().build()]) }?;
    if newest_first {
        rustix::io::write(&writer, b"x")?;
    }
    ring.submit()?;
    if !newest_first {
        rustix::io::write(&writer, b"x")?;
    }
    ring.submitter().get_events()?;
    Ok(ring.completion().last().is_some_and(|cqe| cqe.user_data() == 1))
}

/// Whether a multishot request ends if its completion finds no room in the queue.
fn multishot_needs_room() -> Result<bool> {
    let (reader, writer) = rustix::pipe::pipe()?;
    rustix::io::write(&writer, b"x")?;
    let poll = opcode::PollAdd::new(&reader, PollFlags::IN).multi(true).build().user_data(1);
    let mut ring = IoUring::new(1)?;
    for entry in [opcode::Nop::new().build(), opcode::Nop::new().build(), poll] {
        // SAFETY: neither NOPs nor polls use memory, and the pipe outlives the ring.
        unsafe { ring.submission().push(&entry) }?;
        ring.submit()?;
    }
    anyhow::ensure!(ring.completion().count() == 2, "the queue of 2 slots was not full");
    ring.submitter().get_events()?;
    Ok(ring.completion().next().is_some_and(|cqe| cqe.user_data() == 1 && !cqe.more()))
}

/// Whether an enter call for an SQPOLL ring moves completions that wait for room, although it asks
/// for no events.
fn sqpoll_enter_flushes() -> Result<bool> {
    let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
    builder.setup_sqpoll(60_000).setup_cqsize(2);
    let mut ring = builder.build(2)?;
    for posted in 1..=3 {
        // SAFETY: a NOP uses no memory.
        unsafe { ring.submission().push(&opcode::Nop::new().build()) }?;
        let there = |ring: &mut IoUring| match posted {
            3 => ring.submission().cq_overflow(),
            _ => ring.completion().len() == posted,
        };
        while !there(&mut ring) {
            // The thread sleeps at first, unless the entry was there before it.
            if ring.submission().need_wakeup() {
                ring.submit()?;
            }
            std::thread::yield_now();
        }
    }
    anyhow::ensure!(ring.completion().count() == 2, "the queue of 2 slots was not full");
    ring.submitter().squeue_wait()?;
    Ok(!ring.completion().is_empty())
}

/// Whether the kernel reads a pipe without a worker thread.
fn pipe_nowait() -> Result<bool> {
    let (reader, writer) = rustix::pipe::pipe()?;
    rustix::io::write(&writer, b"x")?;
    let mut byte = 0;
    let n = run(opcode::Read::new(&reader, &raw mut byte, 1).build())?;
    anyhow::ensure!(n == 1, "a read of 1 byte returned {n}");
    Ok(!crate::workers::exist())
}

/// Whether the kernel reads and writes a regular file without a worker thread.
fn transfers_at_once() -> Result<(bool, bool)> {
    let file = rustix::fs::memfd_create("explore", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut byte = 0;
    let (read, reads) = run_by_task(opcode::Read::new(&file, &raw mut byte, 1).build())?;
    let (written, writes) = run_by_task(opcode::Write::new(&file, &raw const byte, 1).build())?;
    anyhow::ensure!((read, written) == (0, 1), "a read returns {read}, and a write {written}");
    Ok((reads, writes))
}

/// Runs an operation. Returns its result, and whether the task itself has run it: the operation has
/// completed during the submission, and there is no worker thread.
fn run_by_task(entry: Entry) -> Result<(i32, bool)> {
    let mut ring = IoUring::new(4)?;
    // SAFETY: the caller's memory lives until the operation has completed: the second call below
    // waits for that.
    unsafe { ring.submission().push(&entry) }?;
    ring.submit()?;
    let at_once = ring.completion().len() == 1 && !crate::workers::exist();
    ring.submitter().wait(1)?;
    let cqe = ring.completion().next().context("nothing has completed")?;
    Ok((cqe.result(), at_once))
}

/// Whether the completion of a read of a regular file says that more of the buffer follows.
fn file_buf_more() -> Result<bool> {
    let file = rustix::fs::memfd_create("explore", rustix::fs::MemfdFlags::CLOEXEC)?;
    let (mut ring, mut bytes) = (IoUring::new(1)?, [0; 8]);
    let group = ring.submitter().register_buf_ring_mmap(1, 0, BufRingFlags::INC);
    let Ok(mut group) = group else { return Ok(false) };
    // SAFETY: the buffer outlives the ring, which is dropped first.
    unsafe { group.add(bytes.as_mut_ptr(), 8, 0) };
    group.publish();
    // SAFETY: the kernel uses only the memory of the group.
    unsafe { ring.submission().push(&opcode::Read::provided(&file, 0, 4).build()) }?;
    ring.submit_and_wait(1)?;
    Ok(ring.completion().next().is_some_and(|cqe| cqe.buffer_more()))
}

/// Whether this process can see the worker threads, and where they sleep.
fn workers_show() -> Result<bool> {
    run(opcode::Nop::new().build().flags(Flags::ASYNC))?;
    for _ in 0..2000 {
        if crate::workers::exist() && crate::workers::are_at_rest(&[]) {
            return Ok(true);
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Ok(false)
}

/// Whether the kernel accepts an operation on a registered buffer whose slot does not exist, and
/// fails it only later.
fn looks_buffers_up_late() -> Result<bool> {
    let mut ring = IoUring::new(4)?;
    let read = opcode::ReadFixed::new(Fd(-1), std::ptr::null_mut(), 1, 7).build();
    // SAFETY: there is no such buffer, and no such file.
    unsafe { ring.submission().push_multiple(&[read, opcode::Nop::new().build()]) }?;
    Ok(ring.submit()? == 2)
}

/// Whether the completion of a receive reports that the socket has more data.
fn tells_rest() -> Result<bool> {
    let (reader, mut writer) = std::os::unix::net::UnixStream::pair()?;
    writer.write_all(b"two")?;
    let (mut ring, mut byte) = (IoUring::new(1)?, 0_u8);
    let receive = opcode::Recv::new(Fd(reader.as_raw_fd()), &raw mut byte, 1).build();
    // SAFETY: the byte lives until the receive has completed: the next call waits for that.
    unsafe { ring.submission().push(&receive) }?;
    ring.submit_and_wait(1)?;
    Ok(ring.completion().next().is_some_and(|cqe| cqe.sock_nonempty()))
}

/// Whether the amount that a socket reports as left includes what was already read of a write.
fn counts_what_was_read() -> Result<bool> {
    let (mut reader, mut writer) = std::os::unix::net::UnixStream::pair()?;
    writer.write_all(b"two")?;
    reader.read_exact(&mut [0; 2])?;
    Ok(rustix::io::ioctl_fionread(&reader)? == 3)
}

pub(crate) fn ask() -> Result<Kernel> {
    // Ask this before other operations start worker threads. (If the process cannot see worker
    // threads, this proves nothing.)
    let pipe_nowait = pipe_nowait()?;
    let (file_reads_at_once, file_writes_at_once) = transfers_at_once()?;
    let workers_show = workers_show()?;
    let ring = IoUring::new(4)?;
    let features = ring.params().features();
    let has = |feature: Features| features.contains(feature);
    // Each flag, and the other flags that it requires.
    let flags = [
        (flag::IOPOLL, 0),
        (flag::SQPOLL, 0),
        (flag::SQ_AFF, flag::SQPOLL),
        (flag::CQSIZE, 0),
        (flag::CLAMP, 0),
        (flag::R_DISABLED, 0),
        (flag::SUBMIT_ALL, 0),
        (flag::COOP_TASKRUN, 0),
        (flag::TASKRUN_FLAG, flag::COOP_TASKRUN),
        (flag::SQE128, 0),
        (flag::CQE32, 0),
        (flag::SINGLE_ISSUER, 0),
        (flag::DEFER_TASKRUN, flag::SINGLE_ISSUER),
        (flag::NO_SQARRAY, 0),
        (flag::HYBRID_IOPOLL, flag::IOPOLL),
        (flag::CQE_MIXED, 0),
        (flag::SQE_MIXED, 0),
        (flag::SQ_REWIND, flag::NO_SQARRAY),
    ];
    let mut setup = flags
        .iter()
        .filter(|(flag, with)| sets_up(flag | with))
        .fold(0, |all, (flag, _)| all | flag);
    if crate::build::takes_small_pages()? {
        setup |= flag::NO_MMAP | flag::REGISTERED_FD_ONLY;
    }
    let defers = setup & flag::DEFER_TASKRUN != 0;
    let (mut resize, mut resize_shows_taskrun) = (false, false);
    if defers {
        let mut builder = IoUring::<squeue::Entry, cqueue::Entry>::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
        let mut ring = builder.build(4)?;
        resize = ring.resize(8, None).is_ok();
        resize_shows_taskrun = ring.submission().taskrun();
    }
    let restrictions = {
        let ring = <IoUring>::builder().setup_r_disabled().build(1)?;
        ring.submitter().register_restrictions(&[Restriction::sqe_op(0)]).is_ok()
    };
    let nop = opcode::Nop::new;
    let deferred_in_reverse = defers && newest_first(true)?;
    // Entries are given as numbers, so that a fault of the library is not taken for one of the
    // kernel.
    let raw = |opcode, addr, len, op_flags| {
        let nop = nop().build().into_raw();
        run(Entry::from_raw(squeue::Sqe { opcode, addr, len, op_flags, off: 0, ..nop }))
    };
    static SOON: Timespec = Timespec::new().nsec(1);
    let soon = (&raw const SOON) as u64;
    let timeout = |flags| {
        let nop = nop().build().into_raw();
        let timeout =
            squeue::Sqe { opcode: 11, addr: soon, len: 1, off: 1, op_flags: flags, ..nop };
        // No other request is in flight.
        run(Entry::from_raw(timeout))
    };
    let timeout_update = |flags| {
        let nop = nop().build().into_raw();
        let update = squeue::Sqe { opcode: 12, addr: 1, off: soon, op_flags: flags, ..nop };
        run(Entry::from_raw(update))
    };
    Ok(Kernel {
        setup,
        ext_arg: has(Features::EXT_ARG),
        min_timeout: has(Features::MIN_TIMEOUT),
        cqe_skip: has(Features::CQE_SKIP),
        linked_file: has(Features::LINKED_FILE),
        nop_result: run(nop().result(3).build())? == 3,
        nop_task_work: run(nop().task_work(true).build())? == 0 && setup & flag::CQE_MIXED != 0,
        nop_ioprio: run(Entry::from_raw(squeue::Sqe { ioprio: 1, ..nop().build().into_raw() }))?
            != 0,
        nop_big: setup & flag::CQE_MIXED != 0,
        nop128: setup & flag::SQE_MIXED != 0,
        nop_iopoll: setup & flag::IOPOLL != 0 && nop_iopoll()?,
        messages: run(opcode::MsgRingData::new(Fd(-1), 0, 0, None).build())?
            != -crate::model::errno::EINVAL,
        message_flags: run(opcode::MsgRingData::new(Fd(-1), 0, 0, Some(0)).build())?
            != -crate::model::errno::EINVAL,
        poll_multi: has(Features::RSRC_TAGS),
        multishot_needs_room: has(Features::RSRC_TAGS) && multishot_needs_room()?,
        poll_removed_at_once: poll_removed_at_once()?,
        poll_update: raw(7, 1, 2, 1)? == -ENOENT,
        timeout_multi: timeout(1 << 6)? == -ETIME,
        timeout_success: timeout(1 << 5)? == -ETIME,
        timeout_clocks: timeout(1 << 2)? == -ETIME,
        timeout_update: timeout_update(1 << 1)? == -ENOENT,
        link_timeout_update: timeout_update(1 << 1 | 1 << 4)? == -ENOENT,
        cancel_any: run(opcode::AsyncCancel2::new(CancelBuilder::any()).build())? >= 0,
        refusals_in_order: refusals_in_order()?,
        cancel_both: {
            let both = CancelBuilder::fd(ring.as_fd()).and_user_data(1);
            let called = ring.submitter().register_sync_cancel(None, both);
            run(opcode::AsyncCancel2::new(both).build())? != -crate::model::errno::EINVAL
                && called != Err(rustix_uring::Errno::INVAL)
        },
        sync_cancel: ring.submitter().register_sync_cancel(None, CancelBuilder::user_data(1))
            == Err(rustix_uring::Errno::NOENT),
        sparse_files: ring.submitter().register_files_sparse(1).is_ok(),
        cancels_in_order: cancels_in_order()?,
        overflow_in_order: overflow_in_order()?,
        drain_holds: drain_holds()?,
        listable: listable(),
        messages_deferred: defers && messages_deferred()?,
        in_reverse: newest_first(false)?,
        deferred_in_reverse,
        multishot_in_order: defers && multishot_in_order(deferred_in_reverse)?,
        register_runs_work: defers && register_runs_work()?,
        sqpoll_enter_flushes: setup & flag::SQPOLL != 0 && sqpoll_enter_flushes()?,
        pipe_nowait: pipe_nowait && workers_show,
        file_reads_at_once: file_reads_at_once && workers_show,
        file_writes_at_once: file_writes_at_once && workers_show,
        fixed_vectors: run(opcode::ReadvFixed::new(Fd(-1), std::ptr::null(), 0, 0).build())?
            == -EBADF,
        file_buf_more: file_buf_more()?,
        workers_show,
        resize,
        resize_shows_taskrun,
        ring_fds: IoUring::new(1)?.into_local().register_ring_fd().is_ok(),
        reg_reg_ring: has(Features::REG_REG_RING),
        provided: has(Features::RECVSEND_BUNDLE),
        incremental: has(Features::RECVSEND_BUNDLE)
            && ring.submitter().register_buf_ring_mmap(1, 0, BufRingFlags::INC).is_ok(),
        buffers: looks_buffers_up_late()?,
        // Kernels that look buffers up late can also clone some of the buffers of a ring.
        clones: looks_buffers_up_late()?,
        installs: {
            let nop = nop().build().into_raw();
            let install = squeue::Sqe { opcode: 54, flags: 1, fd: 9, ..nop };
            looks_buffers_up_late()? && run(Entry::from_raw(install))? == -EBADF
        },
        sends_by_call: rustix_uring::send_msg_ring(&IoUring::new(1)?, 1, 1, None).is_ok(),
        tells_rest: tells_rest()?,
        counts_what_was_read: counts_what_was_read()?,
        restrictions,
        restricts_first: restrictions && restricts_first()?,
        injected: false,
        known: Known::here(),
    })
}
