//! Completions that end at every point and in every way.

use std::io::{self, Read as _, Write as _};
use std::mem;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::{A_WHILE, file_of, let_it_run, poll_once, ring};
use crate::operation::*;
use crate::ring::Ring;
use check::freed;

/// The state of a read when the test ends its completion.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum At {
    /// The entry waits to be submitted.
    Started,
    /// The kernel has the entry.
    Submitted,
    /// The read has ended, and the completion was not polled since.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Dropped,
    Forgotten,
    /// Forgotten after a first poll.
    Polled,
    /// Forgotten by another thread, which then ends.
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

/// Reads into `buf`, which borrows or owns its bytes, in its own scope. Ends the completion as `end` says.
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

/// However a completion ends, its buffer stays borrowed until the kernel has completed the read.
#[test]
fn no_freed_buffer_is_written_to() {
    let polled = Ring::options().sq_poll(Duration::from_millis(1)).build(8).unwrap();
    for (ring, at) in [ring(8), polled].iter().flat_map(|ring| POINTS.map(|at| (ring, at))) {
        let watch = freed::Watch::begin();
        for (end, owned) in ENDS.into_iter().flat_map(|end| [(end, false), (end, true)]) {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let send = || (&theirs).write_all(&[7; 64]).unwrap();
            let scope = || {
                let mut buf = vec![0; 64];
                if owned {
                    read_and_end(ring, at, end, &ours, buf, &send);
                } else {
                    let (ours, buf) = (&ours, &mut buf);
                    let ran = || read_and_end(ring, at, end, ours, buf, &send);
                    ran();
                }
            };
            thread::scope(|threads| {
                if !matches!(end, End::Cancelled | End::Panicked) && at < At::Ended {
                    // Send after a delay. By then, a scope that does not wait would have ended.
                    threads.spawn(|| {
                        thread::sleep(2 * A_WHILE);
                        send();
                    });
                }
                let ran = panic::catch_unwind(AssertUnwindSafe(scope));
                assert_eq!(ran.is_err(), end == End::Panicked, "{at:?} {end:?}");
            });
            // The buffer is freed now, so nothing may receive this.
            send();
            thread::sleep(Duration::from_millis(1));
            watch.check();
        }
    }
}

/// If a descriptor is closed too early, its number may name another file when the kernel uses it.
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

/// The destructor of a held value may access what it borrows.
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

/// Foreign destructors run on the ring's thread. If one panics, that thread and the waiting thread survive.
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

/// If the completion of an accept was dropped, the accepted connection is closed.
#[test]
fn no_descriptor_leaks() {
    let ring = ring(8);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    ring.scope(|scope| drop(scope.start(accept(&listener))));
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

/// Operations that hold only descriptors also release them, however they end.
#[test]
fn what_was_given_is_closed() {
    let ring = ring(8);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let open = || std::fs::File::create(&path).unwrap();
    let open_at = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap();
        let to = |link: io::Result<std::fs::DirEntry>| std::fs::read_link(link.unwrap().path());
        links.map(to).filter(|to| to.as_ref().is_ok_and(|to| *to == path)).count()
    };
    for (at, end) in POINTS.into_iter().flat_map(|at| ENDS.map(|end| (at, end))) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ran = panic::catch_unwind(AssertUnwindSafe(|| {
            ring.scope(|scope| {
                let unconnected = scope.start(socket(address)).wait().unwrap();
                let connecting = scope.start(connect(unconnected, address));
                let syncing = scope.start(fsync(open()));
                if at >= At::Submitted {
                    let_it_run(scope);
                }
                match end {
                    End::Dropped => drop((connecting, syncing)),
                    End::Cancelled => {
                        connecting.cancel();
                        syncing.cancel();
                    }
                    End::Panicked => panic!("on purpose"),
                    End::Waited => {
                        connecting.wait().0.unwrap();
                        syncing.wait().unwrap();
                    }
                    _ => mem::forget((connecting, syncing)),
                }
            });
        }));
        assert_eq!(ran.is_err(), end == End::Panicked);
        assert_eq!(open_at(), 0, "{at:?} {end:?}");
        // A forgotten completion keeps the socket that it was to return.
        if matches!(end, End::Dropped | End::Waited) {
            let (mut peer, _) = listener.accept().unwrap();
            assert_eq!(peer.read(&mut [0]).unwrap(), 0, "{at:?} {end:?}");
        }
    }
}
