//! Writes to one socket of a pair and reads from the other. An operation owns its buffer and its socket,
//! and the callback gets them back with the result.

use std::os::unix::net::UnixStream;

use callbacks::{Context, Offset, OpResult, Ring, RingError, RunCondition, Task};

fn on_write(_ring: &mut Ring, task: Task) -> Result<(), RingError> {
    match task.result {
        OpResult::Write(Ok(len), _file, _buffer) => assert_eq!(len, 5),
        other => panic!("unexpected: {other:?}"),
    }
    Ok(())
}

fn on_read(_ring: &mut Ring, task: Task) -> Result<(), RingError> {
    match task.result {
        OpResult::Read(Ok(len), _file, buffer) => {
            assert!(len > 0);
            println!("read: {}", String::from_utf8_lossy(&buffer.bytes[..len]));
        }
        other => panic!("unexpected: {other:?}"),
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut ring = Ring::init(16)?;
    let (reader, writer) = UnixStream::pair()?;
    let written = Context { cb: on_write, ..Context::default() };
    ring.write(writer, b"hello".as_slice(), Offset::File, written)?;
    let read = Context { cb: on_read, ..Context::default() };
    ring.read(reader, [0; 16], Offset::File, read)?;
    ring.run(RunCondition::UntilDone)?;
    Ok(())
}
