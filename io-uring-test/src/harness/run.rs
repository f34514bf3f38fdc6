//! Runs cases one after the other, and prints how each ended.

use std::collections::BTreeMap;
use std::hint;
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};
use rustix_uring::{Errno, SetupFlags};

use super::case::{Case, Run};
use super::coverage::{Coverage, check};
use super::files::descriptors;
use super::kind::KINDS;
use super::outcome::{Result, State};
use super::ring::{Kind, Ring};
use super::setup::{Setup, refusal, with};
use super::submitted;

/// The number of cases for each outcome.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

impl Totals {
    pub(crate) fn print(self) {
        let Self { passed, failed, skipped } = self;
        println!("{passed} passed, {failed} failed, {skipped} skipped");
    }
}

/// The outcome of a case that did not fail.
enum End {
    Passed { kinds: Option<usize> },
    Skipped { reason: String },
}

/// Runs the cases and prints the outcome of each. `limit` is the time limit for each of its runs.
pub(crate) fn run<'c>(
    cases: impl Iterator<Item = (String, &'c Case)>,
    limit: Duration,
) -> (Totals, Coverage) {
    catch_panics();
    let totals = Arc::new(Mutex::new(Totals::default()));
    let watchdog = watchdog(limit, Arc::clone(&totals));
    let mut coverage = Coverage::default();
    for (name, case) in cases {
        let end = run_case(&name, case, &watchdog);
        let mut totals = lock(&totals);
        let state = match end {
            Ok(End::Passed { kinds }) => {
                totals.passed += 1;
                match kinds {
                    None => println!("ok   {name}"),
                    Some(1) => println!("ok   {name} (1 kind)"),
                    Some(n) => println!("ok   {name} ({n} kinds)"),
                }
                State::Passed
            }
            Ok(End::Skipped { reason }) => {
                totals.skipped += 1;
                println!("skip {name}: {reason}");
                State::Skipped { reason }
            }
            Err(cause) => {
                totals.failed += 1;
                println!("FAIL {name}: {cause:#}");
                State::Failed { cause: format!("{cause:#}") }
            }
        };
        coverage.add(&name, case.needs, &state);
    }
    let totals = *lock(&totals);
    (totals, coverage)
}

fn run_case(name: &str, case: &Case, watchdog: &Watchdog) -> Result<End> {
    for need in case.needs {
        if let Some(reason) = watchdog.run(name, || need.missing())? {
            return Ok(End::Skipped { reason });
        }
    }
    submitted::begin();
    match case.run {
        Run::Once(run) => {
            watchdog.run(name, run)?;
            Ok(End::Passed { kinds: None })
        }
        Run::Kind(kind, run) => match watchdog.run(name, || run_on(kind, &Setup::USUAL, run))? {
            None => Ok(End::Passed { kinds: None }),
            Some(refusal) => {
                Ok(End::Skipped { reason: format!("setup {}: {refusal}", with(kind.flags)) })
            }
        },
        Run::Kinds(setup, run) => {
            let (mut kinds, mut failures) = (0, Vec::new());
            for kind in KINDS {
                let ran = watchdog.run(&format!("{name} on {}", kind.name), || {
                    let refusal = run_on(kind, &setup, run)?;
                    if refusal.is_none() {
                        check(case.needs)?;
                    }
                    Ok(refusal)
                });
                match ran {
                    Ok(None) => kinds += 1,
                    Ok(Some(_)) => {}
                    Err(cause) => failures.push((format!("{cause:#}"), kind.name)),
                }
            }
            match (&failures[..], kinds) {
                ([], 0) => Ok(End::Skipped {
                    reason: format!("setup {setup}: EINVAL on every kind of ring"),
                }),
                ([], n) => Ok(End::Passed { kinds: Some(n) }),
                _ => Err(by_cause(&failures)),
            }
        }
    }
}

/// Combines several errors into one that names each cause once, with the kinds where it occurred.
fn by_cause(failures: &[(String, &str)]) -> anyhow::Error {
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (cause, kind) in failures {
        kinds.entry(cause).or_default().push(kind);
    }
    let each = kinds.iter().map(|(cause, kinds)| format!("on {}: {cause}", kinds.join(", ")));
    anyhow!(each.collect::<Vec<_>>().join("; "))
}

/// Runs a case on a fresh ring, or returns the errno with which the kernel rejects such a ring.
fn run_on(
    kind: &'static Kind,
    setup: &Setup,
    run: fn(&mut dyn Ring) -> Result,
) -> Result<Option<Errno>> {
    if let Some(refusal) = refusal(kind.flags.union(setup.flags))? {
        return Ok(Some(refusal));
    }
    let ring = kind.build(setup);
    let mut ring = ring.with_context(|| format!("setting up a ring {setup}"))?;
    run(&mut *ring)?;
    nothing_left(&mut *ring)?;
    Ok(None)
}

/// Checks that no entry is queued, and that the case has seen every completion.
fn nothing_left(ring: &mut dyn Ring) -> Result {
    ring.submitter().get_events().ok();
    if ring.params().setup_flags().contains(SetupFlags::SQPOLL) {
        // The SQPOLL thread releases slots only after it posts their completions.
        let start = Instant::now();
        while !ring.queue().is_empty() && start.elapsed() < Duration::from_secs(1) {
            thread::yield_now();
        }
    }
    let queued = ring.queue().len();
    let completed = ring.reap();
    ensure!(queued == 0, "the case left {queued} entries in the submission queue");
    ensure!(completed.is_empty(), "the case left completions behind: {completed:?}");
    Ok(())
}

/// Ends the program if a case hangs.
struct Watchdog {
    /// The name of each run that begins, and `None` when it ends.
    events: Sender<Option<String>>,
}

fn watchdog(limit: Duration, totals: Arc<Mutex<Totals>>) -> Watchdog {
    let (events, running) = mpsc::channel::<Option<String>>();
    let (ready, started) = mpsc::channel();
    thread::spawn(move || {
        // Makes glibc allocate the memory of this thread before any case measures the footprint.
        drop(hint::black_box(Box::new(0)));
        let _ = ready.send(());
        while let Ok(Some(name)) = running.recv() {
            if let Err(RecvTimeoutError::Timeout) = running.recv_timeout(limit) {
                println!("FAIL {name}: did not finish within {} s", limit.as_secs());
                let mut totals = *lock(&totals);
                totals.failed += 1;
                totals.print();
                process::exit(1);
            }
        }
    });
    let _ = started.recv();
    Watchdog { events }
}

impl Watchdog {
    /// Runs a closure under the watchdog. A panic is an error, and so is a descriptor left open.
    fn run<T>(&self, name: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
        self.events.send(Some(name.to_owned()))?;
        lock(&PANICS).clear();
        let before = descriptors()?;
        let ran = panic::catch_unwind(AssertUnwindSafe(run));
        let after = descriptors()?;
        self.events.send(None)?;
        let Ok(ran) = ran else { bail!(lock(&PANICS).join("; ")) };
        let ran = ran?;
        ensure!(
            before == after,
            "{before} descriptors were open before the case, {after} after it"
        );
        Ok(ran)
    }
}

/// The messages of panics, including those in threads of the case.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn catch_panics() {
    panic::set_hook(Box::new(|info| {
        let (said, at) = (info.payload(), info.location());
        let said = said.downcast_ref::<&str>().copied();
        let said = said.or_else(|| info.payload().downcast_ref::<String>().map(String::as_str));
        let at = at.map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        lock(&PANICS).push(format!("{}{at}", said.unwrap_or("panicked")));
    }));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
