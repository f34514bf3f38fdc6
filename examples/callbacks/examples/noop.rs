//! An operation that does nothing, and its callback.

use callbacks::{Context, OpResult, Ring, RingError, RunCondition, Task};

fn on_noop(_ring: &mut Ring, task: Task) -> Result<(), RingError> {
    assert!(matches!(task.result, OpResult::Noop(Ok(()))));
    println!("the no-op has completed");
    Ok(())
}

fn main() -> Result<(), RingError> {
    let mut ring = Ring::init(16)?;
    ring.noop(Context { cb: on_noop, ..Context::default() })?;
    ring.run(RunCondition::UntilDone)
}
