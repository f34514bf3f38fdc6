//! An echo server: each connection receives, sends all of that, and receives again.

use std::cell::Cell;
use std::net::TcpListener;
use std::ops::Range;
use std::rc::Rc;

use rustix_uring::{Errno, Handle};

use crate::event_loop::{Context, Done, Loop, Until};
use crate::op::{Buffer, File, Op, Outcome};

/// What all tasks have in common.
pub(crate) struct Echo {
    /// Connections that have not come yet.
    to_come: Cell<usize>,
    bytes: Cell<u64>,
    failed: Cell<Option<Errno>>,
}

/// Serves until so many connections have come and gone. Says how many bytes were echoed.
pub(crate) fn serve<H: Handle>(
    on: &mut Loop<Rc<Echo>, H>,
    listener: TcpListener,
    connections: usize,
) -> Result<u64, Errno> {
    let echo = Rc::new(Echo {
        to_come: Cell::new(connections),
        bytes: Cell::new(0),
        failed: Cell::new(None),
    });
    start(on, &echo, accepted, Op::accept(File::Own(listener.into())));
    on.run(Until::Done)?;
    echo.failed.get().map_or(Ok(echo.bytes.get()), Err)
}

type Callback<H> = crate::event_loop::Callback<Rc<Echo>, H>;

fn start<H: Handle>(on: &mut Loop<Rc<Echo>, H>, echo: &Rc<Echo>, callback: Callback<H>, op: Op) {
    // Where no task is free, the file goes, and with it the connection.
    if on.start(op, Context { callback, state: 0, user: echo.clone() }).is_err() {
        echo.failed.set(Some(Errno::BUSY));
    }
}

fn accepted<H: Handle>(on: &mut Loop<Rc<Echo>, H>, done: Done<Rc<Echo>>) {
    let (Outcome::Accept(result, listener), echo) = (done.outcome, done.user) else { return };
    match result {
        Ok((connection, _)) => {
            echo.to_come.set(echo.to_come.get() - 1);
            let buffer = Buffer::new(vec![0; 4096]);
            start(on, &echo, received, Op::Receive(File::Own(connection), buffer));
        }
        Err(errno) => echo.failed.set(Some(errno)),
    }
    if echo.to_come.get() > 0 && echo.failed.get().is_none() {
        start(on, &echo, accepted, Op::accept(listener));
    }
}

fn received<H: Handle>(on: &mut Loop<Rc<Echo>, H>, done: Done<Rc<Echo>>) {
    let Outcome::Receive(result, connection, buffer) = done.outcome else { return };
    match result {
        Ok(len) if len > 0 => send(on, &done.user, connection, buffer, 0..len),
        _ => {} // The end, or a reset: the connection goes.
    }
}

fn sent<H: Handle>(on: &mut Loop<Rc<Echo>, H>, done: Done<Rc<Echo>>) {
    let (Outcome::Send(Ok(len), connection, buffer), echo) = (done.outcome, done.user) else {
        return;
    };
    echo.bytes.set(echo.bytes.get() + len as u64);
    let rest = buffer.range.start + len..buffer.range.end;
    if rest.is_empty() {
        let whole = 0..buffer.bytes.len();
        start(on, &echo, received, Op::Receive(connection, buffer.part(whole)));
    } else {
        send(on, &echo, connection, buffer, rest);
    }
}

fn send<H: Handle>(
    on: &mut Loop<Rc<Echo>, H>,
    echo: &Rc<Echo>,
    connection: File,
    buffer: Buffer,
    part: Range<usize>,
) {
    start(on, echo, sent, Op::Send(connection, buffer.part(part)));
}
