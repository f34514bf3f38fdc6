//! The pool: a fixed number of tasks, allocated once and reused.
//!
//! A free task and a queued task are each on one list. The lists are *intrusive*: the links are in the
//! tasks, so a list allocates nothing. The user data of an entry identifies its task. It contains the
//! number of the task, and a count of its uses.
//!
//! A task stores everything that its operation needs from the start to the callback. The pool writes the
//! memory that the kernel uses once, when you start the operation, and moves it out once, after the
//! completion.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use rustix_uring::squeue::Entry;
use rustix_uring::{Handle, cqueue};

use crate::op::{Op, OpResult, Rest};
use crate::ring::{Callback, Context, Refused, Task};

/// Identifies an operation that you have started. After the operation has completed, this ID matches
/// nothing, even if the pool reuses its task.
// The lower half is the number of the task. The upper half counts its uses, except for the highest bit,
// which marks messages.
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
    // The next three are initialized while the task is queued or in flight.
    /// What the callback gets back.
    over: MaybeUninit<OpResult>,
    context: MaybeUninit<Context<U, H>>,
    entry: MaybeUninit<Entry>,
    /// What the callback does not get back.
    rest: Rest,
}

type Link<U, H> = NonNull<Slot<U, H>>;

/// A task whose entry was given to the kernel and has not completed.
pub(crate) struct InFlight<U, H: Handle>(Link<U, H>);

/// A first-in, first-out list of tasks: its first and its last.
struct List<U, H: Handle>(Option<(Link<U, H>, Link<U, H>)>);

impl<U, H: Handle> List<U, H> {
    /// # Safety
    ///
    /// The task is on no list, and outlives this one.
    #[inline]
    unsafe fn push(&mut self, task: Link<U, H>) {
        // SAFETY: the caller promises that the task outlives this list, as every task on it does. Only
        // the list that a task is on uses its link.
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
        // SAFETY: every task on the list outlives the list, as the caller of `push` has promised.
        self.0 = unsafe { (*first.as_ptr()).next }.map(|next| (next, last));
        Some(first)
    }
}

/// All tasks of a ring.
///
/// The pool accesses tasks by raw pointers, one field at a time. A reference to a whole task would alias
/// the memory that the kernel writes to.
pub(crate) struct Pool<U, H: Handle> {
    tasks: NonNull<[Slot<U, H>]>,
    free: List<U, H>,
    queued: List<U, H>,
    /// The number of tasks that are queued or in flight.
    busy: usize,
    /// The number of tasks that are in flight.
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
            // SAFETY: a new task is on no list. Both the list and the tasks live as long as the pool.
            unsafe { pool.free.push(task) };
            number += 1;
        }
        pool
    }

    #[inline]
    fn task(&self, number: usize) -> Option<Link<U, H>> {
        // SAFETY: `number` is less than the length of the allocation.
        (number < self.tasks.len()).then(|| unsafe { self.tasks.cast().add(number) })
    }

    /// Returns the number of tasks that are queued or in flight.
    pub(crate) fn busy(&self) -> usize {
        self.busy
    }

    /// Returns the number of tasks that are in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Returns the user data of all tasks that are in flight.
    pub(crate) fn user_data(&self) -> Vec<u64> {
        (0..self.tasks.len())
            .filter_map(|number| self.task(number))
            // SAFETY: the task is in the pool, and the kernel does not access these two fields.
            .map(|task| unsafe { ((*task.as_ptr()).in_flight, (*task.as_ptr()).id.0) })
            .filter_map(|(in_flight, id)| in_flight.then_some(id))
            .collect()
    }

    /// Moves this operation into a free task, and queues the task. If no task is free, returns the
    /// operation and the context.
    #[allow(clippy::result_large_err, reason = "the caller gets the operation back, unboxed")]
    #[inline]
    pub(crate) fn queue(
        &mut self,
        op: Op,
        context: Context<U, H>,
    ) -> Result<TaskId, Refused<U, H>> {
        let Some(task) = self.free.pop() else { return Err(Refused { op, context }) };
        self.busy += 1;
        // SAFETY: the kernel does not use a free task, and its three values are uninitialized. `pop` has
        // just removed it from its list.
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

    /// Removes the next task from the queue, and marks it as in flight. Returns its entry, which the
    /// caller must push.
    #[inline]
    pub(crate) fn start(&mut self) -> Option<&Entry> {
        let task = self.queued.pop()?;
        self.in_flight += 1;
        // SAFETY: `queue` has initialized the entry, and the kernel has not seen it yet.
        unsafe {
            (*task.as_ptr()).in_flight = true;
            Some((*task.as_ptr()).entry.assume_init_ref())
        }
    }

    /// Returns the task in flight that this completion belongs to, or `None` if there is no such task.
    #[inline]
    pub(crate) fn find(&self, cqe: &cqueue::Entry) -> Option<InFlight<U, H>> {
        let id = TaskId(cqe.user_data());
        let task = self.task(id.number())?;
        // SAFETY: the task is in the pool, and the kernel does not access these two fields.
        let found = unsafe { (*task.as_ptr()).id == id && (*task.as_ptr()).in_flight };
        found.then_some(InFlight(task))
    }

    /// Returns the callback of the task.
    #[inline]
    pub(crate) fn callback(&self, task: &InFlight<U, H>) -> Callback<U, H> {
        // SAFETY: the context of a task in flight is initialized, and the kernel does not access it.
        unsafe { (*task.0.as_ptr()).context.assume_init_ref().cb }
    }

    /// Sets the result of a task, and frees it. Returns what its callback gets.
    ///
    /// # Safety
    ///
    /// [`find`](Self::find) has just returned the task for this completion. The completion comes from the
    /// ring to which the entries of [`start`](Self::start) are pushed, and is the last of its entry.
    #[inline]
    pub(crate) unsafe fn finish(
        &mut self,
        InFlight(task): InFlight<U, H>,
        cqe: &cqueue::Entry,
    ) -> Task<U> {
        self.in_flight -= 1;
        // SAFETY: a task in flight is on no list. The caller promises that the completion is the last of
        // this operation, so the kernel no longer uses the task.
        unsafe {
            let rest = &mut (*task.as_ptr()).rest;
            (*task.as_ptr()).over.assume_init_mut().set(rest, cqe);
            *rest = Rest::Unused;
            let (result, Context { cb: _, msg, userdata }) = self.release(task);
            Task { result, msg, userdata }
        }
    }

    /// Drops the operation of the next queued task, and returns whether there was one.
    pub(crate) fn drop_next(&mut self) -> bool {
        let Some(task) = self.queued.pop() else { return false };
        // SAFETY: `pop` has just removed the task from its list. It is initialized, and the kernel has not
        // seen it.
        unsafe {
            drop(self.release(task));
            (*task.as_ptr()).rest = Rest::Unused;
        }
        true
    }

    /// Frees a task, and moves its values out, except for `rest`.
    ///
    /// # Safety
    ///
    /// The task is on no list, its values are initialized, and the kernel does not use them.
    #[inline]
    unsafe fn release(&mut self, task: Link<U, H>) -> (OpResult, Context<U, H>) {
        self.busy -= 1;
        // SAFETY: the caller promises that both values are initialized and that the task is on no list.
        // Both move out here, and the pool treats them as uninitialized from now on.
        unsafe {
            (*task.as_ptr()).in_flight = false;
            self.free.push(task);
            ((*task.as_ptr()).over.assume_init_read(), (*task.as_ptr()).context.assume_init_read())
        }
    }
}

impl<U, H: Handle> Drop for Pool<U, H> {
    /// Frees the tasks, unless some are in flight: the kernel would write to freed memory.
    fn drop(&mut self) {
        while self.drop_next() {}
        if self.in_flight == 0 {
            // SAFETY: `new` has leaked the box, and no reference to it is left. No task is queued or in
            // flight, so none has an initialized value to drop.
            drop(unsafe { Box::from_raw(self.tasks.as_ptr()) });
        }
    }
}
