//! Echoes what TCP connections send, on one ring and one thread, until ctrl-c.
//!
//! `tcp_echo [ADDRESS]` listens on 127.0.0.1:7777 by default; port 0 means any free port.
//!
//! One *multishot* accept serves all connections, and each connection has one multishot receive. The
//! kernel takes the memory for it from a ring of *provided* buffers, so an idle connection needs no
//! buffer. The program sends each buffer back from where it lies and then returns it to the ring. On
//! a kernel that lacks any of this, it accepts connections one by one and gives each its own buffer.
//!
//! Each connection has at most one send in flight, so that its data stay in order.

use std::collections::VecDeque;
use std::env;
use std::io;
use std::mem;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix_uring::squeue::Entry;
use rustix_uring::types::MsgFlags;
use rustix_uring::{BufRing, BufRingFlags, Errno, IoUring, cqueue, opcode};
use signal_hook::consts::SIGINT;
use signal_hook::low_level::pipe;

/// How large a buffer is, in bytes, and how many are provided.
const BUFFER: usize = 4096;
const BUFFERS: u16 = 256;
/// The group of provided buffers.
const GROUP: u16 = 0;
/// How long the end may take.
const END: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7777".into());
    let listener =
        TcpListener::bind(&*address).with_context(|| format!("cannot listen on {address}"))?;
    let (stop, signaled) = UnixStream::pair()?;
    pipe::register(SIGINT, signaled)?;

    println!("listening on {}, ctrl-c to stop", listener.local_addr()?);
    let mut server = Server::new(listener, stop).context("cannot set up a ring")?;
    let served = server.serve();
    server.stop();
    println!("{} connections, {} bytes echoed", server.accepted, server.echoed);
    served
}

/// What a completion is of: in the user data, with the connection's number.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Stop,
    Accept,
    Receive,
    Send,
}

fn user_data(kind: Kind, connection: usize) -> u64 {
    (kind as u64) << 32 | connection as u64
}

fn kind_of(cqe: &cqueue::Entry) -> (Kind, usize) {
    const KINDS: [Kind; 4] = [Kind::Stop, Kind::Accept, Kind::Receive, Kind::Send];
    (KINDS[(cqe.user_data() >> 32) as usize], cqe.user_data() as u32 as usize)
}

struct Server {
    ring: IoUring,
    listener: TcpListener,
    stop: UnixStream,
    stopped: Box<[u8; 1]>,
    provided: Option<Provided>,
    accepts_many: bool,
    /// By number; numbers of closed ones are given again.
    connections: Vec<Option<Connection>>,
    /// Connections that found no buffer to receive into.
    starved: Vec<usize>,
    /// How many operations were pushed whose last completion has not come.
    outstanding: usize,
    accepted: usize,
    echoed: u64,
}

/// Buffers that all connections receive into.
struct Provided {
    ring: BufRing,
    /// Each by itself: to touch one is not to touch another, which the kernel may be filling.
    memory: Vec<Box<[u8]>>,
}

struct Connection {
    stream: TcpStream,
    /// What was received and not sent yet: where in whose memory.
    received: VecDeque<(Option<u16>, Range<usize>)>,
    /// For when there are no provided buffers.
    own: Box<[u8]>,
    receiving: bool,
    sending: bool,
    closing: bool,
}

impl Server {
    fn new(listener: TcpListener, stop: UnixStream) -> Result<Self> {
        let ring = IoUring::new(1024)?;
        let provided = Provided::new(&ring)?;
        Ok(Self {
            ring,
            listener,
            stop,
            stopped: Box::new([0]),
            provided,
            accepts_many: true,
            connections: Vec::new(),
            starved: Vec::new(),
            outstanding: 0,
            accepted: 0,
            echoed: 0,
        })
    }

    /// Echoes until ctrl-c.
    fn serve(&mut self) -> Result<()> {
        let stop = opcode::Read::new(self.stop.as_fd(), self.stopped.as_mut_ptr(), 1).build();
        self.push(stop.user_data(user_data(Kind::Stop, 0)))?;
        self.accept()?;
        loop {
            match self.ring.submit_and_wait(1) {
                Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
                Err(errno) => return Err(errno).context("cannot submit"),
            }
            while let Some(cqe) = self.reap() {
                match kind_of(&cqe) {
                    (Kind::Stop, _) => return Ok(()),
                    (Kind::Accept, _) => self.accepted(&cqe)?,
                    (Kind::Receive, number) => self.received(number, &cqe)?,
                    (Kind::Send, number) => self.sent(number, &cqe)?,
                }
            }
        }
    }

    /// Comes to the end of what is in flight: only then may memory and descriptors go.
    fn stop(&mut self) {
        // Before 5.19, operations can only be cancelled by their user data.
        let connections = (0..self.connections.len())
            .flat_map(|number| [user_data(Kind::Receive, number), user_data(Kind::Send, number)]);
        let user_data: Vec<u64> = [user_data(Kind::Stop, 0), user_data(Kind::Accept, 0)]
            .into_iter()
            .chain(connections)
            .collect();
        let in_flight = &mut self.outstanding;
        let ended = self.ring.quiesce_with(in_flight, END, &user_data, |cqe| {
            if kind_of(&cqe).0 == Kind::Accept {
                // SAFETY: this is a completion of an accept, and the first to look at it.
                drop(unsafe { cqe.to_fd() });
            }
            true
        });
        if ended.is_err() {
            process::abort(); // nothing may be freed any more
        }
    }

    /// Pushes an entry, and submits first if the queue is full.
    ///
    /// What it points to, and its descriptor, live in the server or in one of its connections,
    /// neither of which goes before its operations have ended.
    fn push(&mut self, entry: Entry) -> Result<()> {
        if self.ring.submission().is_full() {
            self.ring.submit().context("cannot submit")?;
        }
        // SAFETY: see above; a connection is closed when it has neither a receive nor a send.
        unsafe { self.ring.submission().push(&entry) }?;
        self.outstanding += 1;
        Ok(())
    }

    fn reap(&mut self) -> Option<cqueue::Entry> {
        let cqe = self.ring.completion().next()?;
        self.outstanding -= usize::from(!cqe.more());
        Some(cqe)
    }

    fn accept(&mut self) -> Result<()> {
        let listener = self.listener.as_fd();
        let accept = if self.accepts_many {
            opcode::AcceptMulti::new(listener).build()
        } else {
            opcode::Accept::new(listener, std::ptr::null_mut(), std::ptr::null_mut()).build()
        };
        self.push(accept.user_data(user_data(Kind::Accept, 0)))
    }

    fn accepted(&mut self, cqe: &cqueue::Entry) -> Result<()> {
        // SAFETY: this is a completion of an accept, and nobody else looks at it.
        match unsafe { cqe.to_fd() } {
            Ok(fd) => {
                self.accepted += 1;
                let own = if self.provided.is_some() { 0 } else { BUFFER };
                let connection = Connection {
                    stream: fd.into(),
                    received: VecDeque::new(),
                    own: vec![0; own].into_boxed_slice(),
                    receiving: false,
                    sending: false,
                    closing: false,
                };
                let free = self.connections.iter().position(Option::is_none);
                let number = free.unwrap_or(self.connections.len());
                if number == self.connections.len() {
                    self.connections.push(None);
                }
                self.connections[number] = Some(connection);
                self.receive(number)?;
            }
            // Before 5.19, an accept that goes on is not known.
            Err(Errno::INVAL) if self.accepts_many => self.accepts_many = false,
            Err(errno) => eprintln!("cannot accept: {errno}"),
        }
        if cqe.more() { Ok(()) } else { self.accept() }
    }

    fn receive(&mut self, number: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        let stream = connection.stream.as_fd();
        let receive = if self.provided.is_some() {
            opcode::RecvMulti::new(stream, GROUP).build()
        } else {
            opcode::Recv::new(stream, connection.own.as_mut_ptr(), BUFFER as u32).build()
        };
        let receive = receive.user_data(user_data(Kind::Receive, number));
        connection.receiving = true;
        self.push(receive)
    }

    fn received(&mut self, number: usize, cqe: &cqueue::Entry) -> Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        connection.receiving = cqe.more();
        let buffer = cqe.buffer_select();
        match cqe.to_result() {
            Ok(len) if len > 0 => {
                connection.received.push_back((buffer, 0..len as usize));
                self.send(number)?;
            }
            Err(Errno::NOBUFS) => self.starved.push(number),
            Ok(_) | Err(_) => connection.closing = true, // the end, or a reset
        }
        // A connection with a buffer of its own receives again when that is sent.
        if !cqe.more() && self.provided.is_some() && !self.starved.contains(&number) {
            self.go_on(number)?;
        }
        self.close_if_done(number);
        Ok(())
    }

    /// Receives again, unless there is nothing more to come.
    fn go_on(&mut self, number: usize) -> Result<()> {
        match &self.connections[number] {
            Some(connection) if !connection.closing && !connection.receiving => {
                self.receive(number)
            }
            _ => Ok(()),
        }
    }

    /// Sends the next piece, unless one is under way.
    fn send(&mut self, number: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        let (false, Some((buffer, range))) = (connection.sending, connection.received.front())
        else {
            return Ok(());
        };
        let memory = match (buffer, &self.provided) {
            (Some(buffer), Some(provided)) => &provided.memory[usize::from(*buffer)],
            _ => &connection.own,
        };
        let bytes = &memory[range.clone()];
        let send = opcode::Send::new(connection.stream.as_fd(), bytes.as_ptr(), bytes.len() as u32)
            .flags(MsgFlags::NOSIGNAL)
            .build()
            .user_data(user_data(Kind::Send, number));
        connection.sending = true;
        self.push(send)
    }

    fn sent(&mut self, number: usize, cqe: &cqueue::Entry) -> Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        connection.sending = false;
        match cqe.to_result() {
            Ok(len) => {
                self.echoed += u64::from(len);
                let (_, range) = connection.received.front_mut().expect("it was being sent");
                range.start += len as usize;
                if range.start == range.end {
                    self.give_back(number)?;
                }
            }
            Err(_) => {
                // Nobody listens. This also ends a receive that is under way.
                connection.closing = true;
                let _ = connection.stream.shutdown(Shutdown::Both);
                while self.has_received(number) {
                    self.give_back(number)?;
                }
            }
        }
        self.send(number)?;
        self.close_if_done(number);
        Ok(())
    }

    fn has_received(&self, number: usize) -> bool {
        matches!(&self.connections[number], Some(it) if !it.received.is_empty())
    }

    /// Gives the buffer of a connection's oldest piece back, and lets those receive again who found
    /// none.
    fn give_back(&mut self, number: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        match (connection.received.pop_front(), &mut self.provided) {
            (Some((Some(buffer), _)), Some(provided)) => {
                provided.give(buffer);
                provided.ring.publish();
                for starved in mem::take(&mut self.starved) {
                    self.go_on(starved)?;
                }
                Ok(())
            }
            _ => self.go_on(number),
        }
    }

    /// Closes a connection that sends no more, once everything is echoed.
    fn close_if_done(&mut self, number: usize) {
        let done =
            |it: &Connection| it.closing && !it.receiving && !it.sending && it.received.is_empty();
        if self.connections[number].as_ref().is_some_and(done) {
            self.connections[number] = None;
            self.starved.retain(|starved| *starved != number);
        }
    }
}

impl Drop for Server {
    /// Also after an error or a panic.
    fn drop(&mut self) {
        self.stop();
    }
}

impl Provided {
    /// Registers the buffers, or says that the kernel has no such thing (5.19 and 6.4 brought it).
    fn new(ring: &IoUring) -> Result<Option<Self>> {
        let flags = BufRingFlags::empty();
        let ring = match ring.submitter().register_buf_ring_mmap(BUFFERS, GROUP, flags) {
            Err(Errno::INVAL) => return Ok(None),
            ring => ring.map_err(io::Error::from)?,
        };
        let memory = (0..BUFFERS).map(|_| vec![0; BUFFER].into_boxed_slice()).collect();
        let mut provided = Self { ring, memory };
        (0..BUFFERS).for_each(|buffer| provided.give(buffer));
        provided.ring.publish();
        Ok(Some(provided))
    }

    fn give(&mut self, buffer: u16) {
        let bytes = &mut self.memory[usize::from(buffer)];
        // SAFETY: the buffer is ours: it was never given, or a completion brought it and what it
        // held is sent. The memory goes after the server has stopped.
        unsafe { self.ring.add(bytes.as_mut_ptr(), BUFFER as u32, buffer) };
    }
}
