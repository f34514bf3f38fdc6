//! The pool: a fixed number of tasks, made once, and used again and again.
//!
//! A task is on one list at a time. The lists are *intrusive*: the links are in the tasks, so that
//! to be put on a list costs no memory. Nor does the kernel need any: a task's number, and how
//! often it was used before, is the user data of its entry.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use rustix_uring::squeue::Entry;
use rustix_uring::{Handle, cqueue};

use crate::op::{Op, OpResult, Scratch};
use crate::ring::{Context, Refused};

/// An operation that was started. When that is over, it finds nothing, even if the pool has used the
/// same task again.
///
/// The lower half is the task's number; the upper half counts its uses, but for the highest bit,
/// which messages have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskId(pub(crate) u64);

impl TaskId {
    fn number(self) -> usize {
        self.0 as u32 as usize
    }

    fn next_use(self) -> Self {
        Self((self.0 + (1 << 32)) & (u64::MAX >> 1))
    }
}

/// What a task does, and for whom.
pub(crate) type Work<U, H> = (Op, Context<U, H>);

struct Slot<U, H: Handle> {
    next: Option<Link<U, H>>,
    id: TaskId,
    in_flight: bool,
    /// There while the task is queued or in flight.
    work: MaybeUninit<Work<U, H>>,
    scratch: Scratch,
}

type Link<U, H> = NonNull<Slot<U, H>>;

/// Tasks in the order in which they were put here: the first and the last.
struct List<U, H: Handle>(Option<(Link<U, H>, Link<U, H>)>);

impl<U, H: Handle> List<U, H> {
    /// # Safety
    ///
    /// The task is on no list, and outlives this one.
    unsafe fn push(&mut self, task: Link<U, H>) {
        // SAFETY: as our caller says; who is on a list outlives it, and the link is the list's.
        unsafe {
            (*task.as_ptr()).next = None;
            if let Some((_, last)) = self.0 {
                (*last.as_ptr()).next = Some(task);
            }
        }
        self.0 = Some((self.0.map_or(task, |(first, _)| first), task));
    }

    fn pop(&mut self) -> Option<Link<U, H>> {
        let (first, last) = self.0?;
        // SAFETY: who is on a list outlives it.
        self.0 = unsafe { (*first.as_ptr()).next }.map(|next| (next, last));
        Some(first)
    }
}

/// All tasks of a loop.
///
/// They are reached by raw pointers, a field at a time: a reference to a whole task would claim
/// memory that the kernel is writing to.
pub(crate) struct Pool<U, H: Handle> {
    tasks: NonNull<[Slot<U, H>]>,
    free: List<U, H>,
    queued: List<U, H>,
    /// How many are queued or in flight, and how many are in flight.
    busy: usize,
    in_flight: usize,
}

impl<U, H: Handle> Pool<U, H> {
    pub(crate) fn new(tasks: u32) -> Self {
        let task = |number| Slot {
            next: None,
            id: TaskId(u64::from(number)),
            in_flight: false,
            work: MaybeUninit::uninit(),
            scratch: Scratch::Unused,
        };
        let tasks: Box<[Slot<U, H>]> = (0..tasks).map(task).collect();
        let tasks = NonNull::from(Box::leak(tasks));
        let (free, queued) = (List(None), List(None));
        let mut pool = Self { tasks, free, queued, busy: 0, in_flight: 0 };
        let mut number = 0;
        while let Some(task) = pool.task(number) {
            // SAFETY: a new task is on no list, and lists live in the pool.
            unsafe { pool.free.push(task) };
            number += 1;
        }
        pool
    }

    fn task(&self, number: usize) -> Option<Link<U, H>> {
        // SAFETY: there are that many.
        (number < self.tasks.len()).then(|| unsafe { self.tasks.cast().add(number) })
    }

    /// How many are queued or in flight.
    pub(crate) fn busy(&self) -> usize {
        self.busy
    }

    /// How many the kernel has.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The user data of those that the kernel has.
    pub(crate) fn user_data(&self) -> Vec<u64> {
        (0..self.tasks.len())
            .filter_map(|number| self.task(number))
            // SAFETY: the two fields are not the work, so they are ours to read.
            .map(|task| unsafe { ((*task.as_ptr()).in_flight, (*task.as_ptr()).id.0) })
            .filter_map(|(in_flight, id)| in_flight.then_some(id))
            .collect()
    }

    /// Gives a free task, if there is one, this work, and puts it in the queue.
    #[allow(clippy::result_large_err, reason = "what is given back is what was given")]
    #[inline]
    pub(crate) fn queue(&mut self, work: Work<U, H>) -> Result<TaskId, Refused<U, H>> {
        let Some(task) = self.free.pop() else {
            return Err(Refused { op: work.0, context: work.1 });
        };
        self.busy += 1;
        // SAFETY: a free task is ours, and has no work; it was just taken off its list.
        unsafe {
            let id = (*task.as_ptr()).id.next_use();
            (*task.as_ptr()).id = id;
            (*task.as_ptr()).work = MaybeUninit::new(work);
            self.queued.push(task);
            Ok(id)
        }
    }

    /// Takes the next task out of the queue, for the kernel: its entry, which is to be pushed.
    pub(crate) fn start(&mut self) -> Option<Entry> {
        let task = self.queued.pop()?;
        self.in_flight += 1;
        // SAFETY: a queued task has work, and the kernel does not know of it yet.
        let (op, scratch, id) = unsafe {
            (*task.as_ptr()).in_flight = true;
            let op = &mut (*task.as_ptr()).work.assume_init_mut().0;
            (op, &mut (*task.as_ptr()).scratch, (*task.as_ptr()).id)
        };
        Some(op.entry(scratch).user_data(id.0))
    }

    /// Ends the task whose completion this is, and frees it. None, if it is no task's.
    ///
    /// # Safety
    ///
    /// This is a completion of the ring that gets the entries of [`start`](Self::start), and the
    /// last of its entry.
    pub(crate) unsafe fn finish(
        &mut self,
        cqe: &cqueue::Entry,
    ) -> Option<(OpResult, Context<U, H>)> {
        let id = TaskId(cqe.user_data());
        let task = self.task(id.number())?;
        // SAFETY: the two fields are not the work, so they are ours to read.
        if unsafe { (*task.as_ptr()).id != id || !(*task.as_ptr()).in_flight } {
            return None;
        }
        self.in_flight -= 1;
        // SAFETY: a task in flight has work and is on no list, and the kernel is done with it and with
        // the scratch. The completion is the operation's, as our caller says.
        unsafe {
            let (op, context) = self.release(task);
            Some((op.finish(&(*task.as_ptr()).scratch, cqe), context))
        }
    }

    /// Takes the next task out of the queue, and its work back.
    pub(crate) fn take_back(&mut self) -> Option<Work<U, H>> {
        let task = self.queued.pop()?;
        // SAFETY: a queued task has work, and it was just taken off its list.
        Some(unsafe { self.release(task) })
    }

    /// Frees a task.
    ///
    /// # Safety
    ///
    /// It is on no list, and has work, which the kernel does not use.
    unsafe fn release(&mut self, task: Link<U, H>) -> Work<U, H> {
        self.busy -= 1;
        // SAFETY: as our caller says. The work moves out, and a free task has none.
        unsafe {
            (*task.as_ptr()).in_flight = false;
            self.free.push(task);
            (*task.as_ptr()).work.assume_init_read()
        }
    }
}

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
