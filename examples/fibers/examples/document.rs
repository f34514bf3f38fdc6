//! The first program of the document whose promises this runtime keeps.
//!
//! The page of the document lacks some lines. This program adds the `use`, the closing braces, and the
//! address to listen on, which is empty there. It also renames the parameter `tcp` to `stream`.
//! Everything else is from the document, with the name of this crate.

use fibers::net::TcpStream;

// No need for async main
fn main() {
    let handle = fibers::fiber::spawn(|| tcp_echo_server(9000)); // No need for async block

    fibers::println!("gracefully shutting down");
    handle.cancel(); // Cancellation propagates throughout the entire fiber hierarchy

    // Automatically waits for all fibers to complete
}

// No need for async functions
fn tcp_echo_server(port: u16) {
    let listener = fibers::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    fibers::println!("listening for TCP connections on port {port}"); // No need for .await
    let mut connections = listener.incoming();
    while let Ok((stream, _)) = connections.next() {
        fibers::fiber::spawn(move || handle_connection(stream));
    }
}

fn handle_connection(stream: TcpStream) {
    let (mut r, mut w) = stream.split();
    let _ = std::io::copy(&mut r, &mut w); // TcpStream implements std::io's Read and Write
}
