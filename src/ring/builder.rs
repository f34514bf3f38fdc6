//! Setting up a ring: flags, system call, and memory.

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

/// Configures and sets up a ring.
///
/// [`IoUring::builder`] returns a builder for any kinds of queue. Write `<IoUring>::builder()` for
/// the default kinds if nothing else determines them, and for example `IoUring::<squeue::Entry128,
/// cqueue::Entry>::builder()` for others.
///
/// The kinds of queue set the flags `SQE128`, `SQE_MIXED`, `SQ_REWIND`, `CQE32` and `CQE_MIXED`.
/// [`build_in_memory`](Self::build_in_memory) sets `NO_MMAP`, and
/// [`build_registered_in_memory`](Self::build_registered_in_memory) also sets `REGISTERED_FD_ONLY`.
/// Every other flag has a method here. For flags newer than this crate, use
/// [`setup_flags`](Self::setup_flags). The kernel rejects unknown flags and invalid combinations
/// with EINVAL.
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

    /// Excludes the ring's memory from forked children (`MADV_DONTFORK`), where an access would
    /// disturb the parent's ring. This applies to the queues, also after a
    /// [`resize`](IoUring::resize), and to all other memory that is mapped for the ring (rings of
    /// provided buffers, wait regions, refill rings). It does not apply to memory that you provide.
    ///
    /// A child may only drop the ring that it has inherited. Any other use is a memory fault
    /// (SIGSEGV) or, if the child has mapped something else at the same address, an access to that
    /// memory.
    ///
    /// # Errors
    ///
    /// With this option, setting up the ring can fail with ENOMEM.
    pub fn dontfork(&mut self) -> &mut Self {
        self.settings.dontfork = true;
        self
    }

    /// Polls for completions instead of waiting for interrupts (`IORING_SETUP_IOPOLL`). Since Linux
    /// 5.1.
    ///
    /// This works only for reads and writes of files that are open with `O_DIRECT` on devices that
    /// support polling. On other files, they complete with -EOPNOTSUPP. So do
    /// [commands](crate::opcode::UringCmd80) before Linux 7.1, if the file cannot poll them. Newer
    /// kernels run such commands. Most other operations complete with -EINVAL. Current kernels
    /// accept NOPs and messages to other rings.
    ///
    /// The kernel posts completions of polled operations only when a task enters and asks for them.
    /// If none is in flight, a wait returns at once, even if it asks for more completions than are
    /// ready.
    pub fn setup_iopoll(&mut self) -> &mut Self {
        self.set(SetupFlags::IOPOLL)
    }

    /// Makes a wait sleep for part of the expected time before it polls
    /// (`IORING_SETUP_HYBRID_IOPOLL`), which saves CPU time. Requires
    /// [`setup_iopoll`](Self::setup_iopoll). Since Linux 6.13.
    pub fn setup_hybrid_iopoll(&mut self) -> &mut Self {
        self.set(SetupFlags::HYBRID_IOPOLL)
    }

    /// Starts a kernel thread that consumes submissions (`IORING_SETUP_SQPOLL`). While the thread
    /// is awake, submitting needs no system call. The thread sleeps after `idle` milliseconds
    /// without work, and `submit` wakes it. An `idle` of 0 means the kernel's default of one
    /// second. Since Linux 5.1.
    ///
    /// While the thread is awake, it keeps a CPU busy. Use it only on machines with CPUs to spare.
    ///
    /// Up to Linux 5.10, the thread supports only registered files and requires `CAP_SYS_ADMIN`.
    /// Linux 5.11 and 5.12 require `CAP_SYS_NICE`. Later kernels, and late stable updates of 5.10,
    /// require no privilege.
    pub fn setup_sqpoll(&mut self, idle: u32) -> &mut Self {
        self.sq_thread_idle = idle;
        self.set(SetupFlags::SQPOLL)
    }

    /// Binds the SQPOLL thread to a CPU (`IORING_SETUP_SQ_AFF`). Requires
    /// [`setup_sqpoll`](Self::setup_sqpoll). Since Linux 5.1.
    pub fn setup_sqpoll_cpu(&mut self, cpu: u32) -> &mut Self {
        self.sq_thread_cpu = cpu;
        self.set(SetupFlags::SQ_AFF)
    }

    /// Sets the number of slots of the completion queue (`IORING_SETUP_CQSIZE`). The kernel rounds
    /// it up to a power of two. It must not be less than the number of slots of the submission
    /// queue. The default is twice that number. Since Linux 5.5.
    ///
    /// Choose a large completion queue for multishot requests.
    pub fn setup_cqsize(&mut self, entries: u32) -> &mut Self {
        self.cq_entries = entries;
        self.set(SetupFlags::CQSIZE)
    }

    /// Reduces sizes above the kernel's limits (32768 submissions, twice as many completions) to
    /// these limits instead of failing with EINVAL (`IORING_SETUP_CLAMP`). Since Linux 5.6.
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
    /// `fd` is open, and is the descriptor of a ring that the program means to share. This holds
    /// until the ring is built, and whenever a ring is built from a clone of this builder. With any
    /// other number, the new ring would share resources of a ring that belongs to somebody else.
    pub unsafe fn setup_attach_wq(&mut self, fd: RawFd) -> &mut Self {
        self.wq_fd = fd;
        self.set(SetupFlags::ATTACH_WQ)
    }

    /// Creates a disabled ring (`IORING_SETUP_R_DISABLED`), so that you can register restrictions
    /// first. Submitting fails with EBADFD until you call
    /// [`register_enable_rings`](crate::Submitter::register_enable_rings). Since Linux 5.10.
    pub fn setup_r_disabled(&mut self) -> &mut Self {
        self.set(SetupFlags::R_DISABLED)
    }

    /// Continues to submit after an entry that the kernel rejects (`IORING_SETUP_SUBMIT_ALL`). With
    /// or without this flag, the rejected entry posts a completion with the reason. Since Linux
    /// 5.18.
    pub fn setup_submit_all(&mut self) -> &mut Self {
        self.set(SetupFlags::SUBMIT_ALL)
    }

    /// Does not interrupt the task when an operation completes (`IORING_SETUP_COOP_TASKRUN`). The
    /// kernel handles the completion during the next system call or interrupt of the task. Use this
    /// for tasks that enter the kernel often. Since Linux 5.19.
    ///
    /// A loop that only looks at the queue makes no system call and therefore sees completions
    /// late. Such a loop has to call [`get_events`](crate::Submitter::get_events). Or add
    /// [`setup_taskrun_flag`](Self::setup_taskrun_flag): `submit` then enters the kernel when
    /// completions are waiting.
    pub fn setup_coop_taskrun(&mut self) -> &mut Self {
        self.set(SetupFlags::COOP_TASKRUN)
    }

    /// Sets a flag in the submission queue while completions wait for the task to enter the kernel
    /// (`IORING_SETUP_TASKRUN_FLAG`). `submit` then enters the kernel for them. Requires
    /// [`setup_coop_taskrun`](Self::setup_coop_taskrun) or
    /// [`setup_defer_taskrun`](Self::setup_defer_taskrun). Since Linux 5.19.
    pub fn setup_taskrun_flag(&mut self) -> &mut Self {
        self.set(SetupFlags::TASKRUN_FLAG)
    }

    /// Promises that only one task submits (`IORING_SETUP_SINGLE_ISSUER`): the task that created
    /// the ring, or that enabled it if it [started disabled](Self::setup_r_disabled). Other
    /// tasks get EEXIST. Since Linux 6.0.
    pub fn setup_single_issuer(&mut self) -> &mut Self {
        self.set(SetupFlags::SINGLE_ISSUER)
    }

    /// Posts completions only when the task asks for events (`IORING_SETUP_DEFER_TASKRUN`): all at
    /// once, and with warm caches. Since Linux 6.1.
    ///
    /// A loop that waits asks for events. A loop that does not wait sees no completions unless it
    /// calls [`get_events`](crate::Submitter::get_events). Requires
    /// [`setup_single_issuer`](Self::setup_single_issuer), and excludes SQPOLL.
    pub fn setup_defer_taskrun(&mut self) -> &mut Self {
        self.set(SetupFlags::DEFER_TASKRUN)
    }

    /// Requires a ring without an index array (`IORING_SETUP_NO_SQARRAY`). Since Linux 6.6.
    ///
    /// By default, the ring has no index array if the kernel supports that. With this option, setup
    /// fails with EINVAL if the kernel does not.
    pub fn setup_no_sqarray(&mut self) -> &mut Self {
        self.set(SetupFlags::NO_SQARRAY)
    }

    /// Adds setup flags unchanged. Use this for flags that are newer than this crate. The flags
    /// that this crate knows have a method each, or follow from the kinds of queue.
    ///
    /// ```
    /// # use rustix_uring::{Errno, IoUring, SetupFlags};
    /// let newest = SetupFlags::from_bits_retain(1 << 31);
    /// // SAFETY: no kernel knows this flag, so none creates a ring.
    /// let ring = unsafe { <IoUring>::builder().setup_flags(newest).build(8) };
    /// assert_eq!(ring.err(), Some(Errno::INVAL));
    /// # Ok::<(), Errno>(())
    /// ```
    ///
    /// # Safety
    ///
    /// You know what the flags do. Everything that this crate relies on is the same with and
    /// without them. In particular:
    ///
    /// - The setup call returns a descriptor if it does so without the flags.
    /// - Both queues lie where the parameters say, and their slots have the sizes of `S` and `C`.
    ///   Positions, flags and completions mean the same as without the flags.
    /// - The kernel consumes no entries and writes to no memory that this crate does not know of.
    ///
    /// Apart from unknown flags, this excludes `SQE128`, `SQE_MIXED`, `SQ_REWIND`, `CQE32`,
    /// `CQE_MIXED`, `NO_MMAP` and `REGISTERED_FD_ONLY`. `ATTACH_WQ` means descriptor 0 unless
    /// [`setup_attach_wq`](Self::setup_attach_wq) sets another.
    pub unsafe fn setup_flags(&mut self, flags: SetupFlags) -> &mut Self {
        self.set(flags)
    }

    /// Keeps the index array that older kernels require. Use this to compare with such kernels.
    pub fn sqarray(&mut self) -> &mut Self {
        self.sqarray = true;
        self
    }

    /// Makes the pads of a [`Mixed`](squeue::Mixed) submission queue post completions like other
    /// entries, with the user data [`squeue::PAD_USER_DATA`]. Use this if your entries use
    /// [`IO_DRAIN`](squeue::Flags::IO_DRAIN): after a silent pad, the kernel rejects entries with
    /// that flag.
    pub fn post_pad_cqes(&mut self) -> &mut Self {
        self.settings.post_pad_cqes = true;
        self
    }

    /// Sets up the ring. The number of slots of each queue is a power of two. The submission queue
    /// has at least `entries` slots.
    ///
    /// # Errors
    ///
    /// | errno | cause | remedy |
    /// |---|---|---|
    /// | EINVAL | `entries` is 0 or above 32768; the kernel does not know a flag; flags exclude each other | omit optional flags |
    /// | EOVERFLOW | a [mixed](squeue::Mixed) queue has a single slot | request at least two |
    /// | ENOSYS, EPERM | the kernel has no io_uring, or the program may not use it | see [`availability`](crate::availability) |
    /// | ENOMEM | rings are charged to `RLIMIT_MEMLOCK` (before Linux 5.12, and again around 6.16 to 7.1), or the system is short of memory | raise the limit, or request smaller queues |
    /// | EMFILE, ENFILE | too many files are open | close some |
    /// | ENXIO, EBADF, EINVAL | [`setup_attach_wq`](Self::setup_attach_wq) got a descriptor that is not a ring | |
    pub fn build(&self, entries: u32) -> io::Result<IoUring<S, C>> {
        let mut params = self.params();
        // SAFETY: the parameters contain no addresses.
        let fd = self.setup(&mut params, |params| unsafe { call::setup(entries, params) })?;
        let memory =
            Memory::map(&params, Shape::of::<S::Slot, C::Slot>(), &fd, self.settings.dontfork)?;
        self.ring(params, memory, fd)
    }

    /// Sets up the ring in application-provided memory (`IORING_SETUP_NO_MMAP`), for example in
    /// huge pages. Since Linux 6.5. Before about 6.10, the memory must be physically contiguous, so
    /// it must be one huge page.
    ///
    /// # Errors
    ///
    /// Same errors as [`build`](Self::build). In addition:
    ///
    /// - EINVAL if `memory` is not page-aligned or is shorter than
    ///   [`memory_size`](Self::memory_size),
    /// - EFAULT if part of the memory is not mapped or cannot be written.
    ///
    /// # Safety
    ///
    /// The memory is valid, and nothing else uses it, while the ring exists and after that. The
    /// kernel writes completions to it until every operation has completed. The kernel tears down a
    /// dropped ring at some later time, and then writes the positions of the queues once more.
    /// Nothing reports when it is done. Therefore the memory may be unmapped, which is safe at any
    /// time after the drop, but must not be used again, in particular not for another ring.
    pub unsafe fn build_in_memory(
        &self,
        entries: u32,
        memory: NonNull<[u8]>,
    ) -> io::Result<IoUring<S, C>> {
        // SAFETY: the caller vouches for the memory.
        let (mut params, memory) = unsafe { self.params_in(entries, memory, SetupFlags::NO_MMAP) }?;
        // SAFETY: `params_in` has put in the memory that the caller vouches for.
        let fd = self.setup(&mut params, |params| unsafe { call::setup(entries, params) })?;
        self.ring(params, memory, fd)
    }

    /// Sets up the ring in application-provided memory, and without a descriptor
    /// (`IORING_SETUP_REGISTERED_FD_ONLY`). The ring has only an index, which is registered with
    /// this task. Since Linux 6.5.
    ///
    /// # Errors
    ///
    /// Same errors as [`build_in_memory`](Self::build_in_memory). In addition, EBUSY if all 16
    /// indices of the task are in use.
    ///
    /// # Safety
    ///
    /// Same contract as [`build_in_memory`](Self::build_in_memory).
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
            // SAFETY: `params_in` has put in the memory that the caller vouches for.
            unsafe { call::setup_registered(entries, params) }
        })?;
        self.ring(params, memory, Local::without_descriptor(index, maker))
    }

    /// Sets up a ring for a loop that stays in one task, such as one thread per core, with the
    /// fastest options that the kernel supports:
    ///
    /// - completions are [deferred](Self::setup_defer_taskrun) until the loop asks for them,
    /// - [no other task](Self::setup_single_issuer) submits,
    /// - there is no index array,
    /// - the descriptor is [registered](IoUring::register_ring_fd).
    ///
    /// The first attempt requests all options. While the kernel answers EINVAL, the next attempts
    /// request fewer, until the fifth requests none. [`setup_flags`](Parameters::setup_flags) and
    /// [`registered_index`](IoUring::registered_index) show the result: all options since Linux
    /// 6.6, none before 5.18.
    ///
    /// If you set [`setup_taskrun_flag`](Self::setup_taskrun_flag), an attempt without deferred or
    /// cooperative completions omits it, because completions then do not wait for an enter call.
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
    /// Same errors as [`build`](Self::build).
    pub fn build_local(&self, entries: u32) -> io::Result<IoUring<S, C, Local>> {
        const DEFER: SetupFlags = SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN);
        const COOP: SetupFlags = SetupFlags::COOP_TASKRUN;
        // Each attempt requests its flags by name, so a rejected attempt costs one system call.
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
                    // If there is no index, the ring uses its descriptor.
                    let _ = ring.register_ring_fd();
                    return Ok(ring);
                }
            }
        }
        Err(Errno::INVAL)
    }

    /// Returns the size in bytes of the memory that [`build_in_memory`](Self::build_in_memory)
    /// needs. It is a multiple of the page size.
    ///
    /// The size includes an index array only with [`sqarray`](Self::sqarray). Linux 6.5 is the only
    /// kernel that supports rings in your memory but requires the array. On that kernel,
    /// `build_in_memory` fails with EOVERFLOW if the array needs an additional page. Use `sqarray`
    /// there.
    ///
    /// # Errors
    ///
    /// EINVAL if the kernel does not accept the sizes.
    pub fn memory_size(&self, entries: u32) -> io::Result<usize> {
        let (sq, cq) = self.sizes(entries)?;
        Ok(Shape::of::<S::Slot, C::Slot>().in_pages(sq, cq, self.sqarray).total())
    }

    /// Returns the sizes that the kernel chooses for the requested ones.
    pub(crate) fn sizes(&self, entries: u32) -> io::Result<(u32, u32)> {
        let cq = self.flags.contains(SetupFlags::CQSIZE).then_some(self.cq_entries);
        sizes(entries, cq, self.flags.contains(SetupFlags::CLAMP))
    }

    /// Returns the parameters for the setup call.
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

    /// Returns the parameters for the setup call of a ring in this memory.
    ///
    /// # Safety
    ///
    /// Same contract as [`build_in_memory`](Self::build_in_memory).
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
        // Leave space for an index array if there is any, because some kernels require the array.
        // If there is not, their ring does not fit, which `ring` detects.
        let with_array = shape.in_pages(sq, cq, true);
        let areas = if with_array.total() <= memory.len() {
            with_array
        } else {
            shape.in_pages(sq, cq, self.sqarray)
        };
        // SAFETY: the callers of `build_in_memory` and its siblings promised that the memory is
        // ours.
        let memory = unsafe { Memory::user(areas, memory, &mut params) }?;
        Ok((params, memory))
    }

    /// Makes the setup call. If the kernel rejects a ring without an index array, this repeats the
    /// call for a ring with one, unless the program requested the one or the other.
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

    /// Creates the ring over its memory.
    pub(crate) fn ring<H: Handle>(
        &self,
        params: io_uring_params,
        memory: Memory,
        handle: H,
    ) -> io::Result<IoUring<S, C, H>> {
        // SAFETY: the kernel has set up the memory with these parameters, and nothing else accesses
        // it.
        let (sq, cq) =
            unsafe { memory.queues(&params, Shape::of::<S::Slot, C::Slot>(), self.settings) }?;
        let params = Parameters(params);
        Ok(IoUring { sq, cq, params, memory, handle, kinds: PhantomData, sharing: PhantomData })
    }
}

impl<S: squeue::Kind, C: cqueue::Kind> IoUring<S, C> {
    /// Creates an `IoUring` for a ring that was set up elsewhere, for example by another process
    /// that has sent the descriptor and the parameters.
    ///
    /// # Errors
    ///
    /// EINVAL if the parameters describe a ring of other kinds than `S` and `C`, a ring in
    /// application-provided memory, or no ring at all. EOVERFLOW if they describe more memory than
    /// the address space holds. Otherwise the errors of `mmap(2)`. After an error, the descriptor
    /// is closed.
    ///
    /// # Safety
    ///
    /// The descriptor is that of an io_uring. While the result exists, nothing else uses the queues
    /// or [resizes](IoUring::resize) them. `params` is what the kernel returned when the ring was
    /// created. If the ring has been resized, it is what [`params`](IoUring::params) returned after
    /// the *last* resize: older parameters describe queues that no longer exist.
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
            // SAFETY: the parameters say that the queue is of this kind, and the caller promises
            // that nothing else uses it.
            unsafe { ring.sq.find_big_end() };
        }
        Ok(ring)
    }
}
