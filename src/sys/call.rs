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

/// The ring that a system call acts on, as the kernel identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingName {
    /// A descriptor, or an index into the rings that the calling task has registered.
    number: RawFd,
    registered: bool,
}

impl RingName {
    /// Names no ring. The kernel does not know this name, and nobody makes a call with it.
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

    /// Returns the number as a word, and whether it is a registered index.
    pub(crate) const fn number_and_registered(self) -> (u32, bool) {
        (self.number as u32, self.registered)
    }

    /// Returns the number in the form that rustix accepts.
    #[inline(always)]
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: a descriptor is kept open by the ring that this name was made from. An index is
        // in 0..16, so it is never the forbidden -1. rustix only passes the number to the one
        // system call that this module makes with it, together with the flag that marks it as an
        // index. The result never leaves this module.
        unsafe { BorrowedFd::borrow_raw(self.number) }
    }
}

/// The argument of an enter call.
#[derive(Clone, Copy)]
pub enum EnterArg<'a> {
    Nothing,
    /// A signal mask alone, which every kernel accepts.
    Sigmask(&'a KernelSigSet),
    /// A timeout, a signal mask, or both. The flags contain `EXT_ARG`.
    Extended(&'a io_uring_getevents_arg),
}

/// Calls `io_uring_enter(2)`.
///
/// # Safety
///
/// Every entry that the kernel consumes in this call keeps the contract of a pushed entry. Every
/// pointer inside `arg` is null or valid for the duration of the call.
#[inline(always)]
pub(crate) unsafe fn enter(
    ring: RingName,
    to_submit: u32,
    min_complete: u32,
    flags: u32,
    arg: EnterArg<'_>,
) -> io::Result<u32> {
    // The flags must announce exactly the argument that is passed. rustix has a debug assertion for
    // this, and the kernel rejects a mismatch when it waits.
    let announced = flags & (IORING_ENTER_EXT_ARG | IORING_ENTER_EXT_ARG_REG);
    let there = if matches!(arg, EnterArg::Extended(_)) { IORING_ENTER_EXT_ARG } else { 0 };
    if announced != there {
        return Err(io::Errno::INVAL);
    }
    let registered = if ring.registered { IORING_ENTER_REGISTERED_RING } else { 0 };
    let flags = IoringEnterFlags::from_bits_retain(flags | registered);
    let fd = ring.as_fd();
    // SAFETY: the caller vouches for the entries and for the memory that `arg` points to.
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

/// Calls `io_uring_setup(2)` and creates a ring with a descriptor.
///
/// # Safety
///
/// Any memory addresses inside `params` are valid as `IORING_SETUP_NO_MMAP` requires.
pub(crate) unsafe fn setup(entries: u32, params: &mut io_uring_params) -> io::Result<OwnedFd> {
    const {
        assert!(size_of::<io_uring_params>() == size_of::<rustix::io_uring::io_uring_params>());
        assert!(align_of::<io_uring_params>() >= align_of::<rustix::io_uring::io_uring_params>());
    }
    // SAFETY: both types are `repr(C)` structs of integers (and one pointer, for which every value
    // is valid) in the layout of the kernel's struct. The caller vouches for the addresses.
    unsafe { io_uring_setup(entries, &mut *core::ptr::from_mut(params).cast()) }
}

/// Calls `io_uring_setup(2)` with `IORING_SETUP_REGISTERED_FD_ONLY` and creates a ring that has
/// only an index.
///
/// # Safety
///
/// Same contract as [`setup`]. In addition, `params.flags` contains the flag.
pub(crate) unsafe fn setup_registered(
    entries: u32,
    params: &mut io_uring_params,
) -> io::Result<u32> {
    // rustix returns the index as an `OwnedFd`. Do not drop it: that would close the descriptor
    // that happens to have the same number, which is standard input for the first ring.
    // SAFETY: same contract as `setup`.
    let index = unsafe { setup(entries, params) }?.into_raw_fd();
    Ok(index as u32)
}

/// Calls `io_uring_register(2)`.
///
/// rustix has a closed list of operations, which is older than ours. Its flags argument keeps
/// unknown bits and is or-ed to the operation. Operation 0 with the real number as "flags" can
/// therefore make any call.
///
/// # Safety
///
/// `arg` and `nr_args` are what the kernel expects for `op`. All memory that the kernel reads or
/// writes is valid for the duration of the call. Memory that the kernel keeps stays valid for as
/// long as it keeps it.
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

/// The calls that rustix cannot express.
#[cfg(feature = "raw-syscall")]
mod raw {
    use super::*;
    use crate::sys::io_uring_reg_wait;

    /// Makes a system call without libc, as rustix does on this architecture.
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

    /// Makes a system call through libc, as rustix does on this architecture.
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

    /// Calls `io_uring_enter(2)` with its argument at an offset of the ring's wait region.
    ///
    /// # Safety
    ///
    /// Same contract as [`enter`](super::enter). In addition, everything that the argument in the
    /// region points to is valid for the duration of the call.
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

    /// Calls `io_uring_register(2)` without a ring: it passes -1 as the descriptor.
    ///
    /// # Safety
    ///
    /// Same contract as [`register`](super::register).
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
