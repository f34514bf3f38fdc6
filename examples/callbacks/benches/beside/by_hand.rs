//! The baseline: two loops, each written for one purpose directly on `rustix-uring`.

use std::fs;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};

use rustix_uring::squeue::Entry;
use rustix_uring::{Errno, IoUring, opcode};

use crate::{BLOCK, Offsets, block};

/// Sets up a ring of the same size as [`callbacks::Ring::init`] does.
fn ring(tasks: u32) -> Result<IoUring, Errno> {
    let slots = tasks.clamp(1, 256);
    IoUring::builder().setup_cqsize(tasks.max(slots) * 2).build(slots)
}

const ROOM: &str = "there are as many slots as operations";

/// Reads `reads` blocks, with `depth` reads in flight.
pub(crate) fn read(file: &fs::File, depth: u32, reads: u64) -> Result<(), Errno> {
    let mut ring = ring(depth)?;
    let (submitter, mut queue, mut completions) = ring.split();
    let mut buffers: Vec<_> = (0..depth).map(|_| block()).collect();
    let (mut offsets, mut started, mut done) = (Offsets::new(), 0, 0);
    let mut entry = |buffers: &mut [(Box<[u8]>, usize)], number: u64| {
        let (bytes, begin) = &mut buffers[number as usize];
        let buffer = &mut bytes[*begin..*begin + BLOCK];
        opcode::Read::new(file.as_fd(), buffer.as_mut_ptr(), BLOCK as u32)
            .offset(offsets.next())
            .build()
            .user_data(number)
    };
    while started < u64::from(depth).min(reads) {
        // SAFETY: each buffer belongs to one read at a time. The buffers outlive the loop, which ends when
        // all reads have completed. (If the loop fails, the benchmark ends.)
        unsafe { queue.push(&entry(&mut buffers, started)) }.expect(ROOM);
        started += 1;
    }
    while done < reads {
        queue.sync();
        match submitter.submit_and_wait(1) {
            Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
            Err(errno) => return Err(errno),
        }
        queue.sync();
        completions.sync();
        for cqe in &mut completions {
            assert_eq!(cqe.to_result()?, BLOCK as u32);
            done += 1;
            if started < reads {
                // SAFETY: the previous read into this buffer has completed. The buffers outlive the loop,
                // which ends when all reads have completed.
                unsafe { queue.push(&entry(&mut buffers, cqe.user_data())) }.expect(ROOM);
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
pub(crate) fn echo(listener: &TcpListener, connections: usize) -> Result<u64, Errno> {
    let mut ring = ring(connections as u32 + 1)?;
    let (submitter, mut queue, mut completions) = ring.split();
    let mut all: Vec<Option<Connection>> = Vec::with_capacity(connections);
    let (mut open, mut bytes) = (0, 0);
    let accept = || {
        let (null, no_len) = (std::ptr::null_mut(), std::ptr::null_mut());
        opcode::Accept::new(listener.as_fd(), null, no_len).build().user_data(ACCEPT)
    };
    // SAFETY: the entry points to no memory.
    unsafe { queue.push(&accept()) }.expect(ROOM);
    while all.len() < connections || open > 0 {
        queue.sync();
        match submitter.submit_and_wait(1) {
            Ok(_) | Err(Errno::INTR | Errno::AGAIN | Errno::BUSY) => {}
            Err(errno) => return Err(errno),
        }
        queue.sync();
        completions.sync();
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
