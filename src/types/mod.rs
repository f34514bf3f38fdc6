//! Arguments of operations: descriptors, flags, and the structs that they point to.

mod convert;
mod file;
mod fs;
mod futex;
mod napi;
mod net;
mod pipe;
mod poll;
mod process;
mod ring;
mod rw;
mod slot;
mod timeout;

pub use file::{Fadv, FallocateFlags, FsyncFlags, Madv, SyncFileRangeFlags};
pub use fs::OpenHow;
pub(crate) use fs::large_file;
pub use futex::{FUTEX_BITSET_MATCH_ANY, FutexFlags, FutexWaitV};
pub use napi::{Napi, NapiTracking};
pub use net::{
    AcceptFlags, AddressFamily, ControlMessage, ControlMessages, MsgFlags, MsgHdr, Protocol,
    RecvMsgError, RecvMsgOut, RecvSendFlags, Shutdown, SocketAddrAny, SocketAddrBuf, SocketAddrLen,
    SocketAddrStorage, SocketFlags, SocketType, decode_socket_addr,
};
pub use pipe::{PipeFlags, SpliceFlags};
pub use poll::{EpollEvent, EpollEventData, EpollEventFlags, EpollOp, PollFlags};
pub use process::{Cld, IdType, SigInfo, WaitIdOptions};
pub use ring::{AsyncCancelFlags, CancelBuilder, MsgRingFlags, NopFlags, SubmitArgs};
pub use rw::{AttrPi, CURRENT_POSITION, PiFlags, RwFlags};
pub use slot::{
    CloneBuffersFlags, DestinationSlot, DestinationSlotError, FileSlot, FixedFdFlags, SKIP_FILE,
};
pub use timeout::{TimeoutFlags, Timespec};

pub use core::ffi::{c_char, c_void};
pub use rustix::fd::RawFd;
pub use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, ResolveFlags, Statx, StatxFlags, XattrFlags,
};
pub use rustix::io_uring::{ClockId, KernelSigSet, Signal, iovec};
pub use rustix::thread::CpuSet;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::sqe::Flags;

/// An alias of [`Statx`] with the name that the kernel and the `io-uring` crate use.
#[allow(non_camel_case_types, reason = "the kernel's name")]
pub type statx = Statx;
/// An alias of [`EpollEvent`] with the name that the kernel and the `io-uring` crate use.
#[allow(non_camel_case_types, reason = "the kernel's name")]
pub type epoll_event = EpollEvent;

/// The number of an open descriptor.
///
/// The descriptor must stay open until the kernel has consumed the entry. In a chain of links, it
/// must stay open until the kernel starts the entry. Instead of an `Fd`, you can pass a
/// [`BorrowedFd`], or a reference to any type that is [`AsFd`], such as a file, a socket, or an
/// `OwnedFd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Fd(pub RawFd);

impl Fd {
    /// The current directory, for operations that expect a directory (`AT_FDCWD`).
    pub const CWD: Self = Self(linux_raw_sys::general::AT_FDCWD);
}

/// A slot of the ring's registered file table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Fixed(pub u32);

pub(crate) mod sealed {
    /// A token that only this crate can create. Code with the bound cannot call the method without
    /// it.
    pub struct Seal(());
    pub(crate) const SEAL: Seal = Seal(());

    pub trait Sealed {
        fn number_and_flag(self, _: Seal) -> (i32, u8);
    }
}
use sealed::{Seal, Sealed};

/// A file that an operation works on: an open descriptor, or a slot of the registered file table.
///
/// [`Fd`], [`BorrowedFd`] and references to types that are [`AsFd`] are descriptors. [`Fixed`] is a
/// slot. The entry contains only the number, so keep the file open.
///
/// ```
/// use std::os::fd::AsFd;
/// use rustix_uring::{opcode, types};
///
/// let file = std::fs::File::open("/dev/null")?;
/// let mut buf = [0; 16];
/// let one = opcode::Read::new(&file, buf.as_mut_ptr(), 16).build();
/// let other = opcode::Read::new(file.as_fd(), buf.as_mut_ptr(), 16).build();
/// assert_eq!(one, other);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A bare number is not a file, because it does not tell whether it is a descriptor or a slot:
///
/// ```compile_fail,E0277
/// # use rustix_uring::opcode;
/// opcode::Fsync::new(3);
/// ```
///
/// The trait is only a bound. You cannot call its method:
///
/// ```compile_fail
/// fn number(file: impl rustix_uring::types::Target) {
///     file.number_and_flag();
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a file for an operation",
    label = "expected a descriptor or a slot of the registered file table",
    note = "pass a reference to the owner of a descriptor: `&file` or `file.as_fd()`",
    note = "for a bare number, use `types::Fd(number)`; for a registered slot, `types::Fixed(slot)`"
)]
pub trait Target: Sealed {}

/// An open descriptor, for operations that do not accept a registered slot: [`Fd`], [`BorrowedFd`],
/// or a reference to a type that is [`AsFd`].
///
/// ```compile_fail,E0277
/// # use rustix_uring::{opcode, types};
/// opcode::OpenAt::new(types::Fixed(3), c"name".as_ptr());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a descriptor",
    label = "expected a descriptor; the kernel accepts no registered slot here",
    note = "pass a reference to the owner of a descriptor: `&file` or `file.as_fd()`",
    note = "for a bare number, use `types::Fd(number)`; for the current directory, `types::Fd::CWD`"
)]
pub trait Descriptor: Target {}

macro_rules! target {
    ($($Target:ty: |$target:ident| $number:expr, $flag:expr;)*) => { $(
        impl Sealed for $Target {
            #[inline(always)]
            fn number_and_flag(self, _: Seal) -> (i32, u8) {
                let $target = self;
                ($number, $flag)
            }
        }
        impl Target for $Target {}
    )* };
}
target! {
    Fd: |fd| fd.0, 0;
    BorrowedFd<'_>: |fd| fd.as_raw_fd(), 0;
    Fixed: |slot| slot.0 as i32, Flags::FIXED_FILE.bits();
}
impl Descriptor for Fd {}
impl Descriptor for BorrowedFd<'_> {}

impl<T: AsFd + ?Sized> Sealed for &T {
    #[inline(always)]
    fn number_and_flag(self, seal: Seal) -> (i32, u8) {
        self.as_fd().number_and_flag(seal)
    }
}
impl<T: AsFd + ?Sized> Target for &T {}
impl<T: AsFd + ?Sized> Descriptor for &T {}
