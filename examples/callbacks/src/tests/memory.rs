//! Drops, cancels and forgets operations, and panics, at every point. Nothing may write to freed memory.

use std::ffi::CString;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use rustix_uring::types::{Mode, OFlags, PollFlags};

use super::*;
use callbacks::{Buffer, File, Offset, StatBuffer, Vectored};
use check::freed::Watch;

/// The state of the operations when the event happens.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    Queued,
    InFlight,
    /// The kernel has completed them, and the ring has not reaped the completions.
    Over,
}

/// What the test does with the ring.
#[derive(Clone, Copy, Debug)]
enum Event {
    Drop,
    End,
    Forget,
    CancelOne,
    CancelAll,
    Panic,
}

/// Returns operations whose memory the kernel writes to, each with a function that triggers the write.
fn operations() -> Vec<(Op, Box<dyn FnOnce()>)> {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let (vector_reader, vector_writer) = rustix::pipe::pipe().unwrap();
    let (here, mut there) = UnixStream::pair().unwrap();
    let (polled, mut poller) = UnixStream::pair().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (own, buffer) = (File::Own, || Buffer::new(vec![0; 64 << 10]));
    let vectored = Vectored::new(vec![buffer(), buffer()]);
    let write = |writer: OwnedFd| {
        move || {
            // This fails if the reading end is already closed.
            let _ = rustix::io::write(writer, &[7; 60 << 10]);
        }
    };
    vec![
        (Op::Read(own(reader), buffer(), Offset::At(0)), Box::new(write(writer))),
        (Op::Readv(own(vector_reader), vectored, Offset::At(0)), Box::new(write(vector_writer))),
        (Op::Recv(own(here.into()), buffer()), Box::new(move || drop(there.write(&[7; 999])))),
        (Op::Accept(own(listener.into())), Box::new(move || drop(TcpStream::connect(address)))),
        (Op::Poll(own(polled.into()), PollFlags::IN), Box::new(move || drop(poller.write(&[7])))),
        (Op::Stat(c"/".into(), StatBuffer::new()), Box::new(|| ())),
        (Op::Timer(Duration::from_millis(1).into()), Box::new(|| ())),
    ]
}

/// Applies the event, and returns the ring if it still exists.
fn happens(mut ring: Ring<Log>, ids: &[TaskId], event: Event) -> Option<Ring<Log>> {
    match event {
        Event::Drop => return None,
        Event::End => ring.end().unwrap(),
        Event::Forget => {
            std::mem::forget(ring);
            return None;
        }
        Event::CancelOne => {
            let log = Log::default();
            for id in ids {
                start(&mut ring, &log, 0, Op::Cancel(*id));
            }
            ring.run(RunCondition::UntilDone).unwrap();
        }
        Event::CancelAll => {
            start(&mut ring, &Log::default(), 0, Op::CancelAll);
            ring.run(RunCondition::UntilDone).unwrap();
        }
        Event::Panic => {
            let panics: callbacks::Callback<Log, OwnedFd> = |_, _| panic!("on purpose");
            let context = Context { cb: panics, msg: 0, userdata: Log::default() };
            assert!(ring.start(Op::Noop, context).is_ok());
            let run = AssertUnwindSafe(|| while ring.run(RunCondition::Once).is_ok() {});
            assert!(catch_unwind(run).is_err());
        }
    }
    Some(ring)
}

#[test]
fn nothing_writes_to_freed_memory() {
    use Event::*;
    use Point::*;
    for point in [Queued, InFlight, Over] {
        for event in [Drop, End, Forget, CancelOne, CancelAll, Panic] {
            let watch = Watch::begin();
            let mut ring = Ring::init(32).unwrap();
            let (log, mut feed) = (Log::default(), Vec::new());
            let mut ids = Vec::new();
            for (op, feeds) in operations() {
                ids.push(start(&mut ring, &log, 0, op));
                feed.push(feeds);
            }
            if point != Queued {
                outcome!(first(&mut ring), Noop(Ok(())) => ());
            }
            if point == Over {
                feed.drain(..).for_each(|feed| feed());
                thread::sleep(Duration::from_millis(5));
            }
            let ring = happens(ring, &ids, event);
            // Drop the buffers that the callbacks got back.
            log.take();
            feed.into_iter().for_each(|feed| feed());
            thread::sleep(Duration::from_millis(10));
            watch.check();
            drop(ring);
            thread::sleep(Duration::from_millis(10));
            watch.check();
        }
    }
}

/// Direct reads from a disk cannot be canceled, so the end of the ring has to wait for them.
#[test]
fn no_disk_writes_to_freed_memory() {
    const SIZE: usize = 2 << 20;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&vec![7; SIZE]).unwrap();
    file.as_file().sync_all().unwrap();
    let path = CString::new(file.path().as_os_str().to_owned().into_vec()).unwrap();
    let mut ring = Ring::init(1).unwrap();
    let open = Op::Open(path.into(), OFlags::RDONLY | OFlags::DIRECT, Mode::empty());
    let direct = outcome!(one(&mut ring, open), Open(fd) => Rc::new(fd.expect("O_DIRECT")));
    assert!(rustix::fs::fcntl_getfl(direct.as_fd()).is_ok());
    for event in [Event::Drop, Event::End, Event::Forget, Event::Panic] {
        let watch = Watch::begin();
        let mut ring = Ring::init(16).unwrap();
        let log = Log::default();
        for _ in 0..8 {
            let bytes = vec![0; SIZE + 4096].into_boxed_slice();
            let start_at = bytes.as_ptr().align_offset(4096);
            let buffer = Buffer::new(bytes).part(start_at..start_at + SIZE);
            start(
                &mut ring,
                &log,
                0,
                Op::Read(File::Shared(direct.clone()), buffer, Offset::At(0)),
            );
        }
        outcome!(first(&mut ring), Noop(Ok(())) => ());
        let early = log.take();
        for (_, outcome) in early {
            outcome!(outcome, Read(Ok(SIZE), _, buffer) => {
                assert!(buffer.bytes[buffer.range.clone()].iter().all(|&byte| byte == 7));
            });
        }
        let ring = happens(ring, &[], event);
        log.take();
        drop(ring);
        thread::sleep(Duration::from_millis(100));
        watch.check();
    }
}
