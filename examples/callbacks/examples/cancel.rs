//! Starts a timer of one hour, and cancels it by its task ID. The ID never cancels another operation, even
//! if the pool has reused the task.

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
