//! Counts instructions, loads and stores with valgrind's callgrind.
//!
//! The benchmark runs itself under callgrind, once for all rows, and dumps the counts after each
//! run.

use std::collections::VecDeque;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::peer::Column;
use crate::row::Row;

/// The name of the function inside which callgrind counts.
const MEASURED: &str = "io_uring_bench_measured";

#[inline(never)]
#[unsafe(export_name = "io_uring_bench_measured")]
fn measured(run: &mut dyn FnMut()) {
    run();
}

/// Counts per operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) instructions: f64,
    pub(crate) loads: f64,
    pub(crate) stores: f64,
}

pub(crate) struct Counted {
    pub(crate) name: String,
    pub(crate) columns: Vec<(Column, Result<Count, String>)>,
}

pub(crate) fn valgrind() -> anyhow::Result<String> {
    let version = Command::new("valgrind").arg("--version").output();
    let version = version.context(
        "instructions are not counted, because valgrind is not installed (Debian: apt-get install valgrind)",
    )?;
    Ok(String::from_utf8_lossy(&version.stdout).trim().into())
}

/// The work of the benchmark under callgrind: runs each column of each row twice, and counts the
/// second run. Prints what it ran to standard output.
pub(crate) fn under_callgrind(rows: &[Row]) {
    for row in rows {
        for (column, made) in (row.make)() {
            match made {
                Ok(mut run) => {
                    // Excludes one-time work such as symbol lookup from the count.
                    run();
                    measured(&mut *run);
                    println!("{}\t{column}\t{}\t", row.name, row.ops);
                }
                Err(reason) => println!("{}\t{column}\t0\t{reason}", row.name),
            }
        }
    }
}

/// Counts the rows. `arguments` select the same rows in the other run of the benchmark.
pub(crate) fn count(arguments: &[String]) -> anyhow::Result<Vec<Counted>> {
    let scratch = tempfile::tempdir()?;
    let dump = scratch.path().join("counts");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--cache-sim=yes", "--combine-dumps=yes", "--quiet"])
        .arg(format!("--toggle-collect={MEASURED}"))
        .arg(format!("--dump-after={MEASURED}"))
        .arg(format!("--callgrind-out-file={}", dump.display()))
        .arg(std::env::current_exe()?)
        .arg("--under-callgrind")
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind: {}\n{errors}", output.status);
    let dump = fs::read_to_string(dump).context("valgrind wrote no dump")?;
    assign(&String::from_utf8(output.stdout)?, parts(&dump)?)
}

/// The sums of the parts of a dump, one part for each counted run.
fn parts(dump: &str) -> anyhow::Result<VecDeque<Count>> {
    let mut events = Vec::new();
    let mut counts = VecDeque::new();
    let mut after_measured = false;
    for line in dump.lines() {
        if let Some(trigger) = line.strip_prefix("desc: Trigger: ") {
            after_measured = trigger.contains(MEASURED);
        } else if let Some(names) = line.strip_prefix("events: ") {
            events = names.split_whitespace().collect();
        } else if let Some(sums) = line.strip_prefix("summary: ").filter(|_| after_measured) {
            let sums = sums.split_whitespace().map(str::parse);
            let sums: Vec<f64> = sums.collect::<Result<_, _>>()?;
            let sum = |event| {
                let position = events.iter().position(|name| *name == event);
                position.and_then(|i| sums.get(i)).copied().unwrap_or(0.0)
            };
            counts.push_back(Count {
                instructions: sum("Ir"),
                loads: sum("Dr"),
                stores: sum("Dw"),
            });
        }
    }
    Ok(counts)
}

/// Assigns a count to each line that the other run printed.
fn assign(lines: &str, mut counts: VecDeque<Count>) -> anyhow::Result<Vec<Counted>> {
    let mut rows: Vec<Counted> = Vec::new();
    for line in lines.lines() {
        let fields: Vec<_> = line.split('\t').collect();
        let [name, column, ops, reason] = fields[..] else { bail!("not a row: {line}") };
        let count = if reason.is_empty() {
            let ops: f64 = ops.parse()?;
            let Count { instructions, loads, stores } =
                counts.pop_front().context("the dump of valgrind has too few parts")?;
            ensure!(instructions > 0.0, "the instruction count of {name}, {column} is 0");
            Ok(Count { instructions: instructions / ops, loads: loads / ops, stores: stores / ops })
        } else {
            Err(reason.into())
        };
        if rows.last().is_none_or(|row| row.name != name) {
            rows.push(Counted { name: name.into(), columns: Vec::new() });
        }
        let column: Column = column.to_owned().leak();
        rows.last_mut().expect("one was pushed").columns.push((column, count));
    }
    ensure!(counts.is_empty(), "the dump of valgrind has too many parts");
    Ok(rows)
}
