//! The kernel's own names.
//!
//! Everything of `linux/io_uring.h` that linux-raw-sys names is re-exported; what is newer than
//! that crate's headers is declared here under its kernel name. Programs need this module only
//! where they write an entry by hand ([`Sqe`](crate::squeue::Sqe)) or hand parameters on to
//! another process ([`Parameters::from_raw`](crate::Parameters::from_raw)).

pub use linux_raw_sys::general::{
    FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_NO_HIDE_STALE,
    FALLOC_FL_PUNCH_HOLE, FALLOC_FL_UNSHARE_RANGE, FALLOC_FL_WRITE_ZEROES, FALLOC_FL_ZERO_RANGE,
};
pub use linux_raw_sys::general::{
    FUTEX_BITSET_MATCH_ANY, FUTEX2_MPOL, FUTEX2_NUMA, FUTEX2_PRIVATE, FUTEX2_SIZE_U8,
    FUTEX2_SIZE_U16, FUTEX2_SIZE_U32, FUTEX2_SIZE_U64,
};
pub use linux_raw_sys::general::{
    IO_INTEGRITY_CHK_APPTAG, IO_INTEGRITY_CHK_GUARD, IO_INTEGRITY_CHK_REFTAG,
};
pub use linux_raw_sys::general::{P_ALL, P_PGID, P_PID, P_PIDFD};
pub use linux_raw_sys::general::{RWF_APPEND, RWF_DSYNC, RWF_HIPRI, RWF_NOWAIT, RWF_SYNC};
pub use linux_raw_sys::general::{SPLICE_F_GIFT, SPLICE_F_MORE, SPLICE_F_MOVE, SPLICE_F_NONBLOCK};
pub use linux_raw_sys::general::{
    SYNC_FILE_RANGE_WAIT_AFTER, SYNC_FILE_RANGE_WAIT_BEFORE, SYNC_FILE_RANGE_WRITE,
};
pub use linux_raw_sys::general::{WCONTINUED, WEXITED, WNOHANG, WNOWAIT, WSTOPPED};
pub use linux_raw_sys::io_uring::*;
pub use linux_raw_sys::net::{
    MSG_CMSG_CLOEXEC, MSG_CONFIRM, MSG_CTRUNC, MSG_DONTROUTE, MSG_DONTWAIT, MSG_EOR, MSG_ERRQUEUE,
    MSG_MORE, MSG_NOSIGNAL, MSG_OOB, MSG_PEEK, MSG_TRUNC, MSG_WAITALL,
};

/// `IORING_OP_NOP128`: a NOP in a 128-byte entry. Since Linux 6.19.
pub const IORING_OP_NOP128: u8 = 63;
/// `IORING_OP_URING_CMD128`: a command in a 128-byte entry. Since Linux 6.19.
pub const IORING_OP_URING_CMD128: u8 = 64;

/// `IORING_SETUP_CQE_MIXED`: completions of both sizes on one ring. Since Linux 6.18.
pub const IORING_SETUP_CQE_MIXED: u32 = 1 << 18;
/// `IORING_SETUP_SQE_MIXED`: submissions of both sizes on one ring. Since Linux 6.19.
pub const IORING_SETUP_SQE_MIXED: u32 = 1 << 19;
/// `IORING_SETUP_SQ_REWIND`: every submission starts at the first place. Since Linux 7.0.
pub const IORING_SETUP_SQ_REWIND: u32 = 1 << 20;

/// `IORING_CQE_F_SKIP`: filler at the end of a mixed completion ring. Since Linux 6.18.
pub const IORING_CQE_F_SKIP: u32 = 1 << 5;
/// `IORING_CQE_F_32`: this completion of a mixed ring has 32 bytes. Since Linux 6.18.
pub const IORING_CQE_F_32: u32 = 1 << 15;

/// `IORING_CQE_F_TSTAMP_HW`: the timestamp is the network device's. Since Linux 6.17.
pub const IORING_CQE_F_TSTAMP_HW: u32 = 1 << IORING_TIMESTAMP_HW_SHIFT;

/// `IORING_TIMEOUT_IMMEDIATE_ARG`: the time is nanoseconds, not a pointer. Since Linux 7.1.
pub const IORING_TIMEOUT_IMMEDIATE_ARG: u32 = 1 << 7;
/// `IORING_NOP_CQE32`: complete with 32 bytes. Since Linux 6.18.
pub const IORING_NOP_CQE32: u32 = 1 << 5;
/// `IORING_URING_CMD_MULTISHOT`: complete again and again. Since Linux 6.18.
pub const IORING_URING_CMD_MULTISHOT: u32 = 1 << 1;

/// `SOCKET_URING_OP_GETSOCKNAME`: a socket's address. Since Linux 6.19.
pub const SOCKET_URING_OP_GETSOCKNAME: u32 = 5;
/// `BLOCK_URING_CMD_DISCARD`: forget a range of a block device. Since Linux 6.12.
pub const BLOCK_URING_CMD_DISCARD: u32 = rustix::ioctl::opcode::none(0x12, 0) as u32;
/// `BLOCK_URING_CMD_ZONE_RESET_ALL`: reset all zones of a block device.
pub const BLOCK_URING_CMD_ZONE_RESET_ALL: u32 = rustix::ioctl::opcode::none(0x12, 1) as u32;

/// `MSG_SOCK_DEVMEM`: leave the data in the device's memory. Since Linux 6.12.
pub const MSG_SOCK_DEVMEM: u32 = 0x0200_0000;
/// `MSG_ZEROCOPY`: of `send(2)`, not of io_uring's zero-copy operations.
pub const MSG_ZEROCOPY: u32 = 0x0400_0000;
/// `MSG_FASTOPEN`: send with the connection request.
pub const MSG_FASTOPEN: u32 = 0x2000_0000;

/// `SCM_TSTAMP_SND`: when the driver had it.
pub const SCM_TSTAMP_SND: u32 = 0;
/// `SCM_TSTAMP_SCHED`: when it entered the packet scheduler.
pub const SCM_TSTAMP_SCHED: u32 = 1;
/// `SCM_TSTAMP_ACK`: when all of it was acknowledged.
pub const SCM_TSTAMP_ACK: u32 = 2;
/// `SCM_TSTAMP_COMPLETION`: when the device was done with it. Since Linux 6.15.
pub const SCM_TSTAMP_COMPLETION: u32 = 3;

/// `RWF_NOAPPEND`: write at the offset although the file appends. Since Linux 6.9.
pub const RWF_NOAPPEND: u32 = 0x20;
/// `RWF_ATOMIC`: write all or nothing. Since Linux 6.11.
pub const RWF_ATOMIC: u32 = 0x40;
/// `RWF_DONTCACHE`: drop the pages afterwards. Since Linux 6.14.
pub const RWF_DONTCACHE: u32 = 0x80;

/// `IOSQE_FIXED_FILE` and its neighbours: linux-raw-sys has the bit numbers only.
pub(crate) const fn iosqe(bit: io_uring_sqe_flags_bit) -> u8 {
    1 << bit as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The day linux-raw-sys knows more, what this module declares by hand can go.
    #[test]
    fn declarations_are_newer_than_linux_raw_sys() {
        assert_eq!(io_uring_op::IORING_OP_LAST as u8, IORING_OP_NOP128);
        assert_eq!(io_uring_register_op::IORING_REGISTER_LAST as u32, 35);
    }
}
