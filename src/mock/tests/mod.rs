mod sound;

use core::sync::atomic::AtomicU8;
use std::time::Instant;
use std::vec;

use super::*;
use crate::opcode;
use crate::squeue::{Accepts, Entry128, Flags, Kind, Mixed, Rewind, SubmissionQueue};
use crate::types::{CancelBuilder, Fd, FileSlot, SubmitArgs, TimeoutFlags, iovec};

type Ring<S = squeue::Entry, C = cqueue::Entry> = IoUring<S, C, Kernel>;

const SECOND: Duration = Duration::from_secs(1);

fn build<S: Kind, C: cqueue::Kind>(
    builder: &Builder<S, C>,
    script: Script,
) -> io::Result<Ring<S, C>> {
    // SAFETY: only the tests see the results. They compare them, and access no memory based on
    // them.
    unsafe { builder.build_mock(4, script) }
}

fn ring(answers: impl FnMut(&Submission) -> Answer + Send + 'static) -> Ring {
    build(&IoUring::builder(), Script::new(answers)).unwrap()
}

fn nop(user_data: u64) -> squeue::Entry {
    opcode::Nop::new().build().user_data(user_data)
}

/// Pushes an entry that points to nothing, or to memory that outlives the ring.
fn push<C: cqueue::Kind>(ring: &mut Ring<squeue::Entry, C>, entry: squeue::Entry) {
    // SAFETY: tests pass only such entries, and the kernel is a mock.
    unsafe { ring.submission().push(&entry) }.unwrap();
}

/// Returns the user data and results of all completions.
fn reap<S: Kind, C: cqueue::Kind>(ring: &mut Ring<S, C>) -> Vec<(u64, i32)> {
    ring.completion().map(Into::into).map(|cqe: cqueue::Entry| (cqe.user_data, cqe.res)).collect()
}

/// Enough to pass the wrap. Fewer under Miri, which is slow.
const COUNT: u64 = if cfg!(miri) { 6 } else { 20 };

/// Sends some numbers through a ring, across the wrap of its positions.
fn through<S: Kind, C: cqueue::Kind>(
    push: fn(&mut SubmissionQueue<'_, S>, u64),
    big: fn(&C) -> Option<[u64; 2]>,
) {
    for start in [0, u32::MAX - 2] {
        let mut sum = 0;
        let script = Script::new(move |submission| {
            let is_big = submission.user_data() % 3 == 0;
            sum += submission.rest().map_or(0, |rest| rest[63].into());
            let answer = Answer::result(sum);
            if is_big { answer.big_cqe([submission.user_data(), 7]) } else { answer }
        });
        let mut ring = build(&IoUring::<S, C>::builder(), script.start(start)).unwrap();
        let mut sum = 0;
        for number in 0..COUNT {
            push(&mut ring.submission(), number);
            let slots = ring.submission().len();
            assert_eq!(ring.submit_and_wait(1), Ok(slots));
            let cqe = ring.completion().next().unwrap();
            let expected = if number % 3 == 0 { [number, 7] } else { [0; 2] };
            assert_eq!(big(&cqe).unwrap_or(expected), expected);
            let entry: cqueue::Entry = cqe.into();
            assert_eq!((entry.user_data, entry.flags & 2), (number, 0));
            sum = entry.res;
            assert!(ring.completion().is_empty() && ring.submission().is_empty());
        }
        assert!(sum == 0 || sum == COUNT as i32 * 9, "{sum}");
        assert_eq!(ring.kernel().enters(), COUNT as usize);
    }
}

#[test]
fn every_kind_of_ring() {
    fn sqe64<S: Kind>(queue: &mut SubmissionQueue<'_, S>, number: u64) {
        // SAFETY: a NOP points to nothing.
        unsafe { queue.push_any(&nop(number)) }.unwrap();
    }
    fn big<S: Kind + Accepts<Entry128>>(queue: &mut SubmissionQueue<'_, S>, number: u64) {
        let (sqe, _) = opcode::Nop128::new().build().user_data(number).into_raw();
        // SAFETY: a NOP points to nothing.
        unsafe { queue.push_any(&Entry128::from_raw(sqe, [9; 64])) }.unwrap();
    }
    fn completions<S: Kind>(push: fn(&mut SubmissionQueue<'_, S>, u64)) {
        through::<S, cqueue::Entry>(push, |_| None);
        through::<S, cqueue::Entry32>(push, |cqe| Some(*cqe.big_cqe()));
        through::<S, cqueue::Mixed>(push, |cqe| Some(cqe.big_cqe().copied().unwrap_or_default()));
    }
    completions::<squeue::Entry>(sqe64);
    completions::<Entry128>(sqe64);
    completions::<Entry128>(big);
    completions::<Mixed>(sqe64);
    completions::<Mixed>(big);
    completions::<Rewind>(sqe64);
    completions::<Rewind<Entry128>>(big);
    completions::<Rewind<Mixed>>(big);
}

#[test]
fn scripts_do_not_see_pads() {
    let script = |submission: &Submission| {
        assert_ne!(submission.user_data(), PAD_USER_DATA);
        Answer::usual()
    };
    let mut builder = IoUring::<Mixed, cqueue::Entry>::builder();
    for (posting, expected) in
        [(false, vec![(1, 0), (2, 0)]), (true, vec![(1, 0), (PAD_USER_DATA, 0), (2, 0)])]
    {
        if posting {
            builder.post_pad_cqes();
        }
        let mut ring = build(&builder, Script::new(script).start(2)).unwrap();
        // SAFETY: NOPs point to nothing.
        unsafe {
            ring.submission().push(&nop(1)).unwrap();
            ring.submission().push_any(&opcode::Nop128::new().build().user_data(2)).unwrap();
        }
        assert_eq!(ring.submit(), Ok(4));
        assert_eq!(reap(&mut ring), expected);
    }
}

/// Otherwise, half an entry would be treated as a whole one.
#[test]
fn a_big_operation_in_a_small_slot_is_invalid() {
    let mut ring = ring(|_| unreachable!());
    let (sqe, _) = opcode::Nop128::new().build().into_raw();
    push(&mut ring, squeue::Entry::from_raw(sqe));
    assert_eq!(ring.submit(), Ok(1));
    assert_eq!(reap(&mut ring), [(0, -Errno::INVAL.raw_os_error())]);
}

#[test]
fn data_flows_both_ways() {
    let mut ring = ring(|submission| match submission.opcode() {
        opcode::Read::CODE | opcode::Readv::CODE => Answer::bytes("hello"),
        opcode::RecvMsg::CODE => Answer::bytes("no place to put it"),
        _ => match submission.data() {
            Some(data) if data == b"hello" => Answer::result(data.len() as i32),
            data => panic!("{data:?}"),
        },
    });
    let mut buf = [0_u8; 8];
    let address = buf.as_mut_ptr();
    // SAFETY: the address is within the buffer.
    let later = unsafe { address.add(3) };
    let vectors = [
        iovec { iov_base: address.cast(), iov_len: 2 },
        iovec { iov_base: core::ptr::null_mut(), iov_len: 0 },
        iovec { iov_base: later.cast(), iov_len: 5 },
    ];
    let (iovecs, fd) = (vectors.as_ptr(), Fd(5));
    let mut go = |entry: squeue::Entry, expected: i32| {
        push(&mut ring, entry);
        ring.submit_and_wait(1).unwrap();
        assert_eq!(reap(&mut ring), [(0, expected)]);
    };
    // The data stops at the length of the buffers, and is in the right places.
    go(opcode::Read::new(fd, address, 3).build(), 3);
    go(opcode::Readv::new(fd, iovecs, 3).build(), 5);
    go(opcode::RecvMsg::new(fd, core::ptr::null_mut()).build(), -Errno::FAULT.raw_os_error());
    assert_eq!(buf, *b"helllo\0\0");
    buf = *b"hello\0\0\0";
    let address = buf.as_ptr();
    go(opcode::Write::new(fd, address, 5).build(), 5);
    go(opcode::Send::new(fd, address, 5).build(), 5);
    let vectors = [
        iovec { iov_base: address.cast_mut().cast(), iov_len: 1 },
        // SAFETY: the address is within the buffer.
        iovec { iov_base: unsafe { address.add(1) }.cast_mut().cast(), iov_len: 4 },
    ];
    go(opcode::Writev::new(fd, vectors.as_ptr(), 2).build(), 5);
    let none = core::ptr::null();
    go(opcode::Send::new(fd, none, 2).vectorized(vectors.as_ptr()).build(), 5);
}

#[test]
fn an_operation_can_have_several_completions() {
    let mut ring = ring(|_| {
        let (first, last) = (Answer::result(1).buffer(7), Answer::error(Errno::NOBUFS));
        first.then(Answer::result(2).after(SECOND)).then(last)
    });
    push(&mut ring, nop(1));
    ring.submit_and_wait(1).unwrap();
    let cqe = ring.completion().next().unwrap();
    assert_eq!((cqe.result(), cqe.more(), cqe.buffer_select()), (1, true, Some(7)));
    assert!(ring.completion().is_empty());
    ring.submit_and_wait(2).unwrap();
    assert_eq!(ring.kernel().now(), SECOND);
    let more: Vec<_> = ring.completion().map(|cqe| (cqe.result(), cqe.more())).collect();
    assert_eq!(more, [(2, true), (-Errno::NOBUFS.raw_os_error(), false)]);
}

#[test]
fn submissions_left_queued_stay_queued() {
    let mut refusals = 2;
    let mut ring = ring(move |submission| {
        // An entry left queued is not in flight. The first one is, for a second.
        let others = submission.kernel().in_flight();
        assert_eq!(others, if submission.user_data() == 1 { vec![] } else { vec![1] });
        if submission.user_data() == 2 && refusals > 0 {
            refusals -= 1;
            return Answer::leave_queued(Errno::BUSY);
        }
        Answer::result(0).after(if submission.user_data() == 1 { SECOND } else { Duration::ZERO })
    });
    (1..=3).for_each(|number| push(&mut ring, nop(number)));
    // The call does not wait. It returns the errno only if it has consumed nothing.
    assert_eq!(ring.submit_and_wait(3), Ok(1));
    assert_eq!(ring.submission().len(), 2);
    assert_eq!(ring.kernel().now(), Duration::ZERO);
    assert_eq!(ring.submit(), Err(Errno::BUSY));
    assert_eq!(ring.submit_and_wait(3), Ok(2));
    assert_eq!(reap(&mut ring), [(2, 0), (3, 0), (1, 0)]);
}

#[test]
fn a_rejected_submission_ends_its_batch() {
    for submit_all in [false, true] {
        let mut builder = <IoUring>::builder();
        if submit_all {
            builder.setup_submit_all();
        }
        let script = Script::new(|submission| match submission.user_data() {
            2 => Answer::fail_at_submit(Errno::INVAL),
            _ => Answer::usual(),
        });
        let mut ring = build(&builder, script).unwrap();
        (1..=3).for_each(|number| push(&mut ring, nop(number)));
        assert_eq!(ring.submit(), Ok(if submit_all { 3 } else { 2 }));
        ring.submit().unwrap();
        assert_eq!(reap(&mut ring), [(1, 0), (2, -22), (3, 0)]);
    }
}

#[test]
fn calls_fail_and_waits_are_interrupted() {
    let mut ring = ring(|_| Answer::pending());
    push(&mut ring, nop(1));
    ring.kernel().fail(Errno::AGAIN);
    assert_eq!(ring.submit(), Err(Errno::AGAIN));
    assert_eq!(ring.submission().len(), 1);
    ring.kernel().interrupt();
    // If something was submitted, the call returns the count instead.
    assert_eq!(ring.submit_and_wait(1), Ok(1));
    ring.kernel().interrupt();
    assert_eq!(ring.submit_and_wait(1), Err(Errno::INTR));
    // A kernel would wait forever.
    assert_eq!(ring.submit_and_wait(1), Err(Errno::DEADLK));
}

#[test]
fn time_passes_in_waits() {
    let mut ring =
        ring(|submission| Answer::result(0).after(SECOND * (10 - submission.user_data() as u32)));
    (1..=3).for_each(|number| push(&mut ring, nop(number)));
    assert_eq!(ring.submit(), Ok(3));
    let time = crate::types::Timespec::new().sec(4);
    let args = SubmitArgs::new().timespec(&time);
    assert_eq!(ring.submit_with_args(1, &args), Err(Errno::TIME));
    assert_eq!(ring.kernel().now(), SECOND * 4);
    assert_eq!(ring.submit_with_args(1, &args), Ok(0));
    assert_eq!((ring.kernel().now(), reap(&mut ring)), (SECOND * 7, vec![(3, 0)]));
    // With an absolute time, and for two completions instead of one.
    let time = time.sec(8);
    let until = SubmitArgs::new().deadline(&time);
    assert_eq!(ring.submit_with_args(2, &until), Ok(0));
    assert_eq!((ring.kernel().now(), reap(&mut ring)), (SECOND * 8, vec![(2, 0)]));
    ring.kernel().advance(SECOND / 2);
    assert_eq!(reap(&mut ring), []);
    ring.kernel().advance(SECOND);
    assert_eq!(reap(&mut ring), [(1, 0)]);
}

#[test]
fn one_completion_is_enough_after_the_minimum_wait() {
    for (number, expected) in [(2, 3), (5, 5)] {
        let mut ring = ring(|it| Answer::result(0).after(SECOND * it.user_data() as u32));
        push(&mut ring, nop(number));
        push(&mut ring, nop(20));
        ring.submit().unwrap();
        let time = crate::types::Timespec::new().sec(10);
        let args = SubmitArgs::new().min_wait_usec(3_000_000).timespec(&time);
        assert_eq!(ring.submit_with_args(2, &args), Ok(0));
        assert_eq!((ring.kernel().now(), reap(&mut ring)), (SECOND * expected, vec![(number, 0)]));
    }
}

#[test]
fn timeouts_expire_in_usual_answers() {
    let mut ring = build(&<IoUring>::builder(), Script::default()).unwrap();
    let times = [5, 2, 3].map(|sec| crate::types::Timespec::new().sec(sec));
    ring.kernel().advance(SECOND);
    push(&mut ring, opcode::Timeout::new(&times[0]).build().user_data(1));
    push(&mut ring, opcode::Timeout::new(&times[1]).build().user_data(2));
    let absolute = opcode::Timeout::new(&times[2]).flags(TimeoutFlags::ABS);
    push(&mut ring, absolute.build().user_data(3));
    ring.submit_and_wait(2).unwrap();
    let etime = -Errno::TIME.raw_os_error();
    assert_eq!((ring.kernel().now(), reap(&mut ring)), (SECOND * 3, vec![(2, etime), (3, etime)]));
    push(&mut ring, opcode::TimeoutRemove::new(1).build().user_data(4));
    push(&mut ring, opcode::TimeoutRemove::new(1).build().user_data(5));
    ring.submit().unwrap();
    let canceled = -Errno::CANCELED.raw_os_error();
    assert_eq!(reap(&mut ring), [(1, canceled), (4, 0), (5, -Errno::NOENT.raw_os_error())]);
    // An operation that `usual` does not support.
    let count = opcode::Timeout::new(&times[0]).count(1).build();
    push(&mut ring, count.user_data(6));
    ring.submit().unwrap();
    assert_eq!(reap(&mut ring), [(6, -Errno::INVAL.raw_os_error())]);
}

#[test]
fn pending_operations_are_completed_by_hand() {
    let mut ring = ring(|_| Answer::pending());
    [1, 2, 1].into_iter().for_each(|number| push(&mut ring, nop(number)));
    ring.submit().unwrap();
    let kernel = ring.kernel().clone();
    assert_eq!(kernel.in_flight(), [1, 2, 1]);
    assert!(kernel.complete(2, Answer::result(5).then(Answer::pending())));
    assert!(kernel.complete(1, Answer::no_cqe()));
    assert!(!kernel.complete(3, Answer::result(5)));
    assert_eq!(kernel.in_flight(), [2, 1]);
    assert!(kernel.complete(2, Answer::result(6)));
    assert!(!kernel.complete(2, Answer::result(7)));
    kernel.post(9, 8, 0);
    let seen: Vec<_> =
        ring.completion().map(|cqe| (cqe.user_data(), cqe.result(), cqe.more())).collect();
    assert_eq!(seen, [(2, 5, true), (2, 6, false), (9, 8, false)]);
}

#[test]
fn cancellations_find_the_matching_operations() {
    let (read, poll) = (opcode::Read::CODE, opcode::PollAdd::CODE);
    let cases = [
        (CancelBuilder::user_data(1), 0, vec![1]),
        (CancelBuilder::user_data(7), -2, vec![]),
        (CancelBuilder::any(), 3, vec![1, 2, 3]),
        (CancelBuilder::any().all(), 3, vec![1, 2, 3]),
        (CancelBuilder::fd(Fd(5)), 0, vec![2]),
        (CancelBuilder::fd(Fd(5)).all(), 2, vec![2, 3]),
        (CancelBuilder::fd(Fd(5)).and_op(read).all(), 1, vec![3]),
        (CancelBuilder::op(read).and_user_data(3), 0, vec![3]),
        (CancelBuilder::op(poll).and_user_data(3), -2, vec![]),
    ];
    for (by, result, targets) in cases {
        let mut ring = ring(|it| match it.user_data() {
            4 => Answer::pending().uncancellable(),
            1..4 => Answer::pending(),
            _ => Answer::usual(),
        });
        let nowhere = core::ptr::null_mut();
        push(&mut ring, opcode::Read::new(Fd(4), nowhere, 0).build().user_data(1));
        push(
            &mut ring,
            opcode::PollAdd::new(Fd(5), crate::types::PollFlags::IN).build().user_data(2),
        );
        push(&mut ring, opcode::Read::new(Fd(5), nowhere, 0).build().user_data(3));
        push(&mut ring, opcode::Read::new(Fd(5), nowhere, 0).build().user_data(4));
        ring.submit().unwrap();
        push(&mut ring, opcode::AsyncCancel2::new(by).build());
        ring.submit().unwrap();
        let canceled = targets.into_iter().map(|it| (it, -Errno::CANCELED.raw_os_error()));
        let expected: Vec<_> = canceled.chain([(0, result)]).collect();
        assert_eq!(reap(&mut ring), expected, "{by:?}");
    }
}

#[test]
fn quiesce_completes() {
    let mut ring = ring(|it| match it.user_data() {
        1 => Answer::result(5).after(SECOND).uncancellable(),
        2 => Answer::result(1).then(Answer::pending()),
        3 => Answer::pending(),
        _ => Answer::usual(),
    });
    (1..=3).for_each(|number| push(&mut ring, nop(number)));
    let mut seen = Vec::new();
    let quiesced = ring.quiesce_with(&mut 3, 5 * SECOND, &[], |cqe| {
        seen.push((cqe.user_data(), cqe.result()));
        true
    });
    assert_eq!(quiesced, Ok(()));
    let canceled = -Errno::CANCELED.raw_os_error();
    assert_eq!(seen, [(2, 1), (2, canceled), (3, canceled), (1, 5)]);
    assert_eq!((ring.kernel().now(), ring.kernel().in_flight()), (SECOND, vec![]));
}

#[test]
fn a_full_queue_keeps_or_drops_completions() {
    for kept in [true, false] {
        let features = if kept { Features::NODROP } else { Features::empty() };
        let script = Script::default().features(features);
        let mut ring = build(<IoUring>::builder().setup_cqsize(4), script).unwrap();
        for number in 0..6 {
            push(&mut ring, nop(number));
            assert_eq!(ring.submit(), Ok(1));
        }
        assert_eq!(ring.submission().cq_overflow(), kept);
        assert_eq!(ring.completion().overflow(), if kept { 0 } else { 2 });
        assert!(reap(&mut ring).into_iter().map(|(number, _)| number).eq(0..4));
        // The queue has space now. But waiting completions come first, and only when a call asks
        // for events.
        ring.kernel().post(6, 0, 0);
        assert_eq!(reap(&mut ring), if kept { vec![] } else { vec![(6, 0)] });
        // With the overflow flag, a submit makes a call, which posts the rest.
        ring.submit().unwrap();
        let rest = reap(&mut ring);
        assert_eq!(rest, if kept { vec![(4, 0), (5, 0), (6, 0)] } else { vec![] });
        assert!(!ring.submission().cq_overflow());
    }
}

#[test]
fn deferred_completions_wait_until_asked_for() {
    for flagged in [false, true] {
        let mut builder = <IoUring>::builder();
        builder.setup_single_issuer().setup_defer_taskrun();
        if flagged {
            builder.setup_taskrun_flag();
        }
        let mut ring = build(&builder, Script::default()).unwrap();
        push(&mut ring, nop(1));
        ring.submit().unwrap();
        let taskrun = ring.submission().taskrun();
        assert_eq!((taskrun, reap(&mut ring)), (flagged, vec![]));
        if flagged { ring.submit().map(drop) } else { ring.submitter().get_events() }.unwrap();
        let taskrun = ring.submission().taskrun();
        assert_eq!((taskrun, reap(&mut ring)), (false, vec![(1, 0)]));
    }
}

#[test]
fn an_sqpoll_thread_is_woken() {
    let mut ring = build(<IoUring>::builder().setup_sqpoll(10), Script::default()).unwrap();
    push(&mut ring, nop(1));
    assert!(ring.submission().need_wakeup());
    assert_eq!((ring.submit(), reap(&mut ring)), (Ok(1), vec![(1, 0)]));
}

#[test]
fn skip_success_keeps_failures() {
    let mut ring = ring(|it| Answer::result(-(it.user_data() as i32)));
    push(&mut ring, nop(0).flags(Flags::SKIP_SUCCESS));
    push(&mut ring, nop(1).flags(Flags::SKIP_SUCCESS));
    ring.submit().unwrap();
    assert_eq!(reap(&mut ring), [(1, -1)]);
}

#[test]
fn the_script_answers_register_calls() {
    let ring = ring(|_| Answer::usual());
    assert_eq!(ring.submitter().register_files_sparse(4), Err(Errno::INVAL));
    let script = Script::default().register(|op, nr_args| {
        assert_eq!((op, nr_args), (IORING_REGISTER_FILES as u32, 2));
        Err(Errno::MFILE)
    });
    let ring = build(&<IoUring>::builder(), script).unwrap();
    assert_eq!(ring.submitter().register_files(&[FileSlot::EMPTY; 2]), Err(Errno::MFILE));

    let script = Script::default().register(|_, _| Ok(0));
    let ring = build(&<IoUring>::builder(), script).unwrap();
    assert_eq!(ring.submitter().register_files(&[FileSlot::EMPTY; 2]), Ok(()));
    assert_eq!(
        ring.submitter().register_buf_ring_mmap(8, 0, crate::BufRingFlags::empty()).err(),
        Some(Errno::BADF)
    );
}

#[test]
#[cfg_attr(miri, ignore = "reading the page size needs a system call")]
fn scripts_cannot_let_resizing_succeed() {
    let script = Script::default().register(|_, _| Ok(0));
    let mut ring = build(&<IoUring>::builder(), script).unwrap();
    assert_eq!(ring.resize(8, None), Err(Errno::INVAL));
    let mut memory = vec![0_u64; 8192];
    let bytes = core::ptr::slice_from_raw_parts_mut(memory.as_mut_ptr().cast(), 8192 * 8);
    // SAFETY: the resize fails, so the ring does not keep the memory.
    let resized =
        unsafe { ring.resize_in_memory(8, None, core::ptr::NonNull::new(bytes).unwrap()) };
    assert_eq!(resized, Err(Errno::INVAL));
}

#[test]
fn unsupported_setups_are_rejected() {
    // SAFETY: the default script keeps the contract.
    let empty = unsafe { <IoUring>::builder().build_mock(0, Script::default()) };
    assert_eq!(empty.err(), Some(Errno::INVAL));
    let setups: [fn(&mut Builder) -> &mut Builder; 2] =
        [Builder::setup_iopoll, Builder::setup_r_disabled];
    for setup in setups {
        let mut builder = <IoUring>::builder();
        assert_eq!(build(setup(&mut builder), Script::default()).err(), Some(Errno::INVAL));
    }
}

#[test]
fn scripts_reach_other_rings() {
    let mut there = build(&<IoUring>::builder(), Script::default()).unwrap();
    let kernel = there.kernel().clone();
    let mut here = ring(move |it| {
        // In a message, `len` has the result of the other completion, and `off` its user data.
        assert_eq!((it.opcode(), it.fd()), (opcode::MsgRingData::CODE, 77));
        kernel.post(it.as_raw().off, it.as_raw().len as i32, 0);
        Answer::result(0)
    });
    push(&mut here, opcode::MsgRingData::new(Fd(77), 5, 6, None).build());
    here.submit_and_wait(1).unwrap();
    assert_eq!((reap(&mut here), reap(&mut there)), (vec![(0, 0)], vec![(6, 5)]));
}

/// Returns whether `run` finishes in strict mode. There, a thread may only read, write and exit;
/// the kernel kills it at any other system call.
fn survives_strict_mode(run: impl FnOnce() + Send + 'static) -> bool {
    use rustix::thread::{SecureComputingMode, set_secure_computing_mode};
    static STATE: AtomicU8 = AtomicU8::new(0);
    STATE.store(0, Ordering::SeqCst);
    // The thread is detached, because a killed thread cannot be joined.
    drop(std::thread::spawn(move || {
        set_secure_computing_mode(SecureComputingMode::Strict).unwrap();
        STATE.store(1, Ordering::SeqCst);
        run();
        STATE.store(2, Ordering::SeqCst);
    }));
    let start = Instant::now();
    while STATE.load(Ordering::SeqCst) == 0 {
        assert!(start.elapsed() < SECOND * 10, "the thread did not enter strict mode");
        std::thread::yield_now();
    }
    let start = Instant::now();
    while STATE.load(Ordering::SeqCst) != 2 && start.elapsed() < SECOND * 2 {
        std::thread::yield_now();
    }
    STATE.load(Ordering::SeqCst) == 2
}

#[test]
#[cfg_attr(miri, ignore = "Miri supports neither strict mode nor system calls")]
fn there_are_no_system_calls() {
    let mut ring = ring(|_| Answer::usual());
    // One round before, so that the allocator has enough memory.
    push(&mut ring, nop(1));
    let mut round = move || {
        push(&mut ring, nop(1));
        ring.submit_and_wait(1).unwrap();
        ring.quiesce(1, SECOND).unwrap();
    };
    round();
    assert!(survives_strict_mode(round));
    assert!(!survives_strict_mode(|| {
        let _ = rustix::process::getpid();
    }));
}
