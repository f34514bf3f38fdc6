use core::time::Duration;
use std::string::ToString;
use std::{vec, vec::Vec};

use super::*;
use crate::Features;
use crate::mock::{Answer, Kernel, Script, Submission};
use crate::opcode::Nop;
use crate::squeue::{Entry, Flags};
use crate::sys::io_uring_register_op::IORING_REGISTER_SYNC_CANCEL;

type Ring = IoUring<Entry, cqueue::Entry, Kernel>;

/// Longer than a round of cancellations.
const LONG: Duration = Duration::from_millis(100);
const QUIET: u64 = 9;

fn ring_of(script: Script) -> Ring {
    // SAFETY: only these tests use the results, and their entries do not use memory according to
    // them.
    unsafe { <IoUring>::builder().build_mock(8, script) }.unwrap()
}

fn ring(answers: impl FnMut(&Submission) -> Answer + Send + 'static) -> Ring {
    ring_of(Script::new(answers))
}

fn nop(user_data: u64) -> Entry {
    Nop::new().build().user_data(user_data)
}

fn push(ring: &mut Ring, entries: &[Entry]) {
    // SAFETY: a NOP contains no pointers.
    unsafe { ring.submission().push_multiple(entries) }.unwrap();
}

fn parts(quiesced: Result<(), QuiesceError>) -> Result<(), (Errno, usize)> {
    quiesced.map_err(|error| (error.errno(), error.in_flight()))
}

/// Answers most operations never, and operation 0 late and without a way to cancel it.
fn waits(submission: &Submission) -> Answer {
    match submission.user_data() {
        0 => Answer::result(5).after(LONG).uncancellable(),
        1..=QUIET => Answer::pending(),
        _ => Answer::usual(),
    }
}

/// A canceled silent entry posts a completion. It must not stand for the operation that is in
/// flight.
#[test]
fn a_silent_entry_does_not_count() {
    let mut ring = ring(waits);
    push(&mut ring, &[nop(0), nop(QUIET).flags(Flags::SKIP_SUCCESS)]);
    let (mut in_flight, mut seen) = (1, Vec::new());
    let quiesced = ring.quiesce_with(&mut in_flight, LONG * 5, &[], |cqe| {
        seen.push(cqe.user_data());
        cqe.user_data() != QUIET
    });
    assert_eq!((parts(quiesced), in_flight, seen), (Ok(()), 0, vec![QUIET, 0]));
    assert_eq!(ring.kernel().now(), LONG);
}

/// If all entries are counted, `quiesce` does not return too early: the completion of the silent
/// entry that succeeds is missing.
#[test]
fn a_counted_silent_entry_that_succeeds_times_out() {
    let mut ring = ring(|_| Answer::usual());
    push(&mut ring, &[nop(0), nop(QUIET).flags(Flags::SKIP_SUCCESS)]);
    assert_eq!(parts(ring.quiesce(2, LONG)), Err((Errno::TIME, 1)));
    assert_eq!(ring.kernel().now(), LONG);
}

#[test]
fn times_out_with_and_without_timed_waits() {
    for features in [Features::all(), Features::NODROP] {
        let mut ring = ring_of(Script::new(waits).features(features));
        push(&mut ring, &[nop(0), nop(1)]);
        assert_eq!(parts(ring.quiesce(2, LONG / 2)), Err((Errno::TIME, 1)));
        assert_eq!(ring.kernel().now(), LONG / 2);
        // This looks at the queue and does not wait.
        assert_eq!(parts(ring.quiesce(1, Duration::ZERO)), Err((Errno::TIME, 1)));
        assert_eq!(ring.kernel().now(), LONG / 2);
        assert_eq!(parts(ring.quiesce(1, Duration::MAX)), Ok(()));
        assert_eq!(ring.kernel().now(), LONG);
    }
}

/// Submissions that the kernel refuses for a while are repeated. If it keeps refusing, the errno is
/// reported.
#[test]
fn refusals_pass_or_are_reported() {
    for errno in [Errno::AGAIN, Errno::BUSY] {
        let mut ring = ring(|_| Answer::usual());
        push(&mut ring, &[nop(1)]);
        (0..3).for_each(|_| ring.kernel().fail(errno));
        assert_eq!(parts(ring.quiesce(1, LONG)), Ok(()));

        (0..2000).for_each(|_| ring.kernel().fail(errno));
        assert_eq!(parts(ring.quiesce(1, LONG)), Err((errno, 1)));
    }
    let mut ring = ring(|_| Answer::usual());
    ring.kernel().fail(Errno::OWNERDEAD);
    assert_eq!(parts(ring.quiesce(1, Duration::MAX)), Err((Errno::OWNERDEAD, 1)));
    assert_eq!(ring.kernel().now(), Duration::ZERO);
}

/// After an error, no cancellation stays queued: the next submit would run it.
#[test]
fn no_cancellation_stays_queued() {
    let mut ring = ring(|it| match it.user_data() {
        QUIESCE_USER_DATA => Answer::leave_queued(Errno::BUSY),
        _ => Answer::pending(),
    });
    push(&mut ring, &[nop(1)]);
    assert_eq!(parts(ring.quiesce(1, LONG)), Err((Errno::BUSY, 1)));
    assert!(ring.submission().is_empty());
}

/// A cancellation is not pushed behind entries that the kernel has not consumed: the newest may
/// have a link flag.
#[test]
fn a_cancellation_is_pushed_into_an_empty_queue() {
    // The enter call that consumed the newest entry.
    let mut taken = None;
    let mut ring = ring(move |it| {
        let enters = it.kernel().enters();
        match it.user_data() {
            QUIESCE_USER_DATA => {
                assert!(taken.is_some_and(|taken| taken < enters), "{enters} after {taken:?}");
                Answer::usual()
            }
            2 if enters <= 2 => Answer::leave_queued(Errno::AGAIN),
            2 => {
                taken = Some(enters);
                Answer::pending()
            }
            _ => Answer::pending(),
        }
    });
    push(&mut ring, &[nop(1), nop(2).flags(Flags::IO_LINK)]);
    assert_eq!(parts(ring.quiesce(2, LONG)), Ok(()));
}

#[test]
fn older_kernels_cancel_by_user_data() {
    // These do not fit into the queue at once.
    let user_data: Vec<u64> = (0..20).collect();
    let mut ring = ring(|it| match it.user_data() {
        QUIESCE_USER_DATA if it.as_raw().op_flags != 0 => Answer::error(Errno::INVAL),
        QUIESCE_USER_DATA => Answer::usual(),
        _ => Answer::pending(),
    });
    for chunk in user_data.chunks(8) {
        chunk.iter().for_each(|&n| push(&mut ring, &[nop(n)]));
        ring.submit().unwrap();
    }
    let mut in_flight = 20;
    let quiesced = ring.quiesce_with(&mut in_flight, LONG, &user_data, |_| true);
    assert_eq!((parts(quiesced), in_flight), (Ok(()), 0));
    assert_eq!(ring.completion().next(), None);
}

#[test]
fn a_register_call_needs_no_slot() {
    let script = Script::new(|it| {
        assert_ne!(it.user_data(), QUIESCE_USER_DATA);
        Answer::result(0).after(LONG)
    });
    let mut ring = ring_of(script.register(|op, _| {
        assert_eq!(op, IORING_REGISTER_SYNC_CANCEL as u32);
        Ok(0)
    }));
    push(&mut ring, &[nop(1)]);
    assert_eq!(parts(ring.quiesce(1, LONG * 2)), Ok(()));
}

/// The errno of a rejected cancellation is reported when the time has run out, not before.
#[test]
fn a_forbidden_cancellation_is_reported() {
    let mut ring = ring(|it| match it.user_data() {
        QUIESCE_USER_DATA => Answer::fail_at_submit(Errno::ACCESS),
        _ => Answer::result(0).after(LONG),
    });
    push(&mut ring, &[nop(1)]);
    assert_eq!(parts(ring.quiesce(1, LONG / 2)), Err((Errno::ACCESS, 1)));
    assert_eq!(parts(ring.quiesce(1, LONG)), Ok(()));
}

/// If a mixed completion queue was full, the count proves nothing.
#[test]
fn a_full_mixed_queue_is_in_doubt() {
    let mut builder = IoUring::<Entry, cqueue::Mixed>::builder();
    // SAFETY: the default script answers as a kernel does.
    let ring = unsafe { builder.setup_cqsize(8).build_mock(8, Script::default()) };
    let mut ring = ring.unwrap();
    // The cancellation posts a completion, too.
    for (n, expected) in [(6, Ok(())), (8, Err((Errno::OVERFLOW, 8)))] {
        // SAFETY: a NOP contains no pointers.
        unsafe { ring.submission().push_each(n, |i| nop(i as u64)) }.unwrap();
        assert_eq!(parts(ring.quiesce(n, LONG)), expected, "{n}");
    }
    // Nothing is counted, so nothing can be counted twice.
    assert_eq!(parts(ring.quiesce(0, Duration::MAX)), Ok(()));
}

/// A caller that continues with the count from the error must not get `Ok`, even if the queue has
/// free slots again: one of the earlier completions was delivered twice.
#[test]
fn doubt_outlasts_the_call() {
    let mut builder = IoUring::<Entry, cqueue::Mixed>::builder();
    let script = Script::new(|submission| match submission.user_data() {
        QUIET => Answer::pending().uncancellable(),
        _ => Answer::usual(),
    });
    // SAFETY: the script answers as a kernel does, or not at all. The completion that is posted
    // stands for one that is delivered twice.
    let ring = unsafe { builder.setup_cqsize(8).build_mock(8, script) };
    let mut ring = ring.unwrap();
    // SAFETY: a NOP contains no pointers.
    unsafe { ring.submission().push_each(7, |i| nop(i as u64)) }.unwrap();
    // SAFETY: a NOP contains no pointers.
    unsafe { ring.submission().push(&nop(QUIET)) }.unwrap();
    ring.submit().unwrap();
    ring.kernel().post(0, 0, 0);
    let mut in_flight = 8;
    for _ in 0..3 {
        let (_, left) = parts(ring.quiesce(in_flight, LONG)).unwrap_err();
        assert!(left > 0);
        in_flight = left;
    }
    assert_eq!(ring.kernel().in_flight(), [QUIET]);
}

#[test]
fn an_error_has_a_reason_and_a_count() {
    let error = QuiesceError { errno: Errno::TIME, in_flight: 3 };
    assert!(error.to_string().starts_with("operations still in flight: 3; "), "{error}");
    assert_eq!(Errno::from(error), Errno::TIME);
    #[cfg(feature = "std")]
    {
        let error = std::io::Error::from(error);
        assert_eq!(error.kind(), std::io::Error::from(Errno::TIME).kind());
        assert!(error.to_string().contains(": 3; "), "{error}");
    }
}
