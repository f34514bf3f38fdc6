//! Timeouts: drawn from a few bytes, as entries of the library, and as Rust.

use rustix_uring::opcode::{LinkTimeout, Timeout, TimeoutUpdate};
use rustix_uring::squeue::Entry;
use rustix_uring::types::{TimeoutFlags, Timespec};

use crate::model::operation::{Clock, Op, Time};
use crate::model::{Kernel, Model};

static HOUR: Timespec = Timespec::new().sec(3600);
/// A duration that expires at once. As a point on any clock, it is in the past.
static SOON: Timespec = Timespec::new().nsec(1);
/// As a point on any clock, this is in the future.
static FUTURE: Timespec = Timespec::new().sec(1 << 33);

fn time(kernel: &Kernel, arg: u8, is_soon: bool) -> Time {
    let clock = match arg & 7 {
        0 if kernel.timeout_clocks => Clock::Boot,
        1 if kernel.timeout_clocks => Clock::Real,
        _ => Clock::Monotonic,
    };
    Time { is_soon, is_absolute: arg & 0x18 == 0x18, clock }
}

/// A time that does not come during the test.
pub(super) fn late(kernel: &Kernel, arg: u8) -> Time {
    time(kernel, arg, false)
}

/// Draws a linked timeout after an entry with a link flag, and a timeout otherwise.
pub(super) fn draw(model: &Model, ring: usize, arg: u8, is_soon: bool) -> Op {
    let kernel = &model.kernel;
    let before = model.rings[ring].as_ref().and_then(|ring| ring.sq.entries().last());
    match before {
        Some(before) if before.is_linked() => {
            // If the watched request may end by itself at the same time, the timeout does not
            // expire.
            // (On older kernels, a worker thread reads pipes, and may be cancelled before it does.)
            let races =
                before.is_for_worker(kernel) || before.op.runs_out() || before.op.is_multi();
            Op::LinkTimeout { time: time(kernel, arg, is_soon && !races) }
        }
        _ if arg & 3 == 3 && watching(model, ring).is_some() => update(model, ring, arg, 0),
        // A linked timeout without a request before it, which the kernel rejects.
        _ if arg >= 252 => Op::LinkTimeout { time: time(kernel, arg, true) },
        _ if is_soon => {
            let several = kernel.timeout_multi && arg & 0x60 == 0x60;
            let repeats = several.then_some(1 + (arg & 3));
            let success = kernel.timeout_success && arg & 0x80 != 0;
            // This count is not reached before the time is up.
            let count = if repeats.is_none() && arg & 0x10 != 0 { 200 } else { 0 };
            Op::Timeout { time: time(kernel, arg, true), repeats, success, count }
        }
        _ => {
            let count = [1, 2, 1, 3, 2, 4, 8, 5][usize::from(arg >> 5)];
            Op::Timeout { time: time(kernel, arg, false), repeats: None, success: false, count }
        }
    }
}

/// Whether the next entry could be a timeout linked to a request that may wait.
pub(super) fn may_be_watched(model: &Model, ring: usize) -> bool {
    let before = model.rings[ring].as_ref().and_then(|ring| ring.sq.entries().last());
    before.is_some_and(|before| before.is_linked() && before.op.may_wait())
}

/// The user data of a linked timeout, if one is active.
pub(super) fn watching(model: &Model, ring: usize) -> Option<u64> {
    let waiting = model.rings[ring].iter().flat_map(|ring| &ring.waiting);
    let mut behind = waiting.filter_map(|waiting| waiting.chain.get(1));
    behind.find(|next| matches!(next.op, Op::LinkTimeout { .. })).map(|next| next.user_data)
}

pub(super) fn update(model: &Model, ring: usize, arg: u8, user_data: u64) -> Op {
    let kernel = &model.kernel;
    let before = model.rings[ring].as_ref().and_then(|ring| ring.sq.entries().last());
    let alone = !before.is_some_and(|before| before.is_linked());
    let new = Time { clock: Clock::Monotonic, ..time(kernel, arg, alone && arg & 0x80 != 0) };
    match watching(model, ring) {
        _ if !kernel.timeout_update => Op::NOP,
        // Most updates are for a linked timeout.
        Some(user_data) if kernel.link_timeout_update && arg & 0x60 != 0 => {
            Op::TimeoutUpdate { user_data, time: new, linked: true }
        }
        _ => {
            let linked = kernel.link_timeout_update && arg & 0x60 == 0x60;
            Op::TimeoutUpdate { user_data, time: new, linked }
        }
    }
}

/// The time, its Rust expression, and the flags.
fn parts(time: Time) -> (&'static Timespec, &'static str, TimeoutFlags) {
    let (clock, absolute) = match (time.is_soon, time.is_absolute) {
        (true, absolute) => ((&SOON, "&SOON"), absolute),
        (false, false) => ((&HOUR, "&HOUR"), false),
        (false, true) => ((&FUTURE, "&FUTURE"), true),
    };
    let mut flags = match time.clock {
        Clock::Monotonic => TimeoutFlags::empty(),
        Clock::Boot => TimeoutFlags::BOOTTIME,
        Clock::Real => TimeoutFlags::REALTIME,
    };
    flags.set(TimeoutFlags::ABS, absolute);
    (clock.0, clock.1, flags)
}

fn flags_of(op: Op) -> TimeoutFlags {
    let (time, more) = match op {
        Op::Timeout { time, repeats, success, .. } => {
            let mut more = TimeoutFlags::empty();
            more.set(TimeoutFlags::MULTISHOT, repeats.is_some());
            more.set(TimeoutFlags::ETIME_SUCCESS, success);
            (time, more)
        }
        Op::TimeoutUpdate { time, linked: true, .. } => (time, TimeoutFlags::LINK_TIMEOUT_UPDATE),
        Op::TimeoutUpdate { time, .. } | Op::LinkTimeout { time } => (time, TimeoutFlags::empty()),
        _ => return TimeoutFlags::empty(),
    };
    parts(time).2 | more
}

/// Makes the entry, with the library.
pub(super) fn entry(op: Op) -> Entry {
    let flags = flags_of(op);
    match op {
        Op::Timeout { time, repeats, count, .. } => {
            let timeout = Timeout::new(parts(time).0).flags(flags);
            match repeats.unwrap_or(count) {
                0 => timeout.build(),
                count => timeout.count(count.into()).build(),
            }
        }
        Op::LinkTimeout { time } => LinkTimeout::new(parts(time).0).flags(flags).build(),
        Op::TimeoutUpdate { user_data, time, .. } => {
            TimeoutUpdate::new(user_data, parts(time).0).flags(flags).build()
        }
        _ => unreachable!("this operation is no timeout"),
    }
}

/// The Rust expression that makes the entry.
pub(super) fn code(op: Op) -> String {
    let flags = format!(".flags(TimeoutFlags::from_bits_retain({:#x}))", flags_of(op).bits());
    match op {
        Op::Timeout { time, repeats, count, .. } => {
            let count = match repeats.unwrap_or(count) {
                0 => String::new(),
                count => format!(".count({count})"),
            };
            format!("opcode::Timeout::new({}){count}{flags}.build()", parts(time).1)
        }
        Op::LinkTimeout { time } => {
            format!("opcode::LinkTimeout::new({}){flags}.build()", parts(time).1)
        }
        Op::TimeoutUpdate { user_data, time, .. } => {
            format!("opcode::TimeoutUpdate::new({user_data}, {}){flags}.build()", parts(time).1)
        }
        _ => unreachable!("this operation is no timeout"),
    }
}
