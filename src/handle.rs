//! What holds a ring open, and how system calls name it.

use core::ffi::c_void;
use core::marker::PhantomData;
use core::time::Duration;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::{self, Errno};
use rustix::thread::nanosleep;
use rustix::time::{ClockId, clock_gettime};

use crate::memory::maker::Maker;
use crate::sys::call::{self, RingName};
use crate::sys::{io_uring_register_op as op, io_uring_rsrc_update};

use sealed::{SEAL, Seal, Sealed};

pub(crate) mod sealed {
    use super::*;
    use crate::sys::call::EnterArg;

    /// What only this crate can hand over: the methods of a bound are callable by everybody who has
    /// the bound.
    #[derive(Clone, Copy)]
    pub struct Seal(());
    pub(crate) const SEAL: Seal = Seal(());

    pub trait Sealed {
        /// How enter calls name the ring.
        fn name(&self, _: Seal) -> RingName;

        /// How register calls do. By the descriptor while there is one: kernels before 6.3 know
        /// no other way.
        fn register_name(&self, _: Seal) -> RingName;

        /// The ring's descriptor, if it has one.
        fn descriptor(&self, _: Seal) -> Option<BorrowedFd<'_>>;

        /// Enters for the ring.
        ///
        /// # Safety
        ///
        /// As for [`call::enter`].
        #[inline(always)]
        unsafe fn enter(
            &self,
            seal: Seal,
            to_submit: u32,
            min_complete: u32,
            flags: u32,
            arg: EnterArg<'_>,
        ) -> io::Result<u32> {
            // SAFETY: the caller vouches for entries and argument.
            unsafe { call::enter(self.name(seal), to_submit, min_complete, flags, arg) }
        }

        /// Makes a register call for the ring.
        ///
        /// # Safety
        ///
        /// As for [`call::register`].
        #[inline(always)]
        unsafe fn register(
            &self,
            seal: Seal,
            op: u32,
            arg: *const c_void,
            nr_args: u32,
        ) -> io::Result<u32> {
            // SAFETY: the caller vouches for the argument.
            unsafe { call::register(self.register_name(seal), op, arg, nr_args) }
        }

        /// The time on the clock of the ring's waits.
        fn now(&self, _: Seal) -> Duration {
            let now = clock_gettime(ClockId::Monotonic);
            // The clock starts at zero.
            Duration::try_from(now).unwrap_or_default()
        }

        /// Lets time pass, without entering.
        fn pause(&self, _: Seal, time: Duration) {
            if let Ok(time) = time.try_into() {
                // A signal may end it early.
                let _ = nanosleep(&time);
            }
        }

        /// Enters for the ring, with the argument in its wait region.
        ///
        /// # Safety
        ///
        /// As for [`call::enter_registered_wait`].
        #[cfg(feature = "raw-syscall")]
        #[inline(always)]
        unsafe fn enter_registered_wait(
            &self,
            seal: Seal,
            to_submit: u32,
            min_complete: u32,
            flags: u32,
            offset: usize,
        ) -> io::Result<u32> {
            let ring = self.name(seal);
            // SAFETY: the caller vouches for entries and argument.
            unsafe { call::enter_registered_wait(ring, to_submit, min_complete, flags, offset) }
        }
    }
}

/// What holds a ring open: an [`OwnedFd`], or [`Local`]; in tests, the mock kernel of the cargo
/// feature `mock-kernel`.
///
/// It is a bound, and nothing to call:
///
/// ```compile_fail
/// fn name<H: rustix_uring::Handle>(handle: &H) {
///     handle.descriptor();
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not hold a ring open",
    label = "expected `OwnedFd` or `Local`",
    note = "the third parameter of `IoUring` is `OwnedFd` unless you write another"
)]
pub trait Handle: Sealed {}

impl Sealed for OwnedFd {
    #[inline(always)]
    fn name(&self, _: Seal) -> RingName {
        RingName::descriptor(self.as_raw_fd())
    }

    fn register_name(&self, seal: Seal) -> RingName {
        self.name(seal)
    }

    fn descriptor(&self, _: Seal) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}
impl Handle for OwnedFd {}

/// What holds a ring open that stays in one task.
///
/// A task can register its rings, and from then on name them by an index that spares the kernel
/// the look-up of a descriptor at each call. The index belongs to the *task*: in another one, the
/// same number may name another ring. So a ring that has one cannot leave its task: it is neither
/// `Send` nor `Sync`.
///
/// ```compile_fail
/// let ring = rustix_uring::IoUring::new(8).unwrap().into_local();
/// std::thread::spawn(move || drop(ring));
/// ```
///
/// Dropping it gives the index back. A forked child does not have the index, where the number may be
/// that of a ring of its own: there, dropping an inherited ring closes its descriptor and nothing
/// else. Do nothing else with one in a child: its calls would name the other ring.
#[derive(Debug)]
pub struct Local {
    name: RingName,
    /// The index, and the process whose task has it.
    index: Option<(u32, Maker)>,
    /// `None` for rings that have no descriptor.
    fd: Option<OwnedFd>,
    /// The index is the task's.
    stays: PhantomData<*const ()>,
}

impl Sealed for Local {
    #[inline(always)]
    fn name(&self, _: Seal) -> RingName {
        self.name
    }

    fn register_name(&self, seal: Seal) -> RingName {
        self.fd.as_ref().map_or(self.name, |fd| fd.name(seal))
    }

    fn descriptor(&self, _: Seal) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }
}
impl Handle for Local {}

impl Local {
    /// The handle of a ring that has an index and no descriptor.
    pub(crate) fn without_descriptor(index: u32, maker: Maker) -> Self {
        let (name, index) = (RingName::registered(index), Some((index, maker)));
        Self { name, index, fd: None, stays: PhantomData }
    }

    /// Registers the descriptor with this task, unless it is.
    pub(crate) fn register(&mut self) -> io::Result<()> {
        let (None, Some(fd)) = (self.index, &self.fd) else { return Ok(()) };
        let maker = Maker::here()?;
        let mut update =
            io_uring_rsrc_update { offset: u32::MAX, resv: 0, data: fd.as_raw_fd() as u64 };
        // SAFETY: the kernel reads one update, writes the index into it, and keeps nothing.
        let done = unsafe {
            let arg = (&raw mut update).cast::<c_void>();
            call::register(self.name, op::IORING_REGISTER_RING_FDS as u32, arg, 1)
        }?;
        if done != 1 {
            return Err(Errno::INVAL);
        }
        self.index = Some((update.offset, maker));
        self.name = RingName::registered(update.offset);
        Ok(())
    }

    /// Gives the index back, if there is one: EINVAL where nothing else names the ring.
    pub(crate) fn unregister(&mut self) -> io::Result<()> {
        if self.index.is_none() {
            return Ok(());
        }
        let Some(fd) = &self.fd else { return Err(Errno::INVAL) };
        let name = RingName::descriptor(fd.as_raw_fd());
        if let Some(index) = self.own_index() {
            unregister(name, index)?;
        }
        self.index = None;
        self.name = name;
        Ok(())
    }

    /// Closes the descriptor: the index has to name the ring from now on.
    pub(crate) fn close_descriptor(&mut self) -> io::Result<()> {
        if self.index.is_none() {
            return Err(Errno::INVAL);
        }
        self.fd = None;
        Ok(())
    }

    /// The index, if there is one.
    pub(crate) fn index(&self) -> Option<u32> {
        self.index.map(|(index, _)| index)
    }

    /// Takes the descriptor, once the index is released.
    pub(crate) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        if self.unregister().is_err() { None } else { self.fd.take() }
    }

    /// The index to release, if there is one that is this task's.
    fn own_index(&self) -> Option<u32> {
        self.index.filter(|(_, maker)| maker.is_here()).map(|(index, _)| index)
    }
}

impl From<OwnedFd> for Local {
    fn from(fd: OwnedFd) -> Self {
        Self {
            name: RingName::descriptor(fd.as_raw_fd()),
            index: None,
            fd: Some(fd),
            stays: PhantomData,
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(index) = self.own_index() {
            // Nothing can be done about an error; the index goes with the task at the latest.
            let _ = unregister(Sealed::register_name(self, SEAL), index);
        }
    }
}

/// Gives an index back.
fn unregister(ring: RingName, index: u32) -> io::Result<()> {
    let mut update = io_uring_rsrc_update { offset: index, resv: 0, data: 0 };
    // SAFETY: the kernel reads one update, and keeps nothing.
    let done = unsafe {
        let arg = (&raw mut update).cast::<c_void>();
        call::register(ring, op::IORING_UNREGISTER_RING_FDS as u32, arg, 1)
    }?;
    if done == 1 { Ok(()) } else { Err(Errno::INVAL) }
}
