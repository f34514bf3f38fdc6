//! Transfers from and to regular files: drawn from two bytes, as entries of the library, and as
//! Rust.

use rustix::io_uring::iovec;
use rustix_uring::opcode::{Read, ReadFixed, ReadvFixed, Write, WriteFixed, WritevFixed};
use rustix_uring::squeue::Entry;
use rustix_uring::types::{CURRENT_POSITION, Fd, Fixed as Slot, Target};

use super::Things;
use crate::model::operation::{Fixed, Op, Transfer, Way};
use crate::model::regular::{FILES, pattern};
use crate::model::{Model, SOURCES};

/// The maximum length of a buffer of a group.
const BUFFER: usize = 16;

/// Whether any request that has not ended satisfies the condition.
fn any(model: &Model, mut rings: impl Iterator<Item = usize>, is: impl Fn(Op) -> bool) -> bool {
    rings.any(|ring| super::all(model, ring).any(&is))
}

/// Whether a transfer uses this piece of registered memory.
pub(super) fn uses_piece(model: &Model, piece: usize) -> bool {
    any(model, 0..2, |op| matches!(op, Op::Transfer(what) if what.piece() == Some(piece)))
}

/// Whether a transfer takes buffers of this group.
pub(super) fn uses_group(model: &Model, ring: usize, group: u16) -> bool {
    let same = |op| matches!(op, Op::Transfer(what) if what.group() == Some(group));
    any(model, ring..ring + 1, same)
}

/// Whether a worker thread may run a request that the next entry is linked to.
pub(super) fn is_behind_worker(model: &Model, ring: usize) -> bool {
    let queued = model.rings[ring].iter().flat_map(|ring| ring.sq.entries());
    let mut before: Vec<_> = queued.collect();
    before.reverse();
    let mut chain = before.into_iter().take_while(|entry| entry.is_linked());
    chain.any(|entry| entry.is_for_worker(&model.kernel))
}

/// Draws a transfer. It is the only request that uses its file, its group, or its piece of memory:
/// otherwise, worker threads could run requests in any order.
pub(super) fn draw(model: &Model, ring: usize, arg: u8, more: u8) -> Op {
    let kernel = &model.kernel;
    let file = SOURCES + usize::from(arg & 1) % FILES;
    let used = any(model, 0..2, |op| op.source() == Some(file)) || model.retired.contains(&file);
    let Some(there) = &model.rings[ring] else { return Op::NOP };
    let size = model.regular[file - SOURCES].bytes.len();
    let at = match more % 50 {
        at @ 0..48 => Some(at),
        // Just before the end.
        48 => Some((size as u8).saturating_sub(3)),
        _ => None,
    };
    let len = 1 + (arg >> 4);
    let way = match arg >> 1 & 7 {
        0 => Way::Read,
        1 | 2 => Way::Write,
        3 if kernel.provided => {
            let group = u16::from(there.groups[0].is_none());
            let inc = group == 1;
            let same = |op| matches!(op, Op::Receive(what) if what.group == group);
            let is_used = any(model, ring..ring + 1, same) || uses_group(model, ring, group);
            // The completion does not tell how much of an incremental buffer a short read has used.
            let is_whole = at.is_some_and(|at| usize::from(at) + BUFFER <= size);
            if is_used || inc && !(is_whole && kernel.file_buf_more) {
                return Op::NOP;
            }
            Way::Provided(group)
        }
        way @ 4.. => {
            let slot = u16::from(more & 3);
            let buffers = there.buffers.as_ref();
            let there = buffers.and_then(|slots| *slots.get(usize::from(slot))?);
            let piece = there.map_or(0, |there| there.piece);
            let same = |op| matches!(op, Op::ReadFixed { piece: at, .. } if at == piece);
            let no_buffer = buffers.is_none() || there.is_none() && more & 0x70 != 0;
            if !kernel.buffers || no_buffer || any(model, 0..2, same) || uses_piece(model, piece) {
                return Op::NOP;
            }
            let vector = kernel.fixed_vectors && way > 5;
            // Few of these exceed the buffer.
            let start = if arg >= 248 { 60 } else { more >> 2 & 31 };
            let parts = match vector {
                true => [(start, len), (40 - start.min(40), 1 + (more >> 6))],
                false => [(start, len), (0, 0)],
            };
            Way::Fixed(Fixed { writes: way & 1 != 0, vector, slot, piece, parts })
        }
        _ => Way::Read,
    };
    if used {
        return Op::NOP;
    }
    let slots = there.slots.as_ref().filter(|_| !super::is_given_a_file(model, ring));
    let is_it = |slot: &u32| {
        let at = slots.and_then(|slots| slots.get(*slot));
        at.is_some_and(|at| at.pipe == file && at.tag == 0)
    };
    let slot = (0..6).find(is_it).filter(|_| more & 4 != 0);
    let len = match way {
        Way::Provided(_) if more & 3 == 0 => 0,
        Way::Fixed(fixed) => fixed.parts[0].1 + fixed.parts[1].1,
        _ => len,
    };
    Op::Transfer(Transfer { file, slot, at, len, way })
}

/// Makes the entry, with the library.
pub(super) fn entry(what: Transfer, user_data: u64, things: &mut dyn Things) -> Entry {
    match what.slot {
        Some(slot) => entry_of(what, Slot(slot), user_data, things),
        None => entry_of(what, Fd(things.pipe(what.file)), user_data, things),
    }
}

fn entry_of(what: Transfer, fd: impl Target, user_data: u64, things: &mut dyn Things) -> Entry {
    let (at, len) = (what.at.map_or(CURRENT_POSITION, u64::from), u32::from(what.len));
    match what.way {
        Way::Read => Read::new(fd, things.buffer(user_data).as_ptr(), len).offset(at).build(),
        Way::Write => {
            let bytes = pattern(user_data, len as usize);
            let buffer = things.buffer(user_data);
            // SAFETY: the buffer has 64 bytes, and no operation uses it yet.
            unsafe { buffer.as_ptr().copy_from(bytes.as_ptr(), bytes.len()) };
            Write::new(fd, buffer.as_ptr(), len).offset(at).build()
        }
        Way::Provided(group) => Read::provided(fd, group, len).offset(at).build(),
        Way::Fixed(Fixed { writes, vector, slot, piece, parts }) => {
            let memory = things.piece(piece).as_ptr();
            let [first, second] = parts.map(|(start, len)| iovec {
                iov_base: memory.wrapping_add(usize::from(start)).cast(),
                iov_len: usize::from(len),
            });
            let start: *mut u8 = first.iov_base.cast();
            match (vector, writes) {
                (false, false) => ReadFixed::new(fd, start, len, slot).offset(at).build(),
                (false, true) => WriteFixed::new(fd, start, len, slot).offset(at).build(),
                (true, false) => {
                    let vector = things.vector(user_data, [first, second]);
                    ReadvFixed::new(fd, vector, 2, slot).offset(at).build()
                }
                (true, true) => {
                    let vector = things.vector(user_data, [first, second]);
                    WritevFixed::new(fd, vector, 2, slot).offset(at).build()
                }
            }
        }
    }
}

/// The Rust expression that makes the entry.
pub(super) fn code(what: Transfer, user_data: u64) -> String {
    let (file, len) = (super::source_code(what.file), what.len);
    let fd = what.slot.map_or(file, |slot| format!("Fixed({slot})"));
    let at = what.at.map_or("CURRENT_POSITION".into(), |at| at.to_string());
    let operation = match what.way {
        Way::Read => format!("Read::new({fd}, buffer(), {len})"),
        Way::Write => {
            let bytes = pattern(user_data, len.into());
            format!("Write::new({fd}, leak({bytes:?}), {len})")
        }
        Way::Provided(group) => format!("Read::provided({fd}, {group}, {len})"),
        Way::Fixed(Fixed { writes, vector, slot, piece, parts }) => {
            let name = if writes { "Write" } else { "Read" };
            let part = |(start, len): (u8, u8)| {
                format!(
                    "iovec {{ iov_base: pieces[{piece}].wrapping_add({start}).cast(), iov_len: {len} }}"
                )
            };
            match vector {
                true => format!(
                    "{name}vFixed::new({fd}, leak([{}, {}]), 2, {slot})",
                    part(parts[0]),
                    part(parts[1])
                ),
                false => format!(
                    "{name}Fixed::new({fd}, pieces[{piece}].wrapping_add({}), {len}, {slot})",
                    parts[0].0
                ),
            }
        }
    };
    format!("opcode::{operation}.offset({at}).build()")
}
