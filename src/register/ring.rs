//! The ring itself: enabling, resizing.

use core::ptr::NonNull;

use rustix::io::{self, Errno};

use crate::local::Handle;
use crate::memory::{Areas, Memory, Shape, sizes, zeroed_params};
use crate::submit::Submitter;
use crate::sys::{self, io_uring_clock_register, io_uring_params, io_uring_register_op::*};
use crate::types::ClockId;
use crate::{IoUring, cqueue, squeue};

/// # The ring
impl<H: Handle> Submitter<'_, H> {
    /// Enables a ring that [started disabled](crate::Builder::setup_r_disabled)
    /// (`IORING_REGISTER_ENABLE_RINGS`). Since Linux 5.10.
    ///
    /// On rings with [`setup_single_issuer`](crate::Builder::setup_single_issuer), the calling task
    /// is the one that submits from now on.
    ///
    /// # Errors
    ///
    /// EBADFD if the ring is not disabled.
    pub fn register_enable_rings(&self) -> io::Result<()> {
        self.register_nothing(IORING_REGISTER_ENABLE_RINGS).map(drop)
    }

    /// Sets the clock that waits with a timeout go by (`IORING_REGISTER_CLOCK`):
    /// `CLOCK_MONOTONIC`, as from the start, or `CLOCK_BOOTTIME`. Since Linux 6.12.
    ///
    /// # Errors
    ///
    /// EINVAL for another clock, or on older kernels.
    pub fn register_clock(&self, clock: ClockId) -> io::Result<()> {
        let mut arg = io_uring_clock_register { clockid: clock as u32, __resv: [0; 3] };
        // SAFETY: the kernel reads the struct, in which there are no addresses.
        unsafe { self.register_struct(IORING_REGISTER_CLOCK, &mut arg, 0) }.map(drop)
    }
}

impl<S: squeue::EntryMarker, C: cqueue::EntryMarker, H: Handle> IoUring<S, C, H> {
    /// Gives the queues new sizes (`IORING_REGISTER_RESIZE_RINGS`), rounded up as in
    /// [`build`](crate::Builder::build); without `cq_entries`, the completion queue gets twice as
    /// many places as the submission queue. What is in the queues stays there. Since Linux 6.13.
    ///
    /// # Errors
    ///
    /// The ring is as it was, with:
    ///
    /// | errno | because |
    /// |---|---|
    /// | EINVAL | an older kernel; sizes that no ring can have; the ring lacks [`setup_defer_taskrun`](crate::Builder::setup_defer_taskrun), or its memory is its caller's; it has no descriptor to map from |
    /// | EOVERFLOW | what is in the queues does not fit the new sizes |
    /// | EBUSY | the kernel moves entries of 64 bytes and completions of 16 only, and this ring has others: submit and reap first |
    /// | EEXIST | the ring is another task's |
    /// | ENOMEM | no memory for the new queues |
    ///
    /// ENOMEM also comes where the new queues are there and cannot be mapped, because another thread
    /// has taken the addresses meanwhile. The ring then stands still until another `resize` succeeds,
    /// which brings everything along.
    pub fn resize(&mut self, entries: u32, cq_entries: Option<u32>) -> io::Result<()> {
        let (sq, cq) = sizes(entries, cq_entries, false)?;
        // What can fail comes first: from the moment that the kernel has resized, the old mappings
        // are dead.
        if self.handle.descriptor().is_none() {
            return Err(Errno::INVAL);
        }
        let reserved = self.memory.reserve(Shape::of::<S, C>(), sq, cq)?;
        let params = self.register_resize(params_for(sq, cq))?;
        let fd = self.handle.descriptor().ok_or(Errno::INVAL)?;
        let memory = reserved.fill(fd)?;
        self.move_to(params, memory)
    }

    /// [`resize`](Self::resize) for rings in memory of the caller's
    /// ([`build_in`](crate::Builder::build_in)): the queues move to new memory. What they leave is
    /// the caller's again.
    ///
    /// # Errors
    ///
    /// As of `resize`; and EINVAL if `memory` does not begin a page or is shorter than
    /// [`memory_size`](crate::Builder::memory_size) says, or the ring's memory is not its caller's.
    ///
    /// # Safety
    ///
    /// As for [`build_in`](crate::Builder::build_in).
    pub unsafe fn resize_in(
        &mut self,
        entries: u32,
        cq_entries: Option<u32>,
        memory: NonNull<[u8]>,
    ) -> io::Result<()> {
        if !matches!(self.memory, Memory::Callers { .. }) {
            return Err(Errno::INVAL);
        }
        let (sq, cq) = sizes(entries, cq_entries, false)?;
        let mut params = params_for(sq, cq);
        let areas: Areas = Shape::of::<S, C>().in_pages(sq, cq);
        // SAFETY: the caller promises that the memory is ours.
        let memory = unsafe { Memory::callers(areas, memory, &mut params) }?;
        let params = self.register_resize(params)?;
        self.move_to(params, memory)
    }

    /// Has the kernel set up new queues and move over what is in the old ones.
    fn register_resize(&mut self, mut params: io_uring_params) -> io::Result<io_uring_params> {
        let plain = size_of::<S::Place>() == 64 && !S::MIXED && !S::REWIND;
        if !plain && !self.submission().is_empty() {
            return Err(Errno::BUSY);
        }
        if size_of::<C>() != 16 && !self.completion().is_empty() {
            return Err(Errno::BUSY);
        }
        // SAFETY: the kernel reads and fills one struct of parameters; addresses in it are those of
        // memory that the caller of `resize_in` has promised.
        unsafe { self.submitter().register_struct(IORING_REGISTER_RESIZE_RINGS, &mut params, 1) }?;
        Ok(params)
    }

    /// Goes on in the new memory.
    fn move_to(&mut self, params: io_uring_params, memory: Memory) -> io::Result<()> {
        let mut ours = self.params.0;
        (ours.sq_entries, ours.cq_entries) = (params.sq_entries, params.cq_entries);
        (ours.sq_off, ours.cq_off) = (params.sq_off, params.cq_off);
        // SAFETY: the kernel has just set this memory up with these parameters, and nobody but us
        // looks at it.
        let (mut sq, cq) =
            unsafe { memory.queues(&ours, Shape::of::<S, C>(), self.sq.posting_pads) }?;
        // It is still the same ring.
        sq.id = self.sq.id;
        self.params.0 = ours;
        (self.sq, self.cq) = (sq, cq);
        self.memory = memory;
        Ok(())
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
