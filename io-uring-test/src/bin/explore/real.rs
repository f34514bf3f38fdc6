//! A common interface for the real rings of all kinds.

use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::time::Duration;

use rustix_uring::squeue::{Entry, Entry128, PushError};
use rustix_uring::types::SubmitArgs;
use rustix_uring::{Builder, Errno, IoUring, Local, Parameters, SubmissionQueue};

use crate::completions::{CKind, Completed};
use crate::model::cqueue::Cqe;
use crate::model::views::{Glance, Part};
use crate::queue::{Kind, Slot};
use crate::registers::{AnySubmitter, Registers};
use crate::step::{Push, Reap};
use crate::{views, watch};

/// What is visible of a ring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) queued: usize,
    pub(crate) queue_full: bool,
    pub(crate) queue_empty: bool,
    /// The user data of the queued entries, slot by slot.
    pub(crate) left: Vec<u64>,
    pub(crate) cq_overflow: bool,
    pub(crate) taskrun: bool,
    pub(crate) need_wakeup: bool,
    pub(crate) dropped: u32,
    pub(crate) ready: usize,
    pub(crate) ready_by_status: usize,
    pub(crate) completions_full: bool,
    pub(crate) completions_empty: bool,
    pub(crate) lost: u32,
    pub(crate) sq_capacity: usize,
    pub(crate) cq_capacity: usize,
}

impl Seen {
    /// Describes the differences between the real ring and the model.
    pub(crate) fn difference(&self, model: &Self) -> String {
        let (real, model) = (format!("{self:?}"), format!("{model:?}"));
        let pairs = real.split(", ").zip(model.split(", ")).filter(|(real, model)| real != model);
        let all: Vec<_> =
            pairs.map(|(real, model)| format!("{real} (the model: {model})")).collect();
        all.join(", ")
    }
}

/// An entry of either size.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sized {
    Sqe64(Entry),
    Sqe128(Entry128),
}

/// The calls that steps make on a ring.
pub(crate) trait Ring {
    /// Fills in what is visible.
    fn look(&mut self, seen: &mut Seen);
    fn params(&self) -> Parameters;
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
    fn registered_index(&self) -> Option<u32>;

    /// # Safety
    ///
    /// The contract of a pushed entry holds for each.
    unsafe fn push(&mut self, entries: &[Sized], how: &Push) -> Vec<Result<(), PushError>>;
    /// # Safety
    ///
    /// No other thread enters the ring during the call.
    unsafe fn clear(&mut self);
    /// # Safety
    ///
    /// No other thread enters the ring during the call. Returns `false` if this kind of queue
    /// cannot be truncated.
    unsafe fn truncate(&mut self, len: usize) -> bool;

    fn reap(&mut self, how: Reap, n: usize, into: &mut Vec<Cqe>);
    fn peek(&mut self) -> Option<Cqe>;
    fn ready(&self) -> usize;
    fn queued(&self) -> usize;
    fn need_wakeup(&self) -> bool;
    fn squeue_wait(&mut self) -> Result<usize, Errno>;
    fn overflows(&mut self) -> bool;

    fn submit(&mut self, by_submitter: bool) -> Result<usize, Errno>;
    fn submit_and_wait(&mut self, want: usize) -> Result<usize, Errno>;
    fn submit_with_args(&mut self, want: usize, args: &SubmitArgs<'_>) -> Result<usize, Errno>;
    fn wait(&mut self, want: usize) -> Result<(), Errno>;
    fn wait_with_args(&mut self, want: usize, args: &SubmitArgs<'_>) -> Result<(), Errno>;
    fn get_events(&mut self) -> Result<(), Errno>;

    fn resize(&mut self, entries: u32, cq_entries: Option<u32>) -> Result<(), Errno>;
    /// Makes calls that do not depend on how the ring is held.
    fn with_submitter(&mut self, call: &mut dyn FnMut(&dyn Registers));
    /// Makes calls on another ring that name this one.
    fn with_handle(&mut self, call: &mut dyn FnMut(AnySubmitter<'_>));

    fn into_local(self: Box<Self>) -> Box<dyn Ring>;
    fn into_shared(self: Box<Self>) -> (bool, Box<dyn Ring>);
    fn register_ring_fd(&mut self) -> Result<(), Errno>;
    fn unregister_ring_fd(&mut self) -> Result<(), Errno>;
    fn close_ring_fd(&mut self) -> Result<(), Errno>;
    /// Submits in another thread, and returns the ring.
    fn submit_elsewhere(self: Box<Self>) -> (Option<Result<usize, Errno>>, Box<dyn Ring>);
    fn eventfd_disabled(&mut self, set: Option<bool>) -> bool;
    /// Submits and reaps NOPs, `at_once` at a time, while another thread reads how many are ready.
    /// Returns how many were reaped, and the maximum that the other thread saw.
    fn watched(&mut self, rounds: usize, at_once: usize) -> Result<(usize, usize), Errno>;
    /// Holds views of both queues over several calls. Returns the result of each.
    ///
    /// # Safety
    ///
    /// The contract of a pushed entry holds for each.
    unsafe fn split(&mut self, parts: &[Part], entries: &[Sized]) -> Vec<Glance>;
    /// The safe forms of `truncate` and `clear`.
    fn truncate_safely(&mut self, len: usize) -> Result<(), Errno>;
    fn quiesce(
        &mut self,
        in_flight: &mut usize,
        time: Duration,
        each: &mut dyn FnMut(Cqe) -> bool,
    ) -> Result<(), Errno>;
}

/// A ring, by the way it is held.
enum Held<S: Kind, C: CKind> {
    Shared(IoUring<S, C, OwnedFd>),
    Local(IoUring<S, C, Local>),
}

macro_rules! on {
    ($self:expr, $ring:ident => $then:expr) => {
        match $self {
            Held::Shared($ring) => $then,
            Held::Local($ring) => $then,
        }
    };
}

/// Wraps a ring from `build`.
pub(crate) fn shared<S: Kind, C: CKind>(ring: IoUring<S, C>) -> Box<dyn Ring> {
    Box::new(Held::Shared(ring))
}

/// Wraps a ring from `build_local`.
pub(crate) fn local<S: Kind, C: CKind>(ring: IoUring<S, C, Local>) -> Box<dyn Ring> {
    Box::new(Held::Local(ring))
}

/// Pushes entries in the way that the step specifies.
///
/// # Safety
///
/// The contract of a pushed entry holds for each.
unsafe fn push<S: Kind>(
    queue: &mut SubmissionQueue<'_, S>,
    entries: &[Sized],
    how: &Push,
) -> Vec<Result<(), PushError>> {
    let mut results = Vec::new();
    if how.at_once {
        let sqe64 = |entry: &Sized| match entry {
            Sized::Sqe64(entry) => *entry,
            Sized::Sqe128(_) => unreachable!("one push has entries of both sizes"),
        };
        let sqe128 = |entry: &Sized| match entry {
            Sized::Sqe128(entry) => *entry,
            Sized::Sqe64(_) => unreachable!("one push has entries of both sizes"),
        };
        // SAFETY: the caller's promise.
        results.push(unsafe {
            match (how.in_place, entries.first()) {
                (true, Some(Sized::Sqe128(_))) => {
                    S::push_each_128(queue, entries.len(), &mut |i| sqe128(&entries[i]))
                }
                (true, _) => queue.push_each(entries.len(), |i| sqe64(&entries[i])),
                (false, Some(Sized::Sqe128(_))) => {
                    let all: Vec<_> = entries.iter().map(sqe128).collect();
                    S::push_all_128(queue, &all)
                }
                (false, _) => {
                    let all: Vec<S::Slot> =
                        entries.iter().map(|entry| sqe64(entry).into()).collect();
                    queue.push_multiple(&all)
                }
            }
        });
        return results;
    }
    for (i, entry) in entries.iter().enumerate() {
        // SAFETY: the caller's promise.
        results.push(unsafe {
            match (how.in_place, entry) {
                (true, Sized::Sqe64(entry)) => match queue.reserve::<Entry>() {
                    Ok(vacant) => {
                        match how.reserved {
                            0 => drop(vacant),
                            1 => drop(vacant.write(*entry)),
                            _ => vacant.write(*entry).commit(),
                        }
                        Ok(())
                    }
                    Err(full) => Err(full),
                },
                (true, Sized::Sqe128(entry)) => S::reserve_128(queue, entry, how.reserved),
                (false, entry) => push_one(queue, entry),
            }
        });
        if how.sync_after == Some(i) {
            queue.sync();
        }
    }
    results
}

/// Pushes an entry of either size.
///
/// # Safety
///
/// The contract of a pushed entry holds.
pub(crate) unsafe fn push_one<S: Kind>(
    queue: &mut SubmissionQueue<'_, S>,
    entry: &Sized,
) -> Result<(), PushError> {
    // SAFETY: the caller's promise.
    unsafe {
        match entry {
            Sized::Sqe64(entry) => queue.push_any(entry),
            Sized::Sqe128(entry) => S::push_128(queue, entry),
        }
    }
}

impl<S: Kind, C: CKind> Ring for Held<S, C> {
    fn look(&mut self, seen: &mut Seen) {
        on!(self, ring => {
            seen.ready_by_status = ring.completion_status().ready();
            let queue = ring.submission();
            seen.queued = queue.len();
            seen.queue_full = queue.is_full();
            seen.queue_empty = queue.is_empty();
            seen.left.clear();
            let (older, newer) = queue.as_slices();
            seen.left.extend(older.iter().chain(newer).map(Slot::user_data));
            seen.cq_overflow = queue.cq_overflow();
            seen.taskrun = queue.taskrun();
            seen.need_wakeup = queue.need_wakeup();
            seen.dropped = queue.dropped();
            seen.sq_capacity = queue.capacity();
            drop(queue);
            let queue = ring.completion();
            seen.ready = queue.len();
            seen.completions_full = queue.is_full();
            seen.completions_empty = queue.is_empty();
            seen.lost = queue.overflow();
            seen.cq_capacity = queue.capacity();
        });
    }

    fn params(&self) -> Parameters {
        on!(self, ring => *ring.params())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Held::Shared(ring) => Some(ring.as_fd()),
            Held::Local(_) => None,
        }
    }

    fn registered_index(&self) -> Option<u32> {
        match self {
            Held::Shared(_) => None,
            Held::Local(ring) => ring.registered_index(),
        }
    }

    unsafe fn push(&mut self, entries: &[Sized], how: &Push) -> Vec<Result<(), PushError>> {
        on!(self, ring => {
            let mut queue = ring.submission();
            // SAFETY: the caller's promise.
            let results = unsafe { push(&mut queue, entries, how) };
            if how.forget {
                mem::forget(queue);
            }
            results
        })
    }

    unsafe fn clear(&mut self) {
        // SAFETY: the caller's promise.
        on!(self, ring => unsafe { ring.submission().clear() })
    }

    unsafe fn truncate(&mut self, len: usize) -> bool {
        // SAFETY: the caller's promise.
        on!(self, ring => unsafe { S::truncate(&mut ring.submission(), len) })
    }

    fn reap(&mut self, how: Reap, n: usize, into: &mut Vec<Cqe>) {
        on!(self, ring => {
            let mut queue = ring.completion();
            match how {
                Reap::Some => into.extend(queue.by_ref().take(n).map(Completed::cqe)),
                Reap::All => into.extend(queue.by_ref().map(Completed::cqe)),
                Reap::Forget => {
                    into.extend(queue.by_ref().take(n).map(Completed::cqe));
                    mem::forget(queue);
                }
                Reap::Fill => {
                    let mut room = [const { MaybeUninit::<C>::uninit() }; 8];
                    let n = n.min(room.len());
                    into.extend(queue.fill(&mut room[..n]).iter().map(|cqe| cqe.cqe()));
                }
                Reap::Slices => C::by_slices(&mut queue, n, into),
            }
        });
    }

    fn peek(&mut self) -> Option<Cqe> {
        on!(self, ring => ring.completion().peek().map(Completed::cqe))
    }

    fn ready(&self) -> usize {
        on!(self, ring => ring.completion_status().ready())
    }

    fn queued(&self) -> usize {
        on!(self, ring => ring.submission_status().len())
    }

    fn need_wakeup(&self) -> bool {
        on!(self, ring => ring.submission_status().need_wakeup())
    }

    fn squeue_wait(&mut self) -> Result<usize, Errno> {
        on!(self, ring => ring.submitter().squeue_wait())
    }

    fn overflows(&mut self) -> bool {
        on!(self, ring => ring.submission().cq_overflow())
    }

    fn submit(&mut self, by_submitter: bool) -> Result<usize, Errno> {
        on!(self, ring => match by_submitter {
            false => ring.submit(),
            true => {
                let (submitter, mut queue, _) = ring.split();
                S::submit_view(&mut queue, &submitter)
            }
        })
    }

    fn submit_and_wait(&mut self, want: usize) -> Result<usize, Errno> {
        on!(self, ring => ring.submit_and_wait(want))
    }

    fn submit_with_args(&mut self, want: usize, args: &SubmitArgs<'_>) -> Result<usize, Errno> {
        on!(self, ring => ring.submit_with_args(want, args))
    }

    fn wait(&mut self, want: usize) -> Result<(), Errno> {
        on!(self, ring => ring.submitter().wait(want))
    }

    fn wait_with_args(&mut self, want: usize, args: &SubmitArgs<'_>) -> Result<(), Errno> {
        on!(self, ring => ring.submitter().wait_with_args(want, args))
    }

    fn get_events(&mut self) -> Result<(), Errno> {
        on!(self, ring => ring.submitter().get_events())
    }

    fn resize(&mut self, entries: u32, cq_entries: Option<u32>) -> Result<(), Errno> {
        on!(self, ring => ring.resize(entries, cq_entries))
    }

    fn with_submitter(&mut self, call: &mut dyn FnMut(&dyn Registers)) {
        on!(self, ring => call(&ring.submitter()))
    }

    fn with_handle(&mut self, call: &mut dyn FnMut(AnySubmitter<'_>)) {
        match self {
            Held::Shared(ring) => call(AnySubmitter::Shared(ring.submitter())),
            Held::Local(ring) => call(AnySubmitter::Local(ring.submitter())),
        }
    }

    fn into_local(self: Box<Self>) -> Box<dyn Ring> {
        match *self {
            Held::Shared(ring) => local(ring.into_local()),
            held => Box::new(held),
        }
    }

    fn into_shared(self: Box<Self>) -> (bool, Box<dyn Ring>) {
        match *self {
            Held::Local(ring) => match ring.into_shared() {
                Ok(ring) => (true, shared(ring)),
                Err(ring) => (false, local(ring)),
            },
            held => (true, Box::new(held)),
        }
    }

    fn register_ring_fd(&mut self) -> Result<(), Errno> {
        match self {
            Held::Shared(_) => Ok(()),
            Held::Local(ring) => ring.register_ring_fd(),
        }
    }

    fn unregister_ring_fd(&mut self) -> Result<(), Errno> {
        match self {
            Held::Shared(_) => Ok(()),
            Held::Local(ring) => ring.unregister_ring_fd(),
        }
    }

    fn close_ring_fd(&mut self) -> Result<(), Errno> {
        match self {
            Held::Shared(_) => Ok(()),
            Held::Local(ring) => ring.close_ring_fd(),
        }
    }

    fn submit_elsewhere(self: Box<Self>) -> (Option<Result<usize, Errno>>, Box<dyn Ring>) {
        match *self {
            Held::Shared(ring) => {
                let there = std::thread::spawn(move || {
                    let result = ring.submit();
                    (result, ring)
                });
                let (result, ring) = there.join().expect("the submitting thread panicked");
                (Some(result), shared(ring))
            }
            held => (None, Box::new(held)),
        }
    }

    fn eventfd_disabled(&mut self, set: Option<bool>) -> bool {
        on!(self, ring => {
            let queue = ring.completion();
            match set {
                Some(true) => queue.disable_eventfd(),
                Some(false) => queue.enable_eventfd(),
                None => {}
            }
            queue.eventfd_disabled()
        })
    }

    fn watched(&mut self, rounds: usize, at_once: usize) -> Result<(usize, usize), Errno> {
        on!(self, ring => watch::reap(ring, rounds, at_once))
    }

    unsafe fn split(&mut self, parts: &[Part], entries: &[Sized]) -> Vec<Glance> {
        // SAFETY: the caller's promise.
        on!(self, ring => unsafe { views::run(ring, parts, entries) })
    }

    fn truncate_safely(&mut self, len: usize) -> Result<(), Errno> {
        on!(self, ring => S::truncate_safely(ring, len))
    }

    fn quiesce(
        &mut self,
        in_flight: &mut usize,
        time: Duration,
        each: &mut dyn FnMut(Cqe) -> bool,
    ) -> Result<(), Errno> {
        on!(self, ring => ring.quiesce_with(in_flight, time, &[], |cqe| each(cqe.cqe())).map_err(Errno::from))
    }
}

/// Makes a ring again from its descriptor and parameters.
pub(crate) fn anew<S: Kind, C: CKind>(
    builder: &Builder<S, C>,
    entries: u32,
) -> Result<Box<dyn Ring>, Errno> {
    let first = builder.build(entries)?;
    let fd = rustix::io::fcntl_dupfd_cloexec(&first, 0)?;
    let params = *first.params();
    drop(first);
    // SAFETY: the descriptor is this ring's, no other owner of the ring is left, and the ring was
    // not resized.
    unsafe { IoUring::<S, C>::from_fd(fd, params) }.map(shared)
}

/// Makes a ring in memory that was used for something else before.
///
/// # Safety
///
/// The contract of `build_in_memory` holds.
pub(crate) unsafe fn in_memory<S: Kind, C: CKind>(
    builder: &Builder<S, C>,
    entries: u32,
    memory: NonNull<[u8]>,
    registered: bool,
) -> Result<Box<dyn Ring>, Errno> {
    // SAFETY: the caller's promise.
    unsafe {
        match registered {
            false => builder.build_in_memory(entries, memory).map(shared),
            true => builder.build_registered_in_memory(entries, memory).map(local),
        }
    }
}

/// The number of a descriptor.
pub(crate) fn number(fd: BorrowedFd<'_>) -> i32 {
    fd.as_raw_fd()
}
