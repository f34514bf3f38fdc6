//! The kernel's names: constants, structs, and operation numbers.
//!
//! This module re-exports every name of `linux/io_uring.h` that linux-raw-sys has. Names that are
//! newer than that crate's headers are declared here, spelled as in the kernel. You need this
//! module only to write an entry by hand ([`Sqe`](crate::squeue::Sqe)) or to make a raw register
//! call ([`Submitter::register`](crate::Submitter::register)).
//!
//! # Stability
//!
//! This module follows linux-raw-sys. A new release of that crate may change the type of a constant
//! or the name of a struct field. This crate passes such a change on in a *minor* release. No item
//! outside of this module has these types in its signature, so the rest of your program is not
//! affected.

pub(crate) mod call;
mod errno;
mod op;
mod register_op;

pub(crate) use errno::errno_name;
pub(crate) use op::op_code;
pub use op::op_name;
pub use register_op::register_op;

pub use linux_raw_sys::general::{
    FALLOC_FL_COLLAPSE_RANGE, FALLOC_FL_INSERT_RANGE, FALLOC_FL_KEEP_SIZE, FALLOC_FL_NO_HIDE_STALE,
    FALLOC_FL_PUNCH_HOLE, FALLOC_FL_UNSHARE_RANGE, FALLOC_FL_WRITE_ZEROES, FALLOC_FL_ZERO_RANGE,
};
pub use linux_raw_sys::general::{
    FUTEX_BITSET_MATCH_ANY, FUTEX2_MPOL, FUTEX2_NUMA, FUTEX2_PRIVATE, FUTEX2_SIZE_U8,
    FUTEX2_SIZE_U16, FUTEX2_SIZE_U32, FUTEX2_SIZE_U64,
};
pub use linux_raw_sys::general::{
    IO_INTEGRITY_CHK_APPTAG, IO_INTEGRITY_CHK_GUARD, IO_INTEGRITY_CHK_REFTAG,
};
pub use linux_raw_sys::general::{P_ALL, P_PGID, P_PID, P_PIDFD};
pub use linux_raw_sys::general::{RWF_APPEND, RWF_DSYNC, RWF_HIPRI, RWF_NOWAIT, RWF_SYNC};
pub use linux_raw_sys::general::{SPLICE_F_GIFT, SPLICE_F_MORE, SPLICE_F_MOVE, SPLICE_F_NONBLOCK};
pub use linux_raw_sys::general::{
    SYNC_FILE_RANGE_WAIT_AFTER, SYNC_FILE_RANGE_WAIT_BEFORE, SYNC_FILE_RANGE_WRITE,
};
pub use linux_raw_sys::general::{WCONTINUED, WEXITED, WNOHANG, WNOWAIT, WSTOPPED};
pub use linux_raw_sys::io_uring::*;
pub use linux_raw_sys::net::{
    MSG_CMSG_CLOEXEC, MSG_CONFIRM, MSG_CTRUNC, MSG_DONTROUTE, MSG_DONTWAIT, MSG_EOR, MSG_ERRQUEUE,
    MSG_MORE, MSG_NOSIGNAL, MSG_OOB, MSG_PEEK, MSG_TRUNC, MSG_WAITALL,
};
pub use linux_raw_sys::net::{
    SO_BROADCAST, SO_ERROR, SO_INCOMING_CPU, SO_KEEPALIVE, SO_LINGER, SO_RCVBUF, SO_REUSEADDR,
    SO_REUSEPORT, SO_SNDBUF, SO_TYPE, SOL_SOCKET,
};

/// `IORING_OP_NOP128`: a NOP in a 128-byte entry. Since Linux 6.19.
pub const IORING_OP_NOP128: u8 = 63;
/// `IORING_OP_URING_CMD128`: a command in a 128-byte entry. Since Linux 6.19.
pub const IORING_OP_URING_CMD128: u8 = 64;

/// `IORING_REGISTER_QUERY`: queries what the kernel supports. Since Linux 6.18.
pub const IORING_REGISTER_QUERY: u32 = 35;
/// `IORING_REGISTER_ZCRX_CTRL`: controls zero-copy receive. Since Linux 6.19.
pub const IORING_REGISTER_ZCRX_CTRL: u32 = 36;
/// `IORING_REGISTER_BPF_FILTER`: filters submissions. Since Linux 7.0.
pub const IORING_REGISTER_BPF_FILTER: u32 = 37;

/// `IORING_SETUP_CQE_MIXED`: one ring has completions of both sizes. Since Linux 6.18.
pub const IORING_SETUP_CQE_MIXED: u32 = 1 << 18;
/// `IORING_SETUP_SQE_MIXED`: one ring has submissions of both sizes. Since Linux 6.19.
pub const IORING_SETUP_SQE_MIXED: u32 = 1 << 19;
/// `IORING_SETUP_SQ_REWIND`: every submission starts at the first slot. Since Linux 7.0.
pub const IORING_SETUP_SQ_REWIND: u32 = 1 << 20;

/// `IORING_CQE_F_SKIP`: a filler entry at the end of a mixed completion ring. Since Linux 6.18.
pub const IORING_CQE_F_SKIP: u32 = 1 << 5;
/// `IORING_CQE_F_32`: this completion of a mixed ring has 32 bytes. Since Linux 6.18.
pub const IORING_CQE_F_32: u32 = 1 << 15;

/// `IORING_CQE_F_TSTAMP_HW`: the timestamp was taken by the network device. Since Linux 6.17.
pub const IORING_CQE_F_TSTAMP_HW: u32 = 1 << IORING_TIMESTAMP_HW_SHIFT;

/// `IORING_TIMEOUT_IMMEDIATE_ARG`: the field holds the time in nanoseconds instead of a pointer.
/// Since Linux 7.1.
pub const IORING_TIMEOUT_IMMEDIATE_ARG: u32 = 1 << 7;
/// `IORING_NOP_CQE32`: completes with a 32-byte CQE. Since Linux 6.18.
pub const IORING_NOP_CQE32: u32 = 1 << 5;
/// `IORING_URING_CMD_MULTISHOT`: makes the command multishot. Since Linux 6.18.
pub const IORING_URING_CMD_MULTISHOT: u32 = 1 << 1;

/// `SOCKET_URING_OP_GETSOCKNAME`: returns the address of a socket. Since Linux 6.19.
pub const SOCKET_URING_OP_GETSOCKNAME: u32 = 5;
/// `BLOCK_URING_CMD_DISCARD`: discards a range of a block device. Since Linux 6.12.
pub const BLOCK_URING_CMD_DISCARD: u32 = rustix::ioctl::opcode::none(0x12, 0) as u32;
/// `BLOCK_URING_CMD_ZONE_RESET_ALL`: resets all zones of a block device.
pub const BLOCK_URING_CMD_ZONE_RESET_ALL: u32 = rustix::ioctl::opcode::none(0x12, 1) as u32;

/// `MSG_SOCK_DEVMEM`: leaves the data in the device's memory. Since Linux 6.12.
pub const MSG_SOCK_DEVMEM: u32 = 0x0200_0000;
/// `MSG_ZEROCOPY`: the flag of `send(2)`, unrelated to io_uring's zero-copy operations.
pub const MSG_ZEROCOPY: u32 = 0x0400_0000;
/// `MSG_FASTOPEN`: sends data with the connection request.
pub const MSG_FASTOPEN: u32 = 0x2000_0000;

/// `SCM_TSTAMP_SND`: the driver received the data.
pub const SCM_TSTAMP_SND: u32 = 0;
/// `SCM_TSTAMP_SCHED`: the data entered the packet scheduler.
pub const SCM_TSTAMP_SCHED: u32 = 1;
/// `SCM_TSTAMP_ACK`: the peer acknowledged all of the data.
pub const SCM_TSTAMP_ACK: u32 = 2;
/// `SCM_TSTAMP_COMPLETION`: the device finished sending the data. Since Linux 6.15.
pub const SCM_TSTAMP_COMPLETION: u32 = 3;

/// `RWF_NOAPPEND`: writes at the given offset even if the file is in append mode. Since Linux 6.9.
pub const RWF_NOAPPEND: u32 = 0x20;
/// `RWF_ATOMIC`: writes all of the data or none. Since Linux 6.11.
pub const RWF_ATOMIC: u32 = 0x40;
/// `RWF_DONTCACHE`: drops the pages from the page cache afterwards. Since Linux 6.14.
pub const RWF_DONTCACHE: u32 = 0x80;

/// Declares structs of the kernel: they consist of integers, print, and default to zero.
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
    /// One query of `IORING_REGISTER_QUERY`, with a link to the next one. Since Linux 6.18.
    io_uring_query_hdr: 40 {
        /// The address of the next query, or 0.
        next_entry: u64,
        /// The address to which the kernel writes the answer.
        query_data: u64,
        /// The query: `IO_URING_QUERY_*`.
        query_op: u32,
        /// The size of the answer buffer. The kernel replaces it by the size of the answer.
        size: u32,
        /// 0 or a negated errno.
        result: i32,
        /// Zero.
        __resv: [u32; 3],
    }

    /// The answer to `IO_URING_QUERY_OPCODES`. Since Linux 6.18.
    io_uring_query_opcode: 48 {
        /// The number of operations.
        nr_request_opcodes: u32,
        /// The number of register operations.
        nr_register_opcodes: u32,
        /// `IORING_FEAT_*`.
        feature_flags: u64,
        /// `IORING_SETUP_*`.
        ring_setup_flags: u64,
        /// `IORING_ENTER_*`.
        enter_flags: u64,
        /// `IOSQE_*`.
        sqe_flags: u64,
        /// The number of queries.
        nr_query_opcodes: u32,
        /// Padding.
        __pad: u32,
    }

    /// The answer to `IO_URING_QUERY_ZCRX`. Since Linux 6.19.
    io_uring_query_zcrx: 40 {
        /// The flags that an interface queue can have.
        register_flags: u64,
        /// The flags that an area can have.
        area_flags: u64,
        /// The number of control operations.
        nr_ctrl_opcodes: u32,
        /// `ZCRX_FEATURE_*`.
        features: u32,
        /// The size of the header of a refill ring.
        rq_hdr_size: u32,
        /// The alignment of the header of a refill ring.
        rq_hdr_alignment: u32,
        /// Padding.
        __resv2: u64,
    }

    /// The answer to `IO_URING_QUERY_SCQ`. Since Linux 6.19.
    io_uring_query_scq: 16 {
        /// The size of the header of the rings.
        hdr_size: u64,
        /// The alignment of the header of the rings.
        hdr_alignment: u64,
    }

    /// The argument of `IORING_REGISTER_PBUF_RING`, including fields that linux-raw-sys does not
    /// have yet.
    io_uring_buf_reg: 40 {
        /// The address of the ring, or 0 if the kernel allocates it.
        ring_addr: u64,
        /// The number of slots.
        ring_entries: u32,
        /// The buffer group.
        bgid: u16,
        /// `IOU_PBUF_RING_*`.
        flags: u16,
        /// The kernel does not fill a rest of a buffer that is smaller than this. Since Linux 7.1.
        min_left: u32,
        /// Zero.
        resv: [u32; 5],
    }

    /// The argument of `IORING_REGISTER_ZCRX_IFQ`, including fields that linux-raw-sys does not
    /// have yet.
    zcrx_ifq_reg: 96 {
        /// The index of the network interface.
        if_idx: u32,
        /// The index of the receive queue of that interface.
        if_rxq: u32,
        /// The number of slots of the refill ring.
        rq_entries: u32,
        /// `ZCRX_REG_*`.
        flags: u32,
        /// The address of an `io_uring_zcrx_area_reg`.
        area_ptr: u64,
        /// The address of an `io_uring_region_desc`.
        region_ptr: u64,
        /// The offsets of head, tail, and entries within the region. The rest is reserved.
        offsets: [u32; 8],
        /// The ID of the interface queue.
        zcrx_id: u32,
        /// The size of the buffers that the NIC fills. Since Linux 7.0.
        rx_buf_len: u32,
        /// The address of a `zcrx_event_desc`. Since Linux 7.2.
        event_desc: u64,
        /// Zero.
        __resv: [u64; 2],
    }

    /// The events that an interface queue reports. Since Linux 7.2.
    zcrx_event_desc: 96 {
        /// The user data of the completions that report events.
        user_data: u64,
        /// One bit for each `ZCRX_EVENT_*`.
        type_mask: u32,
        /// `ZCRX_EVENT_DESC_FLAG_*`.
        flags: u32,
        /// The offset of the statistics within the region.
        stats_offset: u64,
        /// Zero.
        __resv2: [u64; 9],
    }

    /// The argument of `IORING_REGISTER_ZCRX_CTRL`. Since Linux 6.19.
    zcrx_ctrl: 72 {
        /// The ID of the interface queue.
        zcrx_id: u32,
        /// `ZCRX_CTRL_*`.
        op: u32,
        /// Zero.
        __resv: [u64; 2],
        /// The argument of the operation, and its answer.
        argument: [u64; 6],
    }

    /// A filter for submissions. Since Linux 7.0.
    io_uring_bpf_filter: 64 {
        /// The operation that it filters.
        opcode: u32,
        /// `IO_URING_BPF_FILTER_*`.
        flags: u32,
        /// The number of instructions of the program.
        filter_len: u32,
        /// The size of the operation's data that the program expects.
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
        /// The flags that a `zcrx_event_desc` can have.
        event_flags: u32,
        /// The size of the statistics.
        stats_size: u32,
        /// The alignment of the statistics.
        stats_off_alignment: u32,
        /// Padding.
        __resv1: u32,
        /// Padding.
        __resv2: [u64; 4],
    }
}

/// `IO_URING_QUERY_OPCODES`: which operations and flags the kernel has. Since Linux 6.18.
pub const IO_URING_QUERY_OPCODES: u32 = 0;
/// `IO_URING_QUERY_ZCRX`: what zero-copy receive supports. Since Linux 6.19.
pub const IO_URING_QUERY_ZCRX: u32 = 1;
/// `IO_URING_QUERY_SCQ`: the size and alignment of the header of the rings. Since Linux 6.19.
pub const IO_URING_QUERY_SCQ: u32 = 2;
/// `IO_URING_QUERY_ZCRX_EVENT`: which events zero-copy receive can report. Since Linux 7.2.
pub const IO_URING_QUERY_ZCRX_EVENT: u32 = 3;

/// `IO_URING_BPF_CMD_FILTER`: registers a filter. Since Linux 7.0.
pub const IO_URING_BPF_CMD_FILTER: u16 = 1;
/// `IO_URING_BPF_FILTER_DENY_REST`: denies all operations that have no filter. Since Linux 7.0.
pub const IO_URING_BPF_FILTER_DENY_REST: u32 = 1;
/// `IO_URING_BPF_FILTER_SZ_STRICT`: requires the exact size of the operation's data. Since Linux
/// 7.0.
pub const IO_URING_BPF_FILTER_SZ_STRICT: u32 = 2;

/// `IORING_ZCRX_AREA_DMABUF`: the area is a DMA buffer. Since Linux 6.16.
pub const IORING_ZCRX_AREA_DMABUF: u32 = 1;
/// `IORING_ZCRX_AREA_MASK`: the bits of an offset that identify the area. Since Linux 6.15.
pub const IORING_ZCRX_AREA_MASK: u64 = !0 << IORING_ZCRX_AREA_SHIFT;
/// `ZCRX_REG_IMPORT`: imports the queue of another ring. Since Linux 6.19.
pub const ZCRX_REG_IMPORT: u32 = 1;
/// `ZCRX_REG_NODEV`: registers a queue without a device. Since Linux 7.1.
pub const ZCRX_REG_NODEV: u32 = 2;
/// `ZCRX_FEATURE_RX_PAGE_SIZE`: buffers may have a size other than a page. Since Linux 7.0.
pub const ZCRX_FEATURE_RX_PAGE_SIZE: u32 = 1;
/// `ZCRX_FEATURE_EVENT`: the kernel can report events. Since Linux 7.2.
pub const ZCRX_FEATURE_EVENT: u32 = 2;
/// `ZCRX_EVENT_ALLOC_FAIL`: no buffer of the area was free. Since Linux 7.2.
pub const ZCRX_EVENT_ALLOC_FAIL: u32 = 0;
/// `ZCRX_EVENT_COPY`: the kernel copied data. Since Linux 7.2.
pub const ZCRX_EVENT_COPY: u32 = 1;
/// `ZCRX_EVENT_DESC_FLAG_STATS`: the region has space for statistics. Since Linux 7.2.
pub const ZCRX_EVENT_DESC_FLAG_STATS: u32 = 1;
/// `ZCRX_CTRL_FLUSH_RQ`: consumes all entries of the refill ring. Since Linux 6.19.
pub const ZCRX_CTRL_FLUSH_RQ: u32 = 0;
/// `ZCRX_CTRL_EXPORT`: creates a descriptor, through which another ring can import the queue. Since
/// Linux 6.19.
pub const ZCRX_CTRL_EXPORT: u32 = 1;
/// `ZCRX_CTRL_ARM_EVENT`: re-enables the report of an event. Since Linux 7.2.
pub const ZCRX_CTRL_ARM_EVENT: u32 = 2;
/// `ZCRX_CTRL_ADD_AREA`: adds an area. Since Linux 7.3.
pub const ZCRX_CTRL_ADD_AREA: u32 = 3;

/// The mask of an `IOSQE_*` flag, of which linux-raw-sys has only the bit number.
pub(crate) const fn iosqe(bit: io_uring_sqe_flags_bit) -> u8 {
    1 << bit as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails when linux-raw-sys knows newer names: then remove the declarations from this module.
    #[test]
    fn declarations_are_newer_than_linux_raw_sys() {
        assert_eq!(io_uring_op::IORING_OP_LAST as u8, IORING_OP_NOP128);
        assert_eq!(io_uring_register_op::IORING_REGISTER_LAST as u32, 35);
    }
}
