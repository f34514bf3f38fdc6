//! Calls that neither push, submit nor reap.

use rustix_uring::{Errno, Restriction, squeue};

use super::{Lockstep, Same, raw, returned, same};
use crate::model::errno::*;
use crate::model::operation::{Entry, Op};
use crate::model::regular::FILES;
use crate::model::restrict::{Restrictions, call};
use crate::model::{PIPES, SOURCES};
use crate::op;
use crate::registers::Registers;
use crate::step::Step;
use crate::world::Borrowed;

impl Lockstep<'_> {
    pub(super) fn other(&mut self, r: usize, step: Step) -> Same {
        let name = op::name(r);
        match step {
            Step::GetEvents { .. } => {
                let expected = self.model.enter(r, 0, Some(0)).map(drop);
                say!(
                    self,
                    "println!(\"{{:?}}\", {name}.submitter().get_events()); // the model: {expected:?}"
                );
                let real = raw(self.real(r).get_events());
                returned("get_events", &real, &expected)?;
                self.rest(r)
            }
            Step::Truncate { len, .. } => {
                if self.model.ring(r).thread.is_some() {
                    // The thread may consume the entries at any time.
                    let real = raw(self.real(r).truncate_safely(len));
                    return returned("truncate", &real, &Err(EINVAL));
                }
                let sq = &mut self.model.ring(r).sq;
                let safe = len % 2 == 0;
                if sq.mixed && !safe {
                    return Ok(());
                }
                sq.truncate(if sq.mixed { 0 } else { len });
                if safe {
                    say!(self, "{name}.truncate({len}).unwrap();");
                    return returned("truncate", &raw(self.real(r).truncate_safely(len)), &Ok(()));
                }
                say!(self, "unsafe {{ {name}.submission().truncate({len}) }};");
                // SAFETY: no other thread enters the ring, and it has no SQPOLL thread.
                let done = unsafe { self.real(r).truncate(len) };
                returned("submission().truncate", &done, &true)
            }
            Step::Clear { .. } => {
                self.model.ring(r).sq.truncate(0);
                say!(self, "unsafe {{ {name}.submission().clear() }};");
                // SAFETY: no other thread enters the ring, and it has no SQPOLL thread.
                unsafe { self.real(r).clear() };
                Ok(())
            }
            Step::Enable { list, .. } => {
                if let (Some(list), true) = (list, self.model.ring(r).disabled) {
                    self.restrict(r, Restrictions::of(list))?;
                }
                if self.would_wait(r) {
                    return Ok(());
                }
                let ring = self.model.ring(r);
                let may = ring.may_call(call::ENABLE_RINGS);
                let expected = may.and(if ring.disabled { Ok(()) } else { Err(EBADFD) });
                ring.disabled &= expected.is_err();
                self.register(r, "register_enable_rings()", expected, &mut |it| it.enable())?;
                if expected.is_ok() {
                    self.model.sq_thread_runs(r);
                }
                self.rest(r)
            }
            Step::Restrict { list, .. } => self.restrict(r, Restrictions::of(list)),
            Step::Resize { entries, cq_entries, .. } => self.resize(r, entries, cq_entries),
            Step::SyncCancel { by, .. } => self.sync_cancel(r, by),
            Step::Clone { replaces, from, to, n, .. } => {
                self.clone_buffers(r, replaces, from, to, n)
            }
            Step::FileRange { first, len, .. } => {
                if !self.model.kernel.clones {
                    return Ok(());
                }
                let expected = self.model.ring(r).limit_files(first, len);
                let code = format!("register_file_alloc_range({first}, {len})");
                self.register(r, &code, expected, &mut |it| it.file_range(first, len))
            }
            Step::Files { n, tags: true, .. } => self.files_with_tags(r, n),
            Step::Files { n, .. } => {
                if !self.model.kernel.sparse_files {
                    return Ok(());
                }
                self.model.register_begins(r);
                let expected = self.model.ring(r).register_files(vec![None; n as usize]);
                self.register(r, &format!("register_files_sparse({n})"), expected, &mut |it| {
                    it.files_sparse(n)
                })
            }
            Step::FileUpdate { slot, pipe, tag, .. } => {
                // Regular files follow the pipes and sockets.
                let file = |k: usize| match k % (PIPES + FILES) {
                    k @ PIPES.. => k - PIPES + SOURCES,
                    pipe => pipe,
                };
                self.file_update(r, slot, pipe.map(file), tag)
            }
            Step::FilesGone { .. } => {
                // Waiting requests hold their files themselves.
                self.model.register_begins(r);
                let expected = self.model.ring(r).unregister_files();
                self.register(r, "unregister_files()", expected, &mut |it| it.unregister_files())
            }
            Step::IntoLocal { .. }
            | Step::IntoShared { .. }
            | Step::RegisterFd { .. }
            | Step::UnregisterFd { .. }
            | Step::CloseFd { .. } => self.hold(r, step),
            Step::Elsewhere { .. } => self.elsewhere(r),
            Step::Watch { .. } => self.watch(r),
            Step::Split { parts, .. } => self.split(r, &parts),
            Step::Group { group, entries, kernels, .. } => self.group(r, group, entries, kernels),
            Step::Provide { group, n, publish, .. } => self.provide(r, group, n, publish),
            Step::GroupGone { group, by_other, .. } => self.group_gone(r, group, by_other),
            Step::Buffers { n, first, tags, .. } => self.buffers(r, n, first, tags),
            Step::BufferUpdate { slot, piece, tag, .. } => self.buffer_update(r, slot, piece, tag),
            Step::BuffersGone { .. } => self.buffers_gone(r),
            Step::Send { arg, .. } => self.send(r, arg),
            Step::Available { group, .. } => self.available(r, group),
            Step::Fork { child, .. } => self.fork(r, child),
            Step::Eventfd { disable, .. } => {
                say!(
                    self,
                    "{name}.completion().{}_eventfd();",
                    if disable { "disable" } else { "enable" }
                );
                self.model.ring(r).eventfd_disabled = disable;
                let real = self.real(r).eventfd_disabled(Some(disable));
                same("the flag that disables the eventfd is", &real, &disable)
            }
            Step::RegisterEventfd { only_async, .. } => self.register_eventfd(r, only_async),
            Step::EventfdGone { .. } => self.unregister_eventfd(r),
            Step::Bundles { n, feeds, cancels, .. } => self.bundles(r, n, feeds, cancels),
            _ => Ok(()),
        }
    }

    /// Makes a register call that returns no value.
    pub(super) fn register(
        &mut self,
        r: usize,
        call: &str,
        expected: Result<(), i32>,
        make: &mut dyn FnMut(&dyn Registers) -> Result<(), Errno>,
    ) -> Same {
        self.model.register_call(r);
        say!(
            self,
            "println!(\"{{:?}}\", {}.submitter().{call}); // the model: {expected:?}",
            op::name(r)
        );
        let mut real = Ok(());
        self.real(r).with_submitter(&mut |submitter| real = raw(make(submitter)));
        returned(call, &real, &expected)?;
        self.rest(r)
    }

    pub(super) fn resize(&mut self, r: usize, entries: u32, cq_entries: Option<u32>) -> Same {
        let mut expected = self.model.resize(r, entries, cq_entries);
        if self.maps_nothing && expected.is_ok() {
            self.model.lose(r);
            expected = Err(ENOMEM);
        }
        say!(
            self,
            "println!(\"{{:?}}\", {}.resize({entries}, {cq_entries:?})); // the model: {expected:?}",
            op::name(r)
        );
        let real = raw(self.real(r).resize(entries, cq_entries));
        returned("resize", &real, &expected)?;
        let params = self.real(r).params();
        let ring = self.model.ring(r);
        let sizes = (ring.sq.capacity, ring.cq.capacity);
        if !ring.lost {
            same(
                "after resize, the queue sizes are",
                &(params.sq_entries(), params.cq_entries()),
                &sizes,
            )?;
        }
        self.rest(r)
    }

    /// Whether the kernel would wait in a register call until the requests in flight have ended.
    pub(super) fn would_wait(&mut self, r: usize) -> bool {
        let waits = self.model.kernel.known.has("register_waits");
        let ring = self.model.ring(r);
        waits && (ring.outstanding() > 0 || ring.cq.overflows())
    }

    fn restrict(&mut self, r: usize, mut list: Restrictions) -> Same {
        if !self.model.kernel.restrictions || self.would_wait(r) {
            return Ok(());
        }
        // The kernel rejects a list with an operation or call that it does not know.
        let listable = &self.model.kernel.listable;
        list.operations.retain(|op| listable.operations.contains(op));
        list.calls.retain(|call| listable.calls.contains(call));
        let ring = self.model.ring(r);
        let expected = match (ring.may_call(call::RESTRICTIONS), &ring.restrictions) {
            (Err(errno), _) => Err(errno),
            _ if !ring.disabled => Err(EBADFD),
            (_, Some(_)) => Err(EBUSY),
            _ => {
                ring.restrictions = Some(list.clone());
                Ok(())
            }
        };
        let flags = |bits| squeue::Flags::from_bits_retain(bits);
        let operations = list.operations.iter().map(|op| Restriction::sqe_op(*op));
        let calls = list.calls.iter().map(|call| Restriction::register_op(*call));
        let mut all: Vec<_> = operations.chain(calls).collect();
        all.push(Restriction::sqe_flags_allowed(flags(list.allowed)));
        all.push(Restriction::sqe_flags_required(flags(list.required)));
        let code = format!(
            "register_restrictions(&{:?}.map(Restriction::sqe_op).into_iter().chain({:?}.map(Restriction::register_op)).chain([Restriction::sqe_flags_allowed(Flags::from_bits_retain({:#x})), Restriction::sqe_flags_required(Flags::from_bits_retain({:#x}))]).collect::<Vec<_>>())",
            list.operations, list.calls, list.allowed, list.required
        );
        self.register(r, &code, expected, &mut |it| it.restrict(&all))
    }

    fn sync_cancel(&mut self, r: usize, by: u8) -> Same {
        if !self.model.kernel.sync_cancel || !self.multishot_has_room() {
            return Ok(());
        }
        if self.model.ring(r).thread.is_some() && !self.threads_may_wake() {
            return Ok(());
        }
        let by = op::criteria(&self.model, r, by);
        if self.model.ring(r).workers && by.user_data.is_none() {
            // A cancellation may still find a request that a worker thread has just ended.
            return Ok(());
        }
        if self.gives_work_to_workers(r) {
            // Worker threads may or may not end these requests before the cancellation looks for
            // them.
            return Ok(());
        }
        let expected = self.model.sync_cancel(r, by);
        let code = op::criteria_code(by);
        say!(
            self,
            "println!(\"{{:?}}\", {}.submitter().register_sync_cancel(None, {code})); // the model: {expected:?}",
            op::name(r)
        );
        let criteria = op::cancels(by, &Borrowed { world: &mut self.world, rings: &self.rings });
        let mut real = Ok(0);
        self.real(r).with_submitter(&mut |it| real = raw(it.sync_cancel(criteria)));
        returned("register_sync_cancel", &real, &expected)?;
        self.rest(r)
    }

    /// Whether a register call hands requests to worker threads: requests in work that waits for
    /// the task to run it.
    fn gives_work_to_workers(&self, r: usize) -> bool {
        let (kernel, Some(ring)) = (&self.model.kernel, &self.model.rings[r]) else { return false };
        let by_worker = |entry: &Entry| entry.is_for_worker(kernel);
        let looks = ring.waiting.iter().filter(|waiting| waiting.woken);
        let begins = ring.work.iter().flat_map(|work| work.chain());
        kernel.register_runs_work
            && looks.map(|waiting| &waiting.chain[0]).chain(begins).any(by_worker)
    }

    /// Changes how the ring is held, and how calls name it.
    fn hold(&mut self, r: usize, step: Step) -> Same {
        let name = op::name(r);
        if step == (Step::CloseFd { ring: r }) && op::is_sent_to(&self.model, r) {
            return Ok(());
        }
        let (ring_fds, reg_reg) = (self.model.kernel.ring_fds, self.model.kernel.reg_reg_ring);
        let may_name = self.model.ring(r).may_call(call::RING_FDS);
        let lost = self.model.ring(r).lost;
        let built = &self.model.ring(r).built;
        let registers = match step {
            Step::RegisterFd { .. } => built.local && !built.registered,
            Step::UnregisterFd { .. } | Step::IntoShared { .. } => {
                built.registered && built.descriptor
            }
            _ => false,
        };
        if registers {
            self.model.register_call(r);
        }
        let Some(mut real) = self.rings[r].take() else { return Ok(()) };
        let built = &mut self.model.ring(r).built;
        let was_local = built.local;
        let result = match step {
            Step::IntoLocal { .. } => {
                if !built.local {
                    (built.local, built.registered) = (true, false);
                }
                real = real.into_local();
                Ok(())
            }
            Step::IntoShared { .. } => {
                let can = !built.local || built.descriptor;
                if can {
                    (built.local, built.registered) = (false, false);
                }
                let (did, back) = real.into_shared();
                real = back;
                same("into_shared succeeded:", &did, &can)
            }
            Step::RegisterFd { .. } => {
                let expected = if !built.local || built.registered && !lost {
                    Ok(())
                } else if !ring_fds && !lost {
                    // If the kernel does not know the call, it fails before the kernel checks the
                    // restrictions.
                    Err(EINVAL)
                } else {
                    may_name.inspect(|()| built.registered = true)
                };
                returned("register_ring_fd", &raw(real.register_ring_fd()), &expected)
            }
            Step::UnregisterFd { .. } => {
                let expected = if !built.registered {
                    Ok(())
                } else if built.descriptor {
                    built.registered = false;
                    Ok(())
                } else {
                    Err(EINVAL)
                };
                returned("unregister_ring_fd", &raw(real.unregister_ring_fd()), &expected)
            }
            _ => {
                let expected = match (built.local, built.registered && reg_reg) {
                    (false, _) => Ok(()),
                    (true, true) => {
                        built.descriptor = false;
                        Ok(())
                    }
                    (true, false) => Err(EINVAL),
                };
                returned("close_ring_fd", &raw(real.close_ring_fd()), &expected)
            }
        };
        same("the ring is registered:", &real.registered_index().is_some(), &built.registered)?;
        let local = built.local;
        self.rings[r] = Some(real);
        say!(
            self,
            "{}",
            match (step, was_local, local) {
                (Step::IntoLocal { .. }, false, true) =>
                    format!("let mut {name} = {name}.into_local();"),
                (Step::IntoShared { .. }, true, false) =>
                    format!("let mut {name} = {name}.into_shared().unwrap();"),
                (Step::RegisterFd { .. }, true, _) =>
                    format!("println!(\"{{:?}}\", {name}.register_ring_fd());"),
                (Step::UnregisterFd { .. }, true, _) =>
                    format!("println!(\"{{:?}}\", {name}.unregister_ring_fd());"),
                (Step::CloseFd { .. }, true, _) =>
                    format!("println!(\"{{:?}}\", {name}.close_ring_fd());"),
                _ => format!("// {step:?} does not change {name}."),
            }
        );
        self.model.system_call();
        result?;
        self.rest(r)
    }

    /// Another thread submits, and exits.
    fn elsewhere(&mut self, r: usize) -> Same {
        let ring = self.model.ring(r);
        let plain = ring
            .sq
            .entries()
            .all(|entry| entry.op == Op::NOP && entry.flags & !crate::model::operation::LINKS == 0);
        if ring.built.local || !plain || ring.taskrun() || ring.cq.overflows() || ring.drain_active
        {
            return Ok(());
        }
        let others =
            ring.built.flags & crate::model::setup::flag::SINGLE_ISSUER != 0 && ring.sq.len() > 0;
        let expected = match others {
            true if !ring.disabled => Err(EEXIST),
            _ => self.model.submit(r, None),
        };
        say!(self, "// Another thread submits here. The model: {expected:?}");
        let Some(real) = self.rings[r].take() else { return Ok(()) };
        let (result, real) = real.submit_elsewhere();
        self.rings[r] = Some(real);
        match result {
            Some(result) => returned("submit in another thread", &raw(result), &expected)?,
            None => return Err("a local ring cannot move to another thread".into()),
        }
        self.rest(r)
    }
}
