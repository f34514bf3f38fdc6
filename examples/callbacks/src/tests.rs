//! On the kernel that runs, on a mock kernel, and with an eye on memory.

mod echo;
mod memory;
mod mock;
mod real;

// The program.
#[path = "../examples/callbacks/machine.rs"]
mod machine;
#[path = "../examples/callbacks/ping_pong.rs"]
mod ping_pong;

use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix_uring::Handle;

use crate::event_loop::{Context, Done, Loop, Until};
use crate::op::{Op, Outcome};
use crate::pool::TaskId;
use check::freed::Keeping;

/// Counts allocations, and keeps freed memory for the test that watches it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: all of it is the other allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as our caller promises.
        unsafe { Keeping.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
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

/// What was over, in that order.
type Log = Rc<RefCell<Vec<(u16, Outcome)>>>;

fn log<H: Handle>(_: &mut Loop<Log, H>, done: Done<Log>) {
    done.user.borrow_mut().push((done.state, done.outcome));
}

fn start<H: Handle>(on: &mut Loop<Log, H>, log_of: &Log, state: u16, op: Op) -> TaskId {
    let context = Context { callback: log, state, user: log_of.clone() };
    on.start(op, context).map_err(|(op, _)| op).expect("a free task")
}

/// One operation, alone.
fn one<H: Handle>(on: &mut Loop<Log, H>, op: Op) -> Outcome {
    let log = Log::default();
    start(on, &log, 0, op);
    on.run(Until::Done).unwrap();
    let (_, outcome) = log.take().pop().expect("an outcome");
    outcome
}

/// The outcome of an operation that does not wait for the others.
fn first<H: Handle>(on: &mut Loop<Log, H>) -> Outcome {
    let log = Log::default();
    start(on, &log, 0, Op::Nop);
    while log.borrow().is_empty() {
        on.run(Until::Once).unwrap();
    }
    log.take().remove(0).1
}

/// The parts of an outcome that is of one kind.
macro_rules! outcome {
    ($outcome:expr, $Kind:ident($($part:pat),*) => $value:expr) => {
        match $outcome {
            crate::op::Outcome::$Kind($($part),*) => $value,
            other => panic!("{other:?}"),
        }
    };
}
use outcome;

fn null() -> OwnedFd {
    std::fs::File::options().read(true).write(true).open("/dev/null").unwrap().into()
}
