//! Conversions to and from types of rustix that have the same bits.
//!
//! There are none for types that need cargo features of rustix that this crate does not enable
//! (`pipe`, `process`). Use `PipeFlags::from_bits_retain(flags.bits())` for those.

use rustix::io_uring as uring;
use rustix::thread::futex;
use rustix::{event, fs, io, mm, net};

use super::*;
use crate::params::{EnterFlags, Features, SetupFlags};
use crate::sqe::Flags;

/// Converts between our flags and those of rustix that have the same bits, including unknown bits.
macro_rules! same_bits {
    ($($Ours:ident: $($Theirs:ty),*;)*) => { $($(
        impl From<$Theirs> for $Ours {
            #[inline]
            fn from(flags: $Theirs) -> Self {
                Self::from_bits_retain(flags.bits())
            }
        }

        impl From<$Ours> for $Theirs {
            #[inline]
            fn from(flags: $Ours) -> Self {
                Self::from_bits_retain(flags.bits())
            }
        }
    )*)* };
}
same_bits! {
    AcceptFlags: uring::IoringAcceptFlags;
    AsyncCancelFlags: uring::IoringAsyncCancelFlags;
    EnterFlags: uring::IoringEnterFlags;
    FallocateFlags: fs::FallocateFlags;
    Features: uring::IoringFeatureFlags;
    FixedFdFlags: uring::IoringFixedFdFlags;
    Flags: uring::IoringSqeFlags;
    FsyncFlags: uring::IoringFsyncFlags;
    FutexFlags: futex::WaitFlags;
    MsgFlags: net::SendFlags, net::RecvFlags, net::ReturnFlags;
    MsgRingFlags: uring::IoringMsgringFlags;
    PollFlags: event::epoll::EventFlags;
    RecvSendFlags: uring::IoringSendFlags, uring::IoringRecvFlags;
    RwFlags: io::ReadWriteFlags;
    SetupFlags: uring::IoringSetupFlags;
    SpliceFlags: uring::SpliceFlags;
    TimeoutFlags: uring::IoringTimeoutFlags;
}

impl From<event::PollFlags> for PollFlags {
    #[inline]
    fn from(flags: event::PollFlags) -> Self {
        #[allow(clippy::unnecessary_cast, reason = "on some targets the bits are signed")]
        Self::from_bits_retain(u32::from(flags.bits() as u16))
    }
}

/// Drops [`PollFlags::EXCLUSIVE`] and [`PollFlags::ET`], which are request flags and never
/// returned.
impl From<PollFlags> for event::PollFlags {
    #[inline]
    fn from(flags: PollFlags) -> Self {
        Self::from_bits_retain(flags.bits() as _)
    }
}

impl From<fs::Advice> for Fadv {
    #[inline]
    fn from(advice: fs::Advice) -> Self {
        Self(advice as u32)
    }
}

/// Converts to the kernel's `MADV_*`. rustix has `Advice::DontNeed` for POSIX, which converts to
/// [`Madv::NORMAL`].
impl From<mm::Advice> for Madv {
    #[inline]
    fn from(advice: mm::Advice) -> Self {
        Self(advice as u32)
    }
}

impl From<uring::open_how> for OpenHow {
    #[inline]
    fn from(how: uring::open_how) -> Self {
        Self::from_raw(how.flags, how.mode, how.resolve)
    }
}

/// Converts between headers with the same fields.
macro_rules! headers {
    ($($From:ty => $To:ty;)*) => { $(
        impl From<$From> for $To {
            #[inline]
            fn from(header: $From) -> Self {
                Self {
                    msg_name: header.msg_name.cast(),
                    msg_namelen: header.msg_namelen,
                    msg_iov: header.msg_iov,
                    msg_iovlen: header.msg_iovlen,
                    msg_control: header.msg_control,
                    msg_controllen: header.msg_controllen,
                    msg_flags: header.msg_flags.into(),
                }
            }
        }
    )* };
}
headers! {
    uring::MsgHdr => MsgHdr;
    MsgHdr => uring::MsgHdr;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::opcode::{Fadvise, MkDirAt, PollAdd, Recv, Send, Splice};
    use core::ptr::null;

    #[test]
    fn bits_are_preserved() {
        let newer = MsgFlags::from_bits_retain(!0);
        assert_eq!(MsgFlags::from(net::RecvFlags::from(newer)), newer);
        assert_eq!(
            MsgFlags::from(net::SendFlags::MORE | net::SendFlags::DONTWAIT),
            MsgFlags::MORE | MsgFlags::DONTWAIT
        );
        assert_eq!(RwFlags::from(io::ReadWriteFlags::APPEND), RwFlags::APPEND);
        assert_eq!(
            RecvSendFlags::from(uring::IoringSendFlags::POLL_FIRST),
            RecvSendFlags::POLL_FIRST
        );
        assert_eq!(
            FallocateFlags::from(fs::FallocateFlags::PUNCH_HOLE),
            FallocateFlags::PUNCH_HOLE
        );
        assert_eq!(FutexFlags::from(futex::WaitFlags::SIZE_U32), FutexFlags::SIZE_U32);
        assert_eq!(Flags::from(uring::IoringSqeFlags::IO_LINK), Flags::IO_LINK);
        assert_eq!(SetupFlags::from(uring::IoringSetupFlags::SQPOLL), SetupFlags::SQPOLL);
    }

    #[test]
    fn poll_flags_convert_to_both_kinds() {
        let both = PollFlags::IN | PollFlags::RDHUP;
        assert_eq!(PollFlags::from(event::PollFlags::from(both | PollFlags::ET)), both);
        assert_eq!(PollFlags::from(event::epoll::EventFlags::ET), PollFlags::ET);
        assert_eq!(event::epoll::EventFlags::from(PollFlags::OUT), event::epoll::EventFlags::OUT);
    }

    #[test]
    fn fields_are_preserved() {
        let header = MsgHdr {
            msg_iovlen: 3,
            msg_controllen: 7,
            msg_flags: MsgFlags::CTRUNC,
            ..MsgHdr::new()
        };
        assert_eq!(MsgHdr::from(uring::MsgHdr::from(header)), header);
        let mut how = uring::open_how::zeroed();
        (how.flags, how.mode, how.resolve) = (1, 2, ResolveFlags::BENEATH);
        assert_eq!(OpenHow::from(how), OpenHow::from_raw(1, 2, ResolveFlags::BENEATH));
        assert_eq!(Fadv::from(fs::Advice::WillNeed), Fadv::WILLNEED);
        assert_eq!(Madv::from(mm::Advice::LinuxFree), Madv::FREE);
    }

    /// Setters accept flags of either kind, and a mode as a number.
    #[test]
    fn setters_convert() {
        let send = Send::new(Fd(3), null(), 0);
        assert_eq!(send.flags(net::SendFlags::MORE), send.flags(MsgFlags::MORE));
        let recv = Recv::provided(Fd(3), 1, 0);
        assert_eq!(recv.flags(net::RecvFlags::PEEK), recv.flags(MsgFlags::PEEK));
        let poll = PollAdd::new(Fd(3), event::PollFlags::OUT);
        assert_eq!(poll, PollAdd::new(Fd(3), PollFlags::OUT));
        let splice = Splice::new(Fd(3), -1, Fd(4), -1, 1);
        assert_eq!(
            splice.flags(uring::SpliceFlags::FD_IN_FIXED),
            splice.flags(SpliceFlags::FD_IN_FIXED)
        );
        let mkdir = MkDirAt::new(Fd::CWD, null());
        assert_eq!(mkdir.mode(0o750), mkdir.mode(Mode::RWXU | Mode::RGRP | Mode::XGRP));
        let advice = Fadvise::new(Fd(3), 1, fs::Advice::Random);
        assert_eq!(advice, Fadvise::new(Fd(3), 1, Fadv::RANDOM));
    }
}
