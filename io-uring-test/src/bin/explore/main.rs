//! Compares random programs with a model of io_uring in plain Rust.
//!
//! An *episode* is a ring and a sequence of calls. The explorer makes each call on the real ring
//! and on the model ([`model`]), and compares everything that is visible. It reduces the first
//! difference to the shortest sequence that still shows it, and prints that as a program.

mod build;
mod completions;
mod episode;
mod footprint;
mod forked;
mod kernel;
mod known;
mod model;
mod op;
mod queue;
mod real;
mod registers;
mod report;
mod setup;
mod step;
mod supervise;
mod views;
mod watch;
mod workers;
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;

/// Compares random programs with a model of io_uring, on the running kernel.
#[derive(Parser)]
struct Args {
    /// The seed of the episodes (default: from the clock).
    #[arg(long)]
    seed: Option<u64>,
    /// The total number of steps.
    #[arg(long, default_value_t = 1_000_000)]
    steps: u64,
    /// Time limit in seconds.
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// The maximum number of steps in an episode.
    #[arg(long, default_value_t = 100)]
    length: usize,
    /// The number of the first episode.
    #[arg(long, default_value_t = 0)]
    episode: u64,
    /// List the known faults of this kernel, and how the model accounts for them.
    #[arg(long)]
    known: bool,
    /// Make the model wrong if two completions are ready, to test the report of a difference.
    #[arg(long, hide = true)]
    inject: bool,
    /// Report a difference as found, without searching for a shorter sequence.
    #[arg(long)]
    brief: bool,
    /// Run only the first episode.
    #[arg(long)]
    only: bool,
    /// Print the first episode as a program, whether it shows a difference or not.
    #[arg(long)]
    show: bool,
    /// Run an episode that is run alone up to this many times, until it shows a difference.
    #[arg(long, default_value_t = 1)]
    tries: u32,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match explore(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            println!("FAIL {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether there is no difference.
fn explore(args: &Args) -> Result<bool> {
    let clock = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64);
    let seed = args.seed.unwrap_or(clock % 1_000_000_000);
    // SAFETY: the signal ends this process if a query of the kernel hangs.
    unsafe { libc::alarm(60) };
    let mut kernel = kernel::ask()?;
    kernel.injected = args.inject;
    // SAFETY: cancels the alarm, which has no other precondition.
    unsafe { libc::alarm(0) };
    let (major, minor) = kernel.known.version;
    println!("seed {seed}, Linux {major}.{minor} ({})", std::env::consts::ARCH);
    if args.known {
        println!("{kernel:?}");
        for fault in kernel.known.rows() {
            println!(
                "{}\n  the model: {}\n  to reproduce: {}",
                fault.name, fault.model, fault.reproduction
            );
        }
        return Ok(true);
    }
    let plan = supervise::Plan {
        seed,
        first: args.episode,
        episodes: if args.only { 1 } else { u64::MAX },
        steps: args.steps,
        time: Duration::from_secs(args.seconds),
        length: args.length,
        tries: args.tries,
    };
    if args.show {
        return report::program(&kernel, &plan);
    }
    let start = Instant::now();
    let mut outcome = supervise::run(&kernel, &plan)?;
    let tries = if args.only { args.tries } else { 1 };
    for _ in 1..tries {
        if outcome.found.is_some() {
            break;
        }
        outcome = supervise::run(&kernel, &plan)?;
    }
    let seconds = start.elapsed().as_secs_f64();
    report::summary(&outcome, seconds);
    let Some(found) = &outcome.found else { return Ok(true) };
    if args.brief {
        println!("episode {} of seed {}: {}", found.episode, plan.seed, found.what);
        return Ok(false);
    }
    report::difference(&kernel, &plan, found)?;
    Ok(false)
}
