//! The mock kernel for safe code. No reply can produce an unsound result.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;
use callbacks::mock::{Mock, Reply, opcode};
use callbacks::{
    AddressFamily, Buffer, Errno, File, FsyncFlags, Mode, OFlags, Offset, PollFlags, SocketType,
    StatBuffer,
};

fn file() -> File {
    null().into()
}

#[test]
fn by_one_call() {
    let mut ring = Ring::init_mock();
    ring.noop(Context::default()).unwrap();
    ring.timer(Duration::from_secs(3600), Context::default()).unwrap();
    ring.run(RunCondition::Once).unwrap();
    assert_eq!(ring.busy(), 1);
    ring.run(RunCondition::UntilDone).unwrap();
    assert_eq!(ring.busy(), 0);
}

#[test]
fn replies_are_registered_by_operation() {
    let mut counted = 0;
    let mock = Mock::new()
        .on(opcode::Fsync::CODE, |_| panic!("a later function replaces this one"))
        .on(opcode::Fsync::CODE, move |_| {
            counted += 1;
            if counted == 2 { Reply::error(Errno::IO) } else { Reply::count(0) }
        })
        .on(opcode::Read::CODE, |it| {
            assert_eq!((it.offset(), it.len()), (7, 4));
            Reply::bytes("longer").after(Duration::from_secs(1))
        })
        .on(opcode::Write::CODE, |it| {
            assert_eq!(it.data().unwrap(), b"data");
            Reply::count(3)
        })
        .on(opcode::PollAdd::CODE, |_| Reply::pending())
        .on(opcode::Socket::CODE, |_| Reply::fd(null()));
    let mut ring = mock.ring(4);
    let sync = || Op::Fsync(file(), FsyncFlags::empty());
    outcome!(one(&mut ring, sync()), Fsync(Ok(()), _) => ());
    outcome!(one(&mut ring, sync()), Fsync(Err(Errno::IO), _) => ());
    let read = Op::Read(file(), Buffer::new([0; 4]), Offset::At(7));
    outcome!(one(&mut ring, read), Read(Ok(4), _, buffer) => assert_eq!(&*buffer.bytes, b"long"));
    let write = Op::Write(file(), Buffer::new(*b"data"), Offset::File);
    outcome!(one(&mut ring, write), Write(Ok(3), ..) => ());
    let socket = Op::Socket(AddressFamily::INET, SocketType::STREAM);
    outcome!(one(&mut ring, socket), Socket(Ok(_)) => ());
    let log = Log::default();
    let polling = start(&mut ring, &log, 1, Op::Poll(file(), PollFlags::IN));
    outcome!(one(&mut ring, Op::Cancel(polling)), Cancel(Ok(1)) => ());
    outcome!(log.take().remove(0).1, Poll(Err(Errno::CANCELED), _) => ());
    // This operation has no reply.
    let stat = Op::Stat(c"/".into(), StatBuffer::new());
    outcome!(one(&mut ring, stat), Stat(Err(Errno::INVAL), _) => ());
}

/// The replies are counts for operations that create a descriptor or fill a buffer, descriptors and bytes
/// for other operations, and counts that exceed the buffer.
#[test]
fn unsound_replies_are_errors() {
    let replies: [fn() -> Reply; 3] =
        [|| Reply::count(1_000_000), || Reply::bytes([7; 100]), || Reply::fd(null())];
    for (nth, reply) in replies.into_iter().enumerate() {
        let mut mock = Mock::new();
        for code in 0..=u8::MAX {
            mock = mock.on(code, move |_| reply());
        }
        let mut ring = mock.ring(4);
        let socket = Op::Socket(AddressFamily::INET, SocketType::STREAM);
        outcome!(one(&mut ring, socket), Socket(made) => assert_eq!(made.is_ok(), nth == 2));
        let open = Op::Open(c"/".into(), OFlags::RDONLY, Mode::empty());
        outcome!(one(&mut ring, open), Open(made) => assert_eq!(made.is_ok(), nth == 2));
        outcome!(one(&mut ring, Op::Accept(file())), Accept(made, _) => {
            assert!(made.map_or(nth != 2, |(_, peer)| nth == 2 && peer.is_none()));
        });
        let read = Op::Read(file(), Buffer::new([0; 4]), Offset::File);
        outcome!(one(&mut ring, read), Read(result, _, buffer) => match nth {
            1 => assert_eq!((result, &*buffer.bytes), (Ok(4), [7; 4].as_slice())),
            _ => assert_eq!(result, Err(Errno::INVAL)),
        });
        let write = Op::Write(file(), Buffer::new([0; 4]), Offset::File);
        let expected = [Ok(4), Err(Errno::INVAL), Err(Errno::INVAL)][nth];
        outcome!(one(&mut ring, write), Write(result, ..) => assert_eq!(result, expected));
        let splice = Op::Splice(file(), file(), 9);
        let expected = [Ok(9), Err(Errno::INVAL), Err(Errno::INVAL)][nth];
        outcome!(one(&mut ring, splice), Splice(result, ..) => assert_eq!(result, expected));
        outcome!(one(&mut ring, Op::CancelAll), Cancel(Ok(0)) => ());
    }
}

/// The mock kernel closes the descriptor once, and only when it runs the close.
#[test]
#[cfg_attr(miri, ignore = "Miri has no sockets that do not wait")]
fn a_close_closes() {
    let replies: [(fn() -> Reply, bool); 5] = [
        (Reply::usual, true),
        (|| Reply::count(0).after(Duration::from_secs(9)), true),
        (|| Reply::error(Errno::IO), true),
        (|| Reply::error(Errno::CANCELED), true),
        (Reply::pending, false),
    ];
    for (reply, closed) in replies {
        let mut ring = Mock::new().on(opcode::Close::CODE, move |_| reply()).ring(4);
        let (here, mut there) = UnixStream::pair().unwrap();
        there.set_nonblocking(true).unwrap();
        let fd = here.as_raw_fd();
        let log = Log::default();
        start(&mut ring, &log, 0, Op::Close(here.into()));
        outcome!(first(&mut ring), Noop(Ok(())) => ());
        assert_eq!(there.read(&mut [0]).is_ok(), closed, "descriptor {fd}");
        outcome!(one(&mut ring, Op::CancelAll), Cancel(Ok(_)) => ());
        assert_eq!(there.read(&mut [0]).ok(), Some(0));
        assert_eq!(log.take().len(), 1);
    }
}

/// Operations that are in flight when you drop or forget the ring keep their memory until the mock kernel
/// has completed them.
#[test]
fn a_ring_on_a_mock_can_be_dropped_at_any_time() {
    for event in 0..3 {
        let watch = check::freed::Watch::begin();
        let mock = Mock::new()
            .on(opcode::Read::CODE, |_| Reply::bytes([7; 64]).after(Duration::from_secs(5)))
            .on(opcode::Recv::CODE, |_| Reply::pending());
        let mut ring = mock.ring(8);
        let log = Log::default();
        start(&mut ring, &log, 0, Op::Read(file(), Buffer::new([0; 64]), Offset::File));
        start(&mut ring, &log, 0, Op::Recv(file(), Buffer::new([0; 64])));
        if event > 0 {
            outcome!(first(&mut ring), Noop(Ok(())) => ());
        }
        match event {
            2 => std::mem::forget(ring),
            _ => drop(ring),
        }
        assert!(log.take().is_empty());
        watch.check();
    }
}
