//! A timer of 10 ms.

use callbacks::{Context, OpResult, Ring, RingError, RunCondition, Task, Timespec};

fn on_timer(_ring: &mut Ring, task: Task) -> Result<(), RingError> {
    assert!(matches!(task.result, OpResult::Timer(Ok(()))));
    println!("the timer has expired");
    Ok(())
}

fn main() -> Result<(), RingError> {
    let mut ring = Ring::init(16)?;
    let time = Timespec::new().nsec(10_000_000);
    ring.timer(time, Context { cb: on_timer, ..Context::default() })?;
    ring.run(RunCondition::UntilDone)
}
