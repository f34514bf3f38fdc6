//! What operations are given: descriptors, flags, and the structures that they point to.

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

/// [`Statx`], as the kernel and the `io-uring` crate call it.
#[allow(non_camel_case_types, reason = "the kernel's name")]
pub type statx = Statx;
/// [`EpollEvent`], as the kernel and the `io-uring` crate call it.
#[allow(non_camel_case_types, reason = "the kernel's name")]
pub type epoll_event = EpollEvent;

/// An open descriptor, by its number.
///
/// It must stay open until the kernel has taken the entry; for entries later in a chain of links,
/// until the chain has come to them. [`BorrowedFd`] is taken in its place, and a reference to whatever
/// is [`AsFd`]: a file, a socket, an `OwnedFd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Fd(pub RawFd);

impl Fd {
    /// The current directory, where an operation wants a directory: `AT_FDCWD`.
    pub const CWD: Self = Self(linux_raw_sys::general::AT_FDCWD);
}

/// A slot of the ring's table of registered files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Fixed(pub u32);

pub(crate) mod sealed {
    /// What only this crate can hand over: code that has the bound cannot call the method.
    pub struct Seal(());
    pub(crate) const SEAL: Seal = Seal(());

    pub trait Sealed {
        fn number_and_flag(self, _: Seal) -> (i32, u8);
    }
}
use sealed::{Seal, Sealed};

/// A file that an operation works on: an open descriptor, or a registered slot.
///
/// [`Fd`], [`BorrowedFd`] and a reference to whatever is [`AsFd`] are descriptors; [`Fixed`] is a slot.
/// The entry has the number only: keep the file open.
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
/// A number is none, as it does not say of what:
///
/// ```compile_fail,E0277
/// # use rustix_uring::opcode;
/// opcode::Fsync::new(3);
/// ```
///
/// As a bound, it gives nobody its method:
///
/// ```compile_fail
/// fn number(file: impl rustix_uring::types::Target) {
///     file.number_and_flag();
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a file that an operation can work on",
    label = "expected a descriptor or a registered slot",
    note = "lend what owns a descriptor: `&file` or `file.as_fd()`",
    note = "a bare number is `types::Fd(number)`, a registered slot is `types::Fixed(slot)`"
)]
pub trait Target: Sealed {}

/// An open descriptor, for operations that take no registered slot: [`Fd`], [`BorrowedFd`], or a
/// reference to whatever is [`AsFd`].
///
/// ```compile_fail,E0277
/// # use rustix_uring::{opcode, types};
/// opcode::OpenAt::new(types::Fixed(3), c"name".as_ptr());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a descriptor",
    label = "expected a descriptor; the kernel takes no registered slot here",
    note = "lend what owns a descriptor: `&file` or `file.as_fd()`",
    note = "a bare number is `types::Fd(number)`, the current directory is `types::Fd::CWD`"
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
