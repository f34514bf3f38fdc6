use std::future::Future;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::mem;
use std::net;
use std::os::unix::net::UnixStream;
use std::panic;
use std::path::Path;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use rustix_uring::Errno;
use rustix_uring::types::{OFlags, Shutdown};
use tokio::task;
use tokio::time::{sleep, timeout};

use crate::fd::{File, TcpListener, TcpStream};
use crate::part::Part;
use crate::ring::{self, Ring};
use check::{echo, freed};

#[global_allocator]
static ALLOCATOR: freed::Keeping = freed::Keeping;

/// Runs a program whose errors fail the test.
fn run<F: Future<Output = io::Result<()>>>(program: impl FnOnce(Ring) -> F) {
    ring::run(program).expect("the ring works").expect("the program works");
}

/// A file that is gone with the path.
fn file_of(contents: &[u8]) -> tempfile::TempPath {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(contents).unwrap();
    file.into_temp_path()
}

/// Both ends of a connection: the ring's, and the test's.
fn connection(ring: &Ring) -> io::Result<(TcpStream, net::TcpStream)> {
    let listener = net::TcpListener::bind("127.0.0.1:0")?;
    let ours = net::TcpStream::connect(listener.local_addr()?)?;
    Ok((TcpStream::new(ring, listener.accept()?.0), ours))
}

fn errno<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().as_ref().and_then(Errno::from_io_error)
}

/// How many descriptors of this process are open at a path.
fn open_at(path: &Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    links
        .filter(|link| std::fs::read_link(link.as_ref().unwrap().path()).is_ok_and(|to| to == path))
        .count()
}

/// Waits until what is in flight has come to its end.
async fn none_open_at(path: &Path) -> io::Result<()> {
    sleep(Duration::from_millis(5)).await;
    let closed = async {
        while open_at(path) > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    Ok(timeout(Duration::from_secs(10), closed).await?)
}

#[test]
fn a_file_is_written_and_read() {
    let path = file_of(b"");
    run(|ring| async move {
        let file = File::open_with(&ring, &path, OFlags::RDWR).await?;
        let (written, text) = file.write_at("seven bytes", 0).await;
        assert_eq!((written?, text), (11, "seven bytes"));
        let (written, _) = file.write_at(*b"SIX", 6).await;
        assert_eq!(written?, 3);
        file.sync().await?;

        // Short at the end, and nothing behind it.
        let (read, buf) = file.read_at(vec![b'.'; 8], 6).await;
        assert_eq!((read?, &buf[..]), (5, &b"SIXes..."[..]));
        let (read, _) = file.read_at([0; 8], 11).await;
        assert_eq!(read?, 0);
        // An array moves to where the kernel writes, and back.
        let (read, part) = file.read_at(Part::new([0; 8], 2..4), 0).await;
        assert_eq!((read?, part.whole), (2, *b"\0\0se\0\0\0\0"));
        let (read, _) = file.read_at(Vec::new(), 0).await;
        assert_eq!(read?, 0);

        file.close().await?;
        assert_eq!(std::fs::read(&path)?, b"seven SIXes");
        assert_eq!(open_at(&path), 0);
        Ok(())
    });
}

#[test]
fn errors_bring_the_buffer_back() {
    let path = file_of(b"text");
    run(|ring| async move {
        let file = File::open(&ring, &path).await?;
        let (written, buf) = file.write_at(String::from("text"), 0).await;
        assert_eq!((errno(written), &buf[..]), (Some(Errno::BADF), "text"));
        assert_eq!(
            errno(File::open(&ring, path.join("none")).await.map(drop)),
            Some(Errno::NOTDIR)
        );
        let nul = File::open(&ring, "a\0b").await.map(drop);
        assert_eq!(nul.unwrap_err().kind(), ErrorKind::InvalidInput);

        let refused = net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let refused = TcpStream::connect(&ring, refused).await.map(drop);
        assert_eq!(errno(refused), Some(Errno::CONNREFUSED));
        let (stream, ours) = connection(&ring)?;
        drop(ours);
        let (sent, buf) = stream.write_all(vec![0; 32 << 20]).await;
        assert!(matches!(errno(sent), Some(Errno::PIPE | Errno::CONNRESET)));
        assert_eq!(buf.len(), 32 << 20);
        Ok(())
    });
}

#[test]
fn both_directions_at_once() {
    run(|ring| async move {
        let (stream, mut ours) = connection(&ring)?;
        let peer = thread::spawn(move || {
            let mut all = vec![];
            ours.read_to_end(&mut all)?;
            ours.write_all(&all)?;
            io::Result::Ok(all.len())
        });
        let receive = async {
            let (mut all, mut buf) = (vec![], vec![0; 1 << 16]);
            loop {
                let (read, filled) = stream.read(buf).await;
                match read? {
                    0 => return io::Result::Ok(all.len()),
                    n => all.extend_from_slice(&filled[..n]),
                }
                buf = filled;
            }
        };
        let send = async {
            stream.write_all(vec![7; 8 << 20]).await.0?;
            stream.shutdown(Shutdown::Write).await
        };
        let (received, sent) = tokio::join!(receive, send);
        sent?;
        assert_eq!(received?, 8 << 20);
        assert_eq!(peer.join().unwrap()?, 8 << 20);
        Ok(())
    });
}

#[test]
fn others_run_meanwhile() {
    run(|ring| async move {
        let (stream, mut ours) = connection(&ring)?;
        // A task that is always ready keeps neither submissions nor completions away.
        let busy = task::spawn_local(async {
            loop {
                task::yield_now().await;
            }
        });
        let waited = timeout(Duration::from_millis(20), stream.read([0; 8])).await;
        assert!(waited.is_err(), "nothing was sent");
        sleep(Duration::from_millis(20)).await; // until then, it may still take what comes
        ours.write_all(b"8 bytes.")?;
        let (read, buf) = timeout(Duration::from_secs(10), stream.read([0; 8])).await?;
        assert_eq!((read?, &buf), (8, b"8 bytes."));
        busy.abort();
        Ok(())
    });
}

#[test]
fn more_than_the_queue_holds() {
    let path = file_of(&[7; 1000]);
    run(|ring| async move {
        let file = std::rc::Rc::new(File::open(&ring, &path).await?);
        let read = |offset| {
            let file = file.clone();
            task::spawn_local(async move { file.read_at([0; 1], offset).await.0 })
        };
        let reads: Vec<_> = (0..3000).map(read).collect();
        for (offset, read) in reads.into_iter().enumerate() {
            assert_eq!(read.await.unwrap()?, usize::from(offset < 1000));
        }
        Ok(())
    });
}

#[test]
fn more_at_once_than_the_completion_queue_holds() {
    run(|ring| async move {
        let (stream, ours) = connection(&ring)?;
        let stream = std::rc::Rc::new(stream);
        let read = |_| {
            let stream = stream.clone();
            task::spawn_local(async move { stream.read([0; 1]).await.0 })
        };
        let reads: Vec<_> = (0..2000).map(read).collect();
        sleep(Duration::from_millis(50)).await;
        drop(ours);
        for read in reads {
            assert_eq!(timeout(Duration::from_secs(10), read).await?.unwrap()?, 0);
        }
        Ok(())
    });
}

async fn echo_server(ring: Ring, listener: net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::new(&ring, listener);
    loop {
        let stream = listener.accept().await?;
        task::spawn_local(async move {
            let mut buf = vec![0; 16 << 10];
            loop {
                let (read, filled) = stream.read(buf).await;
                let part = Part::new(filled, 0..read.unwrap());
                if part.range.is_empty() {
                    break stream.close().await.unwrap();
                }
                let (sent, part) = stream.write_all(part).await;
                sent.unwrap();
                buf = part.whole;
            }
        });
    }
}

#[test]
fn echo_loses_nothing() {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let load = thread::spawn(move || echo::load(address, 200, echo::duration()));
    run(|ring| async move {
        let server = task::spawn_local(echo_server(ring, listener));
        while !load.is_finished() {
            assert!(!server.is_finished());
            sleep(Duration::from_millis(10)).await;
        }
        println!("{} messages", load.join().unwrap()?);
        Ok(())
    });
}

/// Where a read is when something happens to its future.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum At {
    /// It was never polled.
    New,
    /// Its entry waits for the ring's turn.
    Queued,
    /// The kernel has it.
    Submitted,
    /// The kernel is done with it, and the ring does not know yet.
    Completed,
    /// The ring knows, and the future was not polled since.
    Reaped,
}

const POINTS: [At; 5] = [At::New, At::Queued, At::Submitted, At::Completed, At::Reaped];

/// Starts an operation and brings it to a point; `complete` is what makes the kernel end it.
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

/// A buffer that has the other end send something as soon as it is freed: if the kernel still
/// receives into it, that is where the bytes go.
struct Trap {
    bytes: Vec<u8>,
    peer: net::TcpStream,
}

impl AsMut<[u8]> for Trap {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        drop(mem::take(&mut self.bytes));
        let _ = self.peer.write_all(&[7; 64]); // the ring's end may be closed
    }
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

async fn read_and_end(ring: Ring, at: At, end: End) -> io::Result<()> {
    let (stream, ours) = connection(&ring)?;
    let trap = Trap { bytes: vec![0; 64], peer: ours.try_clone()? };
    let read = async move { stream.read(trap).await };
    let complete = || (&ours).write_all(&[7; 64]).expect("the other end is there");
    let read = bring(read, at, complete).await;
    match end {
        End::Dropped => drop(read),
        End::Forgotten => mem::forget(read),
        End::Panicked => panic!("on purpose"),
        End::Left => {
            task::spawn_local(read);
            return Ok(());
        }
        End::Aborted => task::spawn_local(read).abort(),
        End::TimedOut => drop(timeout(Duration::from_millis(1), read).await),
        End::Awaited => {
            (&ours).write_all(&[7; 64])?;
            let (read, trap) = read.await;
            assert_eq!((read?, &trap.bytes[..]), (64, &[7; 64][..]));
        }
    }
    sleep(Duration::from_millis(5)).await;
    Ok(())
}

#[test]
fn no_freed_buffer_is_written_to() {
    let watch = freed::Watch::begin();
    for at in POINTS {
        for end in ENDS {
            let program = || ring::run(|ring| read_and_end(ring, at, end));
            match panic::catch_unwind(program) {
                Ok(ran) => ran.unwrap().unwrap(),
                Err(_) => assert_eq!(end, End::Panicked, "{at:?}"),
            }
            watch.check();
        }
    }
}

/// Direct reads are not found by cancellations: there is nothing to do but wait.
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
    run(|ring| async move {
        let file = match File::open_with(&ring, &path, OFlags::DIRECT).await {
            Err(_) => File::open(&ring, &path).await?, // in memory, most likely
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

/// What comes of an operation whose future is gone is not lost, if it is a descriptor.
#[test]
fn no_descriptor_leaks() {
    let path = file_of(b"");
    for at in [At::New, At::Queued, At::Submitted, At::Reaped] {
        let path = &*path;
        run(|ring| async move {
            let open = |ring| async move { File::open(&ring, path.to_owned()).await };
            drop(bring(open(ring.clone()), at, || ()).await);
            none_open_at(path).await?;
            // Nor does the file of a close that nobody waits for.
            let file = File::open(&ring, path.to_owned()).await?;
            drop(bring(file.close(), at, || ()).await);
            none_open_at(path).await?;
            // The last one is open when the program ends.
            drop(bring(open(ring), at, || ()).await);
            Ok(())
        });
        assert_eq!(open_at(path), 0, "{at:?}");
    }
}

/// A descriptor that is closed too early is another file's by the time that the kernel looks.
#[test]
fn nothing_else_is_written_to() {
    run(|ring| async move {
        for _ in 0..100 {
            let (stream, _ours) = connection(&ring)?;
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
    run(|ring| async move {
        let (stream, mut ours) = connection(&ring)?;
        drop(bring(stream.read(vec![0; 64]), At::Submitted, || ()).await);
        stream.close().await?;
        ours.set_nonblocking(true)?;
        assert_eq!(ours.read(&mut [0])?, 0, "it is closed by now");
        Ok(())
    });
}

#[test]
fn nothing_starts_when_the_runtime_is_over() {
    let path = file_of(b"text");
    let path = &*path;
    let opened = ring::run(|ring| async move {
        let file = File::open(&ring, path).await;
        (file, ring)
    });
    let (file, ring) = opened.unwrap();
    let file = file.unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    let read = pin!(file.read_at([0; 4], 0)).poll(&mut cx);
    assert!(matches!(read, Poll::Ready((Err(error), _)) if is_cancelled(&error)));
    let open = pin!(File::open(&ring, path)).poll(&mut cx);
    assert!(matches!(open, Poll::Ready(Err(error)) if is_cancelled(&error)));
    assert!(pin!(file.close()).poll(&mut cx).is_ready());
    assert_eq!(open_at(path), 0);
}

fn is_cancelled(error: &io::Error) -> bool {
    Errno::from_io_error(error) == Some(Errno::CANCELED)
}
