//! The second program of tokio-uring's announcement: it sends `hello.txt` to each client that connects,
//! through a tokio socket. Here, you can pass the address as an argument.

use std::env;

use futures::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

fn main() {
    futures::start(async {
        // Start a TCP listener
        let address = env::args().nth(1).unwrap_or("127.0.0.1:7780".into());
        let listener = TcpListener::bind(address).await.unwrap();

        // Accept new sockets
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();

            // Spawn a task to send the file back to the socket
            futures::spawn(async move {
                // Open the file without blocking
                let file = File::open("hello.txt").await.unwrap();
                let mut buf = vec![0; 16 * 1_024];

                // Track the current position in the file;
                let mut pos = 0;

                loop {
                    // Read a chunk
                    let (res, b) = file.read_at(buf, pos).await;
                    let n = res.unwrap();

                    if n == 0 {
                        break;
                    }

                    socket.write_all(&b[..n]).await.unwrap();
                    pos += n as u64;

                    buf = b;
                }
            });
        }
    })
}
