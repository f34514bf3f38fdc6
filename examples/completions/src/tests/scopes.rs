//! Scopes, and the threads that start operations and wait for them.

use std::io::{self, Write as _};
use std::mem;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use super::{A_WHILE, file_of, poll_once, ring};
use crate::operation::*;
use crate::part::Part;
use crate::scope::Scope;
use check::echo;

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

/// If the thread had submitted the operation itself, the kernel would cancel it when the thread exits.
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

/// The thread that runs the scope waits in the kernel, and a foreign waker has to wake it there.
#[test]
fn a_task_is_woken_from_elsewhere() {
    #[derive(Default)]
    struct Woken(Mutex<(bool, Option<Waker>)>);
    let (ring, woken) = (ring(8), Arc::new(Woken::default()));
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    for _ in 0..20 {
        let from_elsewhere = woken.clone();
        let late = theirs.try_clone().unwrap();
        let begin = Instant::now();
        let done = Arc::new(AtomicBool::new(false));
        thread::scope(|threads| {
            let ended = done.clone();
            threads.spawn(move || {
                // The limit makes the test fail instead of hanging.
                while !ended.load(Ordering::Relaxed) && begin.elapsed() < Duration::from_secs(5) {
                    thread::sleep(A_WHILE);
                }
                if !ended.load(Ordering::Relaxed) {
                    (&late).write_all(b"late").unwrap();
                }
            });
            threads.spawn(move || {
                thread::sleep(A_WHILE);
                let mut state = from_elsewhere.0.lock().unwrap();
                state.0 = true;
                state.1.take().into_iter().for_each(Waker::wake);
            });
            ring.scope(|scope| {
                let wait = std::future::poll_fn(|cx| {
                    let mut state = woken.0.lock().unwrap();
                    state.1 = Some(cx.waker().clone());
                    if mem::take(&mut state.0) { Poll::Ready(()) } else { Poll::Pending }
                });
                let one: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async {
                    wait.await;
                    theirs.write_all(b"four").unwrap();
                });
                let other = Box::pin(async {
                    assert_eq!(scope.recv(&ours, [0; 4]).await.0.unwrap(), 4);
                });
                scope.run_all([one, other]);
            });
            done.store(true, Ordering::Relaxed);
        });
        assert!(begin.elapsed() < Duration::from_secs(4));
    }
}

/// The thread of one scope does not submit the operations of another: the kernel would cancel them when
/// that thread exits.
#[test]
fn a_thread_drives_its_own_scopes() {
    let (ring, file) = (ring(8), file_of(b"text"));
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    for _ in 0..20 {
        ring.scope(|scope| {
            let reading = scope.start(recv(&ours, [0; 4]));
            thread::scope(|threads| {
                let other = || ring.scope(|scope| scope.read_at(&file, [0; 4], 0).wait().0);
                assert_eq!(threads.spawn(other).join().unwrap().unwrap(), 4);
            });
            thread::sleep(A_WHILE);
            theirs.write_all(b"four").unwrap();
            assert_eq!(reading.wait().0.unwrap(), 4);
        });
    }
}

/// While that thread waits, the operations of other scopes still make progress.
#[test]
fn threads_run_scopes_at_once() {
    let (ring, file) = (ring(64), file_of(b"text"));
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.scope(|scope| {
        thread::scope(|threads| {
            let (ring, file) = (&ring, &file);
            threads.spawn(move || {
                for _ in 0..8 {
                    thread::sleep(Duration::from_millis(2));
                    let others: Vec<_> = (0..4)
                        .map(|_| {
                            threads.spawn(move || {
                                for _ in 0..50 {
                                    let read = |_| {
                                        ring.scope(|scope| {
                                            scope.read_at(file, [0; 4], 0).wait().0.unwrap()
                                        })
                                    };
                                    assert_eq!((0..4).map(read).sum::<usize>(), 16);
                                }
                            })
                        })
                        .collect();
                    others.into_iter().for_each(|other| other.join().unwrap());
                    theirs.write_all(b"f").unwrap();
                }
            });
            for _ in 0..8 {
                assert_eq!(scope.recv(&ours, [0; 1]).wait().0.unwrap(), 1);
            }
        });
    });
}

#[test]
fn scopes_nest() {
    let (ring, file) = (ring(8), file_of(b"text"));
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ring.scope(|outer| {
        let receiving = outer.start(recv(&ours, [0; 4]));
        for _ in 0..10 {
            // The inner scope ends although an operation of the outer scope is in flight.
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
    // Operations that wait on this socket complete as soon as the other end is closed.
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
                    cancelled.cancel(); // often too late, because the operation completes first
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
                scope.run_all(
                    (0..CONNECTIONS).map(async |_| echo_one(scope, &listener).await.unwrap()),
                );
            });
            assert!(!ring.overflowed());
        });
        let messages = echo::load(address, CONNECTIONS as u64, echo::duration()).unwrap();
        println!("{messages} messages");
    });
}
