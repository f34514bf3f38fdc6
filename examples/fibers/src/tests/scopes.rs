//! Scopes, results, panics, and the end of the program.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::exit;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGSEGV;

use super::apart::apart;
use super::{HOUR, MOMENT, pair, panic_on_purpose, run};
use crate::fiber::{self, JoinHandle, scope, sleep, yield_now};

#[test]
fn results_are_joined_in_any_order() {
    let sum: u64 = run(|| {
        scope(|scope| {
            let fibers: Vec<_> = (0..10)
                .map(|number| {
                    scope.spawn(move || {
                        (0..number).for_each(|_| yield_now());
                        number
                    })
                })
                .collect();
            fibers.into_iter().rev().map(|fiber| fiber.join().unwrap()).sum()
        })
    });
    assert_eq!(sum, 45);
}

#[test]
fn fibers_borrow_what_is_neither_send_nor_static() {
    let shared = Rc::new(Cell::new(0));
    let mut own = String::new();
    let outside = run(|| {
        scope(|scope| {
            scope.spawn(|| own.push_str("borrowed"));
            for _ in 0..3 {
                scope.spawn(|| shared.set(shared.get() + 1));
            }
            // Fibers of the scope can also spawn in it.
            scope.spawn(|| scope.spawn(|| shared.set(shared.get() + 10)));
        });
        &shared
    });
    assert_eq!((outside.get(), own.as_str()), (13, "borrowed"));
}

#[test]
fn a_parent_outlives_its_children() {
    let ended = RefCell::new(Vec::new());
    run(|| {
        scope(|outer| {
            let parent = outer.spawn(|| {
                scope(|inner| {
                    inner.spawn(|| {
                        sleep(MOMENT).unwrap();
                        ended.borrow_mut().push("child");
                    });
                });
                ended.borrow_mut().push("parent");
            });
            parent.join().unwrap();
            ended.borrow_mut().push("all");
        });
    });
    assert_eq!(*ended.borrow(), ["child", "parent", "all"]);
}

#[test]
fn a_panic_is_joined_or_ends_the_scope() {
    run(|| {
        scope(|scope| {
            let panicked = scope.spawn(|| -> () { panic_on_purpose() });
            assert_eq!(*panicked.join().unwrap_err().downcast::<&str>().unwrap(), "on purpose");
        });
        let unjoined = catch_unwind(|| {
            scope(|scope| {
                scope.spawn(|| panic_on_purpose());
            });
        });
        assert!(unjoined.is_err());
        let forgotten = catch_unwind(|| {
            scope(|scope| mem::forget(scope.spawn(|| panic_on_purpose())));
        });
        assert!(forgotten.is_err());
        // If a handle is dropped after its fiber has panicked, the panic still ends the scope.
        let dropped = catch_unwind(|| {
            scope(|scope| {
                let panicked = scope.spawn(|| -> () { panic_on_purpose() });
                yield_now();
                assert!(panicked.is_finished());
            });
        });
        assert!(dropped.is_err());
    });
}

#[test]
fn a_scope_that_panics_cancels_its_fibers_and_waits_for_them() {
    let cancelled = Cell::new(0);
    run(|| {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            scope(|outer| {
                outer.spawn(|| {
                    assert!(sleep(HOUR).is_err());
                    // A cancelled fiber may still run for some time.
                    (0..10).for_each(|_| yield_now());
                    cancelled.set(cancelled.get() + 1);
                });
                yield_now();
                scope(|inner| {
                    inner.spawn(|| {
                        assert!(sleep(HOUR).is_err());
                        cancelled.set(cancelled.get() + 1);
                    });
                    yield_now();
                    panic_on_purpose()
                })
            })
        }));
        assert_eq!(*outcome.unwrap_err().downcast::<&str>().unwrap(), "on purpose");
        assert_eq!(cancelled.get(), 2);
        assert!(sleep(MOMENT).is_ok(), "the fiber itself is not cancelled");
    });
}

#[test]
fn a_panic_of_the_root_leaves_run() {
    let outcome = catch_unwind(|| run(|| panic_on_purpose()));
    assert_eq!(*outcome.unwrap_err().downcast::<&str>().unwrap(), "on purpose");
    run(|| sleep(MOMENT).unwrap());
}

#[test]
fn run_within_run_is_refused_and_other_threads_have_their_own() {
    run(|| {
        assert!(catch_unwind(|| fiber::run(|| ())).is_err());
        thread::scope(|scope| {
            assert_eq!(scope.spawn(|| run(|| 7)).join().unwrap(), 7);
            assert!(scope.spawn(|| sleep(MOMENT)).join().unwrap().is_ok(), "without run");
        });
        sleep(MOMENT).unwrap();
    });
}

/// Blocks in its destructor, so other fibers run meanwhile.
struct Slow<'a>(&'a RefCell<Vec<&'static str>>, &'static str);

impl Drop for Slow<'_> {
    fn drop(&mut self) {
        let (near, far) = pair();
        assert_eq!((&near).write(b"goodbye").unwrap(), 7);
        sleep(MOMENT).unwrap();
        drop(far);
        self.0.borrow_mut().push(self.1);
    }
}

#[test]
fn destructors_block_while_others_panic() {
    let dropped = RefCell::new(Vec::new());
    run(|| {
        scope(|scope| {
            let one = scope.spawn(|| -> () {
                let _slow = Slow(&dropped, "while one panics");
                panic_on_purpose()
            });
            let other = scope.spawn(|| -> () {
                let _slow = Slow(&dropped, "while the other panics");
                panic_on_purpose()
            });
            assert!(one.join().is_err() && other.join().is_err());
            assert!(!thread::panicking());
        });
    });
    assert_eq!(*dropped.borrow(), ["while one panics", "while the other panics"]);
}

#[test]
fn results_that_nobody_takes_are_dropped_by_the_fiber() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic_on_purpose()
        }
    }
    let dropped = RefCell::new(Vec::new());
    run(|| {
        scope(|scope| {
            scope.spawn(|| Slow(&dropped, "result"));
        });
        let outcome = catch_unwind(|| {
            scope(|scope| {
                scope.spawn(|| Panics);
            });
        });
        assert!(outcome.is_err());
    });
    assert_eq!(*dropped.borrow(), ["result"]);
}

#[test]
fn sleepers_wake_in_the_order_of_their_times() {
    let woken = RefCell::new(Vec::new());
    let start = Instant::now();
    run(|| {
        scope(|scope| {
            for millis in [40, 10, 30, 0, 20] {
                let woken = &woken;
                scope.spawn(move || {
                    sleep(Duration::from_millis(millis)).unwrap();
                    woken.borrow_mut().push(millis);
                });
            }
        });
    });
    assert_eq!(*woken.borrow(), [0, 10, 20, 30, 40]);
    assert!(start.elapsed() >= Duration::from_millis(40));
}

#[test]
fn ten_thousand_fibers_wait_at_once_and_stacks_are_used_again() {
    run(|| {
        let (waiting, most) = (Cell::new(0), Cell::new(0));
        for _ in 0..2 {
            scope(|scope| {
                for _ in 0..10_000 {
                    scope.spawn(|| {
                        waiting.set(waiting.get() + 1);
                        most.set(most.get().max(waiting.get()));
                        sleep(MOMENT).unwrap();
                        yield_now();
                        waiting.set(waiting.get() - 1);
                    });
                }
            });
        }
        assert_eq!((waiting.get(), most.get()), (0, 10_000));
        assert_eq!(fiber::statistics(), (20_000, 10_000));
    });
}

#[test]
fn those_who_only_yield_do_not_keep_the_kernel_waiting() {
    run(|| {
        let over = Cell::new(false);
        scope(|scope| {
            scope.spawn(|| {
                sleep(MOMENT).unwrap();
                over.set(true);
            });
            while !over.get() {
                yield_now();
            }
        });
    });
}

#[test]
#[ignore = "another test runs this in its own process"]
fn exits() {
    struct Loud;
    impl Drop for Loud {
        fn drop(&mut self) {
            eprintln!("unwound");
        }
    }
    run(|| {
        scope(|scope| {
            scope.spawn(|| {
                let _loud = Loud;
                sleep(HOUR)
            });
            sleep(MOMENT).unwrap();
            exit(7)
        })
    })
}

#[test]
fn an_exit_unwinds_no_fiber() {
    let (status, stderr) = apart("scopes::exits");
    assert_eq!(status.code(), Some(7));
    assert!(!stderr.contains("unwound"), "{stderr}");
}

#[test]
#[ignore = "another test runs this in its own process"]
fn overflows() {
    fn deeper(depth: u64) -> u64 {
        let frame = std::hint::black_box([depth; 100]);
        if depth == u64::MAX { 0 } else { deeper(depth + 1) + frame[99] }
    }
    run(|| fiber::spawn(|| deeper(0)).join().unwrap());
}

#[test]
fn a_stack_that_overflows_meets_its_guard_page() {
    let (status, _) = apart("scopes::overflows");
    assert_eq!(status.signal(), Some(SIGSEGV));
}

#[test]
#[ignore = "another test runs this in its own process"]
fn joins_itself() {
    run(|| {
        scope(|scope| {
            let own: Rc<RefCell<Option<JoinHandle<()>>>> = Rc::default();
            let handle = own.clone();
            let fiber = scope.spawn(move || {
                let own = handle.take().expect("it is there");
                let _ = own.join();
            });
            own.replace(Some(fiber));
        });
    });
}

#[test]
fn waiting_without_end_is_seen() {
    let (status, stderr) = apart("scopes::joins_itself");
    assert!(!status.success() && stderr.contains("all fibers wait"), "{status}: {stderr}");
}
