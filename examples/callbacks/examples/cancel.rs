//! Starts a timer of an hour, and cancels it. Its number cancels nothing else, even if the pool has
//! used the same task again by then.

use callbacks::{Context, Errno, OpResult, Ring, RingError, RunCondition, Task, Timespec};

fn on_timer(_ring: &mut Ring, task: Task) -> Result<(), RingError> {
    assert!(matches!(task.result, OpResult::Timer(Err(Errno::CANCELED))));
    println!("the timer was canceled");
    Ok(())
}

fn on_cancel(_ring: &mut Ring, task: Task) -> Result<(), RingError> {
    assert!(matches!(task.result, OpResult::Cancel(Ok(1))));
    Ok(())
}

fn main() -> Result<(), RingError> {
    let mut ring = Ring::init(16)?;
    let hour = Timespec::new().sec(3600);
    let timer = ring.timer(hour, Context { cb: on_timer, ..Context::default() })?;
    timer.cancel(&mut ring, Context { cb: on_cancel, ..Context::default() })?;
    ring.run(RunCondition::UntilDone)
}
