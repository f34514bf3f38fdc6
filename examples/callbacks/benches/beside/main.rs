//! Compares the runtime with loops that are written by hand on `rustix-uring`: CPU time and user-space
//! instructions for each operation.
//!
//! ```sh
//! cargo bench -p callbacks                   # CPU time, in a minute
//! cargo bench -p callbacks -- --rounds 51    # more rounds
//! cargo bench -p callbacks -- --count        # instructions, by valgrind
//! ```
//!
//! The two sides alternate. Each sample is a process with its own ring, and the clients of the echo are
//! another process. The benchmark measures the CPU time of the sample's process, in user space and in the
//! kernel, without its setup. Other processes do not add to it, however busy the machine is.

mod by_hand;
#[path = "../../examples/callbacks/echo.rs"]
mod echo;
mod load;
mod table;
mod through_callbacks;

use std::env;
use std::error::Error;
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use callbacks::Ring;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The number of bytes in one read.
pub(crate) const BLOCK: usize = 4096;
/// The number of blocks in the file. The file stays in the page cache.
const BLOCKS: u64 = 256;

/// The offsets of the reads: they visit all blocks in a non-sequential order, then start again.
pub(crate) struct Offsets(u64);

impl Offsets {
    pub(crate) fn new() -> Self {
        Self(0)
    }

    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = (self.0 + 77) % BLOCKS;
        self.0 * BLOCK as u64
    }
}

/// Allocates memory, and returns it with the index at which a page-aligned block begins. Both sides use
/// aligned blocks, because the kernel takes longer to copy to an unaligned address.
pub(crate) fn block() -> (Box<[u8]>, usize) {
    let bytes = vec![0; 2 * BLOCK].into_boxed_slice();
    let begin = bytes.as_ptr().align_offset(BLOCK);
    (bytes, begin)
}

/// A workload to measure.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Reads, with this many in flight.
    Read(u32),
    /// An echo server with this many connections.
    Echo(usize),
}

impl Work {
    pub(crate) const ALL: [Self; 6] = [
        Self::Read(1),
        Self::Read(32),
        Self::Read(128),
        Self::Echo(1),
        Self::Echo(50),
        Self::Echo(200),
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Self::Read(depth) => format!("read 4 KiB, depth {depth}"),
            Self::Echo(connections) => format!("echo 1 KiB, connections {connections}"),
        }
    }

    /// Returns the number of operations in a sample, which then takes some tens of milliseconds.
    pub(crate) fn operations(self) -> u64 {
        match self {
            Self::Read(_) => 100_000,
            Self::Echo(1) => 2_000,
            Self::Echo(connections) => 6_000 / connections as u64 * connections as u64,
        }
    }

    fn argument(self) -> String {
        match self {
            Self::Read(depth) => format!("read:{depth}"),
            Self::Echo(connections) => format!("echo:{connections}"),
        }
    }

    fn parse(argument: &str) -> Option<Self> {
        let (name, number) = argument.split_once(':')?;
        match name {
            "read" => Some(Self::Read(number.parse().ok()?)),
            "echo" => Some(Self::Echo(number.parse().ok()?)),
            _ => None,
        }
    }
}

/// The code that runs the workload.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Side {
    ByHand,
    Callbacks,
}

/// Returns the CPU time of this process, in user space and in the kernel.
fn cpu_time() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is valid, and `getrusage` fills in the struct. Zeros are valid in all its fields.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0);
        usage.assume_init()
    };
    [usage.ru_utime, usage.ru_stime]
        .map(|time| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000))
        .iter()
        .sum()
}

/// Runs this many operations, and returns the CPU time that they took.
fn measure(side: Side, work: Work, operations: u64) -> Result<Duration> {
    match work {
        Work::Read(depth) => {
            let file = tempfile::tempfile()?;
            std::os::unix::fs::FileExt::write_all_at(&file, &vec![7; BLOCKS as usize * BLOCK], 0)?;
            let begin = cpu_time();
            match side {
                Side::ByHand => by_hand::read(&file, depth, operations)?,
                Side::Callbacks => through_callbacks::read(file.try_clone()?, depth, operations)?,
            }
            Ok(cpu_time() - begin)
        }
        Work::Echo(connections) => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let mut clients = load::start(listener.local_addr()?, connections, operations)?;
            let begin = cpu_time();
            let bytes = match side {
                Side::ByHand => by_hand::echo(&listener, connections)?,
                Side::Callbacks => {
                    let mut ring = Ring::init(connections as u32 + 1)?;
                    echo::serve(&mut ring, listener, connections)?
                }
            };
            let time = cpu_time() - begin;
            if !clients.wait()?.success() || bytes != operations * load::MESSAGE as u64 {
                return Err("the clients did not get back what they have sent".into());
            }
            Ok(time)
        }
    }
}

/// Starts this program as a child process that measures one sample.
pub(crate) fn sample(
    command: &mut Command,
    side: Side,
    work: Work,
    operations: u64,
) -> Result<Child> {
    let side = if side == Side::ByHand { "by-hand" } else { "callbacks" };
    Ok(command
        .args(["--sample", side, &work.argument(), &operations.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).filter(|it| it != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--load", server, connections, messages] => {
            load::run(server.parse()?, connections.parse()?, messages.parse()?)
        }
        ["--sample", side, work, operations] => {
            let side = if side == "by-hand" { Side::ByHand } else { Side::Callbacks };
            let work = Work::parse(work).ok_or("unknown workload")?;
            println!("{}", measure(side, work, operations.parse()?)?.as_nanos());
            Ok(())
        }
        [] => table::times(21),
        ["--rounds", rounds] => table::times(rounds.parse()?),
        ["--count"] => table::instructions(),
        _ => Err("usage: [--rounds ROUNDS | --count]".into()),
    }
}
