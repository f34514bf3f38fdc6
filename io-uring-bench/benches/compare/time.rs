//! Measures time: all columns of a row in turn, over many rounds, in one process.
//!
//! The speed of a machine varies from second to second. Within a round, the columns run directly
//! after each other, so that their ratios are more reliable than their times.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::peer::{Column, IDLE, OURS, is_peer};
use crate::row::Row;

/// The time limits of a row.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// The number of rounds after which new rings are created: the placement of memory changes some
    /// rows by a factor of two.
    pub(crate) rounds_per_ring: usize,
    /// The minimum time of one column in one round.
    pub(crate) sample: Duration,
    /// The time after which no further round starts, once there were three.
    pub(crate) limit: Duration,
}

/// The quartiles over all rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quartiles {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Quartiles {
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |quarter| values[(values.len() - 1) * quarter / 4];
        Self { low: at(1), median: at(2), high: at(3) }
    }
}

pub(crate) struct Timed {
    pub(crate) name: String,
    pub(crate) columns: Vec<(Column, Result<Time, String>)>,
    /// Our crate as a multiple of each other column.
    pub(crate) to_peers: Vec<(Column, Result<Quartiles, String>)>,
}

pub(crate) struct Time {
    /// Nanoseconds per operation.
    pub(crate) nanoseconds: f64,
    /// Time as a multiple of the first available column of the row.
    pub(crate) ratio: Quartiles,
}

pub(crate) fn measure(row: &Row, effort: Effort) -> Timed {
    let mut columns = (row.make)();
    let iterations = iterations(&mut columns, effort.sample);
    let mut samples = vec![Vec::with_capacity(effort.rounds); columns.len()];
    let start = Instant::now();
    for round in 0..effort.rounds {
        if round >= 3 && start.elapsed() > effort.limit {
            break;
        }
        if round % effort.rounds_per_ring == 0 && round > 0 {
            columns.clear();
            columns = (row.make)();
        }
        // Each round starts with another column, so that the preceding column varies.
        for turn in 0..columns.len() {
            let i = (round + turn) % columns.len();
            let Ok(run) = &mut columns[i].1 else { continue };
            if row.polled {
                // Otherwise the SQPOLL thread of the previous column would take CPU time from this
                // one.
                sleep(Duration::from_millis(u64::from(2 * IDLE)));
            }
            run();
            let start = Instant::now();
            for _ in 0..iterations {
                run();
            }
            samples[i].push(start.elapsed().as_nanos() as f64 / (iterations * row.ops) as f64);
        }
    }
    let ratios =
        |of: &[f64], to: &[f64]| Quartiles::of(of.iter().zip(to).map(|(of, to)| of / to).collect());
    let base = samples.iter().find(|samples| !samples.is_empty()).map_or(&[][..], Vec::as_slice);
    let times = columns.iter().zip(&samples).map(|((column, made), own)| {
        let time = match made {
            Ok(_) => Ok(Time {
                nanoseconds: Quartiles::of(own.clone()).median,
                ratio: ratios(own, base),
            }),
            Err(reason) => Err(reason.clone()),
        };
        (*column, time)
    });
    let times: Vec<_> = times.collect();
    let ours = times.iter().position(|(column, time)| *column == OURS && time.is_ok());
    let peers = times.iter().zip(&samples).filter(|((column, _), _)| is_peer(column));
    let to_peers = ours.map_or_else(Vec::new, |ours| {
        let ratio = |time: &Result<Time, String>, theirs: &[f64]| match time {
            Ok(_) => Ok(ratios(&samples[ours], theirs)),
            Err(reason) => Err(reason.clone()),
        };
        peers.map(|((column, time), theirs)| (*column, ratio(time, theirs))).collect()
    });
    Timed { name: row.name.clone(), columns: times, to_peers }
}

/// The number of runs of the first available column that fill a sample.
fn iterations(columns: &mut [(Column, crate::row::Made)], sample: Duration) -> u64 {
    let Some(run) = columns.iter_mut().find_map(|(_, made)| made.as_mut().ok()) else { return 1 };
    let mut iterations = 1;
    loop {
        let start = Instant::now();
        for _ in 0..iterations {
            run();
        }
        if start.elapsed() >= sample {
            return iterations;
        }
        iterations *= 2;
    }
}
