//! The handle that holds a ring open, and the name of the ring in system calls.

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

    /// A token that only this crate can create. Without it, everyone with the bound `H: Handle`
    /// could call the methods of that bound.
    #[derive(Clone, Copy)]
    pub struct Seal(());
    pub(crate) const SEAL: Seal = Seal(());

    pub trait Sealed {
        /// Returns the name of the ring in enter calls.
        fn name(&self, _: Seal) -> RingName;

        /// Returns the name of the ring in register calls. This is the descriptor if there is one:
        /// kernels before 6.3 accept nothing else.
        fn register_name(&self, _: Seal) -> RingName;

        /// Returns the ring's descriptor, if it has one.
        fn descriptor(&self, _: Seal) -> Option<BorrowedFd<'_>>;

        /// Makes an enter call for the ring.
        ///
        /// # Safety
        ///
        /// Same contract as [`call::enter`].
        #[inline(always)]
        unsafe fn enter(
            &self,
            seal: Seal,
            to_submit: u32,
            min_complete: u32,
            flags: u32,
            arg: EnterArg<'_>,
        ) -> io::Result<u32> {
            // SAFETY: the caller vouches for the entries and the argument.
            unsafe { call::enter(self.name(seal), to_submit, min_complete, flags, arg) }
        }

        /// Makes a register call for the ring.
        ///
        /// # Safety
        ///
        /// Same contract as [`call::register`].
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

        /// Returns the time on the clock of the ring's waits.
        fn now(&self, _: Seal) -> Duration {
            let now = clock_gettime(ClockId::Monotonic);
            // The clock starts at zero.
            Duration::try_from(now).unwrap_or_default()
        }

        /// Sleeps for this time without an enter call.
        fn pause(&self, _: Seal, time: Duration) {
            if let Ok(time) = time.try_into() {
                // A signal may end the sleep early.
                let _ = nanosleep(&time);
            }
        }

        /// Makes an enter call for the ring, with the argument in its wait region.
        ///
        /// # Safety
        ///
        /// Same contract as [`call::enter_registered_wait`].
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
            // SAFETY: the caller vouches for the entries and the argument.
            unsafe { call::enter_registered_wait(ring, to_submit, min_complete, flags, offset) }
        }
    }
}

/// A handle that holds a ring open: an [`OwnedFd`], or a [`Local`]. Tests can also use the mock
/// kernel of the cargo feature `mock-kernel`.
///
/// This trait is only a bound. It has no methods that you can call:
///
/// ```compile_fail
/// fn name<H: rustix_uring::Handle>(handle: &H) {
///     handle.descriptor();
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot hold a ring open",
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

/// A handle for a ring that stays in one task.
///
/// A task can register its rings and then name them by an index. This saves the kernel the lookup
/// of a descriptor in each call. The index belongs to the *task*: in another task, the same number
/// may name another ring. A ring with an index therefore cannot leave its task, and is neither
/// `Send` nor `Sync`.
///
/// ```compile_fail
/// let ring = rustix_uring::IoUring::new(8).unwrap().into_local();
/// std::thread::spawn(move || drop(ring));
/// ```
///
/// Dropping it releases the index. A forked child does not have the index, and the same number may
/// name a ring of its own. In a child, dropping an inherited ring therefore only closes its
/// descriptor. Do nothing else with an inherited ring in a child: its calls would reach that ring.
#[derive(Debug)]
pub struct Local {
    name: RingName,
    /// The index, and the process that has registered it.
    index: Option<(u32, Maker)>,
    /// `None` if the ring has no descriptor.
    fd: Option<OwnedFd>,
    /// Makes this `!Send` and `!Sync`, because the index belongs to the task.
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
    /// Returns the handle of a ring that has an index and no descriptor.
    pub(crate) fn without_descriptor(index: u32, maker: Maker) -> Self {
        let (name, index) = (RingName::registered(index), Some((index, maker)));
        Self { name, index, fd: None, stays: PhantomData }
    }

    /// Registers the descriptor with this task, unless it is registered already.
    pub(crate) fn register(&mut self) -> io::Result<()> {
        let (None, Some(fd)) = (self.index, &self.fd) else { return Ok(()) };
        let maker = Maker::here()?;
        let mut update =
            io_uring_rsrc_update { offset: u32::MAX, resv: 0, data: fd.as_raw_fd() as u64 };
        // SAFETY: the kernel reads one update, writes the index into it, and keeps no pointer to
        // it.
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

    /// Releases the index, if there is one. Fails with EINVAL if the ring has no descriptor, because
    /// nothing else would name it.
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

    /// Closes the descriptor. From now on, only the index names the ring.
    pub(crate) fn close_descriptor(&mut self) -> io::Result<()> {
        if self.index.is_none() {
            return Err(Errno::INVAL);
        }
        self.fd = None;
        Ok(())
    }

    /// Returns the index, if there is one.
    pub(crate) fn index(&self) -> Option<u32> {
        self.index.map(|(index, _)| index)
    }

    /// Releases the index and takes the descriptor, if there is one.
    pub(crate) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        if self.unregister().is_err() { None } else { self.fd.take() }
    }

    /// Returns the index if this process has registered it and must release it.
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
            // An error cannot be handled here. At the latest, the kernel releases the index when
            // the task exits.
            let _ = unregister(Sealed::register_name(self, SEAL), index);
        }
    }
}

/// Releases an index.
fn unregister(ring: RingName, index: u32) -> io::Result<()> {
    let mut update = io_uring_rsrc_update { offset: index, resv: 0, data: 0 };
    // SAFETY: the kernel reads one update, and keeps no pointer to it.
    let done = unsafe {
        let arg = (&raw mut update).cast::<c_void>();
        call::register(ring, op::IORING_UNREGISTER_RING_FDS as u32, arg, 1)
    }?;
    if done == 1 { Ok(()) } else { Err(Errno::INVAL) }
}
