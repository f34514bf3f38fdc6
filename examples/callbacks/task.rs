//! Tasks: a fixed number of them, made once, and used again and again.
//!
//! A task is on one list at a time. The lists are *intrusive*: the links are in the tasks, so that
//! to be put on a list costs no memory. Nor does the kernel need any: a task's number, and how
//! often it was used before, is the user data of its entry.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use rustix_uring::squeue::Entry;
use rustix_uring::{Handle, cqueue};

use crate::event_loop::Context;
use crate::op::{Op, Outcome};

/// Which task, and which of its uses: it finds nothing when that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId(pub(crate) u64);

impl TaskId {
    /// 31 bits, as the highest is for messages.
    const USES: u32 = u32::MAX >> 1;

    fn new(number: u32, uses: u32) -> Self {
        Self(u64::from(uses & Self::USES) << 32 | u64::from(number))
    }
}

/// What a task is busy with.
#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Free,
    Queued,
    InFlight,
}

pub(crate) struct Task<U, H: Handle> {
    next: Option<Link<U, H>>,
    stage: Stage,
    number: u32,
    uses: u32,
    /// There unless the task is free.
    work: MaybeUninit<(Op, Context<U, H>)>,
}

type Link<U, H> = NonNull<Task<U, H>>;

/// Tasks of a pool, in the order in which they were put on it.
struct List<U, H: Handle> {
    ends: Option<(Link<U, H>, Link<U, H>)>,
}

impl<U, H: Handle> List<U, H> {
    const EMPTY: Self = Self { ends: None };

    /// # Safety
    ///
    /// The task is on no list, and outlives this one.
    unsafe fn push(&mut self, task: Link<U, H>) {
        let first = match self.ends {
            None => task,
            Some((first, last)) => {
                // SAFETY: who is on a list outlives it, and its link is the list's to change.
                unsafe { (*last.as_ptr()).next = Some(task) };
                first
            }
        };
        // SAFETY: as our caller says.
        unsafe { (*task.as_ptr()).next = None };
        self.ends = Some((first, task));
    }

    fn pop(&mut self) -> Option<Link<U, H>> {
        let (first, last) = self.ends?;
        // SAFETY: who is on a list outlives it.
        self.ends = unsafe { (*first.as_ptr()).next }.map(|next| (next, last));
        Some(first)
    }
}

/// All tasks of a loop.
///
/// They are reached by raw pointers and a field at a time: a reference to a whole task would claim
/// memory that the kernel is writing to.
pub(crate) struct Pool<U, H: Handle> {
    tasks: NonNull<[Task<U, H>]>,
    free: List<U, H>,
    queued: List<U, H>,
    in_flight: usize,
    waiting: usize,
}

impl<U, H: Handle> Pool<U, H> {
    pub(crate) fn new(tasks: u32) -> Self {
        let task = |number| Task {
            next: None,
            stage: Stage::Free,
            number,
            uses: 0,
            work: MaybeUninit::uninit(),
        };
        let tasks: Box<[Task<U, H>]> = (0..tasks).map(task).collect();
        let tasks = NonNull::from(Box::leak(tasks));
        let mut pool =
            Self { tasks, free: List::EMPTY, queued: List::EMPTY, in_flight: 0, waiting: 0 };
        for number in 0..tasks.len() {
            // SAFETY: a new task is on no list, and lists live in the pool.
            unsafe { pool.free.push(pool.task(number)) };
        }
        pool
    }

    fn task(&self, number: usize) -> Link<U, H> {
        assert!(number < self.tasks.len());
        // SAFETY: there are that many.
        unsafe { self.tasks.cast::<Task<U, H>>().add(number) }
    }

    /// How many the kernel has.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many are queued or in flight.
    pub(crate) fn busy(&self) -> usize {
        self.in_flight + self.waiting
    }

    /// Puts a free task, if there is one, in the queue with this work.
    pub(crate) fn queue(&mut self, op: Op, context: Context<U, H>) -> Result<TaskId, Work<U, H>> {
        let Some(task) = self.free.pop() else { return Err((op, context)) };
        // SAFETY: a free task is ours alone, and has no work that would be lost.
        unsafe {
            let task = task.as_ptr();
            (&raw mut (*task).work).write(MaybeUninit::new((op, context)));
            (*task).stage = Stage::Queued;
            (*task).uses = (*task).uses.wrapping_add(1);
        }
        // SAFETY: it was just taken off its list, and lists live in the pool.
        unsafe { self.queued.push(task) };
        self.waiting += 1;
        // SAFETY: the task is ours.
        Ok(unsafe { Self::id(task) })
    }

    /// Takes the next task out of the queue: its entry, which is to be pushed.
    pub(crate) fn start(&mut self) -> Option<Entry> {
        let task = self.queued.pop()?;
        self.waiting -= 1;
        self.in_flight += 1;
        // SAFETY: a queued task has work, and the kernel does not know of it yet.
        let (op, id) = unsafe {
            (*task.as_ptr()).stage = Stage::InFlight;
            (&mut (*task.as_ptr()).work.assume_init_mut().0, Self::id(task))
        };
        Some(op.to_entry().user_data(id.0))
    }

    /// Ends the task whose completion this is, and frees it. None, if it is no task's.
    ///
    /// # Safety
    ///
    /// This is a completion of this pool's ring, of an entry of [`start`](Self::start), or of none.
    pub(crate) unsafe fn finish(
        &mut self,
        cqe: &cqueue::Entry,
    ) -> Option<(Outcome, Context<U, H>)> {
        let number = cqe.user_data() as u32 as usize;
        if number >= self.tasks.len() {
            return None;
        }
        let task = self.task(number);
        // SAFETY: these two fields are no work, so they are ours to read.
        let expected = unsafe { (Self::id(task), (*task.as_ptr()).stage) };
        if expected != (TaskId(cqe.user_data()), Stage::InFlight) {
            return None;
        }
        // SAFETY: the kernel is done with it, so that the work is ours again, and moves out of a
        // task that becomes free.
        let (op, context) = unsafe { (*task.as_ptr()).work.assume_init_read() };
        self.in_flight -= 1;
        // SAFETY: a task in flight is on no list.
        unsafe { self.release(task) };
        // SAFETY: as our caller says.
        Some((unsafe { op.finish(cqe) }, context))
    }

    /// Takes the next task out of the queue, and its work back.
    pub(crate) fn take_back(&mut self) -> Option<Work<U, H>> {
        let task = self.queued.pop()?;
        self.waiting -= 1;
        // SAFETY: a queued task has work, which moves out of a task that becomes free.
        let work = unsafe { (*task.as_ptr()).work.assume_init_read() };
        // SAFETY: it was just taken off its list.
        unsafe { self.release(task) };
        Some(work)
    }

    /// The user data of those that the kernel has.
    pub(crate) fn user_data(&self) -> Vec<u64> {
        (0..self.tasks.len())
            .map(|number| self.task(number))
            // SAFETY: these fields are no work, so they are ours to read.
            .filter(|task| unsafe { (*task.as_ptr()).stage } == Stage::InFlight)
            // SAFETY: as above.
            .map(|task| unsafe { Self::id(task) }.0)
            .collect()
    }

    /// # Safety
    ///
    /// The task is on no list, and its work has moved out.
    unsafe fn release(&mut self, task: Link<U, H>) {
        // SAFETY: as our caller says.
        unsafe {
            (*task.as_ptr()).stage = Stage::Free;
            self.free.push(task);
        }
    }

    /// # Safety
    ///
    /// The task is one of a pool.
    unsafe fn id(task: Link<U, H>) -> TaskId {
        // SAFETY: these fields are no work.
        unsafe { TaskId::new((*task.as_ptr()).number, (*task.as_ptr()).uses) }
    }
}

/// What a task does, and for whom.
pub(crate) type Work<U, H> = (Op, Context<U, H>);

impl<U, H: Handle> Drop for Pool<U, H> {
    /// Frees the tasks, unless the kernel has some: it would go on writing to them.
    fn drop(&mut self) {
        while self.take_back().is_some() {}
        if self.in_flight == 0 {
            // SAFETY: `new` has leaked it, and no task has work that is in need of dropping.
            drop(unsafe { Box::from_raw(self.tasks.as_ptr()) });
        }
    }
}
