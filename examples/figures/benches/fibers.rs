//! What fibers cost, beside those of other runtimes, threads, and tokio's tasks.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Instant;

use anyhow::Result;
use figures::{compare, of, per};
use may::coroutine;
use rustix_uring::IoUring;
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task;

const ROWS: &[&str] = &[
    "start, one task, and the end",
    "spawn and join one",
    "one of a thousand at once",
    "one of ten thousand at once",
    "one of a thousand that wait",
    "one of another thousand that wait",
    "one of ten thousand that wait",
    "a switch",
];
const STARTS: u32 = 50;
const THOUSAND: u32 = 1000;
const TEN_THOUSAND: u32 = 10_000;

fn main() -> Result<()> {
    compare(
        ROWS,
        &[
            ("fibers", with_fibers),
            ("uringy 0.5", with_uringy),
            ("may 0.3", with_may),
            ("tokio, one thread", || tokio(&mut Builder::new_current_thread())),
            ("tokio, many threads", || tokio(&mut Builder::new_multi_thread())),
            ("threads", threads),
            ("a bare ring", bare_ring),
        ],
    )
}

/// The rows of a runtime with stacks: whatever waits, waits by yielding. `$spawn` spawns a fiber.
macro_rules! fibers {
    ($start:expr, $spawn:expr, $handle:ty, $yield_now:expr) => {{
        let spawn = || $spawn(|| black_box(()));
        let wait = || $spawn(|| $yield_now());
        let many = |count, spawn: &dyn Fn() -> $handle| {
            of(count, || {
                let all: Vec<_> = (0..count).map(|_| spawn()).collect();
                all.into_iter().for_each(|it| it.join().expect("no panic"));
            })
        };
        vec![
            $start,
            of(THOUSAND, || (0..THOUSAND).for_each(|_| spawn().join().expect("no panic"))),
            many(THOUSAND, &spawn),
            many(TEN_THOUSAND, &spawn),
            many(THOUSAND, &wait),
            many(THOUSAND, &wait),
            many(TEN_THOUSAND, &wait),
            of(TEN_THOUSAND, || {
                let half = || $spawn(|| (0..TEN_THOUSAND / 2).for_each(|_| $yield_now()));
                [half(), half()].into_iter().for_each(|it| it.join().expect("no panic"));
            }),
        ]
    }};
}

fn with_fibers() -> Result<Vec<f64>> {
    let start = of(STARTS, || {
        for _ in 0..STARTS {
            let run = fibers::run(|| fibers::spawn(|| black_box(())).join().expect("no panic"));
            run.expect("a ring");
        }
    });
    Ok(fibers::run(|| fibers!(start, fibers::spawn, fibers::JoinHandle<()>, fibers::yield_now))?)
}

fn with_uringy() -> Result<Vec<f64>> {
    use uringy::runtime::{self, spawn, yield_now};

    let start = of(STARTS, || {
        for _ in 0..STARTS {
            let run = runtime::start(|| spawn(|| black_box(())).join().expect("no panic"));
            run.expect("no panic");
        }
    });
    Ok(runtime::start(move || fibers!(start, spawn, runtime::JoinHandle<()>, yield_now))
        .expect("no panic"))
}

/// On one thread, as the others.
fn with_may() -> Result<Vec<f64>> {
    may::config().set_workers(1);
    // There is one runtime, which never ends.
    let start = f64::NAN;
    // SAFETY: nothing here uses thread-local variables, or more than a little of the stack.
    let spawn = |main: fn()| unsafe { coroutine::spawn(main) };
    // SAFETY: nothing here uses thread-local variables, or more than a little of the stack.
    let measuring = unsafe {
        coroutine::spawn(move || {
            fibers!(start, spawn, coroutine::JoinHandle<()>, coroutine::yield_now)
        })
    };
    Ok(measuring.join().expect("no panic"))
}

fn bare_ring() -> Result<Vec<f64>> {
    let start = of(STARTS, || {
        for _ in 0..STARTS {
            drop(<IoUring>::builder().setup_taskrun_flag().build_local(256).expect("a ring"));
        }
    });
    let mut figures = vec![f64::NAN; ROWS.len()];
    figures[0] = start;
    Ok(figures)
}

fn threads() -> Result<Vec<f64>> {
    let spawn = || thread::spawn(|| black_box(()));
    let wait = || thread::spawn(thread::yield_now);
    let many = |count, spawn: &dyn Fn() -> thread::JoinHandle<()>| {
        of(count, || {
            let all: Vec<_> = (0..count).map(|_| spawn()).collect();
            all.into_iter().for_each(|it| it.join().expect("no panic"));
        })
    };
    let turn = AtomicBool::new(false);
    let take_turns = |mine: bool, other: &Thread| {
        for _ in 0..THOUSAND / 2 {
            while turn.load(Ordering::Acquire) != mine {
                thread::park();
            }
            turn.store(!mine, Ordering::Release);
            other.unpark();
        }
    };
    let here = thread::current();
    let switches = || {
        thread::scope(|scope| {
            let there = scope.spawn(|| take_turns(true, &here));
            take_turns(false, there.thread());
        });
    };
    Ok(vec![
        f64::NAN, // there is no runtime
        of(100, || (0..100).for_each(|_| spawn().join().expect("no panic"))),
        many(THOUSAND, &spawn),
        f64::NAN,
        many(THOUSAND, &wait),
        many(THOUSAND, &wait),
        f64::NAN,
        of(THOUSAND, switches),
    ])
}

fn tokio(runtime: &mut Builder) -> Result<Vec<f64>> {
    let mut runtime = || runtime.enable_all().build();
    let begin = Instant::now();
    for _ in 0..STARTS {
        runtime()?.block_on(async { tokio::spawn(async { black_box(()) }).await })?;
    }
    let start = per(begin, STARTS);
    let mut figures = vec![start];
    // Within a task, as fibers are spawned by fibers.
    figures.extend(runtime()?.block_on(async { tokio::spawn(tasks()).await })?);
    Ok(figures)
}

async fn tasks() -> [f64; 7] {
    let spawn = || tokio::spawn(async { black_box(()) });
    let wait = || tokio::spawn(async { task::yield_now().await });
    let begin = Instant::now();
    for _ in 0..THOUSAND {
        spawn().await.expect("no panic");
    }
    let one = per(begin, THOUSAND);

    async fn many(count: u32, spawn: impl Fn() -> task::JoinHandle<()>) -> f64 {
        let begin = Instant::now();
        let all: Vec<_> = (0..count).map(|_| spawn()).collect();
        for it in all {
            it.await.expect("no panic");
        }
        per(begin, count)
    }

    let turns = Arc::new([Notify::new(), Notify::new()]);
    turns[0].notify_one();
    let switches = async || {
        let begin = Instant::now();
        let halves = [0, 1].map(|mine| {
            let turns = turns.clone();
            tokio::spawn(async move {
                for _ in 0..TEN_THOUSAND / 2 {
                    turns[mine].notified().await;
                    turns[1 - mine].notify_one();
                }
            })
        });
        for half in halves {
            half.await.expect("no panic");
        }
        per(begin, TEN_THOUSAND)
    };
    [
        one,
        many(THOUSAND, spawn).await,
        many(TEN_THOUSAND, spawn).await,
        many(THOUSAND, wait).await,
        many(THOUSAND, wait).await,
        many(TEN_THOUSAND, wait).await,
        switches().await,
    ]
}
