//! Random programs against a model of io_uring in plain Rust.
//!
//! An *episode* is a ring and a sequence of calls. Each call is made on the real ring and on the model
//! ([`model`]), and all that is visible must be the same. The first difference is reduced to the
//! shortest sequence that still shows it, and printed as a program.

mod build;
mod completions;
mod episode;
mod footprint;
mod heir;
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

/// Runs random programs against a model of io_uring, on the kernel that this is.
#[derive(Parser)]
struct Args {
    /// What the episodes are drawn from; from the clock if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// How many steps.
    #[arg(long, default_value_t = 1_000_000)]
    steps: u64,
    /// How long at most.
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// How many steps an episode has at most.
    #[arg(long, default_value_t = 100)]
    length: usize,
    /// Begin with this episode.
    #[arg(long, default_value_t = 0)]
    episode: u64,
    /// List the faults of kernels that are known, and what the model does about them.
    #[arg(long)]
    known: bool,
    /// Let the model be wrong, where two completions are ready, to see what is made of it.
    #[arg(long, hide = true)]
    inject: bool,
    /// Report a difference as it was found, without looking for a shorter sequence.
    #[arg(long)]
    brief: bool,
    /// Run that one only.
    #[arg(long)]
    only: bool,
    /// Print that one as a program, whether there is a difference or not.
    #[arg(long)]
    show: bool,
    /// Run whatever is looked at alone this many times, if no difference shows before.
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

/// Whether there is no difference.
fn explore(args: &Args) -> Result<bool> {
    let clock = std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_nanos() as u64);
    let seed = args.seed.unwrap_or(clock % 1_000_000_000);
    // SAFETY: a signal that ends us, if what the kernel is asked with hangs.
    unsafe { libc::alarm(60) };
    let mut kernel = kernel::ask()?;
    kernel.injected = args.inject;
    // SAFETY: as above; it has not.
    unsafe { libc::alarm(0) };
    let (major, minor) = kernel.known.version;
    println!("seed {seed}, Linux {major}.{minor} ({})", std::env::consts::ARCH);
    if args.known {
        println!("{kernel:?}");
        for fault in kernel.known.rows() {
            println!("{}\n  model: {}\n  seen: {}", fault.name, fault.model, fault.reproduction);
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
    let outcome = supervise::run(&kernel, &plan)?;
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
