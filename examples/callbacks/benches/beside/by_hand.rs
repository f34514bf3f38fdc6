//! What the runtime is measured against: loops that are written for one purpose, on the bare crate.

use std::fs;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};

use rustix_uring::squeue::Entry;
use rustix_uring::{Errno, IoUring, opcode};

use crate::{BLOCK, Offsets, block};

/// A ring with the same sizes as [`callbacks::Ring::init`] has.
fn ring(tasks: u32) -> Result<IoUring, Errno> {
    let slots = tasks.clamp(1, 256);
    IoUring::builder().setup_cqsize(tasks.max(slots) * 2).build(slots)
}

const ROOM: &str = "there are as many slots as operations";

/// Reads blocks, `depth` at a time, until `reads` were read.
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
        // SAFETY: nothing else uses this buffer, and it outlives the loop, which ends when all reads
        // have. (Where it fails, the benchmark ends.)
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
                // SAFETY: as above; the read of this buffer is over.
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
    /// What is to be sent, and what of it was.
    len: usize,
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

/// Serves until so many connections have come and gone. Returns how many bytes were echoed.
pub(crate) fn echo(listener: &TcpListener, connections: usize) -> Result<u64, Errno> {
    let mut ring = ring(connections as u32 + 1)?;
    let (submitter, mut queue, mut completions) = ring.split();
    let mut all: Vec<Option<Connection>> = Vec::with_capacity(connections);
    let (mut open, mut bytes) = (0, 0);
    let accept = || {
        let (null, no_len) = (std::ptr::null_mut(), std::ptr::null_mut());
        opcode::Accept::new(listener.as_fd(), null, no_len).build().user_data(ACCEPT)
    };
    // SAFETY: it has no memory.
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
                    // SAFETY: it is the completion of an accept, and this is its only use.
                    let fd = unsafe { cqe.to_fd()? };
                    let (number, buffer) = (all.len() as u64, vec![0; 4096].into());
                    let mut connection = Connection { fd, buffer, len: 0, sent: 0 };
                    let next = recv(&mut connection, number);
                    all.push(Some(connection));
                    open += 1;
                    if all.len() < connections {
                        // SAFETY: it has no memory.
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
                        // The end, or a reset.
                        _ => {
                            *slot = None;
                            open -= 1;
                            None
                        }
                    }
                }
                _ => {
                    let connection = all[number as usize].as_mut().expect("it is open");
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
                // SAFETY: the buffer is on the heap, and of one operation at a time. Its connection
                // stays until the last of them is over. (Where the loop fails, the benchmark ends.)
                unsafe { queue.push(&next) }.expect(ROOM);
            }
        }
    }
    Ok(bytes)
}
