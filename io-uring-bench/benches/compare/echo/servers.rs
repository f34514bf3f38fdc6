//! The servers: one for all rings, and one for epoll.

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::{read, write};

use super::Served;
use crate::peer::{Everything, Lasting, Recv, Send, Setup};

/// The flag in the user data that marks a send, next to the number of the connection.
const SENT: u64 = 1 << 32;

/// Receives and sends: each request takes two operations.
pub(super) fn uring<P: Everything>(
    setup: &Setup,
    sockets: &[TcpStream],
    bufs: &[Lasting],
) -> Result<Served, String> {
    let mut ring = P::ring(setup, 256)?;
    let fds: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
    let mut ready: Vec<(u64, i32)> = (0..fds.len() as u64).map(|i| (i | SENT, 0)).collect();
    let (mut open, mut calls) = (fds.len(), 0);
    while open > 0 {
        let mut queue = P::queue(&mut ring);
        for (user_data, result) in ready.drain(..) {
            let i = (user_data & !SENT) as usize;
            let (fd, buf) = (fds[i], bufs[i]);
            if user_data & SENT != 0 {
                assert!(result >= 0, "sent: {result}");
                P::push(&mut queue, Recv { fd, buf }, i as u64);
            } else if result > 0 {
                let buf = buf.first(result as u32);
                P::push(&mut queue, Send { fd, buf }, i as u64 | SENT);
            } else {
                open -= 1;
            }
        }
        drop(queue);
        if open > 0 {
            P::submit_and_wait(&mut ring, 1);
            calls += 1;
            P::reap(&mut ring, |user_data, result| ready.push((user_data, result)));
        }
    }
    Ok(Served { calls, cpu: Duration::ZERO })
}

/// Waits, reads and writes.
pub(super) fn epoll(_: &Setup, sockets: &[TcpStream], bufs: &[Lasting]) -> Result<Served, String> {
    serve_epoll(sockets, bufs).map_err(|error| error.to_string())
}

fn serve_epoll(sockets: &[TcpStream], bufs: &[Lasting]) -> rustix::io::Result<Served> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (i, socket) in sockets.iter().enumerate() {
        epoll::add(&epoll, socket, EventData::new_u64(i as u64), EventFlags::IN)?;
    }
    let mut events = Vec::with_capacity(sockets.len());
    let (mut open, mut calls) = (sockets.len(), 0);
    while open > 0 {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        calls += 1;
        for event in &events {
            let i = event.data.u64() as usize;
            // SAFETY: the memory belongs to this connection only, and no ring uses it now.
            let buf =
                unsafe { std::slice::from_raw_parts_mut(bufs[i].start, bufs[i].len as usize) };
            let n = read(&sockets[i], &mut *buf)?;
            calls += 1;
            if n == 0 {
                epoll::delete(&epoll, &sockets[i])?;
                open -= 1;
            } else {
                write(&sockets[i], &buf[..n])?;
                calls += 1;
            }
        }
    }
    Ok(Served { calls, cpu: Duration::ZERO })
}
