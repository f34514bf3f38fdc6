//! If a callback fails, the run ends with its error, and the ring loses no completion.

use super::*;
use callbacks::{Buffer, Errno, File, Message, Offset};

/// Fails if `msg` is 1.
fn may_fail<H: Handle>(ring: &mut Ring<Log, H>, task: Task<Log>) -> Result<(), RingError> {
    let fails = task.msg == 1;
    log(ring, task)?;
    if fails { Err(RingError::callback("on purpose")) } else { Ok(()) }
}

fn logged(log: &Log) -> Vec<u16> {
    log.take().into_iter().map(|(msg, _)| msg).collect()
}

#[test]
fn an_error_ends_the_run_and_the_next_run_goes_on() {
    for condition in [RunCondition::Once, RunCondition::UntilDone, RunCondition::UntilStopped] {
        let mut ring = Ring::init(8).unwrap();
        let log = Log::default();
        for msg in [0, 1, 2, 1, 3] {
            ring.noop(Context { cb: may_fail, msg, userdata: log.clone() }).unwrap();
        }
        let error = ring.run(condition).unwrap_err();
        assert_eq!(error.to_string(), "on purpose");
        assert_eq!((logged(&log), ring.busy()), (vec![0, 1], 3));
        // The next run calls back for what has already completed, and for what was started since.
        ring.noop(Context { cb: may_fail, msg: 4, userdata: log.clone() }).unwrap();
        assert!(ring.run(RunCondition::UntilDone).is_err());
        assert_eq!((logged(&log), ring.busy()), (vec![2, 1], 2));
        ring.run(RunCondition::UntilDone).unwrap();
        assert_eq!((logged(&log), ring.busy()), (vec![3, 4], 0));
    }
}

#[test]
fn errors_of_operations_and_of_full_pools_pass_through() {
    fn passes_on<H: Handle>(ring: &mut Ring<(), H>, task: Task) -> Result<(), RingError> {
        let OpResult::Write(result, ..) = task.result else { panic!("{task:?}") };
        result?;
        // The ring has one task, so the second no-op is refused.
        for _ in 0..2 {
            ring.noop(Context::default())?;
        }
        Ok(())
    }
    let mut ring = Ring::init(1).unwrap();
    for (file, expected) in [("/dev/full", "NoSpace"), ("/dev/null", "Full")] {
        let file = std::fs::File::options().write(true).open(file).unwrap();
        let context = Context { cb: passes_on, ..Context::default() };
        ring.write(file, b"some".as_slice(), Offset::At(0), context).unwrap();
        match (ring.run(RunCondition::UntilDone).unwrap_err(), expected) {
            (RingError::Errno(Errno::NOSPC), "NoSpace") | (RingError::Full, "Full") => {}
            (other, _) => panic!("{other:?}"),
        }
    }
    assert_eq!(ring.busy(), 1);
}

#[test]
fn an_error_of_a_message_callback_leaves_it_listening() {
    let mut ring = Ring::init(4).unwrap();
    let (to, received) = (ring.mailbox().unwrap(), Log::default());
    ring.listen(
        |_, received: &mut Log, message| {
            received.borrow_mut().push((message.value as u16, OpResult::Noop(Ok(()))));
            if message.value == 1 { Err(RingError::callback("one")) } else { Ok(()) }
        },
        received.clone(),
    );
    for value in 0..3 {
        let context = Context { cb: log, msg: 0, userdata: Log::default() };
        ring.msg_ring(to.clone(), Message { subject: 0, value }, context).unwrap();
    }
    assert_eq!(ring.run(RunCondition::UntilDone).unwrap_err().to_string(), "one");
    assert_eq!(logged(&received), [0, 1]);
    ring.run(RunCondition::UntilDone).unwrap();
    assert_eq!(logged(&received), [2]);
}

/// A callback fails while reads are in flight. Then the test drops the ring, ends it, or runs it again.
#[test]
fn after_an_error_the_kernel_writes_to_no_freed_memory() {
    for event in 0..3 {
        let watch = check::freed::Watch::begin();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let reader = Rc::new(reader);
        let mut ring = Ring::init(8).unwrap();
        let log = Log::default();
        for msg in [5, 6] {
            let read = Op::Read(File::Shared(reader.clone()), Buffer::new([0; 9]), Offset::File);
            start(&mut ring, &log, msg, read);
        }
        ring.noop(Context { cb: may_fail, msg: 1, userdata: log.clone() }).unwrap();
        assert!(ring.run(RunCondition::UntilDone).is_err());
        assert_eq!((logged(&log), ring.busy()), (vec![1], 2));
        match event {
            0 => drop(ring),
            1 => {
                ring.end().unwrap();
                assert_eq!(ring.busy(), 0);
            }
            _ => {
                rustix::io::write(&writer, &[7; 18]).unwrap();
                ring.run(RunCondition::UntilDone).unwrap();
                let mut over = logged(&log);
                over.sort_unstable();
                assert_eq!(over, [5, 6]);
            }
        }
        let _ = rustix::io::write(&writer, &[7; 18]);
        std::thread::sleep(std::time::Duration::from_millis(5));
        watch.check();
    }
}
