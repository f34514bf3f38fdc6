//! Where the bits of a submission go.
//!
//! The kernel's `struct io_uring_sqe` is a nest of unions; [`Sqe`] is the same 64 bytes as plain
//! integers. Which of a word's meanings applies is up to the operation, so each meaning has a
//! setter of its own name here, and a row of [`opcode`](crate::opcode) only says which to call.

use core::fmt;

use bitflags::bitflags;

use crate::sys::{io_uring_sqe_flags_bit::*, iosqe, op_name};

/// The 64 bytes of `struct io_uring_sqe`, flat.
///
/// Every field is named for its commonest meaning; where the kernel's header gives it others, the
/// field's documentation lists them. All of them are public: what no builder of
/// [`opcode`](crate::opcode) can express is written here and turned into an entry with
/// [`Entry::from_raw`](crate::squeue::Entry::from_raw).
///
/// `Debug` prints the operation and the flags by name, and leaves out most fields that are zero.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
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

impl fmt::Debug for Sqe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Sqe");
        match op_name(self.opcode) {
            Some(name) => fields.field("opcode", &format_args!("{name}")),
            None => fields.field("opcode", &self.opcode),
        };
        let flags = Flags::from_bits_retain(self.flags);
        fields.field("flags", &flags).field("fd", &self.fd).field("user_data", &self.user_data);
        macro_rules! unless_zero {
            ($($field:ident: $format:literal)*) => { $(
                if self.$field != 0 {
                    fields.field(stringify!($field), &format_args!($format, self.$field));
                }
            )* };
        }
        unless_zero! {
            ioprio: "{:#x}" off: "{}" addr: "{:#x}" len: "{}" op_flags: "{:#x}" buf_index: "{}"
            personality: "{}" file_index: "{}" addr3: "{:#x}" pad2: "{:#x}"
        }
        fields.finish()
    }
}

bitflags! {
    /// How the kernel treats an entry, whatever its operation: the `IOSQE_*` flags.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct Flags: u8 {
        /// The file is a registered slot. [`types::Fixed`](crate::types::Fixed) sets it by itself.
        /// Since Linux 5.1.
        const FIXED_FILE = iosqe(IOSQE_FIXED_FILE_BIT);

        /// Start when everything submitted before has completed, and let nothing submitted after
        /// start before this has. EOPNOTSUPP once the ring has seen
        /// [`SKIP_SUCCESS`](Self::SKIP_SUCCESS). Since Linux 5.2.
        const IO_DRAIN = iosqe(IOSQE_IO_DRAIN_BIT);

        /// The next entry starts when this one has succeeded; if it fails, or a read or write is
        /// short, the rest of the chain completes with -ECANCELED. A chain ends where a submission
        /// ends. Since Linux 5.3.
        const IO_LINK = iosqe(IOSQE_IO_LINK_BIT);

        /// As [`IO_LINK`](Self::IO_LINK), but the chain goes on after a failed result; an entry
        /// that the kernel refuses to start severs it all the same. Since Linux 5.5.
        const IO_HARDLINK = iosqe(IOSQE_IO_HARDLINK_BIT);

        /// Start in a worker thread, without trying first whether it would have to wait. Since
        /// Linux 5.6.
        const ASYNC = iosqe(IOSQE_ASYNC_BIT);

        /// Take the buffer from the entry's group when there is something to put into it. The
        /// completion says which it was
        /// ([`buffer_select`](crate::cqueue::Entry::buffer_select)); -ENOBUFS if the group is
        /// empty. Since Linux 5.7.
        const BUFFER_SELECT = iosqe(IOSQE_BUFFER_SELECT_BIT);

        /// Post no completion if it succeeds. If it fails, it posts one, and the rest of its chain
        /// posts none, also [without this flag](crate::guide::linking#silent-entries). What it
        /// points to [may have to stay valid forever](super#silent-entries). The first one ends
        /// [`IO_DRAIN`](Self::IO_DRAIN) on this ring. Since Linux 5.17.
        const SKIP_SUCCESS = iosqe(IOSQE_CQE_SKIP_SUCCESS_BIT);

        const _ = !0;
    }
}

/// The user data of the pads that a [`Mixed`](crate::squeue::Mixed) queue puts in.
///
/// Give it to no entry of your own, and
/// [`is_pad`](crate::cqueue::Entry::is_pad) tells the completion of a pad from all others.
pub const PAD_USER_DATA: u64 = u64::from_be_bytes(*b"ring pad");

/// The user data of the cancellations that [`quiesce`](crate::IoUring::quiesce) pushes.
///
/// Give it to no entry of your own, and
/// [`is_quiesce`](crate::cqueue::Entry::is_quiesce) tells their completions from all others.
pub const QUIESCE_USER_DATA: u64 = u64::from_be_bytes(*b"ring end");

#[cfg(test)]
impl Sqe {
    /// The entry as it lies in memory.
    pub(crate) fn bytes(self) -> [u8; 64] {
        // SAFETY: the struct is 64 bytes of integers, without padding.
        unsafe { core::mem::transmute(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::*;
    use core::mem::offset_of;
    use std::format;

    #[test]
    fn debug_names_the_operation_and_its_flags() {
        let read = Sqe { opcode: 22, flags: 1 << 2 | 1, fd: 3, addr: 0x1000, len: 64, ..Sqe::ZERO };
        let text = "Sqe { opcode: IORING_OP_READ, flags: Flags(FIXED_FILE | IO_LINK), fd: 3, \
            user_data: 0, addr: 0x1000, len: 64 }";
        assert_eq!(format!("{read:?}"), text);
    }

    /// Numbers that are newer than this crate print as numbers.
    #[test]
    fn all_ones_print() {
        // SAFETY: nothing but integers, for which every byte is valid.
        let ones: Sqe = unsafe { core::mem::transmute([0xff_u8; 64]) };
        let text = format!("{ones:?}");
        assert!(text.contains("opcode: 255, flags: Flags(FIXED_FILE | "), "{text}");
        assert!(text.contains("SKIP_SUCCESS | 0x80), fd: -1, "), "{text}");
    }

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
