//! Instructions instead of nanoseconds: callgrind counts those of a contender's process.

use std::process::Command;
use std::{env, fs, hint};

use anyhow::{Context, Result, ensure};

use crate::figures;

/// Tells a contender's process that it is counted.
const COUNTED: &str = "FIGURES_COUNTED";

/// Runs a contender under callgrind, and returns how many instructions it takes for one operation of each
/// row.
pub(crate) fn instructions(name: &str, rows: usize) -> Result<Vec<f64>> {
    ensure!(cfg!(feature = "count"), "`--count` requires `--features count`");
    let dir = tempfile::tempdir()?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args([
        "--tool=callgrind",
        "--zero-before=*count::begin*",
        "--dump-before=*count::end*",
    ]);
    valgrind.arg(format!("--callgrind-out-file={}", dir.path().join("counts").display()));
    valgrind.arg(env::current_exe()?).env(COUNTED, "1");
    let counts = figures(&mut valgrind, name, rows)?;
    // The dumps have consecutive numbers, one for each row that the contender has.
    let mut dumps = 1..;
    let per_operation = |count: f64| {
        if count.is_nan() {
            return Ok(count);
        }
        let dump = format!("counts.{}", dumps.next().expect("it is endless"));
        let dump = fs::read_to_string(dir.path().join(dump)).context("a row is not counted")?;
        let total = dump.lines().find_map(|line| line.strip_prefix("totals: "));
        Ok(total.context("callgrind counts nothing")?.trim().parse::<f64>()? / count)
    };
    counts.into_iter().map(per_operation).collect()
}

/// Returns whether this process is counted. Then it returns the number of operations for each row, instead of
/// the figure.
pub(crate) fn is_on() -> bool {
    env::var_os(COUNTED).is_some()
}

/// Lets callgrind count the instructions of `measured`.
pub(crate) fn count<T>(measured: impl FnOnce() -> T) -> T {
    begin();
    let result = measured();
    end();
    result
}

// Callgrind knows these functions by their names, so they must differ and exist.

#[inline(never)]
fn begin() {
    hint::black_box("begin");
}

#[inline(never)]
fn end() {
    hint::black_box("end");
}
