//! What fibers cost, beside threads and tokio's tasks, in one run: each is measured in turn, again
//! and again, so that what else the machine does befalls all of them; the medians count.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Instant;
use std::{env, fs};

use anyhow::Result;
use tokio::runtime::Builder;
use tokio::sync::Notify;

use fibers::fiber;

const ROUNDS: usize = 51;
/// How many switches, and how many are spawned before the first is joined.
const MANY: u32 = 1000;

/// Nanoseconds, for each row.
type Figures = [f64; 5];
const ROWS: [&str; 5] = [
    "start-up, one task, and the end",
    "spawn and join one",
    "spawn and join one of a thousand",
    "spawn and join one of another thousand",
    "hand over to another, a switch",
];
const COLUMNS: [&str; 4] = ["fibers", "threads", "tokio multi-thread", "tokio current-thread"];

fn main() -> Result<()> {
    let measure: [fn() -> Result<Figures>; 4] = [
        with_fibers,
        threads,
        || tokio(&mut Builder::new_multi_thread()),
        || tokio(&mut Builder::new_current_thread()),
    ];
    let mut samples: [[Vec<f64>; 4]; 5] = Default::default();
    for round in 0..=ROUNDS {
        for (column, measure) in measure.iter().enumerate() {
            let figures = measure()?;
            // The first round warms up.
            for (row, &figure) in figures.iter().enumerate().filter(|_| round > 0) {
                samples[row][column].push(figure);
            }
        }
    }
    println!("{}\n", machine());
    println!("| | {} |\n|---|--:|--:|--:|--:|", COLUMNS.join(" | "));
    for (row, samples) in ROWS.iter().zip(&mut samples) {
        let medians = samples.each_mut().map(|it| median(it));
        let cells = medians.map(|it| cell(it, it / medians[0]));
        println!("| {row} | {} |", cells.join(" | "));
    }
    println!("\nMedians of {ROUNDS} interleaved rounds; in brackets, as a multiple of fibers.");
    Ok(())
}

fn with_fibers() -> Result<Figures> {
    let start = each(20, || {
        fiber::run(|| fiber::scope(|scope| scope.spawn(|| black_box(())).join()))?
            .expect("no panic");
        Ok(())
    })?;
    fiber::run(|| {
        fiber::scope(|scope| {
            let spawn = || scope.spawn(|| black_box(()));
            let one = each(MANY, || {
                spawn().join().expect("no panic");
                Ok(())
            })?;
            let thousand = || {
                let all: Vec<_> = (0..MANY).map(|_| spawn()).collect();
                all.into_iter().for_each(|it| it.join().expect("no panic"));
            };
            // The first ones' stacks are new.
            let (many, again) = (of_many(thousand), of_many(thousand));
            let switch = of_many(|| {
                let half = || scope.spawn(|| (0..MANY / 2).for_each(|_| fiber::yield_now()));
                [half(), half()].into_iter().for_each(|it| it.join().expect("no panic"));
            });
            Ok([start, one, many, again, switch])
        })
    })?
}

fn threads() -> Result<Figures> {
    let spawn = || thread::spawn(|| black_box(()));
    let start = f64::NAN; // there is no runtime
    let one = each(100, || {
        spawn().join().expect("no panic");
        Ok(())
    })?;
    let thousand = || {
        let all: Vec<_> = (0..MANY).map(|_| spawn()).collect();
        all.into_iter().for_each(|it| it.join().expect("no panic"));
    };
    let (many, again) = (of_many(thousand), of_many(thousand));
    let turn = AtomicBool::new(false);
    let take_turns = |mine: bool, other: &Thread| {
        for _ in 0..MANY / 2 {
            while turn.load(Ordering::Acquire) != mine {
                thread::park();
            }
            turn.store(!mine, Ordering::Release);
            other.unpark();
        }
    };
    let here = thread::current();
    let switch = of_many(|| {
        thread::scope(|scope| {
            let there = scope.spawn(|| take_turns(true, &here));
            take_turns(false, there.thread());
        });
    });
    Ok([start, one, many, again, switch])
}

fn tokio(runtime: &mut Builder) -> Result<Figures> {
    let mut runtime = || runtime.enable_all().build();
    let start = each(20, || {
        Ok(runtime()?.block_on(async { tokio::spawn(async { black_box(()) }).await })?)
    })?;
    let runtime = runtime()?;
    // Within a task, as fibers are spawned by fibers.
    let [one, many, again, switch] = runtime.block_on(async { tokio::spawn(tasks()).await })?;
    Ok([start, one, many, again, switch])
}

async fn tasks() -> [f64; 4] {
    let spawn = || tokio::spawn(async { black_box(()) });
    let start = Instant::now();
    for _ in 0..MANY {
        spawn().await.expect("no panic");
    }
    let one = per(start, MANY);

    let thousand = async || {
        let start = Instant::now();
        let all: Vec<_> = (0..MANY).map(|_| spawn()).collect();
        for it in all {
            it.await.expect("no panic");
        }
        per(start, MANY)
    };
    let (many, again) = (thousand().await, thousand().await);

    let turns = Arc::new([Notify::new(), Notify::new()]);
    turns[0].notify_one();
    let start = Instant::now();
    let halves = [0, 1].map(|mine| {
        let turns = turns.clone();
        tokio::spawn(async move {
            for _ in 0..MANY / 2 {
                turns[mine].notified().await;
                turns[1 - mine].notify_one();
            }
        })
    });
    for half in halves {
        half.await.expect("no panic");
    }
    [one, many, again, per(start, MANY)]
}

/// How long it takes, on average of this many times.
fn each(times: u32, mut measured: impl FnMut() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    for _ in 0..times {
        measured()?;
    }
    Ok(per(start, times))
}

/// How long one takes of the [`MANY`] that this does.
fn of_many(measured: impl FnOnce()) -> f64 {
    let start = Instant::now();
    measured();
    per(start, MANY)
}

fn per(start: Instant, times: u32) -> f64 {
    start.elapsed().as_nanos() as f64 / f64::from(times)
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn cell(nanoseconds: f64, ratio: f64) -> String {
    let ratio = if ratio < 10.0 { format!("{ratio:.2}×") } else { format!("{ratio:.0}×") };
    match nanoseconds {
        _ if nanoseconds.is_nan() => "–".to_owned(),
        0.0..1000.0 => format!("{nanoseconds:.0} ns ({ratio})"),
        _ => format!("{:.1} µs ({ratio})", nanoseconds / 1000.0),
    }
}

/// What it was measured on, and by which command.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let processors = thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = read("/proc/cpuinfo");
    let is_virtual = cpuinfo.split_whitespace().any(|flag| flag == "hypervisor");
    format!(
        "Linux {}, {processors} processors{}, {} build: {}",
        read("/proc/sys/kernel/osrelease").trim(),
        if is_virtual { " of a virtual machine" } else { "" },
        if cfg!(debug_assertions) { "debug" } else { "release" },
        env::args().collect::<Vec<_>>().join(" "),
    )
}
