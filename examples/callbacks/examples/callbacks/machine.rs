//! A small state machine: socket, connect, write, read, close; and from the start again.
//!
//! Its state is the task's small number, everything else it carries along from one operation to the
//! next: the file and the buffer go into an operation and come out of it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use callbacks::{
    AddressFamily, Buffer, Context, Done, File, Handle, Loop, Op, Outcome, SocketType, Until,
};

pub(crate) const QUESTION: &[u8; 4] = b"ping";

/// The states, each named for the operation that is under way.
const SOCKET: u16 = 0;
const CONNECT: u16 = 1;
const WRITE: u16 = 2;
const READ: u16 = 3;
const CLOSE: u16 = 4;

/// What all machines have in common.
pub(crate) struct Job {
    server: SocketAddr,
    /// Runs that nobody has begun.
    left: Cell<u32>,
    done: Cell<u32>,
    failure: RefCell<Option<String>>,
}

pub(crate) struct Machine {
    job: Rc<Job>,
    /// Here while no operation has it.
    buffer: Option<Buffer>,
}

impl Job {
    pub(crate) fn new(server: SocketAddr, runs: u32) -> Rc<Self> {
        let failure = RefCell::new(None);
        Rc::new(Self { server, left: Cell::new(runs), done: Cell::new(0), failure })
    }

    /// Has machines run until there are no runs left. Says how many runs were done.
    pub(crate) fn run<H: Handle>(
        self: &Rc<Self>,
        on: &mut Loop<Machine, H>,
        machines: usize,
    ) -> Result<u32, String> {
        for _ in 0..machines {
            let buffer = Some(Buffer::new(QUESTION.as_slice()));
            Machine { job: self.clone(), buffer }.begin(on);
        }
        on.run(Until::Done).map_err(|errno| format!("the ring: {errno}"))?;
        self.failure.take().map_or(Ok(self.done.get()), Err)
    }
}

impl Machine {
    fn begin<H: Handle>(self, on: &mut Loop<Self, H>) {
        let left = self.job.left.get();
        if left > 0 {
            self.job.left.set(left - 1);
            self.start(on, SOCKET, Op::Socket(AddressFamily::INET, SocketType::STREAM));
        }
    }

    fn start<H: Handle>(self, on: &mut Loop<Self, H>, state: u16, op: Op) {
        if let Err((op, context)) = on.start(op, Context { callback: next, state, user: self }) {
            context.user.fail(format!("no task is free for {op:?}"));
        }
    }

    /// This machine ends, and no other begins again.
    fn fail(self, why: String) {
        self.job.left.set(0);
        self.job.failure.replace(Some(why));
    }
}

fn next<H: Handle>(on: &mut Loop<Machine, H>, done: Done<Machine>) {
    let Done { outcome, state, user: mut machine } = done;
    match (state, outcome) {
        (SOCKET, Outcome::Socket(Ok(fd))) => {
            let connect = Op::connect(File::Own(fd), machine.job.server);
            machine.start(on, CONNECT, connect);
        }
        (CONNECT, Outcome::Connect(Ok(()), file)) => {
            let mut buffer = machine.buffer.take().expect("no operation has it");
            buffer.bytes.copy_from_slice(QUESTION);
            machine.start(on, WRITE, Op::Write(file, buffer.part(0..QUESTION.len()), 0));
        }
        (WRITE, Outcome::Write(Ok(len), file, buffer)) => {
            let rest = buffer.range.start + len..QUESTION.len();
            if rest.is_empty() {
                machine.start(on, READ, Op::Read(file, buffer.part(0..QUESTION.len()), 0));
            } else {
                machine.start(on, WRITE, Op::Write(file, buffer.part(rest), 0));
            }
        }
        // The server closes first, so that the port is free for the next run at once.
        (READ, Outcome::Read(Ok(0), file, buffer)) if buffer.range.is_empty() => {
            let fd = file.into_own().expect("it is not shared");
            let answer = buffer.bytes.iter().zip(QUESTION).all(|(got, sent)| *got == !*sent);
            machine.buffer = Some(buffer);
            if answer {
                machine.start(on, CLOSE, Op::Close(fd));
            } else {
                machine.fail("a wrong answer".into());
            }
        }
        (READ, Outcome::Read(Ok(len), file, buffer)) if len > 0 => {
            let rest = buffer.range.start + len..QUESTION.len();
            machine.start(on, READ, Op::Read(file, buffer.part(rest), 0));
        }
        (CLOSE, Outcome::Close(Ok(()))) => {
            machine.job.done.set(machine.job.done.get() + 1);
            machine.begin(on);
        }
        (_, outcome) => machine.fail(format!("in state {state}: {outcome:?}")),
    }
}

/// What the machines talk to: answers with each bit turned over, and closes.
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
