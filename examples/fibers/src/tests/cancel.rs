//! Cancellation applies to all fibers below, and makes the operations that they wait for fail.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, Read, Write};
use std::net;

use rustix_uring::Errno;

use super::{HOUR, MOMENT, loopback, pair, run};
use crate::fiber::{JoinHandle, is_cancellation, is_cancelled, scope, sleep, yield_now};
use crate::net::TcpListener;
use crate::scheduler::with;

#[test]
fn std_does_not_try_again_what_was_cancelled() {
    run(|| {
        let (near, far) = pair();
        scope(|scope| {
            let copying: JoinHandle<io::Result<u64>> = scope.spawn(|| {
                let (mut reader, mut writer) = near.split();
                io::copy(&mut reader, &mut writer)
            });
            let reading = scope.spawn(|| (&far).read_exact(&mut [0]));
            yield_now();
            copying.cancel();
            reading.cancel();
            let error = copying.join().unwrap().unwrap_err();
            assert!(is_cancellation(&error) && error.kind() != ErrorKind::Interrupted, "{error}");
            assert!(is_cancellation(&reading.join().unwrap().unwrap_err()));
            assert!(!is_cancelled(), "it does not travel up");
        });
    });
}

#[test]
fn it_travels_down() {
    let (waiting, order) = (Cell::new(0), RefCell::new(Vec::new()));
    let wait = |name| {
        waiting.set(waiting.get() + 1);
        assert!(is_cancellation(&sleep(HOUR).unwrap_err()) && is_cancelled());
        order.borrow_mut().push(name);
    };
    run(|| {
        scope(|outer| {
            let top = outer.spawn(|| {
                scope(|middle| {
                    middle.spawn(|| {
                        scope(|inner| {
                            inner.spawn(|| wait("grandchild"));
                            wait("older child");
                        });
                    });
                    middle.spawn(|| wait("younger child"));
                    wait("top");
                });
            });
            let bystander = outer.spawn(|| sleep(MOMENT));
            while waiting.get() < 4 {
                yield_now();
            }
            top.cancel();
            top.join().unwrap();
            bystander.join().unwrap().unwrap();
        });
    });
    // The kernel can complete them in any order.
    order.borrow_mut().sort();
    assert_eq!(*order.borrow(), ["grandchild", "older child", "top", "younger child"]);
}

/// Nests scopes, this many levels deep.
fn descend(levels: usize, waiting: &Cell<usize>, cancelled: &Cell<usize>) {
    scope(|scope| {
        if levels > 0 {
            scope.spawn(|| descend(levels - 1, waiting, cancelled));
        }
        waiting.set(waiting.get() + 1);
        if sleep(HOUR).is_err() {
            cancelled.set(cancelled.get() + 1);
        }
    });
}

#[test]
fn it_reaches_the_bottom_of_a_deep_tree() {
    let (waiting, cancelled) = (Cell::new(0), Cell::new(0));
    run(|| {
        scope(|scope| {
            let top = scope.spawn(|| descend(1999, &waiting, &cancelled));
            while waiting.get() < 2000 {
                yield_now();
            }
            top.cancel();
            top.join().unwrap();
        });
    });
    assert_eq!(cancelled.get(), 2000);
}

#[test]
fn it_stays() {
    run(|| {
        scope(|outer| {
            let cancelled = outer.spawn(|| {
                for _ in 0..3 {
                    assert!(is_cancellation(&sleep(MOMENT).unwrap_err()));
                }
                // A fiber that is spawned now is cancelled as well.
                scope(|inner| {
                    let child =
                        inner.spawn(|| TcpListener::bind(loopback()).unwrap().accept().err());
                    assert!(is_cancellation(&child.join().unwrap().unwrap()));
                });
            });
            cancelled.cancel();
            cancelled.join().unwrap();
        });
        scope(|scope| {
            scope.cancel();
            assert!(scope.spawn(|| sleep(HOUR)).join().unwrap().is_err());
            sleep(MOMENT).unwrap();
        });
    });
}

#[test]
fn a_scope_is_cancelled_and_the_one_around_it_is_not() {
    run(|| {
        scope(|outer| {
            let bystander = outer.spawn(|| sleep(2 * MOMENT));
            scope(|inner| {
                let children = [(); 3].map(|()| inner.spawn(|| sleep(HOUR)));
                yield_now();
                inner.cancel();
                children.into_iter().for_each(|child| assert!(child.join().unwrap().is_err()));
            });
            bystander.join().unwrap().unwrap();
        });
    });
}

#[test]
fn what_succeeds_all_the_same_is_not_lost() {
    run(|| {
        let listener = TcpListener::bind(loopback()).unwrap();
        let mut client = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        scope(|scope| {
            let accepting = scope.spawn(|| listener.accept());
            yield_now(); // the fiber has pushed the accept, and the kernel has not seen it
            accepting.cancel();
            let accepted = accepting.join().unwrap().unwrap().0;
            client.write_all(b"kept").unwrap();
            let mut buf = [0; 4];
            (&accepted).read_exact(&mut buf).unwrap();
            assert_eq!(&buf, b"kept");
        });
    });
}

#[test]
fn a_fiber_that_has_ended_is_not_cancelled_and_nor_is_its_successor() {
    run(|| {
        scope(|scope| {
            let ended = scope.spawn(|| ());
            yield_now();
            let successor = scope.spawn(|| sleep(MOMENT));
            ended.cancel();
            successor.join().unwrap().unwrap();
            ended.join().unwrap();
        });
    });
}

#[test]
fn incoming_ends() {
    run(|| {
        let listener = TcpListener::bind(loopback()).unwrap();
        scope(|scope| {
            let server = scope
                .spawn(|| listener.incoming().next().is_err_and(|error| is_cancellation(&error)));
            yield_now();
            server.cancel();
            assert!(server.join().unwrap());
        });
    });
}

#[test]
fn a_ring_that_fails_ends_what_waits_for_it() {
    run(|| {
        let (near, _far) = pair();
        scope(|scope| {
            let sleeping = scope.spawn(|| sleep(HOUR));
            let reading = scope.spawn(|| (&near).read(&mut [0]));
            let joining = scope.spawn(move || sleeping.join().unwrap());
            sleep(MOMENT).unwrap();
            with(|it| it.fail(Errno::IO));
            assert!(reading.join().unwrap().is_err());
            assert!(joining.join().unwrap().is_err());
            let errno = sleep(MOMENT).unwrap_err().raw_os_error();
            assert_eq!(errno, Some(Errno::IO.raw_os_error()));
        });
    });
}
