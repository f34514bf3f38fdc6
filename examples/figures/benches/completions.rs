//! The CPU time that completions take, beside threads that call `pread`, `recv` and `send`.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Result, ensure};
use completions::{Part, Ring, Scope};
use figures::compare;
use figures::load::{
    AT_A_TIME, BLOCK, CONNECTIONS, MESSAGE, MESSAGES, READS, ROWS, cpu_of, echo, file, offset,
};
use rustix_uring::squeue::Flags;
use rustix_uring::types::Fixed;
use rustix_uring::{BufRingFlags, IoUring, opcode};

fn main() -> Result<()> {
    compare(
        ROWS,
        &[
            ("completions", ours),
            ("threads", threads),
            ("a bare ring", bare_ring),
            ("a bare ring, at best", local_ring),
        ],
    )
}

fn ours() -> Result<Vec<f64>> {
    let (ring, file) = (Ring::new(512)?, file()?.into_file());
    let mut rows = Vec::new();
    for at_a_time in AT_A_TIME {
        rows.push(cpu_of(READS, || {
            let mut bufs = vec![vec![0; BLOCK]; at_a_time as usize];
            ring.scope(|scope| {
                let mut free: Vec<_> = bufs.iter_mut().collect();
                let mut reading = VecDeque::new();
                for n in 0..READS {
                    let buf = match free.pop() {
                        Some(buf) => buf,
                        None => {
                            let oldest: completions::Completion<'_, _> =
                                reading.pop_front().expect("the buffers are in there");
                            let (read, buf): (std::io::Result<usize>, _) = oldest.wait();
                            assert_eq!(read?, BLOCK);
                            buf
                        }
                    };
                    reading.push_back(scope.read_at(&file, buf, offset(n)));
                }
                Ok(())
            })
        })?);
    }
    for connections in CONNECTIONS {
        rows.push(echo(connections, MESSAGES, |listener, connections| {
            ring.scope(|scope| {
                scope.run_all((0..connections).map(async |_| {
                    serve(scope, &listener).await.expect("the client is there");
                }));
            });
            Ok(())
        })?);
    }
    Ok(rows)
}

async fn serve<'scope>(
    scope: &'scope Scope<'scope, '_>,
    listener: &'scope TcpListener,
) -> Result<()> {
    let stream = Arc::new(scope.accept(listener).await?.0);
    let mut buf = vec![0; MESSAGE];
    loop {
        let (read, filled) = scope.recv(stream.clone(), buf).await;
        let len = read?;
        if len == 0 {
            return Ok(());
        }
        let (sent, part) = scope.send(stream.clone(), Part::new(filled, 0..len)).await;
        sent?;
        buf = part.whole;
    }
}

/// A read for the pool: the offset, the buffer, and where it goes back to.
type Job = (u64, Vec<u8>, Sender<Vec<u8>>);

fn threads() -> Result<Vec<f64>> {
    let file = file()?.into_file();
    let mut rows = Vec::new();
    for at_a_time in AT_A_TIME {
        rows.push(cpu_of(READS, || {
            let (jobs, queue) = channel();
            let queue = Mutex::new(queue);
            thread::scope(|threads| {
                for _ in 0..thread::available_parallelism()?.get().min(at_a_time as usize) {
                    threads.spawn(|| work(&file, &queue));
                }
                let mut free = vec![vec![0; BLOCK]; at_a_time as usize];
                let mut reading: VecDeque<Receiver<Vec<u8>>> = VecDeque::new();
                for n in 0..READS {
                    let buf = match free.pop() {
                        Some(buf) => buf,
                        None => reading.pop_front().expect("the buffers are in there").recv()?,
                    };
                    let (done, back) = channel();
                    jobs.send((offset(n), buf, done))?;
                    reading.push_back(back);
                }
                drop(jobs);
                Ok(())
            })
        })?);
    }
    for connections in CONNECTIONS {
        rows.push(echo(connections, MESSAGES, |listener, connections| {
            thread::scope(|threads| {
                for _ in 0..connections {
                    let (mut stream, _) = listener.accept()?;
                    threads.spawn(move || {
                        let mut buf = [0; MESSAGE];
                        loop {
                            match stream.read(&mut buf).expect("the client is there") {
                                0 => break,
                                n => stream.write_all(&buf[..n]).expect("the client is there"),
                            }
                        }
                    });
                }
                Ok(())
            })
        })?);
    }
    Ok(rows)
}

fn work(file: &File, queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().expect("no panic").recv();
        let Ok((at, mut buf, done)) = job else { break };
        file.read_exact_at(&mut buf, at).expect("it is there");
        let _ = done.send(buf);
    }
}

/// What a ring takes by itself for one connection: a send and the receive behind it in one call.
fn bare_ring() -> Result<Vec<f64>> {
    one_connection(|stream| {
        let mut ring = IoUring::new(8)?;
        let mut bufs = [[0; MESSAGE]; 2];
        let (mut len, mut turn) = ((&stream).read(&mut bufs[0])?, 0);
        while len > 0 {
            let [filled, other] = [turn % 2, (turn + 1) % 2].map(|n| bufs[n].as_mut_ptr());
            let send = opcode::Send::new(&stream, filled, len as u32).build();
            let recv = opcode::Recv::new(&stream, other, MESSAGE as u32).build();
            // SAFETY: the stream and the buffers are there until both have completed, and nobody
            // touches the buffers meanwhile.
            unsafe {
                let send = send.flags(Flags::IO_LINK);
                ring.submission().push_multiple(&[send, recv.user_data(1)])?;
            }
            ring.submit_and_wait(2)?;
            for cqe in ring.completion() {
                let done = cqe.to_result()? as usize;
                if cqe.user_data() == 1 {
                    len = done;
                }
            }
            turn += 1;
        }
        Ok(())
    })
}

/// The least that we have found for a ring: it belongs to one thread, and one receive serves the whole
/// connection.
fn local_ring() -> Result<Vec<f64>> {
    const BUFS: u16 = 8;
    one_connection(|stream| {
        let mut ring = <IoUring>::builder().build_local(8)?;
        ring.submitter().register_files(&[stream.as_fd().into()])?;
        let mut provided =
            ring.submitter().register_buf_ring_owned(BUFS, 0, BufRingFlags::empty())?;
        let mut bufs = [[0; MESSAGE]; BUFS as usize];
        // The user data of a send is the number of its buffer, and that of the receive is the next one.
        let receive = opcode::RecvMulti::new(Fixed(0), 0).build().user_data(BUFS.into());
        // SAFETY: the stream and the buffers are there until everything has completed. (If something
        // fails, the benchmark ends.)
        unsafe {
            (0..)
                .zip(&mut bufs)
                .for_each(|(n, buf)| provided.add(buf.as_mut_ptr(), MESSAGE as u32, n));
            provided.publish();
            ring.submission().push(&receive)?;
        }
        let (mut open, mut want) = (true, 1);
        while open {
            ring.submit_and_wait(want)?;
            want = 1;
            loop {
                let Some(cqe) = ring.completion().next() else { break };
                let done = cqe.to_result()?;
                if let Some(n) = cqe.buffer_select() {
                    ensure!(cqe.more(), "the receive ends early");
                    let send = opcode::Send::new(Fixed(0), bufs[usize::from(n)].as_ptr(), done);
                    // SAFETY: the buffer outlives the loop. The receive has filled it, and does not get it
                    // back before it is sent.
                    unsafe { ring.submission().push(&send.build().user_data(n.into()))? };
                    want += 1;
                } else if cqe.user_data() == BUFS.into() {
                    open = false;
                } else {
                    let n = cqe.user_data() as u16;
                    // SAFETY: the buffer outlives the loop, and its send has completed.
                    unsafe { provided.add(bufs[usize::from(n)].as_mut_ptr(), MESSAGE as u32, n) };
                    provided.publish();
                }
            }
        }
        Ok(())
    })
}

fn one_connection(serve: impl FnOnce(TcpStream) -> Result<()>) -> Result<Vec<f64>> {
    let mut rows = vec![f64::NAN; ROWS.len()];
    rows[AT_A_TIME.len()] = echo(1, MESSAGES, |listener, _| serve(listener.accept()?.0))?;
    Ok(rows)
}
