//! Operations: drawn from a few bytes, as entries of the library, and as Rust.

mod clock;
mod regular;

use std::fmt::Write as _;
use std::ptr::NonNull;

use rustix::io_uring::iovec;
use rustix_uring::opcode::*;
use rustix_uring::squeue::{Entry, Entry128, Flags};
use rustix_uring::types::{
    CancelBuilder, DestinationSlot, Fd, Fixed, FixedFdFlags, MsgFlags, MsgRingFlags, PollFlags,
};

use crate::model::cqueue::{F_32, F_SKIP, Size};
use crate::model::files::File;
use crate::model::operation::{self as flag, By, Criteria, Op, Receive};
use crate::model::setup::flag::IOPOLL;
use crate::model::{Kernel, MESSAGES, Model, PIPES, SOURCES, STREAM};
use crate::step::Raw;

/// User data that no operation has.
const NOBODY: u64 = 0xdead;

/// Draws the operation of a step, and the flags of its entry.
pub(crate) fn draw(model: &Model, ring: usize, raw: Raw, user_data: u64) -> (Op, u8) {
    let kernel = &model.kernel;
    let arg = usize::from(raw.arg);
    let pipe = arg % PIPES;
    let op = match raw.op {
        op if op & 1 == 0 && clock::may_be_watched(model, ring) => {
            clock::draw(model, ring, raw.arg, op & 2 == 0)
        }
        op if op % 8 == 1 && clock::watching(model, ring).is_some() => {
            clock::update(model, ring, raw.arg, NOBODY)
        }
        // If files or buffers are registered, some operations must use them.
        0..16 if has_files(model, ring) => move_file(model, ring, raw.arg, user_data),
        16..24 if has_buffers(model, ring) => read_fixed(model, ring, raw.arg),
        24..32 if has_buffers(model, ring) => regular::draw(model, ring, raw.arg | 8, raw.flags),
        8..48 => regular::draw(model, ring, raw.arg, raw.flags),
        0..8 => Op::NOP,
        48..66 => clock::draw(model, ring, raw.arg, raw.op < 57),
        66..90 if kernel.provided => receive(kernel, model, ring, raw.arg),
        66..90 => Op::NOP,
        90..102 => nop(kernel, raw.arg, user_data),
        102..106 => Op::NoSuchOpcode,
        106..109 => Op::Ioprio,
        109..113 => Op::ReadNothing,
        113..133 => poll(kernel, model, pipe, raw.arg & 0x40 != 0),
        133..155 => read(model, pipe, 1 + (raw.arg as u32 / 8) % 20),
        155..158 => {
            let time = clock::late(kernel, raw.arg);
            Op::Timeout { time, repeats: None, success: false, count: 0 }
        }
        158..161 => clock::update(model, ring, raw.arg, target(model, ring, arg)),
        161..163 => poll_update(model, ring, raw.arg, target(model, ring, arg), user_data),
        163..180 => Op::Cancel { user_data: target(model, ring, arg) },
        180..188 if kernel.cancel_any => Op::CancelAny { by: criteria(model, ring, raw.arg) },
        188..194 => Op::PollRemove { user_data: target(model, ring, arg) },
        194..200 => Op::TimeoutRemove { user_data: target(model, ring, arg) },
        200..232 if kernel.messages => message(kernel, model, ring, raw.arg, user_data),
        232..235 => Op::CloseSlot { slot: slot(raw.arg) },
        235..238 => move_file(model, ring, raw.arg, user_data),
        238..241 => {
            let slot = slot(raw.arg);
            let at = model.rings[ring].as_ref().and_then(|it| it.slots.as_ref()?.get(slot));
            // A pipe has one reader at a time, see [`poll`]. A file with a tag is not read, because
            // the read would hold it and delay the tag.
            match at {
                Some(File { tag: 1.., .. }) => Op::NOP,
                // Transfers use the regular files.
                Some(File { pipe: SOURCES.., .. }) => Op::NOP,
                Some(File { pipe, .. }) if is_read(model, pipe) || is_polled(model, pipe) => {
                    Op::NOP
                }
                _ if is_given_a_file(model, ring) => Op::NOP,
                _ => Op::ReadSlot { slot, len: 5 },
            }
        }
        241..244 if kernel.buffers => read_fixed(model, ring, raw.arg),
        244.. if kernel.provided => receive(kernel, model, ring, raw.arg),
        _ => Op::NOP,
    };
    // A worker thread goes on with the chain of a request that it has run, and blocks where the task
    // would wait.
    let op = if op.may_wait() && regular::is_behind_worker(model, ring) { Op::NOP } else { op };
    let drains = flag::DRAIN;
    // The kernel posts the extra bytes of a silent 32-byte completion in another completion.
    let stale = matches!(op, Op::Nop { big: Some(_), .. }) && kernel.known.has("silent_big");
    let flags = match raw.flags {
        0..144 => 0,
        144..186 => flag::LINK,
        186..204 => flag::HARDLINK,
        204..222 if kernel.cqe_skip => flag::SKIP,
        222..232 if kernel.cqe_skip => flag::SKIP | flag::LINK,
        232..236 if kernel.cqe_skip => flag::SKIP | flag::HARDLINK,
        236..242 => drains,
        242..245 => drains | flag::LINK,
        245..248 => flag::UNKNOWN,
        248..251 => flag::BUFFER_SELECT,
        251 => flag::LINK | flag::HARDLINK,
        252.. if matches!(op, Op::Nop { .. }) => flag::ASYNC,
        _ => 0,
    };
    // An entry that uses memory or makes a descriptor is not silent: without a completion, the test
    // would not know when the memory is free, nor the number of the descriptor.
    let uses_memory = matches!(
        op,
        Op::Read { .. }
            | Op::ReadSlot { .. }
            | Op::ReadNothing
            | Op::ReadFixed { .. }
            | Op::Transfer(_)
            | Op::Install { .. }
    );
    // A later drain would wait for its completion forever.
    let uncounted = op == Op::NoSuchOpcode && kernel.known.has("uncounted");
    // The test could not tell when such a timeout has expired: it would post nothing.
    let expires = matches!(op, Op::Timeout { time, success: true, .. } if time.is_soon);
    let flags = if stale || uncounted || expires { flags & !flag::SKIP } else { flags };
    let flags = if uses_memory { flags & !flag::SKIP & !flag::BUFFER_SELECT } else { flags };
    let flags = match op {
        Op::Receive(_) => flag::BUFFER_SELECT,
        Op::Transfer(what) if what.group().is_some() => flags | flag::BUFFER_SELECT,
        _ => flags,
    };
    (op, flags)
}

fn nop(kernel: &Kernel, arg: u8, user_data: u64) -> Op {
    let result = (kernel.nop_result && arg & 1 != 0).then_some(if arg & 2 != 0 { -5 } else { 77 });
    let big = (kernel.nop_big && arg & 4 != 0).then_some([user_data * 3, 7]);
    Op::Nop { result, big, task_work: kernel.nop_task_work && arg & 8 != 0 }
}

/// Draws a poll. A pipe has either one reader or polls: otherwise, the order in which they run
/// would be open.
fn poll(kernel: &Kernel, model: &Model, pipe: usize, multi: bool) -> Op {
    match is_read(model, pipe) {
        true => Op::NOP,
        false => Op::Poll { pipe, multi: multi && kernel.poll_multi, input: true },
    }
}

/// Draws a poll update. Only a poll that posts when it ends gets new user data.
fn poll_update(model: &Model, ring: usize, arg: u8, user_data: u64, new: u64) -> Op {
    if !model.kernel.poll_update {
        return Op::NOP;
    }
    let in_flight = model.rings[ring].iter().flat_map(|ring| ring.in_flight());
    let silent = in_flight.filter(|entry| entry.is_silent()).any(|it| it.user_data == user_data);
    let input = match arg & 3 {
        0 => Some(false),
        3 => None,
        _ => Some(true),
    };
    let renames = input.is_none() || arg & 4 != 0;
    let new_user_data = (renames && !silent).then_some(new | 1 << 40);
    if input.is_none() && new_user_data.is_none() {
        return Op::PollRemove { user_data };
    }
    Op::PollUpdate { user_data, input, new_user_data }
}

fn read(model: &Model, pipe: usize, len: u32) -> Op {
    match is_read(model, pipe) || is_polled(model, pipe) {
        true => Op::NOP,
        false => Op::Read { pipe, len },
    }
}

fn has_files(model: &Model, ring: usize) -> bool {
    model.rings[ring].as_ref().is_some_and(|ring| ring.slots.is_some())
}

fn has_buffers(model: &Model, ring: usize) -> bool {
    model.kernel.buffers && model.rings[ring].as_ref().is_some_and(|ring| ring.buffers.is_some())
}

/// Draws a read into a registered buffer. Most of these reads name the buffer that is in the slot
/// now.
fn read_fixed(model: &Model, ring: usize, arg: u8) -> Op {
    let (pipe, slot) = (usize::from(arg) % PIPES, u16::from(arg >> 2 & 3));
    let slots = model.rings[ring].as_ref().and_then(|ring| ring.buffers.as_ref());
    let there = slots.and_then(|slots| *slots.get(usize::from(slot))?);
    let piece = there.map_or(0, |there| there.piece);
    let (at, len) = if arg >= 250 { (60, 5) } else { (arg >> 4 << 2, 1 + arg % 4) };
    let used = is_read(model, pipe) || is_polled(model, pipe) || regular::uses_piece(model, piece);
    if there.is_none() && arg & 0x30 != 0 || used {
        return Op::NOP;
    }
    Op::ReadFixed { pipe, slot, piece, at, len, held: false }
}

/// Draws a receive from any kind of source. The indexes of the sockets follow those of the pipes.
fn receive(kernel: &Kernel, model: &Model, ring: usize, arg: u8) -> Op {
    let has = |group: u16| {
        model.rings[ring].as_ref().is_some_and(|it| it.groups[usize::from(group)].is_some())
    };
    let group = u16::from(arg & 1);
    let group = if has(1 - group) && !has(group) { 1 - group } else { group };
    let there =
        model.rings[ring].as_ref().is_some_and(|it| it.groups[usize::from(group)].is_some());
    let used = regular::uses_group(model, ring, group);
    if used || !there && arg < 240 || group == 1 && !kernel.incremental {
        return Op::NOP;
    }
    let (pipe, stream, messages) = (usize::from(arg >> 4) % PIPES, STREAM, MESSAGES);
    let plain =
        Receive { source: pipe, group, by: By::Read, len: 0, multi: false, tells_length: false };
    // How many buffers a bundle fills at once depends on what an earlier one has left in the kernel's
    // cache. So this draws one bundle for each ring.
    let fresh = model.rings[ring].as_ref().is_some_and(|it| !it.reuses_messages);
    // In an incremental group, the result must tell how many bytes were put into the buffer.
    let tells_length = arg & 0x80 != 0 && group == 0;
    let what = match arg >> 1 & 7 {
        0 => plain,
        1 => Receive { multi: true, ..plain },
        2 => Receive { len: 5, ..plain },
        3 => Receive { source: stream, by: By::Recv, len: u32::from(arg >> 4 & 8), ..plain },
        4 => Receive { source: stream, by: By::Recv, multi: true, ..plain },
        5 if group == 0 && fresh => Receive { source: stream, by: By::Bundle, ..plain },
        6 => Receive { source: messages, by: By::Recv, tells_length, ..plain },
        _ => Receive { source: messages, by: By::Recv, multi: true, tells_length, ..plain },
    };
    // At the end of the data, kernels differ in what they report about a buffer that is not full.
    let end = group == 1 && what.by == By::Read && model.pipes[what.source].hung_up;
    match end || is_read(model, what.source) || is_polled(model, what.source) {
        true => Op::NOP,
        false => Op::Receive(what),
    }
}

/// The operations that are queued or in flight on a ring.
fn operations(model: &Model, ring: usize) -> impl Iterator<Item = (u64, Op)> {
    let ring = model.rings[ring].as_ref();
    ring.into_iter().flat_map(|ring| {
        let queued = ring.sq.entries();
        let waiting = ring.waiting.iter().flat_map(|waiting| &waiting.chain);
        let drained = ring.drained.iter().flat_map(|drained| &drained.chain);
        let work = ring.work.iter().flat_map(|work| work.chain());
        queued.chain(waiting).chain(drained).chain(work).map(|entry| (entry.user_data, entry.op))
    })
}

/// The operations of a ring, without their user data.
pub(crate) fn all(model: &Model, ring: usize) -> impl Iterator<Item = Op> {
    operations(model, ring).map(|(_, op)| op)
}

fn is_read(model: &Model, pipe: usize) -> bool {
    (0..2).flat_map(|ring| operations(model, ring).map(move |op| (ring, op))).any(
        |(ring, (_, op))| match op {
            Op::Read { .. } | Op::Receive(_) | Op::ReadFixed { .. } => op.source() == Some(pipe),
            Op::ReadSlot { slot, .. } => {
                let slots = model.rings[ring].as_ref().and_then(|ring| ring.slots.as_ref());
                slots.is_none_or(|slots| slots.get(slot).is_some_and(|at| at.pipe == pipe))
            }
            _ => false,
        },
    ) || model.retired.contains(&pipe)
}

fn is_polled(model: &Model, pipe: usize) -> bool {
    (0..2)
        .flat_map(|ring| operations(model, ring))
        .any(|(_, op)| matches!(op, Op::Poll { pipe: at, .. } if at == pipe))
}

/// Whether a request is going to read the file in a slot, and may not have looked it up yet.
pub(crate) fn is_to_read(model: &Model, ring: usize, slot: u32) -> bool {
    operations(model, ring).any(|(_, op)| match op {
        Op::ReadSlot { slot: at, .. } => at == slot,
        Op::Transfer(what) => what.slot == Some(slot),
        _ => false,
    })
}

/// Whether a request is going to send a message to this ring. Such a request names the descriptor
/// of the ring.
pub(crate) fn is_sent_to(model: &Model, ring: usize) -> bool {
    (0..2)
        .flat_map(|from| operations(model, from))
        .any(|(_, op)| matches!(op, Op::Message { ring: to, .. } | Op::SendFile { ring: to, .. } if to == ring))
}

/// Whether a request is going to put a file into a slot of this ring.
fn is_given_a_file(model: &Model, ring: usize) -> bool {
    (0..2)
        .flat_map(|from| operations(model, from))
        .any(|(_, op)| matches!(op, Op::SendFile { ring: to, .. } if to == ring))
}

/// Whether a request of this ring is going to read the file in a slot.
pub(crate) fn reads_slots(model: &Model, ring: usize) -> bool {
    all(model, ring).any(|op| match op {
        Op::ReadSlot { .. } => true,
        Op::Transfer(what) => what.slot.is_some(),
        _ => false,
    })
}

/// Draws an operation that makes a descriptor for the file in a slot, or sends the file to a slot
/// of the other ring.
fn move_file(model: &Model, ring: usize, arg: u8, user_data: u64) -> Op {
    let to = if arg & 0xf0 == 0xf0 { ring } else { 1 - ring };
    let there = model.rings[to].as_ref();
    let there = there.is_some_and(|to| {
        to.built.descriptor && !to.built.local && !to.defers && to.built.flags & IOPOLL == 0
    });
    // Most of these operations name a slot that is not empty.
    let slots = model.rings[ring].as_ref().and_then(|ring| ring.slots.as_ref());
    let wanted = u32::from(arg >> 4) % 6;
    let full = |at: &u32| slots.is_some_and(|slots| slots.get(*at).is_some());
    let slot = (wanted..6).chain(0..wanted).find(full).unwrap_or(wanted);
    match arg & 3 {
        0 if model.kernel.installs => Op::Install { slot, keeps_on_exec: arg & 4 != 0 },
        1.. if there && model.kernel.clones && !reads_slots(model, to) => Op::SendFile {
            ring: to,
            slot,
            to: (arg & 3 == 3).then_some(u32::from(arg >> 2) % 7),
            user_data: user_data | 1 << 32,
            skip: arg & 0x30 == 0x30,
        },
        _ => Op::NOP,
    }
}

/// The user data of a request that may be in flight, or of none.
fn target(model: &Model, ring: usize, k: usize) -> u64 {
    let n = operations(model, ring).count();
    match n {
        0 => NOBODY,
        _ if k % 5 == 4 => NOBODY,
        _ => operations(model, ring).nth(k / 5 % n).map_or(NOBODY, |(user_data, _)| user_data),
    }
}

pub(crate) fn criteria(model: &Model, ring: usize, arg: u8) -> Criteria {
    let pipe = usize::from(arg / 8) % model.pipes.len();
    let user_data = target(model, ring, usize::from(arg / 4));
    let forms = if model.kernel.cancel_both { 6 } else { 4 };
    match arg % forms {
        0 => Criteria { user_data: None, pipe: None, all: true },
        1 => Criteria { user_data: Some(user_data), pipe: None, all: true },
        2 => Criteria { user_data: Some(user_data), pipe: None, all: false },
        3 => Criteria { user_data: None, pipe: Some(pipe), all: true },
        // No case cancels a single request by its file alone: the kernel would choose one of
        // several.
        4 => Criteria { user_data: Some(user_data), pipe: Some(pipe), all: false },
        _ => Criteria { user_data: Some(user_data), pipe: Some(pipe), all: true },
    }
}

fn message(kernel: &Kernel, model: &Model, ring: usize, arg: u8, user_data: u64) -> Op {
    let to = if arg & 7 == 7 { ring } else { 1 - ring };
    message_to(model, to, arg, user_data).filter(|_| kernel.messages).unwrap_or(Op::NOP)
}

pub(crate) fn message_to(model: &Model, to: usize, arg: u8, user_data: u64) -> Option<Op> {
    let kernel = &model.kernel;
    let there = model.rings[to]
        .as_ref()
        .is_some_and(|to| to.built.descriptor && !to.built.local && to.built.flags & IOPOLL == 0);
    if !there {
        return None;
    }
    let mixed = model.rings[to].as_ref().is_some_and(|to| to.cq.size == Size::Mixed);
    // If the order is not specified, filler may be in other slots.
    let ordered = model.rings.iter().flatten().all(|ring| !ring.workers && !ring.unordered)
        && model.rings[to].as_ref().is_some_and(|to| !to.defers);
    let no_32 = !mixed && kernel.known.has("message_32");
    let flags = match arg >> 3 & 7 {
        5 | 6 if no_32 => None,
        6.. if mixed && !ordered => None,
        _ if !kernel.message_flags => None,
        0..4 => None,
        4 => Some(0),
        5 => Some(F_32),
        6 => Some(F_32 | F_SKIP),
        _ => Some(F_SKIP),
    };
    let user_data = user_data | 1 << 32;
    Some(Op::Message { ring: to, user_data, result: 5, flags, skip: arg >= 250 })
}

fn slot(arg: u8) -> u32 {
    match arg {
        240..248 => u32::MAX,
        248..252 => u32::MAX - 1,
        252.. => i32::MAX as u32,
        _ => u32::from(arg % 7),
    }
}

/// The objects that entries refer to.
pub(crate) trait Things {
    /// The reading end of a pipe.
    fn pipe(&self, pipe: usize) -> i32;
    /// The descriptor of a ring.
    fn ring(&self, ring: usize) -> i32;
    /// 64 bytes for an operation to write to.
    fn buffer(&mut self, user_data: u64) -> NonNull<u8>;
    /// A copy of two ranges, which lives as long as the objects.
    fn vector(&mut self, user_data: u64, ranges: [iovec; 2]) -> *const iovec;
    /// Memory that may be registered.
    fn piece(&self, piece: usize) -> NonNull<u8>;
}

fn cancel_builder(by: Criteria, things: &dyn Things) -> CancelBuilder {
    let builder = match (by.user_data, by.pipe) {
        (None, None) => CancelBuilder::any(),
        (Some(user_data), None) => CancelBuilder::user_data(user_data),
        (None, Some(pipe)) => CancelBuilder::fd(Fd(things.pipe(pipe))),
        (Some(user_data), Some(pipe)) => {
            CancelBuilder::fd(Fd(things.pipe(pipe))).and_user_data(user_data)
        }
    };
    if by.all && (by.user_data.is_some() || by.pipe.is_some()) { builder.all() } else { builder }
}

/// The criteria of a cancellation by a call.
pub(crate) fn cancels(by: Criteria, things: &dyn Things) -> CancelBuilder {
    cancel_builder(by, things)
}

/// Makes the entry, with the library.
pub(crate) fn entry(op: Op, flags: u8, user_data: u64, things: &mut dyn Things) -> Entry {
    let entry = match op {
        Op::Nop { result, big, task_work } => {
            let mut nop = Nop::new();
            if let Some(result) = result {
                nop = nop.result(result);
            }
            if let Some(big) = big {
                nop = nop.big_cqe(big);
            }
            if task_work {
                nop = nop.task_work(true);
            }
            nop.build()
        }
        Op::NoSuchOpcode => {
            let mut raw = Nop::new().build().into_raw();
            raw.opcode = 200;
            Entry::from_raw(raw)
        }
        Op::Ioprio => {
            let mut raw = Nop::new().build().into_raw();
            raw.ioprio = 1;
            Entry::from_raw(raw)
        }
        Op::ReadNothing => Read::new(Fd(-1), things.buffer(user_data).as_ptr(), 1).build(),
        Op::Poll { pipe, multi, .. } => {
            let poll = PollAdd::new(Fd(things.pipe(pipe)), PollFlags::IN);
            if multi { poll.multi(true).build() } else { poll.build() }
        }
        Op::Read { pipe, len } => {
            Read::new(Fd(things.pipe(pipe)), things.buffer(user_data).as_ptr(), len).build()
        }
        Op::ReadSlot { slot, len } => {
            Read::new(Fixed(slot), things.buffer(user_data).as_ptr(), len).build()
        }
        Op::Receive(what) => received(what, things.pipe(what.source)),
        Op::ReadFixed { pipe, slot, piece, at, len, .. } => {
            let start = things.piece(piece).as_ptr().wrapping_add(usize::from(at));
            ReadFixed::new(Fd(things.pipe(pipe)), start, u32::from(len), slot).build()
        }
        Op::Transfer(what) => regular::entry(what, user_data, things),
        Op::Timeout { .. } | Op::LinkTimeout { .. } | Op::TimeoutUpdate { .. } => clock::entry(op),
        Op::Cancel { user_data } => AsyncCancel::new(user_data).build(),
        Op::CancelAny { by } => AsyncCancel2::new(cancel_builder(by, things)).build(),
        Op::PollRemove { user_data } => PollRemove::new(user_data).build(),
        Op::PollUpdate { user_data, input, new_user_data } => {
            let mut update = PollUpdate::new(user_data);
            if let Some(input) = input {
                update = update.events(if input { PollFlags::IN } else { PollFlags::OUT });
            }
            if let Some(new) = new_user_data {
                update = update.new_user_data(new);
            }
            update.build()
        }
        Op::TimeoutRemove { user_data } => TimeoutRemove::new(user_data).build(),
        Op::Message { ring, user_data, result, flags, skip } => {
            let message = MsgRingData::new(Fd(things.ring(ring)), result, user_data, flags);
            if skip {
                message.opcode_flags(MsgRingFlags::CQE_SKIP).build()
            } else {
                message.build()
            }
        }
        Op::CloseSlot { slot } => Close::new(Fixed(slot)).build(),
        Op::Install { slot, keeps_on_exec } => {
            let mut flags = FixedFdFlags::empty();
            flags.set(FixedFdFlags::NO_CLOEXEC, keeps_on_exec);
            FixedFdInstall::new(Fixed(slot), flags).build()
        }
        Op::SendFile { ring, slot, to, user_data, skip } => {
            let to = to.map_or(DestinationSlot::auto_target(), |to| {
                DestinationSlot::try_from_slot_target(to).expect("the slot number is out of range")
            });
            let send = MsgRingSendFd::new(Fd(things.ring(ring)), Fixed(slot), to, user_data);
            if skip { send.opcode_flags(MsgRingFlags::CQE_SKIP).build() } else { send.build() }
        }
    };
    let flags = entry.get_flags() | Flags::from_bits_retain(flags);
    entry.flags(flags).user_data(user_data)
}

fn received(what: Receive, source: i32) -> Entry {
    let (fd, group, null) = (Fd(source), what.group, std::ptr::null_mut());
    let flags = if what.tells_length { MsgFlags::TRUNC } else { MsgFlags::empty() };
    match (what.by, what.multi) {
        (By::Read, false) => Read::new(fd, null, what.len).buf_group(group).build(),
        (By::Read, true) => ReadMulti::new(fd, 0, group).build(),
        (By::Recv, false) => Recv::new(fd, null, what.len).buf_group(group).flags(flags).build(),
        (By::Recv, true) => RecvMulti::new(fd, group).flags(flags).build(),
        (By::Bundle, _) => RecvBundle::new(fd, group).build(),
    }
}

fn receive_code(what: Receive) -> String {
    let Receive { source, group, len, .. } = what;
    let flags = if what.tells_length { ".flags(MsgFlags::TRUNC)" } else { "" };
    let null = "std::ptr::null_mut()";
    match (what.by, what.multi) {
        (By::Read, false) => {
            format!(
                "opcode::Read::new(&pipes[{source}].0, {null}, {len}).buf_group({group}).build()"
            )
        }
        (By::Read, true) => {
            format!("opcode::ReadMulti::new(&pipes[{source}].0, 0, {group}).build()")
        }
        (By::Recv, false) => {
            format!(
                "opcode::Recv::new(&pipes[{source}].0, {null}, {len}).buf_group({group}){flags}.build()"
            )
        }
        (By::Recv, true) => {
            format!("opcode::RecvMulti::new(&pipes[{source}].0, {group}){flags}.build()")
        }
        (By::Bundle, _) => format!("opcode::RecvBundle::new(&pipes[{source}].0, {group}).build()"),
    }
}

/// A NOP of 128 bytes.
pub(crate) fn nop128(op: Op, flags: u8, user_data: u64) -> Entry128 {
    let Op::Nop { result, big, task_work } = op else {
        unreachable!("only NOPs have 128-byte entries")
    };
    let mut nop = Nop::new();
    if let Some(result) = result {
        nop = nop.result(result);
    }
    if let Some(big) = big {
        nop = nop.big_cqe(big);
    }
    if task_work {
        nop = nop.task_work(true);
    }
    Nop128::from(nop).build().flags(Flags::from_bits_retain(flags)).user_data(user_data)
}

/// The Rust expression that makes the entry.
pub(crate) fn code(op: Op, flags: u8, user_data: u64) -> String {
    let mut code = match op {
        Op::Nop { result, big, task_work } => {
            let mut code = "opcode::Nop::new()".to_string();
            if let Some(result) = result {
                let _ = write!(code, ".result({result})");
            }
            if let Some(big) = big {
                let _ = write!(code, ".big_cqe({big:?})");
            }
            if task_work {
                code.push_str(".task_work(true)");
            }
            code + ".build()"
        }
        Op::NoSuchOpcode => {
            "Entry::from_raw(Sqe { opcode: 200, ..opcode::Nop::new().build().into_raw() })".into()
        }
        Op::Ioprio => {
            "Entry::from_raw(Sqe { ioprio: 1, ..opcode::Nop::new().build().into_raw() })".into()
        }
        Op::ReadNothing => "opcode::Read::new(Fd(-1), buffer(), 1).build()".into(),
        Op::Poll { pipe, multi, .. } => {
            format!("opcode::PollAdd::new(&pipes[{pipe}].0, PollFlags::IN).multi({multi}).build()")
        }
        Op::Read { pipe, len } => {
            format!("opcode::Read::new(&pipes[{pipe}].0, buffer(), {len}).build()")
        }
        Op::ReadSlot { slot, len } => {
            format!("opcode::Read::new(Fixed({slot}), buffer(), {len}).build()")
        }
        Op::Receive(what) => receive_code(what),
        Op::ReadFixed { pipe, slot, piece, at, len, .. } => format!(
            "opcode::ReadFixed::new(&pipes[{pipe}].0, pieces[{piece}].wrapping_add({at}), {len}, {slot}).build()"
        ),
        Op::Transfer(what) => regular::code(what, user_data),
        Op::Timeout { .. } | Op::LinkTimeout { .. } | Op::TimeoutUpdate { .. } => clock::code(op),
        Op::Cancel { user_data } => format!("opcode::AsyncCancel::new({user_data}).build()"),
        Op::CancelAny { by } => format!("opcode::AsyncCancel2::new({}).build()", criteria_code(by)),
        Op::PollRemove { user_data } => format!("opcode::PollRemove::new({user_data}).build()"),
        Op::PollUpdate { user_data, input, new_user_data } => {
            let events = match input {
                Some(input) => format!(".events(PollFlags::{})", if input { "IN" } else { "OUT" }),
                None => String::new(),
            };
            let new = new_user_data.map_or(String::new(), |new| format!(".new_user_data({new})"));
            format!("opcode::PollUpdate::new({user_data}){events}{new}.build()")
        }
        Op::TimeoutRemove { user_data } => {
            format!("opcode::TimeoutRemove::new({user_data}).build()")
        }
        Op::Message { ring, user_data, result, flags, skip } => {
            let skip = if skip { ".opcode_flags(MsgRingFlags::CQE_SKIP)" } else { "" };
            format!(
                "opcode::MsgRingData::new(Fd({}_fd), {result}, {user_data}, {flags:?}){skip}.build()",
                name(ring)
            )
        }
        Op::CloseSlot { slot } => format!("opcode::Close::new(Fixed({slot})).build()"),
        Op::Install { slot, keeps_on_exec } => {
            let flags = if keeps_on_exec { "NO_CLOEXEC" } else { "empty()" };
            format!("opcode::FixedFdInstall::new(Fixed({slot}), FixedFdFlags::{flags}).build()")
        }
        Op::SendFile { ring, slot, to, user_data, skip } => {
            let to = to.map_or("auto_target()".into(), |to| {
                format!("try_from_slot_target({to}).unwrap()")
            });
            let skip = if skip { ".opcode_flags(MsgRingFlags::CQE_SKIP)" } else { "" };
            format!(
                "opcode::MsgRingSendFd::new(Fd({}_fd), Fixed({slot}), DestinationSlot::{to}, {user_data}){skip}.build()",
                name(ring)
            )
        }
    };
    if flags != 0 {
        // These flags are added to those that the builder sets.
        let _ = write!(code, ".flags(Flags::from_bits_retain({flags:#x}))");
    }
    let _ = write!(code, ".user_data({user_data})");
    code
}

pub(crate) fn criteria_code(by: Criteria) -> String {
    let all = if by.all && (by.user_data.is_some() || by.pipe.is_some()) { ".all()" } else { "" };
    match (by.user_data, by.pipe) {
        (None, None) => "CancelBuilder::any()".into(),
        (Some(user_data), None) => format!("CancelBuilder::user_data({user_data}){all}"),
        (None, Some(pipe)) => format!("CancelBuilder::fd(&pipes[{pipe}].0){all}"),
        (Some(user_data), Some(pipe)) => {
            format!("CancelBuilder::fd(&pipes[{pipe}].0).and_user_data({user_data}){all}")
        }
    }
}

/// The reading end of a pipe or socket, or a file, in a printed program.
pub(crate) fn source_code(source: usize) -> String {
    match source {
        SOURCES.. => format!("&files[{}]", source - SOURCES),
        _ => format!("&pipes[{source}].0"),
    }
}

/// The name of a ring in a printed program.
pub(crate) fn name(ring: usize) -> &'static str {
    ["ring", "other"][ring]
}
