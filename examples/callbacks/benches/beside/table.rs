//! Takes samples of both sides in turn, and prints tables.

use std::process::{Command, Stdio};

use crate::{Result, Side, Work, sample};

const SIDES: [Side; 2] = [Side::ByHand, Side::Callbacks];

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn head(unit: &str) {
    println!("| {unit} | by hand | callbacks | ratio |\n|---|--:|--:|--:|");
}

/// Prints the CPU time for each operation. In each round, the two sides run one after the other. The table
/// shows the median time of each side, and the median of the rounds' ratios.
pub(crate) fn times(rounds: usize) -> Result<()> {
    head(&format!("CPU time, {rounds} rounds"));
    for work in Work::ALL {
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..rounds.max(1) {
            // Each side goes first as often as the other.
            for turn in 0..2 {
                let which = (round + turn) % 2;
                times[which].push(time(SIDES[which], work)?);
            }
        }
        let ratios = times[0].iter().zip(&times[1]).map(|(by_hand, ours)| ours / by_hand).collect();
        let [by_hand, ours] = times.map(median);
        let name = work.name();
        println!("| {name} | {by_hand:.0} ns | {ours:.0} ns | {:.3} |", median(ratios));
    }
    Ok(())
}

/// Takes one sample, and returns the nanoseconds for each operation.
fn time(side: Side, work: Work) -> Result<f64> {
    let operations = work.operations();
    let child = sample(&mut Command::new(std::env::current_exe()?), side, work, operations)?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err("a sample failed".into());
    }
    let nanoseconds: f64 = String::from_utf8(output.stdout)?.trim().parse()?;
    Ok(nanoseconds / operations as f64)
}

/// Prints the user-space instructions for each operation, as callgrind counts them. To exclude the setup,
/// subtracts the count of a run with half of the operations.
pub(crate) fn instructions() -> Result<()> {
    head("instructions");
    for work in Work::ALL {
        let mut counts = [0.0; 2];
        for (count, side) in counts.iter_mut().zip(SIDES) {
            let whole = work.operations();
            let half = whole / 2;
            let more = count_all(side, work, whole)? - count_all(side, work, half)?;
            *count = more / (whole - half) as f64;
        }
        let [by_hand, ours] = counts;
        println!("| {} | {by_hand:.0} | {ours:.0} | {:.2} |", work.name(), ours / by_hand);
    }
    Ok(())
}

fn count_all(side: Side, work: Work, operations: u64) -> Result<f64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(std::env::current_exe()?).stderr(Stdio::piped());
    let output = sample(&mut valgrind, side, work, operations)?.wait_with_output()?;
    let says = String::from_utf8_lossy(&output.stderr);
    let counted = says.lines().find_map(|line| line.split_once("Collected :"));
    match counted {
        Some((_, count)) if output.status.success() => Ok(count.trim().parse()?),
        _ => Err(format!("callgrind says: {says}").into()),
    }
}
