//! Figures: what the runtimes cost beside others of their kind, in one run.
//!
//! Every contender is measured in turn, again and again, so that whatever else the machine does
//! affects them all. A contender has a process of its own in every round: none inherits the
//! memory or the threads of another. The table has the medians of the rounds.

pub mod load;

use std::process::{Command, exit};
use std::time::Instant;
use std::{env, fs, thread};

use anyhow::{Context, Result, ensure};

/// Somebody to measure: a name, and a function that returns one figure in nanoseconds for each row.
/// [`f64::NAN`] means that the contender does not have the row.
pub type Contender = (&'static str, fn() -> Result<Vec<f64>>);

/// Measures the contenders and prints a table in which the first one is the unit.
///
/// The only function of a benchmark's `main`. Takes the number of rounds from the environment
/// variable `ROUNDS`.
///
/// # Errors
///
/// If a contender fails, or prints something else than its figures.
pub fn compare(rows: &[&str], contenders: &[Contender]) -> Result<()> {
    load::clients()?;
    if let Ok(name) = env::var(CONTENDER) {
        let contender = contenders.iter().find(|it| it.0 == name).context("no such contender")?;
        let figures = (contender.1)()?;
        println!("{}", figures.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
        // Some runtimes have threads that never end.
        exit(0);
    }
    let rounds = env::var("ROUNDS").map_or(Ok(31), |it| it.parse())?;
    let mut samples = vec![vec![Vec::new(); contenders.len()]; rows.len()];
    for round in 0..=rounds {
        for (column, (name, _)) in contenders.iter().enumerate() {
            let output = Command::new(env::current_exe()?).env(CONTENDER, name).output()?;
            let error = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{name}: {}\n{error}", output.status);
            let figures = String::from_utf8(output.stdout)?;
            let figures = figures.split_whitespace().map(str::parse).collect::<Result<Vec<_>, _>>();
            let figures = figures.with_context(|| format!("{name} prints no figures"))?;
            ensure!(figures.len() == rows.len(), "{name} has {} figures", figures.len());
            // The first round warms up.
            for (row, &figure) in figures.iter().enumerate().filter(|_| round > 0) {
                samples[row][column].push(figure);
            }
        }
    }
    println!("{}\n", machine());
    let names: Vec<_> = contenders.iter().map(|it| it.0).collect();
    println!("| | {} |\n|---|{}", names.join(" | "), "--:|".repeat(names.len()));
    for (row, samples) in rows.iter().zip(&mut samples) {
        let medians: Vec<_> = samples.iter_mut().map(|it| median(it)).collect();
        let cells: Vec<_> = medians.iter().map(|&it| cell(it, it / medians[0])).collect();
        println!("| {row} | {} |", cells.join(" | "));
    }
    println!(
        "\nMedians of {rounds} interleaved rounds. In brackets: the multiple of the first column."
    );
    Ok(())
}

/// Tells a process which contender it is.
const CONTENDER: &str = "FIGURES_CONTENDER";

/// Returns how many nanoseconds one of `count` takes, if `measured` does all of them.
pub fn of(count: u32, measured: impl FnOnce()) -> f64 {
    let start = Instant::now();
    measured();
    per(start, count)
}

/// Returns how many nanoseconds one of `count` took since `start`.
pub fn per(start: Instant, count: u32) -> f64 {
    start.elapsed().as_nanos() as f64 / f64::from(count)
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

/// What the figures were measured on.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let processors = thread::available_parallelism().map_or(0, usize::from);
    let cpuinfo = read("/proc/cpuinfo");
    let is_virtual = cpuinfo.split_whitespace().any(|flag| flag == "hypervisor");
    format!(
        "Linux {}, {processors} processors{}, {} build",
        read("/proc/sys/kernel/osrelease").trim(),
        if is_virtual { " of a virtual machine" } else { "" },
        if cfg!(debug_assertions) { "debug" } else { "release" },
    )
}
