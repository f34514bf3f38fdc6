//! What a ring may do.

use core::fmt;

use crate::squeue::Flags;
use crate::sys::{io_uring_register_restriction_op as op, io_uring_restriction};

/// One thing that a restricted ring may do, or must. See
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

    /// Allows a register operation, by its `IORING_REGISTER_*` or `IORING_UNREGISTER_*` number.
    pub const fn register_op(op: u8) -> Self {
        Self::new(op::IORING_RESTRICTION_REGISTER_OP, op)
    }

    /// Allows an operation, by its `CODE`.
    pub const fn sqe_op(op: u8) -> Self {
        Self::new(op::IORING_RESTRICTION_SQE_OP, op)
    }

    /// Allows entries to have these flags.
    pub const fn sqe_flags_allowed(flags: Flags) -> Self {
        Self::new(op::IORING_RESTRICTION_SQE_FLAGS_ALLOWED, flags.bits())
    }

    /// Demands that every entry has these flags: [`Flags::FIXED_FILE`], to confine a ring to the
    /// files that were registered for it.
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
