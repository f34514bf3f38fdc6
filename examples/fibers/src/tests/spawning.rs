//! Fibers without a scope, and threads without `run`.

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Stdio;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, thread};

use super::apart::{apart, apart_with};
use super::{HOUR, MOMENT, panic_on_purpose, run};
use crate::fiber::{self, Builder, is_cancelled, scope, sleep, spawn, statistics, yield_now};

/// A log of events, in their order.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<&'static str>>>);

impl Log {
    fn add(&self, what: &'static str) {
        self.0.borrow_mut().push(what);
    }

    fn has(&self, what: &[&str]) {
        assert_eq!(*self.0.borrow(), what);
    }
}

#[test]
fn parents_end_after_their_children() {
    let log = Log::default();
    run(|| {
        let (ours, theirs) = (log.clone(), log.clone());
        let parent = spawn(move || {
            let child = theirs.clone();
            spawn(move || {
                sleep(MOMENT).unwrap();
                let grandchild = child.clone();
                spawn(move || {
                    sleep(MOMENT).unwrap();
                    grandchild.add("grandchild");
                });
                child.add("child");
            });
            theirs.add("parent's body");
            7
        });
        assert_eq!(parent.join().unwrap(), 7);
        ours.add("joined");
        spawn(move || ours.add("last"));
    });
    log.has(&["parent's body", "child", "grandchild", "joined", "last"]);
}

#[test]
fn a_handle_may_outlive_the_parent() {
    run(|| {
        let child = spawn(|| spawn(|| sleep(MOMENT).map(|()| 7))).join().unwrap();
        assert!(child.is_finished());
        child.cancel();
        assert_eq!(child.join().unwrap().unwrap(), 7);
    });
    let outside = run(|| spawn(|| "out"));
    assert_eq!(outside.join().unwrap(), "out");
}

#[test]
fn a_panic_that_nobody_joins_ends_the_parent() {
    let outcome = catch_unwind(|| run(|| drop(spawn(|| panic_on_purpose()))));
    assert!(outcome.is_err());
    run(|| {
        let parent = spawn(|| mem::forget(spawn(|| panic_on_purpose())));
        assert!(parent.join().is_err());
        let joins = spawn(|| assert!(spawn(|| -> () { panic_on_purpose() }).join().is_err()));
        joins.join().unwrap();
    });
}

#[test]
fn a_parent_that_panics_cancels_its_children() {
    let cancelled = Rc::new(Cell::new(0));
    run(|| {
        let count = cancelled.clone();
        let parent = spawn(move || -> () {
            for _ in 0..3 {
                let count = count.clone();
                spawn(move || {
                    assert!(sleep(HOUR).is_err());
                    yield_now();
                    count.set(count.get() + 1);
                });
            }
            yield_now();
            panic_on_purpose()
        });
        assert_eq!(*parent.join().unwrap_err().downcast::<&str>().unwrap(), "on purpose");
        assert_eq!(cancelled.get(), 3);
        sleep(MOMENT).unwrap();
    });
    let count = cancelled.clone();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        run(|| {
            spawn(move || {
                assert!(sleep(HOUR).is_err());
                count.set(count.get() + 1);
            });
            yield_now();
            panic_on_purpose()
        })
    }));
    assert!(outcome.is_err() && cancelled.get() == 4);
}

#[test]
fn cancellation_reaches_fibers_with_and_without_a_scope() {
    run(|| {
        let parent = spawn(|| {
            let child = spawn(|| spawn(|| sleep(HOUR).is_err()).join().unwrap());
            let scoped = scope(|scope| scope.spawn(|| sleep(HOUR).is_err()).join().unwrap());
            let late = spawn(|| is_cancelled() && sleep(HOUR).is_err());
            child.join().unwrap() && scoped && late.join().unwrap()
        });
        sleep(MOMENT).unwrap();
        parent.cancel();
        assert!(parent.join().unwrap());
        // Cancelling the scope does not cancel fibers outside of it.
        let other = spawn(|| sleep(2 * MOMENT));
        scope(|scope| {
            scope.spawn(|| sleep(HOUR));
            yield_now();
            scope.cancel();
        });
        other.join().unwrap().unwrap();
    });
}

#[test]
fn destructors_spawn() {
    struct Spawns(Log);
    impl Drop for Spawns {
        fn drop(&mut self) {
            let log = self.0.clone();
            spawn(move || {
                sleep(MOMENT).unwrap();
                log.add("spawned by a destructor");
            });
        }
    }
    let log = Log::default();
    run(|| {
        let (captured, result) = (Spawns(log.clone()), Spawns(log.clone()));
        let end = log.clone();
        let parent = spawn(move || {
            let _captured = captured;
            // The handle is dropped, so the fiber drops its result.
            spawn(move || result);
        });
        parent.join().unwrap();
        end.add("joined");
    });
    log.has(&["spawned by a destructor", "spawned by a destructor", "joined"]);
}

#[test]
fn handles_are_joined_by_any_fiber() {
    run(|| {
        let first = spawn(|| sleep(MOMENT).map(|()| 1));
        let second = spawn(move || first.join().unwrap().map(|one| one + 1));
        assert_eq!(second.join().unwrap().unwrap(), 2);
    });
}

static ENDED: AtomicUsize = AtomicUsize::new(0);

#[test]
fn a_thread_waits_for_its_fibers_without_run() {
    let thread = thread::spawn(|| {
        spawn(|| {
            spawn(|| {
                sleep(MOMENT).unwrap();
                ENDED.fetch_add(1, Ordering::Relaxed);
            });
            ENDED.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ENDED.load(Ordering::Relaxed), 0, "the thread has not waited yet");
    });
    thread.join().unwrap();
    assert_eq!(ENDED.load(Ordering::Relaxed), 2);
}

#[test]
fn run_follows_on_what_was_done_without_it() {
    sleep(MOMENT).unwrap();
    assert_eq!(spawn(|| 7).join().unwrap(), 7);
    run(|| assert_eq!(statistics().0, 0));
    scope(|scope| scope.spawn(|| sleep(MOMENT)).join().unwrap().unwrap());
    let waiting = spawn(|| sleep(MOMENT));
    assert!(catch_unwind(|| fiber::run(|| ())).is_err(), "the fiber would be forgotten");
    waiting.join().unwrap().unwrap();
}

#[test]
#[ignore = "another test runs this in its own process"]
fn exits_within_a_fiber() {
    spawn(|| sleep(HOUR));
    spawn(|| {
        sleep(MOMENT).unwrap();
        std::process::exit(7)
    });
}

#[test]
fn a_fiber_that_exits_takes_the_others_along() {
    assert_eq!(apart("spawning::exits_within_a_fiber").0.code(), Some(7));
}

/// Uses at least this many bytes of its stack, and at most several times as many.
fn deep(bytes: usize) -> usize {
    let frame = std::hint::black_box([1u8; 1000]);
    if bytes < 1000 { 0 } else { deep(bytes - 1000) + usize::from(frame[bytes % 1000]) }
}

#[test]
fn stacks_are_as_large_as_is_said() {
    let large = Builder::new().stack_size(64 << 20);
    let depth = large.run(|| spawn(|| deep(8 << 20)).join().unwrap()).unwrap();
    assert_eq!(depth, (8 << 20) / 1000);
    let small = Builder::new().stack_size(64 << 10);
    assert_eq!(small.run(|| spawn(|| deep(1000)).join().unwrap()).unwrap(), 1);
}

#[test]
#[ignore = "another test runs this in its own process"]
fn overflows_a_small_stack() {
    let small = Builder::new().stack_size(64 << 10);
    let outcome = small.run(|| {
        // Below the stack of the last fiber are stacks of other fibers.
        (0..31).for_each(|_| drop(spawn(|| sleep(HOUR))));
        spawn(|| deep(70 << 10)).join().unwrap();
        std::process::exit(0)
    });
    outcome.unwrap();
}

#[test]
fn a_small_stack_has_its_guard() {
    use std::os::unix::process::ExitStatusExt;
    let status = apart("spawning::overflows_a_small_stack").0;
    assert_eq!(status.signal(), Some(signal_hook::consts::SIGSEGV));
}

/// An address space has room for only a few stacks of this size.
#[cfg(target_pointer_width = "64")]
const ENORMOUS: usize = 32 << 40;

#[cfg(target_pointer_width = "64")]
#[test]
fn without_memory_for_a_stack_a_fiber_waits_for_others() {
    let ended = Rc::new(Cell::new(0));
    let few = Builder::new().stack_size(ENORMOUS);
    few.run(|| {
        for _ in 0..20 {
            let ended = ended.clone();
            spawn(move || {
                sleep(MOMENT).unwrap();
                ended.set(ended.get() + 1);
            });
        }
        yield_now();
        scope(|scope| assert!(scope.try_spawn(|| ()).is_err()));
        assert!(statistics().1 < 20);
    })
    .unwrap();
    assert_eq!(ended.get(), 20);
}

#[test]
#[ignore = "another test runs this in its own process"]
fn prints() {
    run(|| {
        crate::println!("{} and {}", "one", 2);
        let cancelled = spawn(|| {
            assert!(sleep(HOUR).is_err());
            crate::println!("cancelled");
            crate::println!();
        });
        yield_now();
        cancelled.cancel();
        cancelled.join().unwrap();
        crate::eprintln!("an {error}", error = io::ErrorKind::Other);
    });
}

#[test]
fn lines_are_printed_even_by_the_cancelled() {
    let (status, output) = apart("spawning::prints");
    assert!(status.success());
    assert!(output.contains("an other error\n"), "{output}");
    let printed = apart_with("spawning::prints", |command| command.output().unwrap().stdout);
    let printed = String::from_utf8(printed).unwrap();
    assert!(printed.contains("one and 2\ncancelled\n\n"), "{printed}");
}

#[test]
#[ignore = "another test runs this in its own process"]
fn prints_more_than_a_pipe_holds() {
    run(|| {
        spawn(|| (0..1000).for_each(|_| crate::println!("{}", "x".repeat(999))));
        sleep(MOMENT).unwrap();
        crate::eprintln!("the other fiber runs");
    });
}

#[test]
fn only_the_fiber_that_prints_waits_for_the_reader() {
    apart_with("spawning::prints_more_than_a_pipe_holds", |command| {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        // The test does not read the standard output meanwhile.
        let errors = BufReader::new(child.stderr.take().unwrap());
        assert!(errors.lines().any(|line| line.unwrap() == "the other fiber runs"));
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let lines = output.stdout.split(|&byte| byte == b'\n');
        // The test harness prints the name of the test before the first line.
        assert_eq!(lines.filter(|line| line.ends_with(&[b'x'; 999])).count(), 1000);
    });
}
