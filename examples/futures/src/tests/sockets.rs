//! Sockets, and many operations at once.

use std::io::{self, Read as _, Write as _};
use std::net;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use rustix_uring::Errno;
use rustix_uring::types::Shutdown;
use tokio::task;
use tokio::time::{sleep, timeout};

use super::{connection, errno, file_of, run};
use crate::buf::Part;
use crate::fs::File;
use crate::net::{TcpListener, TcpStream, UdpSocket};
use check::echo;

#[test]
fn a_connection_in_one_program() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0".parse().unwrap())?;
        let address = listener.local_addr()?;
        let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (ours, (theirs, peer)) = (connected?, accepted?);
        assert_ne!(peer, address);
        assert_eq!(ours.writev(vec!["abc", "defg"]).await.0?, 7);
        let (read, bufs) = theirs.readv(vec![[b'.'; 2]; 4]).await;
        assert_eq!((read?, bufs), (7, vec![*b"ab", *b"cd", *b"ef", *b"g."]));
        Ok(())
    });
}

#[test]
fn datagrams() {
    run(async {
        let loopback = "127.0.0.1:0".parse().unwrap();
        let (ours, theirs) = (UdpSocket::bind(loopback)?, UdpSocket::bind(loopback)?);
        let (sent, text) = ours.send_to("some text", theirs.local_addr()?).await;
        assert_eq!((sent?, text), (9, "some text"));
        let (received, buf) = theirs.recv_from([b'.'; 16]).await;
        assert_eq!((received?, &buf), ((9, ours.local_addr()?), b"some text......."));

        // An empty datagram is received as such. Bytes that do not fit in the buffer are lost.
        assert_eq!(ours.send_to([], theirs.local_addr()?).await.0?, 0);
        assert_eq!(theirs.recv_from([0; 16]).await.0?.0, 0);
        ours.connect(theirs.local_addr()?).await?;
        assert_eq!(ours.send("some text").await.0?, 9);
        let (received, buf) = theirs.recv([0; 4]).await;
        assert_eq!((received?, &buf), (4, b"some"));

        // The peer is closed, which the next call reports.
        theirs.close().await?;
        assert_eq!(ours.send("text").await.0?, 4);
        assert_eq!(errno(ours.recv([0; 4]).await.0), Some(Errno::CONNREFUSED));
        let v6 = "[::1]:1".parse().unwrap();
        assert_eq!(errno(ours.send_to("text", v6).await.0), Some(Errno::AFNOSUPPORT));
        ours.close().await
    });
}

#[test]
fn both_directions_at_once() {
    run(async move {
        let (stream, mut ours) = connection()?;
        let peer = thread::spawn(move || {
            let mut all = vec![];
            ours.read_to_end(&mut all)?;
            ours.write_all(&all)?;
            io::Result::Ok(all.len())
        });
        let receive = async {
            let (mut all, mut buf) = (vec![], vec![0; 1 << 16]);
            loop {
                let (read, filled) = stream.read(buf).await;
                match read? {
                    0 => return io::Result::Ok(all.len()),
                    n => all.extend_from_slice(&filled[..n]),
                }
                buf = filled;
            }
        };
        let send = async {
            stream.write_all(vec![7; 8 << 20]).await.0?;
            stream.shutdown(Shutdown::Write).await
        };
        let (received, sent) = tokio::join!(receive, send);
        sent?;
        assert_eq!(received?, 8 << 20);
        assert_eq!(peer.join().unwrap()?, 8 << 20);
        Ok(())
    });
}

#[test]
fn others_run_meanwhile() {
    run(async move {
        let (stream, mut ours) = connection()?;
        // A task that is always ready delays neither submissions nor completions forever.
        let busy = task::spawn_local(async {
            loop {
                task::yield_now().await;
            }
        });
        let waited = timeout(Duration::from_millis(20), stream.read([0; 8])).await;
        assert!(waited.is_err(), "nothing was sent");
        sleep(Duration::from_millis(20)).await; // until then, the cancelled read may still receive
        ours.write_all(b"8 bytes.")?;
        let (read, buf) = timeout(Duration::from_secs(10), stream.read([0; 8])).await?;
        assert_eq!((read?, &buf), (8, b"8 bytes."));
        busy.abort();
        Ok(())
    });
}

#[test]
fn more_than_the_queue_holds() {
    let path = file_of(&[7; 1000]);
    run(async move {
        let file = Rc::new(File::open(&path).await?);
        let read = |offset| {
            let file = file.clone();
            task::spawn_local(async move { file.read_at([0; 1], offset).await.0 })
        };
        let reads: Vec<_> = (0..3000).map(read).collect();
        for (offset, read) in reads.into_iter().enumerate() {
            assert_eq!(read.await.unwrap()?, usize::from(offset < 1000));
        }
        Ok(())
    });
}

#[test]
fn more_at_once_than_the_completion_queue_holds() {
    run(async move {
        let (stream, ours) = connection()?;
        let stream = Rc::new(stream);
        let read = |_| {
            let stream = stream.clone();
            task::spawn_local(async move { stream.read([0; 1]).await.0 })
        };
        let reads: Vec<_> = (0..2000).map(read).collect();
        sleep(Duration::from_millis(50)).await;
        drop(ours);
        for read in reads {
            assert_eq!(timeout(Duration::from_secs(10), read).await?.unwrap()?, 0);
        }
        Ok(())
    });
}

async fn echo_server(listener: net::TcpListener) -> io::Result<()> {
    let listener = TcpListener::new(listener);
    loop {
        let (stream, _) = listener.accept().await?;
        task::spawn_local(async move {
            let mut buf = vec![0; 16 << 10];
            loop {
                let (read, filled) = stream.read(buf).await;
                let part = Part::new(filled, 0..read.unwrap());
                if part.range.is_empty() {
                    break stream.close().await.unwrap();
                }
                let (sent, part) = stream.write_all(part).await;
                sent.unwrap();
                buf = part.whole;
            }
        });
    }
}

#[test]
fn echo_loses_nothing() {
    let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let load = thread::spawn(move || echo::load(address, 200, echo::duration()));
    run(async move {
        let server = task::spawn_local(echo_server(listener));
        while !load.is_finished() {
            assert!(!server.is_finished());
            sleep(Duration::from_millis(10)).await;
        }
        println!("{} messages", load.join().unwrap()?);
        Ok(())
    });
}
