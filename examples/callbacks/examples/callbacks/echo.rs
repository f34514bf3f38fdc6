//! An echo server. Each connection receives, sends back everything that it has received, and repeats.

use std::cell::Cell;
use std::net::TcpListener;
use std::ops::Range;
use std::rc::Rc;

use callbacks::{
    Buffer, Callback, Context, File, Handle, Op, OpResult, Ring, RingError, RunCondition, Task,
};

/// The state that all tasks share.
pub(crate) struct Echo {
    /// The number of connections still to accept.
    to_come: Cell<usize>,
    bytes: Cell<u64>,
}

/// Serves this many connections until all are closed. Returns the number of bytes echoed.
pub(crate) fn serve<H: Handle>(
    ring: &mut Ring<Rc<Echo>, H>,
    listener: TcpListener,
    connections: usize,
) -> Result<u64, RingError> {
    let echo = Rc::new(Echo { to_come: Cell::new(connections), bytes: Cell::new(0) });
    start(ring, echo.clone(), accepted, Op::Accept(listener.into()))?;
    ring.run(RunCondition::UntilDone)?;
    Ok(echo.bytes.get())
}

/// Starts an operation. If no task is free, this closes the file and with it the connection, and the error
/// ends the server.
fn start<H: Handle>(
    ring: &mut Ring<Rc<Echo>, H>,
    echo: Rc<Echo>,
    cb: Callback<Rc<Echo>, H>,
    op: Op,
) -> Result<(), RingError> {
    ring.start(op, Context { cb, msg: 0, userdata: echo })?;
    Ok(())
}

fn accepted<H: Handle>(
    ring: &mut Ring<Rc<Echo>, H>,
    task: Task<Rc<Echo>>,
) -> Result<(), RingError> {
    let (OpResult::Accept(result, listener), echo) = (task.result, task.userdata) else {
        return Ok(());
    };
    let (connection, _) = result?;
    echo.to_come.set(echo.to_come.get() - 1);
    let buffer = Buffer::new(vec![0; 4096]);
    start(ring, echo.clone(), received, Op::Recv(connection.into(), buffer))?;
    if echo.to_come.get() > 0 {
        start(ring, echo, accepted, Op::Accept(listener))?;
    }
    Ok(())
}

fn received<H: Handle>(
    ring: &mut Ring<Rc<Echo>, H>,
    task: Task<Rc<Echo>>,
) -> Result<(), RingError> {
    match task.result {
        OpResult::Recv(Ok(len), connection, buffer) if len > 0 => {
            send(ring, task.userdata, connection, buffer, 0..len)
        }
        _ => Ok(()), // The peer has closed or reset the connection: close it.
    }
}

fn sent<H: Handle>(ring: &mut Ring<Rc<Echo>, H>, task: Task<Rc<Echo>>) -> Result<(), RingError> {
    let (OpResult::Send(Ok(len), connection, buffer), echo) = (task.result, task.userdata) else {
        return Ok(());
    };
    echo.bytes.set(echo.bytes.get() + len as u64);
    let rest = buffer.range.start + len..buffer.range.end;
    if rest.is_empty() {
        let whole = 0..buffer.bytes.len();
        start(ring, echo, received, Op::Recv(connection, buffer.part(whole)))
    } else {
        send(ring, echo, connection, buffer, rest)
    }
}

fn send<H: Handle>(
    ring: &mut Ring<Rc<Echo>, H>,
    echo: Rc<Echo>,
    connection: File,
    buffer: Buffer,
    part: Range<usize>,
) -> Result<(), RingError> {
    start(ring, echo, sent, Op::Send(connection, buffer.part(part)))
}
