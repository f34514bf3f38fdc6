//! The recorded instruction counts, which a run must not exceed.

use std::fmt::Write;

use anyhow::bail;

use crate::count::Counted;
use crate::peer::{Column, OURS, OURS_IN_BULK, is_peer};

/// The tolerated excess over the recorded count: other compiler versions arrange the same code
/// differently.
const TOLERANCE: f64 = 0.10;

/// Instructions per operation on x86_64, in a release build by Rust 1.95.
const RECORDED: &[(&str, Column, f64)] = &[
    ("push/Nop/in a batch", OURS, 16.5),
    ("push/Read/in a batch", OURS, 19.5),
    ("push/Send/in a batch", OURS, 19.5),
    ("push/Timeout/in a batch", OURS, 17.5),
    ("push/Nop/in a batch", OURS_IN_BULK, 12.6),
    ("push/Read/in a batch", OURS_IN_BULK, 15.6),
    ("push/Send/in a batch", OURS_IN_BULK, 15.6),
    ("push/Timeout/in a batch", OURS_IN_BULK, 13.5),
    ("push/Nop/one per call", OURS, 35.3),
    ("push/Read/one per call", OURS, 40.4),
    ("push/Send/one per call", OURS, 40.4),
    ("push/Timeout/one per call", OURS, 38.3),
    ("push/Nop/built behind a call", OURS, 29.6),
    ("push/Read/built behind a call", OURS, 31.6),
    ("push/Send/built behind a call", OURS, 31.6),
    ("push/Timeout/built behind a call", OURS, 31.6),
    ("reap", OURS, 7.8),
    ("reap", OURS_IN_BULK, 4.2),
    ("reap/one per view", OURS, 11.7),
    ("nop/plain/1, views kept", OURS, 73.9),
    ("nop/plain/1", OURS, 58.9),
    ("nop/plain/128", OURS, 21.8),
    ("nop/plain/128", OURS_IN_BULK, 16.3),
];

/// Compares the counts with the recorded ones, and pushes in batches with those of the peers.
pub(crate) fn check(rows: &[Counted]) -> anyhow::Result<String> {
    if !cfg!(target_arch = "x86_64") {
        return Ok(
            "Instruction counts are recorded for x86_64 only, so they were not checked.".into()
        );
    }
    let mut faults = String::new();
    for &(name, column, recorded) in RECORDED {
        match instructions(rows, name, column) {
            Some(counted) if counted <= recorded * (1.0 + TOLERANCE) => {}
            Some(counted) => {
                writeln!(faults, "{name}, {column}: {counted:.1} instructions, not {recorded:.1}")?;
            }
            None => writeln!(faults, "{name}, {column}: not counted")?,
        }
    }
    for row in rows.iter().filter(|row| row.name.ends_with("in a batch")) {
        let Some(ours) = instructions(rows, &row.name, OURS) else { continue };
        for (column, count) in &row.columns {
            match count {
                Ok(count) if is_peer(column) && ours > count.instructions + 0.1 => {
                    let peers = count.instructions;
                    writeln!(faults, "{}: {ours:.1} instructions, {column}: {peers:.1}", row.name)?;
                }
                _ => {}
            }
        }
    }
    if !faults.is_empty() {
        bail!(
            "instruction counts exceed the recorded ones by more than {:.0} %:\n{faults}",
            TOLERANCE * 100.0
        );
    }
    let n = RECORDED.len();
    Ok(format!(
        "All {n} instruction counts are as recorded (tolerance {:.0} %), and no peer pushes a batch with fewer instructions.",
        TOLERANCE * 100.0
    ))
}

fn instructions(rows: &[Counted], name: &str, column: Column) -> Option<f64> {
    let row = rows.iter().find(|row| row.name == name)?;
    let (_, count) = row.columns.iter().find(|(other, _)| *other == column)?;
    count.as_ref().ok().map(|count| count.instructions)
}
