//! Runs a state machine of five operations RUNS times (100,000 by default). Then two threads play ping-pong
//! with messages between their rings.
//!
//! ```sh
//! cargo run --release -p callbacks --example callbacks -- [RUNS]
//! ```

mod machine;
mod ping_pong;

use std::error::Error;
use std::net::TcpListener;
use std::thread;
use std::time::Instant;

const MACHINES: usize = 16;
const LAST: i32 = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let runs = std::env::args().nth(1).map_or(Ok(100_000), |runs| runs.parse())?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || machine::serve(&listener, runs as usize));

    let mut ring = callbacks::Ring::init(MACHINES as u32)?;
    let start = Instant::now();
    let runs = machine::Job::new(address, runs).run(&mut ring, MACHINES)?;
    println!(
        "{runs} times socket, connect, write, read, close, {MACHINES} at a time, in {:.1?}",
        start.elapsed()
    );
    server.join().expect("no panic")?;
    ring.end()?;

    let start = Instant::now();
    let (here, there) = ping_pong::two_threads(LAST)?;
    println!(
        "{here} messages from ring to ring in one direction, {there} in the other, in {:.1?}",
        start.elapsed()
    );
    Ok(())
}
