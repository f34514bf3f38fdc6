//! Tests on the running kernel and on a mock kernel. The allocator counts allocations, and lets tests watch
//! freed memory.

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

// The modules of the `callbacks` program.
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

/// An allocator that counts allocations, and retains freed memory while a test watches it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// The number of bytes that this thread has freed.
    static FREED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all calls go to `Keeping`, which is an allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { Keeping.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        FREED.set(FREED.get() + layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { Keeping.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns how often this thread allocates while `during` runs, and what `during` returns.
fn allocations<T>(during: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATIONS.get();
    let value = during();
    (ALLOCATIONS.get() - before, value)
}

/// Returns how many bytes this thread frees while `during` runs.
fn freed(during: impl FnOnce()) -> usize {
    let before = FREED.get();
    during();
    FREED.get() - before
}

/// The results of completed operations, in the order of their callbacks.
type Log = Rc<RefCell<Vec<(u16, OpResult)>>>;

fn log<H: Handle>(_: &mut Ring<Log, H>, task: Task<Log>) -> Result<(), RingError> {
    task.userdata.borrow_mut().push((task.msg, task.result));
    Ok(())
}

fn start<H: Handle>(ring: &mut Ring<Log, H>, log_of: &Log, state: u16, op: Op) -> TaskId {
    let context = Context { cb: log, msg: state, userdata: log_of.clone() };
    ring.start(op, context).expect("a free task")
}

/// Runs one operation to its completion, and returns its result.
fn one<H: Handle>(ring: &mut Ring<Log, H>, op: Op) -> OpResult {
    let log = Log::default();
    start(ring, &log, 0, op);
    ring.run(RunCondition::UntilDone).unwrap();
    let (_, outcome) = log.take().pop().expect("an outcome");
    outcome
}

/// Runs a no-op to its completion, without waiting for other operations. Returns its result.
fn first<H: Handle>(ring: &mut Ring<Log, H>) -> OpResult {
    let log = Log::default();
    start(ring, &log, 0, Op::Noop);
    while log.borrow().is_empty() {
        ring.run(RunCondition::Once).unwrap();
    }
    log.take().remove(0).1
}

/// Matches a result against one variant, and evaluates an expression with its fields.
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
