//! The three system calls.

use core::ffi::c_void;

use rustix::fd::{BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use rustix::io;
use rustix::io_uring::{
    IoringEnterFlags, IoringRegisterFlags, IoringRegisterOp, KernelSigSet, io_uring_enter,
    io_uring_enter_arg, io_uring_enter_sigmask, io_uring_getevents_arg, io_uring_register_with,
    io_uring_setup,
};

use crate::sys::{
    IORING_ENTER_EXT_ARG, IORING_ENTER_EXT_ARG_REG, IORING_ENTER_REGISTERED_RING, io_uring_params,
    io_uring_register_op,
};

/// How a system call names the ring it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingName {
    /// A descriptor, or an index into the rings that the calling task has registered.
    number: RawFd,
    registered: bool,
}

impl RingName {
    /// No ring. The kernel knows it by no such name, and no call is made with it.
    #[cfg(all(any(test, feature = "mock-kernel"), not(rustix_uring_loom)))]
    pub(crate) const NONE: Self = Self::descriptor(-1);

    #[inline]
    pub(crate) const fn descriptor(number: RawFd) -> Self {
        Self { number, registered: false }
    }

    #[inline]
    pub(crate) const fn registered(index: u32) -> Self {
        Self { number: index as RawFd, registered: true }
    }

    /// The number as a word, and whether it is an index.
    pub(crate) const fn number_and_registered(self) -> (u32, bool) {
        (self.number as u32, self.registered)
    }

    /// The number in the form that rustix takes.
    #[inline(always)]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: for a descriptor, the ring that this name was made from keeps it open. For an
        // index (0..16, so never the forbidden -1), rustix does nothing with the number but pass
        // it to the one system call that this module makes with it, together with the flag that
        // says that it is an index; the result never leaves this module.
        unsafe { BorrowedFd::borrow_raw(self.number) }
    }
}

/// What an enter call carries beside its numbers.
#[derive(Clone, Copy)]
pub enum EnterArg<'a> {
    Nothing,
    /// A signal mask alone, which every kernel takes.
    Sigmask(&'a KernelSigSet),
    /// The extended argument; the flags have EXT_ARG.
    Extended(&'a io_uring_getevents_arg),
}

/// `io_uring_enter(2)`.
///
/// # Safety
///
/// Every entry that this makes the kernel take keeps the contract of a pushed entry, and every
/// pointer inside `arg` is null or valid for the duration of the call.
#[inline(always)]
pub(crate) unsafe fn enter(
    ring: RingName,
    to_submit: u32,
    min_complete: u32,
    flags: u32,
    arg: EnterArg<'_>,
) -> io::Result<u32> {
    // The flags must announce just the argument that there is: rustix insists by a debug
    // assertion, and the kernel refuses the rest too where it waits.
    let announced = flags & (IORING_ENTER_EXT_ARG | IORING_ENTER_EXT_ARG_REG);
    let there = if matches!(arg, EnterArg::Extended(_)) { IORING_ENTER_EXT_ARG } else { 0 };
    if announced != there {
        return Err(io::Errno::INVAL);
    }
    let registered = if ring.registered { IORING_ENTER_REGISTERED_RING } else { 0 };
    let flags = IoringEnterFlags::from_bits_retain(flags | registered);
    let fd = ring.as_fd();
    // SAFETY: the caller vouches for the entries and for what `arg` points to.
    unsafe {
        match arg {
            EnterArg::Nothing => io_uring_enter(fd, to_submit, min_complete, flags),
            EnterArg::Sigmask(mask) => {
                io_uring_enter_sigmask(fd, to_submit, min_complete, flags, Some(mask))
            }
            EnterArg::Extended(arg) => {
                io_uring_enter_arg(fd, to_submit, min_complete, flags, Some(arg))
            }
        }
    }
}

/// `io_uring_setup(2)`: makes a ring that has a descriptor.
///
/// # Safety
///
/// Addresses of memory inside `params`, if any, are valid as `IORING_SETUP_NO_MMAP` asks.
pub(crate) unsafe fn setup(entries: u32, params: &mut io_uring_params) -> io::Result<OwnedFd> {
    const {
        assert!(size_of::<io_uring_params>() == size_of::<rustix::io_uring::io_uring_params>());
        assert!(align_of::<io_uring_params>() >= align_of::<rustix::io_uring::io_uring_params>());
    }
    // SAFETY: both types are `repr(C)` integers (and one pointer, which has no invalid value) in
    // the layout of the kernel's struct; the caller vouches for the addresses.
    unsafe { io_uring_setup(entries, &mut *core::ptr::from_mut(params).cast()) }
}

/// `io_uring_setup(2)` with `IORING_SETUP_REGISTERED_FD_ONLY`: makes a ring that has only an index.
///
/// # Safety
///
/// As for [`setup`]; `params.flags` has the flag.
pub(crate) unsafe fn setup_registered(
    entries: u32,
    params: &mut io_uring_params,
) -> io::Result<u32> {
    // The index comes back dressed as a descriptor. It must not be dropped as one: that would
    // close whatever descriptor has its number, standard input for the first ring.
    // SAFETY: as for `setup`.
    let index = unsafe { setup(entries, params) }?.into_raw_fd();
    Ok(index as u32)
}

/// `io_uring_register(2)`.
///
/// rustix's list of operations is closed and older than ours. Its flags argument keeps unknown
/// bits and is or-ed to the operation, so that operation 0 with the real number as "flags" makes
/// any call.
///
/// # Safety
///
/// `arg` and `nr_args` are what the kernel expects for `op`: everything it reads or writes is
/// valid for the call, and what it keeps stays valid for as long as it keeps it.
pub(crate) unsafe fn register(
    ring: RingName,
    op: u32,
    arg: *const c_void,
    nr_args: u32,
) -> io::Result<u32> {
    const { assert!(IoringRegisterOp::RegisterBuffers as u32 == 0) }
    let registered = if ring.registered {
        io_uring_register_op::IORING_REGISTER_USE_REGISTERED_RING as u32
    } else {
        0
    };
    let op = IoringRegisterFlags::from_bits_retain(op | registered);
    // SAFETY: the caller vouches for `arg`.
    unsafe {
        io_uring_register_with(ring.as_fd(), IoringRegisterOp::RegisterBuffers, op, arg, nr_args)
    }
}

#[cfg(feature = "raw-syscall")]
pub(crate) use raw::{enter_registered_wait, register_without_ring};

/// What rustix has no form for.
#[cfg(feature = "raw-syscall")]
mod raw {
    use super::*;
    use crate::sys::io_uring_reg_wait;

    /// A system call, as rustix makes its own on this processor: without libc.
    #[cfg(any(
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64",
        target_arch = "x86",
        target_arch = "x86_64"
    ))]
    macro_rules! call {
        ($name:ident, $($arg:expr),*) => {
            match syscalls::syscall!(syscalls::Sysno::$name, $($arg),*) {
                Ok(value) => Ok(value as u32),
                Err(errno) => Err(io::Errno::from_raw_os_error(errno.into_raw())),
            }
        };
    }

    /// A system call, as rustix makes its own on this processor: by libc.
    #[cfg(not(any(
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64",
        target_arch = "x86",
        target_arch = "x86_64"
    )))]
    macro_rules! call {
        (@number io_uring_enter) => { libc::SYS_io_uring_enter };
        (@number io_uring_register) => { libc::SYS_io_uring_register };
        ($name:ident, $($arg:expr),*) => {
            match libc::syscall(call!(@number $name), $($arg),*) {
                -1 => Err(io::Errno::from_raw_os_error(*libc::__errno_location())),
                value => Ok(value as u32),
            }
        };
    }

    /// `io_uring_enter(2)` with the argument at an offset of the ring's wait region.
    ///
    /// # Safety
    ///
    /// As for [`enter`](super::enter); what the argument there points to is valid for the call.
    pub(crate) unsafe fn enter_registered_wait(
        ring: RingName,
        to_submit: u32,
        min_complete: u32,
        flags: u32,
        offset: usize,
    ) -> io::Result<u32> {
        let registered = if ring.registered { IORING_ENTER_REGISTERED_RING } else { 0 };
        // SAFETY: the caller vouches for the entries and for the argument.
        unsafe {
            call!(
                io_uring_enter,
                ring.number as usize,
                to_submit as usize,
                min_complete as usize,
                (flags | registered) as usize,
                offset,
                size_of::<io_uring_reg_wait>()
            )
        }
    }

    /// `io_uring_register(2)` on no ring at all: -1 in place of a descriptor.
    ///
    /// # Safety
    ///
    /// As for [`register`](super::register).
    pub(crate) unsafe fn register_without_ring(
        op: u32,
        arg: *mut c_void,
        nr_args: u32,
    ) -> io::Result<u32> {
        const NO_RING: usize = -1_i32 as u32 as usize;
        // SAFETY: the caller vouches for `arg`.
        unsafe {
            call!(
                io_uring_register,
                NO_RING,
                op as usize,
                arg.expose_provenance(),
                nr_args as usize
            )
        }
    }
}
