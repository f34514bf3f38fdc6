//! A multishot bundle, with a socket and a group of its own, from its start to its end.

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix_uring::types::CancelBuilder;
use rustix_uring::{BufRing, BufRingFlags, BufTracker, opcode};

use super::groups::{LEN, MOST, entry};
use super::{Lockstep, Same, raw, returned, same};
use crate::build::Pages;
use crate::model::buffers::len_of;
use crate::model::bundles::Bundles;
use crate::model::cqueue::{Cqe, Size};
use crate::model::operation::{Entry, Op};
use crate::model::setup::flag;
use crate::op;
use crate::real::Sized;
use crate::step::{Push, Reap};

/// The group ID, which no other group has.
const GROUP: u16 = 7;

/// The real objects of the request.
struct Objects {
    bufs: BufRing,
    tracker: BufTracker,
    memory: *mut [u8; LEN],
    seen: Vec<Cqe>,
}

impl Lockstep<'_> {
    /// Writes `feeds` bytes, one number after the other. A 0 ends the stream, or cancels the request.
    pub(super) fn bundles(&mut self, r: usize, n: u16, feeds: [u8; 6], cancels: bool) -> Same {
        let built = &self.model.ring(r).built;
        let plain = !built.accepts_sqe128 && !built.rewound && built.cqe != Size::Mixed;
        let task_enters = built.flags & (flag::IOPOLL | flag::SQPOLL) == 0;
        if !plain || !task_enters || !self.model.kernel.provided || !self.model.is_idle(r) {
            return Ok(());
        }
        let failed = |what: &str, e: &dyn std::fmt::Display| format!("bundles: {what}: {e}");
        let (reader, writer) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(|e| failed("a socket", &e))?;
        let pages = Pages::new().map_err(|e| failed("memory", &e))?;
        let mut group = None;
        self.real(r).with_submitter(&mut |it| {
            // SAFETY: the pages outlive the group, which ends below.
            let made =
                unsafe { it.group(Some(pages.all()), MOST as u16, GROUP, BufRingFlags::empty()) };
            group = Some(made);
        });
        let Some(Ok(mut bufs)) = group else { return Err("bundles: no group".into()) };
        // The kernel may use the buffers at any time, so they are never freed.
        let memory = Box::leak(Box::new([[0; LEN]; MOST])).as_mut_ptr();
        for bid in 0..n {
            // SAFETY: the buffer belongs to this group, is added once, and is never freed.
            unsafe { bufs.add(memory.add(bid.into()).cast(), len_of(bid), bid) };
        }
        bufs.publish();
        let user_data = self.next;
        self.next += 1;
        say!(
            self,
            "// A multishot bundle on {}, with {n} buffers: the program writes {feeds:?} bytes. A 0 \
             ends the stream, or cancels the request: {cancels}.",
            op::name(r)
        );
        let request = opcode::RecvMultiBundle::new(&reader, GROUP).build().user_data(user_data);
        // SAFETY: the request uses the group, whose memory lives until the request has ended.
        let pushed = unsafe { self.real(r).push(&[Sized::Sqe64(request)], &Push::AT_ONCE) };
        same("pushed:", &pushed.iter().all(Result::is_ok), &true)?;
        returned("submit", &raw(self.real(r).submit(false)), &Ok(1))?;
        let sq = &mut self.model.ring(r).sq;
        let _ = sq.push(vec![Entry::new(user_data, Op::NOP, 0)]);
        sq.publish();
        sq.take();
        let (mut model, mut writer) =
            (Bundles::new(n, self.model.ring(r).reuses_messages), Some(writer));
        let mut real = Objects { bufs, tracker: BufTracker::new(), memory, seen: Vec::new() };
        for n in feeds.into_iter().chain([0]) {
            match &writer {
                Some(writer) if n > 0 => {
                    let bytes = model.feed(n.into());
                    rustix::io::write(writer, &bytes).map_err(|e| failed("a write", &e))?;
                }
                Some(_) if cancels => {
                    model.cancel();
                    let by = CancelBuilder::user_data(user_data);
                    self.real(r).with_submitter(&mut |it| _ = it.sync_cancel(by));
                    writer = None;
                }
                Some(_) => {
                    model.hang_up();
                    writer = None;
                }
                None => break,
            }
            self.take_bundles(r, &mut model, &mut real)?;
        }
        drop(reader);
        let mut left = Ok(0);
        self.real(r).with_submitter(&mut |it| left = raw(it.available(&real.bufs)));
        same("buffers left:", &left, &Ok(model.left() as u16))?;
        let Objects { bufs, seen, .. } = real;
        let mut bufs = Some(bufs);
        self.real(r).with_submitter(&mut |it| {
            let gone = bufs.take().map(|bufs| it.group_gone(bufs));
            left = Ok(u16::from(gone.is_some_and(|gone| gone.is_err())));
        });
        same("the group stays:", &left, &Ok(0))?;
        self.model.ran(r, &seen);
        // Work for a request that has ended may still set the flag for waiting work.
        for _ in 0..4 {
            raw(self.real(r).get_events()).map_err(|e| format!("get_events: errno {e}"))?;
        }
        Ok(())
    }

    /// Takes completions until the model has seen all that must come.
    fn take_bundles(&mut self, r: usize, model: &mut Bundles, real: &mut Objects) -> Same {
        for _ in 0..self.watch.patience() {
            raw(self.real(r).get_events()).map_err(|e| format!("get_events: errno {e}"))?;
            let mut all = Vec::new();
            self.real(r).reap(Reap::All, 0, &mut all);
            // A completion that finds no room ends the request.
            model.ends_early |= all.len() >= self.model.ring(r).cq.capacity as usize;
            for cqe in all {
                let filled = model.complete(&cqe).map_err(|e| format!("bundles: {cqe:?}: {e}"))?;
                real.seen.push(cqe);
                let segments = real.tracker.bundle_segments(&real.bufs, &entry(&cqe), len_of);
                let segments: Vec<_> = segments
                    .iter(&real.bufs)
                    .map(|one| (one.bid, one.offset, one.len as usize, one.done))
                    .collect();
                let expected: Vec<_> =
                    filled.iter().map(|(bid, bytes)| (*bid, 0, bytes.len(), true)).collect();
                same("segments of the bundle:", &segments, &expected)?;
                for (bid, bytes) in &filled {
                    // SAFETY: the buffer is never freed, and the kernel has filled it.
                    let there = unsafe { *real.memory.add(usize::from(*bid)) };
                    same("the bundle received", &&there[..bytes.len()], &&bytes[..])?;
                }
            }
            if model.rests() {
                return Ok(());
            }
        }
        Err("bundles: a completion is missing".into())
    }
}
