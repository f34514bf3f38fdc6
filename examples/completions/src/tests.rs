//! Tests on the running kernel. An allocator watches freed memory.

mod ends;
mod operations;
mod rings;
mod scopes;

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use rustix_uring::Errno;

use crate::operation::recv;
use crate::ring::Ring;
use crate::scope::{Completion, Scope};
use check::freed;

#[global_allocator]
static ALLOCATOR: freed::Keeping = freed::Keeping;

const A_WHILE: Duration = Duration::from_millis(5);

fn ring(operations: u32) -> Ring {
    Ring::new(operations).unwrap()
}

fn file_of(contents: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(contents).unwrap();
    file
}

fn errno<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().as_ref().and_then(Errno::from_io_error)
}

fn poll_once<T>(completion: &mut Completion<'_, T>) -> Poll<T> {
    Pin::new(completion).poll(&mut Context::from_waker(Waker::noop()))
}

/// Waits until all entries are submitted, and the ring's thread has finished driving them.
fn let_it_run<'scope>(scope: &'scope Scope<'scope, '_>) {
    let (nobody, _somebody) = UnixStream::pair().unwrap();
    let mut reading = scope.start(recv(nobody, [0; 1]));
    assert!(poll_once(&mut reading).is_pending());
    thread::sleep(A_WHILE);
    reading.cancel();
    let _ = reading.wait();
}
