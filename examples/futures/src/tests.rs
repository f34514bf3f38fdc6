//! Tests on the running kernel. An allocator watches freed memory.

mod ends;
mod files;
mod sockets;

use std::io::{self, Write as _};
use std::net;
use std::path::Path;
use std::time::Duration;

use rustix_uring::Errno;
use tokio::time::{sleep, timeout};

use crate::net::TcpStream;
use crate::start;
use check::freed;

#[global_allocator]
static ALLOCATOR: freed::Keeping = freed::Keeping;

/// Runs a program whose errors fail the test.
fn run(program: impl Future<Output = io::Result<()>>) {
    start(program).expect("the program succeeds");
}

/// Creates a file, which is deleted when the returned path is dropped.
fn file_of(contents: &[u8]) -> tempfile::TempPath {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(contents).unwrap();
    file.into_temp_path()
}

/// Returns both ends of a connection: the first uses the ring, the second is the test's.
fn connection() -> io::Result<(TcpStream, net::TcpStream)> {
    let listener = net::TcpListener::bind("127.0.0.1:0")?;
    let ours = net::TcpStream::connect(listener.local_addr()?)?;
    Ok((TcpStream::new(listener.accept()?.0), ours))
}

fn errno<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().as_ref().and_then(Errno::from_io_error)
}

/// Returns how many descriptors of this process refer to this path.
fn open_at(path: &Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    links
        .filter(|link| std::fs::read_link(link.as_ref().unwrap().path()).is_ok_and(|to| to == path))
        .count()
}

/// Waits until no descriptor refers to this path.
async fn none_open_at(path: &Path) -> io::Result<()> {
    sleep(Duration::from_millis(5)).await;
    let closed = async {
        while open_at(path) > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    Ok(timeout(Duration::from_secs(10), closed).await?)
}
