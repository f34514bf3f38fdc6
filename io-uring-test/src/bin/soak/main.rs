//! Keeps rings of every kind busy with all operations at once, and accounts for every completion.
//!
//! ```text
//! cargo run --release -p io-uring-test --bin soak -- --operations 100000000
//! ```
//!
//! Every operation has a number, which its completions contain: exactly one completion, or for a
//! multishot operation any number up to the last one. The program fails if a number arrives twice,
//! is unknown, or never arrives.

mod ring;
mod tracker;
mod work;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use rustix_uring::squeue::{self, Entry128, Rewind};
use rustix_uring::{Builder, Errno, IoUring, cqueue};

use ring::{Kind, Soak};

/// Keeps rings of every kind busy with all operations at once, and accounts for every completion.
#[derive(Parser)]
struct Args {
    /// Use only rings whose names contain one of these.
    filters: Vec<String>,
    /// The total number of operations.
    #[arg(long, default_value_t = 100_000_000)]
    operations: u64,
    /// Time limit in seconds.
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// Seconds without any completion after which the operations in flight count as lost.
    #[arg(long, default_value_t = 30)]
    patience: u64,
    /// The seed of the random choices; the same seed repeats the same operations.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Lose or duplicate one completion on purpose, to check that the program detects it.
    #[arg(long)]
    inject: Option<Fault>,
}

/// A fault of one completion.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// Drop the completion.
    Lost,
    /// Deliver the completion twice.
    Doubled,
}

/// The work of one ring before the next ring's turn.
struct Slice {
    operations: u64,
    end: Instant,
    patience: Duration,
    seed: u64,
    inject: Option<Fault>,
}

/// The time limit of a slice: some kinds of ring are slow.
const LONGEST: Duration = Duration::from_secs(2);

type Run = fn(&Slice) -> Result<Option<u64>>;

/// Every kind of ring: its name, and a function that runs a slice. The function returns the number
/// of operations, or nothing if the kernel does not support the kind.
const RINGS: &[(&str, Run)] = &[
    ("64x16", |slice| run::<squeue::Entry, cqueue::Entry>(slice, 128, |_| {})),
    ("64x16 with an index array", |slice| {
        run::<squeue::Entry, cqueue::Entry>(slice, 128, |it| _ = it.sqarray())
    }),
    ("64x16 with an overflowing completion queue", |slice| {
        run::<squeue::Entry, cqueue::Entry>(slice, 16, |it| _ = it.setup_cqsize(16))
    }),
    ("64x16, cooperative", |slice| {
        run::<squeue::Entry, cqueue::Entry>(slice, 64, |it| {
            it.setup_coop_taskrun().setup_taskrun_flag();
        })
    }),
    ("64x16, deferred", |slice| {
        run::<squeue::Entry, cqueue::Entry>(slice, 256, |it| {
            it.setup_single_issuer().setup_defer_taskrun();
        })
    }),
    ("64x16 with deferred task work and an overflowing completion queue", |slice| {
        run::<squeue::Entry, cqueue::Entry>(slice, 8, |it| {
            it.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_cqsize(8);
        })
    }),
    ("64x16, polled", |slice| {
        run::<squeue::Entry, cqueue::Entry>(slice, 64, |it| _ = it.setup_sqpoll(10))
    }),
    ("64x16, local", local),
    ("128x16 with SUBMIT_ALL", |slice| {
        run::<Entry128, cqueue::Entry>(slice, 64, |it| _ = it.setup_submit_all())
    }),
    ("64x32", |slice| run::<squeue::Entry, cqueue::Entry32>(slice, 32, |_| {})),
    ("64xmixed", |slice| run::<squeue::Entry, cqueue::Mixed>(slice, 64, |_| {})),
    ("mixedxmixed", |slice| {
        run::<squeue::Mixed, cqueue::Mixed>(slice, 64, |it| _ = it.post_pad_cqes())
    }),
    ("rewind64x16", |slice| run::<Rewind, cqueue::Entry>(slice, 64, |_| {})),
    ("rewindmixedx32", |slice| {
        run::<Rewind<squeue::Mixed>, cqueue::Entry32>(slice, 64, |it| _ = it.post_pad_cqes())
    }),
];

fn run<S: Kind, C: cqueue::Kind>(
    slice: &Slice,
    entries: u32,
    set: fn(&mut Builder<S, C>),
) -> Result<Option<u64>> {
    let mut builder = IoUring::<S, C>::builder();
    set(&mut builder);
    match builder.build(entries) {
        Err(Errno::INVAL) => Ok(None),
        ring => Soak::new(ring?, slice)?.run(slice).map(Some),
    }
}

fn local(slice: &Slice) -> Result<Option<u64>> {
    let ring = <IoUring>::builder().build_local(64)?;
    Soak::new(ring, slice)?.run(slice).map(Some)
}

fn main() -> ExitCode {
    let args = Args::parse();
    let start = Instant::now();
    let bar = ProgressBar::new(args.operations);
    let style = "{elapsed_precise} [{wide_bar}] {human_pos}/{human_len} {per_sec} {msg}";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    let soaked = soak(&args, start, &bar);
    bar.finish_and_clear();
    match soaked {
        Ok((operations, rings)) => {
            let seconds = start.elapsed().as_secs_f64();
            println!("{operations} operations on {rings} kinds of ring in {seconds:.1} s:");
            println!("each operation completed exactly once");
            ExitCode::SUCCESS
        }
        Err(e) => {
            println!("FAIL {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the number of operations, and the number of ring kinds that ran.
fn soak(args: &Args, start: Instant, bar: &ProgressBar) -> Result<(u64, usize)> {
    let (mut operations, mut seed) = (0, args.seed);
    let mut rings: Vec<_> = RINGS.iter().collect();
    if !args.filters.is_empty() {
        rings.retain(|(name, _)| args.filters.iter().any(|filter| name.contains(filter)));
    }
    ensure!(!rings.is_empty(), "no ring name contains {}", args.filters.join(" or "));
    let mut absent = vec![false; rings.len()];
    let time = Duration::from_secs(args.seconds);
    let turns = 4 * rings.len() as u64;
    while operations < args.operations && start.elapsed() < time {
        for ((name, run), absent) in rings.iter().zip(&mut absent).filter(|(_, absent)| !**absent) {
            let left = args.operations - operations;
            if left == 0 || start.elapsed() >= time {
                break;
            }
            bar.set_message(*name);
            let slice = Slice {
                operations: left.min(args.operations / turns + 1000),
                end: Instant::now() + (time / turns as u32).min(LONGEST),
                patience: Duration::from_secs(args.patience),
                seed,
                inject: args.inject,
            };
            let ran = run(&slice).with_context(|| format!("{name}, with seed {seed}"))?;
            *absent = ran.is_none();
            operations += ran.unwrap_or(0).min(left);
            bar.set_position(operations);
            seed = seed.wrapping_add(1);
        }
    }
    for ((name, _), _) in rings.iter().zip(&absent).filter(|(_, absent)| **absent) {
        println!("not supported by this kernel: {name}");
    }
    Ok((operations, absent.iter().filter(|absent| !**absent).count()))
}
