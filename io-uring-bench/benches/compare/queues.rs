//! Pushing and reaping without the kernel.

use std::hint::black_box;
use std::os::fd::RawFd;
use std::ptr::null_mut;

use anyhow::{Context, ensure};

use crate::mock::Mock;
use crate::peer::{
    Column, FLOOR, Floor, Lasting, Named, Nop, OURS, OURS_IN_BULK, OursInBulk, Peer, Push, Read,
    Sample, Send, Setup, Timeout, each_peer,
};
use crate::row::{Figures, Made, Row, Run};

/// Small enough for the entries to stay in the first-level cache.
const ENTRIES: u32 = 128;
const BATCH: u32 = 128;
/// A plausible descriptor number. Nothing is submitted.
const FD: RawFd = 3;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    macro_rules! push_rows {
        ($($Op:ident)*) => { $(
            let mut push_row = |how, make: fn() -> Vec<(Column, Made)>| {
                rows.push(row(format!("push/{}/{how}", $Op::NAME), make));
            };
            push_row("in a batch", || {
                let bulk = push_case::<OursInBulk>(batch::<OursInBulk, $Op>);
                with_bulk(each_peer!(P => push_case::<P>(batch::<P, $Op>)), bulk)
            });
            push_row("one per call", || each_peer!(P => push_case::<P>(calls::<P, $Op>)));
            push_row("built behind a call", || {
                each_peer!(P => push_case::<P>(behind_calls::<P, $Op>))
            });
            push_row("returned by a call", || {
                vec![
                    (FLOOR, push_case::<Floor>(behind_calls::<Floor, $Op>)),
                    (OURS, push_case::<OursInBulk>(behind_calls::<OursInBulk, $Op>)),
                ]
            });
        )* };
    }
    rows.push(row("push/nothing/one per call".into(), || vec![(FLOOR, Ok(nothing()))]));
    push_rows!(Nop Read Send Timeout);
    rows.push(row("reap".into(), || {
        with_bulk(
            each_peer!(P => reap_case::<P>(reap::<P>)),
            reap_case::<OursInBulk>(reap::<OursInBulk>),
        )
    }));
    rows.push(row("reap/one per view".into(), || each_peer!(P => reap_case::<P>(reap_each::<P>))));
    rows
}

fn row(name: String, make: fn() -> Vec<(Column, Made)>) -> Row {
    Row {
        name,
        ops: BATCH.into(),
        figures: Figures::CountsAndTimes,
        polled: false,
        make: Box::new(make),
    }
}

/// Inserts the bulk variant of our crate next to the first one.
pub(crate) fn with_bulk(mut columns: Vec<(Column, Made)>, bulk: Made) -> Vec<(Column, Made)> {
    columns.insert(2, (OURS_IN_BULK, bulk));
    columns
}

/// A function that pushes a batch.
type Pushes<P> = fn(&mut <P as Peer>::Ring, u64, RawFd, Lasting);

fn push_case<P: Named>(push: Pushes<P>) -> Made {
    let mut ring = P::ring(&Setup::PLAIN, ENTRIES)?;
    let kernel = Mock::kernel(P::fd(&ring), ENTRIES).map_err(|error| error.to_string())?;
    let buf = Lasting::page();
    Ok(Box::new(move || {
        push(&mut ring, black_box(BATCH.into()), black_box(FD), black_box(buf));
        kernel.take(BATCH);
    }))
}

/// The caller holds the view, as in event loops: its fields are behind a reference.
fn batch<P: Push<O>, O: Sample>(ring: &mut P::Ring, n: u64, fd: RawFd, buf: Lasting) {
    #[inline(never)]
    fn push<P: Push<O>, O: Sample>(queue: &mut P::Queue<'_>, n: u64, fd: RawFd, buf: Lasting) {
        P::push_each(queue, n, |i| O::sample(fd, buf, i));
    }
    push::<P, O>(&mut P::queue(ring), n, fd, buf);
}

/// Each push uses a new view.
#[inline(never)]
fn calls<P: Push<O>, O: Sample>(ring: &mut P::Ring, n: u64, fd: RawFd, buf: Lasting) {
    #[inline(never)]
    fn push<P: Push<O>, O: Sample>(ring: &mut P::Ring, fd: RawFd, buf: *mut u8, len: u32, i: u64) {
        let op = O::sample(fd, Lasting { start: buf, len }, i);
        P::push(&mut P::queue(ring), op, i);
    }
    for i in 0..n {
        push::<P, O>(ring, fd, buf.start, buf.len, i);
    }
}

/// The cost of the loop and the call in the rows with one push per call.
fn nothing() -> Run {
    type Push = fn(*mut (), RawFd, *mut u8, u32, u64);
    fn push(_: *mut (), _: RawFd, _: *mut u8, _: u32, _: u64) {}

    #[inline(never)]
    fn calls(push: Push, ring: *mut (), n: u64, fd: RawFd, buf: Lasting) {
        for i in 0..n {
            push(ring, fd, buf.start, buf.len, i);
        }
    }
    let buf = Lasting::page();
    Box::new(move || calls(black_box(push), null_mut(), black_box(BATCH.into()), FD, buf))
}

/// The caller holds the view, and another function builds the entries.
fn behind_calls<P: Push<O>, O: Sample>(ring: &mut P::Ring, n: u64, fd: RawFd, buf: Lasting) {
    #[inline(never)]
    fn push<P: Push<O>, O: Sample>(queue: &mut P::Queue<'_>, n: u64, fd: RawFd, buf: Lasting) {
        for i in 0..n {
            P::push_behind_call(queue, fd, buf, i);
        }
    }
    push::<P, O>(&mut P::queue(ring), n, fd, buf);
}

/// A function that reaps everything that is available.
type Reaps<P> = fn(&mut <P as Peer>::Ring) -> u64;

fn reap_case<P: Named>(reap: Reaps<P>) -> Made {
    let mut ring = P::ring(&Setup::PLAIN, ENTRIES)?;
    let kernel = Mock::kernel(P::fd(&ring), ENTRIES).map_err(|error| error.to_string())?;
    kernel.post(BATCH);
    let (mut n, mut sum) = (0, 0);
    P::reap(&mut ring, |user_data, _| (n, sum) = (n + 1, sum + user_data));
    if (n, sum) != (BATCH, u64::from(BATCH * (BATCH - 1) / 2)) {
        return Err(format!("reaped {n} completions, with a sum of {sum}"));
    }
    Ok(Box::new(move || {
        kernel.post(BATCH);
        black_box(reap(&mut ring));
    }))
}

#[inline(never)]
fn reap<P: Peer>(ring: &mut P::Ring) -> u64 {
    let mut sum = 0u64;
    P::reap(ring, |user_data, result| sum = sum.wrapping_add(user_data ^ result as u64));
    sum
}

/// Each completion uses a new view.
#[inline(never)]
fn reap_each<P: Peer>(ring: &mut P::Ring) -> u64 {
    (0..BATCH).fold(0, |sum, _| sum.wrapping_add(P::reap_one(ring)))
}

/// Checks before the measurements that every peer writes the same bytes.
pub(crate) fn compare_entries() -> anyhow::Result<()> {
    macro_rules! compare {
        ($($Op:ident)*) => { $(
            let buf = Lasting::page();
            let floor = bytes::<Floor>(batch::<Floor, $Op>, buf)?;
            let in_bulk = (OURS_IN_BULK, bytes::<OursInBulk>(batch::<OursInBulk, $Op>, buf));
            let mut all = each_peer!(P => bytes::<P>(batch::<P, $Op>, buf));
            all.extend(each_peer!(P => bytes::<P>(behind_calls::<P, $Op>, buf)));
            all.push(in_bulk);
            for (column, bytes) in all {
                let bytes = bytes.with_context(|| format!("{} of {column}", $Op::NAME))?;
                ensure!(
                    bytes == floor,
                    "{} of {column} writes a different entry:\n{bytes:x?}\nexpected\n{floor:x?}",
                    $Op::NAME
                );
            }
        )* };
    }
    compare!(Nop Read Send Timeout);
    Ok(())
}

/// The second pushed entry, whose number is not 0, as the kernel sees it.
fn bytes<P: Named>(push: Pushes<P>, buf: Lasting) -> anyhow::Result<[u8; 64]> {
    let mut ring = P::ring(&Setup::PLAIN, ENTRIES).map_err(anyhow::Error::msg)?;
    let kernel = Mock::kernel(P::fd(&ring), ENTRIES)?;
    push(&mut ring, 2, FD, buf);
    Ok(kernel.entry(1))
}
