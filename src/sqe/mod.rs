//! The layout of a submission.
//!
//! The kernel's `struct io_uring_sqe` consists of nested unions. [`Sqe`] is the same 64 bytes as
//! plain integers. The operation decides which meaning of a word applies. Each meaning has a setter
//! of its own here, and a row of [`opcode`](crate::opcode) only lists the setters to call.

use core::fmt;

use bitflags::bitflags;

use crate::sys::{io_uring_sqe_flags_bit::*, iosqe, op_name};

/// The 64 bytes of `struct io_uring_sqe` without its unions.
///
/// Each field is named after its most common meaning. If the kernel's header gives it other
/// meanings, the field's documentation lists them. All fields are public: to submit what no builder
/// of [`opcode`](crate::opcode) can express, fill in an `Sqe` and convert it to an entry with
/// [`Entry::from_raw`](crate::squeue::Entry::from_raw).
///
/// `Debug` prints the operation and the flags by name, and omits most fields that are zero.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Sqe {
    /// The operation: an `IORING_OP_*` number.
    pub opcode: u8,
    /// The `IOSQE_*` flags, see [`Flags`](crate::squeue::Flags).
    pub flags: u8,
    /// The I/O priority (`ioprio_set(2)`), or a second word of flags of the operation.
    pub ioprio: u16,
    /// The file: a descriptor, or a slot of the registered file table if
    /// [`Flags::FIXED_FILE`](crate::squeue::Flags::FIXED_FILE) is set.
    pub fd: i32,
    /// The offset. Also `addr2`, or `cmd_op` in the first four bytes.
    pub off: u64,
    /// The address of the buffer. Also `splice_off_in`, or `level` and `optname`.
    pub addr: u64,
    /// The length of the buffer in bytes, or a number of elements.
    pub len: u32,
    /// The flags of the operation: `rw_flags`, `msg_flags`, `open_flags`, and so on.
    pub op_flags: u32,
    /// The user data, which the completion returns unchanged.
    pub user_data: u64,
    /// The index of the registered buffer. Also `buf_group`.
    pub buf_index: u16,
    /// The ID of the registered credentials to use, or 0 for those of the task.
    pub personality: u16,
    /// A slot of the registered file table, plus one. Also `splice_fd_in`, `optlen`, or `addr_len`
    /// or `write_stream` in the first two bytes.
    pub file_index: u32,
    /// A third address. Also `attr_ptr`, `optval`, or the first eight bytes of a command.
    pub addr3: u64,
    /// `attr_type_mask`, or the second eight bytes of a command.
    pub pad2: u64,
}

impl Sqe {
    /// An entry of zeros, which is a NOP.
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
    /// The `IOSQE_*` flags, which apply to entries of any operation.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[repr(transparent)]
    pub struct Flags: u8 {
        /// The file is a slot of the registered file table. [`types::Fixed`](crate::types::Fixed)
        /// sets this flag. Since Linux 5.1.
        const FIXED_FILE = iosqe(IOSQE_FIXED_FILE_BIT);

        /// Starts this entry only after everything submitted before it has completed, and starts
        /// nothing submitted after it until it has completed. Fails with EOPNOTSUPP once the ring
        /// has seen [`SKIP_SUCCESS`](Self::SKIP_SUCCESS). Since Linux 5.2.
        const IO_DRAIN = iosqe(IOSQE_IO_DRAIN_BIT);

        /// Links the next entry to this one: the kernel starts it when this one has succeeded. If
        /// this one fails, or is a short read or write, the rest of the chain completes with
        /// -ECANCELED. A chain ends at the end of a submission. Since Linux 5.3.
        const IO_LINK = iosqe(IOSQE_IO_LINK_BIT);

        /// Links the next entry like [`IO_LINK`](Self::IO_LINK), but a failed result does not break
        /// the chain. An entry that the kernel refuses to start breaks it nevertheless. Since Linux
        /// 5.5.
        const IO_HARDLINK = iosqe(IOSQE_IO_HARDLINK_BIT);

        /// Starts the operation in a worker thread, without first trying whether it would block.
        /// Since Linux 5.6.
        const ASYNC = iosqe(IOSQE_ASYNC_BIT);

        /// Takes a buffer from the entry's buffer group when data is ready. The completion has the
        /// buffer ID ([`buffer_select`](crate::cqueue::Entry::buffer_select)). If the group is
        /// empty, the operation completes with -ENOBUFS. Since Linux 5.7.
        const BUFFER_SELECT = iosqe(IOSQE_BUFFER_SELECT_BIT);

        /// Posts no completion if the operation succeeds. If it fails, the kernel posts one, and
        /// the rest of the chain posts none, [even without this
        /// flag](crate::guide::linking#silent-entries). Memory that the entry points to [may have
        /// to stay valid forever](crate::squeue#silent-entries). The first entry with this flag disables
        /// [`IO_DRAIN`](Self::IO_DRAIN) on this ring. Since Linux 5.17.
        const SKIP_SUCCESS = iosqe(IOSQE_CQE_SKIP_SUCCESS_BIT);

        const _ = !0;
    }
}

/// The user data of the pads that a [`Mixed`](crate::squeue::Mixed) queue inserts.
///
/// Do not use it for your own entries: [`is_pad`](crate::cqueue::Entry::is_pad) recognizes the
/// completions of pads by it.
pub const PAD_USER_DATA: u64 = u64::from_be_bytes(*b"ring pad");

/// The user data of the cancellations that [`quiesce`](crate::IoUring::quiesce) pushes.
///
/// Do not use it for your own entries: [`is_quiesce`](crate::cqueue::Entry::is_quiesce) recognizes
/// the completions of these cancellations by it.
pub const QUIESCE_USER_DATA: u64 = u64::from_be_bytes(*b"ring end");

#[cfg(test)]
impl Sqe {
    /// Returns the bytes of the entry, as they are in memory.
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
    fn unknown_numbers_print() {
        // SAFETY: the struct consists only of integers, for which every byte is valid.
        let ones: Sqe = unsafe { core::mem::transmute([0xff_u8; 64]) };
        let text = format!("{ones:?}");
        assert!(text.contains("opcode: 255, flags: Flags(FIXED_FILE | "), "{text}");
        assert!(text.contains("SKIP_SUCCESS | 0x80), fd: -1, "), "{text}");
    }

    #[test]
    fn layout_is_that_of_the_kernel() {
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
