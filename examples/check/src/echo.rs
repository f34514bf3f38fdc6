//! Load for an echo server: it detects lost, duplicated and reordered messages.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const MESSAGE: usize = 1024;
/// How many messages of one connection are in flight.
const WINDOW: u64 = 4;

/// How long an echo test runs: 2 seconds, or the number of seconds in `ECHO_SECONDS`.
///
/// # Panics
///
/// If the variable is not a number.
pub fn duration() -> Duration {
    let seconds = std::env::var("ECHO_SECONDS").map_or(2, |s| s.parse().expect("seconds"));
    Duration::from_secs(seconds)
}

/// Opens this many connections, each on its own thread, sends messages over them for `duration` and
/// compares the replies. Returns the number of replies.
///
/// # Errors
///
/// The first error of a connection, or of starting a thread.
///
/// # Panics
///
/// If a reply differs from its message, or if a connection delivers more than was sent.
pub fn load(server: SocketAddr, connections: u64, duration: Duration) -> io::Result<u64> {
    let end = Instant::now() + duration;
    thread::scope(|scope| {
        let start = |number| {
            thread::Builder::new()
                .stack_size(64 << 10)
                .spawn_scoped(scope, move || converse(server, number, end))
        };
        let threads = (0..connections).map(start).collect::<io::Result<Vec<_>>>()?;
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    })
}

/// Runs one connection: each message must come back unchanged, once and in order, and nothing else.
fn converse(server: SocketAddr, connection: u64, end: Instant) -> io::Result<u64> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let (mut sent, mut received) = (0, 0);
    while Instant::now() < end || received < sent {
        while sent < received + WINDOW && Instant::now() < end {
            stream.write_all(&message(connection, sent))?;
            sent += 1;
        }
        if received < sent {
            let mut back = [0; MESSAGE];
            stream.read_exact(&mut back)?;
            assert!(back == message(connection, received), "connection {connection}: {received}");
            received += 1;
        }
    }
    stream.shutdown(Shutdown::Write)?;
    assert_eq!(stream.read(&mut [0])?, 0, "connection {connection} received more than it sent");
    Ok(received)
}

/// Differs from the messages of all other connections and all other numbers.
fn message(connection: u64, number: u64) -> [u8; MESSAGE] {
    let mut message = [0; MESSAGE];
    fastrand::Rng::with_seed(connection << 40 | number).fill(&mut message);
    message[..8].copy_from_slice(&connection.to_le_bytes());
    message[8..16].copy_from_slice(&number.to_le_bytes());
    message
}
