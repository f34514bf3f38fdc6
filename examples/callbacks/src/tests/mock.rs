//! Tests on a mock kernel, which produces on demand what a real kernel does very rarely.

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use rustix_uring::mock::{Answer, Kernel, Script, Submission};
use rustix_uring::{Builder, Errno, IoUring, opcode};

use super::machine::{Job, QUESTION};
use super::ping_pong::Playing;
use super::*;
use callbacks::{Buffer, File, Mailbox, Offset};
use check::freed::Watch;

type Mocked<U> = Ring<U, Kernel>;

fn build<U>(builder: &Builder, tasks: u32, script: Script) -> (Mocked<U>, Kernel) {
    // SAFETY: the scripts below return only true results: for data that they were given, for descriptors that
    // they open, and for polls and NOPs, which use no memory. The user data of the completions that they
    // post matches no task in flight.
    let ring = unsafe { builder.build_mock(8, script) }.unwrap();
    let kernel = ring.kernel().clone();
    (Ring::on(ring, tasks), kernel)
}

fn mocked<U>(
    tasks: u32,
    answers: impl FnMut(&Submission) -> Answer + Send + 'static,
) -> (Mocked<U>, Kernel) {
    build(&IoUring::builder(), tasks, Script::new(answers))
}

/// A network in which every socket is connected to a peer that inverts every bit.
#[derive(Default)]
struct Network {
    /// The bytes that each socket can read.
    answers: HashMap<RawFd, Vec<u8>>,
    /// Decides whether an operation moves all bytes or only one. If `None`, it moves all bytes.
    rng: Option<Rng>,
}

impl Network {
    fn answer(&mut self, it: &Submission) -> Answer {
        let whole = self.rng.as_mut().is_none_or(Rng::bool);
        let part = |len: usize| if whole { len } else { len.min(1) };
        let Some(data) = self.answers.get_mut(&it.fd()) else {
            return match it.opcode() {
                opcode::Socket::CODE => {
                    let fd = null().into_raw_fd();
                    self.answers.insert(fd, Vec::new());
                    Answer::result(fd)
                }
                _ => Answer::usual(),
            };
        };
        match it.opcode() {
            opcode::Connect::CODE => Answer::result(0),
            opcode::Write::CODE => {
                let written = it.data().expect("a write has data");
                let len = part(written.len());
                data.extend(written[..len].iter().map(|byte| !byte));
                Answer::result(len as i32)
            }
            opcode::Read::CODE => {
                let len = part(data.len().min(it.as_raw().len as usize));
                Answer::bytes(data.drain(..len).collect::<Vec<u8>>())
            }
            opcode::Close::CODE => {
                assert_eq!(self.answers.remove(&it.fd()), Some(Vec::new()));
                // SAFETY: the program owns the descriptor, and gives up its ownership with the close.
                drop(unsafe { OwnedFd::from_raw_fd(it.fd()) });
                Answer::result(0)
            }
            other => panic!("unexpected operation {other}"),
        }
    }
}

fn job(runs: u32) -> Rc<Job> {
    Job::new("192.0.2.1:1".parse().unwrap(), runs)
}

/// Operations are short, late, refused, interrupted, or out of order.
#[test]
fn machines_run_on_every_kernel() {
    let (kernels, runs) = if cfg!(miri) { (2, 4) } else { (300, 40) };
    for seed in 0..kernels {
        let mut rng = Rng::with_seed(seed);
        let mut network = Network { rng: Some(rng.fork()), ..Network::default() };
        let script = Script::new(move |it| {
            match rng.u8(..) {
                0..20 => return Answer::leave_queued([Errno::AGAIN, Errno::BUSY][rng.usize(..2)]),
                20..30 => it.kernel().interrupt(),
                30..40 => it.kernel().fail(Errno::INTR),
                _ => {}
            }
            let late =
                if rng.bool() { Duration::from_millis(rng.u64(..50)) } else { Duration::ZERO };
            network.answer(it).after(late)
        });
        let script = script.start(u32::MAX - 9);
        let (mut ring, _) = build(&IoUring::builder(), 4, script);
        assert_eq!(job(runs).run(&mut ring, 4).unwrap(), runs, "seed {seed}");
    }
}

/// The first run succeeds. In the second run, each of the six operations fails once.
#[test]
fn machines_end_at_each_failure() {
    let names = ["Socket", "Connect", "Write", "Read", "Read", "Close"];
    for (nth, name) in names.into_iter().enumerate() {
        let (mut network, mut count) = (Network::default(), 0);
        let (mut ring, kernel) = mocked(1, move |it| {
            count += 1;
            if count == 7 + nth { Answer::error(Errno::IO) } else { network.answer(it) }
        });
        let failed = job(10).run(&mut ring, 1).unwrap_err().to_string();
        assert!(failed.contains(&format!(": {name}(Err(")), "{nth}: {failed}");
        assert_eq!((ring.busy(), kernel.in_flight()), (0, vec![]));
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no sockets that do not wait")]
fn descriptors_are_closed_once() {
    for (errno, ours) in [(Errno::CANCELED, true), (Errno::IO, false)] {
        let (here, there) = UnixStream::pair().unwrap();
        there.set_nonblocking(true).unwrap();
        let fd = here.as_raw_fd();
        let (mut ring, _) = mocked(1, move |it| {
            assert_eq!(it.fd(), fd);
            Answer::error(errno)
        });
        let close = one(&mut ring, Op::Close(here.into()));
        outcome!(close, Close(Err(error)) => assert_eq!(error, errno));
        assert_eq!((&there).read(&mut [0]).ok(), ours.then_some(0));
        if !ours {
            // A real kernel closes the descriptor even if it reports EIO. This mock kernel does not.
            // SAFETY: the read above has shown that the descriptor is open, and the ring has given it up.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

#[test]
fn a_completion_of_an_earlier_use_ends_nothing() {
    let (mut ring, kernel) = mocked(1, |_| Answer::pending());
    let log = Log::default();
    let poll = Op::Poll(File::Own(null()), rustix_uring::types::PollFlags::IN);
    let TaskId(id) = start(&mut ring, &log, 0, poll);
    kernel.post(id + (1 << 32), 0, 0);
    ring.run(RunCondition::Once).unwrap();
    assert_eq!((log.borrow().len(), ring.busy()), (0, 1));
    assert!(kernel.complete(id, Answer::result(1)));
    ring.run(RunCondition::UntilDone).unwrap();
    assert_eq!(log.take().len(), 1);
}

#[test]
fn a_dropped_ring_waits_for_uncancellable_operations() {
    let watch = Watch::begin();
    let (mut ring, kernel) = mocked(4, |it| match it.opcode() {
        opcode::Read::CODE => Answer::bytes([7; 64]).after(Duration::from_secs(5)).uncancellable(),
        opcode::PollAdd::CODE => Answer::pending(),
        _ => Answer::usual(),
    });
    let log = Log::default();
    start(&mut ring, &log, 0, Op::Read(File::Own(null()), Buffer::new([0; 64]), Offset::At(0)));
    start(&mut ring, &log, 0, Op::Poll(File::Own(null()), rustix_uring::types::PollFlags::IN));
    outcome!(first(&mut ring), Noop(Ok(())) => ());
    assert_eq!(kernel.in_flight().len(), 2);
    drop(ring);
    assert_eq!((kernel.now(), kernel.in_flight()), (Duration::from_secs(5), vec![]));
    // The ring has called no callbacks.
    assert!(log.take().is_empty());
    watch.check();
}

#[test]
fn a_ring_that_cannot_wait_leaks_its_tasks() {
    let watch = Watch::begin();
    // With this many tasks, most of the memory of a ring is in its tasks.
    const TASKS: u32 = 1000;
    let most = TASKS as usize * 200;
    let (ring, _) = mocked::<Log>(TASKS, |_| Answer::usual());
    assert!(freed(|| drop(ring)) > most);

    let (mut ring, kernel) = mocked(TASKS, |it| match it.opcode() {
        opcode::Read::CODE => Answer::pending(),
        _ => Answer::usual(),
    });
    let read = Op::Read(File::Own(null()), Buffer::new([0; 64]), Offset::At(0));
    start(&mut ring, &Log::default(), 0, read);
    outcome!(first(&mut ring), Noop(Ok(())) => ());
    let [number] = kernel.in_flight()[..] else { panic!() };
    kernel.fail(Errno::NXIO);
    let failed = ring.run(RunCondition::UntilDone);
    assert!(matches!(failed, Err(RingError::Errno(Errno::NXIO))), "{failed:?}");
    kernel.fail(Errno::NXIO);
    assert!(freed(|| drop(ring)) < most);
    assert!(kernel.complete(number, Answer::bytes([7; 64])));
    watch.check();
}

#[test]
fn refused_operations_are_done_in_order() {
    let mut refusals = 0;
    let (mut ring, kernel) = mocked(40, move |_| {
        refusals += 1;
        if refusals % 3 == 1 { Answer::leave_queued(Errno::BUSY) } else { Answer::usual() }
    });
    let log = Log::default();
    for state in 0..40 {
        start(&mut ring, &log, state, Op::Noop);
    }
    ring.run(RunCondition::UntilDone).unwrap();
    assert!(log.take().into_iter().map(|(state, _)| state).eq(0..40));
    assert!(kernel.enters() >= 20);
}

#[test]
fn timers_take_no_real_time() {
    let (mut ring, kernel) = mocked(2, |_| Answer::usual());
    let log = Log::default();
    start(&mut ring, &log, 1, Op::Timer(Duration::from_secs(3600).into()));
    start(&mut ring, &log, 2, Op::TimerAt(Duration::from_secs(60).into()));
    ring.run(RunCondition::UntilDone).unwrap();
    let over = log.take().into_iter().map(|(state, it)| outcome!(it, Timer(Ok(())) => state));
    assert!(over.eq([2, 1]));
    assert_eq!(kernel.now(), Duration::from_secs(3600));
}

#[test]
fn a_cancellation_that_comes_too_late_finds_nothing() {
    let (mut ring, _) = mocked(4, |it| match it.opcode() {
        opcode::PollAdd::CODE => Answer::result(1),
        _ => Answer::usual(),
    });
    let log = Log::default();
    let poll = Op::Poll(File::Own(null()), rustix_uring::types::PollFlags::IN);
    let id = start(&mut ring, &log, 0, poll);
    start(&mut ring, &log, 1, Op::Cancel(id));
    ring.run(RunCondition::UntilDone).unwrap();
    let [(0, poll), (1, cancel)] = <[_; 2]>::try_from(log.take()).unwrap() else { panic!() };
    outcome!(poll, Poll(Ok(_), _) => ());
    outcome!(cancel, Cancel(Err(Errno::NOENT)) => ());
}

#[test]
fn messages_are_answered() {
    let (mut ring, _) = mocked(4, |it| {
        assert_eq!(it.opcode(), opcode::MsgRingData::CODE);
        let (user_data, value) = (it.as_raw().off, it.as_raw().len as i32);
        // The last message ends the game, and needs no answer.
        if value < 99 {
            it.kernel().post(user_data, value + 1, 0);
        }
        Answer::result(0)
    });
    let received = Arc::<AtomicU32>::default();
    let player = Playing::new(Mailbox(null().into()), 99, received.clone());
    player.play(&mut ring).unwrap();
    assert_eq!(received.load(Ordering::Relaxed), 50);
}

#[test]
fn no_message_is_lost_if_the_queue_is_full() {
    let mut builder = IoUring::builder();
    let (mut ring, kernel) = build(builder.setup_cqsize(8), 2, Script::default());
    for value in 0..100 {
        kernel.post(1 << 63 | 5, value, 0);
        // A completion that belongs to no task.
        kernel.post(u64::from(value as u32), 0, 0);
    }
    let got: Rc<RefCell<Vec<i32>>> = Rc::default();
    ring.listen(
        |ring, got, message| {
            assert_eq!(message.subject, 5);
            got.borrow_mut().push(message.value);
            if message.value == 99 {
                ring.stop();
            }
            Ok(())
        },
        got.clone(),
    );
    ring.run(RunCondition::UntilStopped).unwrap();
    assert!(got.take().into_iter().eq(0..100));
}

#[test]
fn the_machine_sends_its_question() {
    // The networks above answer any bytes. This test checks the bytes that the machine sends.
    let mut network = Network::default();
    let said = Arc::new(Mutex::new(Vec::new()));
    let hears = said.clone();
    let (mut ring, _) = mocked(1, move |it| {
        let answer = network.answer(it);
        if let (Some(answers), opcode::Write::CODE) = (network.answers.get(&it.fd()), it.opcode()) {
            *hears.lock().unwrap() = answers.iter().map(|byte| !byte).collect();
        }
        answer
    });
    assert_eq!(job(1).run(&mut ring, 1).unwrap(), 1);
    assert_eq!(*said.lock().unwrap(), QUESTION);
}
