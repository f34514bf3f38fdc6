//! Groups of provided buffers, and the tracker of what completions have used of them.

use std::ptr::NonNull;

use rustix_uring::{BufRing, BufRingFlags, BufTracker, cqueue};

use super::{Lockstep, Same, raw, returned, same};
use crate::build::Pages;
use crate::model::buffers::{F_BUFFER, len_of};
use crate::model::cqueue::Cqe;
use crate::model::errno::{EINVAL, ENOBUFS};
use crate::model::operation::By;
use crate::model::restrict::call;
use crate::op;

/// The maximum length of a buffer, and the maximum number of buffers in a group.
pub(super) const LEN: usize = 16;
pub(super) const MOST: usize = 8;

/// The handle of a group, and the memory that it uses.
pub(super) struct Group {
    bufs: BufRing,
    tracker: BufTracker,
    /// The program's memory, if it holds the buffer ring.
    _memory: Option<Pages>,
    /// The buffers. They are never freed, because the kernel may use them at any time.
    buffers: NonNull<[[u8; LEN]; MOST]>,
    generation: u64,
}

/// The name of a group's handle in a printed program.
fn handle(r: usize, group: usize) -> String {
    format!("{}_group{group}", op::name(r))
}

/// The library's type for a completion.
pub(super) fn entry(cqe: &Cqe) -> cqueue::Entry {
    #[repr(C)]
    struct Raw(u64, i32, u32);
    // SAFETY: a completion is the kernel's struct of these three fields, and every value of them is
    // valid.
    unsafe { std::mem::transmute(Raw(cqe.user_data, cqe.result, cqe.flags)) }
}

impl Lockstep<'_> {
    pub(super) fn group(&mut self, r: usize, group: usize, entries: u16, kernels: bool) -> Same {
        let has =
            if group == 1 { self.model.kernel.incremental } else { self.model.kernel.provided };
        if !has || kernels && self.maps_nothing {
            return Ok(());
        }
        let generation = self.next;
        self.next += 1;
        let expected = self.model.ring(r).register_group(group, entries, kernels, generation);
        self.model.system_call();
        let flags = if group == 1 { BufRingFlags::INC } else { BufRingFlags::empty() };
        let bgid = group as u16;
        say!(
            self,
            "{} unsafe {{ {}.submitter().{}{entries}, {bgid}, BufRingFlags::from_bits_retain({:#x})) }}{}; // the model: {expected:?}",
            if expected.is_ok() {
                format!("let mut {} =", handle(r, group))
            } else {
                "let _ =".into()
            },
            op::name(r),
            if kernels { "register_buf_ring_mmap(" } else { "register_buf_ring(dirty_pages(), " },
            flags.bits(),
            if expected.is_ok() { ".unwrap()" } else { "" }
        );
        let memory = (!kernels).then(used_pages).transpose()?;
        let slots = memory.as_ref().map(Pages::all);
        let mut real = None;
        self.real(r).with_submitter(&mut |it| {
            // SAFETY: the memory outlives the group.
            real = Some(unsafe { it.group(slots, entries, bgid, flags) })
        });
        let Some(real) = real else { return Ok(()) };
        match (real, expected) {
            (Ok(bufs), Ok(())) => {
                let mut tracker = BufTracker::new();
                // A completion may name a buffer that does not belong to this group. The tracker
                // must report only that one segment.
                let wrong =
                    entry(&Cqe { user_data: 0, result: 30, flags: F_BUFFER | 1 << 16, big: None });
                let n = tracker.bundle_segments(&bufs, &wrong, |_| 10).iter(&bufs).count();
                same("for a buffer that was never added, the number of segments is", &n, &1)?;
                let buffers = NonNull::from(Box::leak(Box::new([[0; LEN]; MOST])));
                let tracker = BufTracker::new();
                self.groups[r][group] =
                    Some(Group { bufs, tracker, _memory: memory, buffers, generation });
                self.provide(r, group, MOST, true)
            }
            (real, model) => returned("register_buf_ring", &raw(real.map(drop)), &model),
        }
    }

    pub(super) fn provide(&mut self, r: usize, group: usize, n: usize, publish: bool) -> Same {
        let (Some(real), Some(model)) =
            (&mut self.groups[r][group], &mut self.model.ring(r).groups[group])
        else {
            return Ok(());
        };
        let mut bids = Vec::new();
        for _ in 0..n {
            let Some(bid) = model.add() else { break };
            // SAFETY: the buffer belongs to this group, is not in its ring, and is never freed.
            unsafe {
                let buffer = real.buffers.cast::<[u8; LEN]>().add(usize::from(bid));
                real.bufs.add(buffer.as_ptr().cast(), len_of(bid), bid);
            }
            bids.push(bid);
        }
        if publish {
            model.publish();
            real.bufs.publish();
        }
        say!(
            self,
            "for (bid, len) in {:?} {{ unsafe {{ {1}.add(buffer(), len, bid) }} }}{2}",
            bids.iter().map(|bid| (*bid, len_of(*bid))).collect::<Vec<(u16, u32)>>(),
            handle(r, group),
            match publish {
                true => format!("\n{}.publish();", handle(r, group)),
                false => String::new(),
            }
        );
        Ok(())
    }

    /// Unregisters a group by its handle. The step may also try this with the other ring.
    pub(super) fn group_gone(&mut self, r: usize, group: usize, by_other: bool) -> Same {
        let by = if by_other { 1 - r } else { r };
        if !self.has(by) {
            return Ok(());
        }
        let Some(real) = self.groups[r][group].take() else { return Ok(()) };
        let expected = match by_other {
            true => Err(EINVAL),
            false => self.model.ring(r).may_call(call::UNREGISTER_PBUF_RING),
        };
        self.model.system_call();
        say!(
            self,
            "{} {}.unregister(&{}.submitter()){}; // the model: {expected:?}",
            if expected.is_ok() {
                "let _ =".into()
            } else {
                format!("let mut {} =", handle(r, group))
            },
            handle(r, group),
            op::name(by),
            if expected.is_ok() { "" } else { ".unwrap_err().into_buf_ring()" }
        );
        let Group { bufs, tracker, _memory, buffers, generation } = real;
        let (mut bufs, mut result) = (Some(bufs), Ok(()));
        self.real(by).with_submitter(&mut |it| {
            if let Some(handle) = bufs.take() {
                if let Err(error) = it.group_gone(handle) {
                    result = Err(error.errno().raw_os_error());
                    bufs = Some(error.into_buf_ring());
                }
            }
        });
        returned("BufRing::unregister", &result, &expected)?;
        match bufs {
            Some(bufs) => {
                self.groups[r][group] = Some(Group { bufs, tracker, _memory, buffers, generation });
            }
            None => self.model.ring(r).groups[group] = None,
        }
        Ok(())
    }

    pub(super) fn available(&mut self, r: usize, group: usize) -> Same {
        let ring = self.model.ring(r);
        let Some(there) = &ring.groups[group] else { return Ok(()) };
        let n = there.published.len() as u16;
        let expected = ring.may_call(call::PBUF_STATUS).map(|()| n);
        self.model.system_call();
        let Some(real) = self.groups[r][group].take() else { return Ok(()) };
        let mut result = Err(ENOBUFS);
        self.real(r).with_submitter(&mut |it| result = raw(it.available(&real.bufs)));
        self.groups[r][group] = Some(real);
        returned("BufRing::available", &result, &expected)
    }

    /// Checks that the library reports the same used segments as the model, and that the segments
    /// hold the same bytes.
    pub(super) fn check_segments(&mut self, r: usize, cqe: &Cqe) -> Same {
        let Some(what) = self.receives.get(&cqe.user_data).copied() else {
            return Err(format!(
                "{cqe:?} names a buffer; its operation does not use a buffer group"
            ));
        };
        let taken = self.model.taken.get_mut(&cqe.user_data).and_then(|taken| taken.pop_front());
        let Some(taken) = taken else {
            return Err(format!("{cqe:?} names a buffer; the model says none"));
        };
        let group = usize::from(what.group);
        let Some(real) = &mut self.groups[r][group] else { return Ok(()) };
        if real.generation != taken.generation {
            return Ok(());
        }
        let entry = entry(cqe);
        let segments = match what.by {
            By::Bundle => real.tracker.bundle_segments(&real.bufs, &entry, len_of),
            _ => real.tracker.segments(&real.bufs, &entry, len_of),
        };
        let segments: Vec<_> = segments.iter(&real.bufs).collect();
        let mut plain: Vec<_> =
            segments.iter().map(|one| (one.bid, one.offset, one.len, one.done)).collect();
        if let (true, [real], [model]) = (what.tells_length, &mut plain[..], &taken.segments[..]) {
            // The result does not show a limit that the request itself has set.
            real.2 = real.2.min(model.bytes.len() as u32);
        }
        let model: Vec<_> = taken
            .segments
            .iter()
            .map(|one| (one.bid, one.offset, one.bytes.len() as u32, one.done))
            .collect();
        same("the segments (ID, offset, length, done) are", &plain, &model)?;
        for one in &taken.segments {
            // SAFETY: the buffer is never freed, and the kernel has filled this part of it.
            let there = unsafe {
                let buffer = real.buffers.cast::<[u8; LEN]>().add(usize::from(one.bid));
                let start = buffer.cast::<u8>().add(one.offset as usize);
                std::slice::from_raw_parts(start.as_ptr(), one.bytes.len())
            };
            same("the kernel received", &there, &&one.bytes[..])?;
            if let (true, Some(model)) = (one.done, &mut self.model.ring(r).groups[group]) {
                model.free.push_back(one.bid);
            }
        }
        Ok(())
    }
}

/// Pages with the content of an earlier group.
fn used_pages() -> Result<Pages, String> {
    let pages = Pages::new().map_err(|e| format!("cannot map memory for a buffer group: {e:#}"))?;
    for i in 0..MOST as u16 {
        // SAFETY: the pages belong to this function, and are longer than this part.
        unsafe {
            pages.all().cast::<[u16; 8]>().add(usize::from(i)).write([1, 1, 1, 1, 9, 0, i, 7])
        };
    }
    Ok(pages)
}
