//! What the benchmarks read, and the clients of their servers, in a process of their own. And the CPU time of
//! this process.

use std::env;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, exit};
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::time::{ClockId, clock_gettime};
use tempfile::NamedTempFile;

use crate::count;

/// The rows of the benchmarks of reads and echoes.
pub const ROWS: &[&str] = &[
    "read 4 KiB, one at a time",
    "read 4 KiB, 32 at a time",
    "read 4 KiB, 128 at a time",
    "echo 1 KiB, one connection",
    "echo 1 KiB, 50 connections",
    "echo 1 KiB, 200 connections",
];
/// How many reads are in flight at a time in the rows of reads.
pub const AT_A_TIME: [u32; 3] = [1, 32, 128];
/// The numbers of connections of the echo rows.
pub const CONNECTIONS: [u32; 3] = [1, 50, 200];
/// Reads in each row of reads.
pub const READS: u32 = 64_000;
/// Messages in each row of echoes.
pub const MESSAGES: u32 = 20_000;
/// Bytes of a read.
pub const BLOCK: usize = 4096;
/// Blocks of the file that is read.
const BLOCKS: u32 = 256;
/// Bytes of a message.
pub const MESSAGE: usize = 1024;

/// Tells a process which clients it is.
const CLIENTS: &str = "FIGURES_CLIENTS";

/// Creates a file of [`BLOCK`]s. It is in the page cache.
///
/// # Errors
///
/// If there is no room for it.
pub fn file() -> Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(&vec![7; BLOCK * BLOCKS as usize])?;
    Ok(file)
}

/// Returns the offset of a read. The reads visit the blocks of the file again and again.
pub fn offset(read: u32) -> u64 {
    u64::from(read % BLOCKS) * BLOCK as u64
}

/// Returns the nanoseconds of CPU time that this process takes for one of `count`, if `measured` does
/// all of them: that of all threads, in the kernel as well.
pub fn cpu_of(count: u32, measured: impl FnOnce() -> Result<()>) -> Result<f64> {
    if count::is_on() {
        count::count(measured)?;
        return Ok(f64::from(count));
    }
    let cpu =
        || -> Result<Duration> { Ok(Duration::try_from(clock_gettime(ClockId::ProcessCPUTime))?) };
    let start = cpu()?;
    measured()?;
    Ok((cpu()? - start).as_nanos() as f64 / f64::from(count))
}

/// Returns the CPU time that an echo server takes for a message. `serve` serves so many connections,
/// each until it ends.
pub fn echo(
    connections: u32,
    messages: u32,
    serve: impl FnOnce(TcpListener, usize) -> Result<()>,
) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let rounds = messages / connections;
    let told = format!("{} {connections} {rounds}", listener.local_addr()?);
    let mut clients: Child = Command::new(env::current_exe()?).env(CLIENTS, told).spawn()?;
    let cpu = cpu_of(rounds * connections, || serve(listener, connections as usize))?;
    ensure!(clients.wait()?.success(), "the clients failed");
    Ok(cpu)
}

/// Is the clients, if this process is to be that.
pub(crate) fn clients() -> Result<()> {
    let Ok(told) = env::var(CLIENTS) else { return Ok(()) };
    let words: Vec<_> = told.split(' ').collect();
    let (address, rounds): (SocketAddr, u32) = (words[0].parse()?, words[2].parse()?);
    let streams = (0..words[1].parse()?).map(|_| Ok(TcpStream::connect(address)?));
    let mut streams = streams.collect::<Result<Vec<_>>>()?;
    let mut message = [7; MESSAGE];
    for round in 0..rounds {
        message[..4].copy_from_slice(&round.to_le_bytes());
        for stream in &mut streams {
            stream.write_all(&message)?;
        }
        for stream in &mut streams {
            let mut back = [0; MESSAGE];
            stream.read_exact(&mut back)?;
            ensure!(back == message, "the reply differs from the message");
        }
    }
    exit(0);
}
