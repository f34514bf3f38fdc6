//! A small state machine: socket, connect, write, read, close, and again from the start.
//!
//! The `msg` of the task is its state. The machine passes its file and its buffer from each operation to
//! the next: they move into an operation, and come back with its result.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use callbacks::{
    AddressFamily, Buffer, Context, Handle, Offset, Op, OpResult, Ring, RingError, RunCondition,
    SocketType, Task,
};

pub(crate) const QUESTION: &[u8; 4] = b"ping";

// The states. Each is named after the operation that is in flight.
const SOCKET: u16 = 0;
const CONNECT: u16 = 1;
const WRITE: u16 = 2;
const READ: u16 = 3;
const CLOSE: u16 = 4;

/// The state that all machines share.
pub(crate) struct Job {
    server: SocketAddr,
    /// The number of runs that no machine has started.
    left: Cell<u32>,
    done: Cell<u32>,
}

pub(crate) struct Machine {
    job: Rc<Job>,
    /// `None` while an operation owns it.
    buffer: Option<Buffer>,
}

impl Job {
    pub(crate) fn new(server: SocketAddr, runs: u32) -> Rc<Self> {
        Rc::new(Self { server, left: Cell::new(runs), done: Cell::new(0) })
    }

    /// Starts this many machines, and waits until no runs are left. Returns the number of completed runs.
    pub(crate) fn run<H: Handle>(
        self: &Rc<Self>,
        ring: &mut Ring<Machine, H>,
        machines: usize,
    ) -> Result<u32, RingError> {
        for _ in 0..machines {
            let buffer = Some(Buffer::new(QUESTION.as_slice()));
            Machine { job: self.clone(), buffer }.begin(ring)?;
        }
        ring.run(RunCondition::UntilDone)?;
        Ok(self.done.get())
    }
}

impl Machine {
    fn begin<H: Handle>(self, ring: &mut Ring<Self, H>) -> Result<(), RingError> {
        let left = self.job.left.get();
        if left == 0 {
            return Ok(());
        }
        self.job.left.set(left - 1);
        self.start(ring, SOCKET, Op::Socket(AddressFamily::INET, SocketType::STREAM))
    }

    fn start<H: Handle>(self, ring: &mut Ring<Self, H>, msg: u16, op: Op) -> Result<(), RingError> {
        ring.start(op, Context { cb: next, msg, userdata: self })?;
        Ok(())
    }
}

/// Starts the next operation of a machine. An error ends the run of the ring, and with it all machines.
fn next<H: Handle>(ring: &mut Ring<Machine, H>, task: Task<Machine>) -> Result<(), RingError> {
    let Task { result, msg, userdata: mut machine } = task;
    match (msg, result) {
        (SOCKET, OpResult::Socket(Ok(fd))) => {
            let connect = Op::Connect(fd.into(), machine.job.server);
            machine.start(ring, CONNECT, connect)
        }
        (CONNECT, OpResult::Connect(Ok(()), file)) => {
            let mut buffer = machine.buffer.take().expect("no operation owns it");
            buffer.bytes.copy_from_slice(QUESTION);
            let question = buffer.part(0..QUESTION.len());
            machine.start(ring, WRITE, Op::Write(file, question, Offset::File))
        }
        (WRITE, OpResult::Write(Ok(len), file, buffer)) => {
            let rest = buffer.range.start + len..QUESTION.len();
            if rest.is_empty() {
                let whole = buffer.part(0..QUESTION.len());
                machine.start(ring, READ, Op::Read(file, whole, Offset::File))
            } else {
                machine.start(ring, WRITE, Op::Write(file, buffer.part(rest), Offset::File))
            }
        }
        // Wait until the server has closed the connection: the side that closes first keeps its port busy.
        (READ, OpResult::Read(Ok(0), file, buffer)) if buffer.range.is_empty() => {
            let fd = file.into_own().expect("no other operation shares it");
            if buffer.bytes.iter().zip(QUESTION).any(|(got, sent)| *got != !*sent) {
                return Err(RingError::callback("the reply is not the inverted message"));
            }
            machine.buffer = Some(buffer);
            machine.start(ring, CLOSE, Op::Close(fd))
        }
        (READ, OpResult::Read(Ok(len), file, buffer)) if len > 0 => {
            let rest = buffer.range.start + len..QUESTION.len();
            machine.start(ring, READ, Op::Read(file, buffer.part(rest), Offset::File))
        }
        (CLOSE, OpResult::Close(Ok(()))) => {
            machine.job.done.set(machine.job.done.get() + 1);
            machine.begin(ring)
        }
        (msg, result) => Err(RingError::callback(format!("in state {msg}: {result:?}"))),
    }
}

/// The server for the machines. It replies with every bit inverted, and closes the connection.
pub(crate) fn serve(listener: &std::net::TcpListener, connections: usize) -> std::io::Result<()> {
    use std::io::{Read, Write};
    for stream in listener.incoming().take(connections) {
        let mut stream = stream?;
        let mut question = [0; QUESTION.len()];
        stream.read_exact(&mut question)?;
        stream.write_all(&question.map(|byte| !byte))?;
    }
    Ok(())
}
