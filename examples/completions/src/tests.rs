use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use rustix_uring::Errno;

use crate::executor::run_all;
use crate::operation::*;
use crate::part::Part;
use crate::ring::Ring;
use crate::scope::{Completion, Scope};
use check::{echo, freed};

#[global_allocator]
static ALLOCATOR: freed::Keeping = freed::Keeping;

const A_WHILE: Duration = Duration::from_millis(5);

fn ring(operations: u32) -> Ring {
    Ring::new(operations).unwrap()
}

fn file_of(contents: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(contents).unwrap();
    file
}

fn errno<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().as_ref().and_then(Errno::from_io_error)
}

fn poll_once<T>(completion: &mut Completion<'_, T>) -> Poll<T> {
    Pin::new(completion).poll(&mut Context::from_waker(Waker::noop()))
}

/// Has everything submitted, and the ring's thread through with it.
fn let_it_run<'scope>(scope: &'scope Scope<'scope, '_>) {
    let (nobody, _somebody) = UnixStream::pair().unwrap();
    let mut reading = scope.start(recv(nobody, [0; 1]));
    assert!(poll_once(&mut reading).is_pending());
    thread::sleep(A_WHILE);
    reading.cancel();
    let _ = reading.wait();
}

#[test]
fn a_file_is_written_and_read() {
    let (ring, file) = (ring(8), file_of(b""));
    let mut buf = [b'.'; 8];
    ring.scope(|scope| {
        let (written, text) = scope.start(write_at(&file, "seven bytes", 0)).wait();
        assert_eq!((written.unwrap(), text), (11, "seven bytes"));
        // Short at the end, and nothing behind it. The borrowed buffer comes back each time.
        let (read, back) = scope.start(read_at(&file, &mut buf, 6)).wait();
        assert_eq!((read.unwrap(), &back[..]), (5, &b"bytes..."[..]));
        let (read, back) = scope.start(read_at(&file, back, 11)).wait();
        assert_eq!(read.unwrap(), 0);
        let (read, _) = scope.start(read_at(&file, Part::new(back, 0..2), 0)).wait();
        assert_eq!(read.unwrap(), 2);
    });
    assert_eq!(&buf, b"setes...");
}

#[test]
fn errors_bring_the_buffer_back() {
    let (ring, nul) = (ring(8), std::fs::File::open("/dev/null").unwrap());
    ring.scope(|scope| {
        let (written, buf) = scope.start(write_at(&nul, vec![1, 2, 3], 0)).wait();
        assert_eq!((errno(written), &buf[..]), (Some(Errno::BADF), &[1, 2, 3][..]));
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let (sent, _) = scope.start(send(&nul, "text")).wait();
        assert_eq!(errno(sent), Some(Errno::NOTSOCK));
        let (sent, text) = scope.start(send(ours, "text")).wait();
        assert_eq!((errno(sent), text), (Some(Errno::PIPE), "text"));
        assert_eq!(errno(scope.start(accept(&nul)).wait()), Some(Errno::NOTSOCK));
    });
}

#[test]
fn buffers_in_a_row() {
    let (ring, file) = (ring(8), file_of(b""));
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (mut left, mut right) = ([0; 4], [0; 8]);
    let parts = [IoSlice::new(b"abc"), IoSlice::new(b""), IoSlice::new(b"defgh")];
    ring.scope(|scope| {
        assert_eq!(scope.start(write_vectored_at(&file, parts, 2)).wait().0.unwrap(), 8);
        assert_eq!(scope.start(write_vectored_at(&ours, &parts[..], 0)).wait().0.unwrap(), 8);
        let parts = [IoSliceMut::new(&mut left), IoSliceMut::new(&mut right)];
        let (read, parts) = scope.start(read_vectored_at(&file, parts, 0)).wait();
        assert_eq!(
            (read.unwrap(), &*parts[0], &*parts[1]),
            (10, &b"\0\0ab"[..], &b"cdefgh\0\0"[..])
        );
        let (read, parts) = scope.start(read_vectored_at(&theirs, parts, 0)).wait();
        assert_eq!((read.unwrap(), &*parts[0], &*parts[1]), (8, &b"abcd"[..], &b"efghgh\0\0"[..]));
    });
    assert_eq!((&left, &right), (b"abcd", b"efghgh\0\0"));
}

#[test]
fn a_chain_keeps_its_order() {
    let (ring, file) = (ring(16), file_of(b""));
    let mut back = vec![0; 1 << 16];
    let texts: Vec<Vec<u8>> = (0..15).map(|n| vec![n; 1 << 16]).collect();
    for _ in 0..20 {
        ring.scope(|scope| {
            // All to one place, while another thread puts its own in between.
            thread::scope(|threads| {
                threads.spawn(|| scope.start(read_at(&file, [0; 1], 0)).wait());
                let writing = scope.chain(texts.iter().map(|text| write_at(&file, text, 0)));
                writing.into_iter().for_each(|it| assert_eq!(it.wait().0.unwrap(), 1 << 16));
            });
            let (read, back) = scope.start(read_at(&file, &mut back, 0)).wait();
            assert_eq!(read.unwrap(), 1 << 16);
            assert!(back.iter().all(|byte| *byte == 14));
        });
    }
}

#[test]
fn a_chain_ends_where_it_breaks() {
    let (ring, file) = (ring(4), file_of(b"four"));
    let nul = std::fs::File::open("/dev/null").unwrap();
    ring.scope(|scope| {
        let (first, second) = scope.link(write_at(&nul, "text", 0), write_at(&file, [7; 4], 0));
        assert_eq!(errno(first.wait().0), Some(Errno::BADF));
        assert_eq!(errno(second.wait().0), Some(Errno::CANCELED));
        // A short read breaks it as well.
        let reading = scope.chain([0, 2, 3].map(|offset| read_at(&file, [0; 2], offset)));
        let read: Vec<_> = reading.into_iter().map(|it| it.wait().0.ok()).collect();
        assert_eq!(read, [Some(2), Some(2), Some(1)]);
        let reading = scope.chain([0, 3, 0].map(|offset| read_at(&file, [0; 2], offset)));
        let read: Vec<_> = reading.into_iter().map(|it| errno(it.wait().0)).collect();
        assert_eq!(read, [None, None, Some(Errno::CANCELED)]);
        // There is never room for this one.
        let reading = scope.chain([0; 5].map(|offset| read_at(&file, [0; 2], offset)));
        assert!(reading.into_iter().all(|it| errno(it.wait().0) == Some(Errno::INVAL)));
        assert!(scope.chain::<Counted<[u8; 2]>>([]).is_empty());
    });
}

#[test]
fn a_drained_read_waits_for_all_before() {
    let (ring, file) = (ring(8), file_of(b"text"));
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.scope(|scope| {
        let mut before = scope.start(recv(&ours, [0; 4]));
        let mut drained = scope.start(read_at(&file, [0; 4], 0).drained());
        assert!(poll_once(&mut before).is_pending());
        thread::sleep(A_WHILE);
        assert!(poll_once(&mut drained).is_pending());
        theirs.write_all(b"four").unwrap();
        let (read, text) = drained.wait();
        assert_eq!((read.unwrap(), &text), (4, b"text"));
        assert_eq!(before.wait().0.unwrap(), 4);
    });
}

#[test]
fn threads_share_a_scope() {
    let (ring, file) = (ring(8), file_of(&(0..=255).collect::<Vec<u8>>()));
    let mut bytes = [0; 256];
    ring.scope(|scope| {
        thread::scope(|threads| {
            for (chunk, offset) in bytes.chunks_mut(16).zip((0..).step_by(16)) {
                let file = &file;
                threads.spawn(move || {
                    let reading = chunk.chunks_mut(4).zip((offset..).step_by(4));
                    let reading: Vec<_> =
                        reading.map(|(buf, at)| scope.start(read_at(file, buf, at))).collect();
                    reading.into_iter().for_each(|it| assert_eq!(it.wait().0.unwrap(), 4));
                });
            }
        });
    });
    assert!(bytes.iter().copied().eq(0..=255));
}

/// The kernel would cancel it, if the thread had submitted it itself.
#[test]
fn an_operation_outlives_the_thread_that_starts_it() {
    let ring = ring(8);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.scope(|scope| {
        let start = || {
            let mut reading = scope.start(recv(&ours, [0; 4]));
            assert!(poll_once(&mut reading).is_pending());
            thread::sleep(A_WHILE);
            reading
        };
        let reading = thread::scope(|threads| threads.spawn(start).join().unwrap());
        thread::sleep(A_WHILE);
        theirs.write_all(b"four").unwrap();
        let (read, buf) = reading.wait();
        assert_eq!((read.unwrap(), &buf), (4, b"four"));
    });
}

#[test]
fn other_executors_do() {
    let ring = ring(8);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut buf = [0; 4];
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    ring.scope(|scope| {
        runtime.block_on(async {
            let receive = scope.start(recv(&ours, &mut buf));
            let send = async { scope.start(send(&theirs, "four")).await.0 };
            let ((received, _), sent) = tokio::join!(receive, send);
            assert_eq!((received.unwrap(), sent.unwrap()), (4, 4));
        });
    });
    assert_eq!(&buf, b"four");
}

#[test]
fn scopes_nest() {
    let (ring, file) = (ring(8), file_of(b"text"));
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.scope(|outer| {
        let receiving = outer.start(recv(&ours, [0; 4]));
        for _ in 0..10 {
            // It ends although an operation of the outer one is in flight.
            let mut buf = [0; 4];
            ring.scope(|inner| drop(inner.start(read_at(&file, &mut buf, 0))));
            assert_eq!(&buf, b"text");
        }
        theirs.write_all(b"four").unwrap();
        assert_eq!(receiving.wait().0.unwrap(), 4);
    });
}

#[test]
fn a_flood_of_submitters_is_held_back() {
    const THREADS: usize = 2000;
    let (ring, file) = (ring(4), file_of(b"text"));
    let ended = AtomicUsize::new(0);
    // Whatever waits here completes at once when the other end goes.
    let (ours, theirs) = UnixStream::pair().unwrap();
    ring.scope(|scope| {
        thread::scope(|threads| {
            let (ended, ours, file) = (&ended, &ours, &file);
            for n in 0..THREADS {
                let submitter = move || {
                    let (received, _) = scope.start(recv(ours, [0; 8])).wait();
                    assert_eq!(received.unwrap(), 0);
                    let chain = scope.chain([0, 2, 3].map(|at| read_at(file, [0; 1], at)));
                    chain.into_iter().for_each(|it| assert_eq!(it.wait().0.unwrap(), 1));
                    let cancelled = scope.start(read_at(file, [0; 4], n as u64 % 4));
                    cancelled.cancel(); // or not: it is faster, mostly
                    drop(cancelled);
                    ended.fetch_add(1, Ordering::Relaxed);
                };
                let thread = thread::Builder::new().stack_size(64 << 10);
                thread.spawn_scoped(threads, submitter).unwrap();
            }
            thread::sleep(Duration::from_millis(50));
            assert_eq!(ended.load(Ordering::Relaxed), 0);
            drop(theirs);
        });
    });
    assert_eq!(ended.into_inner(), THREADS);
    assert!(!ring.overflowed());
}

async fn echo_one<'scope>(
    scope: &'scope Scope<'scope, '_>,
    listener: &'scope TcpListener,
) -> io::Result<()> {
    let (stream, _) = scope.start(accept(listener)).await?;
    let (stream, mut buf) = (Arc::new(stream), vec![0; 4096]);
    loop {
        let received;
        (received, buf) = scope.start(recv(stream.clone(), buf)).await;
        let len = received?;
        if len == 0 {
            return Ok(());
        }
        let (sent, part) = scope.start(send(stream.clone(), Part::new(buf, 0..len))).await;
        sent?;
        buf = part.whole;
    }
}

#[test]
fn echo_loses_nothing() {
    const CONNECTIONS: usize = 200;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::scope(|threads| {
        threads.spawn(|| {
            let ring = ring(256);
            ring.scope(|scope| {
                run_all((0..CONNECTIONS).map(async |_| echo_one(scope, &listener).await.unwrap()));
            });
            assert!(!ring.overflowed());
        });
        let messages = echo::load(address, CONNECTIONS as u64, echo::duration()).unwrap();
        println!("{messages} messages");
    });
}

/// Where a read is when something happens to its completion.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum At {
    /// Its entry waits to be submitted.
    Started,
    /// The kernel has it.
    Submitted,
    /// It has ended, and nobody has looked since.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Dropped,
    Forgotten,
    /// Forgotten after somebody has begun to wait.
    Polled,
    /// Forgotten by a thread, that then ends.
    Elsewhere,
    Cancelled,
    /// The scope panics.
    Panicked,
    Waited,
}

const POINTS: [At; 3] = [At::Started, At::Submitted, At::Ended];
const ENDS: [End; 7] = [
    End::Dropped,
    End::Forgotten,
    End::Polled,
    End::Elsewhere,
    End::Cancelled,
    End::Panicked,
    End::Waited,
];

/// Reads into what `buf` borrows or owns, in a scope of its own, which something befalls.
fn read_and_end<'b, B>(ring: &Ring, at: At, end: End, ours: &UnixStream, buf: B, send: &dyn Fn())
where
    B: AsMut<[u8]> + Send + 'b,
{
    ring.scope(|scope| {
        let mut reading = scope.start(recv(ours, buf));
        if at >= At::Submitted {
            let_it_run(scope);
        }
        if at >= At::Ended {
            send();
            let_it_run(scope);
        }
        match end {
            End::Dropped => drop(reading),
            End::Forgotten => mem::forget(reading),
            End::Polled => {
                let _ = poll_once(&mut reading);
                mem::forget(reading);
            }
            End::Elsewhere => thread::scope(|threads| {
                threads.spawn(|| mem::forget(reading));
            }),
            End::Cancelled => {
                reading.cancel();
                mem::forget(reading);
            }
            End::Panicked => panic!("on purpose"),
            End::Waited => assert_eq!(reading.wait().0.unwrap(), 64),
        }
    });
}

/// However a read ends, its buffer is borrowed until the kernel is done with it.
#[test]
fn no_freed_buffer_is_written_to() {
    let (ring, watch) = (ring(8), freed::Watch::begin());
    for at in POINTS {
        for (end, owned) in ENDS.into_iter().flat_map(|end| [(end, false), (end, true)]) {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let send = || (&theirs).write_all(&[7; 64]).unwrap();
            let scope = || {
                let mut buf = vec![0; 64];
                if owned {
                    read_and_end(&ring, at, end, &ours, buf, &send);
                } else {
                    let (ours, buf) = (&ours, &mut buf);
                    let ran = || read_and_end(&ring, at, end, ours, buf, &send);
                    ran();
                }
            };
            thread::scope(|threads| {
                if !matches!(end, End::Cancelled | End::Panicked) && at < At::Ended {
                    // By when the scope would be gone, if it did not wait.
                    threads.spawn(|| {
                        thread::sleep(2 * A_WHILE);
                        send();
                    });
                }
                let ran = panic::catch_unwind(AssertUnwindSafe(scope));
                assert_eq!(ran.is_err(), end == End::Panicked, "{at:?} {end:?}");
            });
            // The buffer is freed. Nobody receives any more.
            send();
            thread::sleep(Duration::from_millis(1));
            watch.check();
        }
    }
}

/// A descriptor that is closed too early is another file's by the time that the kernel looks.
#[test]
fn nothing_else_is_written_to() {
    let (ring, dir) = (ring(8), tempfile::tempdir().unwrap());
    let paths = ["file", "other"].map(|name| dir.path().join(name));
    paths.iter().for_each(|path| std::fs::write(path, "text").unwrap());
    let [file, other] = &paths;
    let open = |path| std::fs::OpenOptions::new().write(true).open(path).unwrap();
    ring.scope(|scope| {
        for _ in 0..100 {
            drop(scope.start(write_at(open(file), "TEXT", 0)));
            let _other = open(other);
            assert_eq!(scope.start(write_at(open(file), "TEXT", 0)).wait().0.unwrap(), 4);
        }
    });
    assert_eq!(std::fs::read(file).unwrap(), b"TEXT");
    assert_eq!(std::fs::read(other).unwrap(), b"text");
}

/// What an operation holds may look at what it borrows when it goes.
#[test]
fn a_scope_ends_after_what_it_holds() {
    struct Counting<'a>([u8; 4], &'a AtomicUsize);
    impl AsMut<[u8]> for Counting<'_> {
        fn as_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }
    impl Drop for Counting<'_> {
        fn drop(&mut self) {
            thread::sleep(A_WHILE);
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    let (ring, file, dropped) = (ring(8), file_of(b"text"), AtomicUsize::new(0));
    ring.scope(|scope| {
        for _ in 0..4 {
            drop(scope.start(read_at(&file, Counting([0; 4], &dropped), 0)));
        }
    });
    assert_eq!(dropped.into_inner(), 4);
}

/// Foreign destructors run on the ring's thread. It survives them, and so does who waits.
#[test]
fn the_ring_survives_a_panic() {
    struct Panicking<T>(T);
    impl<T: AsMut<[u8]>> AsMut<[u8]> for Panicking<T> {
        fn as_mut(&mut self) -> &mut [u8] {
            self.0.as_mut()
        }
    }
    impl<T: AsFd> AsFd for Panicking<T> {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
    impl<T> Drop for Panicking<T> {
        fn drop(&mut self) {
            panic!("on purpose");
        }
    }

    let (ring, file) = (ring(2), file_of(b"text"));
    for _ in 0..4 {
        ring.scope(|scope| drop(scope.start(read_at(&file, Panicking([0; 4]), 0))));
        let wait = || {
            let reading = |file| read_at(Panicking(file), [0; 4], 0);
            let _ = ring.scope(|scope| scope.start(reading(&file)).wait().0);
        };
        assert!(panic::catch_unwind(AssertUnwindSafe(wait)).is_err());
    }
    ring.scope(|scope| assert_eq!(scope.start(read_at(&file, [0; 4], 0)).wait().0.unwrap(), 4));
}

/// An accepted connection of which nobody wants to know is closed.
#[test]
fn no_descriptor_leaks() {
    let ring = ring(8);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    ring.scope(|scope| drop(scope.start(accept(&listener))));
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}
