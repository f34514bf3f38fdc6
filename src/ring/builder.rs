//! Setting up a ring: flags, the system call, memory.

use core::marker::PhantomData;
use core::ptr::NonNull;

use rustix::fd::{OwnedFd, RawFd};
use rustix::io::{self, Errno};

use crate::cqueue;
use crate::handle::{Handle, Local};
use crate::memory::maker::Maker;
use crate::memory::{Memory, Shape, sizes, zeroed_params};
use crate::params::{Parameters, SetupFlags};
use crate::ring::IoUring;
use crate::shared::Settings;
use crate::squeue;
use crate::sys::call;
use crate::sys::io_uring_params;

/// How a ring is to be set up.
///
/// [`IoUring::builder`] makes one. It leaves the kinds of queue open; where nothing else tells them,
/// `<IoUring>::builder()` stands for the default ones, and `IoUring::<squeue::Entry128,
/// cqueue::Entry>::builder()` for others.
///
/// The kinds of queue follow from the types: they set `SQE128`, `SQE_MIXED`, `SQ_REWIND`, `CQE32`
/// and `CQE_MIXED`. `NO_MMAP` follows from [`build_in_memory`](Self::build_in_memory), and `REGISTERED_FD_ONLY`
/// from [`build_registered_in_memory`](Self::build_registered_in_memory). Every other flag has a method here, and
/// those to come have [`setup_flags`](Self::setup_flags). The
/// kernel refuses what it does not know, or what does not go together, with EINVAL.
#[derive(Debug)]
pub struct Builder<S: squeue::Kind = squeue::Entry, C: cqueue::Kind = cqueue::Entry> {
    flags: SetupFlags,
    cq_entries: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    wq_fd: RawFd,
    sqarray: bool,
    settings: Settings,
    kinds: PhantomData<fn() -> (S, C)>,
}

impl<S: squeue::Kind, C: cqueue::Kind> Clone for Builder<S, C> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<S: squeue::Kind, C: cqueue::Kind> Default for Builder<S, C> {
    fn default() -> Self {
        Self {
            flags: S::SETUP | C::SETUP,
            cq_entries: 0,
            sq_thread_cpu: 0,
            sq_thread_idle: 0,
            wq_fd: 0,
            sqarray: false,
            settings: Settings::default(),
            kinds: PhantomData,
        }
    }
}

impl<S: squeue::Kind, C: cqueue::Kind> Builder<S, C> {
    fn set(&mut self, flags: SetupFlags) -> &mut Self {
        self.flags |= flags;
        self
    }

    /// Leaves the ring's memory out of forked children (`MADV_DONTFORK`), where touching it would
    /// disturb the parent's ring: its queues, also after a [`resize`](IoUring::resize), and what else
    /// is mapped for it (rings of provided buffers, wait regions, refill rings). Memory that the caller
    /// brings is the caller's to leave out.
    ///
    /// A child may drop what it has inherited, and nothing else: using it is a memory fault (SIGSEGV),
    /// or, where the child has mapped something of its own there, worse.
    ///
    /// # Errors
    ///
    /// Where this is asked for, setting the ring up can fail with ENOMEM.
    pub fn dontfork(&mut self) -> &mut Self {
        self.settings.dontfork = true;
        self
    }

    /// Polls for completions instead of waiting for interrupts (`IORING_SETUP_IOPOLL`).
    ///
    /// Only for files open with `O_DIRECT` on devices that poll; anything else completes with
    /// -EOPNOTSUPP, operations that do not poll with -EINVAL before Linux 7.1. Completions are
    /// there when somebody enters and asks for them. Since Linux 5.1.
    pub fn setup_iopoll(&mut self) -> &mut Self {
        self.set(SetupFlags::IOPOLL)
    }

    /// Sleeps for a while before polling (`IORING_SETUP_HYBRID_IOPOLL`), which spares most of the
    /// processor time. With [`setup_iopoll`](Self::setup_iopoll). Since Linux 6.13.
    pub fn setup_hybrid_iopoll(&mut self) -> &mut Self {
        self.set(SetupFlags::HYBRID_IOPOLL)
    }

    /// Has a kernel thread take the submissions (`IORING_SETUP_SQPOLL`), so that submitting needs
    /// no system call while it is awake. It sleeps after `idle` milliseconds without work, 0 for
    /// the kernel's second, and `submit` wakes it.
    ///
    /// It keeps a processor busy meanwhile: worth it on a machine with processors to spare, and
    /// nowhere else. Since Linux 5.1. Up to 5.10 it takes registered files only, and requires
    /// `CAP_SYS_ADMIN`; 5.11 and 5.12 require `CAP_SYS_NICE`; later kernels, and late stable updates
    /// of 5.10, require no privilege.
    pub fn setup_sqpoll(&mut self, idle: u32) -> &mut Self {
        self.sq_thread_idle = idle;
        self.set(SetupFlags::SQPOLL)
    }

    /// Binds the SQPOLL thread to a processor (`IORING_SETUP_SQ_AFF`). With
    /// [`setup_sqpoll`](Self::setup_sqpoll). Since Linux 5.1.
    pub fn setup_sqpoll_cpu(&mut self, cpu: u32) -> &mut Self {
        self.sq_thread_cpu = cpu;
        self.set(SetupFlags::SQ_AFF)
    }

    /// Gives the completion queue this many slots (`IORING_SETUP_CQSIZE`), rounded up to a power
    /// of two, and not fewer than the submission queue has. Without it, it has twice as many.
    ///
    /// It is worth being generous where requests are multishot. Since Linux 5.5.
    pub fn setup_cqsize(&mut self, entries: u32) -> &mut Self {
        self.cq_entries = entries;
        self.set(SetupFlags::CQSIZE)
    }

    /// Brings sizes above the kernel's limits (32768 and twice that) down to them, instead of
    /// failing with EINVAL (`IORING_SETUP_CLAMP`). Since Linux 5.6.
    pub fn setup_clamp(&mut self) -> &mut Self {
        self.set(SetupFlags::CLAMP)
    }

    /// Shares the worker threads, and an SQPOLL thread, of another ring
    /// (`IORING_SETUP_ATTACH_WQ`). Since Linux 5.6.
    ///
    /// ```compile_fail,E0133
    /// <rustix_uring::IoUring>::builder().setup_attach_wq(3);
    /// ```
    ///
    /// # Safety
    ///
    /// Until the ring is built, and whenever it is built from a clone of this, `fd` is open and the
    /// descriptor of a ring that the program means to share. By another number, the ring would share
    /// what belongs to somebody else.
    pub unsafe fn setup_attach_wq(&mut self, fd: RawFd) -> &mut Self {
        self.wq_fd = fd;
        self.set(SetupFlags::ATTACH_WQ)
    }

    /// Makes a ring that submits nothing (EBADFD) until it is enabled with
    /// [`register_enable_rings`](crate::Submitter::register_enable_rings)
    /// (`IORING_SETUP_R_DISABLED`), so that restrictions can be registered first. Since Linux 5.10.
    pub fn setup_r_disabled(&mut self) -> &mut Self {
        self.set(SetupFlags::R_DISABLED)
    }

    /// Goes on submitting behind an entry that is refused (`IORING_SETUP_SUBMIT_ALL`); it gets a
    /// completion that says why either way. Since Linux 5.18.
    pub fn setup_submit_all(&mut self) -> &mut Self {
        self.set(SetupFlags::SUBMIT_ALL)
    }

    /// Does not interrupt the task when something completes (`IORING_SETUP_COOP_TASKRUN`): it is
    /// seen to at the next system call, or interrupt. For tasks that enter often anyway. Since Linux
    /// 5.19.
    ///
    /// A loop that only looks at the queue makes no system call, so it sees completions late: call
    /// [`get_events`](crate::Submitter::get_events) there, or add
    /// [`setup_taskrun_flag`](Self::setup_taskrun_flag), with which `submit` enters when it has to.
    pub fn setup_coop_taskrun(&mut self) -> &mut Self {
        self.set(SetupFlags::COOP_TASKRUN)
    }

    /// Shows in a flag that completions wait for the task to enter
    /// (`IORING_SETUP_TASKRUN_FLAG`), so that `submit` enters for them. With
    /// [`setup_coop_taskrun`](Self::setup_coop_taskrun) or
    /// [`setup_defer_taskrun`](Self::setup_defer_taskrun). Since Linux 5.19.
    pub fn setup_taskrun_flag(&mut self) -> &mut Self {
        self.set(SetupFlags::TASKRUN_FLAG)
    }

    /// Promises that only one task submits (`IORING_SETUP_SINGLE_ISSUER`): the one that made the
    /// ring, or that enabled it if it [started disabled](Self::setup_r_disabled). Others get
    /// EEXIST. Since Linux 6.0.
    pub fn setup_single_issuer(&mut self) -> &mut Self {
        self.set(SetupFlags::SINGLE_ISSUER)
    }

    /// Posts completions only when the task asks for events
    /// (`IORING_SETUP_DEFER_TASKRUN`), all at once and on warm caches. A loop that waits does ask;
    /// one that does not, sees none without [`get_events`](crate::Submitter::get_events). With
    /// [`setup_single_issuer`](Self::setup_single_issuer), without SQPOLL. Since Linux 6.1.
    pub fn setup_defer_taskrun(&mut self) -> &mut Self {
        self.set(SetupFlags::DEFER_TASKRUN)
    }

    /// Insists on a ring without an index array (`IORING_SETUP_NO_SQARRAY`).
    ///
    /// Every ring is set up without one where the kernel allows; with this, it fails with EINVAL
    /// where it does not. Since Linux 6.6.
    pub fn setup_no_sqarray(&mut self) -> &mut Self {
        self.set(SetupFlags::NO_SQARRAY)
    }

    /// Adds setup flags as they are, for those that are newer than this crate. The flags that it knows
    /// have a method each, or follow from the kinds of queue.
    ///
    /// ```
    /// # use rustix_uring::{Errno, IoUring, SetupFlags};
    /// let newest = SetupFlags::from_bits_retain(1 << 31);
    /// // SAFETY: no kernel knows this flag, and then it makes no ring.
    /// let ring = unsafe { <IoUring>::builder().setup_flags(newest).build(8) };
    /// assert_eq!(ring.err(), Some(Errno::INVAL));
    /// # Ok::<(), Errno>(())
    /// ```
    ///
    /// # Safety
    ///
    /// You know what the flags do, and everything that this crate relies on is the same with and
    /// without them. In particular:
    ///
    /// - The setup call returns a descriptor if it does so without them.
    /// - Both queues lie where the parameters say, in slots of the sizes that `S` and `C` have, and
    ///   positions, flags and completions mean what they mean without them.
    /// - The kernel takes no entries, and writes to no memory, of which this crate does not know.
    ///
    /// Unknown flags aside, that excludes `SQE128`, `SQE_MIXED`, `SQ_REWIND`, `CQE32`, `CQE_MIXED`,
    /// `NO_MMAP` and `REGISTERED_FD_ONLY`. `ATTACH_WQ` means descriptor 0, if
    /// [`setup_attach_wq`](Self::setup_attach_wq) gives no other.
    pub unsafe fn setup_flags(&mut self, flags: SetupFlags) -> &mut Self {
        self.set(flags)
    }

    /// Keeps the index array that older kernels cannot do without, for comparing with them.
    pub fn sqarray(&mut self) -> &mut Self {
        self.sqarray = true;
        self
    }

    /// Has the pads of a [`Mixed`](squeue::Mixed) submission queue complete as other entries do,
    /// under the user data [`squeue::PAD_USER_DATA`]. For rings that drain
    /// ([`IO_DRAIN`](squeue::Flags::IO_DRAIN)), which a silent pad would put an end to.
    pub fn post_pad_cqes(&mut self) -> &mut Self {
        self.settings.post_pad_cqes = true;
        self
    }

    /// Sets the ring up. Each queue has a power of two of slots, the submission queue at least
    /// `entries`.
    ///
    /// # Errors
    ///
    /// | errno | because | do |
    /// |---|---|---|
    /// | EINVAL | `entries` is 0 or above 32768; the kernel does not know a flag; flags do not go together | leave out what is optional |
    /// | EOVERFLOW | a [mixed](squeue::Mixed) queue with a single slot | ask for two |
    /// | ENOSYS, EPERM | there is no io_uring here, or not for us | see [`availability`](crate::availability) |
    /// | ENOMEM | before Linux 5.12, and again around 6.16 to 7.1, rings count against `RLIMIT_MEMLOCK`; else memory is short | raise the limit, ask for less |
    /// | EMFILE, ENFILE | too many open files | close some |
    /// | ENXIO, EBADF, EINVAL | [`setup_attach_wq`](Self::setup_attach_wq) got no ring | |
    pub fn build(&self, entries: u32) -> io::Result<IoUring<S, C>> {
        let mut params = self.params();
        // SAFETY: there are no addresses in the parameters.
        let fd = self.setup(&mut params, |params| unsafe { call::setup(entries, params) })?;
        let memory =
            Memory::map(&params, Shape::of::<S::Slot, C::Slot>(), &fd, self.settings.dontfork)?;
        self.ring(params, memory, fd)
    }

    /// Sets the ring up in memory of the caller's (`IORING_SETUP_NO_MMAP`): huge pages, say. Since
    /// Linux 6.5; before 6.10 or so, the memory must be contiguous, that is, one huge page.
    ///
    /// # Errors
    ///
    /// As of [`build`](Self::build); and EINVAL if `memory` does not begin a page, or is shorter
    /// than [`memory_size`](Self::memory_size); EFAULT if it is not all there, or cannot be written.
    ///
    /// # Safety
    ///
    /// The memory is valid and nobody else uses it while the ring exists, and after that: the kernel
    /// writes completions there until every operation has completed, and takes the ring apart at some
    /// later time, when it writes the positions of the queues once more. Nothing tells when that is
    /// over. So what was a ring's memory is unmapped, which is safe at any time, and not used again, for
    /// another ring least of all.
    pub unsafe fn build_in_memory(
        &self,
        entries: u32,
        memory: NonNull<[u8]>,
    ) -> io::Result<IoUring<S, C>> {
        // SAFETY: the caller vouches for the memory.
        let (mut params, memory) = unsafe { self.params_in(entries, memory, SetupFlags::NO_MMAP) }?;
        // SAFETY: `params_in` has put the memory in, which the caller vouches for.
        let fd = self.setup(&mut params, |params| unsafe { call::setup(entries, params) })?;
        self.ring(params, memory, fd)
    }

    /// Sets the ring up in memory of the caller's, and without a descriptor
    /// (`IORING_SETUP_REGISTERED_FD_ONLY`): it has only the index that it is registered by in this
    /// task. Since Linux 6.5.
    ///
    /// # Errors
    ///
    /// As of [`build_in_memory`](Self::build_in_memory); and EBUSY if all of the task's 16 indices are taken.
    ///
    /// # Safety
    ///
    /// As for [`build_in_memory`](Self::build_in_memory).
    pub unsafe fn build_registered_in_memory(
        &self,
        entries: u32,
        memory: NonNull<[u8]>,
    ) -> io::Result<IoUring<S, C, Local>> {
        let flags = SetupFlags::NO_MMAP | SetupFlags::REGISTERED_FD_ONLY;
        let maker = Maker::here()?;
        // SAFETY: the caller vouches for the memory.
        let (mut params, memory) = unsafe { self.params_in(entries, memory, flags) }?;
        let index = self.setup(&mut params, |params| {
            // SAFETY: `params_in` has put the memory in, which the caller vouches for.
            unsafe { call::setup_registered(entries, params) }
        })?;
        self.ring(params, memory, Local::without_descriptor(index, maker))
    }

    /// Sets up a ring for a loop that stays in one task, thread per core say, with what makes that
    /// fast as far as the kernel has it: completions [deferred](Self::setup_defer_taskrun) to when
    /// the loop asks for them, [no other submitter](Self::setup_single_issuer), no index array, and
    /// a [registered descriptor](IoUring::register_ring_fd).
    ///
    /// It asks for all of it first and for less where the kernel answers EINVAL, down to nothing,
    /// in at most five attempts. [`setup_flags`](Parameters::setup_flags) and
    /// [`registered_index`](IoUring::registered_index) say what came of it: everything from Linux
    /// 6.6 on, nothing before 5.18. [`setup_taskrun_flag`](Self::setup_taskrun_flag) goes with it: it
    /// is left out where completions come by themselves, so that there is nothing to show.
    ///
    /// ```
    /// use rustix_uring::{IoUring, Local};
    ///
    /// let mut ring: IoUring<_, _, Local> = <IoUring>::builder().build_local(64)?;
    /// ring.submit_and_wait(0)?;
    /// # Ok::<(), rustix_uring::Errno>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`build`](Self::build).
    pub fn build_local(&self, entries: u32) -> io::Result<IoUring<S, C, Local>> {
        const DEFER: SetupFlags = SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN);
        const COOP: SetupFlags = SetupFlags::COOP_TASKRUN;
        // Newest first, and each asked for by name, so that a refusal costs one call.
        let fallbacks = [
            DEFER | SetupFlags::NO_SQARRAY,
            DEFER,
            COOP | SetupFlags::SINGLE_ISSUER,
            COOP,
            SetupFlags::empty(),
        ];
        for flags in fallbacks {
            let mut builder = self.clone();
            builder.set(flags).sqarray();
            if !builder.flags.intersects(SetupFlags::DEFER_TASKRUN | COOP) {
                builder.flags.remove(SetupFlags::TASKRUN_FLAG);
            }
            match builder.build(entries) {
                Err(Errno::INVAL) => {}
                Err(errno) => return Err(errno),
                Ok(ring) => {
                    let mut ring = ring.into_local();
                    // Where there is no index to be had, the descriptor serves.
                    let _ = ring.register_ring_fd();
                    return Ok(ring);
                }
            }
        }
        Err(Errno::INVAL)
    }

    /// How much memory [`build_in_memory`](Self::build_in_memory) needs, in bytes: whole pages.
    ///
    /// An index array is part of it only with [`sqarray`](Self::sqarray). Linux 6.5 is the one
    /// kernel that sets up rings in your memory and cannot do without the array. There, `build_in_memory`
    /// fails with EOVERFLOW where the array makes the difference of a page: ask for it with `sqarray`.
    ///
    /// # Errors
    ///
    /// EINVAL where the sizes are none that the kernel takes.
    pub fn memory_size(&self, entries: u32) -> io::Result<usize> {
        let (sq, cq) = self.sizes(entries)?;
        Ok(Shape::of::<S::Slot, C::Slot>().in_pages(sq, cq, self.sqarray).total())
    }

    /// The sizes that the kernel makes of what was asked for.
    pub(crate) fn sizes(&self, entries: u32) -> io::Result<(u32, u32)> {
        let cq = self.flags.contains(SetupFlags::CQSIZE).then_some(self.cq_entries);
        sizes(entries, cq, self.flags.contains(SetupFlags::CLAMP))
    }

    /// The parameters to ask the kernel with.
    pub(crate) fn params(&self) -> io_uring_params {
        let without_sqarray =
            if self.sqarray { SetupFlags::empty() } else { SetupFlags::NO_SQARRAY };
        io_uring_params {
            flags: (self.flags | without_sqarray).bits(),
            cq_entries: self.cq_entries,
            sq_thread_cpu: self.sq_thread_cpu,
            sq_thread_idle: self.sq_thread_idle,
            wq_fd: self.wq_fd as u32,
            ..zeroed_params()
        }
    }

    /// The parameters to ask the kernel with for a ring in this memory.
    ///
    /// # Safety
    ///
    /// As for [`build_in_memory`](Self::build_in_memory).
    unsafe fn params_in(
        &self,
        entries: u32,
        memory: NonNull<[u8]>,
        flags: SetupFlags,
    ) -> io::Result<(io_uring_params, Memory)> {
        let (sq, cq) = self.sizes(entries)?;
        let mut params = self.params();
        params.flags |= flags.bits();
        let shape = Shape::of::<S::Slot, C::Slot>();
        // With room for an index array if there is, for kernels that insist on one. If there is not,
        // their ring does not fit, as `ring` sees.
        let with_array = shape.in_pages(sq, cq, true);
        let areas = if with_array.total() <= memory.len() {
            with_array
        } else {
            shape.in_pages(sq, cq, self.sqarray)
        };
        // SAFETY: our callers were promised that the memory is ours.
        let memory = unsafe { Memory::user(areas, memory, &mut params) }?;
        Ok((params, memory))
    }

    /// Asks the kernel, and asks once more for a ring with an index array where it refuses one
    /// without, unless that was asked for by name.
    fn setup<T>(
        &self,
        params: &mut io_uring_params,
        ask: impl Fn(&mut io_uring_params) -> io::Result<T>,
    ) -> io::Result<T> {
        let fresh = *params;
        match ask(params) {
            Err(Errno::INVAL) if !self.sqarray && !self.flags.contains(SetupFlags::NO_SQARRAY) => {
                *params = fresh;
                params.flags &= !SetupFlags::NO_SQARRAY.bits();
                ask(params)
            }
            answer => answer,
        }
    }

    /// The ring over its memory.
    pub(crate) fn ring<H: Handle>(
        &self,
        params: io_uring_params,
        memory: Memory,
        handle: H,
    ) -> io::Result<IoUring<S, C, H>> {
        // SAFETY: the memory was set up with these parameters, and nobody else looks at it.
        let (sq, cq) =
            unsafe { memory.queues(&params, Shape::of::<S::Slot, C::Slot>(), self.settings) }?;
        let params = Parameters(params);
        Ok(IoUring { sq, cq, params, memory, handle, kinds: PhantomData, sharing: PhantomData })
    }
}

impl<S: squeue::Kind, C: cqueue::Kind> IoUring<S, C> {
    /// A ring that was set up elsewhere, by another process, say, which has handed on its
    /// descriptor and its parameters.
    ///
    /// # Errors
    ///
    /// EINVAL if the parameters are those of another kind of ring than `S` and `C` say, of one in
    /// its maker's own memory, or of none; EOVERFLOW if they name more than an address space holds;
    /// else those of `mmap(2)`. The descriptor is closed.
    ///
    /// # Safety
    ///
    /// The descriptor is an io_uring's, and nobody else uses the queues or
    /// [resizes](IoUring::resize) them while the result exists. `params` is what the kernel filled in
    /// when the ring was made or, if it has been resized, what [`params`](IoUring::params) says since
    /// the *last* resize: older ones name memory of queues that are gone.
    pub unsafe fn from_fd(fd: OwnedFd, params: Parameters) -> io::Result<Self> {
        let kinds = SetupFlags::SQE128
            | SetupFlags::SQE_MIXED
            | SetupFlags::SQ_REWIND
            | SetupFlags::CQE32
            | SetupFlags::CQE_MIXED;
        let asked = S::SETUP.union(C::SETUP).intersection(kinds);
        let flags = params.setup_flags();
        if flags.intersection(kinds) != asked || flags.contains(SetupFlags::NO_MMAP) {
            return Err(Errno::INVAL);
        }
        let memory = Memory::map(&params.0, Shape::of::<S::Slot, C::Slot>(), &fd, false)?;
        let ring = Builder::<S, C>::default().ring(params.0, memory, fd)?;
        if S::MIXED && !S::REWIND {
            // SAFETY: the queue is of this kind, as the parameters say, and the caller promises that
            // nobody else uses it.
            unsafe { ring.sq.find_big_end() };
        }
        Ok(ring)
    }
}
