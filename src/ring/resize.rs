//! Resizing the queues of a ring in use.

use core::mem;
use core::ptr::NonNull;

use rustix::io::{self, Errno};

use crate::cqueue;
use crate::handle::Handle;
use crate::handle::sealed::SEAL;
use crate::memory::{Memory, Shape, sizes, zeroed_params};
use crate::params::SetupFlags;
use crate::ring::IoUring;
use crate::shared::{Cq, Sq};
use crate::squeue;
use crate::sys::{self, io_uring_params, io_uring_register_op::IORING_REGISTER_RESIZE_RINGS};

impl<S: squeue::Kind, C: cqueue::Kind, H: Handle> IoUring<S, C, H> {
    /// Resizes the queues (`IORING_REGISTER_RESIZE_RINGS`) and keeps their contents. Sizes are
    /// rounded up as in [`build`](crate::Builder::build). Without `cq_entries`, the completion
    /// queue gets twice as many slots as the submission queue. Since Linux 6.13.
    ///
    /// Some kernels (6.16, 6.17, 6.18.15) corrupt 128-byte entries and 32-byte completions when
    /// they move them, and no kernel moves the entries of a [rewound](squeue::Rewind) queue.
    /// Therefore the ring copies the contents of its queues itself, and resizing works for every
    /// kind of queue on every kernel that supports it.
    ///
    /// # Errors
    ///
    /// After one of these errors, the ring is unchanged:
    ///
    /// | errno | cause |
    /// |---|---|
    /// | EINVAL | the kernel is older; no ring can have these sizes; the ring lacks [`setup_defer_taskrun`](crate::Builder::setup_defer_taskrun); it is in application-provided memory; it has no descriptor to map from; it has an index array ([`sqarray`](crate::Builder::sqarray)), whose new address some kernels do not report |
    /// | EOVERFLOW | the contents of the queues do not fit the new sizes |
    /// | EBUSY | the queue is [mixed](squeue::Mixed), holds entries, and would shrink: a 128-byte entry could wrap around the end of the smaller queue. Submit first |
    /// | EEXIST | the ring belongs to another task |
    /// | ENOMEM | there is no memory for the new queues |
    ///
    /// If the kernel has resized the ring but the new queues cannot be mapped, **the ring is
    /// lost**. The error is ENOMEM if another thread has taken the addresses in the meantime, or
    /// whatever a seccomp filter returns. The queues are then empty and have no slots, and every
    /// call that submits, waits or registers fails with ENOTRECOVERABLE. Operations in flight
    /// continue and use their memory. Entries that were queued and not submitted never run. Drop
    /// the ring.
    pub fn resize(&mut self, entries: u32, cq_entries: Option<u32>) -> io::Result<()> {
        let (sq, cq) = sizes(entries, cq_entries, false)?;
        let Memory::Mapped { .. } = self.memory else { return Err(Errno::INVAL) };
        if self.handle.descriptor(SEAL).is_none() {
            return Err(Errno::INVAL);
        }
        // Reserve first whatever can fail: once the kernel has resized the ring, it has left the
        // old memory.
        let reserved = Memory::reserve(Shape::of::<S::Slot, C::Slot>(), sq, cq)?;
        let params = self.register_resize(params_for(sq, cq))?;
        let dontfork = self.sq.settings.dontfork;
        let fd = self.handle.descriptor(SEAL).ok_or(Errno::INVAL);
        let memory = fd.and_then(|fd| reserved.fill(fd, dontfork));
        self.move_to(&params, memory)
    }

    /// Resizes the queues of a ring in application-provided memory
    /// ([`build_in_memory`](crate::Builder::build_in_memory)), and moves them to new memory. After
    /// success, the kernel no longer uses the old memory, and you may reuse it. Otherwise like
    /// [`resize`](Self::resize).
    ///
    /// # Errors
    ///
    /// Same errors as [`resize`](Self::resize). In addition:
    ///
    /// - EINVAL if the ring is *not* in application-provided memory, or if `memory` is not
    ///   page-aligned or is shorter than [`memory_size`](crate::Builder::memory_size),
    /// - EFAULT if part of the memory is not mapped or cannot be written.
    ///
    /// # Safety
    ///
    /// The new memory meets the requirements of
    /// [`build_in_memory`](crate::Builder::build_in_memory) from now on, even if this call fails.
    /// The old memory meets them until this call has succeeded.
    pub unsafe fn resize_in_memory(
        &mut self,
        entries: u32,
        cq_entries: Option<u32>,
        memory: NonNull<[u8]>,
    ) -> io::Result<()> {
        let Memory::User { .. } = self.memory else { return Err(Errno::INVAL) };
        let (sq, cq) = sizes(entries, cq_entries, false)?;
        let mut params = params_for(sq, cq);
        let areas = Shape::of::<S::Slot, C::Slot>().in_pages(sq, cq, false);
        // SAFETY: the caller promises that the memory is ours.
        let memory = unsafe { Memory::user(areas, memory, &mut params) }?;
        let params = self.register_resize(params)?;
        self.move_to(&params, Ok(memory))
    }

    /// Asks the kernel to set up new queues, unless something prevents it that the kernel does not
    /// know.
    fn register_resize(&mut self, mut params: io_uring_params) -> io::Result<io_uring_params> {
        if !self.params.setup_flags().contains(SetupFlags::NO_SQARRAY) {
            return Err(Errno::INVAL);
        }
        let queued = self.submission().len();
        if S::REWIND && queued > params.sq_entries as usize {
            return Err(Errno::OVERFLOW);
        }
        if S::MIXED && queued > 0 && params.sq_entries < self.sq.capacity {
            return Err(Errno::BUSY);
        }
        // SAFETY: the kernel reads and fills one struct of parameters. Addresses in it are those of
        // memory that the caller of `resize_in_memory` has promised.
        unsafe { self.submitter().register_struct(IORING_REGISTER_RESIZE_RINGS, &mut params, 1) }?;
        Ok(params)
    }

    /// Continues in the memory that the kernel has moved to, or marks the ring as lost.
    fn move_to(&mut self, params: &io_uring_params, memory: io::Result<Memory>) -> io::Result<()> {
        let mut ours = self.params.0;
        (ours.sq_entries, ours.cq_entries) = (params.sq_entries, params.cq_entries);
        (ours.sq_off, ours.cq_off) = (params.sq_off, params.cq_off);
        let moved = memory.and_then(|memory| {
            let settings = self.sq.settings;
            // SAFETY: the kernel has just set up this memory with these parameters, and nothing
            // else accesses it.
            let queues =
                unsafe { memory.queues(&ours, Shape::of::<S::Slot, C::Slot>(), settings) }?;
            Ok((queues, memory))
        });
        let ((mut sq, cq), memory) = match moved {
            Ok(moved) => moved,
            Err(errno) => {
                self.sq.lose();
                self.cq.lose();
                return Err(errno);
            }
        };
        // The queues still belong to the same ring.
        sq.id = self.sq.id;
        sq.saved = mem::take(&mut self.sq.saved);
        // SAFETY: both memories are mapped, hold these queues, and are ours: no view exists, and
        // the kernel has left the old memory. In the new memory, the kernel reads no entry outside
        // an enter call, because a ring that can be resized has no SQPOLL thread. It also writes no
        // completion to a slot that we copy to.
        unsafe {
            self.sq.copy_to::<S>(&sq);
            self.cq.copy_to::<C>(&cq);
        }
        // After every resize, kernels set the flags for waiting work and for a sleeping thread,
        // whether or not there is any. If the ring can have neither, nothing would clear the flags,
        // and each `submit` would enter because of them.
        let mut meaningless = sys::IORING_SQ_NEED_WAKEUP;
        if !self.params.setup_flags().contains(SetupFlags::TASKRUN_FLAG) {
            meaningless |= sys::IORING_SQ_TASKRUN;
        }
        sq.flags.clear_bits(meaningless);
        self.params.0 = ours;
        (self.sq, self.cq) = (sq, cq);
        self.memory = memory;
        Ok(())
    }
}

impl Sq {
    /// Copies the queued entries to the same positions of another queue.
    ///
    /// # Safety
    ///
    /// Both queues are of kind `S`, and nothing else uses the queued entries.
    unsafe fn copy_to<S: squeue::Kind>(&self, to: &Self) {
        let (start, end) =
            if S::REWIND { (0, to.saved.tail()) } else { (self.head.acquire(), self.tail.own()) };
        let same = S::REWIND || (to.head.acquire(), to.tail.own()) == (start, end);
        if same {
            // SAFETY: the caller promises exactly this.
            unsafe {
                copy::<S::Slot>(self.entries, self.capacity, to.entries, to.capacity, start, end)
            };
        }
    }
}

impl Cq {
    /// Copies the completions to the same positions of another queue.
    ///
    /// # Safety
    ///
    /// Both queues are of kind `C`, and nothing else uses the completions.
    unsafe fn copy_to<C: cqueue::Kind>(&self, to: &Self) {
        let (start, end) = (self.head.own(), self.tail.acquire());
        // The kernel may have posted more completions to the new queue.
        let ready = to.tail.acquire().wrapping_sub(start);
        if to.head.own() == start && ready >= end.wrapping_sub(start) {
            // SAFETY: the caller promises exactly this.
            unsafe {
                copy::<C::Slot>(self.entries, self.capacity, to.entries, to.capacity, start, end)
            };
        }
    }
}

/// Copies the slots from `start` to `end` of one queue to the same positions of another one.
///
/// # Safety
///
/// Both queues have the given number of slots of type `T`, a power of two, and nothing else uses
/// the slots that are copied.
unsafe fn copy<T: Copy>(
    from: NonNull<u8>,
    from_capacity: u32,
    to: NonNull<u8>,
    to_capacity: u32,
    start: u32,
    end: u32,
) {
    let len = end.wrapping_sub(start);
    // If the kernel reports more, it has not moved the contents in a way that we know.
    if len > from_capacity.min(to_capacity) {
        return;
    }
    for i in 0..len {
        let position = start.wrapping_add(i);
        // SAFETY: the masks keep the indices inside the queues. The caller promises the slots.
        unsafe {
            let slot = from.cast::<T>().add((position & (from_capacity - 1)) as usize).read();
            to.cast::<T>().add((position & (to_capacity - 1)) as usize).write(slot);
        }
    }
}

/// Returns parameters that request queues of these sizes.
fn params_for(sq: u32, cq: u32) -> io_uring_params {
    io_uring_params {
        sq_entries: sq,
        cq_entries: cq,
        flags: sys::IORING_SETUP_CQSIZE,
        ..zeroed_params()
    }
}
