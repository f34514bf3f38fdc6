//! An echo server over TCP on the loopback device.
//!
//! The client sends one request on each connection, waits for all answers, and starts again. It has
//! a CPU of its own if there are two. The benchmark compares the servers, which have one thread
//! each.

mod servers;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::peer::{Column, EPOLL, Everything, Lasting, Setup, each_peer};
use crate::time::Quartiles;
use servers::{epoll, uring};

/// The time limits of a row.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) sample: Duration,
}

pub(crate) struct Row {
    pub(crate) name: String,
    connections: usize,
    size: u32,
    setup: Setup,
}

pub(crate) struct Echoed {
    pub(crate) name: String,
    pub(crate) columns: Vec<(Column, Result<Echo, String>)>,
}

/// The medians over all rounds.
pub(crate) struct Echo {
    pub(crate) per_second: f64,
    /// CPU time of the server thread, in nanoseconds per request.
    pub(crate) cpu: f64,
    /// CPU time as a multiple of the epoll server's.
    pub(crate) cpu_ratio: Quartiles,
    /// System calls per request.
    pub(crate) calls: f64,
}

/// The work that a server did.
struct Served {
    calls: u64,
    cpu: Duration,
}

/// The result of one server in one round.
struct Round {
    per_second: f64,
    cpu: f64,
    calls: f64,
}

/// A server. It gets the connected sockets, and memory for each.
type Server = fn(&Setup, &[TcpStream], &[Lasting]) -> Result<Served, String>;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for connections in [1, 50, 200] {
        for size in [64, 1024] {
            for setup in [Setup::PLAIN, Setup::ALL] {
                let name = format!("echo/{connections} × {size} B/{}", setup.name);
                rows.push(Row { name, connections, size, setup });
            }
        }
    }
    rows
}

pub(crate) fn measure(row: &Row, effort: Effort) -> anyhow::Result<Echoed> {
    let bufs: Vec<_> = (0..row.connections).map(|_| Lasting::page().first(row.size)).collect();
    let mut servers: Vec<(Column, Server)> = each_peer!(P => server::<P>(&row.setup));
    servers.push((EPOLL, epoll));
    let mut rounds: Vec<Result<Vec<Round>, String>> = servers.iter().map(|_| Ok(vec![])).collect();
    for round in 0..effort.rounds {
        for turn in 0..servers.len() {
            let i = (round + turn) % servers.len();
            let Ok(done) = &mut rounds[i] else { continue };
            match measure_once(row, &bufs, servers[i].1, effort.sample)? {
                Ok(round) => done.push(round),
                Err(reason) => rounds[i] = Err(reason),
            }
        }
    }
    let epoll_cpu: Vec<f64> = match &rounds[servers.len() - 1] {
        Ok(rounds) => rounds.iter().map(|round| round.cpu).collect(),
        Err(reason) => return Err(anyhow!("the epoll server failed: {reason}")),
    };
    let columns = servers.iter().zip(rounds).map(|((column, _), rounds)| {
        let echo = rounds.map(|rounds| {
            let median =
                |of: fn(&Round) -> f64| Quartiles::of(rounds.iter().map(of).collect()).median;
            let ratios = rounds.iter().zip(&epoll_cpu).map(|(round, epoll)| round.cpu / epoll);
            Echo {
                per_second: median(|round| round.per_second),
                cpu: median(|round| round.cpu),
                cpu_ratio: Quartiles::of(ratios.collect()),
                calls: median(|round| round.calls),
            }
        });
        (*column, echo)
    });
    Ok(Echoed { name: row.name.clone(), columns: columns.collect() })
}

fn server<P: Everything>(setup: &Setup) -> Server {
    if setup.registered { uring::<P::Registered> } else { uring::<P> }
}

/// Runs a server for the sample time. The inner error is one that the server had at its start.
fn measure_once(
    row: &Row,
    bufs: &[Lasting],
    server: Server,
    sample: Duration,
) -> anyhow::Result<Result<Round, String>> {
    let (mut clients, sockets) = connect(row.connections)?;
    thread::scope(|scope| {
        let serving = scope.spawn(|| {
            stay_on(0);
            let before = thread_time();
            let served = server(&row.setup, &sockets, bufs);
            // Closes the sockets, so that the client does not wait for a server that has failed.
            drop(sockets);
            served.map(|served| Served { cpu: thread_time() - before, ..served })
        });
        let client = scope.spawn(move || {
            stay_on(1);
            ask(&mut clients, row.size, sample)
        });
        let served = serving.join().map_err(|_| anyhow!("the server panicked"))?;
        let asked = client.join().map_err(|_| anyhow!("the client panicked"))?;
        let served = match served {
            Ok(served) => served,
            Err(reason) => return Ok(Err(reason)),
        };
        let (requests, time) = asked.context("the client")?;
        Ok(Ok(Round {
            per_second: requests as f64 / time.as_secs_f64(),
            cpu: served.cpu.as_nanos() as f64 / requests as f64,
            calls: served.calls as f64 / requests as f64,
        }))
    })
}

fn connect(n: usize) -> std::io::Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (mut clients, mut sockets) = (Vec::new(), Vec::new());
    for _ in 0..n {
        let client = TcpStream::connect(address)?;
        let (socket, _) = listener.accept()?;
        for stream in [&client, &socket] {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        }
        clients.push(client);
        sockets.push(socket);
    }
    Ok((clients, sockets))
}

/// Sends requests until the time is over, and closes the connections. Returns the number of
/// requests and the time.
fn ask(clients: &mut [TcpStream], size: u32, sample: Duration) -> std::io::Result<(u64, Duration)> {
    let request = vec![0x5a; size as usize];
    let mut answer = vec![0; size as usize];
    let mut requests = 0;
    let start = Instant::now();
    while start.elapsed() < sample {
        for client in &mut *clients {
            client.write_all(&request)?;
        }
        for client in &mut *clients {
            client.read_exact(&mut answer)?;
            requests += 1;
        }
    }
    assert_eq!(answer, request, "the answer differs from the request");
    Ok((requests, start.elapsed()))
}

/// Binds the thread to one of the CPUs that the process may use, if it has several.
fn stay_on(nth: usize) {
    let Ok(all) = rustix::thread::sched_getaffinity(None) else { return };
    let mut processors = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu));
    if let (true, Some(cpu)) = (all.count() > 1, processors.nth(nth)) {
        let mut one = CpuSet::new();
        one.set(cpu);
        // If this fails, the figures vary more.
        let _ = sched_setaffinity(None, &one);
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
