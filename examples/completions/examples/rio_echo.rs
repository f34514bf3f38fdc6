//! rio's echo server: async, with one connection after the other. Here, you can pass the address as an
//! argument.
//!
//! You can forget a future at any `await`, so an operation cannot borrow a local variable of a future.
//! Instead, the buffer and the stream move into the operation, and the buffer comes back with the result.
//! An operation can borrow everything that exists before the scope.

use std::env;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use completions::{Part, Ring, Scope};

async fn proxy<'scope>(
    ring: &'scope Scope<'scope, '_>,
    a: &Arc<TcpStream>,
    b: &Arc<TcpStream>,
) -> io::Result<()> {
    let mut buf = vec![0_u8; 512];
    loop {
        let (read, back) = ring.recv(a.clone(), buf).await;
        let read = read?;
        if read == 0 {
            return Ok(());
        }
        let (sent, part) = ring.send(b.clone(), Part::new(back, 0..read)).await;
        sent?;
        buf = part.whole;
    }
}

fn main() -> io::Result<()> {
    let ring = Ring::new(16)?;
    let acceptor = TcpListener::bind(env::args().nth(1).unwrap_or("127.0.0.1:6666".into()))?;

    ring.scope(|ring| {
        ring.block_on(async {
            loop {
                let (stream, _) = ring.accept(&acceptor).await?;
                let stream = Arc::new(stream);
                let _ = dbg!(proxy(ring, &stream, &stream).await);
            }
        })
    })
}
