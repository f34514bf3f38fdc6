//! On the kernel that runs, on a mock kernel, and with an eye on memory.

mod mock;
mod mock_replies;

// Miri has no io_uring.
#[cfg(not(miri))]
mod errors;
#[cfg(not(miri))]
mod memory;
#[cfg(not(miri))]
mod real;
#[cfg(not(miri))]
mod thread;

// The program.
#[cfg(not(miri))]
#[path = "../examples/callbacks/echo.rs"]
mod echo;
#[path = "../examples/callbacks/machine.rs"]
mod machine;
#[path = "../examples/callbacks/ping_pong.rs"]
mod ping_pong;

use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use callbacks::{Context, Handle, Op, OpResult, Ring, RingError, RunCondition, Task, TaskId};
use check::freed::Keeping;

/// Counts allocations, and keeps freed memory for the test that watches it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// In bytes.
    static FREED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all of it is the other allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as our caller promises.
        unsafe { Keeping.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        FREED.set(FREED.get() + layout.size());
        // SAFETY: as our caller promises.
        unsafe { Keeping.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often this thread allocates meanwhile.
fn allocations<T>(during: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATIONS.get();
    let value = during();
    (ALLOCATIONS.get() - before, value)
}

/// How many bytes this thread frees meanwhile.
fn freed(during: impl FnOnce()) -> usize {
    let before = FREED.get();
    during();
    FREED.get() - before
}

/// What was over, in that order.
type Log = Rc<RefCell<Vec<(u16, OpResult)>>>;

fn log<H: Handle>(_: &mut Ring<Log, H>, task: Task<Log>) -> Result<(), RingError> {
    task.userdata.borrow_mut().push((task.msg, task.result));
    Ok(())
}

fn start<H: Handle>(ring: &mut Ring<Log, H>, log_of: &Log, state: u16, op: Op) -> TaskId {
    let context = Context { cb: log, msg: state, userdata: log_of.clone() };
    ring.start(op, context).expect("a free task")
}

/// One operation, alone.
fn one<H: Handle>(ring: &mut Ring<Log, H>, op: Op) -> OpResult {
    let log = Log::default();
    start(ring, &log, 0, op);
    ring.run(RunCondition::UntilDone).unwrap();
    let (_, outcome) = log.take().pop().expect("an outcome");
    outcome
}

/// The outcome of an operation that does not wait for the others.
fn first<H: Handle>(ring: &mut Ring<Log, H>) -> OpResult {
    let log = Log::default();
    start(ring, &log, 0, Op::Noop);
    while log.borrow().is_empty() {
        ring.run(RunCondition::Once).unwrap();
    }
    log.take().remove(0).1
}

/// The parts of an outcome that is of one kind.
macro_rules! outcome {
    ($outcome:expr, $Kind:ident($($part:pat),*) => $value:expr) => {
        match $outcome {
            callbacks::OpResult::$Kind($($part),*) => $value,
            other => panic!("{other:?}"),
        }
    };
}
use outcome;

fn null() -> OwnedFd {
    std::fs::File::options().read(true).write(true).open("/dev/null").unwrap().into()
}
