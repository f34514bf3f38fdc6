//! The CPU time that callbacks take, beside two loops that are written by hand on `rustix-uring`.

#[path = "../../callbacks/examples/callbacks/echo.rs"]
mod echo;

use std::cell::Cell;
use std::fs;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr;
use std::rc::Rc;

use anyhow::{Result, ensure};
use callbacks::{Buffer, Context, File, Offset, Op, OpResult, Ring, RingError, RunCondition, Task};
use figures::compare;
use figures::load::{self, AT_A_TIME, BLOCK, CONNECTIONS, MESSAGE, MESSAGES, READS, ROWS};
use rustix_uring::cqueue::CompletionQueue;
use rustix_uring::squeue::{Entry, SubmissionQueue};
use rustix_uring::{Errno, IoUring, Submitter, opcode};

fn main() -> Result<()> {
    compare(ROWS, &[("callbacks", ours), ("by hand", by_hand)])
}

fn ours() -> Result<Vec<f64>> {
    let serve = |listener, connections| {
        let mut ring = Ring::init(connections as u32 + 1)?;
        Ok(echo::serve(&mut ring, listener, connections)?)
    };
    rows(|file, at_a_time| Ok(read(file, at_a_time)?), serve)
}

fn by_hand() -> Result<Vec<f64>> {
    rows(
        |file, at_a_time| Ok(read_by_hand(&file, at_a_time)?),
        |listener, connections| Ok(serve_by_hand(&listener, connections)?),
    )
}

fn rows(
    read: impl Fn(fs::File, u32) -> Result<()>,
    serve: impl Fn(TcpListener, usize) -> Result<u64>,
) -> Result<Vec<f64>> {
    let file = load::file()?;
    let mut rows = Vec::new();
    for at_a_time in AT_A_TIME {
        let file = file.reopen()?;
        rows.push(load::cpu_of(READS, || read(file, at_a_time))?);
    }
    for connections in CONNECTIONS {
        rows.push(load::echo(connections, MESSAGES, |listener, connections| {
            let expected = MESSAGES as usize / connections * connections * MESSAGE;
            ensure!(serve(listener, connections)? == expected as u64, "an echo is incomplete");
            Ok(())
        })?);
    }
    Ok(rows)
}

/// Allocates memory, and returns it with the index at which a page-aligned block begins. Both sides use
/// aligned blocks, because the kernel takes longer to copy to an unaligned address.
fn block() -> (Box<[u8]>, usize) {
    let bytes = vec![0; 2 * BLOCK].into_boxed_slice();
    let begin = bytes.as_ptr().align_offset(BLOCK);
    (bytes, begin)
}

/// Reads with callbacks. The echo server is the one in the `callbacks` example.
fn read(file: fs::File, at_a_time: u32) -> Result<(), RingError> {
    let mut ring = Ring::init(at_a_time)?;
    let (file, started) = (Rc::new(file.into()), Rc::new(Cell::new(0)));
    for _ in 0..at_a_time {
        let (bytes, begin) = block();
        let buffer = Buffer::new(bytes).part(begin..begin + BLOCK);
        start(&mut ring, started.clone(), File::Shared(Rc::clone(&file)), buffer)?;
    }
    ring.run(RunCondition::UntilDone)
}

/// The number of reads that were started.
type Started = Rc<Cell<u32>>;

fn start(
    ring: &mut Ring<Started>,
    started: Started,
    file: File,
    buffer: Buffer,
) -> Result<(), RingError> {
    let number = started.replace(started.get() + 1);
    let read = Op::Read(file, buffer, Offset::At(load::offset(number)));
    ring.start(read, Context { cb: done, msg: 0, userdata: started })?;
    Ok(())
}

fn done(ring: &mut Ring<Started>, task: Task<Started>) -> Result<(), RingError> {
    let OpResult::Read(len, file, buffer) = task.result else { unreachable!("it is a read") };
    assert_eq!(len?, BLOCK);
    if task.userdata.get() < READS { start(ring, task.userdata, file, buffer) } else { Ok(()) }
}

/// Sets up a ring of the same size as [`callbacks::Ring::init`] does.
fn ring(tasks: u32) -> Result<IoUring, Errno> {
    let slots = tasks.clamp(1, 256);
    IoUring::builder().setup_cqsize(tasks.max(slots) * 2).build(slots)
}

/// Submits what was pushed, and waits for a completion.
#[inline]
fn submit_and_wait(
    submitter: &Submitter<'_>,
    queue: &mut SubmissionQueue<'_>,
    completions: &mut CompletionQueue<'_>,
) -> Result<(), Errno> {
    queue.sync();
    match submitter.submit_and_wait(1) {
        Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
        Err(errno) => return Err(errno),
    }
    queue.sync();
    completions.sync();
    Ok(())
}

const ROOM: &str = "there are as many slots as operations";

fn read_by_hand(file: &fs::File, at_a_time: u32) -> Result<(), Errno> {
    let mut ring = ring(at_a_time)?;
    let (submitter, mut queue, mut completions) = ring.split();
    let mut buffers: Vec<_> = (0..at_a_time).map(|_| block()).collect();
    let (mut started, mut done) = (0, 0);
    let entry = |buffers: &mut [(Box<[u8]>, usize)], started: u32, number: u64| {
        let (bytes, begin) = &mut buffers[number as usize];
        let buffer = &mut bytes[*begin..*begin + BLOCK];
        opcode::Read::new(file.as_fd(), buffer.as_mut_ptr(), BLOCK as u32)
            .offset(load::offset(started))
            .build()
            .user_data(number)
    };
    while started < at_a_time {
        // SAFETY: each buffer belongs to one read at a time. The buffers outlive the loop, which ends when
        // all reads have completed. (If the loop fails, the benchmark ends.)
        unsafe { queue.push(&entry(&mut buffers, started, started.into())) }.expect(ROOM);
        started += 1;
    }
    while done < READS {
        submit_and_wait(&submitter, &mut queue, &mut completions)?;
        for cqe in &mut completions {
            assert_eq!(cqe.to_result()?, BLOCK as u32);
            done += 1;
            if started < READS {
                // SAFETY: the previous read into this buffer has completed, and the buffers outlive the loop.
                unsafe { queue.push(&entry(&mut buffers, started, cqe.user_data())) }.expect(ROOM);
                started += 1;
            }
        }
    }
    Ok(())
}

struct Connection {
    fd: OwnedFd,
    buffer: Box<[u8]>,
    /// The number of bytes to send.
    len: usize,
    /// How many of them were sent.
    sent: usize,
}

const ACCEPT: u64 = 0;
const RECV: u64 = 1;
const SEND: u64 = 2;

fn recv(connection: &mut Connection, number: u64) -> Entry {
    let Connection { fd, buffer, .. } = connection;
    opcode::Recv::new(fd.as_fd(), buffer.as_mut_ptr(), buffer.len() as u32)
        .build()
        .user_data(number << 2 | RECV)
}

fn send(connection: &Connection, number: u64) -> Entry {
    let Connection { fd, buffer, len, sent } = connection;
    let part = &buffer[*sent..*len];
    opcode::Send::new(fd.as_fd(), part.as_ptr(), part.len() as u32)
        .build()
        .user_data(number << 2 | SEND)
}

/// Serves this many connections until all are closed. Returns the number of bytes echoed.
fn serve_by_hand(listener: &TcpListener, connections: usize) -> Result<u64, Errno> {
    let mut ring = ring(connections as u32 + 1)?;
    let (submitter, mut queue, mut completions) = ring.split();
    let mut all: Vec<Option<Connection>> = Vec::with_capacity(connections);
    let (mut open, mut bytes) = (0, 0);
    let accept = || {
        let (null, no_len) = (ptr::null_mut(), ptr::null_mut());
        opcode::Accept::new(listener.as_fd(), null, no_len).build().user_data(ACCEPT)
    };
    // SAFETY: the entry points to no memory.
    unsafe { queue.push(&accept()) }.expect(ROOM);
    while all.len() < connections || open > 0 {
        submit_and_wait(&submitter, &mut queue, &mut completions)?;
        for cqe in &mut completions {
            let number = cqe.user_data() >> 2;
            let next = match cqe.user_data() & 3 {
                ACCEPT => {
                    // SAFETY: this is the completion of an accept, and nothing else takes its descriptor.
                    let fd = unsafe { cqe.to_fd()? };
                    let (number, buffer) = (all.len() as u64, vec![0; 4096].into());
                    let mut connection = Connection { fd, buffer, len: 0, sent: 0 };
                    let next = recv(&mut connection, number);
                    all.push(Some(connection));
                    open += 1;
                    if all.len() < connections {
                        // SAFETY: the entry points to no memory.
                        unsafe { queue.push(&accept()) }.expect(ROOM);
                    }
                    Some(next)
                }
                RECV => {
                    let slot = &mut all[number as usize];
                    match (cqe.to_result(), &mut *slot) {
                        (Ok(len), Some(connection)) if len > 0 => {
                            (connection.len, connection.sent) = (len as usize, 0);
                            Some(send(connection, number))
                        }
                        // The peer has closed or reset the connection.
                        _ => {
                            *slot = None;
                            open -= 1;
                            None
                        }
                    }
                }
                _ => {
                    let connection = all[number as usize].as_mut().expect("an open connection");
                    let sent = cqe.to_result()?;
                    bytes += u64::from(sent);
                    connection.sent += sent as usize;
                    if connection.sent < connection.len {
                        Some(send(connection, number))
                    } else {
                        Some(recv(connection, number))
                    }
                }
            };
            if let Some(next) = next {
                // SAFETY: the buffer is on the heap, and belongs to one operation at a time. The connection
                // owns it until the last of them has completed. (If the loop fails, the benchmark ends.)
                unsafe { queue.push(&next) }.expect(ROOM);
            }
        }
    }
    Ok(bytes)
}
