use core::mem::offset_of;

use super::*;
use crate::sys::*;

fn bytes(put: impl FnOnce(&mut Sqe)) -> [u8; 64] {
    let mut sqe = Sqe::ZERO;
    put(&mut sqe);
    sqe.bytes()
}

/// Returns an entry with these bytes at this offset, and zeros everywhere else.
fn at<const N: usize>(offset: usize, part: [u8; N]) -> [u8; 64] {
    let mut whole = [0; 64];
    whole[offset..offset + N].copy_from_slice(&part);
    whole
}

/// A member that is smaller than its union starts at the lowest address, on both endiannesses. On
/// big endian, that is the upper half of the number.
#[test]
fn narrow_fields_are_where_the_kernel_reads_them() {
    let off = offset_of!(io_uring_sqe, __bindgen_anon_1);
    let cmd_op = off + offset_of!(io_uring_sqe__bindgen_ty_1__bindgen_ty_1, cmd_op);
    assert_eq!(bytes(|sqe| sqe.cmd_op(0x1234_5678)), at(cmd_op, 0x1234_5678u32.to_ne_bytes()));

    let addr = offset_of!(io_uring_sqe, __bindgen_anon_2);
    let level = addr + offset_of!(io_uring_sqe__bindgen_ty_2__bindgen_ty_1, level);
    let optname = addr + offset_of!(io_uring_sqe__bindgen_ty_2__bindgen_ty_1, optname);
    assert_eq!(bytes(|sqe| sqe.level(0x1234)), at(level, 0x1234u32.to_ne_bytes()));
    assert_eq!(bytes(|sqe| sqe.optname(0x1234)), at(optname, 0x1234u32.to_ne_bytes()));

    let index = offset_of!(io_uring_sqe, __bindgen_anon_5);
    let addr_len = index + offset_of!(io_uring_sqe__bindgen_ty_5__bindgen_ty_1, addr_len);
    let stream = index + offset_of!(io_uring_sqe__bindgen_ty_5__bindgen_ty_2, write_stream);
    assert_eq!(bytes(|sqe| sqe.addr_len(0x1234)), at(addr_len, 0x1234u16.to_ne_bytes()));
    assert_eq!(bytes(|sqe| sqe.write_stream(0x12)), at(stream, [0x12]));
}

#[test]
fn an_address_length_is_not_truncated() {
    let most = at(offset_of!(Sqe, file_index), [0xff, 0xff]);
    assert_eq!(bytes(|sqe| sqe.addr_len(0x1_0010)), most);
    assert_eq!(bytes(|sqe| sqe.addr_len(0xffff)), most);
}

#[test]
fn the_bytes_of_a_command_are_in_order() {
    let cmd: [u8; 16] = core::array::from_fn(|n| n as u8 + 1);
    assert_eq!(bytes(|sqe| sqe.cmd(cmd)), at(48, cmd));
}

/// On big endian, the halves of `poll32_events` are swapped.
#[test]
fn the_halves_of_a_poll_mask_are_swapped() {
    let mask = PollFlags::from_bits_retain(0x1122_3344);
    let little = [0x44, 0x33, 0x22, 0x11];
    let big = [0x33, 0x44, 0x11, 0x22];
    let expected = if cfg!(target_endian = "little") { little } else { big };
    assert_eq!(bytes(|sqe| sqe.poll_mask(mask)), at(28, expected));
}

#[test]
fn slots_count_from_one() {
    let slot = |slot| DestinationSlot::try_from_slot_target(slot).unwrap();
    assert_eq!(bytes(|sqe| sqe.slot(Some(slot(6)))), at(44, 7u32.to_ne_bytes()));
    assert_eq!(bytes(|sqe| sqe.dest_slot(slot(6))), at(44, 7u32.to_ne_bytes()));
    assert_eq!(bytes(|sqe| sqe.slot(None)), [0; 64]);
    assert_eq!(bytes(|sqe| sqe.auto_slot(true)), at(44, [0xff; 4]));
    assert_eq!(bytes(|sqe| sqe.auto_slot(false)), [0; 64]);
    assert_eq!(bytes(|sqe| sqe.close(Fixed(6))), at(44, 7u32.to_ne_bytes()));
}

/// The longest time does not become negative.
#[test]
fn immediate_times_do_not_wrap() {
    for nanoseconds in [i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        let put = |put: fn(&mut Sqe, u64)| {
            let mut sqe = Sqe::ZERO;
            put(&mut sqe, nanoseconds);
            sqe
        };
        assert_eq!(put(Sqe::immediate).addr, i64::MAX as u64);
        assert_eq!(put(Sqe::immediate_update).off, i64::MAX as u64);
    }
}

/// The highest slot numbers never turn into "no slot" or "any slot", which are other requests.
#[test]
fn no_slot_number_becomes_another_request() {
    for slot in [u32::MAX - 1, u32::MAX] {
        assert_eq!(bytes(|sqe| sqe.close(Fixed(slot))), at(44, [0xff; 4]));
        let before_last = u64::from(u32::MAX - 1).to_ne_bytes();
        assert_eq!(bytes(|sqe| sqe.first_slot(slot)), at(8, before_last));
    }
    // Without a conversion, the kernel compares the number with the length of the table.
    let flag = at(1, [Flags::FIXED_FILE.bits()]);
    let mut expected = at(4, [0xff; 4]);
    expected[1] = flag[1];
    assert_eq!(bytes(|sqe| sqe.fd(Fixed(u32::MAX))), expected);
    assert_eq!(
        bytes(|sqe| sqe.source_slot(Fixed(u32::MAX))),
        at(48, 0xffff_ffff_u64.to_ne_bytes())
    );
}

#[test]
fn short_lengths_are_where_old_kernels_read_them() {
    let short = at(24, u32::MAX.to_ne_bytes());
    assert_eq!(bytes(|sqe| sqe.fadvise_len(u32::MAX.into())), short);
    assert_eq!(bytes(|sqe| sqe.madvise_len(u32::MAX.into())), short);
    let long: u64 = 1 << 32;
    assert_eq!(bytes(|sqe| sqe.fadvise_len(long)), at(16, long.to_ne_bytes()));
    assert_eq!(bytes(|sqe| sqe.madvise_len(long)), at(8, long.to_ne_bytes()));
}

/// A setter can undo what it has set.
#[test]
fn options_can_be_unset() {
    for (on, off) in [
        (bytes(|sqe| sqe.poll_multi(true)), bytes(|s| (s.poll_multi(true), s.poll_multi(false)).1)),
        (
            bytes(|sqe| sqe.cmd_buffer(Some(3))),
            bytes(|s| (s.cmd_buffer(Some(3)), s.cmd_buffer(None)).1),
        ),
    ] {
        assert_ne!(on, [0; 64]);
        assert_eq!(off, [0; 64]);
    }
    let index = bytes(|s| (s.recvsend_buffer(Some(3)), s.recvsend_buffer(None)).1);
    assert_eq!(index, [0; 64]);
}
