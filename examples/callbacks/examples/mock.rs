//! Two rings on mock kernels: one runs a no-op, the other gets scripted results for its reads.

use callbacks::mock::{Mock, Reply, opcode};
use callbacks::{Context, Errno, Offset, OpResult, Ring, RingError, RunCondition, Task};

fn on_read<H: callbacks::Handle>(_: &mut Ring<(), H>, task: Task) -> Result<(), RingError> {
    match task.result {
        OpResult::Read(Ok(len), _, buffer) => {
            println!("the mock kernel returned: {}", String::from_utf8_lossy(&buffer.bytes[..len]));
            Ok(())
        }
        OpResult::Read(Err(errno), ..) => Err(errno.into()),
        other => panic!("unexpected: {other:?}"),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut ring = Ring::init_mock();
    ring.noop(Context::default())?;
    ring.run(RunCondition::Once)?;

    let mut replies = vec![Reply::error(Errno::IO), Reply::bytes("hello")];
    let mock = Mock::new().on(opcode::Read::CODE, move |_| replies.pop().expect("two reads"));
    let mut ring = mock.ring(4);
    for _ in 0..2 {
        let file = std::fs::File::open("/dev/null")?;
        ring.read(file, [0; 16], Offset::File, Context { cb: on_read, ..Context::default() })?;
    }
    match ring.run(RunCondition::UntilDone) {
        Err(RingError::Errno(Errno::IO)) => println!("the second read failed, and ended the run"),
        other => panic!("unexpected: {other:?}"),
    }
    Ok(())
}
