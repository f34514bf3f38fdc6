//! Rings on threads, which are killed, dropped or forgotten, or which fail or panic, at every point.

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::*;
use callbacks::{Buffer, File, Mailbox, Message, Offset, Thread};
use check::freed::Watch;

/// The counter to which the thread adds the values of its messages.
type Sum = Option<Arc<AtomicI32>>;

const ADD: u32 = 1;
const STOP: u32 = 2;
const FAIL: u32 = 3;
const PANIC: u32 = 4;
const CANCEL_ALL: u32 = 5;

fn on_message(ring: &mut Ring<Sum>, sum: &mut Sum, message: Message) -> Result<(), RingError> {
    match message.subject {
        ADD => drop(sum.as_ref().unwrap().fetch_add(message.value, Ordering::Relaxed)),
        STOP => ring.stop(),
        FAIL => return Err(RingError::callback("a failure")),
        PANIC => panic!("on purpose"),
        _ => drop(ring.cancel_all(Context::default())?),
    }
    Ok(())
}

fn spawn(parent: &mut Ring) -> (Thread, Arc<AtomicI32>) {
    let sum = Arc::<AtomicI32>::default();
    let adds = sum.clone();
    let start = move |ring: &mut Ring<Sum>| {
        ring.listen(on_message, Some(adds));
        Ok(())
    };
    (Thread::spawn(parent, 4, start).unwrap(), sum)
}

fn send(ring: &mut Ring, to: &Mailbox, subject: u32, value: i32) {
    let sent: callbacks::Callback<()> = |_, task| match task.result {
        OpResult::MsgRing(result) => Ok(result?),
        other => panic!("{other:?}"),
    };
    let context = Context { cb: sent, ..Context::default() };
    ring.msg_ring(to.clone(), Message { subject, value }, context).unwrap();
    ring.run(RunCondition::UntilDone).unwrap();
}

#[test]
fn messages_arrive_in_order_before_the_stop() {
    let mut parent = Ring::init(4).unwrap();
    let (thread, sum) = spawn(&mut parent);
    for value in 1..=100 {
        send(&mut parent, thread.mailbox(), ADD, value);
    }
    send(&mut parent, thread.mailbox(), STOP, 0);
    thread.join().unwrap();
    assert_eq!(sum.load(Ordering::Relaxed), 5050);
}

#[test]
fn a_kill_ends_a_thread_whatever_it_does() {
    let mut parent = Ring::init(4).unwrap();
    // Kill the thread at once, while it runs, twice, after it has stopped, and without a join.
    for event in 0..5 {
        let (mut thread, sum) = spawn(&mut parent);
        match event {
            0 => {}
            1 | 2 => {
                send(&mut parent, thread.mailbox(), ADD, 1);
                while sum.load(Ordering::Relaxed) == 0 {
                    std::thread::yield_now();
                }
            }
            _ => send(&mut parent, thread.mailbox(), STOP, 0),
        }
        thread.kill();
        if event == 2 {
            thread.kill();
        }
        match event {
            4 => drop(thread),
            _ => thread.join().unwrap(),
        }
        assert_eq!(Arc::strong_count(&sum), 1, "the thread has ended");
    }
}

#[test]
fn cancel_all_does_not_kill_a_thread() {
    let mut parent = Ring::init(4).unwrap();
    let (mut thread, sum) = spawn(&mut parent);
    for _ in 0..3 {
        send(&mut parent, thread.mailbox(), CANCEL_ALL, 0);
        send(&mut parent, thread.mailbox(), ADD, 1);
    }
    while sum.load(Ordering::Relaxed) < 3 {
        std::thread::yield_now();
    }
    thread.kill();
    thread.join().unwrap();
}

#[test]
fn errors_and_panics_of_a_thread_reach_the_join() {
    let mut parent = Ring::init(4).unwrap();
    let (thread, _) = spawn(&mut parent);
    send(&mut parent, thread.mailbox(), FAIL, 0);
    assert_eq!(thread.join().unwrap_err().to_string(), "a failure");
    let (thread, sum) = spawn(&mut parent);
    send(&mut parent, thread.mailbox(), PANIC, 0);
    assert!(catch_unwind(AssertUnwindSafe(|| thread.join())).is_err());
    assert_eq!(Arc::strong_count(&sum), 1);
    // A drop ignores errors and panics.
    for subject in [FAIL, PANIC] {
        let (thread, _) = spawn(&mut parent);
        send(&mut parent, thread.mailbox(), subject, 0);
        drop(thread);
    }
    let start = |_: &mut Ring| Err(RingError::callback("at its start"));
    let thread = Thread::spawn(&mut parent, 1, start).unwrap();
    assert_eq!(thread.join().unwrap_err().to_string(), "at its start");
}

/// Reads that never end are in flight in the thread when it is killed, dropped or forgotten.
#[test]
fn no_thread_writes_to_freed_memory() {
    for event in 0..4 {
        let watch = Watch::begin();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let (tell, told) = mpsc::channel();
        let mut parent = <Ring>::init(4).unwrap();
        let start = move |ring: &mut Ring| {
            let reader = Rc::new(reader);
            for _ in 0..3 {
                let (file, buffer) = (File::Shared(reader.clone()), Buffer::new([0; 4096]));
                ring.read(file, buffer, Offset::File, Context::default())?;
            }
            ring.noop(Context::default())?;
            ring.run(RunCondition::Once)?;
            tell.send(()).unwrap();
            Ok(())
        };
        let mut thread = Thread::spawn(&mut parent, 8, start).unwrap();
        told.recv().unwrap();
        match event {
            0 => drop(thread),
            1 => {
                thread.kill();
                drop(parent);
                thread.join().unwrap();
            }
            // Drop the parent's ring first: the worker threads stay.
            2 => {
                drop(parent);
                drop(thread);
            }
            _ => std::mem::forget(thread),
        }
        let _ = rustix::io::write(writer.as_fd(), &[7; 3 * 4096]);
        std::thread::sleep(Duration::from_millis(10));
        watch.check();
    }
}
