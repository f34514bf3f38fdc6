//! Futures that end at every point and in every way.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::mem;
use std::net;
use std::os::unix::net::UnixStream;
use std::panic;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix_uring::Errno;
use rustix_uring::types::OFlags;
use tokio::task;
use tokio::time::{sleep, timeout};

use super::{connection, file_of, none_open_at, open_at, run};
use crate::buf::FixedBufs;
use crate::fs::File;
use crate::net::UdpSocket;
use crate::{start, try_start};
use check::freed;

/// The state of a read when the test ends its future.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum At {
    /// The future was never polled.
    New,
    /// The entry waits for the ring's turn.
    Queued,
    /// The kernel has the entry.
    Submitted,
    /// The kernel has completed the read, and the ring has not reaped the completion.
    Completed,
    /// The ring has reaped the completion, and the future was not polled since.
    Reaped,
}

const POINTS: [At; 5] = [At::New, At::Queued, At::Submitted, At::Completed, At::Reaped];

/// Starts an operation, and runs it up to this point. `complete` makes the kernel complete it.
async fn bring<F: Future>(operation: F, at: At, complete: impl FnOnce()) -> Pin<Box<F>> {
    let mut operation = Box::pin(operation);
    if at >= At::Queued {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(operation.as_mut().poll(&mut cx).is_pending());
    }
    if at >= At::Submitted {
        sleep(Duration::from_millis(2)).await;
    }
    if at >= At::Completed {
        complete();
    }
    if at >= At::Reaped {
        sleep(Duration::from_millis(2)).await;
    }
    operation
}

/// A buffer that makes the other end send data as soon as the buffer is freed. If the kernel still receives
/// into the buffer, it writes these bytes to freed memory.
struct Trap {
    bytes: Vec<u8>,
    send: Rc<dyn Fn()>,
}

impl AsMut<[u8]> for Trap {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        drop(mem::take(&mut self.bytes));
        (self.send)();
    }
}

/// The operation that receives 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Read,
    Vectored,
    Fixed,
    Datagram,
}

const KINDS: [Kind; 4] = [Kind::Read, Kind::Vectored, Kind::Fixed, Kind::Datagram];

type Receive = Pin<Box<dyn Future<Output = io::Result<usize>>>>;

/// Returns a receive, and a function that sends the bytes to it. The receive compares them.
fn receive(kind: Kind) -> io::Result<(Receive, Rc<dyn Fn()>)> {
    if kind == Kind::Datagram {
        let ours = net::UdpSocket::bind("127.0.0.1:0")?;
        let theirs = net::UdpSocket::bind("127.0.0.1:0")?;
        ours.connect(theirs.local_addr()?)?;
        let theirs = UdpSocket::new(theirs);
        let send = Rc::new(move || drop(ours.send(&[7; 64])));
        let trap = Trap { bytes: vec![0; 64], send: send.clone() };
        let receive = async move {
            let (received, trap) = theirs.recv_from(trap).await;
            assert_eq!(trap.bytes, [7; 64]);
            Ok(received?.0)
        };
        return Ok((Box::pin(receive), send));
    }
    let (stream, ours) = connection()?;
    let send = Rc::new(move || drop((&ours).write(&[7; 64]))); // the ring's end may be closed
    let trap = |len| Trap { bytes: vec![0; len], send: send.clone() };
    let receive: Receive = match kind {
        Kind::Vectored => {
            let traps = vec![trap(16), trap(48)];
            Box::pin(async move {
                let (read, traps) = stream.readv(traps).await;
                assert!(traps.iter().all(|trap| trap.bytes.iter().all(|byte| *byte == 7)));
                read
            })
        }
        Kind::Fixed => {
            let buf = FixedBufs::register([vec![0; 64]])?.take(0).expect("it is there");
            Box::pin(async move {
                let (read, buf) = stream.read_fixed(buf).await;
                assert_eq!(buf[..], [7; 64]);
                read
            })
        }
        _ => {
            let trap = trap(64);
            Box::pin(async move {
                let (read, trap) = stream.read(trap).await;
                assert_eq!(trap.bytes, [7; 64]);
                read
            })
        }
    };
    Ok((receive, send))
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Dropped,
    Forgotten,
    /// The program panics.
    Panicked,
    /// The program returns, and a task still has the future.
    Left,
    /// A task that has the future is aborted.
    Aborted,
    TimedOut,
    Awaited,
}

const ENDS: [End; 7] = [
    End::Dropped,
    End::Forgotten,
    End::Panicked,
    End::Left,
    End::Aborted,
    End::TimedOut,
    End::Awaited,
];

async fn receive_and_end(kind: Kind, at: At, end: End) -> io::Result<()> {
    let (receive, send) = receive(kind)?;
    let receive = bring(receive, at, || send()).await;
    match end {
        End::Dropped => drop(receive),
        End::Forgotten => mem::forget(receive),
        End::Panicked => panic!("on purpose"),
        End::Left => {
            task::spawn_local(receive);
            return Ok(());
        }
        End::Aborted => task::spawn_local(receive).abort(),
        End::TimedOut => drop(timeout(Duration::from_millis(1), receive).await),
        End::Awaited => {
            send();
            assert_eq!(receive.await?, 64);
        }
    }
    sleep(Duration::from_millis(5)).await;
    if kind == Kind::Fixed && end == End::Dropped {
        // All buffers of the earlier registration are back, so this one succeeds.
        drop(FixedBufs::register([vec![0; 64]])?);
    }
    send();
    Ok(())
}

#[test]
fn no_freed_buffer_is_written_to() {
    for (kind, at) in KINDS.into_iter().flat_map(|kind| POINTS.map(|at| (kind, at))) {
        let watch = freed::Watch::begin();
        for end in ENDS {
            match panic::catch_unwind(|| try_start(receive_and_end(kind, at, end))) {
                Ok(ran) => ran.unwrap().unwrap(),
                Err(_) => assert_eq!(end, End::Panicked, "{kind:?} {at:?}"),
            }
            watch.check();
        }
    }
}

/// You cannot take a registered buffer again while the kernel may still write to it.
#[test]
fn a_registered_buffer_is_back_when_the_kernel_is_done() {
    run(async {
        let bufs = FixedBufs::register([vec![0; 64]])?;
        for at in POINTS {
            let (stream, ours) = connection()?;
            let buf = bufs.take(0).expect("it is back");
            let complete = || (&ours).write_all(&[7; 64]).expect("the other end is there");
            drop(bring(async move { stream.read_fixed(buf).await }, at, complete).await);
            if at == At::Queued || at == At::Submitted {
                assert!(bufs.take(0).is_none(), "{at:?}");
            }
            while bufs.take(0).is_none() {
                sleep(Duration::from_millis(1)).await;
            }
        }
        Ok(())
    });
}

/// Direct reads cannot be cancelled, so the end of the runtime has to wait for them.
#[test]
fn no_freed_buffer_is_read_into_from_a_disk() {
    #[repr(align(4096))]
    struct Block([u8; 1 << 16]);
    impl AsMut<[u8]> for Box<Block> {
        fn as_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }

    let path = file_of(&vec![7; 16 << 16]);
    let watch = freed::Watch::begin();
    run(async move {
        let file = match File::open_with(&path, OFlags::DIRECT).await {
            Err(_) => File::open(&path).await?, // most likely a file system in memory
            file => file?,
        };
        for _ in 0..8 {
            let read = |n: u64| file.read_at(Box::new(Block([0; 1 << 16])), n << 16);
            let mut reads: Vec<_> = (0..16).map(|n| Box::pin(read(n))).collect();
            let mut cx = Context::from_waker(Waker::noop());
            for read in &mut reads {
                assert!(read.as_mut().poll(&mut cx).is_pending());
            }
            task::yield_now().await;
            drop(reads);
        }
        file.close().await
    });
    watch.check();
}

/// If the future of an operation is gone, the descriptor that the operation creates is closed.
#[test]
fn no_descriptor_leaks() {
    let path = file_of(b"");
    for at in [At::New, At::Queued, At::Submitted, At::Reaped] {
        let path = &*path;
        run(async move {
            drop(bring(File::open(path.to_owned()), at, || ()).await);
            none_open_at(path).await?;
            // A close whose future is dropped closes its file as well.
            let file = File::open(path.to_owned()).await?;
            drop(bring(file.close(), at, || ()).await);
            none_open_at(path).await?;
            // The last open is still in flight when the program ends.
            drop(bring(File::open(path.to_owned()), at, || ()).await);
            Ok(())
        });
        assert_eq!(open_at(path), 0, "{at:?}");
    }
}

/// If a descriptor is closed too early, its number may name another file when the kernel uses it.
#[test]
fn nothing_else_is_written_to() {
    run(async move {
        for _ in 0..100 {
            let (stream, _ours) = connection()?;
            drop(bring(async move { stream.write("text").await }, At::Queued, || ()).await);
            let others = UnixStream::pair()?;
            sleep(Duration::from_millis(1)).await;
            for mut other in [&others.0, &others.1] {
                other.set_nonblocking(true)?;
                let nothing = other.read(&mut [0]).map_err(|error| error.kind());
                assert_eq!(nothing, Err(ErrorKind::WouldBlock));
            }
        }
        Ok(())
    });
}

#[test]
fn a_connection_closes_behind_what_uses_it() {
    run(async move {
        let (stream, mut ours) = connection()?;
        drop(bring(stream.read(vec![0; 64]), At::Submitted, || ()).await);
        stream.close().await?;
        ours.set_nonblocking(true)?;
        assert_eq!(ours.read(&mut [0])?, 0, "it is closed by now");
        Ok(())
    });
}

#[test]
fn nothing_starts_when_the_program_is_over() {
    let path = file_of(b"text");
    let file = start(File::open(&path)).unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let read = pin!(file.read_at([0; 4], 0)).poll(&mut cx);
    assert!(matches!(read, Poll::Ready((Err(error), _)) if is_cancelled(&error)));
    assert!(pin!(file.close()).poll(&mut cx).is_ready());
    assert_eq!(open_at(&path), 0);
}

#[test]
#[should_panic = "a program that `start` runs"]
fn nothing_starts_outside_of_a_program() {
    let _ = pin!(File::open("/dev/null")).poll(&mut Context::from_waker(Waker::noop()));
}

/// If a program fails to start inside of another, the outer one keeps its ring.
#[test]
fn programs_do_not_nest() {
    run(async {
        let nested = panic::catch_unwind(|| start(async {}));
        assert!(nested.is_err());
        File::open("/dev/null").await?.close().await
    });
}

fn is_cancelled(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::CANCELED)
}
