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

/// `IORING_REGISTER_QUERY`: what the kernel can do. Since Linux 6.18.
pub const IORING_REGISTER_QUERY: u32 = 35;
/// `IORING_REGISTER_ZCRX_CTRL`: controls zero-copy receive. Since Linux 6.19.
pub const IORING_REGISTER_ZCRX_CTRL: u32 = 36;
/// `IORING_REGISTER_BPF_FILTER`: filters submissions. Since Linux 7.0.
pub const IORING_REGISTER_BPF_FILTER: u32 = 37;

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

/// Structs of the kernel's: integers, printable, zero to start with.
macro_rules! structs {
    ($(
        $(#[$doc:meta])*
        $Struct:ident: $size:literal { $($(#[$field_doc:meta])* $field:ident: $Field:ty,)* }
    )*) => { $(
        $(#[$doc])*
        #[allow(non_camel_case_types, reason = "the kernel's name")]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[repr(C)]
        pub struct $Struct { $($(#[$field_doc])* pub $field: $Field,)* }

        const _: () = assert!(size_of::<$Struct>() == $size);
    )* };
}
structs! {
    /// One question of `IORING_REGISTER_QUERY`, and where the next is. Since Linux 6.18.
    io_uring_query_hdr: 40 {
        /// The address of the next question, or 0.
        next_entry: u64,
        /// Where to write the answer.
        query_data: u64,
        /// Which question: `IO_URING_QUERY_*`.
        query_op: u32,
        /// How long the answer may be; the kernel writes how long it is.
        size: u32,
        /// 0, or a negated errno.
        result: i32,
        /// Zero.
        __resv: [u32; 3],
    }

    /// The answer to `IO_URING_QUERY_OPCODES`. Since Linux 6.18.
    io_uring_query_opcode: 48 {
        /// How many operations there are.
        nr_request_opcodes: u32,
        /// How many register operations there are.
        nr_register_opcodes: u32,
        /// `IORING_FEAT_*`.
        feature_flags: u64,
        /// `IORING_SETUP_*`.
        ring_setup_flags: u64,
        /// `IORING_ENTER_*`.
        enter_flags: u64,
        /// `IOSQE_*`.
        sqe_flags: u64,
        /// How many questions there are.
        nr_query_opcodes: u32,
        /// Nothing.
        __pad: u32,
    }

    /// The answer to `IO_URING_QUERY_ZCRX`. Since Linux 6.19.
    io_uring_query_zcrx: 40 {
        /// Flags of an interface queue.
        register_flags: u64,
        /// Flags of an area.
        area_flags: u64,
        /// How many control operations there are.
        nr_ctrl_opcodes: u32,
        /// `ZCRX_FEATURE_*`.
        features: u32,
        /// The size of a refill ring's header.
        rq_hdr_size: u32,
        /// The alignment of a refill ring's header.
        rq_hdr_alignment: u32,
        /// Nothing.
        __resv2: u64,
    }

    /// The answer to `IO_URING_QUERY_SCQ`. Since Linux 6.19.
    io_uring_query_scq: 16 {
        /// The size of the rings' header.
        hdr_size: u64,
        /// The alignment of the rings' header.
        hdr_alignment: u64,
    }

    /// A filter of submissions. Since Linux 7.0.
    io_uring_bpf_filter: 64 {
        /// The operation that it is for.
        opcode: u32,
        /// `IO_URING_BPF_FILTER_*`.
        flags: u32,
        /// How many instructions the program has.
        filter_len: u32,
        /// How much data of the operation it expects.
        pdu_size: u8,
        /// Zero.
        resv: [u8; 3],
        /// The address of the program.
        filter_ptr: u64,
        /// Zero.
        resv2: [u64; 5],
    }

    /// The argument of `IORING_REGISTER_BPF_FILTER`. Since Linux 7.0.
    io_uring_bpf: 72 {
        /// `IO_URING_BPF_CMD_*`.
        cmd_type: u16,
        /// Zero.
        cmd_flags: u16,
        /// Zero.
        resv: u32,
        /// The filter.
        filter: io_uring_bpf_filter,
    }

    /// The answer to `IO_URING_QUERY_ZCRX_EVENT`. Since Linux 7.2.
    io_uring_query_zcrx_event: 48 {
        /// Flags of an event descriptor.
        event_flags: u32,
        /// The size of the statistics.
        stats_size: u32,
        /// The alignment of the statistics.
        stats_off_alignment: u32,
        /// Nothing.
        __resv1: u32,
        /// Nothing.
        __resv2: [u64; 4],
    }
}

/// `IO_URING_QUERY_OPCODES`: which operations and flags there are. Since Linux 6.18.
pub const IO_URING_QUERY_OPCODES: u32 = 0;
/// `IO_URING_QUERY_ZCRX`: what zero-copy receive can do. Since Linux 6.19.
pub const IO_URING_QUERY_ZCRX: u32 = 1;
/// `IO_URING_QUERY_SCQ`: how the memory of the rings begins. Since Linux 6.19.
pub const IO_URING_QUERY_SCQ: u32 = 2;
/// `IO_URING_QUERY_ZCRX_EVENT`: which events zero-copy receive can tell of. Since Linux 7.2.
pub const IO_URING_QUERY_ZCRX_EVENT: u32 = 3;

/// `IO_URING_BPF_CMD_FILTER`: registers a filter. Since Linux 7.0.
pub const IO_URING_BPF_CMD_FILTER: u16 = 1;
/// `IO_URING_BPF_FILTER_DENY_REST`: forbids what has no filter. Since Linux 7.0.
pub const IO_URING_BPF_FILTER_DENY_REST: u32 = 1;
/// `IO_URING_BPF_FILTER_SZ_STRICT`: insists on the size of the data. Since Linux 7.0.
pub const IO_URING_BPF_FILTER_SZ_STRICT: u32 = 2;

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
