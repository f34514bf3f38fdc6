//! A callback loop: operations from a fixed pool of tasks, and a function to call when each is over.
//!
//! - [`op`]: what can be done, and what comes of it. An operation owns what the kernel works on.
//! - [`task`]: where operations are while they are under way.
//! - [`event_loop`]: how they get to the kernel, and their callbacks called.
//!
//! Once the tasks are there, none of it allocates: operations, files and buffers move in and out.
//! And nothing of it has to be dropped in the right order, or at all. What the kernel has is in the
//! pool; a loop that goes waits for the kernel, and a loop that is forgotten leaves the pool to it.
//!
//! It needs Linux 5.19, for sockets that a ring makes, and to cancel everything at once.
//!
//! The programs: [`machine`], a state machine that goes through five operations a hundred thousand
//! times, and [`ping_pong`] between two threads. The tests put an echo server under load.

#![cfg_attr(not(test), allow(dead_code, reason = "the programs do not need all that there is"))]

mod event_loop;
mod machine;
mod op;
mod ping_pong;
mod task;

#[cfg(test)]
mod echo;
#[cfg(test)]
mod tests;

use std::net::TcpListener;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};

const RUNS: u32 = 100_000;
const MACHINES: usize = 16;
const LAST: i32 = 20_000;

fn main() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || machine::serve(&listener, RUNS as usize));

    let mut on = event_loop::Loop::new(MACHINES as u32).context("cannot set up a ring")?;
    let start = Instant::now();
    let runs =
        machine::Job::new(address, RUNS).run(&mut on, MACHINES).map_err(|why| anyhow!(why))?;
    println!(
        "{runs} times socket, connect, write, read, close, {MACHINES} at a time, in {:.1?}",
        start.elapsed()
    );
    server.join().expect("no panic").context("the server")?;
    on.end()?;

    let start = Instant::now();
    let (here, there) = ping_pong::two_threads(LAST).context("ping-pong")?;
    println!(
        "{here} messages from ring to ring in one direction, {there} in the other, in {:.1?}",
        start.elapsed()
    );
    Ok(())
}
