//! Tests on the running kernel.

use std::ffi::CString;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use rustix_uring::types::{AddressFamily, FsyncFlags, Mode, OFlags, PollFlags, SocketType};
use rustix_uring::{Errno, types};

use super::machine::{self, Job};
use super::*;
use callbacks::{Buffer, File, Mailbox, Message, Offset, Refused, StatBuffer, Vectored};

fn own(fd: impl Into<OwnedFd>) -> File {
    File::Own(fd.into())
}

#[test]
fn files() {
    let mut ring = Ring::init(4).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = CString::new(dir.path().join("file").into_os_string().into_vec()).unwrap();
    let open = Op::Open(path.clone().into(), OFlags::RDWR | OFlags::CREATE, Mode::RUSR);
    let file = outcome!(one(&mut ring, open), Open(fd) => File::Own(fd.unwrap()));

    let hello = Buffer::new(*b"..hello..").part(2..7);
    let wrote = one(&mut ring, Op::Write(file, hello, Offset::At(0)));
    let (file, hello) = outcome!(wrote, Write(Ok(5), file, hello) => (file, hello));
    let both = Vectored::new(vec![hello.part(6..9), Buffer::new(*b"world")]);
    let wrote = one(&mut ring, Op::Writev(file, both, Offset::At(5)));
    let file = outcome!(wrote, Writev(Ok(8), file, both) => {
        assert_eq!(&*both.buffers[1].bytes, b"world");
        file
    });
    let sync = Op::Fsync(file, FsyncFlags::DATASYNC);
    let file = outcome!(one(&mut ring, sync), Fsync(Ok(()), file) => file);
    let stat = one(&mut ring, Op::Stat(path.clone().into(), StatBuffer::new()));
    let stat = outcome!(stat, Stat(Ok(()), stat) => stat);
    assert_eq!(stat.stx_size, 13);
    // For a symbolic link, `stat` describes the file and `lstat` the link. Both use the same buffer.
    let link = dir.path().join("link");
    std::os::unix::fs::symlink("file", &link).unwrap();
    let link = CString::new(link.into_os_string().into_vec()).unwrap();
    let stat = one(&mut ring, Op::Lstat(link.clone().into(), stat));
    let stat = outcome!(stat, Stat(Ok(()), stat) => stat);
    assert_eq!((stat.stx_size, stat.stx_mode & 0o170_000), (4, 0o120_000));
    let stat = one(&mut ring, Op::Stat(link.into(), stat));
    let stat = outcome!(stat, Stat(Ok(()), stat) => stat);
    assert_eq!((stat.stx_size, stat.stx_mode & 0o170_000), (13, 0o100_000));

    let buffer = Buffer::new([0; 4]);
    let read = one(&mut ring, Op::Read(file, buffer, Offset::At(4)));
    let file = outcome!(read, Read(Ok(4), file, buffer) => {
        assert_eq!(&*buffer.bytes, b"oo..");
        file
    });
    let parts = Vectored::new(vec![Buffer::new([0; 6]), Buffer::new([0; 9]).part(1..9)]);
    let read = one(&mut ring, Op::Readv(file, parts, Offset::At(0)));
    let file = outcome!(read, Readv(Ok(13), file, parts) => {
        assert_eq!(&*parts.buffers[0].bytes, b"helloo");
        assert_eq!(&*parts.buffers[1].bytes, b"\0..world\0");
        file
    });
    let close = Op::Close(file.into_own().unwrap());
    outcome!(one(&mut ring, close), Close(Ok(())) => ());
    let nowhere = Op::Stat(c"/nowhere/at/all".into(), StatBuffer::new());
    outcome!(one(&mut ring, nowhere), Stat(Err(Errno::NOENT), _) => ());
    outcome!(one(&mut ring, Op::Noop), Noop(Ok(())) => ());
    assert_eq!(ring.busy(), 0);
}

#[test]
fn ranges_outside_of_a_buffer_are_cut_off() {
    let mut ring = Ring::init(1).unwrap();
    for (range, expected) in [(3..90, 1), (9..90, 0)] {
        let write = Op::Write(own(null()), Buffer::new([0; 4]).part(range), Offset::At(0));
        assert_eq!(outcome!(one(&mut ring, write), Write(len, ..) => len), Ok(expected));
    }
}

#[test]
fn tcp() {
    let mut ring = Ring::init(4).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let socket = Op::Socket(AddressFamily::INET, SocketType::STREAM);
    let socket = outcome!(one(&mut ring, socket), Socket(fd) => Rc::new(fd.unwrap()));
    let log = Log::default();
    start(&mut ring, &log, 0, Op::Accept(own(listener)));
    start(&mut ring, &log, 1, Op::Connect(File::Shared(socket.clone()), address));
    ring.run(RunCondition::UntilDone).unwrap();
    let mut log = log.take();
    log.sort_by_key(|(state, _)| *state);
    let [(_, accept), (_, connect)] = <[_; 2]>::try_from(log).unwrap();
    let (there, peer) = outcome!(accept, Accept(accepted, _) => accepted.unwrap());
    let ours = std::net::TcpStream::from(socket.try_clone().unwrap()).local_addr().unwrap();
    assert_eq!(peer, Some(ours));
    let here = outcome!(connect, Connect(Ok(()), file) => file);
    // The descriptor is still shared, so `into_own` returns `None`.
    assert!(here.into_own().is_none());

    let poll = Op::Poll(own(there), PollFlags::IN);
    let log = Log::default();
    start(&mut ring, &log, 0, poll);
    start(&mut ring, &log, 1, Op::Send(File::Shared(socket), Buffer::new(*b"hi")));
    ring.run(RunCondition::UntilDone).unwrap();
    let polled = log.take().into_iter().find_map(|(state, it)| (state == 0).then_some(it));
    let there = outcome!(polled.unwrap(), Poll(Ok(ready), there) => {
        assert!(ready.contains(PollFlags::IN));
        there
    });
    let received = one(&mut ring, Op::Recv(there, Buffer::new([0; 8])));
    let there = outcome!(received, Recv(Ok(2), there, buffer) => {
        assert_eq!(&buffer.bytes[..2], b"hi");
        there
    });
    // The log owned the other end, which is closed now.
    let end = Op::Recv(there, Buffer::new([0; 8]));
    outcome!(one(&mut ring, end), Recv(Ok(0), _, _) => ());
}

#[test]
fn udp() {
    let mut ring = Ring::init(2).unwrap();
    let there = UdpSocket::bind("127.0.0.1:0").unwrap();
    let socket = Op::Socket(AddressFamily::INET, SocketType::DGRAM);
    let here = outcome!(one(&mut ring, socket), Socket(fd) => File::Own(fd.unwrap()));
    let connect = Op::Connect(here, there.local_addr().unwrap());
    let here = outcome!(one(&mut ring, connect), Connect(Ok(()), file) => file);
    let send = Op::Send(here, Buffer::new(*b"packet"));
    outcome!(one(&mut ring, send), Send(Ok(6), _, _) => ());
    let receive = Op::Recv(own(there), Buffer::new([0; 8]));
    outcome!(one(&mut ring, receive), Recv(Ok(6), _, _) => ());
}

#[test]
fn splice() {
    let mut ring = Ring::init(2).unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"through a pipe").unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let splice = one(&mut ring, Op::Splice(own(file), own(writer), 7));
    let (file, writer) = outcome!(splice, Splice(Ok(7), file, writer) => (file, writer));
    // The second splice continues where the first has stopped, up to the end of the file.
    outcome!(one(&mut ring, Op::Splice(file, writer, 99)), Splice(Ok(7), ..) => ());
    let read = Op::Read(own(reader), Buffer::new([0; 20]), Offset::At(0));
    outcome!(one(&mut ring, read), Read(Ok(14), _, buffer) => {
        assert_eq!(&buffer.bytes[..14], b"through a pipe");
    });
}

#[test]
fn timers() {
    let mut ring = Ring::init(3).unwrap();
    let (log, begin) = (Log::default(), Instant::now());
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let soon = types::Timespec::from(now) + Duration::from_millis(60);
    start(&mut ring, &log, 1, Op::Timer(Duration::from_millis(120).into()));
    start(&mut ring, &log, 2, Op::TimerAt(soon));
    start(&mut ring, &log, 3, Op::Timer(Duration::ZERO.into()));
    ring.run(RunCondition::Once).unwrap();
    assert_eq!(log.borrow().len(), 1);
    ring.run(RunCondition::UntilDone).unwrap();
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
    let mut ring = Ring::init(8).unwrap();
    let log = Log::default();
    let hour = || Op::Timer(Duration::from_secs(3600).into());
    let ids: Vec<_> = (0..3).map(|state| start(&mut ring, &log, state, hour())).collect();
    let mut cancel = |op, expected: usize| {
        start(&mut ring, &log, 9, op);
        while log.borrow().len() < expected {
            ring.run(RunCondition::Once).unwrap();
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
    assert_eq!(ring.busy(), 0);
}

/// A cancellation by task number alone would cancel the operation that uses the task now.
#[test]
fn a_task_that_is_used_again_is_another() {
    let mut ring = Ring::init(2).unwrap();
    let log = Log::default();
    let old = start(&mut ring, &log, 0, Op::Noop);
    ring.run(RunCondition::UntilDone).unwrap();
    log.take();
    for state in 0..4 {
        let new = start(&mut ring, &log, state, Op::Timer(Duration::from_millis(5).into()));
        assert_ne!(old, new);
        outcome!(one(&mut ring, Op::Cancel(old)), Cancel(Err(Errno::NOENT)) => ());
        outcome!(log.take().pop().unwrap().1, Timer(Ok(())) => ());
    }
}

#[test]
fn a_full_pool_gives_everything_back() {
    let mut ring = Ring::init(2).unwrap();
    let log = Log::default();
    start(&mut ring, &log, 0, Op::Noop);
    start(&mut ring, &log, 1, Op::Noop);
    let context = Context { cb: super::log, msg: 2, userdata: log.clone() };
    let refused = ring.start(Op::Write(own(null()), Buffer::new(*b"kept"), Offset::At(7)), context);
    let Err(Refused { op: Op::Write(_, buffer, Offset::At(7)), context }) = refused else {
        panic!()
    };
    assert_eq!((&*buffer.bytes, context.msg), (b"kept".as_slice(), 2));
    ring.run(RunCondition::UntilDone).unwrap();
    assert!(log.take().into_iter().map(|(state, _)| state).eq([0, 1]));
}

#[test]
fn more_tasks_than_the_ring_has_slots() {
    let mut ring = Ring::init(2000).unwrap();
    let log = Log::default();
    for state in 0..2000 {
        start(&mut ring, &log, state, Op::Noop);
    }
    ring.run(RunCondition::UntilDone).unwrap();
    assert!(log.take().into_iter().map(|(state, _)| state).eq(0..2000));
}

#[test]
fn callbacks_submit_more() {
    fn again<H: Handle>(ring: &mut Ring<Log, H>, task: Task<Log>) -> Result<(), RingError> {
        let Task { result, msg, userdata } = task;
        userdata.borrow_mut().push((msg, result));
        if msg > 0 {
            ring.noop(Context { cb: again, msg: msg - 1, userdata })?;
        }
        Ok(())
    }
    // A task is free before its callback runs, so one task is enough.
    let mut ring = Ring::init(1).unwrap();
    let user = Log::default();
    let context = Context { cb: again, msg: 999, userdata: user.clone() };
    assert!(ring.start(Op::Noop, context).is_ok());
    ring.run(RunCondition::UntilDone).unwrap();
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
    let mut ring = Ring::init(4).unwrap();
    let (job, server) = machines(2000);
    let (count, runs) = allocations(|| job.run(&mut ring, 4));
    assert_eq!(runs.unwrap(), 2000);
    server.join().unwrap().unwrap();
    // Each machine allocates its buffer, and its operations allocate nothing.
    assert_eq!(count, 4);

    // The other operations. Their arguments are allocated before the count begins.
    fn drop_it<H: Handle>(_: &mut Ring<(), H>, task: Task) -> Result<(), RingError> {
        drop(task);
        Ok(())
    }
    let mut ring = Ring::init(32).unwrap();
    ring.listen(|_, (), _| Ok(()), ());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let _connection = TcpStream::connect(address).unwrap();
    let (sender, receiver) = UnixStream::pair().unwrap();
    let (_reader, pipe) = rustix::pipe::pipe().unwrap();
    let buffer = || Buffer::new([0; 16]);
    let file = || File::Own(null());
    let mut vectors = [0; 2].map(|_| Vectored::new(vec![buffer(), buffer()])).into_iter();
    let mut vectored = || vectors.next().unwrap();
    let ops = [
        Op::Noop,
        Op::Timer(Duration::from_millis(1).into()),
        Op::Read(file(), buffer(), Offset::At(0)),
        Op::Write(file(), buffer(), Offset::At(0)),
        Op::Readv(file(), vectored(), Offset::At(0)),
        Op::Writev(file(), vectored(), Offset::At(0)),
        Op::Open(c"/dev/null".into(), OFlags::RDONLY, Mode::empty()),
        Op::Close(null()),
        Op::Fsync(file(), FsyncFlags::empty()),
        Op::Stat(c"/dev/null".into(), StatBuffer::new()),
        Op::Lstat(c"/dev/null".into(), StatBuffer::new()),
        Op::Connect(own(UdpSocket::bind("127.0.0.1:0").unwrap()), address),
        Op::Accept(own(listener)),
        Op::Recv(own(receiver), buffer()),
        Op::Send(own(sender), buffer()),
        Op::Splice(file(), own(pipe), 16),
        Op::MsgRing(ring.mailbox().unwrap(), Message { subject: 1, value: 2 }),
        Op::Socket(AddressFamily::INET, SocketType::DGRAM),
        Op::Poll(file(), PollFlags::IN),
        Op::CancelAll,
    ];
    let (count, ()) = allocations(|| {
        for op in ops {
            assert!(ring.start(op, Context { cb: drop_it, msg: 0, userdata: () }).is_ok());
        }
        ring.run(RunCondition::UntilDone).unwrap();
    });
    assert_eq!(count, 0);
}

#[test]
fn failures_end_a_machine() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut ring = Ring::init(4).unwrap();
    let failed = Job::new(address, 100).run(&mut ring, 4).unwrap_err();
    assert!(failed.to_string().starts_with("in state 1: Connect(Err("), "{failed}");
    // Each of the other machines has an operation in flight.
    assert_eq!(ring.busy(), 3);
    ring.end().unwrap();
    assert_eq!(ring.busy(), 0);
}

#[test]
fn messages_go_from_ring_to_ring() {
    assert_eq!(ping_pong::two_threads(1001).unwrap(), (501, 502));
}

#[test]
fn messages_go_to_rings_only() {
    let mut ring = Ring::init(4).unwrap();
    let no_ring = Mailbox(null().into());
    let message = Message { subject: 1, value: 2 };
    outcome!(one(&mut ring, Op::MsgRing(no_ring, message)), MsgRing(Err(Errno::BADFD)) => ());
}

#[test]
fn an_echo_of_200_connections() {
    const CONNECTIONS: usize = 200;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let load = thread::spawn(move || {
        check::echo::load(address, CONNECTIONS as u64, check::echo::duration()).unwrap()
    });
    let mut ring = Ring::init(CONNECTIONS as u32 + 1).unwrap();
    let bytes = super::echo::serve(&mut ring, listener, CONNECTIONS).unwrap();
    let messages = load.join().unwrap();
    assert!(messages >= CONNECTIONS as u64);
    assert_eq!(bytes, messages * 1024);
    println!("{messages} messages: none lost, duplicated or out of order");
}
