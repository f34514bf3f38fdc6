//! Registered files: tags, where the kernel chooses a slot, and descriptors that are made of them.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::FdFlags;
use rustix_uring::types::FileSlot;

use super::{Lockstep, Same, raw, returned, same};
use crate::model::cqueue::Cqe;
use crate::model::files::File;
use crate::model::operation::DESCRIPTOR;
use crate::model::regular::FILES;
use crate::model::{PIPES, SOURCES};
use crate::op;
use crate::step::Reap;

impl Lockstep<'_> {
    pub(super) fn files_with_tags(&mut self, r: usize, n: u32) -> Same {
        if !self.model.kernel.clones || op::reads_slots(&self.model, r) {
            return Ok(());
        }
        let mut files = Vec::new();
        for i in 0..n as usize {
            let tag = self.tag(i % 2 == 0);
            files.push((i % 4 < PIPES).then_some(File { pipe: i % 4, tag }));
        }
        let expected = self.model.ring(r).register_files(files.clone());
        self.model.register_call(r);
        let code = |file: &Option<File>| {
            file.map_or("FileSlot::EMPTY".into(), |file| {
                format!("FileSlot::new(&pipes[{}].0)", file.pipe)
            })
        };
        let code = files.iter().map(code).collect::<Vec<String>>().join(", ");
        let numbers: Vec<_> = files.iter().map(|file| file.map_or(0, |file| file.tag)).collect();
        say!(
            self,
            "println!(\"{{:?}}\", {}.submitter().register_files_tags(&[{code}], &{numbers:?})); // the model: {expected:?}",
            op::name(r)
        );
        let (world, mut real) = (&self.world, Ok(()));
        let slot = |file: &Option<File>| {
            file.map_or(FileSlot::EMPTY, |file| world.reader(file.pipe).into())
        };
        let slots: Vec<_> = files.iter().map(slot).collect();
        if let Some(ring) = &mut self.rings[r] {
            ring.with_submitter(&mut |it| real = raw(it.files(&slots, &numbers)));
        }
        returned("register_files_tags", &real, &expected)?;
        self.rest(r)
    }

    pub(super) fn file_update(
        &mut self,
        r: usize,
        slot: u32,
        pipe: Option<usize>,
        tags: bool,
    ) -> Same {
        if op::is_to_read(&self.model, r, slot) {
            // The new file could make the request the second reader of a pipe. Or the request could
            // hold a released file.
            return Ok(());
        }
        let tags = tags && self.model.kernel.clones;
        let new = pipe.map(|pipe| File { pipe, tag: self.tag(tags) });
        self.model.register_begins(r);
        let expected = self.model.ring(r).update_file(slot, new, tags);
        self.model.register_call(r);
        let tag = new.map_or(0, |new| new.tag);
        say!(
            self,
            "println!(\"{{:?}}\", {}.submitter().register_files_update{}({slot}, &[{}]{})); // the model: {expected:?}",
            op::name(r),
            if tags { "_tag" } else { "" },
            pipe.map_or("FileSlot::EMPTY".into(), |pipe| format!(
                "FileSlot::new({})",
                op::source_code(pipe)
            )),
            if tags { format!(", &[{tag}]") } else { String::new() }
        );
        let file = pipe.map(|pipe| self.world.reader(pipe));
        let mut real = Ok(0);
        if let Some(ring) = &mut self.rings[r] {
            let tag = tags.then_some(tag);
            ring.with_submitter(&mut |it| real = raw(it.files_update(slot, file, tag)));
        }
        returned("register_files_update", &real, &expected)?;
        self.rest(r)
    }

    /// Replaces the number of a descriptor that an operation has made by [`DESCRIPTOR`].
    pub(super) fn name_installed(&self, cqe: &mut Cqe) {
        if cqe.result >= 0 && self.installs.contains_key(&cqe.user_data) {
            cqe.result = DESCRIPTOR;
        }
    }

    /// Checks that a new descriptor has the requested properties, and closes it.
    pub(super) fn close_installed(&mut self, cqe: &mut Cqe) -> Same {
        let Some((_, keeps_on_exec)) = self.installs.remove(&cqe.user_data) else { return Ok(()) };
        if cqe.result < 0 {
            return Ok(());
        }
        // SAFETY: the kernel has made the descriptor for this process, and it has no other owner.
        let made = unsafe { OwnedFd::from_raw_fd(cqe.result) };
        cqe.result = DESCRIPTOR;
        let flags = rustix::io::fcntl_getfd(&made)
            .map_err(|e| format!("F_GETFD of the new descriptor failed with {e}"))?;
        same(
            "the new descriptor stays open on exec:",
            &!flags.contains(FdFlags::CLOEXEC),
            &keeps_on_exec,
        )?;
        let of = |file: i32| std::fs::read_link(format!("/proc/self/fd/{file}")).ok();
        let all = (0..PIPES).chain(SOURCES..SOURCES + FILES);
        let mut pipes = all.map(|pipe| of(self.world.reader(pipe).as_raw_fd()));
        let known = pipes.any(|pipe| pipe == of(made.as_raw_fd()));
        same("the new descriptor names one of the pipes:", &known, &true)
    }

    /// Before a ring is dropped, closes the descriptors that it has made and whose completions
    /// nobody has read.
    pub(super) fn close_all_installed(&mut self, r: usize) {
        let Some(ring) = &self.model.rings[r] else { return };
        let mut left = ring.cq.all().filter(|cqe| cqe.result == DESCRIPTOR).count();
        for _ in 0..self.watch.patience() {
            let Some(real) = self.rings[r].as_mut().filter(|_| left > 0) else { break };
            let mut all = Vec::new();
            real.reap(Reap::All, 0, &mut all);
            for mut cqe in all {
                left -= usize::from(cqe.result >= 0 && self.installs.contains_key(&cqe.user_data));
                let _ = self.close_installed(&mut cqe);
            }
            // Deferred work could make one more descriptor.
            if let Some(real) = self.rings[r].as_mut().filter(|_| left > 0) {
                let _ = real.get_events();
            }
        }
    }
}
