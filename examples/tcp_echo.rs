//! Echoes data on TCP connections, with one ring and one thread, until Ctrl-C.
//!
//! `tcp_echo [ADDRESS]` listens on 127.0.0.1:7777 by default; port 0 means any free port.
//!
//! One *multishot* accept serves all connections, and each connection has one multishot receive.
//! The kernel takes the memory for it from a ring of *provided* buffers, so an idle connection
//! needs no buffer. The program sends each buffer from where the data is, and then returns it to
//! the ring. If the kernel lacks any of this, the program accepts connections one by one and gives
//! each its own buffer.
//!
//! Each connection has at most one send in flight, so that its data stays in order.

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

/// The size of a buffer in bytes, and the number of provided buffers.
const BUFFER: usize = 4096;
const BUFFERS: u16 = 256;
/// The group of provided buffers.
const GROUP: u16 = 0;
/// The time limit for stopping.
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

/// The kind of operation. The user data contains it with the connection's number.
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
    /// The connections by number. The numbers of closed ones are reused.
    connections: Vec<Option<Connection>>,
    /// Connections that found no free buffer for a receive.
    starved: Vec<usize>,
    /// The number of pushed operations whose last completion has not arrived.
    outstanding: usize,
    accepted: usize,
    echoed: u64,
}

/// Buffers into which all connections receive.
struct Provided {
    ring: BufRing,
    /// One box for each buffer: accessing one does not touch another, which the kernel may be
    /// filling.
    memory: Vec<Box<[u8]>>,
}

struct Connection {
    stream: TcpStream,
    /// Received data that is not sent yet: the buffer, and the range in it.
    received: VecDeque<(Option<u16>, Range<usize>)>,
    /// The connection's own buffer, used if there are no provided buffers.
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

    /// Echoes until Ctrl-C.
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

    /// Waits until nothing is in flight. Memory and descriptors may be released only then.
    fn stop(&mut self) {
        // Before 5.19, operations can be canceled only by their user data.
        let connections = (0..self.connections.len())
            .flat_map(|number| [user_data(Kind::Receive, number), user_data(Kind::Send, number)]);
        let user_data: Vec<u64> = [user_data(Kind::Stop, 0), user_data(Kind::Accept, 0)]
            .into_iter()
            .chain(connections)
            .collect();
        let in_flight = &mut self.outstanding;
        let ended = self.ring.quiesce_with(in_flight, END, &user_data, |cqe| {
            if kind_of(&cqe).0 == Kind::Accept {
                // SAFETY: this is a completion of an accept, and nothing has used its descriptor.
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
    /// The memory that the entry points to, and its descriptor, belong to the server or to one of
    /// its connections. Neither is dropped before its operations have completed.
    fn push(&mut self, entry: Entry) -> Result<()> {
        if self.ring.submission().is_full() {
            self.ring.submit().context("cannot submit")?;
        }
        // SAFETY: the entry uses memory and descriptors of the server or of a connection. A connection is
        // closed only when it has neither a receive nor a send in flight.
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
        // SAFETY: this is a completion of an accept, and nothing else uses its descriptor.
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
            // Kernels before 5.19 do not support multishot accept.
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
            Ok(_) | Err(_) => connection.closing = true, // end of stream, or a reset
        }
        // A connection with its own buffer receives again when that buffer is sent.
        if !cqe.more() && self.provided.is_some() && !self.starved.contains(&number) {
            self.go_on(number)?;
        }
        self.close_if_done(number);
        Ok(())
    }

    /// Starts a receive, unless the connection has reached the end of the stream.
    fn go_on(&mut self, number: usize) -> Result<()> {
        match &self.connections[number] {
            Some(connection) if !connection.closing && !connection.receiving => {
                self.receive(number)
            }
            _ => Ok(()),
        }
    }

    /// Sends the next piece, unless a send is in flight.
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
                let (_, range) =
                    connection.received.front_mut().expect("a completed send without data");
                range.start += len as usize;
                if range.start == range.end {
                    self.return_buffer(number)?;
                }
            }
            Err(_) => {
                // The peer is gone. The shutdown also ends a receive that is in flight.
                connection.closing = true;
                let _ = connection.stream.shutdown(Shutdown::Both);
                while self.has_received(number) {
                    self.return_buffer(number)?;
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

    /// Returns the buffer of a connection's oldest piece to the ring, and starts the receives of
    /// connections that had found no buffer.
    fn return_buffer(&mut self, number: usize) -> Result<()> {
        let Some(connection) = &mut self.connections[number] else { return Ok(()) };
        match (connection.received.pop_front(), &mut self.provided) {
            (Some((Some(buffer), _)), Some(provided)) => {
                provided.add(buffer);
                provided.ring.publish();
                for starved in mem::take(&mut self.starved) {
                    self.go_on(starved)?;
                }
                Ok(())
            }
            _ => self.go_on(number),
        }
    }

    /// Closes a connection that receives no more, once everything is echoed.
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
    /// Runs after an error or a panic too.
    fn drop(&mut self) {
        self.stop();
    }
}

impl Provided {
    /// Registers the buffers. Returns `None` if the kernel does not support them (new in 5.19 and
    /// 6.4).
    fn new(ring: &IoUring) -> Result<Option<Self>> {
        let flags = BufRingFlags::empty();
        let ring = match ring.submitter().register_buf_ring_mmap(BUFFERS, GROUP, flags) {
            Err(Errno::INVAL) => return Ok(None),
            ring => ring.map_err(io::Error::from)?,
        };
        let memory = (0..BUFFERS).map(|_| vec![0; BUFFER].into_boxed_slice()).collect();
        let mut provided = Self { ring, memory };
        (0..BUFFERS).for_each(|buffer| provided.add(buffer));
        provided.ring.publish();
        Ok(Some(provided))
    }

    fn add(&mut self, buffer: u16) {
        let bytes = &mut self.memory[usize::from(buffer)];
        // SAFETY: this buffer belongs to us: it was never added, or a completion returned it and
        // its data is sent. The memory is freed after the server has stopped.
        unsafe { self.ring.add(bytes.as_mut_ptr(), BUFFER as u32, buffer) };
    }
}
