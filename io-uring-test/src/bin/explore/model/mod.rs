//! io_uring in plain Rust: what every call returns, and what is visible after it.
//!
//! Nothing in here calls the library, or the kernel. To read it is to learn the rules: begin with
//! the two queues ([`squeue`], [`cqueue`]), go on with what a submission does ([`submit`]), how
//! requests run and chains go on ([`run`]), and how they are cancelled ([`cancel`]).

pub(crate) mod buffers;
pub(crate) mod cancel;
pub(crate) mod cqueue;
pub(crate) mod operation;
pub(crate) mod receive;
pub(crate) mod registered;
mod resize;
pub(crate) mod restrict;
pub(crate) mod ring;
mod run;
pub(crate) mod setup;
pub(crate) mod squeue;
mod submit;

use std::collections::{BTreeMap, VecDeque};

use registered::{PIECE, PIECES};
use ring::Ring;

/// Errors, by the kernel's numbers.
pub(crate) mod errno {
    pub(crate) const ENOENT: i32 = 2;
    pub(crate) const EINTR: i32 = 4;
    pub(crate) const ENXIO: i32 = 6;
    pub(crate) const EBADF: i32 = 9;
    pub(crate) const ENOMEM: i32 = 12;
    pub(crate) const EACCES: i32 = 13;
    pub(crate) const EFAULT: i32 = 14;
    pub(crate) const EBUSY: i32 = 16;
    pub(crate) const EEXIST: i32 = 17;
    pub(crate) const EINVAL: i32 = 22;
    pub(crate) const ETIME: i32 = 62;
    pub(crate) const EOVERFLOW: i32 = 75;
    pub(crate) const EBADFD: i32 = 77;
    pub(crate) const EOPNOTSUPP: i32 = 95;
    pub(crate) const ENOBUFS: i32 = 105;
    pub(crate) const EALREADY: i32 = 114;
    pub(crate) const ECANCELED: i32 = 125;
    pub(crate) const ENOTRECOVERABLE: i32 = 131;
}

/// What differs from kernel to kernel, as it was found by asking.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kernel {
    /// The setup flags that it knows.
    pub(crate) setup: u32,
    pub(crate) ext_arg: bool,
    pub(crate) min_timeout: bool,
    pub(crate) cqe_skip: bool,
    /// Files are looked up when an operation is issued, and not when it is submitted.
    pub(crate) linked_file: bool,
    pub(crate) nop_result: bool,
    pub(crate) nop_task_work: bool,
    pub(crate) nop_big: bool,
    /// A NOP with an I/O priority is refused.
    pub(crate) nop_ioprio: bool,
    pub(crate) nop128: bool,
    /// The operations and calls that it knows, of those that restrictions may list.
    pub(crate) listable: restrict::Restrictions,
    pub(crate) messages: bool,
    pub(crate) message_flags: bool,
    /// A message to a ring that defers is posted by the work of that ring's task.
    pub(crate) messages_deferred: bool,
    pub(crate) poll_multi: bool,
    pub(crate) cancel_any: bool,
    /// What is refused completes in order, and not before what was submitted with it.
    pub(crate) refusals_in_order: bool,
    /// By file and user data at once.
    pub(crate) cancel_both: bool,
    pub(crate) sync_cancel: bool,
    pub(crate) sparse_files: bool,
    /// What comes behind a drain waits until that has completed, and not only until it has started.
    pub(crate) drain_holds: bool,
    /// Rings that defer do the newest work first.
    pub(crate) deferred_in_reverse: bool,
    /// A register call does the work of the task first.
    pub(crate) register_runs_work: bool,
    /// Pipes are read by the task itself, and not by a worker thread, which might have to wait.
    pub(crate) pipe_nowait: bool,
    /// It shows when worker threads have come to rest.
    pub(crate) workers_show: bool,
    pub(crate) resize: bool,
    /// A resize sets the flag that says that work waits, whether any does.
    pub(crate) resize_shows_taskrun: bool,
    pub(crate) ring_fds: bool,
    pub(crate) restrictions: bool,
    /// Rings of provided buffers, and bundles.
    pub(crate) provided: bool,
    pub(crate) incremental: bool,
    /// A socket says how much is left in it.
    pub(crate) tells_rest: bool,
    /// Registered buffers are looked up when an operation is issued, and tags are posted at once.
    pub(crate) buffers: bool,
    /// Messages by a call without a ring.
    pub(crate) sends_by_call: bool,
    pub(crate) reg_reg_ring: bool,
    /// The model is made wrong, where two completions are ready.
    pub(crate) injected: bool,
    pub(crate) known: crate::known::Known,
}

/// The source that is a socket, and a stream.
pub(crate) const STREAM: usize = 3;

/// A pipe or a socket, as far as its reader sees it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub(crate) bytes: VecDeque<u8>,
    /// What is there of a socket that keeps messages apart.
    pub(crate) messages: VecDeque<Vec<u8>>,
    /// Nobody writes any more.
    pub(crate) hung_up: bool,
    /// The byte that is written next.
    pub(crate) next: u8,
}

/// Two rings, and what their operations are about.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) kernel: Kernel,
    pub(crate) rings: [Option<Ring>; 2],
    pub(crate) pipes: Vec<Source>,
    /// What completions have used of groups of buffers, by their user data, oldest first.
    pub(crate) taken: BTreeMap<u64, VecDeque<buffers::Taken>>,
    /// What a read has put into its buffer, by its user data.
    pub(crate) read: BTreeMap<u64, Vec<u8>>,
    /// Memory that rings may register.
    pub(crate) pieces: [[u8; PIECE]; PIECES],
    /// Pipes that operations of a dropped ring may still read.
    pub(crate) retired: Vec<usize>,
    /// The last wait has ended because its time ran out. (It has no limit otherwise.)
    pub(crate) ran_out: bool,
    /// A worker thread may have made something ready before that, or may not: then it is no error.
    pub(crate) ran_out_or_not: bool,
}

impl Model {
    pub(crate) fn new(kernel: Kernel, pipes: usize) -> Self {
        let pipes = vec![Source::default(); pipes];
        Self {
            kernel,
            rings: [None, None],
            pipes,
            taken: BTreeMap::new(),
            read: BTreeMap::new(),
            pieces: [[0; PIECE]; PIECES],
            retired: Vec::new(),
            ran_out: false,
            ran_out_or_not: false,
        }
    }

    pub(crate) fn ring(&mut self, ring: usize) -> &mut Ring {
        self.rings[ring].as_mut().expect("steps name rings that are there")
    }

    /// The task makes a register call.
    pub(crate) fn register_call(&mut self, ring: usize) {
        if self.kernel.register_runs_work {
            self.run(ring);
        }
        self.system_call();
    }

    /// The task has made a system call: what waits for it to return is run, except on rings that
    /// defer it.
    pub(crate) fn system_call(&mut self) {
        for ring in 0..self.rings.len() {
            if self.rings[ring].as_ref().is_some_and(|ring| !ring.defers && !ring.work.is_empty()) {
                self.run(ring);
            }
        }
        // A message may have made work for the first ring.
        if self.rings.iter().flatten().any(|ring| !ring.defers && !ring.work.is_empty()) {
            self.system_call();
        }
    }
}
