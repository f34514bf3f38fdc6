//! A callback that starts the next operation: the program opens a file, then closes it.

use callbacks::{Context, Mode, OFlags, OpResult, Ring, RingError, RunCondition, Task};

fn on_close(_ring: &mut Ring, task: Task) -> Result<(), RingError> {
    assert!(matches!(task.result, OpResult::Close(Ok(()))));
    println!("opened and closed");
    Ok(())
}

fn on_open(ring: &mut Ring, task: Task) -> Result<(), RingError> {
    if let OpResult::Open(fd) = task.result {
        // If the open fails, or if the pool is full, the error ends the run.
        ring.close(fd?, Context { cb: on_close, ..Context::default() })?;
    }
    Ok(())
}

fn main() -> Result<(), RingError> {
    let mut ring = Ring::init(16)?;
    let opened = Context { cb: on_open, ..Context::default() };
    ring.open(c"/dev/null", OFlags::RDONLY, Mode::empty(), opened)?;
    ring.run(RunCondition::UntilDone)
}
