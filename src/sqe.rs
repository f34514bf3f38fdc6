//! Where the bits of a submission go.
//!
//! The kernel's `struct io_uring_sqe` is a nest of unions; [`Sqe`] is the same 64 bytes as plain
//! integers. Which of a word's meanings applies is up to the operation, so each meaning has a
//! setter of its own name here, and a row of [`opcode`](crate::opcode) only says which to call.

use core::ffi::c_void;

use crate::types::{
    AsyncCancelFlags, AtFlags, CancelBuilder, Descriptor, DestinationSlot, FsyncFlags, Mode,
    OFlags, RwFlags, StatxFlags, Target, TimeoutFlags,
};

/// The 64 bytes of `struct io_uring_sqe`, flat.
///
/// Every field is named for its commonest meaning; where the kernel's header gives it others, the
/// field's documentation lists them. All of them are public: what no builder of
/// [`opcode`](crate::opcode) can express is written here and turned into an entry with
/// [`Entry::from_raw`](crate::squeue::Entry::from_raw).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Sqe {
    /// What to do: an `IORING_OP_*` number.
    pub opcode: u8,
    /// `IOSQE_*` bits, see [`Flags`](crate::squeue::Flags).
    pub flags: u8,
    /// The I/O priority (`ioprio_set(2)`), or the operation's second word of flags.
    pub ioprio: u16,
    /// The file: a descriptor, or a slot of the registered table with
    /// [`Flags::FIXED_FILE`](crate::squeue::Flags::FIXED_FILE).
    pub fd: i32,
    /// The offset; also `addr2`, or `cmd_op` in the first four bytes.
    pub off: u64,
    /// The buffer's address; also `splice_off_in`, or `level` and `optname`.
    pub addr: u64,
    /// The buffer's length in bytes, or a count of elements.
    pub len: u32,
    /// The operation's own flags: `rw_flags`, `msg_flags`, `open_flags` and all their kin.
    pub op_flags: u32,
    /// Handed back unchanged in the completion.
    pub user_data: u64,
    /// The registered buffer; also `buf_group`.
    pub buf_index: u16,
    /// The registered credentials to act with, 0 for the task's own.
    pub personality: u16,
    /// A slot of the registered file table, plus one; also `splice_fd_in`, `optlen`, or `addr_len`
    /// or `write_stream` in the first two bytes.
    pub file_index: u32,
    /// A third address; also `attr_ptr`, `optval`, or the first eight bytes of a command.
    pub addr3: u64,
    /// `attr_type_mask`, or the second eight bytes of a command.
    pub pad2: u64,
}

impl Sqe {
    /// All zero: a NOP.
    pub const ZERO: Self = Self {
        opcode: 0,
        flags: 0,
        ioprio: 0,
        fd: 0,
        off: 0,
        addr: 0,
        len: 0,
        op_flags: 0,
        user_data: 0,
        buf_index: 0,
        personality: 0,
        file_index: 0,
        addr3: 0,
        pad2: 0,
    };
}

/// A pointer as the kernel's 64-bit word. The address is exposed: the kernel will use it.
#[inline(always)]
fn word<T: ?Sized>(ptr: *const T) -> u64 {
    ptr.cast::<c_void>().expose_provenance() as u64
}

/// One setter per meaning, named as the argument that it stores.
impl Sqe {
    /// A descriptor, or a slot and the flag that says so: two integers, decided when the target's
    /// type is known. A branch here would leave the entry half in memory and stall its copy.
    #[inline(always)]
    pub(crate) fn fd(&mut self, fd: impl Target) {
        let (number, flag) = fd.number_and_flag();
        self.fd = number;
        self.flags |= flag;
    }

    /// There is no file.
    #[inline(always)]
    pub(crate) fn no_fd(&mut self, (): ()) {
        self.fd = -1;
    }

    #[inline(always)]
    pub(crate) fn dirfd(&mut self, dirfd: impl Descriptor) {
        self.fd(dirfd);
    }

    /// Closing a slot wants descriptor 0 and the slot plus one, not `FIXED_FILE`.
    #[inline(always)]
    pub(crate) fn close(&mut self, fd: impl Target) {
        let (number, flag) = fd.number_and_flag();
        (self.fd, self.file_index) =
            if flag == 0 { (number, 0) } else { (0, (number as u32).wrapping_add(1)) };
    }

    #[inline(always)]
    pub(crate) fn addr<T>(&mut self, addr: *const T) {
        self.addr = word(addr);
    }

    #[inline(always)]
    pub(crate) fn addr2<T>(&mut self, addr: *const T) {
        self.off = word(addr);
    }

    #[inline(always)]
    pub(crate) fn len(&mut self, len: u32) {
        self.len = len;
    }

    #[inline(always)]
    pub(crate) fn off(&mut self, offset: u64) {
        self.off = offset;
    }

    #[inline(always)]
    pub(crate) fn ioprio(&mut self, ioprio: u16) {
        self.ioprio = ioprio;
    }

    #[inline(always)]
    pub(crate) fn buf_group(&mut self, group: u16) {
        self.buf_index = group;
    }

    #[inline(always)]
    pub(crate) fn rw_flags(&mut self, flags: RwFlags) {
        self.op_flags = flags.bits();
    }

    #[inline(always)]
    pub(crate) fn fsync_flags(&mut self, flags: FsyncFlags) {
        self.op_flags = flags.bits();
    }

    #[inline(always)]
    pub(crate) fn open_flags(&mut self, flags: OFlags) {
        self.op_flags = flags.bits();
    }

    #[inline(always)]
    pub(crate) fn mode(&mut self, mode: Mode) {
        self.len = mode.bits();
    }

    #[inline(always)]
    pub(crate) fn statx_flags(&mut self, flags: AtFlags) {
        self.op_flags = flags.bits();
    }

    #[inline(always)]
    pub(crate) fn statx_mask(&mut self, mask: StatxFlags) {
        self.len = mask.bits();
    }

    #[inline(always)]
    pub(crate) fn timeout_flags(&mut self, flags: TimeoutFlags) {
        self.op_flags = flags.bits();
    }

    /// How many completions end a timeout early.
    #[inline(always)]
    pub(crate) fn count(&mut self, count: u32) {
        self.off = u64::from(count);
    }

    /// The slot that takes a new descriptor: 0 is none, so slots count from one.
    #[inline(always)]
    pub(crate) fn slot(&mut self, slot: Option<DestinationSlot>) {
        self.file_index = slot.map_or(0, DestinationSlot::file_index);
    }

    #[inline(always)]
    pub(crate) fn target_user_data(&mut self, user_data: u64) {
        self.addr = user_data;
    }

    #[inline(always)]
    pub(crate) fn cancel(&mut self, criteria: CancelBuilder) {
        self.addr = criteria.user_data;
        self.fd = criteria.fd;
        self.cancel_flags(criteria.flags);
    }

    #[inline(always)]
    pub(crate) fn cancel_flags(&mut self, flags: AsyncCancelFlags) {
        self.op_flags = flags.bits();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::io_uring_sqe;
    use core::mem::offset_of;

    #[test]
    fn layout_is_the_kernels() {
        assert_eq!(size_of::<Sqe>(), size_of::<io_uring_sqe>());
        assert_eq!(align_of::<Sqe>(), align_of::<io_uring_sqe>());
        macro_rules! same {
            ($($ours:ident = $theirs:ident,)*) => { $(
                assert_eq!(offset_of!(Sqe, $ours), offset_of!(io_uring_sqe, $theirs));
            )* };
        }
        same! {
            opcode = opcode, flags = flags, ioprio = ioprio, fd = fd,
            off = __bindgen_anon_1, addr = __bindgen_anon_2, len = len,
            op_flags = __bindgen_anon_3, user_data = user_data,
            buf_index = __bindgen_anon_4, personality = personality,
            file_index = __bindgen_anon_5, addr3 = __bindgen_anon_6,
        }
        assert_eq!(offset_of!(Sqe, pad2), 56);
    }
}
