//! What a ring may do.

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
///
/// [`new`](Self::new) has what every filter needs; the rest you set field by field.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
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

/// # Restrictions
impl<H: Handle> Submitter<'_, H> {
    /// Confines the ring to what is listed (`IORING_REGISTER_RESTRICTIONS`), for good, once it is
    /// [enabled](Self::register_enable_rings). What is not listed is forbidden: entries complete
    /// with -EACCES, register calls fail with EACCES. Since Linux 5.10.
    ///
    /// **Since Linux 7.0**, a list that says nothing of register operations allows all of them, and
    /// one that only speaks of these allows all entries; before, it forbids them. So a list that is
    /// to confine both names at least one of both. An empty list forbids everything.
    ///
    /// So a ring can be handed to less trusted code: one that only reads and writes registered
    /// files, for instance.
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
    /// restricted already; EINVAL for what the kernel does not know, or for too many (more than
    /// there are operations of all kinds).
    pub fn register_restrictions(&self, restrictions: &[Restriction]) -> io::Result<()> {
        // SAFETY: an array of restrictions is what the kernel expects, and there are no addresses.
        unsafe { self.register_slice(IORING_REGISTER_RESTRICTIONS, restrictions) }.map(drop)
    }

    /// Has a filter decide of each entry with its operation whether it may run
    /// (`IORING_REGISTER_BPF_FILTER`): one that may not completes with -EACCES. Filters of one
    /// operation add up, and cannot be taken back. Since Linux 7.0.
    ///
    /// # Errors
    ///
    /// EINVAL for an invalid program (an empty one, or one of more than 4096 instructions, among
    /// others), for an operation or flags that the kernel does not know, or on older kernels; EMSGSIZE if the kernel hands filters of that operation less data than
    /// [`pdu_size`](BpfFilter::pdu_size) or, with
    /// [`SZ_STRICT`](crate::BpfFilterFlags::SZ_STRICT), more.
    pub fn register_bpf_filter(&self, filter: &BpfFilter<'_>) -> io::Result<()> {
        let mut arg = filter.command()?;
        // SAFETY: the kernel reads the struct and, through it, the program, which is borrowed.
        unsafe { self.register(sys::IORING_REGISTER_BPF_FILTER, (&raw mut arg).cast(), 1) }
            .map(drop)
    }
}

impl<'a> BpfFilter<'a> {
    /// The filter of an operation, which gets no more than the first 16 bytes.
    pub const fn new(opcode: u8, program: &'a [SockFilter]) -> Self {
        Self { opcode, program, pdu_size: 0, flags: BpfFilterFlags::empty() }
    }

    /// The command that registers the filter.
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

/// Has a filter decide for this task, as [`register_bpf_filter`](Submitter::register_bpf_filter)
/// does for a ring: for all rings that it makes from now on, and those of its children. For good.
/// Since Linux 7.0.
///
/// # Errors
///
/// As there; EACCES unless the task has `CAP_SYS_ADMIN` or has set `PR_SET_NO_NEW_PRIVS`; EINVAL or
/// EBADF on older kernels.
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

/// Confines this task, as [`register_restrictions`](Submitter::register_restrictions) does a ring:
/// all rings that it makes from now on, and those of its children. For good. Since Linux 7.0.
///
/// # Errors
///
/// EACCES unless the task has `CAP_SYS_ADMIN` or has set `PR_SET_NO_NEW_PRIVS`; EPERM if it is
/// restricted already; EINVAL for what the kernel does not know, or for more than 128 restrictions;
/// EINVAL or EBADF on older kernels.
#[cfg(feature = "raw-syscall")]
pub fn restrict_task(restrictions: &[Restriction]) -> io::Result<()> {
    /// `struct io_uring_task_restriction`, with room for more than the kernel takes.
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
    // SAFETY: the kernel reads the header and as many restrictions as it says.
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

#[cfg(all(test, target_pointer_width = "64", not(miri)))]
mod lengths {
    use super::*;
    use crate::{BpfFilterFlags, SockFilter};
    use core::{ptr, slice};
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

    /// A length that is one instruction too long for the kernel's 32 bits is not a program of one.
    #[test]
    fn a_program_is_not_cut_off() {
        const TOO_MANY: usize = u32::MAX as usize + 2;
        let len = TOO_MANY * size_of::<SockFilter>();
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: without a wished-for address, the kernel takes addresses that nobody uses.
        let memory = unsafe { mmap_anonymous(ptr::null_mut(), len, ProtFlags::READ, flags) };
        let memory = memory.expect("address space for pages that are never touched");
        // SAFETY: the mapping is as long, aligned, all zero, and lives until it is unmapped.
        let program = unsafe { slice::from_raw_parts(memory.cast::<SockFilter>(), TOO_MANY) };
        let of = |program| {
            let filter =
                BpfFilter { opcode: 0, program, pdu_size: 0, flags: BpfFilterFlags::empty() };
            filter.command().map(|command| command.filter.filter_len)
        };
        assert_eq!(of(program), Err(io::Errno::INVAL));
        assert_eq!(of(&program[..7]), Ok(7));
        // SAFETY: nobody looks there any more.
        unsafe { munmap(memory, len) }.unwrap();
    }
}
