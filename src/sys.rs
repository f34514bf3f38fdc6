//! The kernel's own names.
//!
//! Everything of `linux/io_uring.h` that linux-raw-sys names is re-exported; what is newer than
//! that crate's headers is declared here under its kernel name. Programs need this module only
//! where they write an entry by hand ([`Sqe`](crate::squeue::Sqe)) or hand parameters on to
//! another process ([`Parameters::from_raw`](crate::Parameters::from_raw)).

pub use linux_raw_sys::general::{RWF_APPEND, RWF_DSYNC, RWF_HIPRI, RWF_NOWAIT, RWF_SYNC};
pub use linux_raw_sys::io_uring::*;

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
