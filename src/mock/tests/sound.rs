//! The parts of the contract that the mock itself keeps, so that sound code stays sound on it.

use core::mem::MaybeUninit;
use std::boxed::Box;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::types::Timespec;

const FAULT: i32 = -Errno::FAULT.raw_os_error();
const INVAL: i32 = -Errno::INVAL.raw_os_error();

/// Submits these entries one by one, and returns their results.
fn results(ring: &mut Ring, entries: impl IntoIterator<Item = squeue::Entry>) -> Vec<i32> {
    let mut results = Vec::new();
    for entry in entries {
        push(ring, entry);
        ring.submit_and_wait(1).unwrap();
        results.extend(reap(ring).into_iter().map(|(_, result)| result));
    }
    results
}

/// Stores the value at an unaligned address within `bytes`, and returns that address.
fn unaligned<T>(bytes: &mut [u8], value: T) -> *mut T {
    assert!(bytes.len() > size_of::<T>() + align_of::<T>());
    let address = bytes.as_mut_ptr();
    let odd = address.wrapping_add(address.align_offset(align_of::<T>()) + 1).cast::<T>();
    // SAFETY: the bytes have enough space, and the write needs no alignment.
    unsafe { odd.write_unaligned(value) };
    odd
}

/// A runtime reads as many bytes as the result says. With `Answer::bytes`, all of them were
/// written. Miri would detect a read of one that was not.
#[test]
fn a_result_never_exceeds_the_bytes_written() {
    for (room, given) in [(0, 0), (0, 5), (1, 5), (16, 5), (16, 16), (16, 1 << 20)] {
        let mut ring = ring(move |_| Answer::bytes(vec![b'x'; given]));
        let mut buf = Box::new([MaybeUninit::<u8>::uninit(); 16]);
        let address = buf.as_mut_ptr().cast::<u8>();
        let half = room / 2;
        let vectors = [
            iovec { iov_base: address.cast(), iov_len: half },
            iovec { iov_base: address.wrapping_add(half).cast(), iov_len: room - half },
        ];
        let fd = Fd(0);
        for entry in [
            opcode::Read::new(fd, address, room as u32).build(),
            opcode::Recv::new(fd, address, room as u32).build(),
            opcode::Readv::new(fd, vectors.as_ptr(), 2).build(),
        ] {
            // SAFETY: no entry is in flight, so only this test uses the buffer.
            unsafe { address.cast::<[MaybeUninit<u8>; 16]>().write([MaybeUninit::uninit(); 16]) };
            let [len] = results(&mut ring, [entry])[..] else { panic!() };
            assert_eq!(len as usize, room.min(given));
            // SAFETY: the mock has written these bytes. Miri checks this, which is the purpose of
            // the test.
            let bytes = unsafe { core::slice::from_raw_parts(address, len as usize) };
            assert!(bytes.iter().all(|&byte| byte == b'x'));
        }
    }
}

/// The mock writes only to the entry's own buffers. In other cases it does not invent an end of
/// file.
#[test]
fn bytes_need_a_known_buffer() {
    let mut ring = ring(|_| Answer::bytes("hello"));
    let null = core::ptr::null_mut::<u8>();
    let selects = opcode::Recv::new(Fd(0), null, 8).buf_group(1).build();
    let entries = [
        selects.flags(Flags::BUFFER_SELECT),
        opcode::Read::new(Fd(0), null, 8).build(),
        opcode::Recv::new(Fd(0), null, 8).build(),
        opcode::Readv::new(Fd(0), core::ptr::null(), 1).build(),
        opcode::Write::new(Fd(0), null, 8).build(),
        opcode::Nop::new().build(),
        // With length 0, a kernel does not check the address.
        opcode::Read::new(Fd(0), null, 0).build(),
        opcode::Readv::new(Fd(0), core::ptr::null(), 0).build(),
    ];
    assert_eq!(results(&mut ring, entries), [FAULT, FAULT, FAULT, FAULT, FAULT, FAULT, 0, 0]);
}

/// The expected results are those of Linux 6.18, for reading one file and writing another.
#[test]
fn vectors_are_checked_like_on_a_kernel() {
    let mut ring = ring(|submission| match submission.opcode() {
        opcode::Readv::CODE => Answer::bytes("hello"),
        _ => Answer::result(submission.data().map_or(-1, |data| data.len() as i32)),
    });
    let mut buf = *b"........";
    let address = buf.as_mut_ptr();
    let vector = |iov_base: *mut u8, iov_len| iovec { iov_base: iov_base.cast(), iov_len };
    let null = core::ptr::null_mut();
    let cases = [
        (Vec::from([vector(address, 2), vector(null, 2), vector(address, 2)]), 2, 2),
        (Vec::from([vector(null, 0), vector(address, 2)]), 2, 2),
        (Vec::from([vector(null, 2), vector(address, 2)]), FAULT, -1),
        (Vec::from([vector(address, 2), vector(address, usize::MAX)]), INVAL, -1),
        (vec![vector(address, 0); 1025], INVAL, -1),
    ];
    for (vectors, read, written) in cases {
        let (array, count) = (vectors.as_ptr(), vectors.len() as u32);
        let entries = [
            opcode::Readv::new(Fd(0), array, count).build(),
            opcode::Writev::new(Fd(0), array, count).build(),
            opcode::Send::new(Fd(0), core::ptr::null(), count).vectorized(array).build(),
        ];
        assert_eq!(results(&mut ring, entries), [read, written, written]);
    }
}

/// The kernel copies its arguments, so they need no alignment.
#[test]
fn arguments_need_no_alignment() {
    let mut ring = ring(|submission| match submission.opcode() {
        opcode::Readv::CODE => Answer::bytes("hello"),
        opcode::Writev::CODE => Answer::result(submission.data().unwrap().len() as i32),
        _ => Answer::usual(),
    });
    let mut buf = [0_u8; 8];
    let mut room = [0_u8; 64];
    let vector = iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: 8 };
    let vector = unaligned(&mut room, vector).cast_const();
    let entries = [
        opcode::Readv::new(Fd(0), vector, 1).build(),
        opcode::Writev::new(Fd(0), vector, 1).build(),
    ];
    assert_eq!(results(&mut ring, entries), [5, 8]);
    assert_eq!(buf, *b"hello\0\0\0");

    let time = unaligned(&mut room, Timespec::new().sec(5)).cast_const();
    let entries = [time, core::ptr::null()].map(|time| opcode::Timeout::new(time).build());
    assert_eq!(results(&mut ring, entries), [-Errno::TIME.raw_os_error(), FAULT]);
    assert_eq!(ring.kernel().now(), SECOND * 5);
}

#[test]
fn time_saturates() {
    let longest = Timespec::from(Duration::MAX);
    let ever = SubmitArgs::new().timespec(&longest);
    let mut ring = ring(|_| {
        let late = Answer::result(1).after(Duration::MAX).after(SECOND);
        late.then(Answer::result(2).after(Duration::MAX))
    });
    ring.kernel().advance(SECOND);
    push(&mut ring, nop(1));
    assert_eq!(ring.submit_with_args(3, &ever), Ok(1));
    assert!(ring.kernel().now() > SECOND);
    assert_eq!(ring.submit_and_wait(2), Ok(0));
    assert_eq!(reap(&mut ring), [(1, 1), (1, 2)]);
    assert_eq!(ring.kernel().now(), Duration::MAX);
    ring.kernel().advance(Duration::MAX);
    ring.kernel().advance(SECOND);
    let deadline = SubmitArgs::new().deadline(&longest);
    for args in [ever, ever.min_wait_usec(u32::MAX), deadline] {
        assert_eq!(ring.submit_with_args(1, &args), Err(Errno::TIME));
    }
    push(&mut ring, nop(2));
    assert_eq!(ring.submit_and_wait(2), Ok(1));
    assert_eq!(reap(&mut ring), [(2, 1), (2, 2)]);
}

/// On a kernel, the wait ends then with ETIME (observed on Linux 6.18).
#[test]
fn a_minimum_wait_alone_is_a_limit() {
    let mut ring = ring(|_| Answer::result(0).after(SECOND * 5));
    push(&mut ring, nop(1));
    ring.submit().unwrap();
    let args = SubmitArgs::new().min_wait_usec(3_000_000);
    assert_eq!(ring.submit_with_args(1, &args), Err(Errno::TIME));
    assert_eq!(ring.kernel().now(), SECOND * 3);
}

/// A system call never unwinds. So if one does, the program may free memory that its operations
/// use.
#[test]
fn a_script_that_panics_ends_the_mock() {
    fn ends<S: Kind>(push: fn(&mut SubmissionQueue<'_, S>, &squeue::Entry)) {
        let script = Script::new(|it| match it.user_data() {
            1 => Answer::bytes("hello").after(SECOND),
            _ => panic!("on purpose"),
        });
        let mut ring = build(&IoUring::<S, cqueue::Entry>::builder(), script).unwrap();
        let mut buf = Box::new([0_u8; 8]);
        let read = opcode::Read::new(Fd(0), buf.as_mut_ptr(), 8).build();
        push(&mut ring.submission(), &read.user_data(1));
        push(&mut ring.submission(), &read.user_data(2));
        assert!(catch_unwind(AssertUnwindSafe(|| ring.submit())).is_err());
        drop(buf);
        // Miri would detect an access to the buffer.
        let kernel = ring.kernel().clone();
        kernel.advance(SECOND * 2);
        assert!(!kernel.complete(1, Answer::bytes("hello")));
        assert_eq!(kernel.in_flight(), []);
        assert_eq!(ring.submit(), Err(Errno::NXIO));
        assert_eq!(ring.submit_and_wait(1), Err(Errno::NXIO));
        assert_eq!(ring.submitter().register_files_sparse(1), Err(Errno::NXIO));
        assert_eq!(reap(&mut ring), []);
    }
    fn pushes<S: Kind>(queue: &mut SubmissionQueue<'_, S>, entry: &squeue::Entry) {
        // SAFETY: the mock does not access the memory, which this test checks.
        unsafe { queue.push_any(entry) }.unwrap();
    }
    ends::<squeue::Entry>(pushes);
    ends::<Rewind>(pushes);

    let script = Script::default().register(|_, _| panic!("on purpose"));
    let mut ring = build(&<IoUring>::builder(), script).unwrap();
    let register = AssertUnwindSafe(|| ring.submitter().register_files_sparse(1));
    assert!(catch_unwind(register).is_err());
    push(&mut ring, nop(1));
    assert_eq!(ring.submit(), Err(Errno::NXIO));
}

/// Otherwise, the script would wait for itself forever.
#[test]
fn a_script_that_enters_its_own_ring_gets_an_error() {
    let own: Arc<Mutex<Option<Arc<Ring>>>> = Arc::default();
    let (asked, told) = (own.clone(), Arc::new(Mutex::new(Vec::new())));
    let tells = told.clone();
    let mut ring = ring(move |_| {
        let ring = asked.lock().unwrap().clone().unwrap();
        tells.lock().unwrap().extend([
            ring.submitter().submit().map(drop),
            ring.submitter().register_files_sparse(1),
        ]);
        Answer::usual()
    });
    push(&mut ring, nop(1));
    let ring = Arc::new(ring);
    *own.lock().unwrap() = Some(ring.clone());
    assert_eq!(ring.submitter().submit(), Ok(1));
    assert_eq!(*told.lock().unwrap(), [Err(Errno::DEADLK), Err(Errno::DEADLK)]);
    *own.lock().unwrap() = None;
}

/// The kernel shares the memory, and its operations continue without the ring.
#[test]
fn a_kernel_outlives_its_ring() {
    let mut buf = Box::new([0_u8; 8]);
    let mut ring = ring(|_| Answer::pending());
    push(&mut ring, opcode::Read::new(Fd(0), buf.as_mut_ptr(), 8).build().user_data(1));
    ring.submit().unwrap();
    let kernel = ring.kernel().clone();
    drop(ring);
    (0..20).for_each(|number| kernel.post(number, 0, 0));
    assert!(kernel.complete(1, Answer::bytes("hello")));
    assert_eq!(*buf, *b"hello\0\0\0");
}

#[test]
fn another_thread_is_not_the_single_issuer() {
    let mut builder = <IoUring>::builder();
    let mut ring = build(builder.setup_single_issuer(), Script::default()).unwrap();
    push(&mut ring, nop(1));
    let mut ring = std::thread::spawn(move || {
        assert_eq!(ring.submit(), Err(Errno::EXIST));
        assert_eq!(ring.submitter().register_files_sparse(1), Err(Errno::EXIST));
        assert_eq!(ring.submitter().get_events(), Ok(()));
        ring
    })
    .join()
    .unwrap();
    assert_eq!((ring.submit(), reap(&mut ring)), (Ok(1), vec![(1, 0)]));

    let ring = build(builder.setup_defer_taskrun(), Script::default()).unwrap();
    let elsewhere = std::thread::spawn(move || ring.submitter().get_events());
    assert_eq!(elsewhere.join().unwrap(), Err(Errno::EXIST));
}

/// Otherwise, the next completion would be treated as the second half.
#[test]
fn a_completion_with_the_big_flag_is_big() {
    let mut ring =
        build(&IoUring::<squeue::Entry, cqueue::Mixed>::builder(), Script::default()).unwrap();
    ring.kernel().post(1, 0, sys::IORING_CQE_F_32);
    ring.kernel().post(2, 0, 0);
    let seen: Vec<_> = ring
        .completion()
        .map(|cqe| (cqe.big_cqe().copied(), cqueue::Entry::from(cqe).user_data()))
        .collect();
    assert_eq!(seen, [(Some([0; 2]), 1), (None, 2)]);
}

#[test]
fn consumed_entries_cannot_be_left_queued() {
    let mut ring = ring(|_| Answer::pending());
    (1..=3).for_each(|number| push(&mut ring, nop(number)));
    ring.submit().unwrap();
    assert!(ring.kernel().complete(1, Answer::usual()));
    assert!(ring.kernel().complete(2, Answer::leave_queued(Errno::BUSY)));
    assert!(ring.kernel().complete(3, Answer::fail_at_submit(Errno::FAULT)));
    assert_eq!(reap(&mut ring), [(1, INVAL), (2, -Errno::BUSY.raw_os_error()), (3, FAULT)]);
}
