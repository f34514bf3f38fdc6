//! The registered eventfd.

use rustix::event::{EventfdFlags, eventfd};

use super::{Lockstep, Same, raw, returned};
use crate::op;

impl Lockstep<'_> {
    pub(super) fn register_eventfd(&mut self, r: usize, only_async: bool) -> Same {
        // The test cannot tell when a thread that stays awake has signaled.
        if self.model.ring(r).thread_stays_awake() || self.would_wait(r) {
            return Ok(());
        }
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| format!("an eventfd: {e}"))?;
        self.model.register_call(r);
        let expected = self.model.ring(r).register_eventfd(only_async);
        let call = if only_async { "register_eventfd_async" } else { "register_eventfd" };
        say!(
            self,
            "let eventfd = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();\nprintln!(\"{{:?}}\", {}.submitter().{call}(&eventfd)); // the model: {expected:?}",
            op::name(r)
        );
        let mut real = Ok(());
        self.real(r).with_submitter(&mut |it| real = raw(it.eventfd(&fd, only_async)));
        returned(call, &real, &expected)?;
        if expected.is_ok() {
            self.eventfds[r] = Some(fd);
        }
        self.rest(r)
    }

    pub(super) fn unregister_eventfd(&mut self, r: usize) -> Same {
        if self.would_wait(r) {
            return Ok(());
        }
        self.compare_eventfd(r)?;
        let expected = self.model.ring(r).unregister_eventfd();
        self.register(r, "unregister_eventfd()", expected, &mut |it| it.eventfd_gone())?;
        if expected.is_ok() {
            self.eventfds[r] = None;
        }
        Ok(())
    }

    /// Reads the eventfd of a ring, and compares its counter.
    pub(super) fn compare_eventfd(&mut self, r: usize) -> Same {
        let kernel = &self.model.kernel;
        let exact = kernel.refusals_in_order && kernel.cancels_in_order;
        let Some(ring) = self.model.rings[r].as_mut() else { return Ok(()) };
        let (lost, disabled) = (ring.lost, ring.eventfd_disabled);
        let expected = ring.read_eventfd(exact);
        let (Some(expected), Some(fd)) = (expected, &self.eventfds[r]) else { return Ok(()) };
        let mut count = [0; 8];
        let real = match rustix::io::read(fd, &mut count) {
            Ok(8) => u64::from_ne_bytes(count),
            Ok(n) => return Err(format!("the eventfd returns {n} bytes")),
            Err(rustix::io::Errno::AGAIN) => 0,
            Err(e) => return Err(format!("the eventfd: {e}")),
        };
        // A lost ring has no flag that disables the eventfd.
        if lost || expected.allows(real) {
            return Ok(());
        }
        Err(format!(
            "{}: the eventfd counts {real}; the model: {expected:?}, disabled: {disabled}",
            op::name(r)
        ))
    }
}
