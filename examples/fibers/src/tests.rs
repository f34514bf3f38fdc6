//! The tests. Those in [`memory`] check that no buffer is freed while the kernel may write to it.

mod apart;
mod cancel;
mod files;
mod memory;
mod scopes;
mod spawning;

use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic;
use std::time::Duration;

use crate::fiber;
use crate::fs::File;
use crate::net::{TcpListener, TcpStream};
use check::{echo, freed};

#[global_allocator]
static ALLOCATOR: freed::Keeping = freed::Keeping;

const HOUR: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(5);

/// Calls [`fiber::run`], and panics if the kernel refuses the ring.
fn run<T>(root: impl FnOnce() -> T) -> T {
    fiber::run(root).expect("a ring")
}

/// Panics without a message.
fn panic_on_purpose() -> ! {
    panic::resume_unwind(Box::new("on purpose"))
}

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Returns both ends of a connection.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(loopback()).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Runs an echo server until its fiber is cancelled. Returns the number of connections.
fn serve(listener: &TcpListener) -> usize {
    let mut count = 0;
    let mut connections = listener.incoming();
    while let Ok((stream, _)) = connections.next() {
        count += 1;
        fiber::spawn(move || {
            let (mut reader, mut writer) = stream.split();
            io::copy(&mut reader, &mut writer).unwrap()
        });
    }
    count
}

#[test]
fn an_echo_of_200_connections_loses_nothing() {
    run(|| {
        let listener = TcpListener::bind(loopback()).unwrap();
        let address = listener.local_addr().unwrap();
        let (over, write_end) = UnixStream::pair().unwrap();
        let load = std::thread::spawn(move || {
            let echoed = echo::load(address, 200, echo::duration());
            drop(write_end);
            echoed
        });
        fiber::scope(|scope| {
            let server = scope.spawn(|| serve(&listener));
            assert_eq!(File::from(OwnedFd::from(over)).read(&mut [0]).unwrap(), 0);
            server.cancel();
            let served = server.join().unwrap();
            let echoed = load.join().unwrap().unwrap();
            println!("{echoed} messages");
            assert_eq!(served, 200);
        });
    });
}
