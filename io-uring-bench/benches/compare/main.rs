//! Compares rustix-uring with its peers and a hand-written floor, on the same work.
//!
//! ```sh
//! cargo bench --package io-uring-bench                        # everything, in minutes
//! cargo bench --package io-uring-bench -- --quick push nop    # two parts, in seconds
//! cargo bench --package io-uring-bench --features liburing    # with a column for liburing
//! ```

mod chart;
mod check;
mod count;
mod echo;
mod mock;
mod nop;
mod peer;
mod queues;
mod read;
mod report;
mod row;
mod time;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::Parser;

use row::{Figures, Row};

/// Compares rustix-uring with its peers and a hand-written floor, on the same work.
#[derive(Parser)]
struct Arguments {
    /// Run only rows whose names begin with one of these: `push`, `reap`, `nop/plain`, `setup`,
    /// `read`, `echo/50`, …
    rows: Vec<String>,
    /// Finish within a minute: fewer and shorter rounds, and so less precise times.
    #[arg(long)]
    quick: bool,
    /// Only list the names of the rows.
    #[arg(long)]
    list: bool,
    /// Only count instructions, loads and stores.
    #[arg(long)]
    counts: bool,
    /// Fail if instruction counts exceed the recorded ones.
    #[arg(long)]
    check: bool,
    /// Set when the benchmark runs itself under callgrind.
    #[arg(long, hide = true)]
    under_callgrind: bool,
    /// Passed by cargo, and ignored.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn wants(&self, name: &str) -> bool {
        self.rows.is_empty() || self.rows.iter().any(|start| name.starts_with(start))
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut rows = queues::rows();
    rows.extend(nop::rows());
    rows.extend(nop::setup_rows());
    rows.extend(read::rows());
    rows.retain(|row| arguments.wants(&row.name));
    let mut echoes = echo::rows();
    echoes.retain(|row| arguments.wants(&row.name));

    if arguments.list {
        let names = rows.iter().map(|row| &row.name).chain(echoes.iter().map(|row| &row.name));
        names.for_each(|name| println!("{name}"));
        return Ok(());
    }
    if arguments.under_callgrind {
        rows.retain(|row| row.figures == Figures::CountsAndTimes);
        count::under_callgrind(&rows);
        return Ok(());
    }
    queues::compare_entries()?;
    println!("{}\n", machine());
    println!("{}\n", nop::describe_local()?);
    peer::NO_LIBURING.iter().for_each(|reason| println!("{reason}\n"));

    let counts = counts(&arguments, &rows)?;
    if arguments.counts {
        return Ok(());
    }
    let times = times(&rows, arguments.quick);
    echo(&echoes, arguments.quick)?;
    let chart = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("io-uring-bench.svg");
    chart::draw(&chart, &counts, &times)?;
    if chart.exists() {
        println!("Chart written to {}", chart.display());
    }
    Ok(())
}

fn counts(arguments: &Arguments, rows: &[Row]) -> anyhow::Result<Vec<count::Counted>> {
    if !rows.iter().any(|row| row.figures == Figures::CountsAndTimes) {
        return Ok(Vec::new());
    }
    let version = match count::valgrind() {
        Err(reason) if !arguments.check => {
            println!("{reason}\n");
            return Ok(Vec::new());
        }
        version => version?,
    };
    let counts = count::count(&arguments.rows)?;
    println!("Instructions (loads, stores) per operation, loop included; {version}\n");
    println!("{}\n", report::counts(&counts));
    if arguments.check {
        println!("{}\n", check::check(&counts)?);
    }
    Ok(counts)
}

fn times(rows: &[Row], quick: bool) -> Vec<time::Timed> {
    // Short samples reduce the number that contain a context switch.
    let (rounds, sample, limit) = if quick { (11, 50, 500) } else { (101, 200, 4000) };
    let effort = time::Effort {
        rounds,
        rounds_per_ring: 5,
        sample: Duration::from_micros(sample),
        limit: Duration::from_millis(limit),
    };
    let times: Vec<_> = rows.iter().map(|row| time::measure(row, effort)).collect();
    if !times.is_empty() {
        println!(
            "Time of an operation, and as a multiple of by hand: medians [and quartiles] of up to {} \
             interleaved rounds\n\n{}\n",
            effort.rounds,
            report::times(&times)
        );
        println!("rustix-uring as a multiple of each peer\n\n{}\n", report::to_peers(&times));
    }
    times
}

fn echo(rows: &[echo::Row], quick: bool) -> anyhow::Result<()> {
    let effort = if quick {
        echo::Effort { rounds: 1, sample: Duration::from_millis(20) }
    } else {
        echo::Effort { rounds: 7, sample: Duration::from_millis(150) }
    };
    let rows = rows.iter().map(|row| echo::measure(row, effort)).collect::<Result<Vec<_>, _>>()?;
    if !rows.is_empty() {
        println!(
            "Echo: requests · processor time of the server per request (as a multiple of epoll's) \
             · system calls per request; medians of {} interleaved rounds\n\n{}\n",
            effort.rounds,
            report::echoes(&rows)
        );
    }
    Ok(())
}

/// The machine, the versions and the command of this run.
fn machine() -> String {
    let uname = rustix::system::uname();
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names = cpus.lines().filter_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cpu = names.map(|(_, name)| name).next().unwrap_or("an unknown processor");
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let features = if cfg!(feature = "liburing") { " --features liburing" } else { "" };
    let arguments: Vec<_> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    format!(
        "{cpu}, {} processors; Linux {} {}; {}\ncargo bench --package io-uring-bench{features} -- {}",
        std::thread::available_parallelism().map_or(1, usize::from),
        uname.release().to_string_lossy(),
        uname.machine().to_string_lossy(),
        rustc.unwrap_or_else(|_| "an unknown rustc".into()),
        arguments.join(" ")
    )
}
