//! Restrictions on what a ring may do.

use core::fmt;

use bitflags::bitflags;
use rustix::io;

use super::length;
use crate::handle::Handle;
use crate::sqe::Flags;
use crate::submit::Submitter;
use crate::sys::{
    self, io_uring_bpf, io_uring_bpf_filter, io_uring_register_op::*,
    io_uring_register_restriction_op as op, io_uring_restriction,
};

/// One rule for a restricted ring: `struct io_uring_restriction`. Since Linux 5.10.
///
/// See [`register_restrictions`](crate::Submitter::register_restrictions).
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

    /// Allows an operation, by the `CODE` of its builder (`IORING_RESTRICTION_SQE_OP`).
    pub const fn sqe_op(op: u8) -> Self {
        Self::new(op::IORING_RESTRICTION_SQE_OP, op)
    }

    /// Allows entries to have these flags (`IORING_RESTRICTION_SQE_FLAGS_ALLOWED`).
    pub const fn sqe_flags_allowed(flags: Flags) -> Self {
        Self::new(op::IORING_RESTRICTION_SQE_FLAGS_ALLOWED, flags.bits())
    }

    /// Requires every entry to have these flags (`IORING_RESTRICTION_SQE_FLAGS_REQUIRED`).
    ///
    /// Use [`Flags::FIXED_FILE`] to confine a ring to its registered files.
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
    /// Flags for registering a filter (`IO_URING_BPF_FILTER_*`). Since Linux 7.0.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct BpfFilterFlags: u32 {
        /// Denies every operation that has no filter yet.
        const DENY_REST = sys::IO_URING_BPF_FILTER_DENY_REST;
        /// Fails the registration unless the kernel passes exactly
        /// [`pdu_size`](BpfFilter::pdu_size) bytes of operation data to the filter.
        const SZ_STRICT = sys::IO_URING_BPF_FILTER_SZ_STRICT;

        const _ = !0;
    }
}

/// One instruction of classic BPF: `struct sock_filter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SockFilter {
    /// The operation, for example `BPF_LD | BPF_W | BPF_ABS`.
    pub code: u16,
    /// The number of instructions to skip if the condition of a jump is true.
    pub jt: u8,
    /// The number of instructions to skip if the condition is false.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// A filter that decides for each entry of one operation whether it may run. Since Linux 7.0.
///
/// See [`register_bpf_filter`](crate::Submitter::register_bpf_filter).
///
/// A filter is a classic BPF program over `struct io_uring_bpf_ctx`. It loads aligned words from
/// this layout:
///
/// | byte | contents |
/// |---|---|
/// | 0 | the user data |
/// | 8 | the operation |
/// | 9 | the flags of the entry |
/// | 10 | the size of the operation data |
/// | 16 | the operation data: for a socket, its family, type and protocol, 4 bytes each; for an open, its flags, mode and resolve, 8 bytes each |
///
/// The program returns 0 to deny the entry.
///
/// [`new`](Self::new) takes what every filter needs. Set the other fields directly.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct BpfFilter<'a> {
    /// The operation, by the `CODE` of its builder.
    pub opcode: u8,
    /// The program.
    pub program: &'a [SockFilter],
    /// The number of bytes of operation data that the program expects.
    pub pdu_size: u8,
    /// The flags for registering the filter.
    pub flags: BpfFilterFlags,
}

/// # Restrictions
impl<H: Handle> Submitter<'_, H> {
    /// Restricts the ring permanently to what the list allows (`IORING_REGISTER_RESTRICTIONS`).
    /// Since Linux 5.10.
    ///
    /// The restrictions apply once the ring is [enabled](Self::register_enable_rings). Then entries
    /// that are not allowed complete with -EACCES, and register calls that are not allowed fail
    /// with EACCES. For example, you can hand less trusted code a ring that can only read and write
    /// registered files.
    ///
    /// There are two kinds of restrictions: for register operations, and for entries. If the list
    /// contains nothing of one kind, Linux 7.0 and newer allow everything of that kind, and older
    /// kernels deny everything. So name at least one of each kind. An empty list denies everything
    /// of both kinds.
    ///
    /// ```
    /// use rustix_uring::{IoUring, Restriction, opcode, squeue::Entry};
    ///
    /// let mut ring = IoUring::<Entry>::builder().setup_r_disabled().build(2)?;
    /// ring.submitter().register_restrictions(&[Restriction::sqe_op(opcode::Nop::CODE)])?;
    /// ring.submitter().register_enable_rings()?;
    ///
    /// # Ok::<(), rustix_uring::Errno>(())
    /// ```
    ///
    /// # Errors
    ///
    /// EBADFD if the ring is not [disabled](crate::Builder::setup_r_disabled); EBUSY if it is
    /// restricted already; EINVAL for a restriction that the kernel does not know, or if there are
    /// more restrictions than operations of all kinds.
    pub fn register_restrictions(&self, restrictions: &[Restriction]) -> io::Result<()> {
        // SAFETY: the kernel expects an array of restrictions, which contains no addresses.
        unsafe { self.register_slice(IORING_REGISTER_RESTRICTIONS, restrictions) }.map(drop)
    }

    /// Registers a filter that decides for each entry of its operation whether it may run
    /// (`IORING_REGISTER_BPF_FILTER`). Since Linux 7.0.
    ///
    /// A denied entry completes with -EACCES. If an operation has several filters, all of them
    /// apply. Filters cannot be unregistered.
    ///
    /// # Errors
    ///
    /// EINVAL for an invalid program (for example an empty one, or one with more than 4096
    /// instructions), for an operation or flags that the kernel does not know, or on older kernels;
    /// EMSGSIZE if the kernel passes filters of that operation less data than
    /// [`pdu_size`](BpfFilter::pdu_size) or, with [`SZ_STRICT`](crate::BpfFilterFlags::SZ_STRICT),
    /// more.
    pub fn register_bpf_filter(&self, filter: &BpfFilter<'_>) -> io::Result<()> {
        let mut arg = filter.command()?;
        // SAFETY: the kernel reads the struct and, through it, the program, which is borrowed.
        unsafe { self.register(sys::IORING_REGISTER_BPF_FILTER, (&raw mut arg).cast(), 1) }
            .map(drop)
    }
}

impl<'a> BpfFilter<'a> {
    /// Creates a filter for an operation. The program sees only the first 16 bytes of
    /// `struct io_uring_bpf_ctx`, and no operation data.
    pub const fn new(opcode: u8, program: &'a [SockFilter]) -> Self {
        Self { opcode, program, pdu_size: 0, flags: BpfFilterFlags::empty() }
    }

    /// Returns the command that registers the filter.
    fn command(&self) -> io::Result<io_uring_bpf> {
        Ok(io_uring_bpf {
            cmd_type: sys::IO_URING_BPF_CMD_FILTER,
            cmd_flags: 0,
            resv: 0,
            filter: io_uring_bpf_filter {
                opcode: u32::from(self.opcode),
                flags: self.flags.bits(),
                filter_len: length(self.program)?,
                pdu_size: self.pdu_size,
                resv: [0; 3],
                filter_ptr: self.program.as_ptr().expose_provenance() as u64,
                resv2: [0; 5],
            },
        })
    }
}

/// Registers a filter for this task permanently: it applies to all rings that the task or its
/// children create from now on. Since Linux 7.0.
///
/// The filter works as with [`register_bpf_filter`](Submitter::register_bpf_filter).
///
/// # Errors
///
/// Same errors as [`register_bpf_filter`](Submitter::register_bpf_filter); EACCES unless the task
/// has `CAP_SYS_ADMIN` or has set `PR_SET_NO_NEW_PRIVS`; EINVAL or EBADF on older kernels.
#[cfg(feature = "raw-syscall")]
pub fn filter_task(filter: &BpfFilter<'_>) -> io::Result<()> {
    let mut arg = filter.command()?;
    // SAFETY: the kernel reads the struct and, through it, the program, which is borrowed.
    unsafe {
        crate::sys::call::register_without_ring(
            sys::IORING_REGISTER_BPF_FILTER,
            (&raw mut arg).cast(),
            1,
        )
    }
    .map(drop)
}

/// Restricts this task permanently: the restrictions apply to all rings that the task or its
/// children create from now on. Since Linux 7.0.
///
/// The restrictions work as with [`register_restrictions`](Submitter::register_restrictions).
///
/// # Errors
///
/// EACCES unless the task has `CAP_SYS_ADMIN` or has set `PR_SET_NO_NEW_PRIVS`; EPERM if the task
/// is restricted already; EINVAL for a restriction that the kernel does not know, or for more than
/// 128 restrictions; EINVAL or EBADF on older kernels.
#[cfg(feature = "raw-syscall")]
pub fn restrict_task(restrictions: &[Restriction]) -> io::Result<()> {
    /// `struct io_uring_task_restriction`, with space for more restrictions than the kernel
    /// accepts.
    #[repr(C)]
    struct Task {
        flags: u16,
        nr_res: u16,
        resv: [u32; 3],
        restrictions: [Restriction; 128],
    }
    let mut arg = Task {
        flags: 0,
        nr_res: 0,
        resv: [0; 3],
        restrictions: [const { Restriction::register_op(0) }; 128],
    };
    let room = arg.restrictions.get_mut(..restrictions.len()).ok_or(io::Errno::INVAL)?;
    room.copy_from_slice(restrictions);
    arg.nr_res = restrictions.len() as u16;
    // SAFETY: the kernel reads the header and `nr_res` restrictions, all within `arg`.
    unsafe {
        crate::sys::call::register_without_ring(
            IORING_REGISTER_RESTRICTIONS as u32,
            (&raw mut arg).cast(),
            1,
        )
    }
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::io_uring_restriction;
    use core::mem::{offset_of, transmute};
    use std::format;

    #[test]
    fn layout_matches_the_kernel() {
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
        // SAFETY: both consist of integers, for which every byte is valid.
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

#[cfg(all(test, target_pointer_width = "64", not(miri)))]
mod lengths {
    use super::*;
    use crate::{BpfFilterFlags, SockFilter};
    use core::{ptr, slice};
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

    /// A length that exceeds the kernel's 32 bits does not wrap to a program of one instruction.
    #[test]
    fn the_length_of_a_program_is_not_truncated() {
        const TOO_MANY: usize = u32::MAX as usize + 2;
        let len = TOO_MANY * size_of::<SockFilter>();
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: without an address, the kernel chooses a range that is not in use.
        let memory = unsafe { mmap_anonymous(ptr::null_mut(), len, ProtFlags::READ, flags) };
        let memory = memory.expect("the address space has room for pages that are never touched");
        // SAFETY: the mapping has this length, is aligned and all zero, and lives until `munmap`
        // below.
        let program = unsafe { slice::from_raw_parts(memory.cast::<SockFilter>(), TOO_MANY) };
        let of = |program| {
            let filter =
                BpfFilter { opcode: 0, program, pdu_size: 0, flags: BpfFilterFlags::empty() };
            filter.command().map(|command| command.filter.filter_len)
        };
        assert_eq!(of(program), Err(io::Errno::INVAL));
        assert_eq!(of(&program[..7]), Ok(7));
        // SAFETY: the program is not used any more.
        unsafe { munmap(memory, len) }.unwrap();
    }
}
