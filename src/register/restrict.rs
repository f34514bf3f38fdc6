//! Restricting what a ring may do.

use rustix::io;

use super::length;
use crate::local::Handle;
use crate::submit::Submitter;
use crate::sys::{self, io_uring_bpf, io_uring_bpf_filter, io_uring_register_op::*};
use crate::{BpfFilter, Restriction};

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

impl BpfFilter<'_> {
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
        crate::syscall::register_without_ring(
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
        crate::syscall::register_without_ring(
            IORING_REGISTER_RESTRICTIONS as u32,
            (&raw mut arg).cast(),
            1,
        )
    }
    .map(drop)
}

#[cfg(all(test, target_pointer_width = "64", not(miri)))]
mod tests {
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
