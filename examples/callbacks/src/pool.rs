//! The pool: a fixed number of tasks, made once, and used again and again.
//!
//! A task is on one list at a time. The lists are *intrusive*: the links are in the tasks, so a list
//! needs no memory of its own. The kernel finds the way back by the user data of an entry: the number
//! of the task, and how often it was used before.
//!
//! A task has a place for everything that its operation needs from the start to the callback. Whatever
//! the kernel works on is written there once, and moved out once, when the operation is over.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use rustix_uring::squeue::Entry;
use rustix_uring::{Handle, cqueue};

use crate::op::{Op, OpResult, Rest};
use crate::ring::{Callback, Context, Refused, Task};

/// An operation that was started. Once that is over, this finds nothing, even if the pool uses the same
/// task again.
// The lower half is the number of the task. The upper half counts its uses, except for the highest bit,
// which messages have.
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

struct Slot<U, H: Handle> {
    next: Option<Link<U, H>>,
    id: TaskId,
    in_flight: bool,
    // These three are there while the task is queued or in flight.
    /// What the callback gets.
    over: MaybeUninit<OpResult>,
    context: MaybeUninit<Context<U, H>>,
    entry: MaybeUninit<Entry>,
    /// What it does not get.
    rest: Rest,
}

type Link<U, H> = NonNull<Slot<U, H>>;

/// A task that the kernel has.
pub(crate) struct InFlight<U, H: Handle>(Link<U, H>);

/// Tasks in the order in which they were put here: the first and the last.
struct List<U, H: Handle>(Option<(Link<U, H>, Link<U, H>)>);

impl<U, H: Handle> List<U, H> {
    /// # Safety
    ///
    /// The task is on no list, and outlives this one.
    #[inline]
    unsafe fn push(&mut self, task: Link<U, H>) {
        // SAFETY: our caller promises it. A task on a list outlives the list, and its link is the list's.
        unsafe {
            (*task.as_ptr()).next = None;
            if let Some((_, last)) = self.0 {
                (*last.as_ptr()).next = Some(task);
            }
        }
        self.0 = Some((self.0.map_or(task, |(first, _)| first), task));
    }

    #[inline]
    fn pop(&mut self) -> Option<Link<U, H>> {
        let (first, last) = self.0?;
        // SAFETY: a task on a list outlives the list.
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
            over: MaybeUninit::uninit(),
            context: MaybeUninit::uninit(),
            entry: MaybeUninit::uninit(),
            rest: Rest::Unused,
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

    #[inline]
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
            // SAFETY: these two fields are only ours.
            .map(|task| unsafe { ((*task.as_ptr()).in_flight, (*task.as_ptr()).id.0) })
            .filter_map(|(in_flight, id)| in_flight.then_some(id))
            .collect()
    }

    /// Gives a free task, if there is one, this operation, and puts it in the queue.
    #[allow(clippy::result_large_err, reason = "what is given back is what was given")]
    #[inline]
    pub(crate) fn queue(
        &mut self,
        op: Op,
        context: Context<U, H>,
    ) -> Result<TaskId, Refused<U, H>> {
        let Some(task) = self.free.pop() else { return Err(Refused { op, context }) };
        self.busy += 1;
        // SAFETY: a free task is ours alone, and has nothing in it. It was just taken off its list.
        unsafe {
            let id = (*task.as_ptr()).id.next_use();
            (*task.as_ptr()).id = id;
            (*task.as_ptr()).context.write(context);
            let (over, rest) = (&mut (*task.as_ptr()).over, &mut (*task.as_ptr()).rest);
            (*task.as_ptr()).entry.write(op.entry(over, rest).user_data(id.0));
            self.queued.push(task);
            Ok(id)
        }
    }

    /// Takes the next task out of the queue, for the kernel: its entry, which is to be pushed.
    #[inline]
    pub(crate) fn start(&mut self) -> Option<&Entry> {
        let task = self.queued.pop()?;
        self.in_flight += 1;
        // SAFETY: a queued task has an entry, and the kernel does not know of it yet.
        unsafe {
            (*task.as_ptr()).in_flight = true;
            Some((*task.as_ptr()).entry.assume_init_ref())
        }
    }

    /// The task in flight whose completion this is. None, if it is no task's.
    #[inline]
    pub(crate) fn find(&self, cqe: &cqueue::Entry) -> Option<InFlight<U, H>> {
        let id = TaskId(cqe.user_data());
        let task = self.task(id.number())?;
        // SAFETY: these two fields are only ours.
        let found = unsafe { (*task.as_ptr()).id == id && (*task.as_ptr()).in_flight };
        found.then_some(InFlight(task))
    }

    /// The function to call when the task is over.
    #[inline]
    pub(crate) fn callback(&self, task: &InFlight<U, H>) -> Callback<U, H> {
        // SAFETY: a task in flight has a context, which is only ours.
        unsafe { (*task.0.as_ptr()).context.assume_init_ref().cb }
    }

    /// Ends a task, and frees it. Returns it as its callback gets it.
    ///
    /// # Safety
    ///
    /// The task was just found by this completion. That is one of the ring that gets the entries of
    /// [`start`](Self::start), and the last of its entry.
    #[inline]
    pub(crate) unsafe fn finish(
        &mut self,
        InFlight(task): InFlight<U, H>,
        cqe: &cqueue::Entry,
    ) -> Task<U> {
        self.in_flight -= 1;
        // SAFETY: a task in flight is on no list, and the kernel is done with it. The completion is the
        // operation's, as our caller says.
        unsafe {
            let rest = &mut (*task.as_ptr()).rest;
            (*task.as_ptr()).over.assume_init_mut().set(rest, cqe);
            *rest = Rest::Unused;
            let (result, Context { cb: _, msg, userdata }) = self.release(task);
            Task { result, msg, userdata }
        }
    }

    /// Drops the next task of the queue, and says whether there was one.
    pub(crate) fn drop_next(&mut self) -> bool {
        let Some(task) = self.queued.pop() else { return false };
        // SAFETY: a queued task was just taken off its list, and the kernel does not know of it.
        unsafe {
            drop(self.release(task));
            (*task.as_ptr()).rest = Rest::Unused;
        }
        true
    }

    /// Frees a task, but for the rest.
    ///
    /// # Safety
    ///
    /// It is on no list, and has something in it, which the kernel does not use.
    #[inline]
    unsafe fn release(&mut self, task: Link<U, H>) -> (OpResult, Context<U, H>) {
        self.busy -= 1;
        // SAFETY: as our caller says. Both move out, and a free task has none.
        unsafe {
            (*task.as_ptr()).in_flight = false;
            self.free.push(task);
            ((*task.as_ptr()).over.assume_init_read(), (*task.as_ptr()).context.assume_init_read())
        }
    }
}

impl<U, H: Handle> Drop for Pool<U, H> {
    /// Frees the tasks, unless the kernel has some: it would go on writing to them.
    fn drop(&mut self) {
        while self.drop_next() {}
        if self.in_flight == 0 {
            // SAFETY: `new` has leaked it, and no task has work that is in need of dropping.
            drop(unsafe { Box::from_raw(self.tasks.as_ptr()) });
        }
    }
}
