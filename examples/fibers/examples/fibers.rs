//! An echo server with a fiber for each connection.
//!
//! ```sh
//! cargo run -p fibers --example fibers                          # the server and its clients
//! cargo run -p fibers --example fibers -- echo 127.0.0.1:7777   # the server, until ctrl-c
//! ```

use std::cell::Cell;
use std::env;
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use fibers::fiber;
use fibers::fs::File;
use fibers::net::{TcpListener, TcpStream};
use signal_hook::consts::SIGINT;
use signal_hook::low_level::pipe;

/// An echo server in which every connection is a fiber.
#[derive(Parser)]
#[command(name = "fibers")]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs a TCP echo server, until ctrl-c.
    Echo {
        /// The address to listen on.
        #[arg(default_value = "127.0.0.1:7777")]
        address: String,
    },
}

fn main() -> Result<()> {
    match Options::parse().command {
        None => fibers::run(demonstrate)?,
        Some(Command::Echo { address }) => fibers::run(|| echo_until_ctrl_c(&address))?,
    }
}

/// The statistics of a server.
#[derive(Default)]
struct Served {
    connections: Cell<usize>,
    bytes: Cell<u64>,
    /// The number of connections that were stopped before the client closed them.
    stopped: Cell<usize>,
    failed: Cell<usize>,
}

/// Runs the echo server until its fiber is cancelled, which also cancels its connections.
fn serve(listener: &TcpListener) -> Served {
    let served = Served::default();
    let mut connections = listener.incoming();
    fiber::scope(|scope| {
        loop {
            let echoing = connections
                .next()
                .and_then(|(stream, _peer)| scope.try_spawn(|| served.echo(stream)));
            match echoing {
                Ok(_) => served.connections.set(served.connections.get() + 1),
                Err(error) if fiber::is_cancellation(&error) => break,
                Err(error) => {
                    fibers::eprintln!("cannot serve a connection: {error}");
                    // Perhaps there are too many files or too little memory. Wait until others end.
                    let _ = fiber::sleep(Duration::from_millis(100));
                }
            }
        }
    });
    served
}

impl Served {
    fn echo(&self, stream: TcpStream) {
        let (mut reader, writer) = stream.split();
        let mut writer = Counted { to: writer, bytes: &self.bytes };
        match io::copy(&mut reader, &mut writer) {
            Ok(_) => {}
            Err(error) if fiber::is_cancellation(&error) => {
                self.stopped.set(self.stopped.get() + 1)
            }
            Err(_) => self.failed.set(self.failed.get() + 1),
        }
    }

    fn say(&self) {
        let Self { connections, bytes, stopped, failed } = self;
        let (connections, bytes) = (connections.get(), bytes.get());
        fibers::println!("{connections} connections, {bytes} bytes echoed");
        fibers::println!("stopped before their end: {}, failed: {}", stopped.get(), failed.get());
    }
}

/// A writer that counts the bytes.
struct Counted<'a, W> {
    to: W,
    bytes: &'a Cell<u64>,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.to.write(buf)?;
        self.bytes.set(self.bytes.get() + written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

fn listen(address: impl ToSocketAddrs + Display) -> Result<TcpListener> {
    TcpListener::bind(&address).with_context(|| format!("cannot listen on {address}"))
}

fn echo_until_ctrl_c(address: &str) -> Result<()> {
    let listener = listen(address)?;
    let (ctrl_c, write_end) = UnixStream::pair()?;
    pipe::register(SIGINT, write_end)?;
    fibers::println!("listening on {}, ctrl-c to stop", listener.local_addr()?);

    let served = fiber::scope(|scope| {
        let server = scope.spawn(|| serve(&listener));
        let signaled = File::from(OwnedFd::from(ctrl_c)).read_exact(&mut [0]);
        server.cancel();
        signaled.map(|()| server.join().expect("the server does not panic"))
    })?;
    served.say();
    Ok(())
}

const CLIENTS: usize = 100;
const MESSAGES: usize = 200;

/// Runs the server and its clients, all as fibers. Then cancels the server while a client is idle.
fn demonstrate() -> Result<()> {
    let listener = listen("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    fiber::scope(|scope| {
        let server = scope.spawn(|| serve(&listener));
        let start = Instant::now();
        let clients: Vec<_> =
            (0..CLIENTS).map(|number| scope.spawn(move || converse(address, number))).collect();
        for client in clients {
            client.join().expect("clients do not panic")?;
        }
        let elapsed = start.elapsed();
        fibers::println!(
            "{CLIENTS} clients: {MESSAGES} messages of 1 KiB each, echoed in {elapsed:.1?}"
        );

        let program = env::current_exe()?;
        let size = send_file(address, &program)?;
        fibers::println!("the {size} bytes of {} came back unchanged", program.display());

        let idle = TcpStream::connect(address)?;
        fiber::sleep(Duration::from_millis(10))?;
        server.cancel();
        let served = server.join().expect("the server does not panic");
        ensure!((&idle).read(&mut [0])? == 0, "the server's end is the end of its connections");
        served.say();
        let (fibers, stacks) = fiber::statistics();
        fibers::println!("{fibers} fibers on {stacks} stacks, one thread and one ring");
        fibers::println!("for more, see --help");
        Ok(())
    })
}

/// A client that sends messages one after the other, and checks that exactly these come back.
fn converse(server: SocketAddr, client: usize) -> Result<()> {
    let mut stream = TcpStream::connect(server)?;
    for number in 0..MESSAGES {
        let message = [(client + number) as u8; 1024];
        stream.write_all(&message)?;
        let mut back = [0; 1024];
        stream.read_exact(&mut back)?;
        ensure!(back == message, "client {client}: the reply to message {number} differs");
    }
    stream.shutdown(Shutdown::Write)?;
    ensure!(stream.read(&mut [0])? == 0, "client {client} received more than it sent");
    Ok(())
}

/// A client that writes a file in one fiber, and reads it back in another.
fn send_file(server: SocketAddr, path: &Path) -> Result<u64> {
    let stream = TcpStream::connect(server)?;
    let (mut reader, mut writer) = stream.split();
    fiber::scope(|scope| {
        let sending = scope.spawn(|| {
            let sent = io::copy(&mut File::open(path)?, &mut writer)?;
            stream.shutdown(Shutdown::Write)?;
            io::Result::Ok(sent)
        });
        let (file, mut offset) = (File::open(path)?, 0);
        let (mut back, mut original) = ([0; 4096], [0; 4096]);
        loop {
            let received = reader.read(&mut back)?;
            if received == 0 {
                break;
            }
            let mut compared = 0;
            while compared < received {
                let at = offset + compared as u64;
                let read = file.read_at(&mut original[compared..received], at)?;
                ensure!(read > 0, "the server returned more than it received");
                compared += read;
            }
            ensure!(
                back[..received] == original[..received],
                "the server returned other bytes than it received"
            );
            offset += received as u64;
        }
        ensure!(
            sending.join().expect("no panic")? == offset,
            "the server returned less than it received"
        );
        Ok(offset)
    })
}
