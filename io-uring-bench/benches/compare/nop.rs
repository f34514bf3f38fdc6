//! NOPs through the kernel: push, submit, wait, reap.

use std::hint::{black_box, spin_loop};
use std::thread::yield_now;

use crate::peer::{Everything, Nop, OursInBulk, Peer, Setup, each_peer};
use crate::queues::with_bulk;
use crate::row::{Figures, Made, Row};

const ENTRIES: u32 = 128;
const BATCHES: [u64; 4] = [1, 8, 32, 128];
/// The number of round trips in a run.
const ROUNDS: u64 = 16;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for setup in [Setup::PLAIN].into_iter().chain(Setup::EACH).chain([Setup::ALL]) {
        let figures =
            if setup.name == Setup::PLAIN.name { Figures::CountsAndTimes } else { Figures::Times };
        rows.push(Row {
            name: format!("nop/{}/1, views kept", setup.name),
            ops: ROUNDS,
            figures,
            polled: false,
            make: Box::new(move || each_peer!(P => split::<P>(setup))),
        });
        for n in BATCHES {
            rows.push(Row {
                name: format!("nop/{}/{n}", setup.name),
                ops: n * ROUNDS,
                figures,
                polled: false,
                make: Box::new(move || {
                    let columns = each_peer!(P => round_trip::<P>(setup, n));
                    if n == 1 {
                        return columns;
                    }
                    with_bulk(columns, round_trip::<OursInBulk>(setup, n))
                }),
            });
        }
    }
    for n in BATCHES {
        rows.push(Row {
            name: format!("nop/SQPOLL/{n}"),
            ops: n * ROUNDS,
            figures: Figures::Times,
            polled: true,
            make: Box::new(move || each_peer!(P => polled::<P>(n))),
        });
    }
    rows
}

fn round_trip<P: Everything>(setup: Setup, n: u64) -> Made {
    if setup.registered { case::<P::Registered>(setup, n) } else { case::<P>(setup, n) }
}

fn case<P: Everything>(setup: Setup, n: u64) -> Made {
    let mut ring = P::ring(&setup, ENTRIES)?;
    check(batches::<P>(&mut ring, 1, n), n)?;
    Ok(if n == 1 {
        Box::new(move || {
            black_box(lone::<P>(&mut ring, black_box(ROUNDS)));
        })
    } else {
        Box::new(move || {
            black_box(batches::<P>(&mut ring, black_box(ROUNDS), black_box(n)));
        })
    })
}

fn check(sum: u64, n: u64) -> Result<(), String> {
    if sum == n * (n + 1) / 2 { Ok(()) } else { Err(format!("wrong completions: a sum of {sum}")) }
}

#[inline(never)]
fn lone<P: Everything>(ring: &mut P::Ring, rounds: u64) -> u64 {
    let mut sum = 0u64;
    for i in 0..rounds {
        P::push(&mut P::queue(ring), Nop, i);
        P::submit_and_wait(ring, 1);
        sum = sum.wrapping_add(P::reap_one(ring));
    }
    sum
}

#[inline(never)]
fn batches<P: Everything>(ring: &mut P::Ring, rounds: u64, n: u64) -> u64 {
    let mut sum = 0u64;
    for _ in 0..rounds {
        P::push_each(&mut P::queue(ring), n, |_| Nop);
        P::submit_and_wait(ring, n as usize);
        P::reap(ring, |user_data, _| sum = sum.wrapping_add(user_data + 1));
    }
    sum
}

fn split<P: Everything>(setup: Setup) -> Made {
    if setup.registered { split_case::<P::Registered>(setup) } else { split_case::<P>(setup) }
}

/// The alternative for crates without views.
fn split_case<P: Everything>(setup: Setup) -> Made {
    let mut ring = P::ring(&setup, ENTRIES)?;
    Ok(Box::new(move || {
        black_box(kept::<P>(&mut ring, black_box(ROUNDS)));
    }))
}

#[inline(never)]
fn kept<P: Everything>(ring: &mut P::Ring, rounds: u64) -> u64 {
    match P::split_round_trips(ring, rounds) {
        Some(sum) => sum,
        None => lone::<P>(ring, rounds),
    }
}

fn polled<P: Everything>(n: u64) -> Made {
    // The kernel thread posts completions before it advances the submission head, so the queue has
    // room for two batches.
    let mut ring = P::ring(&Setup::SQPOLL, 2 * ENTRIES)?;
    check(polled_batches::<P>(&mut ring, 1, n), n)?;
    Ok(Box::new(move || {
        black_box(polled_batches::<P>(&mut ring, black_box(ROUNDS), black_box(n)));
    }))
}

/// Submits without a system call while the kernel's thread is awake, and spins until the operations
/// complete.
#[inline(never)]
fn polled_batches<P: Everything>(ring: &mut P::Ring, rounds: u64, n: u64) -> u64 {
    let mut sum = 0u64;
    for _ in 0..rounds {
        P::push_each(&mut P::queue(ring), n, |_| Nop);
        P::submit(ring);
        let (mut reaped, mut spins) = (0, 0u32);
        while reaped < n {
            P::reap(ring, |user_data, _| {
                sum = sum.wrapping_add(user_data + 1);
                reaped += 1;
            });
            spins += 1;
            if spins % 1024 == 0 {
                // The thread may be waiting for this CPU.
                yield_now();
            }
            spin_loop();
        }
    }
    sum
}

/// Setup and teardown of rings.
pub(crate) fn setup_rows() -> Vec<Row> {
    [8, 256, 4096]
        .map(|entries| Row {
            name: format!("setup/{entries} entries"),
            ops: 1,
            figures: Figures::Times,
            polled: false,
            make: Box::new(move || each_peer!(P => setup_case::<P>(entries))),
        })
        .into()
}

fn setup_case<P: Peer>(entries: u32) -> Made {
    drop(P::ring(&Setup::PLAIN, entries)?);
    Ok(Box::new(move || {
        drop(black_box(
            P::ring(&Setup::PLAIN, black_box(entries)).expect("cannot set up the ring again"),
        ));
    }))
}

/// Describes the ring that `build_local` creates on this kernel.
pub(crate) fn describe_local() -> anyhow::Result<String> {
    let ring = <rustix_uring::IoUring>::builder().build_local(ENTRIES)?;
    Ok(format!(
        "`build_local` on this kernel: {:?}, registered index {:?}",
        ring.params().setup_flags(),
        ring.registered_index()
    ))
}
