//! On the kernel that runs.

use std::ffi::CString;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::ffi::OsStringExt;
use std::thread;
use std::time::{Duration, Instant};

use rustix_uring::types::{AddressFamily, FsyncFlags, Mode, OFlags, PollFlags, SocketType};
use rustix_uring::{Errno, types};

use super::machine::{self, Job};
use super::*;
use crate::op::{Buffer, File, Mailbox, Vectored};

fn own(fd: impl Into<OwnedFd>) -> File {
    File::Own(fd.into())
}

#[test]
fn files() {
    let mut on = Loop::new(4).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = CString::new(dir.path().join("file").into_os_string().into_vec()).unwrap();
    let open = Op::Open(path.clone().into(), OFlags::RDWR | OFlags::CREATE, Mode::RUSR);
    let file = outcome!(one(&mut on, open), Open(fd) => File::Own(fd.unwrap()));

    let hello = Buffer::new(*b"..hello..").part(2..7);
    let wrote = one(&mut on, Op::Write(file, hello, 0));
    let (file, hello) = outcome!(wrote, Write(Ok(5), file, hello) => (file, hello));
    let both = Vectored::new(vec![hello.part(6..9), Buffer::new(*b"world")]);
    let wrote = one(&mut on, Op::Writev(file, both, 5));
    let file = outcome!(wrote, Writev(Ok(8), file, both) => {
        assert_eq!(&*both.buffers[1].bytes, b"world");
        file
    });
    let sync = Op::Fsync(file, FsyncFlags::DATASYNC);
    let file = outcome!(one(&mut on, sync), Fsync(Ok(()), file) => file);
    let stat = outcome!(one(&mut on, Op::stat(path)), Stat(stat) => stat.unwrap());
    assert_eq!(stat.stx_size, 13);

    let buffer = Buffer::new([0; 4]);
    let read = one(&mut on, Op::Read(file, buffer, 4));
    let file = outcome!(read, Read(Ok(4), file, buffer) => {
        assert_eq!(&*buffer.bytes, b"oo..");
        file
    });
    let parts = Vectored::new(vec![Buffer::new([0; 6]), Buffer::new([0; 9]).part(1..9)]);
    let read = one(&mut on, Op::Readv(file, parts, 0));
    let file = outcome!(read, Readv(Ok(13), file, parts) => {
        assert_eq!(&*parts.buffers[0].bytes, b"helloo");
        assert_eq!(&*parts.buffers[1].bytes, b"\0..world\0");
        file
    });
    let close = Op::Close(file.into_own().unwrap());
    outcome!(one(&mut on, close), Close(Ok(())) => ());
    let nowhere = Op::stat(c"/nowhere/at/all");
    outcome!(one(&mut on, nowhere), Stat(Err(Errno::NOENT)) => ());
    outcome!(one(&mut on, Op::Nop), Nop(Ok(())) => ());
    assert_eq!(on.busy(), 0);
}

#[test]
fn ranges_outside_of_a_buffer_are_cut_off() {
    let mut on = Loop::new(1).unwrap();
    for (range, expected) in [(3..90, 1), (9..90, 0)] {
        let write = Op::Write(own(null()), Buffer::new([0; 4]).part(range), 0);
        assert_eq!(outcome!(one(&mut on, write), Write(len, ..) => len), Ok(expected));
    }
}

#[test]
fn tcp() {
    let mut on = Loop::new(4).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = Op::Socket(AddressFamily::INET, SocketType::STREAM);
    let socket = outcome!(one(&mut on, socket), Socket(fd) => Rc::new(fd.unwrap()));
    let log = Log::default();
    start(&mut on, &log, 0, Op::accept(own(listener)));
    start(&mut on, &log, 1, Op::connect(File::Shared(socket.clone()), address));
    on.run(Until::Done).unwrap();
    let mut log = log.take();
    log.sort_by_key(|(state, _)| *state);
    let [(_, accept), (_, connect)] = <[_; 2]>::try_from(log).unwrap();
    let (there, peer) = outcome!(accept, Accept(accepted, _) => accepted.unwrap());
    let ours = std::net::TcpStream::from(socket.try_clone().unwrap()).local_addr().unwrap();
    assert_eq!(peer, Some(ours));
    let here = outcome!(connect, Connect(Ok(()), file) => file);
    // It is shared, so there is no descriptor to be had.
    assert!(here.into_own().is_none());

    let poll = Op::Poll(own(there), PollFlags::IN);
    let log = Log::default();
    start(&mut on, &log, 0, poll);
    start(&mut on, &log, 1, Op::Send(File::Shared(socket), Buffer::new(*b"hi")));
    on.run(Until::Done).unwrap();
    let polled = log.take().into_iter().find_map(|(state, it)| (state == 0).then_some(it));
    let there = outcome!(polled.unwrap(), Poll(Ok(ready), there) => {
        assert!(ready.contains(PollFlags::IN));
        there
    });
    let received = one(&mut on, Op::Receive(there, Buffer::new([0; 8])));
    let there = outcome!(received, Receive(Ok(2), there, buffer) => {
        assert_eq!(&buffer.bytes[..2], b"hi");
        there
    });
    // The other end went with the log.
    let end = Op::Receive(there, Buffer::new([0; 8]));
    outcome!(one(&mut on, end), Receive(Ok(0), _, _) => ());
}

#[test]
fn udp() {
    let mut on = Loop::new(2).unwrap();
    let there = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = Op::Socket(AddressFamily::INET, SocketType::DGRAM);
    let here = outcome!(one(&mut on, socket), Socket(fd) => File::Own(fd.unwrap()));
    let connect = Op::connect(here, there.local_addr().unwrap());
    let here = outcome!(one(&mut on, connect), Connect(Ok(()), file) => file);
    let send = Op::Send(here, Buffer::new(*b"packet"));
    outcome!(one(&mut on, send), Send(Ok(6), _, _) => ());
    let receive = Op::Receive(own(there), Buffer::new([0; 8]));
    outcome!(one(&mut on, receive), Receive(Ok(6), _, _) => ());
}

#[test]
fn splice() {
    let mut on = Loop::new(2).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"through a pipe").unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let splice = one(&mut on, Op::Splice(own(file), own(writer), 7));
    let (file, writer) = outcome!(splice, Splice(Ok(7), file, writer) => (file, writer));
    // Where the first has left off, to the end.
    outcome!(one(&mut on, Op::Splice(file, writer, 99)), Splice(Ok(7), ..) => ());
    let read = Op::Read(own(reader), Buffer::new([0; 20]), 0);
    outcome!(one(&mut on, read), Read(Ok(14), _, buffer) => {
        assert_eq!(&buffer.bytes[..14], b"through a pipe");
    });
}

#[test]
fn timers() {
    let mut on = Loop::new(3).unwrap();
    let (log, begin) = (Log::default(), Instant::now());
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let soon = types::Timespec::from(now) + Duration::from_millis(60);
    start(&mut on, &log, 1, Op::after(Duration::from_millis(120)));
    start(&mut on, &log, 2, Op::at(soon));
    start(&mut on, &log, 3, Op::after(Duration::ZERO));
    on.run(Until::Once).unwrap();
    assert_eq!(log.borrow().len(), 1);
    on.run(Until::Done).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(120));
    assert!(
        log.take()
            .into_iter()
            .map(|(state, outcome)| { outcome!(outcome, Timer(Ok(())) => state) })
            .eq([3, 2, 1])
    );
}

#[test]
fn one_or_all_are_cancelled() {
    let mut on = Loop::new(8).unwrap();
    let log = Log::default();
    let hour = || Op::after(Duration::from_secs(3600));
    let ids: Vec<_> = (0..3).map(|state| start(&mut on, &log, state, hour())).collect();
    let mut cancel = |op, expected: usize| {
        start(&mut on, &log, 9, op);
        while log.borrow().len() < expected {
            on.run(Until::Once).unwrap();
        }
        let mut over = log.take();
        over.sort_by_key(|(state, _)| *state);
        let (_, cancelled) = over.pop().unwrap();
        let over: Vec<_> = over
            .into_iter()
            .map(|(state, it)| outcome!(it, Timer(Err(Errno::CANCELED)) => state))
            .collect();
        (over, outcome!(cancelled, Cancel(found) => found))
    };
    assert_eq!(cancel(Op::Cancel(ids[1]), 2), (vec![1], Ok(1)));
    assert_eq!(cancel(Op::Cancel(ids[1]), 1), (vec![], Err(Errno::NOENT)));
    assert_eq!(cancel(Op::CancelAll, 3), (vec![0, 2], Ok(2)));
    assert_eq!(on.busy(), 0);
}

/// A cancellation by number alone would hit the operation that has the task now.
#[test]
fn a_task_that_is_used_again_is_another() {
    let mut on = Loop::new(2).unwrap();
    let log = Log::default();
    let old = start(&mut on, &log, 0, Op::Nop);
    on.run(Until::Done).unwrap();
    log.take();
    for state in 0..4 {
        let new = start(&mut on, &log, state, Op::after(Duration::from_millis(5)));
        assert_ne!(old, new);
        outcome!(one(&mut on, Op::Cancel(old)), Cancel(Err(Errno::NOENT)) => ());
        outcome!(log.take().pop().unwrap().1, Timer(Ok(())) => ());
    }
}

#[test]
fn a_full_pool_gives_everything_back() {
    let mut on = Loop::new(2).unwrap();
    let log = Log::default();
    start(&mut on, &log, 0, Op::Nop);
    start(&mut on, &log, 1, Op::Nop);
    let context = Context { callback: super::log, state: 2, user: log.clone() };
    let refused = on.start(Op::Write(own(null()), Buffer::new(*b"kept"), 7), context);
    let Err((Op::Write(_, buffer, 7), context)) = refused else { panic!() };
    assert_eq!((&*buffer.bytes, context.state), (b"kept".as_slice(), 2));
    on.run(Until::Done).unwrap();
    assert!(log.take().into_iter().map(|(state, _)| state).eq([0, 1]));
}

#[test]
fn more_tasks_than_the_ring_has_places() {
    let mut on = Loop::new(2000).unwrap();
    let log = Log::default();
    for state in 0..2000 {
        start(&mut on, &log, state, Op::Nop);
    }
    on.run(Until::Done).unwrap();
    assert!(log.take().into_iter().map(|(state, _)| state).eq(0..2000));
}

#[test]
fn callbacks_submit_more() {
    fn again<H: Handle>(on: &mut Loop<Log, H>, done: Done<Log>) {
        let Done { outcome, state, user } = done;
        user.borrow_mut().push((state, outcome));
        if state > 0 {
            let context = Context { callback: again, state: state - 1, user };
            assert!(on.start(Op::Nop, context).is_ok());
        }
    }
    // The task of an operation is free before its callback is called: one is enough.
    let mut on = Loop::new(1).unwrap();
    let user = Log::default();
    let context = Context { callback: again, state: 999, user: user.clone() };
    assert!(on.start(Op::Nop, context).is_ok());
    on.run(Until::Done).unwrap();
    assert!(user.take().into_iter().map(|(state, _)| state).eq((0..1000).rev()));
}

fn machines(runs: u32) -> (Rc<Job>, thread::JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || machine::serve(&listener, runs as usize));
    (Job::new(address, runs), server)
}

#[test]
fn the_hot_path_allocates_nothing() {
    let mut on = Loop::new(4).unwrap();
    let (job, server) = machines(2000);
    let (count, runs) = allocations(|| job.run(&mut on, 4));
    assert_eq!(runs, Ok(2000));
    server.join().unwrap().unwrap();
    // A buffer for each machine, and nothing for what they do.
    assert_eq!(count, 4);

    // The other operations: what they are given is made before.
    fn drop_it<H: Handle>(_: &mut Loop<(), H>, done: Done<()>) {
        drop(done);
    }
    let mut on = Loop::new(16).unwrap();
    let buffer = || Buffer::new([0; 16]);
    let file = || File::Own(null());
    let mut vectors = [0; 2].map(|_| Vectored::new(vec![buffer(), buffer()])).into_iter();
    let mut vectored = || vectors.next().unwrap();
    let ops = [
        Op::Nop,
        Op::after(Duration::from_millis(1)),
        Op::Read(file(), buffer(), 0),
        Op::Write(file(), buffer(), 0),
        Op::Readv(file(), vectored(), 0),
        Op::Writev(file(), vectored(), 0),
        Op::Open(c"/dev/null".into(), OFlags::RDONLY, Mode::empty()),
        Op::Close(null()),
        Op::Fsync(file(), FsyncFlags::empty()),
        Op::stat(c"/dev/null"),
        Op::Socket(AddressFamily::INET, SocketType::DGRAM),
        Op::Poll(file(), PollFlags::IN),
        Op::CancelAll,
    ];
    let (count, ()) = allocations(|| {
        for op in ops {
            assert!(on.start(op, Context { callback: drop_it, state: 0, user: () }).is_ok());
        }
        on.run(Until::Done).unwrap();
    });
    assert_eq!(count, 0);
}

#[test]
fn failures_end_a_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut on = Loop::new(4).unwrap();
    let failed = Job::new(address, 100).run(&mut on, 4).unwrap_err();
    assert!(failed.starts_with("in state 1: Connect(Err("), "{failed}");
    assert_eq!(on.busy(), 0);
}

#[test]
fn messages_go_from_ring_to_ring() {
    assert_eq!(ping_pong::two_threads(1001), Ok((501, 502)));
}

#[test]
fn workers_are_shared_with_a_ring_only() {
    let on = Loop::<()>::new(4).unwrap();
    let mut other = Loop::sharing_workers(&on.mailbox().unwrap(), 4).unwrap();
    drop(on);
    outcome!(one(&mut other, Op::stat(c"/")), Stat(Ok(_)) => ());
    let no_ring = Mailbox(null().into());
    assert!(Loop::<()>::sharing_workers(&no_ring, 4).is_err());
    let message = crate::op::Message { subject: 1, value: 2 };
    outcome!(one(&mut other, Op::Message(no_ring, message)), Message(Err(Errno::BADFD)) => ());
}

#[test]
fn an_echo_of_200_connections() {
    const CONNECTIONS: usize = 200;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let load = thread::spawn(move || {
        check::echo::load(address, CONNECTIONS as u64, check::echo::duration()).unwrap()
    });
    let mut on = Loop::new(CONNECTIONS as u32 + 1).unwrap();
    let bytes = super::echo::serve(&mut on, listener, CONNECTIONS).unwrap();
    let messages = load.join().unwrap();
    assert!(messages >= CONNECTIONS as u64);
    assert_eq!(bytes, messages * 1024);
    println!("{messages} messages, none lost, doubled or out of order");
}
