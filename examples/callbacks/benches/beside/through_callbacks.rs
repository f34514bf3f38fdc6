//! The reads with the runtime. The echo server is the one in the `callbacks` example.

use std::cell::{Cell, RefCell};
use std::fs;
use std::rc::Rc;

use callbacks::{Buffer, Context, File, Offset, Op, OpResult, Ring, RingError, RunCondition, Task};

use crate::{BLOCK, Offsets, block};

/// The state that all reads share.
struct Reads {
    left: Cell<u64>,
    offsets: RefCell<Offsets>,
}

/// Reads `reads` blocks, with `depth` reads in flight.
pub(crate) fn read(file: fs::File, depth: u32, reads: u64) -> Result<(), RingError> {
    let mut ring = Ring::init(depth)?;
    let file = Rc::new(file.into());
    let all = Rc::new(Reads { left: Cell::new(reads), offsets: RefCell::new(Offsets::new()) });
    for _ in 0..reads.min(depth.into()) {
        let (bytes, begin) = block();
        let buffer = Buffer::new(bytes).part(begin..begin + BLOCK);
        start(&mut ring, all.clone(), File::Shared(Rc::clone(&file)), buffer)?;
    }
    ring.run(RunCondition::UntilDone)
}

fn start(
    ring: &mut Ring<Rc<Reads>>,
    all: Rc<Reads>,
    file: File,
    buffer: Buffer,
) -> Result<(), RingError> {
    all.left.set(all.left.get() - 1);
    let offset = Offset::At(all.offsets.borrow_mut().next());
    ring.start(Op::Read(file, buffer, offset), Context { cb: done, msg: 0, userdata: all })?;
    Ok(())
}

fn done(ring: &mut Ring<Rc<Reads>>, task: Task<Rc<Reads>>) -> Result<(), RingError> {
    let OpResult::Read(len, file, buffer) = task.result else { unreachable!("it is a read") };
    assert_eq!(len?, BLOCK);
    if task.userdata.left.get() > 0 { start(ring, task.userdata, file, buffer) } else { Ok(()) }
}
