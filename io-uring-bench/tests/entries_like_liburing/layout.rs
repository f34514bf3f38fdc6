//! Compares the structs that this crate declares itself with the C header, field by field.

use std::mem::offset_of;

use liburing_rs as c;
use rustix_uring::squeue::Sqe;
use rustix_uring::sys;

/// Checks that each of our fields is at the offset of the header, and that the header has no fields
/// after them.
macro_rules! same {
    ($($Ours:ty = $Theirs:ident { $($ours:ident = $theirs:ident),* $(,)? })*) => { $(
        assert_eq!(size_of::<$Ours>(), size_of::<c::$Theirs>(), stringify!($Theirs));
        assert_eq!(align_of::<$Ours>(), align_of::<c::$Theirs>(), stringify!($Theirs));
        $(
            assert_eq!(
                offset_of!($Ours, $ours),
                offset_of!(c::$Theirs, $theirs),
                concat!(stringify!($Theirs), ".", stringify!($theirs)),
            );
        )*
    )* };
}

#[test]
fn fields_are_where_the_header_has_them() {
    same! {
        Sqe = io_uring_sqe {
            opcode = opcode, flags = flags, ioprio = ioprio, fd = fd, len = len,
            user_data = user_data, personality = personality,
        }
        sys::io_uring_query_hdr = io_uring_query_hdr {
            next_entry = next_entry, query_data = query_data, query_op = query_op, size = size,
            result = result, __resv = __resv,
        }
        sys::io_uring_query_opcode = io_uring_query_opcode {
            nr_request_opcodes = nr_request_opcodes, nr_register_opcodes = nr_register_opcodes,
            feature_flags = feature_flags, ring_setup_flags = ring_setup_flags,
            enter_flags = enter_flags, sqe_flags = sqe_flags, nr_query_opcodes = nr_query_opcodes,
        }
        sys::io_uring_query_zcrx = io_uring_query_zcrx {
            register_flags = register_flags, area_flags = area_flags,
            nr_ctrl_opcodes = nr_ctrl_opcodes, features = features, rq_hdr_size = rq_hdr_size,
            rq_hdr_alignment = rq_hdr_alignment,
        }
        sys::io_uring_query_scq = io_uring_query_scq {
            hdr_size = hdr_size, hdr_alignment = hdr_alignment,
        }
        sys::io_uring_buf_reg = io_uring_buf_reg {
            ring_addr = ring_addr, ring_entries = ring_entries, bgid = bgid, flags = flags,
            min_left = min_left, resv = resv,
        }
        // Our `event_desc` is newer than the header.
        sys::zcrx_ifq_reg = io_uring_zcrx_ifq_reg {
            if_idx = if_idx, if_rxq = if_rxq, rq_entries = rq_entries, flags = flags,
            area_ptr = area_ptr, region_ptr = region_ptr, offsets = offsets, zcrx_id = zcrx_id,
            rx_buf_len = rx_buf_len, event_desc = __resv,
        }
        sys::zcrx_ctrl = zcrx_ctrl {
            zcrx_id = zcrx_id, op = op, __resv = __resv, argument = __liburing_anon_1,
        }
        sys::io_uring_bpf_filter = io_uring_bpf_filter {
            opcode = opcode, flags = flags, filter_len = filter_len, pdu_size = pdu_size,
            resv = resv, filter_ptr = filter_ptr, resv2 = resv2,
        }
        sys::io_uring_bpf = io_uring_bpf {
            cmd_type = cmd_type, cmd_flags = cmd_flags, resv = resv, filter = __liburing_anon_1,
        }
        rustix_uring::SockFilter = sock_filter { code = code, jt = jt, jf = jf, k = k }
    }
}
