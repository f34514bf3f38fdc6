//! New sizes for the queues of a ring in use.

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
    /// Gives the queues new sizes (`IORING_REGISTER_RESIZE_RINGS`), rounded up as in
    /// [`build`](crate::Builder::build); without `cq_entries`, the completion queue gets twice as
    /// many slots as the submission queue. What is in the queues stays there. Since Linux 6.13.
    ///
    /// Some kernels (6.16, 6.17, 6.18.15) spoil entries of 128 bytes and completions of 32 bytes when
    /// they move them, and none moves what a [rewound](squeue::Rewind) queue holds. So the ring copies
    /// what is in its queues itself, and every kernel's resize works for every kind of queue.
    ///
    /// # Errors
    ///
    /// The ring is as it was, with:
    ///
    /// | errno | because |
    /// |---|---|
    /// | EINVAL | an older kernel; sizes that no ring can have; the ring lacks [`setup_defer_taskrun`](crate::Builder::setup_defer_taskrun), or its memory is its caller's; it has no descriptor to map from; it has an index array ([`sqarray`](crate::Builder::sqarray)), whose new address some kernels do not tell |
    /// | EOVERFLOW | what is in the queues does not fit the new sizes |
    /// | EBUSY | the queue is [mixed](squeue::Mixed), holds entries, and is to become smaller: an entry of 128 bytes could end up on both sides of the end. Submit first |
    /// | EEXIST | the ring is another task's |
    /// | ENOMEM | no memory for the new queues |
    ///
    /// If the kernel has resized the ring and the new queues cannot be mapped (ENOMEM, because another
    /// thread has taken the addresses meanwhile; or what a seccomp filter answers), **the ring is
    /// lost**. Its queues are then empty and have no slots, and every call that submits, waits or
    /// registers fails with ENOTRECOVERABLE. Operations in flight go on, and their memory is theirs; what was queued and
    /// not submitted never runs. Drop the ring.
    pub fn resize(&mut self, entries: u32, cq_entries: Option<u32>) -> io::Result<()> {
        let (sq, cq) = sizes(entries, cq_entries, false)?;
        let Memory::Mapped { .. } = self.memory else { return Err(Errno::INVAL) };
        if self.handle.descriptor(SEAL).is_none() {
            return Err(Errno::INVAL);
        }
        // What can fail comes first: when the kernel has resized, it has left the old memory.
        let reserved = Memory::reserve(Shape::of::<S::Slot, C::Slot>(), sq, cq)?;
        let params = self.register_resize(params_for(sq, cq))?;
        let dontfork = self.sq.settings.dontfork;
        let fd = self.handle.descriptor(SEAL).ok_or(Errno::INVAL);
        let memory = fd.and_then(|fd| reserved.fill(fd, dontfork));
        self.move_to(&params, memory)
    }

    /// [`resize`](Self::resize) for rings in memory of the caller's
    /// ([`build_in_memory`](crate::Builder::build_in_memory)): the queues move to new memory. When this has
    /// succeeded, the kernel does not use the old memory any more, and it is the caller's again.
    ///
    /// # Errors
    ///
    /// As of [`resize`](Self::resize); and EINVAL if `memory` does not begin a page or is shorter than
    /// [`memory_size`](crate::Builder::memory_size) says, or the ring's memory is not its caller's;
    /// EFAULT if the memory is not all there, or cannot be written.
    ///
    /// # Safety
    ///
    /// The new memory is as [`build_in_memory`](crate::Builder::build_in_memory) asks, from now on and also if
    /// this fails. The old memory stays so until this has succeeded.
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

    /// Has the kernel set up new queues, unless something is in the way that the kernel does not
    /// know of.
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
        // SAFETY: the kernel reads and fills one struct of parameters; addresses in it are those of
        // memory that the caller of `resize_in_memory` has promised.
        unsafe { self.submitter().register_struct(IORING_REGISTER_RESIZE_RINGS, &mut params, 1) }?;
        Ok(params)
    }

    /// Goes on in the memory that the kernel has moved to, or as a lost ring.
    fn move_to(&mut self, params: &io_uring_params, memory: io::Result<Memory>) -> io::Result<()> {
        let mut ours = self.params.0;
        (ours.sq_entries, ours.cq_entries) = (params.sq_entries, params.cq_entries);
        (ours.sq_off, ours.cq_off) = (params.sq_off, params.cq_off);
        let moved = memory.and_then(|memory| {
            let settings = self.sq.settings;
            // SAFETY: the kernel has just set this memory up with these parameters, and nobody but
            // us looks at it.
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
        // It is still the same ring.
        sq.id = self.sq.id;
        sq.saved = mem::take(&mut self.sq.saved);
        // SAFETY: both memories are mapped, hold these queues, and are ours: there is no view, and the
        // kernel has left the old one. In the new one it reads no entry outside an enter call (a ring
        // that can be resized has no SQPOLL thread), and writes no completion where one is.
        unsafe {
            self.sq.copy_to::<S>(&sq);
            self.cq.copy_to::<C>(&cq);
        }
        // Kernels say after every resize that work waits, and a thread sleeps, whether there is any.
        // Where the ring cannot have either, nothing would clear the flags again, and each `submit`
        // would enter for them.
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
    /// Copies what is queued to the same positions of another queue.
    ///
    /// # Safety
    ///
    /// Both queues are of kind `S`, and nobody else uses what is queued.
    unsafe fn copy_to<S: squeue::Kind>(&self, to: &Self) {
        let (start, end) =
            if S::REWIND { (0, to.saved.tail()) } else { (self.head.acquire(), self.tail.own()) };
        let same = S::REWIND || (to.head.acquire(), to.tail.own()) == (start, end);
        if same {
            // SAFETY: the caller promises it.
            unsafe {
                copy::<S::Slot>(self.entries, self.capacity, to.entries, to.capacity, start, end)
            };
        }
    }
}

impl Cq {
    /// Copies what is ready to the same positions of another queue.
    ///
    /// # Safety
    ///
    /// Both queues are of kind `C`, and nobody else uses what is ready.
    unsafe fn copy_to<C: cqueue::Kind>(&self, to: &Self) {
        let (start, end) = (self.head.own(), self.tail.acquire());
        // The kernel may have posted more there.
        let ready = to.tail.acquire().wrapping_sub(start);
        if to.head.own() == start && ready >= end.wrapping_sub(start) {
            // SAFETY: the caller promises it.
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
/// Both have as many slots of `T` as is said, a power of two, and nobody else uses these ones.
unsafe fn copy<T: Copy>(
    from: NonNull<u8>,
    from_capacity: u32,
    to: NonNull<u8>,
    to_capacity: u32,
    start: u32,
    end: u32,
) {
    let len = end.wrapping_sub(start);
    // A kernel that says otherwise has not moved anything that we know of.
    if len > from_capacity.min(to_capacity) {
        return;
    }
    for i in 0..len {
        let position = start.wrapping_add(i);
        // SAFETY: the masks keep the indices inside the queues; the caller promises the slots.
        unsafe {
            let slot = from.cast::<T>().add((position & (from_capacity - 1)) as usize).read();
            to.cast::<T>().add((position & (to_capacity - 1)) as usize).write(slot);
        }
    }
}

/// The parameters that ask for queues of these sizes.
fn params_for(sq: u32, cq: u32) -> io_uring_params {
    io_uring_params {
        sq_entries: sq,
        cq_entries: cq,
        flags: sys::IORING_SETUP_CQSIZE,
        ..zeroed_params()
    }
}
