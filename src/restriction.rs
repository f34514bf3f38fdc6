//! What a ring may do.

use core::fmt;

use bitflags::bitflags;

use crate::squeue::Flags;
use crate::sys::{self, io_uring_register_restriction_op as op, io_uring_restriction};

/// One thing that a restricted ring may do, or must: `struct io_uring_restriction`. Since Linux
/// 5.10. See
/// [`register_restrictions`](crate::Submitter::register_restrictions).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Restriction {
    opcode: u16,
    /// A register operation, an operation, or flags.
    what: u8,
    resv: u8,
    resv2: [u32; 3],
}

const _: () = assert!(size_of::<Restriction>() == size_of::<io_uring_restriction>());

impl Restriction {
    const fn new(opcode: op, what: u8) -> Self {
        Self { opcode: opcode as u16, what, resv: 0, resv2: [0; 3] }
    }

    /// Allows a register operation, by its `IORING_REGISTER_*` or `IORING_UNREGISTER_*` number
    /// (`IORING_RESTRICTION_REGISTER_OP`).
    pub const fn register_op(op: u8) -> Self {
        Self::new(op::IORING_RESTRICTION_REGISTER_OP, op)
    }

    /// Allows an operation, by its `CODE` (`IORING_RESTRICTION_SQE_OP`).
    pub const fn sqe_op(op: u8) -> Self {
        Self::new(op::IORING_RESTRICTION_SQE_OP, op)
    }

    /// Allows entries to have these flags (`IORING_RESTRICTION_SQE_FLAGS_ALLOWED`).
    pub const fn sqe_flags_allowed(flags: Flags) -> Self {
        Self::new(op::IORING_RESTRICTION_SQE_FLAGS_ALLOWED, flags.bits())
    }

    /// Demands that every entry has these flags (`IORING_RESTRICTION_SQE_FLAGS_REQUIRED`):
    /// [`Flags::FIXED_FILE`], to confine a ring to the files that were registered for it.
    pub const fn sqe_flags_required(flags: Flags) -> Self {
        Self::new(op::IORING_RESTRICTION_SQE_FLAGS_REQUIRED, flags.bits())
    }
}

impl fmt::Debug for Restriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 4] =
            ["register_op", "sqe_op", "sqe_flags_allowed", "sqe_flags_required"];
        let name = NAMES.get(usize::from(self.opcode)).unwrap_or(&"unknown");
        write!(f, "Restriction::{name}({:#x})", self.what)
    }
}

bitflags! {
    /// How a filter is registered: the `IO_URING_BPF_FILTER_*` flags. Since Linux 7.0.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct BpfFilterFlags: u32 {
        /// Forbid every operation that has no filter by now.
        const DENY_REST = sys::IO_URING_BPF_FILTER_DENY_REST;
        /// Fail unless the kernel hands the filter exactly
        /// [`pdu_size`](BpfFilter::pdu_size) bytes of data.
        const SZ_STRICT = sys::IO_URING_BPF_FILTER_SZ_STRICT;

        const _ = !0;
    }
}

/// One instruction of classic BPF: `struct sock_filter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SockFilter {
    /// The operation: `BPF_LD | BPF_W | BPF_ABS`, say.
    pub code: u16,
    /// How many instructions to skip if a jump's condition holds.
    pub jt: u8,
    /// How many instructions to skip if it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// A filter that decides of each entry with an operation whether it may run. Since Linux 7.0. See
/// [`register_bpf_filter`](crate::Submitter::register_bpf_filter).
///
/// It is a program of classic BPF over `struct io_uring_bpf_ctx`, of which it loads aligned words:
/// user data at 0, the operation at byte 8, its flags at byte 9, the size of what follows at byte
/// 10, and from 16 on what the operation has of that: of a socket family, type and protocol, 4
/// bytes each; of an open flags, mode and resolve, 8 bytes each. It returns 0 to forbid.
#[derive(Clone, Copy, Debug)]
pub struct BpfFilter<'a> {
    /// The operation, by its `CODE`.
    pub opcode: u8,
    /// The program.
    pub program: &'a [SockFilter],
    /// How many bytes it expects from 16 on.
    pub pdu_size: u8,
    /// How it is registered.
    pub flags: BpfFilterFlags,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::io_uring_restriction;
    use core::mem::{offset_of, transmute};
    use std::format;

    #[test]
    fn layout_is_the_kernels() {
        assert_eq!(align_of::<Restriction>(), align_of::<io_uring_restriction>());
        assert_eq!(offset_of!(Restriction, what), 2);
        assert_eq!(offset_of!(Restriction, resv2), offset_of!(io_uring_restriction, resv2));
        assert_eq!(
            Restriction::sqe_op(7),
            Restriction { opcode: 1, what: 7, resv: 0, resv2: [0; 3] }
        );
        assert_eq!(Restriction::sqe_flags_required(Flags::FIXED_FILE).opcode, 3);
        assert_eq!(size_of::<SockFilter>(), 8);
    }

    #[test]
    fn all_ones_print() {
        // SAFETY: nothing but integers, for which every byte is valid.
        let (ones, instruction) = unsafe {
            (
                transmute::<[u8; 16], Restriction>([0xff; 16]),
                transmute::<[u8; 8], SockFilter>([0xff; 8]),
            )
        };
        assert_eq!(format!("{ones:?}"), "Restriction::unknown(0xff)");
        assert_eq!(format!("{:?}", Restriction::register_op(20)), "Restriction::register_op(0x14)");
        let flags = BpfFilterFlags::all();
        let filter = BpfFilter { opcode: 255, program: &[instruction], pdu_size: 255, flags };
        assert!(format!("{filter:?}").contains("k: 4294967295"));
    }
}
