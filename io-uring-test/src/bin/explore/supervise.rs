//! Runs episodes in a child process, so that a crash or a hang counts as a difference like any
//! other.
//!
//! The child reports its position in memory that it shares with the parent. It ends at a
//! difference. Then each candidate for a shorter sequence runs in a child of its own.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use crate::episode::{self, Episode, Watch};
use crate::footprint;
use crate::model::Kernel;
use crate::step;

/// What to run.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) first: u64,
    pub(crate) episodes: u64,
    pub(crate) steps: u64,
    pub(crate) time: Duration,
    pub(crate) length: usize,
    /// How often to repeat an episode that runs alone, if it shows no difference.
    pub(crate) tries: u32,
}

/// The outcome of a run.
pub(crate) struct Outcome {
    pub(crate) episodes: u64,
    pub(crate) steps: [u64; step::KINDS],
    pub(crate) found: Option<Found>,
}

/// A difference.
pub(crate) struct Found {
    pub(crate) episode: u64,
    pub(crate) what: String,
}

/// The time limit of one step.
const HUNG: Duration = Duration::from_secs(8);
/// The time limit of one step for candidates of an episode that hung.
const HUNG_AGAIN: Duration = Duration::from_secs(2);
const TEXT: usize = 1 << 16;
/// The exit code of a child that panicked.
const PANICKED: i32 = 101;

/// The report of a child. All zeros is the initial state.
#[repr(C)]
struct Board {
    episode: AtomicU64,
    episodes: AtomicU64,
    steps: [AtomicU64; step::KINDS],
    /// The number of steps so far, which shows that the child makes progress.
    pulse: AtomicU64,
    /// The length of the text.
    len: AtomicU32,
    text: [u8; TEXT],
}

/// A report in memory that children share.
#[derive(Clone, Copy)]
struct Shared(NonNull<Board>);

impl Shared {
    fn new() -> Result<Self> {
        let (len, protection) = (size_of::<Board>(), ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: without an address hint, the kernel chooses unused addresses.
        let page =
            unsafe { mmap_anonymous(std::ptr::null_mut(), len, protection, MapFlags::SHARED) }?;
        Ok(Self(NonNull::new(page.cast()).context("the kernel mapped memory at address 0")?))
    }

    fn board(&self) -> &Board {
        // SAFETY: the mapping is as long as a board and is never unmapped. All zeros is a valid
        // board.
        unsafe { self.0.as_ref() }
    }

    /// Appends to the text.
    fn write(&mut self, text: &str) {
        let from = self.board().len.load(Ordering::Relaxed) as usize;
        let n = text.len().min(TEXT - from);
        // SAFETY: only the child writes the text while it runs, and the parent reads it only after
        // the child has ended.
        unsafe {
            (&raw mut (*self.0.as_ptr()).text).cast::<u8>().add(from).copy_from(text.as_ptr(), n)
        };
        self.board().len.store((from + n) as u32, Ordering::Release);
    }

    fn read(&self) -> String {
        let n = self.board().len.swap(0, Ordering::Acquire) as usize;
        String::from_utf8_lossy(&self.board().text[..n]).into_owned()
    }
}

/// How a child ended.
enum End {
    /// It exited with this code: 0 for a success, or 1 if it has written a difference.
    Exit(i32),
    Signal(i32),
    Hung,
}

/// The difference that is reported for a child that hung.
const NO_PROGRESS: &str = "a step hung: the process that ran it was killed";

impl End {
    /// The difference to report, if there is one. `written` is what the child has written.
    fn difference(self, written: impl FnOnce() -> String) -> Option<String> {
        match self {
            Self::Exit(0) => None,
            Self::Exit(1) => Some(written()),
            Self::Exit(PANICKED) => Some("a step panicked".into()),
            Self::Exit(code) => {
                Some(format!("the process that ran the episode exited with {code}"))
            }
            Self::Signal(signal) => {
                Some(format!("signal {signal} ended the process that ran the episode"))
            }
            Self::Hung => Some(NO_PROGRESS.into()),
        }
    }
}

/// Runs a closure in a child, which exits with the returned code. Kills the child if it makes no
/// progress.
fn in_child(
    shared: &mut Shared,
    patience: Duration,
    run: impl FnOnce(&mut Shared) -> i32,
) -> Result<End> {
    // SAFETY: this process has no other thread, and the child exits without returning.
    let pid = match unsafe { libc::fork() } {
        -1 => bail!("cannot fork"),
        0 => {
            let run = std::panic::AssertUnwindSafe(|| run(shared));
            let code = std::panic::catch_unwind(run).unwrap_or(PANICKED);
            // SAFETY: the child has no exit handlers that must run.
            unsafe { libc::_exit(code) }
        }
        pid => pid,
    };
    let (mut pulse, mut since) = (0, Instant::now());
    let mut pause = Duration::from_micros(50);
    loop {
        let mut status = 0;
        // SAFETY: the kernel writes to `status`, which is ours.
        if unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } == pid {
            return Ok(match libc::WIFSIGNALED(status) {
                true => End::Signal(libc::WTERMSIG(status)),
                false => End::Exit(libc::WEXITSTATUS(status)),
            });
        }
        let now = shared.board().pulse.load(Ordering::Relaxed);
        if now != pulse {
            (pulse, since) = (now, Instant::now());
        } else if since.elapsed() > patience {
            // SAFETY: the child is ours, and has not been waited for.
            unsafe {
                libc::kill(pid, libc::SIGKILL);
            }
            // A child that survives even this is stuck in the kernel.
            let end = Instant::now() + Duration::from_secs(5);
            while Instant::now() < end {
                // SAFETY: the kernel writes to `status`, which is ours.
                if unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } == pid {
                    return Ok(End::Hung);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            bail!("process {pid} did not end 5 seconds after SIGKILL: it is stuck in the kernel");
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

struct Pulse<'a> {
    patience: usize,
    board: &'a Board,
    /// Where lines go, if requested. They are written at once, so that a crash does not lose them.
    lines: Option<Shared>,
}

impl Watch for Pulse<'_> {
    fn step(&mut self, kind: usize) {
        let add =
            |word: &AtomicU64| word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        add(&self.board.steps[kind]);
        add(&self.board.pulse);
    }

    fn patience(&self) -> usize {
        self.patience
    }

    fn say(&mut self, line: &dyn Fn() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.write(&(line() + "\n"));
        }
    }
}

/// The episode with this number, as a tree that can be reduced.
fn draw(plan: &Plan, number: u64) -> Result<impl ValueTree<Value = Episode>> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&plan.seed.to_le_bytes());
    seed[8..16].copy_from_slice(&number.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner =
        TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng);
    match episode::strategy(plan.length).new_tree(&mut runner) {
        Ok(tree) => Ok(tree),
        Err(reason) => bail!("cannot draw the episode: {reason}"),
    }
}

/// Runs episodes until there is a difference, or until the requested number is reached.
pub(crate) fn run(kernel: &Kernel, plan: &Plan) -> Result<Outcome> {
    let mut shared = Shared::new()?;
    let end = in_child(&mut shared, HUNG, |shared| {
        let start = Instant::now();
        let (footprint, pinned) = (footprint::look(), footprint::pinned());
        for number in plan.first.. {
            shared.board().episode.store(number, Ordering::Relaxed);
            let done = number - plan.first;
            shared.board().episodes.store(done, Ordering::Relaxed);
            let steps = shared.board().pulse.load(Ordering::Relaxed);
            if done == plan.episodes || steps >= plan.steps || start.elapsed() > plan.time {
                break;
            }
            let Ok(tree) = draw(plan, number) else { return 102 };
            let episode = tree.current();
            drop(tree);
            let ran = episode::run(
                kernel,
                &episode,
                &mut Pulse { patience: 50_000, board: shared.board(), lines: None },
            );
            let whole = ran.and_then(|()| footprint::same(&footprint));
            if let Err(what) = whole {
                shared.write(&what);
                return 1;
            }
        }
        match footprint::same_pinned(&pinned) {
            Ok(()) => 0,
            Err(what) => {
                shared.write(&what);
                1
            }
        }
    })?;
    let board = shared.board();
    let what = end.difference(|| shared.read());
    Ok(Outcome {
        episodes: board.episodes.load(Ordering::Relaxed),
        steps: std::array::from_fn(|i| board.steps[i].load(Ordering::Relaxed)),
        found: what.map(|what| Found { episode: board.episode.load(Ordering::Relaxed), what }),
    })
}

/// The outcome of a candidate.
pub(crate) struct Trial {
    pub(crate) what: Option<String>,
    pub(crate) lines: String,
}

/// Runs an episode alone, repeatedly until it shows a difference.
fn try_several(
    kernel: &Kernel,
    shared: &mut Shared,
    episode: &Episode,
    patience: Duration,
    tries: u32,
) -> Result<Trial> {
    let mut trial = try_one(kernel, shared, episode, patience)?;
    for _ in 1..tries {
        if trial.what.is_some() {
            break;
        }
        trial = try_one(kernel, shared, episode, patience)?;
    }
    Ok(trial)
}

/// Runs the first episode alone.
pub(crate) fn alone(kernel: &Kernel, plan: &Plan) -> Result<(Episode, Trial)> {
    let episode = draw(plan, plan.first)?.current();
    let trial = try_several(kernel, &mut Shared::new()?, &episode, HUNG, plan.tries)?;
    Ok((episode, trial))
}

fn try_one(
    kernel: &Kernel,
    shared: &mut Shared,
    episode: &Episode,
    patience: Duration,
) -> Result<Trial> {
    let end = in_child(shared, patience, |shared| {
        let footprint = footprint::look();
        let mut watch = Pulse { patience: 6_000, board: shared.board(), lines: Some(*shared) };
        let ran = episode::run(kernel, episode, &mut watch);
        match ran.and_then(|()| footprint::same(&footprint)) {
            Ok(()) => 0,
            Err(what) => {
                shared.write(&format!("\u{1}{what}"));
                1
            }
        }
    })?;
    let text = shared.read();
    let (lines, what) = text.split_once('\u{1}').unwrap_or((&text, ""));
    Ok(Trial { what: end.difference(|| what.to_string()), lines: lines.to_string() })
}

/// The shortest sequence found that still shows a difference.
pub(crate) struct Shortest {
    pub(crate) episode: Episode,
    pub(crate) what: String,
    pub(crate) lines: String,
}

pub(crate) fn shrink(kernel: &Kernel, plan: &Plan, found: &Found) -> Result<Shortest> {
    let mut shared = Shared::new()?;
    let mut tree = draw(plan, found.episode)?;
    let patience = if found.what == NO_PROGRESS { HUNG_AGAIN } else { HUNG };
    let mut best = None;
    let end = Instant::now() + Duration::from_secs(50);
    let mut candidate = tree.current();
    loop {
        let trial = try_several(kernel, &mut shared, &candidate, patience, plan.tries)?;
        let fails = trial.what.is_some();
        if let Some(what) = trial.what {
            best = Some(Shortest { episode: candidate, what, lines: trial.lines });
        }
        let smaller = if fails { tree.simplify() } else { best.is_some() && tree.complicate() };
        if !smaller || Instant::now() > end {
            break;
        }
        candidate = tree.current();
    }
    best.context(
        "the episode shows no difference when it runs alone: it depends on earlier episodes",
    )
}
