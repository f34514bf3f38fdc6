//! Register calls about memory.

use super::buffers::Group;
use super::cqueue::{Cqe, Size};
use super::errno::*;
use super::registered::Registered;
use super::restrict::call;
use super::ring::Ring;

impl Ring {
    pub(crate) fn register_buffers(&mut self, new: Vec<Option<Registered>>) -> Result<(), i32> {
        self.may_call(call::BUFFERS2)?;
        if new.is_empty() {
            return Err(EINVAL);
        }
        if self.buffers.is_some() {
            return Err(EBUSY);
        }
        self.buffers = Some(new);
        Ok(())
    }

    pub(crate) fn update_buffer(
        &mut self,
        slot: usize,
        new: Option<Registered>,
    ) -> Result<usize, i32> {
        self.may_call(call::BUFFERS_UPDATE)?;
        let slot = self.buffers.as_mut().ok_or(ENXIO)?.get_mut(slot).ok_or(EINVAL)?;
        let old = std::mem::replace(slot, new);
        self.post_tag(old);
        Ok(1)
    }

    pub(crate) fn unregister_buffers(&mut self) -> Result<(), i32> {
        self.may_call(call::UNREGISTER_BUFFERS)?;
        let all = self.buffers.take().ok_or(ENXIO)?;
        // The last one first.
        all.into_iter().rev().for_each(|one| self.post_tag(one));
        Ok(())
    }

    fn post_tag(&mut self, given_up: Option<Registered>) {
        let Some(Registered { tag: user_data @ 1.., .. }) = given_up else { return };
        let big = (self.cq.size == Size::Big).then_some([0; 2]);
        self.cq.post(Cqe { user_data, result: 0, flags: 0, big });
    }

    /// Registers a group, in memory of the program's or of the kernel's.
    pub(crate) fn register_group(
        &mut self,
        group: usize,
        entries: u16,
        kernels: bool,
        generation: u64,
    ) -> Result<(), i32> {
        if entries == 0 || kernels && !entries.is_power_of_two() {
            return Err(EINVAL);
        }
        if kernels && !self.built.descriptor {
            // There is nothing to map it from.
            return Err(EBADF);
        }
        self.may_call(call::PBUF_RING)?;
        if !entries.is_power_of_two() {
            return Err(EINVAL);
        }
        if self.groups[group].is_some() {
            return Err(EEXIST);
        }
        self.groups[group] = Some(Group::new(generation, group == 1, entries));
        Ok(())
    }
}
