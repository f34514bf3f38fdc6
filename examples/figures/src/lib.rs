//! Figures: what the runtimes cost beside others of their kind, in one run.
//!
//! Every contender is measured in turn, again and again, so that whatever else the machine does
//! affects them all. A contender has a process of its own in every round: none inherits the
//! memory or the threads of another. The table has the medians of the rounds.
//!
//! Run the benchmarks of echoes by `chrt --batch 0 cargo bench ...`. Tasks of this class do not
//! preempt each other when they wake up, so every server waits for every message. Without it, if
//! the clients run on the server's CPU, the scheduler decides for each message whether they preempt
//! the server before it waits. Then the server need not wait. A server that takes more CPU time is
//! preempted more often, so the comparison would favor it.

mod count;
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
/// variable `ROUNDS`. With the argument `--count`, counts instructions instead of time.
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
    println!("{}\n", machine());
    if env::args().any(|it| it == "--count") {
        let columns = contenders.iter().map(|it| count::instructions(it.0, rows.len()));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        table(rows, contenders, |row, column| number(columns[column][row], ""));
        println!("\nInstructions of the process itself, counted by callgrind.");
        return Ok(());
    }
    let rounds = env::var("ROUNDS").map_or(Ok(31), |it| it.parse())?;
    let mut samples = vec![vec![Vec::new(); contenders.len()]; rows.len()];
    for round in 0..=rounds {
        for turn in 0..contenders.len() {
            // Each goes first as often as the others.
            let column = (round + turn) % contenders.len();
            let figures =
                figures(&mut Command::new(env::current_exe()?), contenders[column].0, rows.len())?;
            // The first round warms up.
            for (row, &figure) in figures.iter().enumerate().filter(|_| round > 0) {
                samples[row][column].push(figure);
            }
        }
    }
    table(rows, contenders, |row, column| {
        let (first, samples) = (&samples[row][0], &samples[row][column]);
        let ratios = samples.iter().zip(first).map(|(it, first)| it / first).collect();
        cell(median(samples.clone()), median(ratios))
    });
    println!(
        "\nMedians of {rounds} interleaved rounds. In brackets: the median of the multiples of the first column."
    );
    Ok(())
}

/// Tells a process which contender it is.
const CONTENDER: &str = "FIGURES_CONTENDER";

/// Returns the figures that a contender prints. `command` runs this program, in a process of its own.
fn figures(command: &mut Command, name: &str, rows: usize) -> Result<Vec<f64>> {
    let output = command.env(CONTENDER, name).output()?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name}: {}\n{error}", output.status);
    let figures = String::from_utf8(output.stdout)?;
    let figures = figures.split_whitespace().map(str::parse).collect::<Result<Vec<_>, _>>();
    let figures = figures.with_context(|| format!("{name} prints no figures"))?;
    ensure!(figures.len() == rows, "{name} has {} figures", figures.len());
    Ok(figures)
}

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

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn table(rows: &[&str], contenders: &[Contender], cell: impl Fn(usize, usize) -> String) {
    let names: Vec<_> = contenders.iter().map(|it| it.0).collect();
    println!("| | {} |\n|---|{}", names.join(" | "), "--:|".repeat(names.len()));
    for (row, name) in rows.iter().enumerate() {
        let cells: Vec<_> = (0..contenders.len()).map(|column| cell(row, column)).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }
}

fn cell(nanoseconds: f64, ratio: f64) -> String {
    let ratio = if ratio < 10.0 { format!(" ({ratio:.2}×)") } else { format!(" ({ratio:.0}×)") };
    match nanoseconds {
        0.0..1000.0 => number(nanoseconds, " ns") + &ratio,
        _ if nanoseconds.is_nan() => number(nanoseconds, ""),
        _ => format!("{:.1} µs{ratio}", nanoseconds / 1000.0),
    }
}

fn number(number: f64, unit: &str) -> String {
    if number.is_nan() { "–".to_owned() } else { format!("{number:.0}{unit}") }
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
