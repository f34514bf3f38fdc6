//! Rings on their own threads, which share the kernel's worker threads with their parent ring. The parent
//! sends messages to the first thread, whose callback stops its ring. It kills the second thread.

use callbacks::{Context, Message, Ring, RingError, RunCondition, Thread};

fn on_message(ring: &mut Ring, _: &mut (), message: Message) -> Result<(), RingError> {
    println!("message {}: {}", message.subject, message.value);
    if message.value == 3 {
        println!("stopping the ring");
        ring.stop();
    }
    Ok(())
}

fn main() -> Result<(), RingError> {
    let mut ring = <Ring>::init(16)?;
    let listen = |ring: &mut Ring| {
        ring.listen(on_message, ());
        Ok(())
    };
    let thread = Thread::spawn(&mut ring, 16, listen)?;
    for value in 1..=3 {
        let message = Message { subject: 1, value };
        ring.msg_ring(thread.mailbox().clone(), message, Context::default())?;
    }
    ring.run(RunCondition::UntilDone)?;
    thread.join()?;

    let mut idle = Thread::spawn(&mut ring, 16, listen)?;
    idle.kill();
    idle.join()
}
